//! GGUF files: metadata and tensors, whole or split into shards.
//!
//! Opening reads the list of tensors and the places of the metadata values, checks that everything lies where it
//! must, and copies neither weights nor vocabulary: a 500 MB file takes a few milliseconds and less than a megabyte
//! of memory.

mod header;
mod layout;
mod metadata;
mod shards;
mod types;
mod value;
mod write;

pub(crate) use shards::is_later_shard;

pub use metadata::Metadata;
pub use value::{Array, Value, ValueType};
pub use write::{GgufWriter, OwnedValue};

use crate::{
    Access, Encoding, IoError, RawTensor, TensorInfo,
    bytes::{self, Opened},
    problem,
    tensor::{quant_tensor, to_vector},
};
use lowbit_format::{QuantTensor, Storage};
use std::path::Path;

/// An opened GGUF checkpoint.
#[derive(Clone, Debug)]
pub struct Gguf {
    version: u32,
    metadata: Metadata,
    parts: Vec<Storage>,
    opened: Vec<Opened>,
    tensors: Vec<TensorInfo>,
    /// Name of the type and bytes of the tail for each tensor.
    types: Vec<(&'static str, usize)>,
    /// Indices of `tensors` by name.
    sorted: Vec<u32>,
    data_bytes: u64,
}

impl Gguf {
    /// Opens a file, and with any shard of a split set (`NAME-00001-of-00003.gguf`) the whole set.
    ///
    /// # Errors
    /// What is wrong with the file, and for a file of another kind what it looks like.
    pub fn open(path: &Path, access: Access) -> Result<Self, IoError> {
        let (storage, first) = bytes::open(path, access)?;
        problem::check_not_something_else(storage.bytes()).map_err(|e| e.in_file(path))?;
        let head = header::read(&storage).map_err(|e| e.in_file(path))?;
        match shards::split(&head.metadata).map_err(|e| e.in_file(path))? {
            None => Self::assemble(vec![(storage, head)], vec![first]).map_err(|e| e.in_file(path)),
            Some(split) => {
                let set = shards::open_set(path, access, split)?;
                Self::assemble(set.parts, set.opened).map_err(|e| e.in_file(path))
            }
        }
    }

    /// Reads a whole checkpoint from bytes.
    ///
    /// # Errors
    /// What is wrong with them; a shard of a split set is refused.
    pub fn parse(bytes: Storage) -> Result<Self, IoError> {
        problem::check_not_something_else(bytes.bytes())?;
        let head = header::read(&bytes)?;
        if let Some(split) = shards::split(&head.metadata)? {
            return Err(IoError::Shard {
                shard: split.index.to_string(),
                why: format!("one of {} files that must be opened together", split.count),
            });
        }
        Self::assemble(vec![(bytes, head)], Vec::new())
    }

    /// Reads a split set from the bytes of its shards in order.
    ///
    /// # Errors
    /// What is wrong with one of them, or why they do not belong together.
    pub fn parse_shards(shards: Vec<Storage>) -> Result<Self, IoError> {
        let parts = shards
            .into_iter()
            .map(|bytes| {
                let head = header::read(&bytes)?;
                Ok((bytes, head))
            })
            .collect::<Result<Vec<_>, IoError>>()?;
        let heads: Vec<_> = parts.iter().map(|p| &p.1).collect();
        shards::check_set(&heads)?;
        Self::assemble(parts, Vec::new())
    }

    fn assemble(parts: Vec<(Storage, header::Head)>, opened: Vec<Opened>) -> Result<Self, IoError> {
        let views: Vec<layout::Part<'_>> = parts
            .iter()
            .map(|(bytes, head)| layout::Part {
                tensors: &head.tensors,
                alignment: head.alignment,
                data: head.data,
                len: bytes.len() as u64,
            })
            .collect();
        let placed = layout::place(&views)?;
        let data_bytes = placed.iter().map(|p| p.info.bytes as u64).sum();
        let types = placed.iter().map(|p| (p.type_name, p.tail)).collect();
        let tensors: Vec<TensorInfo> = placed.into_iter().map(|p| p.info).collect();
        let sorted = sort_names(&tensors)?;
        let (storages, mut heads): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let head = heads.swap_remove(0);
        Ok(Self {
            version: head.version,
            metadata: head.metadata,
            parts: storages,
            opened,
            tensors,
            types,
            sorted,
            data_bytes,
        })
    }

