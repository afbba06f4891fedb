//! To a Hugging Face folder of floats, for the libraries that read these.
//!
//! Models that came from such a folder keep its texts and names. Those that came from a GGUF file get what the folder
//! would have had: names and hyper-parameters by the architecture's own tables, used in reverse, rows of query and key in
//! the order from which GGUF's converter moved them, and norms less what it added.

use super::{Converted, ConvertedTensor};
use crate::{QuantError, driver};
use lowbit_engine::{EngineError, Tensors, model_spec, naming, tokenizer_texts};
use lowbit_format::{FloatFormat, OnlineOp, QuantTensor};
use lowbit_io::{
    Checkpoint, Config, IoError, Payload, TensorInfo,
    gguf::Metadata,
    hf::{ElementType, FolderWriter},
};
use lowbit_kernels::ops::RopePairs;
use lowbit_model::{ARCHITECTURES, ModelError, Names, Naming, Role, WeightCoding, hugging_face};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    ops::Range,
    path::Path,
    sync::Arc,
};

pub(super) fn write(
    checkpoint: &Checkpoint,
    source: &Path,
    out: &Path,
    format: FloatFormat,
) -> Result<Converted, QuantError> {
    if checkpoint.activations().is_some() {
        return Err(QuantError::Unsupported {
            path: source.display().to_string(),
            why: "it prescribes activations of 8 bits or fewer, which a folder of floats cannot say; write one with --to compressed-tensors, or quantize with another method, such as gptq",
        });
    }
    let mut writer = FolderWriter::new();
    let Folder { config, parts } = folder(checkpoint, source, &mut writer, format)?;
    writer.text("config.json", pretty(&config));
    let shared = Arc::new(checkpoint.clone());
    let mut tensors = Vec::new();
    for part in parts {
        tensors.push(part.floats(&shared, format, &mut writer)?);
    }
    Ok(Converted { tensors, bytes: writer.write(out)? })
}

/// What a folder of floats holds beside texts.
pub(super) struct Folder {
    /// Its `config.json`.
    pub(super) config: Value,
    /// Its tensors, in the order of the source.
    pub(super) parts: Vec<Part>,
}

/// What becomes of every tensor; all texts of the folder but its configuration are put into `writer`.
pub(super) fn folder(
    checkpoint: &Checkpoint,
    source: &Path,
    writer: &mut FolderWriter,
    float: FloatFormat,
) -> Result<Folder, QuantError> {
    let unsupported = |why| QuantError::Unsupported { path: source.display().to_string(), why };
    let wrong =
        |error: ModelError| QuantError::Model(EngineError::Model { path: source.to_owned(), source: error });
    let mut spec = model_spec(checkpoint).map_err(wrong)?;
    if spec.coding != WeightCoding::Plain && checkpoint.activations().is_none() {
        return Err(unsupported(
            "its architecture prescribes activations of 8 bits, which the folder cannot say; write a container with --to lowbit",
        ));
    }
    // What the container prescribes beside its hyper-parameters is no part of them.
    spec.coding = WeightCoding::Plain;
    let architecture = ARCHITECTURES.iter().find(|architecture| architecture.name == spec.architecture);
    let names =
        architecture.expect("specs are made by the architectures of the list").names(naming(checkpoint));
    match checkpoint.config() {
        Config::Json(json) => {
            let mut config = json.clone();
            plain(&mut config, float);
            if let Some(text) = config.get_mut("text_config") {
                plain(text, float);
            }
            for (text, content) in driver::texts(checkpoint, source)? {
                writer.text(text.file(), content);
            }
            let as_it_is = |info: &TensorInfo| Part {
                name: info.name.clone(),
                dims: info.dims.clone(),
                role: names.role(&info.name),
                rows: 0..info.matrix().n,
                pairs: None,
                less: 0.0,
                info: info.clone(),
            };
            Ok(Folder { config, parts: checkpoint.tensors().iter().map(as_it_is).collect() })
        }
        Config::Gguf(metadata) => {
            let made = hugging_face(&spec, &Tensors(checkpoint)).map_err(wrong)?;
            let config = texts(metadata, source, made.config, writer, float)?;
            let translation = Translation {
                from: names,
                to: made.architecture.names(Naming::HuggingFace),
                // Rows of query and key lie in the file as its own kind of rotation wants them.
                pairs: (spec.rope_pairs == RopePairs::Adjacent).then_some(spec.head_dim),
                less: made.spec.gain_offset - spec.gain_offset,
            };
            if translation.pairs.is_some() && spec.ropes.iter().any(|rope| rope.dims != spec.head_dim) {
                return Err(unsupported(
                    "its heads rotate only in part, and the order of their rows is not known",
                ));
            }
            let mut parts = Vec::new();
            for info in checkpoint.tensors() {
                translation.parts(info, &mut parts)?;
            }
            Ok(Folder { config, parts })
        }
        Config::Llama2c(_) => Err(unsupported(
            "llama2.c files have no Hugging Face form here; llama2.c's own export script writes one from its checkpoint",
        )),
    }
}

