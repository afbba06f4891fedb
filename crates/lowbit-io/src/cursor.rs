//! Reading little-endian fields from bytes that may end anywhere.

use crate::IoError;
use std::ops::Range;

/// A position in bytes. Every read is checked against what is left.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The range of the next `len` bytes, passing them. `what` completes "file ends at byte 24, but ... needs".
    pub(crate) fn span(&mut self, len: u64, what: impl Fn() -> String) -> Result<Range<usize>, IoError> {
        let start = self.at;
        let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len));
        match end {
            Some(end) if end <= self.bytes.len() => {
                self.at = end;
                Ok(start..end)
            }
            _ => Err(IoError::Ends {
                what: what(),
                needs: (start as u64).saturating_add(len),
                found: self.bytes.len() as u64,
            }),
        }
    }

    fn array<const N: usize>(&mut self, what: impl Fn() -> String) -> Result<[u8; N], IoError> {
        let span = self.span(N as u64, what)?;
        Ok(*self.bytes[span].first_chunk().expect("the span has N bytes"))
    }

    pub(crate) fn u32(&mut self, what: impl Fn() -> String) -> Result<u32, IoError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self, what: impl Fn() -> String) -> Result<i32, IoError> {
        self.array(what).map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: impl Fn() -> String) -> Result<u64, IoError> {
        self.array(what).map(u64::from_le_bytes)
    }
}
