//! SentencePiece's precompiled normalization: a double-array trie from byte strings to their replacements.
//!
//! The blob is a little-endian `u32` length, that many bytes of trie (`u32` units), then zero-terminated
//! replacement strings. A unit holds a base in bits 10–30 (shifted by 8 more when bit 9 is set), a label in
//! bits 0–7 with bit 31, and whether it is a leaf in bit 8; the child by byte `c` is at `base ^ c`.

use crate::error::{Result, TextError};

/// In bytes. The longest of Unicode's own (NFKC of U+FDFA) has 33; without a limit a small text could grow without
/// limit too.
const LONGEST_REPLACEMENT: usize = 256;

/// A checked normalization table.
#[derive(Debug, Clone, Default)]
pub(crate) struct CharsMap {
    units: Vec<u32>,
    replacements: Vec<u8>,
}

impl CharsMap {
    pub(crate) fn new(blob: &[u8]) -> Result<Self> {
        if blob.is_empty() {
            return Ok(Self::default());
        }
        let Some((size, rest)) = blob.split_first_chunk::<4>() else {
            return Err(TextError::BadCharsMap("it is shorter than its length field"));
        };
        let size = u32::from_le_bytes(*size) as usize;
        if !size.is_multiple_of(4) || size > rest.len() {
            return Err(TextError::BadCharsMap("its trie does not fit"));
        }
        let (trie, replacements) = rest.split_at(size);
        if replacements.last().is_some_and(|&byte| byte != 0) {
            return Err(TextError::BadCharsMap("its last replacement is not terminated"));
        }
        if std::str::from_utf8(replacements).is_err() {
            return Err(TextError::BadCharsMap("its replacements are not UTF-8"));
        }
        if replacements.split(|&byte| byte == 0).any(|text| text.len() > LONGEST_REPLACEMENT) {
            return Err(TextError::BadCharsMap("a replacement has more than 256 bytes"));
        }
        let units = trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        Ok(Self { units: units.collect(), replacements: replacements.to_vec() })
    }

    /// The longest prefix of `text` that has a replacement: its length and what replaces it.
    pub(crate) fn replace_prefix(&self, text: &str) -> Option<(usize, &str)> {
        let base = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let mut found = None;
        let mut node = base(*self.units.first()?);
        for (at, &byte) in text.as_bytes().iter().enumerate() {
            node ^= u32::from(byte);
            let Some(&unit) = self.units.get(node as usize) else { break };
            if byte == 0 || unit & (1 << 31 | 0xFF) != u32::from(byte) {
                break;
            }
            node ^= base(unit);
            if unit >> 8 & 1 == 1 {
                let Some(&leaf) = self.units.get(node as usize) else { break };
                found = Some((at + 1, (leaf & !(1 << 31)) as usize));
            }
        }
        let (len, start) = found.filter(|&(len, _)| text.is_char_boundary(len))?;
        let replacement = self.replacements.get(start..)?;
        let end = replacement.iter().position(|&byte| byte == 0)?;
        Some((len, std::str::from_utf8(&replacement[..end]).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trie that maps "A" to "bc": root at 0 with base 0x100, the child at 0x100 ^ 'A' is a leaf whose base
    /// points at the unit with the offset of the replacement.
    fn blob() -> Vec<u8> {
        let mut units = vec![0u32; 0x200];
        units[0] = 0x100 << 10;
        let child = 0x100 ^ 0x41usize;
        // The value lies at child ^ base = 0x80.
        units[child] = ((child as u32 ^ 0x80) << 10) | 1 << 8 | 0x41;
        units[0x80] = 1 << 31 | 1;
        let mut blob = (units.len() as u32 * 4).to_le_bytes().to_vec();
        blob.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        blob.extend(b"\0bc\0");
        blob
    }

    #[test]
    fn longest_known_prefix_is_replaced() {
        let map = CharsMap::new(&blob()).unwrap();
        assert_eq!(map.replace_prefix("Ax"), Some((1, "bc")));
        assert_eq!(map.replace_prefix("x"), None);
        assert_eq!(map.replace_prefix(""), None);
    }

    #[test]
    fn damaged_maps_are_refused_or_do_nothing() {
        assert!(CharsMap::new(b"\x01").is_err());
        assert!(CharsMap::new(b"\xff\xff\xff\xff1234").is_err());
        assert!(CharsMap::new(b"\0\0\0\0abc").is_err());
        // One character of text must not become a megabyte.
        let with_replacement = |len| [&[0; 4][..], &vec![b'a'; len], &[0]].concat();
        assert!(CharsMap::new(&with_replacement(LONGEST_REPLACEMENT)).is_ok());
        let error = CharsMap::new(&with_replacement(LONGEST_REPLACEMENT + 1)).unwrap_err();
        assert!(error.to_string().contains("more than 256 bytes"), "{error}");
        // Every single-byte corruption is either refused or harmless.
        let good = blob();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xFF;
            if let Ok(map) = CharsMap::new(&bad) {
                map.replace_prefix("A");
            }
        }
    }
}
