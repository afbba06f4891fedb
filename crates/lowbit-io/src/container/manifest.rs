//! The metadata of a container: version, texts, and what the quantized tensors are.

use crate::{
    IoError,
    hf::{
        MAX_CONFIG, parse_config,
        safetensors::{MAX_NAME, MAX_TENSORS, Shape},
    },
};
use lowbit_format::{ActSpec, NK, OnlineKind, WeightSpec};
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{collections::BTreeMap, fmt};

pub(super) const VERSION_KEY: &str = "lowbit.version";
pub(super) const CONFIG_KEY: &str = "lowbit.config";
pub(super) const ACTIVATIONS_KEY: &str = "lowbit.activations";
pub(super) const TENSORS_KEY: &str = "lowbit.tensors";
/// The version that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;

/// Beginning of field names in an entry of `lowbit.tensors` that may be skipped.
const SKIPPED_FIELD: &str = "x-";
/// Longest label of a format: real ones have some thirty letters, and as many for each term that is added.
const MAX_LABEL: usize = 256;
/// Most operations on the input of one layer.
pub(super) const MAX_INPUT: usize = 8;

/// Texts beside the configuration, each as the file of that name in a Hugging Face folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerText {
    /// `tokenizer.json`.
    Tokenizer,
    /// `tokenizer_config.json`.
    TokenizerConfig,
    /// `generation_config.json`.
    GenerationConfig,
    /// `chat_template.jinja`.
    ChatTemplate,
}

impl ContainerText {
    /// Every text.
    pub const ALL: [Self; 4] =
        [Self::Tokenizer, Self::TokenizerConfig, Self::GenerationConfig, Self::ChatTemplate];

    /// The file of a Hugging Face folder that it is.
    pub fn file(self) -> &'static str {
        match self {
            Self::Tokenizer => "tokenizer.json",
            Self::TokenizerConfig => "tokenizer_config.json",
            Self::GenerationConfig => "generation_config.json",
            Self::ChatTemplate => "chat_template.jinja",
        }
    }

    /// The metadata key that holds it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tokenizer => "lowbit.tokenizer",
            Self::TokenizerConfig => "lowbit.tokenizer_config",
            Self::GenerationConfig => "lowbit.generation_config",
            Self::ChatTemplate => "lowbit.chat_template",
        }
    }
}

/// What one quantized tensor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) spec: WeightSpec,
    /// Outermost first.
    pub(super) dims: Vec<usize>,
    /// `dims` as rows of the last.
    pub(super) matrix: NK,
    /// What is done to the layer's input, the first operation first.
    pub(super) input: Vec<OnlineKind>,
}

/// All metadata of a container.
#[derive(Debug)]
pub(super) struct Manifest {
    /// Absent where the container holds the metadata of a GGUF file instead.
    pub(super) config: Option<serde_json::Value>,
    pub(super) texts: BTreeMap<ContainerText, String>,
    pub(super) tensors: BTreeMap<String, Declared>,
    /// In which numbers activations are multiplied, where that is prescribed.
    pub(super) activations: Option<ActSpec>,
}

impl Manifest {
    /// Reads the entries of `__metadata__` that are lowbit's.
    pub(super) fn parse(own: Vec<(String, String)>) -> Result<Self, IoError> {
        let version = own.iter().find(|(key, _)| key == VERSION_KEY).map(|(_, version)| version.as_str());
        check_version(version.ok_or_else(|| IoError::MissingKey { key: VERSION_KEY.into() })?)?;
        let (mut config, mut texts, mut tensors) = (None, BTreeMap::new(), BTreeMap::new());
        let mut activations = None;
        for (key, value) in own {
            match key.as_str() {
                VERSION_KEY => {}
                CONFIG_KEY => {
                    check_size(CONFIG_KEY, value.len())?;
                    config = Some(parse_config(value.as_bytes())?);
                }
                TENSORS_KEY => tensors = parse_tensors(&value)?,
                ACTIVATIONS_KEY => {
                    let field = || format!("metadata field {ACTIVATIONS_KEY:?}");
                    let known = ActSpec::parse(&value);
                    activations = Some(known.map_err(|_| {
                        let known = ActSpec::ALL.map(ActSpec::label).join(", ");
                        IoError::invalid(field(), shown(&value), known)
                    })?);
                }
                other => match ContainerText::ALL.into_iter().find(|text| text.key() == other) {
                    Some(text) => {
                        texts.insert(text, value);
                    }
                    None => return Err(unknown_key(other)),
                },
            }
        }
        Ok(Self { config, texts, tensors, activations })
    }
}

/// Refuses a configuration that is longer than one is.
pub(super) fn check_size(key: &str, bytes: usize) -> Result<(), IoError> {
    let (what, found) = (format!("metadata field {key:?}"), bytes as u64);
    if found > MAX_CONFIG { Err(IoError::TooLarge { what, found, most: MAX_CONFIG }) } else { Ok(()) }
}

fn check_version(text: &str) -> Result<(), IoError> {
    // "+1" and "01" are no versions.
    let version = text.parse::<u32>().ok().filter(|v| v.to_string() == text);
    match version {
        Some(VERSION) => Ok(()),
        Some(found) => Err(IoError::Version {
            format: "lowbit container",
            found,
            next: "version 1 is read; take a newer lowbit, or write the model again with this one",
        }),
        None => Err(IoError::invalid(
            format!("metadata field {VERSION_KEY:?}"),
            format!("{:?}", shown(text)),
            "a number",
        )),
    }
}

