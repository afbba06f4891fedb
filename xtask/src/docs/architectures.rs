//! `docs/architectures.md`, from [`ARCHITECTURES`].

use super::{code, table};
use anyhow::Result;
use lowbit_model::ARCHITECTURES;

pub(super) fn page() -> Result<String> {
    let rows = ARCHITECTURES.iter().map(|arch| {
        let gguf = if arch.gguf.is_empty() { "–".to_owned() } else { code(arch.gguf) };
        let link = format!("[`{0}`](../crates/lowbit-model/src/arch/{0}.rs)", arch.name);
        vec![link, arch.summary.to_owned(), arch.reference.to_owned(), code(arch.hugging_face), gguf]
    });
    Ok(format!(
        "# Architectures\n\n\
         Every architecture that lowbit runs, and by which names checkpoints call it: the entry of `architectures` or the\n\
         `model_type` of a Hugging Face folder, `general.architecture` of a GGUF file (a dash where converters file it under\n\
         another name). Each is held against logits of an independent implementation\n\
         ([how](../crates/lowbit-testing/README.md)). [Adding one](adding/model.md) is one file and one line.\n\n{}",
        table(&["name", "what sets it apart", "described in", "Hugging Face", "GGUF"], rows)
    ))
}
