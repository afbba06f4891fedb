//! Text files, plain or gzipped.

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::{io::Read, path::Path};

/// A text with the digest by which others can tell that they use the same.
pub(crate) struct TextFile {
    pub(crate) text: String,
    /// Of the text, not of the compressed file, in hexadecimal.
    pub(crate) sha256: String,
}

/// Reads a text; a gzipped one, told by its first bytes, is unpacked.
pub(crate) fn read(path: &Path) -> Result<TextFile> {
    let mut bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        MultiGzDecoder::new(bytes.as_slice())
            .read_to_end(&mut unpacked)
            .with_context(|| format!("cannot unpack {}", path.display()))?;
        bytes = unpacked;
    }
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{} is no text: byte {at} is not UTF-8", path.display())
    })?;
    Ok(TextFile { text, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    #[test]
    fn packed_and_plain_text_are_the_same_and_other_bytes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed) = (folder.path().join("a.txt"), folder.path().join("a.txt.gz"));
        std::fs::write(&plain, "abc").unwrap();
        let mut encoder = GzEncoder::new(std::fs::File::create(&packed).unwrap(), Compression::fast());
        encoder.write_all(b"abc").unwrap();
        encoder.finish().unwrap();
        let (plain, packed) = (read(&plain).unwrap(), read(&packed).unwrap());
        assert_eq!(plain.text, packed.text);
        assert_eq!(plain.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(plain.sha256, packed.sha256);
        let other = folder.path().join("b");
        std::fs::write(&other, b"ab\xff").unwrap();
        assert!(read(&other).err().unwrap().to_string().contains("byte 2 is not UTF-8"));
    }
}
