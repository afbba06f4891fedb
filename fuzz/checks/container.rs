//! One input of the target `container`: what must hold of any bytes. The target and the replay of its corpus in
//! lowbit-io's ordinary tests include this file both.

use lowbit_format::Storage;
use lowbit_io::{Config, IoError, container::Container};

/// Panics where the crate does not do what it says for any bytes; `Err` is the container refused.
pub(crate) fn check(data: &[u8]) -> Result<(), IoError> {
    let model = Container::parse(Storage::from(data.to_vec()))?;
    if let Config::Json(config) = model.config() {
        assert!(config.is_object());
    }
    let mut sum = 0;
    for info in model.tensors() {
        assert!(info.offset <= data.len() as u64);
        // Of a quantized tensor, all its parts, wherever they are: no byte belongs to two.
        sum += info.bytes;
        assert!(model.spec(&info.name).is_some());
        let Ok(tensor) = model.tensor(&info.name) else { continue };
        assert_eq!((tensor.shape(), tensor.bytes()), (info.matrix(), info.bytes));
        let rows = tensor.shape().n;
        if rows > 0 {
            let mut row = vec![0.0; tensor.shape().k];
            tensor.decode_row(0, &mut row);
            tensor.decode_row(rows - 1, &mut row);
        }
    }
    assert!(sum <= data.len());
    Ok(())
}
