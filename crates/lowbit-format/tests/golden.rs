//! Every block format against blocks decoded by the `gguf` Python package (`golden/make.py`), bit for bit.

use std::{fs, path::Path};

use lowbit_format::{BlockFormat, NK, QuantTensor, Storage};

/// What `make.py` multiplies `i2_s` with.
const TENSOR_SCALE: f32 = 0.0371;

#[test]
fn every_block_format_decodes_bit_for_bit_as_the_reference() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut failures = Vec::new();
    for &format in BlockFormat::ALL {
        let layout = format.layout();
        let read = |ending| fs::read(dir.join(format!("{}.{ending}", layout.label)));
        let (Ok(blocks), Ok(expected)) = (read("bin"), read("f32")) else {
            failures.push(format!("{}: no golden files, add it to golden/make.py", layout.label));
            continue;
        };
        let expected: Vec<f32> = expected.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let shape = NK { n: 1, k: expected.len() };
        assert!(blocks.len() >= 4 * layout.bytes, "{}: fewer than four blocks", layout.label);
        let scale = if format == BlockFormat::I2_S { TENSOR_SCALE } else { 1.0 };
        let tensor = QuantTensor::from_scaled_blocks(format, shape, Storage::from(blocks), scale).unwrap();
        let mut row = vec![0.0; shape.k];
        tensor.decode_row(0, &mut row);
        let wrong = (0..shape.k).filter(|&i| row[i].to_bits() != expected[i].to_bits()).collect::<Vec<_>>();
        if let Some(&i) = wrong.first() {
            let (found, want) = (row[i], expected[i]);
            failures.push(format!(
                "{}: {} weights differ, the first at {i}: {found} for {want}",
                layout.label,
                wrong.len()
            ));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
