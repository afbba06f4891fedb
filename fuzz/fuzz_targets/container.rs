//! lowbit's own container: metadata, parts, and every tensor's first and last row.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lowbit_format::Storage;
use lowbit_io::container::Container;

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Container::parse(Storage::from(data.to_vec())) else { return };
    assert!(model.config().is_object());
    for info in model.tensors() {
        assert!(info.offset + info.bytes as u64 <= data.len() as u64 || info.bytes == 0);
        assert!(model.spec(&info.name).is_some());
        let Ok(tensor) = model.tensor(&info.name) else { continue };
        assert_eq!(tensor.shape(), info.matrix());
        assert_eq!(tensor.bytes(), info.bytes);
        let rows = tensor.shape().n;
        if rows > 0 {
            let mut row = vec![0.0; tensor.shape().k];
            tensor.decode_row(0, &mut row);
            tensor.decode_row(rows - 1, &mut row);
        }
    }
});
