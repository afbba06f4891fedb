//! llama2.c models.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lowbit_format::Storage;
use lowbit_io::llama2c::Llama2c;

fuzz_target!(|data: &[u8]| {
    let _ = Llama2c::looks_like(data);
    let Ok(model) = Llama2c::parse(Storage::from(data.to_vec())) else { return };
    for info in model.tensors() {
        let tensor = model.tensor(&info.name).expect("a listed tensor is there");
        let mut row = vec![0.0; tensor.shape().k];
        tensor.decode_row(tensor.shape().n - 1, &mut row);
    }
});