/// What `config.json` calls a type of floats.
fn torch(float: FloatFormat) -> &'static str {
    match float {
        FloatFormat::F32 => "float32",
        FloatFormat::F16 => "float16",
        FloatFormat::Bf16 => "bfloat16",
    }
}

/// Takes what was said of packed layers out of a `config.json`, and says the type of the floats.
fn plain(config: &mut Value, float: FloatFormat) {
    if let Some(object) = config.as_object_mut() {
        object.remove("quantization_config");
        object.remove("dtype");
        object.insert("torch_dtype".into(), torch(float).into());
    }
}

pub(super) fn pretty(json: &Value) -> String {
    format!("{json:#}\n")
}

/// The texts of a folder from the metadata of a GGUF file, and its configuration with what they say of tokens.
fn texts(
    metadata: &Metadata,
    source: &Path,
    mut config: Value,
    writer: &mut FolderWriter,
    float: FloatFormat,
) -> Result<Value, QuantError> {
    config["torch_dtype"] = torch(float).into();
    if let Some(mut texts) = tokenizer_texts(metadata, source)? {
        let mut generation = json!({});
        let eos = match texts.eos[..] {
            [] => Value::Null,
            [one] => one.into(),
            _ => json!(texts.eos),
        };
        for (key, id) in
            [("bos_token_id", json!(texts.bos)), ("eos_token_id", eos), ("pad_token_id", json!(texts.pad))]
        {
            config[key] = id.clone();
            generation[key] = id;
        }
        texts.tokenizer_config["model_max_length"] = config["max_position_embeddings"].clone();
        writer.text("tokenizer.json", texts.tokenizer.to_string());
        writer.text("tokenizer_config.json", pretty(&texts.tokenizer_config));
        writer.text("generation_config.json", pretty(&generation));
    } else {
        for key in ["bos_token_id", "eos_token_id"] {
            config[key] = Value::Null;
        }
    }
    Ok(config)
}

/// What changes between a GGUF file and a folder.
struct Translation<'a> {
    from: &'a Names,
    to: &'a Names,
    pairs: Option<usize>,
    less: f32,
}

impl Translation<'_> {
    fn parts(&self, info: &TensorInfo, out: &mut Vec<Part>) -> Result<(), QuantError> {
        let rope = [self.from.rope_divisors, self.from.rope_short, self.from.rope_long];
        let stem = info.name.strip_suffix(".weight").unwrap_or_default();
        if rope.contains(&Some(stem)) {
            // The configuration has them.
            return Ok(());
        }
        let Some(name) = self.from.translate(&info.name, self.to) else {
            return Err(QuantError::NotHeld {
                tensor: info.name.clone(),
                format: info.encoding.label().to_owned(),
                why: "the architecture has no place for it in a Hugging Face folder".to_owned(),
                next: "convert a file of the model alone",
            });
        };
        let weight = info.name.replace(".bias", ".weight");
        let turned = matches!(self.from.role(&weight), Some(Role::Query | Role::Key));
        let role = self.from.role(&info.name);
        let part = |name: String, dims: &[usize], rows: Range<usize>| Part {
            name,
            dims: dims.to_vec(),
            role,
            rows,
            pairs: self.pairs.filter(|_| turned),
            less: if self.from.is_gain(&info.name) { self.less } else { 0.0 },
            info: info.clone(),
        };
        match (name.contains("{expert}"), &info.dims[..]) {
            (true, [experts, rows @ .., k]) => {
                let rows: usize = rows.iter().product();
                let expert = |i: usize| name.replace("{expert}", &i.to_string());
                out.extend((0..*experts).map(|i| part(expert(i), &[rows, *k], i * rows..(i + 1) * rows)));
            }
            _ => out.push(part(name, &info.dims, 0..info.matrix().n)),
        }
        Ok(())
    }
}

