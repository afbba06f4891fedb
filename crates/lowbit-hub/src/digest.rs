//! The hashes a download is checked against: SHA-256 of the content, and for small files that a hub keeps in git
//! itself, git's blob id (SHA-1 over `blob <length>\0` and the content).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// An expected hash of a file's content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256 of the content.
    Sha256([u8; 32]),
    /// Git's blob id.
    GitBlob([u8; 20]),
}

impl Digest {
    /// Reads 64 hexadecimal digits as SHA-256 and 40 as a git blob id; anything else is `None`.
    pub fn from_hex(hex: &str) -> Option<Digest> {
        match hex.len() {
            64 => decode(hex).map(Digest::Sha256),
            40 => decode(hex).map(Digest::GitBlob),
            _ => None,
        }
    }

    /// The kind of hash in words.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Digest::Sha256(_) => "sha256",
            Digest::GitBlob(_) => "git blob id",
        }
    }

    /// A hasher for content of this many bytes.
    pub(crate) fn hasher(&self, bytes: u64) -> Hasher {
        match self {
            Digest::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Digest::GitBlob(_) => Hasher::GitBlob(Sha1::new().chain_update(format!("blob {bytes}\0"))),
        }
    }

    /// Hashes the file at `path` in the way of this digest.
    pub(crate) fn of_file(&self, path: &Path) -> io::Result<Digest> {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut hasher = self.hasher(bytes);
        hasher.update_from(&mut file, bytes)?;
        Ok(hasher.finish())
    }
}

/// Hexadecimal, lower case.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Digest::Sha256(bytes) => bytes,
            Digest::GitBlob(bytes) => bytes,
        };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.algorithm())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        match Digest::from_hex(&hex) {
            Some(digest @ Digest::Sha256(_)) => Ok(digest),
            _ => Err(serde::de::Error::custom(format!("{hex:?} is not a sha256 of 64 hexadecimal digits"))),
        }
    }
}

/// A hash in the making.
pub(crate) enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    /// Hashes the next `bytes` bytes of `reader`; an error if there are fewer.
    pub(crate) fn update_from(&mut self, reader: &mut impl Read, bytes: u64) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 18];
        let mut left = bytes;
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let got = reader.read(&mut buffer[..want])?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.update(&buffer[..got]);
            left -= got as u64;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(hasher) => Digest::Sha256(hasher.finalize().into()),
            Hasher::GitBlob(hasher) => Digest::GitBlob(hasher.finalize().into()),
        }
    }
}

fn decode<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digits = hex.as_bytes();
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let high = char::from(digits[2 * index]).to_digit(16)?;
        let low = char::from(digits[2 * index + 1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Known answers: FIPS 180-4 example for "abc"; `git hash-object` of a file that holds "hello\n".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const HELLO_BLOB: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

    #[test]
    fn sha256_and_git_blob_ids_equal_known_answers() {
        for (hex, content) in [(ABC, "abc"), (HELLO_BLOB, "hello\n")] {
            let expected = Digest::from_hex(hex).unwrap();
            let mut hasher = expected.hasher(content.len() as u64);
            hasher.update(content.as_bytes());
            assert_eq!(hasher.finish(), expected);
            assert_eq!(expected.to_string(), hex);
        }
    }

    #[test]
    fn text_that_is_no_hash_is_refused() {
        for text in ["", "abc", &ABC[1..], &format!("{}g", &ABC[1..]), &"é".repeat(32)] {
            assert_eq!(Digest::from_hex(text), None, "{text:?}");
        }
    }
}
