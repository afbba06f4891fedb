//! What a container says of how it was made. No time and no path: the same input gives the same bytes.

use crate::QuantError;
use lowbit_io::{Checkpoint, IoError};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{fs::File, io::Read};

/// What `lowbit.x-provenance` says.
pub(crate) fn text(
    method: &str,
    settings: &Value,
    formats: &crate::Formats,
    calibration: Option<&crate::Calibration>,
    source_sha256: &str,
) -> Value {
    let roles: Vec<_> = formats.roles.iter().map(|(role, spec)| format!("{}={spec}", role.name())).collect();
    let tensors: Vec<_> = formats.tensors.iter().map(|(p, spec)| format!("{}={spec}", p.0)).collect();
    let mut text = json!({
        "program": concat!("lowbit ", env!("CARGO_PKG_VERSION")),
        "method": method,
        "settings": settings,
        "format": formats.default.to_string(),
        "roles": roles,
        "tensors": tensors,
        "source_sha256": source_sha256,
    });
    if let Some(calibration) = calibration {
        text["calibration"] = calibration.about();
    }
    text
}

/// SHA-256 of the files that hold a checkpoint's tensors, one after the other.
pub(crate) fn sha256(checkpoint: &Checkpoint) -> Result<String, QuantError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for path in checkpoint.files() {
        let mut read = || {
            let mut file = File::open(path)?;
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(()),
                    bytes => hash.update(&buffer[..bytes]),
                }
            }
        };
        read().map_err(|error| QuantError::Io(IoError::os("read", error).in_file(path)))?;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
