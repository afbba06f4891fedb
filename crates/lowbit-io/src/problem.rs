//! What a file is when it is not a checkpoint, and what a name may have been meant to be.

use crate::IoError;

/// Files that turn up under a checkpoint's name: refused with what they are and what to do.
///
/// Binary formats begin with a number in some checkpoints, so a sign of another kind of file must be one that no
/// such number is: a pickle's third byte is an instruction and never zero, as that of a small number would be.
pub(crate) fn check_not_something_else(bytes: &[u8]) -> Result<(), IoError> {
    let head = &bytes[..bytes.len().min(512)];
    let text = head.trim_ascii_start();
    let starts = |with: &[u8]| text.len() >= with.len() && text[..with.len()].eq_ignore_ascii_case(with);
    let found = if bytes.is_empty() {
        "the file is empty: the download did not finish, download it again"
    } else if starts(b"<!doctype") || starts(b"<html") || starts(b"<?xml") {
        "an HTML page saved under this name: download the file itself (on a hub, the link with /resolve/)"
    } else if starts(b"version https://git-lfs") {
        "a Git LFS pointer: the repository was cloned without its large files, run git lfs pull"
    } else if head.iter().all(|b| *b == 0) {
        "the file begins with zero bytes: the download did not finish, download it again"
    } else if starts(b"Entry not found")
        || starts(b"Invalid username or password")
        || starts(b"Access to model")
    {
        "an error message of a model hub saved under this name: check the name and the access token"
    } else if head.starts_with(b"ggjt") || head.starts_with(b"tjgg") || head.starts_with(b"lmgg") {
        "a GGML file from before GGUF (2023): convert the original model again"
    } else if head.starts_with(b"PK\x03\x04") {
        "a zip archive (a PyTorch pickle or a Python wheel): take the safetensors or GGUF file of the model"
    } else if matches!(head, [0x80, 2..=5, third, ..] if *third != 0) {
        "a Python pickle, which can run code when it is loaded: take the safetensors or GGUF file of the model"
    } else if head.starts_with(&[0x1f, 0x8b]) {
        "a gzip file: unpack it first"
    } else {
        return Ok(());
    };
    Err(IoError::NotACheckpoint { found: found.to_owned() })
}

/// Whether bytes begin as a safetensors file does: the length of a header below 100 MB, and its first brace.
pub(crate) fn looks_like_safetensors(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, _, _, 0, 0, 0, 0, b'{', ..])
}

/// What an unknown file begins with.
pub(crate) fn describe(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(8)];
    if looks_like_safetensors(bytes) {
        return "a single safetensors file: open the folder that holds it beside its config.json".to_owned();
    }
    format!("a file of {} bytes that begins with {:?}", bytes.len(), String::from_utf8_lossy(head))
}

/// Whether a file of this name is a pickled checkpoint.
pub(crate) fn is_pickle_name(name: &str) -> bool {
    let weights = name.starts_with("pytorch_model") || name.starts_with("consolidated");
    [".pt", ".pth", ".ckpt"].iter().any(|e| name.ends_with(e)) || (weights && name.ends_with(".bin"))
}

/// The refusal of a pickled checkpoint.
pub(crate) fn pickle(name: String) -> IoError {
    IoError::Pickle { name, next: "take the model's safetensors files, or convert it in a sandbox" }
}

/// The error for a tensor that is not there, with the nearest name.
pub(crate) fn missing<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> IoError {
    // Beyond half the name's length apart the suggestion would be noise.
    let nearest = names
        .filter(|n| n.len().abs_diff(name.len()) <= name.len() / 2)
        .map(|n| (strsim::levenshtein(name, n), n))
        .min()
        .filter(|(d, _)| *d <= name.len() / 2)
        .map(|(_, n)| n.to_owned());
    IoError::MissingTensor { name: name.to_owned(), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tensors_suggest_the_nearest_name_and_nothing_far() {
        let names = ["blk.0.attn_q.weight", "blk.0.attn_k.weight", "token_embd.weight"];
        let nearest = |name: &str| match missing(name, names.into_iter()) {
            IoError::MissingTensor { nearest, .. } => nearest,
            other => panic!("{other}"),
        };
        assert_eq!(nearest("blk.0.attn_qq.weight").as_deref(), Some("blk.0.attn_q.weight"));
        assert_eq!(nearest("vision.patch"), None);
    }
}
