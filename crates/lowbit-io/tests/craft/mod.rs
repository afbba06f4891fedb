//! Files made field by field, right or wrong.
#![allow(dead_code)]

use lowbit_format::Storage;
use lowbit_io::{IoError, gguf::Gguf};

/// The fields of a GGUF file, each of which a test may spoil.
pub(crate) struct Craft {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// Counts other than the true ones.
    pub(crate) tensor_count: Option<u64>,
    pub(crate) pair_count: Option<u64>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) alignment: usize,
    /// Bytes of the data region.
    pub(crate) data: Vec<u8>,
}

pub(crate) struct Pair {
    pub(crate) key: Vec<u8>,
    pub(crate) kind: u32,
    pub(crate) value: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: Vec<u8>,
    /// As in the file: innermost first.
    pub(crate) dims: Vec<u64>,
    pub(crate) number: u32,
    pub(crate) offset: u64,
}

pub(crate) const U8: u32 = 0;
pub(crate) const U32: u32 = 4;
pub(crate) const I32: u32 = 5;
pub(crate) const F32: u32 = 6;
pub(crate) const BOOL: u32 = 7;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

/// A valid file of two tensors: `a` of 2 by 32 f32 weights, `b` of 32 weights in a Q4_0 block.
pub(crate) fn valid() -> Craft {
    Craft {
        magic: *b"GGUF",
        version: 3,
        tensor_count: None,
        pair_count: None,
        pairs: vec![pair("general.architecture", STRING, text(b"llama"))],
        tensors: vec![tensor("a", &[32, 2], 0, 0), tensor("b", &[32], 2, 256)],
        alignment: 32,
        data: vec![0; 288],
    }
}

pub(crate) fn pair(key: &str, kind: u32, value: Vec<u8>) -> Pair {
    Pair { key: key.as_bytes().to_vec(), kind, value }
}

pub(crate) fn u32_pair(key: &str, value: u32) -> Pair {
    pair(key, U32, value.to_le_bytes().to_vec())
}

pub(crate) fn tensor(name: &str, dims: &[u64], number: u32, offset: u64) -> Tensor {
    Tensor { name: name.as_bytes().to_vec(), dims: dims.to_vec(), number, offset }
}

pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

pub(crate) fn array(element: u32, len: u64, values: &[u8]) -> Vec<u8> {
    [&element.to_le_bytes()[..], &len.to_le_bytes(), values].concat()
}

impl Craft {
    /// Everything before the data region, without padding.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.pair_count.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        for pair in &self.pairs {
            out.extend(text(&pair.key));
            out.extend(pair.kind.to_le_bytes());
            out.extend(&pair.value);
        }
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(tensor.number.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.head();
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend(&self.data);
        out
    }

    pub(crate) fn parse(&self) -> Result<Gguf, IoError> {
        Gguf::parse(Storage::from(self.bytes()))
    }

    /// The message with which the file is refused.
    pub(crate) fn refusal(&self) -> String {
        match self.parse() {
            Ok(_) => panic!("the file was accepted"),
            Err(error) => error.to_string(),
        }
    }
}

/// A valid file that `spoil` has changed, and the message with which it is refused.
pub(crate) fn refusal_of(spoil: impl FnOnce(&mut Craft)) -> String {
    let mut craft = valid();
    spoil(&mut craft);
    craft.refusal()
}

/// A safetensors file of a JSON header and data.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// A llama2.c file of version 0.
pub(crate) fn llama2c(numbers: [i32; 7], floats: usize) -> Vec<u8> {
    let mut out: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    out.resize(out.len() + 4 * floats, 0);
    out
}

/// Dim 8, hidden 12, 2 layers, 2 heads, 1 kv head, 10 tokens, context 4, tied.
pub(crate) const LLAMA2C: [i32; 7] = [8, 12, 2, 2, 1, 10, 4];

/// How many floats such a file has after its header, counted by hand:
/// embedding 80; norms 2·8 twice and 8; per layer wq 64, wk 32, wv 32, wo 64, three of 96; rotary tables 2·4·2.
pub(crate) const LLAMA2C_FLOATS: usize = 80 + 16 + 16 + 8 + 2 * (64 + 32 + 32 + 64 + 3 * 96) + 16;
