//! llama2.c `.bin` files: a header of seven numbers, then f32 tensors of a Llama model in a fixed order.
//!
//! Version 0 has no magic number: it is recognized by its length, which the seven numbers give to the byte. Version 1
//! begins with `ak42` and a header of 256 bytes. The int8 version 2 is refused. Tensors get the names that GGUF gives
//! them; the rotary embedding turns adjacent pairs, as in GGUF files of Llama models.
//!
//! The tokenizer stands in a file beside it ([`Llama2c::vocabulary`]).

use crate::{
    Access, Encoding, IoError, RawTensor, TensorInfo,
    bytes::{self, Opened},
    cursor::Cursor,
    gguf::sort_names,
    problem,
    tensor::{quant_tensor, to_vector},
};
use lowbit_format::{FloatFormat, QuantTensor, Storage};
use std::path::{Path, PathBuf};

const MAGIC: u32 = 0x616b_3432;
const V1_HEADER: usize = 256;
const V0_HEADER: usize = 28;
/// Upper bounds of the header's numbers, far above any model of this kind.
const MAX_DIM: u32 = 1 << 16;
const MAX_LAYERS: u32 = 1 << 10;
const MAX_VOCAB: u32 = 1 << 20;
const MAX_CONTEXT: u32 = 1 << 20;

/// The hyper-parameters of a llama2.c model, range-checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Llama2cHeader {
    /// Version of the file format, 0 or 1.
    pub version: u32,
    /// Width of the residual stream.
    pub dim: usize,
    /// Width of the feed-forward layer.
    pub hidden_dim: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads.
    pub kv_heads: usize,
    /// Number of tokens.
    pub vocab: usize,
    /// Longest sequence trained on.
    pub context: usize,
    /// Whether the output matrix is the token embedding.
    pub tied_output: bool,
}

impl Llama2cHeader {
    fn read(all: &[u8]) -> Result<(Self, usize), IoError> {
        let mut cursor = Cursor::new(all, 0);
        let magic = cursor.u32(|| "the llama2.c header".into())?;
        if magic != MAGIC {
            let header = Self::read_numbers(&mut Cursor::new(all, 0), 0)?;
            return Ok((header, V0_HEADER));
        }
        let version = cursor.u32(|| "the llama2.c header".into())?;
        if version != 1 {
            let next = "expected the f32 versions 0 or 1: export the model again with --version 1";
            return Err(IoError::Version { format: "llama2.c", found: version, next });
        }
        let mut header = Self::read_numbers(&mut cursor, 1)?;
        let rest = cursor.span((V1_HEADER - cursor.position()) as u64, || "the llama2.c header".into())?;
        header.tied_output = match all[rest.start] {
            0 => false,
            1 => true,
            other => return Err(IoError::invalid("the header's shared classifier", other, "0 or 1")),
        };
        Ok((header, V1_HEADER))
    }

    fn read_numbers(cursor: &mut Cursor<'_>, version: u32) -> Result<Self, IoError> {
        let mut number = |key: &str, most: u32, sign: Sign| {
            let v = cursor.i32(|| format!("{key} of the llama2.c header"))?;
            let size = if sign == Sign::Either { v.unsigned_abs() } else { v.max(0) as u32 };
            if (1..=most).contains(&size) {
                return Ok((size as usize, v > 0));
            }
            Err(IoError::Range {
                key: format!("{key} of the llama2.c header"),
                found: v.to_string(),
                least: "1".into(),
                most: most.to_string(),
            })
        };
        let (dim, _) = number("dim", MAX_DIM, Sign::Positive)?;
        let (hidden_dim, _) = number("hidden_dim", 4 * MAX_DIM, Sign::Positive)?;
        let (layers, _) = number("n_layers", MAX_LAYERS, Sign::Positive)?;
        let (heads, _) = number("n_heads", MAX_DIM, Sign::Positive)?;
        let (kv_heads, _) = number("n_kv_heads", MAX_DIM, Sign::Positive)?;
        // Version 0 says by the sign whether the output matrix follows.
        let (vocab, tied_output) =
            number("vocab_size", MAX_VOCAB, if version == 0 { Sign::Either } else { Sign::Positive })?;
        let (context, _) = number("max_seq_len", MAX_CONTEXT, Sign::Positive)?;
        let divides = |what: &str, a: usize, b: usize| {
            if a.is_multiple_of(b) {
                return Ok(());
            }
            Err(IoError::invalid(format!("{what} of the llama2.c header"), b, format!("a divisor of {a}")))
        };
        divides("n_heads", dim, heads)?;
        divides("n_kv_heads", heads, kv_heads)?;
        if !(dim / heads).is_multiple_of(2) {
            return Err(IoError::invalid("the head size (dim / n_heads)", dim / heads, "an even number"));
        }
        Ok(Self { version, dim, hidden_dim, layers, heads, kv_heads, vocab, context, tied_output })
    }

