//! To a folder in the layouts of compressed-tensors, as transformers and vLLM load them.
//!
//! | Part | Type | Shape | Content |
//! |---|---|---|---|
//! | `weight_packed` | i32 | N × ⌈K·b/32⌉ | codes of a row, end to end, low bits first |
//! | `weight` | i8 | N × K | of `int-quantized` instead: codes less the middle |
//! | `weight_shape` | i64 | 2 | N and K, with `weight_packed` |
//! | `weight_scale` | float | N × G | |
//! | `weight_zero_point` | i32 | ⌈N·b/32⌉ × G | zero points of a group over all rows, packed as codes are |
//! | | i8 | N × G | of `int-quantized`: less the middle |
//!
//! Where activations are prescribed in 8 bits the folder is `int-quantized`, which libraries multiply as integers. Layers
//! with other settings than the rest are a group of settings of their own, by name. Permutations within a row's groups are
//! not among the settings any more (`actorder: group`), so only those are written that leave groups neighbours.

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

pub(super) fn write(
    checkpoint: &Checkpoint,
    source: &Path,
    out: &Path,
    options: PackedOptions,
) -> Result<Converted, QuantError> {
    packed::write(checkpoint, source, out, options, &CompressedTensors)
}

struct CompressedTensors;

impl Layout for CompressedTensors {
    fn name(&self) -> &'static str {
        "the layout of compressed-tensors"
    }

    fn check(&self, layer: &Integers) -> Result<(), String> {
        if layer.scattered() {
            return Err("columns of a group are not neighbours (act-order)".to_owned());
        }
        Ok(())
    }

    fn tensors(&self, model: &Model, layer: &Layer) -> Vec<Stored> {
        let NK { n, k } = layer.shape;
        let (groups, float) = (layer.groups, model.float);
        let words = |codes: usize| (codes * usize::from(layer.bits)).div_ceil(32);
        // Numbers less the middle, a byte each.
        let signed = |ending, columns, numbers: fn(&Integers) -> Vec<u8>| Stored {
            ending,
            element: ElementType::I8,
            dims: vec![n, columns],
            bytes: Box::new(move |layer| {
                numbers(layer).into_iter().map(|number| number.wrapping_sub(layer.middle())).collect()
            }),
        };
        let mut stored = vec![Stored {
            ending: ".weight_scale",
            element: ElementType::Float(float),
            dims: vec![n, groups],
            bytes: Box::new(move |layer| layer.scales(float)),
        }];
        if model.activations.is_some() {
            stored.push(signed(".weight", k, Integers::all_codes));
            if !layer.symmetric {
                stored.push(signed(".weight_zero_point", groups, Integers::zero_points));
            }
            return stored;
        }
        stored.extend([
            Stored {
                ending: ".weight_packed",
                element: ElementType::I32,
                dims: vec![n, words(k)],
                bytes: Box::new(Integers::packed_codes),
            },
            Stored {
                ending: ".weight_shape",
                element: ElementType::I64,
                dims: vec![2],
                bytes: Box::new(move |_| [n, k].map(|side| side as u64).map(u64::to_le_bytes).concat()),
            },
        ]);
        if !layer.symmetric {
            let words = words(n);
            stored.push(Stored {
                ending: ".weight_zero_point",
                element: ElementType::I32,
                dims: vec![words, groups],
                bytes: Box::new(move |layer| transposed(&layer.packed_zeros(0), 4, groups, words)),
            });
        }
        stored
    }

    fn config(&self, model: &Model) -> Value {
        let format = match model.activations {
            None => "pack-quantized",
            Some(_) => "int-quantized",
        };
        let activations = model.activations.map(|spec| {
            json!({ "num_bits": spec.bits(), "type": "int", "symmetric": true, "strategy": "token", "dynamic": true })
        });
        let settings = |layer: &Layer| {
            let bits = if model.activations.is_some() { 8 } else { layer.bits };
            (bits, layer.symmetric, layer.size)
        };
        let all = common(model.layers.iter().map(settings));
        let mut groups = Map::new();
        for (i, (own, _)) in all.iter().enumerate() {
            let (bits, symmetric, size) = *own;
            let mut weights = json!({
                "num_bits": bits,
                "type": "int",
                "symmetric": symmetric,
                "strategy": if size.is_some() { "group" } else { "channel" },
                "dynamic": false,
            });
            if let Some(size) = size {
                weights["group_size"] = size.into();
            }
            let modules = model.layers.iter().filter(|layer| settings(layer) == *own);
            let targets = match all.len() {
                1 => json!(["Linear"]),
                _ => modules.map(|layer| layer.module.as_str()).collect(),
            };
            let group = json!({ "targets": targets, "weights": weights, "input_activations": activations });
            groups.insert(format!("group_{i}"), group);
        }
        let mut ignore = model.floats.clone();
        // The head of models that have none of their own is a linear layer too: it shares the embedding.
        let head = "lm_head";
        if !ignore.iter().chain(model.layers.iter().map(|layer| &layer.module)).any(|module| module == head) {
            ignore.push(head.to_owned());
        }
        json!({
            "quant_method": "compressed-tensors",
            "format": format,
            "quantization_status": "compressed",
            "config_groups": groups,
            "ignore": ignore,
        })
    }
}
