//! A checkpoint as the model crate sees it: metadata by key, tensors by name.

use lowbit_format::{OnlineOp, QuantTensor};
use lowbit_io::{
    Checkpoint, Config,
    gguf::{Metadata, Value},
};
use lowbit_model::{GgufMeta, Naming, PackedBytes, WeightError, Weights};

/// GGUF metadata by key.
pub(crate) struct Meta<'a>(pub(crate) &'a Metadata);

impl GgufMeta for Meta<'_> {
    fn text(&self, key: &str) -> Result<Option<String>, WeightError> {
        Ok(self.0.get_str(key)?.map(str::to_owned))
    }

    fn unsigned(&self, key: &str) -> Result<Option<u64>, WeightError> {
        Ok(self.0.get_u64(key)?)
    }

    fn float(&self, key: &str) -> Result<Option<f64>, WeightError> {
        match self.0.get(key)? {
            Some(Value::F64(value)) => Ok(Some(value)),
            _ => Ok(self.0.get_f32(key)?.map(f64::from)),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, WeightError> {
        Ok(self.0.get_bool(key)?)
    }

    fn unsigneds(&self, key: &str) -> Result<Option<Vec<u64>>, WeightError> {
        let Some(array) = self.0.get_array(key)? else { return Ok(None) };
        let mut numbers = Vec::new();
        for value in array.values() {
            let value = value?;
            let number = match value {
                Value::Bool(flag) => Some(u64::from(flag)),
                other => other.integer().and_then(|number| u64::try_from(number).ok()),
            };
            let number = number.ok_or_else(|| {
                format!("`{key}` holds {}, expected non-negative integers", value.value_type().label())
            })?;
            numbers.push(number);
        }
        Ok(Some(numbers))
    }

    fn array_len(&self, key: &str) -> Result<Option<usize>, WeightError> {
        Ok(match self.0.get(key)? {
            Some(Value::Array(array)) => Some(array.len()),
            _ => None,
        })
    }
}

/// How a checkpoint names its tensors: as those do that say their hyper-parameters so.
pub fn naming(checkpoint: &Checkpoint) -> Naming {
    match checkpoint.config() {
        Config::Json(_) => Naming::HuggingFace,
        // The llama2.c reader names its tensors as GGUF does.
        Config::Gguf(_) | Config::Llama2c(_) => Naming::Gguf,
    }
}

/// Tensors of a checkpoint by name.
pub struct Tensors<'a>(pub &'a Checkpoint);

impl Weights for Tensors<'_> {
    fn scheme(&self) -> Naming {
        naming(self.0)
    }

    fn has(&self, name: &str) -> bool {
        self.0.info(name).is_some()
    }

    fn matrix(&self, name: &str) -> Result<QuantTensor, WeightError> {
        Ok(self.0.tensor(name)?)
    }

    fn input_ops(&self, name: &str) -> Result<Vec<OnlineOp>, WeightError> {
        Ok(self.0.input_ops(name)?)
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        Ok(self.0.vector(name)?)
    }

    fn packed(&self, name: &str) -> Result<PackedBytes, WeightError> {
        let raw = self.0.raw(name)?;
        let (cols, rows) =
            raw.dims.split_last().map_or((1, 1), |(cols, rows)| (*cols, rows.iter().product()));
        if raw.bytes.len() != rows * cols {
            let message = format!(
                "`{name}` has {} bytes for {:?} elements, expected one each",
                raw.bytes.len(),
                raw.dims
            );
            return Err(message.into());
        }
        Ok(PackedBytes { rows, cols, bytes: raw.bytes })
    }
}
