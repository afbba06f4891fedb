//! Layers that another quantizer packed, run as they are stored: codes and scales are laid out anew, never rounded again.
//!
//! `quantization_config` in a model's `config.json` names the library, and each library's layout is one file here and one
//! line in [`LAYOUTS`]. A module is a packed layer where one of the layout's marker tensors is stored for it; one that was
//! left out of quantization is stored as floats and read as any other. Bits and group sizes are taken from the shapes of
//! what is stored and held against the settings, so that settings that differ from layer to layer need no rules of names.

mod auto_round;
mod awq;
mod bitsandbytes;
mod bitsandbytes_4bit;
mod compressed_tensors;
mod float4;
mod float8;
mod gptq;
mod hqq;
mod parts;
mod words;

use crate::{Encoding, IoError, TensorInfo};
use lowbit_format::{NK, OnlineOp, QuantTensor, WeightSpec};
pub(super) use parts::Files;
use parts::Parts;
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap},
    fmt::Debug,
    sync::Arc,
};

/// A library's layout.
struct Entry {
    /// Its `quant_method`.
    method: &'static str,
    /// Checks the settings.
    open: fn(&Settings<'_>) -> Result<Arc<dyn Layout>, IoError>,
}

/// Every layout that is read.
const LAYOUTS: &[Entry] = &[
    gptq::ENTRY,
    awq::ENTRY,
    auto_round::ENTRY,
    compressed_tensors::ENTRY,
    hqq::ENTRY,
    bitsandbytes::ENTRY,
    float8::ENTRY,
];
/// Methods whose tensors are read by the model itself.
const OTHERS: &[&str] = &["bitnet"];

/// How the packed layers of a model are stored.
trait Layout: Debug + Send + Sync {
    /// Endings of tensor names of which each makes a module a packed layer.
    fn markers(&self) -> &'static [&'static str];
    /// What a layer is, its parts' types and shapes checked.
    fn layer(&self, parts: &Parts<'_>) -> Result<Layer, IoError>;
    /// Its weight.
    fn tensor(&self, parts: &Parts<'_>, layer: &Layer) -> Result<QuantTensor, IoError>;
    /// What is done to its input, for columns that are stored in another order.
    fn input(&self, parts: &Parts<'_>, layer: &Layer) -> Result<Vec<OnlineOp>, IoError>;
}

/// What a packed layer is.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// The format of its weight.
    pub(super) spec: WeightSpec,
    /// N and K.
    pub(super) shape: NK,
    /// Endings of the tensors that it is made of, the one with the codes first.
    pub(super) endings: Vec<&'static str>,
}

/// The packed layers of a folder.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    layout: Arc<dyn Layout>,
    /// By module, sorted.
    layers: Vec<(String, Layer)>,
}

impl Packed {
    /// Finds the packed layers among the stored tensors; `None` where the configuration names no quantizer, or one whose
    /// tensors the model reads.
    ///
    /// # Errors
    /// For a quantizer or a setting that is not known, and for layers that are not as the layout has them.
    pub(super) fn find(config: &Value, files: &Files<'_>) -> Result<Option<Self>, IoError> {
        let Some(settings) = Settings::of(config)? else { return Ok(None) };
        let method = settings.text("quant_method")?.unwrap_or("nothing");
        let Some(entry) = LAYOUTS.iter().find(|entry| entry.method == method) else {
            let known: Vec<&str> =
                LAYOUTS.iter().map(|entry| entry.method).chain(OTHERS.iter().copied()).collect();
            if OTHERS.contains(&method) {
                return Ok(None);
            }
            return Err(settings.refused("quant_method", method, &format!("one of {}", known.join(", "))));
        };
        let layout = (entry.open)(&settings)?;
        let mut modules = BTreeSet::new();
        for info in files.tensors {
            let of = |marker: &&str| info.name.strip_suffix(*marker);
            modules.extend(layout.markers().iter().find_map(of));
        }
        let layer = |module: &str| {
            let layer = layout.layer(&Parts { module, files })?;
            Ok((module.to_owned(), layer))
        };
        let layers = modules.into_iter().map(layer).collect::<Result<_, IoError>>()?;
        Ok(Some(Self { layout, layers }))
    }