    /// Version of the file format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata; of a split set, that of the first shard.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Every tensor in the files' order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor's place and type.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.index(name).map(|i| &self.tensors[i])
    }

    /// Name of the tensor's type as GGUF tools print it: `Q4_K`.
    pub fn type_name(&self, name: &str) -> Option<&'static str> {
        self.index(name).map(|i| self.types[i].0)
    }

    /// A tensor as a matrix over the file's bytes; outer dimensions are stacked ([`TensorInfo::matrix`]).
    ///
    /// # Errors
    /// Where there is none of that name, or it holds no weights.
    pub fn tensor(&self, name: &str) -> Result<QuantTensor, IoError> {
        let i = self.index(name).ok_or_else(|| problem::missing(name, self.names()))?;
        let (info, (_, tail)) = (&self.tensors[i], self.types[i]);
        let all = self.bytes_of(info);
        let codes = info.bytes - tail;
        let scale = match tail {
            0 => 1.0,
            _ => {
                let raw = all.bytes().get(codes..codes + 4).and_then(|b| b.first_chunk());
                raw.map_or(f32::NAN, |b| f32::from_le_bytes(*b))
            }
        };
        if !scale.is_finite() {
            return Err(IoError::invalid(format!("the scale of tensor {name:?}"), scale, "a finite number"));
        }
        let codes = all.slice(0..codes).expect("the codes lie inside the tensor");
        match quant_tensor(info.encoding, info.matrix(), codes, scale) {
            Some(tensor) => tensor.map_err(|error| IoError::Tensor { name: name.to_owned(), error }),
            None => Err(IoError::NotWeights {
                name: name.to_owned(),
                dtype: info.encoding.label().to_owned(),
                next: "take a file quantized to another type",
            }),
        }
    }

    /// A small tensor decoded to f32: norms, biases, rope factors.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn vector(&self, name: &str) -> Result<Vec<f32>, IoError> {
        self.tensor(name).map(|t| to_vector(&t))
    }

    /// A tensor's bytes with no meaning attached.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn raw(&self, name: &str) -> Result<RawTensor, IoError> {
        let info = self.info(name).ok_or_else(|| problem::missing(name, self.names()))?;
        Ok(RawTensor { dtype: info.encoding.label(), dims: info.dims.clone(), bytes: self.bytes_of(info) })
    }

    /// Bytes of all tensors.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Bytes of all files.
    pub fn file_bytes(&self) -> u64 {
        self.parts.iter().map(|p| p.len() as u64).sum()
    }

    pub(crate) fn opened(&self) -> &[Opened] {
        &self.opened
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|t| t.name.as_str())
    }

    fn index(&self, name: &str) -> Option<usize> {
        let found = self.sorted.binary_search_by(|i| self.tensors[*i as usize].name.as_str().cmp(name));
        found.ok().map(|i| self.sorted[i] as usize)
    }

    fn bytes_of(&self, info: &TensorInfo) -> Storage {
        let start = info.offset as usize;
        self.parts[info.file].slice(start..start + info.bytes).expect("spans were checked at opening")
    }
}

/// Indices of tensors by name, refusing a name that occurs twice.
pub(crate) fn sort_names(tensors: &[TensorInfo]) -> Result<Vec<u32>, IoError> {
    let name = |i: &u32| tensors[*i as usize].name.as_str();
    let mut sorted: Vec<u32> = (0..tensors.len() as u32).collect();
    sorted.sort_unstable_by_key(|i| name(i));
    match sorted.windows(2).find(|w| name(&w[0]) == name(&w[1])) {
        Some(twice) => Err(IoError::Duplicate { what: "tensor", name: name(&twice[0]).to_owned() }),
        None => Ok(sorted),
    }
}

/// Whether files that lowbit writes have a type for an encoding.
pub fn can_hold(encoding: Encoding) -> bool {
    type_number(encoding).is_some()
}

/// The type number that stands for an encoding in files lowbit writes: llama.cpp's, where several programs number
/// differently. `None` where there is none, and for I2_S, whose scale stands behind the codes.
fn type_number(encoding: Encoding) -> Option<u32> {
    (0..256).find(|n| types::meanings(*n).first().is_some_and(|m| m.encoding == encoding && m.tail == 0))
}