/// A tensor of the folder, and how it comes from one of the source.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    pub(super) info: TensorInfo,
    /// What a weight matrix is for.
    pub(super) role: Option<Role>,
    /// Rows of the source's tensor.
    rows: Range<usize>,
    /// Rows of a head, of which every second one begins where half a head ends.
    pairs: Option<usize>,
    /// What is taken off every element.
    less: f32,
}

impl Part {
    /// The source's row for row `n` of this tensor, or the element where it is a vector.
    pub(super) fn row(&self, n: usize) -> usize {
        self.rows.start
            + match self.pairs {
                None => n,
                Some(head) => {
                    let (start, place) = (n / head * head, n % head);
                    start + 2 * (place % (head / 2)) + place / (head / 2)
                }
            }
    }

    /// Puts the tensor into `writer` as floats.
    pub(super) fn floats(
        self,
        checkpoint: &Arc<Checkpoint>,
        format: FloatFormat,
        writer: &mut FolderWriter,
    ) -> Result<ConvertedTensor, QuantError> {
        let from = checkpoint.format_label(&self.info);
        let inexact = self.inexact(checkpoint, &from, format)?;
        let (name, dims, again) = (self.name.clone(), self.dims.clone(), Arc::clone(checkpoint));
        let payload = Payload::made(move |out| self.write(&again, format, out));
        writer.tensor(&name, ElementType::Float(format), &dims, payload)?;
        Ok(ConvertedTensor { name, from, to: format.label().to_owned(), inexact })
    }

    /// Why the tensor is not exactly what it was, `None` where it is.
    fn inexact(
        &self,
        checkpoint: &Checkpoint,
        from: &str,
        format: FloatFormat,
    ) -> Result<Option<String>, QuantError> {
        let (tensor, ops) = (checkpoint.tensor(&self.info.name)?, checkpoint.input_ops(&self.info.name)?);
        let rounds = ops.iter().any(|op| !matches!(op, OnlineOp::Permute(_)));
        if format == FloatFormat::F32 || from == format.label() && self.less == 0.0 && ops.is_empty() {
            let why = "what is done to its input was multiplied into it";
            return Ok(rounds.then(|| why.to_owned()));
        }
        let mut rounded = 0usize;
        self.each_row(&tensor, &ops, |n, row| {
            let mut back = vec![0.0; row.len()];
            format.decode(&format.encode(row), &mut back);
            rounded += row.iter().zip(&back).filter(|(a, b)| a != b).count();
            match back.iter().zip(row).position(|(b, a)| !b.is_finite() && a.is_finite()) {
                None => Ok(()),
                Some(i) => Err(QuantError::NotHeld {
                    tensor: self.info.name.clone(),
                    format: from.to_owned(),
                    why: format!("row {n}, weight {i} is {}, too large for {}", row[i], format.label()),
                    next: "write a wider type, f32",
                }),
            }
        })?;
        Ok((rounded > 0).then(|| format!("{rounded} of its numbers are rounded")))
    }

    fn write(&self, checkpoint: &Checkpoint, format: FloatFormat, out: &mut dyn Write) -> io::Result<()> {
        let read = || {
            Ok::<_, IoError>((checkpoint.tensor(&self.info.name)?, checkpoint.input_ops(&self.info.name)?))
        };
        let (tensor, ops) = read().map_err(io::Error::other)?;
        self.each_row(&tensor, &ops, |_, row| out.write_all(&format.encode(row)))
    }

    /// Calls `take` with every row in order, by its number in this tensor. A vector is one row.
    fn each_row<E>(
        &self,
        tensor: &QuantTensor,
        ops: &[OnlineOp],
        mut take: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let k = tensor.shape().k;
        let (mut row, mut scratch) = (vec![0.0; k], vec![0.0; k]);
        let vector = self.dims.len() < 2;
        for n in 0..self.rows.len() {
            tensor.decode_row(if vector { n } else { self.row(n) }, &mut row);
            ops.iter().rev().for_each(|op| op.apply_to_weight(&mut row, &mut scratch));
            row.iter_mut().for_each(|x| *x -= self.less);
            if vector && self.pairs.is_some() {
                scratch.copy_from_slice(&row);
                row.iter_mut().enumerate().for_each(|(i, x)| *x = scratch[self.row(i)]);
            }
            take(n, &row)?;
        }
        Ok(())
    }
}
