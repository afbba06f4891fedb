//! What stands at the end of a file of columns, looked through before the `parquet` crate reads it: that crate goes down a
//! schema by recursion and makes room for as many children as a group says it has.

use crate::IoError;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

/// Most bytes of the footer: files with thousands of columns have a few hundred kilobytes.
const MAX_FOOTER: u64 = 8 << 20;
/// Most elements of a schema.
const MAX_ELEMENTS: u64 = 10_000;
/// Most groups in groups, of a schema and of what else the footer holds.
const MAX_DEPTH: usize = 32;

/// Looks through the footer of a file of `file_bytes`.
///
/// # Errors
/// Where the file is none of columns, or its footer is broken, too large or too deep.
pub(super) fn check(mut file: &File, file_bytes: u64) -> Result<(), IoError> {
    let no_parquet = |found: &str| IoError::invalid("file", found, "a Parquet file that is whole");
    let mut end = [0; 8];
    let read = |mut from: &File, at: u64, to: &mut [u8]| {
        from.seek(SeekFrom::Start(at)).and_then(|_| from.read_exact(to)).map_err(|e| IoError::os("read", e))
    };
    if file_bytes < 12 {
        return Err(no_parquet("fewer bytes than a Parquet file has at least"));
    }
    read(file, file_bytes - 8, &mut end)?;
    let [a, b, c, d, magic @ ..] = end;
    match &magic {
        b"PAR1" => {}
        b"PARE" => return Err(no_parquet("an encrypted footer")),
        _ => return Err(no_parquet("no mark of Parquet at its end")),
    }
    let len = u64::from(u32::from_le_bytes([a, b, c, d]));
    if len > file_bytes - 12 {
        return Err(no_parquet("a footer longer than the file"));
    }
    if len > MAX_FOOTER {
        return Err(IoError::TooLarge { what: "footer".into(), found: len, most: MAX_FOOTER });
    }
    let mut footer = vec![0; len as usize];
    read(file, file_bytes - 8 - len, &mut footer)?;
    file.rewind().map_err(|e| IoError::os("read", e))?;
    Walk { bytes: &footer }
        .metadata()
        .ok_or_else(|| no_parquet("a footer that is damaged or of too many parts"))
}

/// A structure in Thrift's compact protocol, of which `None` says that it is broken or more than is accepted.
struct Walk<'a> {
    bytes: &'a [u8],
}

/// Kinds of values.
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

impl Walk<'_> {
    /// The metadata of a file, whose field 2 is the schema.
    fn metadata(mut self) -> Option<()> {
        self.fields(&mut |walk, id, kind| {
            if id == 2 && kind == LIST { walk.schema() } else { walk.skip(kind, MAX_DEPTH) }
        })
    }

    /// The elements of a schema: field 5 of a group is how many of those after it are its children.
    fn schema(&mut self) -> Option<()> {
        let (kind, count) = self.list()?;
        if count > MAX_ELEMENTS || (kind != STRUCT && count > 0) {
            return None;
        }
        // Children that are still to come, of the groups that an element is in.
        let mut open: Vec<u64> = Vec::new();
        for i in 0..count {
            let mut children = 0;
            self.fields(&mut |walk, id, kind| {
                if id == 5 && (4..=6).contains(&kind) {
                    let number = walk.number()?;
                    // Signs are folded into the last bit; none has fewer than no children.
                    children = if number & 1 == 0 { number / 2 } else { return None };
                    return Some(());
                }
                walk.skip(kind, MAX_DEPTH)
            })?;
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if children > count - i - 1 || open.len() > MAX_DEPTH {
                return None;
            }
            open.push(children);
        }
        Some(())
    }

    /// The fields of a structure, by their number and kind.
    fn fields(&mut self, field: &mut dyn FnMut(&mut Self, u64, u8) -> Option<()>) -> Option<()> {
        let mut id = 0u64;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Some(());
            }
            id = match header >> 4 {
                0 => self.number()? / 2,
                step => id.checked_add(u64::from(step))?,
            };
            field(self, id, header & 15)?;
        }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // Truth values are their kind.
            1 | 2 => Some(()),
            3 => self.take(1),
            4..=6 => self.number().map(drop),
            7 => self.take(8),
            BINARY => {
                let len = self.number()?;
                self.take(len)
            }
            LIST | 10 => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.element(kind, depth))
            }
            11 => {
                let count = self.number()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                (0..count).try_for_each(|_| {
                    self.element(kinds >> 4, depth)?;
                    self.element(kinds & 15, depth)
                })
            }
            STRUCT => self.fields(&mut |walk, _, kind| walk.skip(kind, depth)),
            13 => self.take(16),
            _ => None,
        }
    }

    /// Outside of a structure a truth value is a byte.
    fn element(&mut self, kind: u8, depth: usize) -> Option<()> {
        self.skip(if kind <= 2 { 3 } else { kind }, depth)
    }

    /// Kind and number of the elements of a list.
    fn list(&mut self) -> Option<(u8, u64)> {
        let header = self.byte()?;
        let count = if header >> 4 == 15 { self.number()? } else { u64::from(header >> 4) };
        Some((header & 15, count))
    }

    /// A number of seven bits a byte.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(number);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn take(&mut self, count: u64) -> Option<()> {
        self.bytes = self.bytes.get(usize::try_from(count).ok()?..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metadata with a schema alone, of groups that say how many children they have.
    fn schema(children: &[u64]) -> Vec<u8> {
        let mut bytes = vec![0x29, 0xfc];
        let number = |bytes: &mut Vec<u8>, mut number: u64| {
            while number > 127 {
                bytes.push(number as u8 | 128);
                number >>= 7;
            }
            bytes.push(number as u8);
        };
        number(&mut bytes, children.len() as u64);
        for count in children {
            bytes.push(0x55);
            number(&mut bytes, 2 * count);
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn schemas_that_are_deep_or_promise_more_than_they_hold_are_refused() {
        let walk = |children: &[u64]| Walk { bytes: &schema(children) }.metadata();
        assert!(walk(&[2, 0, 0]).is_some());
        assert!(walk(&[2, 1, 0, 0]).is_some());
        assert!(walk(&[3, 0, 0]).is_none());
        assert!(walk(&[1 << 31, 0]).is_none());
        assert!(walk(&[[1; 20].as_slice(), &[0]].concat()).is_some());
        assert!(walk(&[[1; 200].as_slice(), &[0]].concat()).is_none());
        assert!(walk(&[0; 20_000]).is_none());
        // Lists in lists of some other field.
        assert!(Walk { bytes: &[&[0x99], [0x19; 200].as_slice()].concat() }.metadata().is_none());
        assert!(Walk { bytes: &[] }.metadata().is_none());
    }
}