    /// The layer whose weight has this name.
    pub(super) fn layer(&self, name: &str) -> Option<(&str, &Layer)> {
        let module = name.strip_suffix(".weight")?;
        let at = self.layers.binary_search_by(|(other, _)| other.as_str().cmp(module)).ok()?;
        Some((&self.layers[at].0, &self.layers[at].1))
    }

    /// Every layer with its module.
    pub(super) fn layers(&self) -> &[(String, Layer)] {
        &self.layers
    }

    /// The weight of a layer.
    pub(super) fn tensor(&self, name: &str, files: &Files<'_>) -> Option<Result<QuantTensor, IoError>> {
        let (module, layer) = self.layer(name)?;
        Some(self.layout.tensor(&Parts { module, files }, layer))
    }

    /// What is done to the input of a layer.
    pub(super) fn input(&self, name: &str, files: &Files<'_>) -> Result<Vec<OnlineOp>, IoError> {
        match self.layer(name) {
            Some((module, layer)) => self.layout.input(&Parts { module, files }, layer),
            None => Ok(Vec::new()),
        }
    }
}

/// The tensors of a model: packed layers in place of what they are made of.
pub(super) fn presented(stored: &[TensorInfo], packed: &Packed) -> Vec<TensorInfo> {
    // For every part the number of its layer, and whether the layer stands in its place.
    let mut parts = HashMap::new();
    for (layer, (module, Layer { endings, .. })) in packed.layers().iter().enumerate() {
        let named =
            endings.iter().enumerate().map(|(i, ending)| (format!("{module}{ending}"), (layer, i == 0)));
        parts.extend(named);
    }
    let mut bytes = vec![0; packed.layers().len()];
    for info in stored {
        if let Some((layer, _)) = parts.get(&info.name) {
            bytes[*layer] += info.bytes;
        }
    }
    let present = |info: &TensorInfo| match parts.get(&info.name) {
        None => Some(info.clone()),
        Some((_, false)) => None,
        Some((layer, true)) => {
            let (module, Layer { shape, spec, .. }) = &packed.layers()[*layer];
            Some(TensorInfo {
                name: format!("{module}.weight"),
                encoding: match spec {
                    WeightSpec::Block(format) => Encoding::Blocks(*format),
                    _ => Encoding::Grouped,
                },
                dims: vec![shape.n, shape.k],
                bytes: bytes[*layer],
                ..info.clone()
            })
        }
    };
    stored.iter().filter_map(present).collect()
}

/// `quantization_config` of a model.
struct Settings<'a>(&'a serde_json::Map<String, Value>);

impl<'a> Settings<'a> {
    fn of(config: &'a Value) -> Result<Option<Self>, IoError> {
        match config.get("quantization_config").or_else(|| config.get("compression_config")) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self(map))),
            Some(other) => Err(IoError::invalid("quantization_config", shown(other), "an object")),
        }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, IoError> {
        let text =
            |value: &'a Value| value.as_str().ok_or_else(|| self.refused(key, &shown(value), "a text"));
        self.get(key).map(text).transpose()
    }

    fn number(&self, key: &str) -> Result<Option<i64>, IoError> {
        let number =
            |value: &Value| value.as_i64().ok_or_else(|| self.refused(key, &shown(value), "an integer"));
        self.get(key).map(number).transpose()
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, IoError> {
        let flag =
            |value: &Value| value.as_bool().ok_or_else(|| self.refused(key, &shown(value), "true or false"));
        self.get(key).map(flag).transpose()
    }

    /// Refuses a setting unless it is absent or one of these.
    fn one_of(&self, key: &str, accepted: &[&str]) -> Result<(), IoError> {
        match self.text(key)? {
            Some(found) if !accepted.contains(&found) => {
                Err(self.refused(key, found, &format!("one of {}", accepted.join(", "))))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a setting that is there and says something.
    fn absent(&self, key: &str) -> Result<(), IoError> {
        let empty = |value: &Value| match value {
            Value::Bool(set) => !set,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        match self.get(key).filter(|value| !empty(value)) {
            Some(found) => Err(self.refused(key, &shown(found), "none: it changes what the model computes")),
            None => Ok(()),
        }
    }

    fn refused(&self, key: &str, found: &str, expected: &str) -> IoError {
        IoError::invalid(format!("quantization_config.{key}"), found, expected)
    }
}

/// A value for a message, cut.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(64).collect()
}
