//! To a folder in the layout of GPTQ, as GPTQModel and transformers load it.
//!
//! | Part | Type | Shape | Content |
//! |---|---|---|---|
//! | `qweight` | i32 | K·b/32 × N | codes of a row, end to end, low bits first |
//! | `qzeros` | i32 | G × N·b/32 | zero points of a group, likewise; of format `gptq` less one |
//! | `scales` | float | G × N | |
//! | `g_idx` | i32 | K | the group of a column |
//!
//! Columns are in the input's order, and `g_idx` says what act-order did to their groups. Format `gptq` has no place for a
//! zero point of 0, and GPTQModel takes zero points of groups in it from writers of its own only: where groups have their
//! own, the folder is of format `gptq_v2`. What most layers have stands in the settings, what others have in `dynamic`.

use super::{
    Converted, PackedOptions,
    integers::Integers,
    packed::{self, Layer, Layout, Model, Stored, common, transposed},
};
use crate::QuantError;
use lowbit_format::NK;
use lowbit_io::{Checkpoint, hf::ElementType};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Bits of a code.
const BITS: [u32; 4] = [2, 3, 4, 8];
/// Weights of a group.
const SIZES: [usize; 7] = [16, 32, 64, 128, 256, 512, 1024];

pub(super) fn write(
    checkpoint: &Checkpoint,
    source: &Path,
    out: &Path,
    options: PackedOptions,
) -> Result<Converted, QuantError> {
    if checkpoint.activations().is_some() {
        return Err(QuantError::Unsupported {
            path: source.display().to_string(),
            why: "it prescribes activations of 8 bits or fewer, which GPTQ's layout cannot say; write it with --to compressed-tensors",
        });
    }
    packed::write(checkpoint, source, out, options, &Gptq)
}

struct Gptq;

impl Layout for Gptq {
    fn name(&self) -> &'static str {
        "GPTQ's layout"
    }

    fn check(&self, layer: &Integers) -> Result<(), String> {
        let (bits, NK { n, k }) = (layer.bits.get(), layer.shape());
        if !BITS.contains(&bits) {
            return Err(format!("codes of {bits} bits, it has 2, 3, 4 and 8"));
        }
        if let Some(size) = layer.size.filter(|size| !SIZES.contains(size)) {
            return Err(format!("groups of {size} weights, it has powers of two from 16 to 1024, and rows"));
        }
        match [n, k].into_iter().find(|side| !(side * bits as usize).is_multiple_of(32)) {
            Some(side) => Err(format!("{side} codes of {bits} bits are no whole words of 32")),
            None => Ok(()),
        }
    }

    fn tensors(&self, model: &Model, layer: &Layer) -> Vec<Stored> {
        let NK { n, k } = layer.shape;
        let (bits, groups, float) = (usize::from(layer.bits), layer.groups, model.float);
        let words = k * bits / 32;
        let less = u8::from(has_v1(model));
        vec![
            Stored {
                ending: ".qweight",
                element: ElementType::I32,
                dims: vec![words, n],
                bytes: Box::new(move |layer| transposed(&layer.packed_codes(), 4, n, words)),
            },
            Stored {
                ending: ".qzeros",
                element: ElementType::I32,
                dims: vec![groups, n * bits / 32],
                bytes: Box::new(move |layer| layer.packed_zeros(less)),
            },
            Stored {
                ending: ".scales",
                element: ElementType::Float(float),
                dims: vec![groups, n],
                bytes: Box::new(move |layer| transposed(&layer.scales(float), float.bytes(), n, groups)),
            },
            Stored {
                ending: ".g_idx",
                element: ElementType::I32,
                dims: vec![k],
                bytes: Box::new(|layer| layer.index().into_iter().flat_map(u32::to_le_bytes).collect()),
            },
        ]
    }

    fn config(&self, model: &Model) -> Value {
        let settings = |layer: &Layer| (layer.bits, layer.size);
        let most = common(model.layers.iter().map(settings))[0].0;
        let size = |size: Option<usize>| size.map_or(json!(-1), Value::from);
        let mut dynamic = Map::new();
        for layer in model.layers.iter().filter(|layer| settings(layer) != most) {
            let own = json!({ "bits": layer.bits, "group_size": size(layer.size) });
            dynamic.insert(rule('+', &layer.module), own);
        }
        dynamic.extend(model.floats.iter().map(|module| (rule('-', module), json!({}))));
        let mut config = json!({
            "quant_method": "gptq",
            "checkpoint_format": if has_v1(model) { "gptq" } else { "gptq_v2" },
            "bits": most.0,
            "group_size": size(most.1),
            "sym": has_v1(model),
            "desc_act": model.layers.iter().any(|layer| layer.scattered),
            "lm_head": model.layers.iter().any(|layer| layer.head),
            "pack_dtype": "int32",
        });
        if !dynamic.is_empty() {
            config["dynamic"] = Value::Object(dynamic);
        }
        config
    }
}

/// Whether the first version of the format has a place for all zero points.
fn has_v1(model: &Model) -> bool {
    model.layers.iter().all(|layer| layer.symmetric)
}

/// A rule of `dynamic` for one module: an expression that matches its name.
fn rule(sign: char, module: &str) -> String {
    format!("{sign}:^{}$", module.replace('.', r"\."))
}
