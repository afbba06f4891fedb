//! Golden checkpoints held in memory.

use lowbit_format::{FloatFormat, NK, QuantTensor, Storage};
use lowbit_kernels::ActPrecision;
use lowbit_model::{
    Architecture, Config, Decoder, ModelError, ModelSpec, Naming, PackedBytes, WeightError, Weights,
};
use lowbit_testing::{GoldenCase, StoredType};
use serde_json::Value;
use std::collections::HashMap;

/// Tensors of a golden case by name.
pub(crate) struct Tiny(pub(crate) HashMap<String, (StoredType, Vec<usize>, Storage)>);

impl Tiny {
    pub(crate) fn new(case: &GoldenCase) -> Self {
        let tensor = |t: &lowbit_testing::TensorDecl| {
            (t.name.clone(), (t.dtype, t.shape.clone(), Storage::from(case.tensor_bytes(t))))
        };
        Self(case.tensors.iter().map(tensor).collect())
    }
}

impl Weights for Tiny {
    fn scheme(&self) -> Naming {
        Naming::HuggingFace
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn matrix(&self, name: &str) -> Result<QuantTensor, WeightError> {
        let (dtype, shape, bytes) = &self.0[name];
        let format = match dtype {
            StoredType::F32 => FloatFormat::F32,
            StoredType::F16 => FloatFormat::F16,
            StoredType::Bf16 => FloatFormat::Bf16,
            StoredType::U8 => return Err("bytes".into()),
        };
        let k = *shape.last().unwrap_or(&1);
        let n = shape.iter().product::<usize>() / k;
        Ok(QuantTensor::from_floats(format, NK { n, k }, bytes.clone())?)
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        let tensor = self.matrix(name)?;
        let NK { n, k } = tensor.shape();
        let mut out = vec![0.0; n * k];
        out.chunks_exact_mut(k).enumerate().for_each(|(row, out)| tensor.decode_row(row, out));
        Ok(out)
    }

    fn packed(&self, name: &str) -> Result<PackedBytes, WeightError> {
        let (_, shape, bytes) = &self.0[name];
        Ok(PackedBytes { rows: shape[0], cols: shape[1], bytes: bytes.clone() })
    }
}

pub(crate) fn spec(config: &Value) -> Result<ModelSpec, ModelError> {
    let config = Config::hugging_face(config)?;
    (Architecture::of(&config)?.spec)(&config)
}

/// The model of a case.
pub(crate) fn decoder(case: &GoldenCase) -> Decoder {
    try_decoder(case).unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

pub(crate) fn try_decoder(case: &GoldenCase) -> Result<Decoder, ModelError> {
    Decoder::build(spec(&case.config)?, &Tiny::new(case), ActPrecision::Float)
}
