//! GGUF files: everything that opening reads, and every way to ask for a tensor or a metadata value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lowbit_format::Storage;
use lowbit_io::gguf::{Gguf, Value};

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Gguf::parse(Storage::from(data.to_vec())) else { return };
    for (key, value) in model.metadata().iter() {
        let Ok(value) = value else { continue };
        if let Value::Array(array) = value {
            assert_eq!(array.values().count(), array.len());
        }
        // Reading by any type gives a value or an error.
        let _ = (model.metadata().get_u32(key), model.metadata().get_f32(key), model.metadata().get_str(key));
        let _ = model.metadata().get_strings(key).map(|s| s.map(Iterator::count));
        let _ = model.metadata().get_i64s(key).map(|s| s.map(Iterator::count));
    }
    let mut sum = 0;
    for info in model.tensors() {
        sum += model.raw(&info.name).expect("a listed tensor is there").bytes.len() as u64;
        let Ok(tensor) = model.tensor(&info.name) else { continue };
        let shape = tensor.shape();
        let mut row = vec![0.0; shape.k];
        tensor.decode_row(0, &mut row);
        tensor.decode_row(shape.n - 1, &mut row);
    }
    assert_eq!(sum, model.data_bytes());
    assert!(sum <= data.len() as u64);
});