fn unknown_key(key: &str) -> IoError {
    IoError::invalid(
        format!("metadata field {:?}", shown(key)),
        "a key that this program does not know and that may change what the weights mean",
        "a file of this version; take a newer lowbit",
    )
}

/// A text from the file for a message, cut.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn parse_tensors(json: &str) -> Result<BTreeMap<String, Declared>, IoError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let entries = deserializer.deserialize_map(EntriesVisitor);
    let entries = entries.and_then(|entries| deserializer.end().map(|()| entries));
    let entries =
        entries.map_err(|e| IoError::Json { what: "metadata field lowbit.tensors", error: e.to_string() })?;
    entries.into_iter().map(|(name, entry)| declared(&name, entry).map(|d| (name, d))).collect()
}

/// The meaning of an entry; its shape is one that can be stored.
fn declared(name: &str, entry: Entry) -> Result<Declared, IoError> {
    let spec =
        WeightSpec::parse(&entry.spec).map_err(|error| IoError::Tensor { name: name.to_owned(), error })?;
    if let WeightSpec::Float(format) = spec {
        return Err(IoError::invalid(
            format!("tensor {name:?} of lowbit.tensors"),
            format!("format {}", format.label()),
            "a quantized format; floats are stored under their own name and not listed",
        ));
    }
    let dims = entry.shape.0;
    let wrong = |why: &str| IoError::Dimensions {
        name: name.to_owned(),
        dims: dims.iter().map(|d| *d as u64).collect(),
        why: why.to_owned(),
    };
    let (Some(k), true) = (dims.last().copied(), dims.len() > 1) else {
        return Err(wrong("a quantized tensor has rows and columns"));
    };
    if dims.contains(&0) {
        return Err(wrong("a quantized tensor has weights"));
    }
    let n = dims[..dims.len() - 1].iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let matrix = n.filter(|n| n.checked_mul(k).is_some_and(|weights| weights <= isize::MAX as usize));
    let matrix = NK { n: matrix.ok_or_else(|| wrong("their product overflows"))?, k };
    let input = entry.input.iter().map(|label| OnlineKind::parse(label)).collect::<Result<_, _>>();
    let input = input.map_err(|error| IoError::Tensor { name: name.to_owned(), error })?;
    Ok(Declared { spec, dims, matrix, input })
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = BTreeMap<String, Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of formats and shapes by tensor name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name.len() > MAX_NAME {
                let found = name.len();
                return Err(de::Error::custom(format_args!(
                    "a tensor name of {found} bytes, at most {MAX_NAME} are accepted"
                )));
            }
            if entries.len() == MAX_TENSORS {
                return Err(de::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
            }
            if entries.contains_key(&name) {
                return Err(de::Error::custom(format_args!("tensor {name:?} occurs twice")));
            }
            let entry = map.next_value()?;
            entries.insert(name, entry);
        }
        Ok(entries)
    }
}

/// One entry as it is written.
struct Entry {
    spec: String,
    shape: Shape,
    input: Vec<String>,
}

impl<'de> de::Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with spec and shape")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
                let (mut spec, mut shape, mut input) = (None::<String>, None, None);
                while let Some(key) = map.next_key::<String>()? {
                    let twice = match key.as_str() {
                        "spec" => spec.replace(map.next_value()?).is_some(),
                        "shape" => shape.replace(map.next_value()?).is_some(),
                        "input" => input.replace(map.next_value::<Labels>()?).is_some(),
                        other if other.starts_with(SKIPPED_FIELD) => {
                            map.next_value::<IgnoredAny>()?;
                            false
                        }
                        other => {
                            return Err(de::Error::custom(format_args!(
                                "field {:?} of a tensor is not known and may change what its weights mean; \
                                 take a newer lowbit",
                                shown(other)
                            )));
                        }
                    };
                    if twice {
                        return Err(de::Error::custom(format_args!(
                            "field {key:?} of a tensor occurs twice"
                        )));
                    }
                }
                let spec = spec.ok_or_else(|| de::Error::missing_field("spec"))?;
                if spec.len() > MAX_LABEL {
                    return Err(de::Error::custom(format_args!(
                        "a format label of {} bytes, at most {MAX_LABEL} are accepted",
                        spec.len()
                    )));
                }
                let shape = shape.ok_or_else(|| de::Error::missing_field("shape"))?;
                Ok(Entry { spec, shape, input: input.map_or(Vec::new(), |input: Labels| input.0) })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Labels of operations, at most [`MAX_INPUT`].
struct Labels(Vec<String>);

impl<'de> de::Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of 1 to {MAX_INPUT} names of operations")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Labels, A::Error> {
                let mut labels: Vec<String> = Vec::new();
                while let Some(label) = seq.next_element()? {
                    if labels.len() == MAX_INPUT {
                        return Err(de::Error::invalid_length(MAX_INPUT + 1, &self));
                    }
                    labels.push(label);
                }
                if labels.is_empty() { Err(de::Error::invalid_length(0, &self)) } else { Ok(Labels(labels)) }
            }
        }
        deserializer.deserialize_seq(Texts)
    }
}
