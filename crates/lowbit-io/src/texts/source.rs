//! The bytes of a text file as they are unpacked, hashed and counted as they pass.

use crate::{IoError, bytes::open_regular, digest::hexadecimal};
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

/// Most bytes of a text file as it is unpacked: a part of C4 has 0.8 GB.
pub const MAX_TEXT: u64 = 1 << 30;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file that is being read.
pub(super) struct Source {
    bytes: BufReader<Box<dyn Read>>,
    hash: Sha256,
    passed: u64,
    most: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, IoError> {
        let mut file = BufReader::new(open_regular(path)?.0);
        let packed = file.fill_buf().map_err(|error| IoError::os("read", error))?.starts_with(&GZIP);
        Ok(Self::new(file, packed, MAX_TEXT))
    }

    fn new(file: BufReader<File>, packed: bool, most: u64) -> Self {
        let bytes: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Self { bytes: BufReader::new(bytes), hash: Sha256::new(), passed: 0, most }
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> Result<Vec<u8>, IoError> {
        let mut bytes = Vec::new();
        let left = self.most - self.passed;
        (&mut self.bytes)
            .take(left + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| IoError::os("read or unpack", error))?;
        self.count(&bytes)?;
        Ok(bytes)
    }

    /// Puts the next line into `line`, without its end, at most `longest` bytes; false where there is none.
    pub(super) fn line(&mut self, line: &mut Vec<u8>, longest: u64) -> Result<bool, IoError> {
        line.clear();
        (&mut self.bytes)
            .take(longest + 1)
            .read_until(b'\n', line)
            .map_err(|error| IoError::os("read or unpack", error))?;
        if line.len() as u64 > longest {
            return Err(IoError::TooLarge { what: "line".into(), found: line.len() as u64, most: longest });
        }
        self.count(line)?;
        let any = !line.is_empty();
        if line.ends_with(b"\n") {
            line.pop();
        }
        Ok(any)
    }

    fn count(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        self.passed += bytes.len() as u64;
        if self.passed > self.most {
            let what = "text, as it is unpacked,".into();
            return Err(IoError::TooLarge { what, found: self.passed, most: self.most });
        }
        self.hash.update(bytes);
        Ok(())
    }

    /// Of what passed.
    pub(super) fn sha256(self) -> String {
        hexadecimal(self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    #[test]
    fn a_small_file_that_unpacks_to_more_than_the_limit_is_refused_when_the_limit_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.gz");
        let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
        encoder.write_all(&vec![b'a'; 1 << 20]).unwrap();
        encoder.finish().unwrap();
        let open = |most| Source::new(BufReader::new(File::open(&path).unwrap()), true, most);
        assert_eq!(open(1 << 20).rest().unwrap().len(), 1 << 20);
        let error = open(1000).rest().unwrap_err();
        assert!(matches!(error, IoError::TooLarge { found: 1001, most: 1000, .. }), "{error}");
        let error = open(1 << 20).line(&mut Vec::new(), 10).unwrap_err();
        assert!(matches!(error, IoError::TooLarge { found: 11, most: 10, .. }), "{error}");
    }

    #[test]
    fn lines_end_at_line_feeds_only_and_the_last_needs_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "a\u{2028}b\n\nc").unwrap();
        let mut source = Source::open(&path).unwrap();
        let (mut line, mut lines) = (Vec::new(), Vec::new());
        while source.line(&mut line, 100).unwrap() {
            lines.push(String::from_utf8(line.clone()).unwrap());
        }
        assert_eq!(lines, ["a\u{2028}b", "", "c"]);
    }
}
