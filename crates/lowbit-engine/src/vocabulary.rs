//! The tokenizer of a checkpoint, from wherever the checkpoint keeps it.

use crate::EngineError;
use lowbit_io::{
    Checkpoint, Config, IoError,
    container::{Container, ContainerText},
    gguf::Metadata,
    hf::HfFolder,
};
use lowbit_text::{HfFiles, HfTexts, TextError, Tokenizer, VocabData};
use std::{borrow::Cow, path::Path};

/// What GGUF files without a vocabulary call it.
pub(crate) const NO_VOCABULARY: &str = "no_vocab";

/// A tokenizer, or why the checkpoint has none.
pub(crate) type MaybeTokenizer = Result<Tokenizer, &'static str>;

/// Builds the tokenizer of `checkpoint`, which was opened at `path`. A model without one can be run on token ids.
pub(crate) fn tokenizer(checkpoint: &Checkpoint, path: &Path) -> Result<MaybeTokenizer, EngineError> {
    // Of a GGUF file, or of a container made from one.
    if let Config::Gguf(metadata) = checkpoint.config() {
        let Some(vocabulary) = gguf(metadata)? else { return Ok(Err("tokenizer.ggml.model is missing")) };
        if vocabulary.model == NO_VOCABULARY {
            return Ok(Err("the file says that it has no vocabulary"));
        }
        let text = |source: TextError| EngineError::Text { path: path.to_owned(), source };
        return Tokenizer::from_vocab(&vocabulary).map(Ok).map_err(text);
    }
    let (built, missing) = match checkpoint {
        Checkpoint::Gguf(_) => unreachable!("GGUF files have GGUF metadata"),
        Checkpoint::HuggingFace(folder) => {
            (hugging_face(folder)?, "tokenizer.json is missing beside the weights")
        }
        Checkpoint::Llama2c(file) => {
            let bytes = file.read_vocabulary()?;
            let built = bytes.map(|bytes| Tokenizer::from_llama2c(&bytes, file.header().vocab));
            (built, "tokenizer.bin is missing beside the weights")
        }
        Checkpoint::Container(file) => (container(file), "the container brings no lowbit.tokenizer"),
    };
    let text = |source: TextError| EngineError::Text { path: path.to_owned(), source };
    built.map_or(Ok(Err(missing)), |tokenizer| tokenizer.map(Ok).map_err(text))
}

/// The tokenizer of GGUF metadata as the files of a Hugging Face folder; `None` where there is no vocabulary. `path` is for
/// errors.
///
/// # Errors
/// What is wrong with the vocabulary, and where it cannot be written so.
pub fn tokenizer_texts(metadata: &Metadata, path: &Path) -> Result<Option<HfTexts>, EngineError> {
    let vocabulary = gguf(metadata)?.filter(|vocabulary| vocabulary.model != NO_VOCABULARY);
    let texts = vocabulary.map(|vocabulary| HfTexts::from_vocab(&vocabulary)).transpose();
    texts.map_err(|source| EngineError::Text { path: path.to_owned(), source })
}

/// The vocabulary in GGUF metadata, borrowed from the file; `None` where it has none.
fn gguf(meta: &Metadata) -> Result<Option<VocabData<'_>>, IoError> {
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

fn container(file: &Container) -> Option<Result<Tokenizer, TextError>> {
    let bytes = |text| file.text(text).map(str::as_bytes);
    Some(Tokenizer::from_hf(HfFiles {
        tokenizer: bytes(ContainerText::Tokenizer)?,
        tokenizer_config: bytes(ContainerText::TokenizerConfig),
        generation_config: bytes(ContainerText::GenerationConfig),
        chat_template: file.text(ContainerText::ChatTemplate),
    }))
}