    /// Size of a head.
    pub fn head_size(&self) -> usize {
        self.dim / self.heads
    }

    /// The file's tensors in order: name, or `None` for what is skipped, and dimensions. One entry a layer.
    fn sections(&self) -> Vec<(Option<&'static str>, Repeat, Vec<usize>)> {
        use Repeat::{Layers, Once};
        let (d, h) = (self.dim, self.hidden_dim);
        let kv = self.kv_heads * self.head_size();
        let embedding = (Some("token_embd.weight"), Once, vec![self.vocab, d]);
        let attn_norm = (Some("attn_norm.weight"), Layers, vec![d]);
        let ffn_norm = (Some("ffn_norm.weight"), Layers, vec![d]);
        let output_norm = (Some("output_norm.weight"), Once, vec![d]);
        let attention = [
            (Some("attn_q.weight"), Layers, vec![d, d]),
            (Some("attn_k.weight"), Layers, vec![kv, d]),
            (Some("attn_v.weight"), Layers, vec![kv, d]),
            (Some("attn_output.weight"), Layers, vec![d, d]),
        ];
        let feed_forward = [
            (Some("ffn_gate.weight"), Layers, vec![h, d]),
            (Some("ffn_down.weight"), Layers, vec![d, h]),
            (Some("ffn_up.weight"), Layers, vec![h, d]),
        ];
        let mut all = Vec::new();
        if self.version == 0 {
            all.extend([embedding, attn_norm]);
            all.extend(attention);
            all.push(ffn_norm);
            all.extend(feed_forward);
            all.push(output_norm);
            // Cosines and sines of the rotary embedding, which every reader computes itself.
            all.push((None, Once, vec![2, self.context, self.head_size() / 2]));
        } else {
            all.extend([attn_norm, ffn_norm, output_norm, embedding]);
            all.extend(attention);
            all.extend(feed_forward);
        }
        if !self.tied_output {
            all.push((Some("output.weight"), Once, vec![self.vocab, d]));
        }
        all
    }

    /// Length of the file in bytes. The bounds on the header's numbers keep every product below 2⁶³.
    fn file_len(&self, header: usize) -> u64 {
        let floats: u64 = self
            .sections()
            .iter()
            .map(|(_, repeat, dims)| {
                dims.iter().map(|d| *d as u64).product::<u64>() * repeat.times(self) as u64
            })
            .sum();
        header as u64 + 4 * floats
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Positive,
    Either,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Once,
    Layers,
}

impl Repeat {
    fn times(self, header: &Llama2cHeader) -> usize {
        if self == Self::Once { 1 } else { header.layers }
    }
}

/// An opened llama2.c model.
#[derive(Clone, Debug)]
pub struct Llama2c {
    header: Llama2cHeader,
    bytes: Storage,
    opened: Vec<Opened>,
    tensors: Vec<TensorInfo>,
    sorted: Vec<u32>,
    vocabulary: Option<PathBuf>,
}

impl Llama2c {
    /// Opens a `.bin` file and finds its tokenizer file beside it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(path: &Path, access: Access) -> Result<Self, IoError> {
        let (bytes, opened) = bytes::open(path, access)?;
        Self::from_opened(path, bytes, opened)
    }

    pub(crate) fn from_opened(path: &Path, bytes: Storage, opened: Opened) -> Result<Self, IoError> {
        let mut model = Self::parse(bytes).map_err(|e| e.in_file(path))?;
        model.opened = vec![opened];
        // The repository names them tok512.bin, tok4096.bin, ... by size, and tokenizer.bin for Llama 2's own.
        let names = [format!("tok{}.bin", model.header.vocab), "tokenizer.bin".to_owned()];
        model.vocabulary = names.iter().map(|n| path.with_file_name(n)).find(|p| p.is_file());
        Ok(model)
    }

