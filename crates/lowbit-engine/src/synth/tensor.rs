//! One tensor with random weights, for measuring a product.

use super::{SynthProgress, fill::Fill};
use crate::EngineError;
use lowbit_format::{NK, QuantTensor, Storage, WeightSpec};
use lowbit_io::{
    Payload,
    container::{Container, ContainerWriter},
};
use std::sync::Arc;

const NAME: &str = "weight";

/// A matrix of random codes, with scales that give weights the root mean square 1 / √K. The same arguments give the
/// same tensor.
///
/// # Errors
/// Where a row is no whole number of the format's blocks, or the shape is empty.
pub fn random_tensor(spec: &WeightSpec, shape: NK, seed: u64) -> Result<QuantTensor, EngineError> {
    let silent: SynthProgress = Arc::new(|_| {});
    let mut writer = ContainerWriter::new("{}")?;
    writer.payloads(NAME, spec, &[shape.n, shape.k], |part| {
        let fill = Fill::new(seed, NAME, (spec, shape), part);
        let silent = silent.clone();
        Payload::made(move |out| fill.write(out, &*silent))
    })?;
    let container = Container::parse(Storage::from(writer.to_bytes()))?;
    Ok(container.tensor(NAME)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_every_kind_of_format_have_the_size_that_is_said() {
        let shape = NK { n: 16, k: 1024 };
        let labels = ["int2-sym-g128", "ternary-row", "int4-asym-g32", "q4_k", "q8_0", "f16"];
        for label in labels.into_iter().chain(["int4-asym-g32+rows1-int4-sym-g32+sparse9x16-f16"]) {
            let tensor = random_tensor(&WeightSpec::parse(label).unwrap(), shape, 3).unwrap();
            let mut row = vec![0.0; shape.k];
            let mut squares = 0.0;
            for n in 0..shape.n {
                tensor.decode_row(n, &mut row);
                squares += row.iter().map(|w| f64::from(w * w)).sum::<f64>();
            }
            let size = (squares / shape.weights() as f64 * shape.k as f64).sqrt();
            assert!((0.9..1.1).contains(&size), "{label}: {size}");
        }
        let wrong = random_tensor(&WeightSpec::parse("q4_k").unwrap(), NK { n: 1, k: 100 }, 3);
        assert!(wrong.unwrap_err().to_string().contains("100"));
    }
}
