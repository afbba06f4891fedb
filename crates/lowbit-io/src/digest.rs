//! SHA-256 of files, in hexadecimal.

use crate::{IoError, bytes::open_regular};
use sha2::{Digest, Sha256};
use std::{io::Read, path::Path};

/// Of files as they lie there, one after the other.
pub(crate) fn sha256<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<String, IoError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for path in paths {
        let mut file = open_regular(path).map_err(|error| error.in_file(path))?.0;
        loop {
            match file.read(&mut buffer).map_err(|error| IoError::os("read", error).in_file(path))? {
                0 => break,
                bytes => hash.update(&buffer[..bytes]),
            }
        }
    }
    Ok(hexadecimal(hash))
}

/// Of what was hashed.
pub(crate) fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
