//! The tokenizer of a checkpoint, from wherever the checkpoint keeps it.

use crate::EngineError;
use lowbit_io::{
    Checkpoint, IoError,
    gguf::{Gguf, Metadata},
    hf::HfFolder,
};
use lowbit_text::{HfFiles, TextError, Tokenizer, VocabData};
use std::{borrow::Cow, path::Path};

/// Builds the tokenizer of `checkpoint`, which was opened at `path`.
pub(crate) fn tokenizer(checkpoint: &Checkpoint, path: &Path) -> Result<Tokenizer, EngineError> {
    let text = |source: TextError| EngineError::Text { path: path.to_owned(), source };
    let missing = |what: &str| EngineError::NoTokenizer { path: path.to_owned(), missing: what.to_owned() };
    match checkpoint {
        Checkpoint::Gguf(file) => {
            let vocabulary = gguf(file)?.ok_or_else(|| missing("tokenizer.ggml.model"))?;
            Tokenizer::from_vocab(&vocabulary).map_err(text)
        }
        Checkpoint::HuggingFace(folder) => {
            hugging_face(folder)?.ok_or_else(|| missing("tokenizer.json"))?.map_err(text)
        }
        Checkpoint::Llama2c(file) => {
            let bytes = file.read_vocabulary()?.ok_or_else(|| missing("tokenizer.bin"))?;
            Tokenizer::from_llama2c(&bytes, file.header().vocab).map_err(text)
        }
    }
}

/// The vocabulary in a GGUF file's metadata, borrowed from the file; `None` where it has none.
fn gguf(file: &Gguf) -> Result<Option<VocabData<'_>>, IoError> {
    let meta = file.metadata();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let Some(model) = meta.get_str(&key("model"))? else { return Ok(None) };
    let id = |name: &str| meta.get_u32(&key(&format!("{name}_token_id")));
    Ok(Some(VocabData {
        model,
        pre: meta.get_str(&key("pre"))?,
        tokens: byte_strings(meta, &key("tokens"))?,
        scores: meta.get_f32s(&key("scores"))?.map(|scores| Cow::Owned(scores.collect())),
        // Kinds outside i32 are none that exist; the tokenizer refuses them by their number.
        kinds: meta
            .get_i64s(&key("token_type"))?
            .map(|kinds| Cow::Owned(kinds.map(|kind| i32::try_from(kind).unwrap_or(i32::MAX)).collect())),
        merges: byte_strings(meta, &key("merges"))?,
        bos: id("bos")?,
        eos: id("eos")?,
        eot: id("eot")?,
        eom: id("eom")?,
        unk: id("unknown")?,
        pad: id("padding")?,
        add_bos: meta.get_bool(&key("add_bos_token"))?,
        add_eos: meta.get_bool(&key("add_eos_token"))?,
        add_space_prefix: meta.get_bool(&key("add_space_prefix"))?,
        remove_extra_whitespaces: meta.get_bool(&key("remove_extra_whitespaces"))?,
        precompiled_charsmap: meta.get_bytes(&key("precompiled_charsmap"))?,
        general_name: meta.get_str("general.name")?,
        chat_template: meta.get_str("tokenizer.chat_template")?,
    }))
}

/// An array of strings as bytes, which is what vocabularies hold. Empty where the key is absent.
fn byte_strings<'a>(meta: &'a Metadata, key: &str) -> Result<Vec<&'a [u8]>, IoError> {
    let Some(strings) = meta.get_strings(key)? else { return Ok(Vec::new()) };
    strings.map(|text| text.map(str::as_bytes)).collect()
}

fn hugging_face(folder: &HfFolder) -> Result<Option<Result<Tokenizer, TextError>>, EngineError> {
    let Some(tokenizer) = folder.read_file("tokenizer.json")? else { return Ok(None) };
    let tokenizer_config = folder.read_file("tokenizer_config.json")?;
    let generation_config = folder.read_file("generation_config.json")?;
    let template =
        folder.read_file("chat_template.jinja")?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Some(Tokenizer::from_hf(HfFiles {
        tokenizer: &tokenizer,
        tokenizer_config: tokenizer_config.as_deref(),
        generation_config: generation_config.as_deref(),
        chat_template: template.as_deref(),
    })))
}