    /// Reads a model from bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(bytes: Storage) -> Result<Self, IoError> {
        let (header, start) = Llama2cHeader::read(bytes.bytes())?;
        let expected = header.file_len(start);
        if (bytes.len() as u64) < expected {
            let what = "the last tensor".to_owned();
            return Err(IoError::Ends { what, needs: expected, found: bytes.len() as u64 });
        }
        if bytes.len() as u64 > expected {
            return Err(IoError::invalid(
                "the length of the file",
                bytes.len(),
                format!("{expected} bytes by its header"),
            ));
        }
        let mut tensors = Vec::new();
        let mut offset = start;
        for (name, repeat, dims) in header.sections() {
            let bytes = 4 * dims.iter().product::<usize>();
            for layer in 0..repeat.times(&header) {
                if let Some(name) = name {
                    let name = match repeat {
                        Repeat::Once => name.to_owned(),
                        Repeat::Layers => format!("blk.{layer}.{name}"),
                    };
                    let encoding = Encoding::Float(FloatFormat::F32);
                    let offset = offset as u64;
                    tensors.push(TensorInfo { name, encoding, dims: dims.clone(), file: 0, offset, bytes });
                }
                offset += bytes;
            }
        }
        let sorted = sort_names(&tensors)?;
        Ok(Self { header, bytes, opened: Vec::new(), tensors, sorted, vocabulary: None })
    }

    /// Whether bytes are a llama2.c file: by magic number, or for version 0 by a header whose numbers give exactly
    /// the file's length.
    pub fn looks_like(bytes: &[u8]) -> bool {
        if bytes.starts_with(&MAGIC.to_le_bytes()) {
            return true;
        }
        Llama2cHeader::read(bytes).is_ok_and(|(header, start)| {
            // A cut download is still told by name of what it is, where most of it is there.
            let expected = header.file_len(start);
            (expected / 2..=expected).contains(&(bytes.len() as u64))
        })
    }

    /// The hyper-parameters.
    pub fn header(&self) -> &Llama2cHeader {
        &self.header
    }

    /// The tokenizer file beside the model, where there is one.
    pub fn vocabulary(&self) -> Option<&Path> {
        self.vocabulary.as_deref()
    }

    /// The bytes of the tokenizer file beside the model, `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read_vocabulary(&self) -> Result<Option<Vec<u8>>, IoError> {
        self.vocabulary().map(|path| bytes::read_small(path, bytes::MAX_TEXT_FILE)).transpose()
    }

    /// Every tensor, under the name that GGUF gives it.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor's place and type.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        let found = self.sorted.binary_search_by(|i| self.tensors[*i as usize].name.as_str().cmp(name));
        found.ok().map(|i| &self.tensors[self.sorted[i] as usize])
    }

    /// A tensor as a matrix over the file's bytes.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn tensor(&self, name: &str) -> Result<QuantTensor, IoError> {
        let raw = self.raw(name)?;
        let info = self.info(name).expect("raw has found it");
        quant_tensor(info.encoding, info.matrix(), raw.bytes, 1.0)
            .expect("f32 elements are weights")
            .map_err(|error| IoError::Tensor { name: name.to_owned(), error })
    }

    /// A small tensor decoded to f32.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn vector(&self, name: &str) -> Result<Vec<f32>, IoError> {
        self.tensor(name).map(|t| to_vector(&t))
    }

    /// A tensor's bytes with no meaning attached.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn raw(&self, name: &str) -> Result<RawTensor, IoError> {
        let names = || self.tensors.iter().map(|t| t.name.as_str());
        let info = self.info(name).ok_or_else(|| problem::missing(name, names()))?;
        let start = info.offset as usize;
        let bytes = self.bytes.slice(start..start + info.bytes).expect("the length was checked at opening");
        Ok(RawTensor { dtype: info.encoding.label(), dims: info.dims.clone(), bytes })
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn opened(&self) -> &[Opened] {
        &self.opened
    }
}
