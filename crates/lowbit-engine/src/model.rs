//! A loaded model: decoder, tokenizer, chat template.

use crate::{
    EngineError, LoadStats,
    vocabulary::{self, MaybeTokenizer},
};
use lowbit_io::{Access, Checkpoint, TensorInfo};
use lowbit_kernels::Ctx;
use lowbit_model::{Decoder, KvElement, Logits, ModelSpec};
use lowbit_text::{
    Affixes, ChatInput, ChatTemplate, Grammar, GrammarSource, GrammarVocab, Message, SpecialText,
    SpecialTokens, Tokenizer,
};
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Tokens of a text that go through the model at a time where a vector is made of it.
const EMBEDDED_TOKENS: usize = 512;

/// A model ready to run. Shared by any number of sessions.
pub struct Model {
    path: PathBuf,
    kind: &'static str,
    decoder: Decoder,
    tokenizer: MaybeTokenizer,
    stats: LoadStats,
    grammars: OnceLock<GrammarVocab>,
}

impl Model {
    pub(crate) fn new(
        path: &Path,
        kind: &'static str,
        decoder: Decoder,
        tokenizer: MaybeTokenizer,
        stats: LoadStats,
    ) -> Self {
        Self { path: path.to_owned(), kind, decoder, tokenizer, stats, grammars: OnceLock::new() }
    }

    /// Where it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Kind of checkpoint: `gguf`, `safetensors`, `llama2.c` or `lowbit`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Hyper-parameters.
    pub fn spec(&self) -> &ModelSpec {
        self.decoder.spec()
    }

    /// The decoder.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// Where the checkpoint has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, EngineError> {
        self.tokenizer.as_ref().map_err(|why| EngineError::NoTokenizer { path: self.path.clone(), why })
    }

    /// The tokenizer of the checkpoint at `path`, without its weights.
    ///
    /// # Errors
    /// Where the file cannot be read, or has none.
    pub fn read_tokenizer(path: &Path, access: Access) -> Result<Tokenizer, EngineError> {
        let checkpoint = Checkpoint::open(path, access)?;
        let tokenizer = vocabulary::tokenizer(&checkpoint, path)?;
        tokenizer.map_err(|why| EngineError::NoTokenizer { path: path.to_owned(), why })
    }

    /// What loading took.
    pub fn load_stats(&self) -> LoadStats {
        self.stats
    }

    /// The chat template that the checkpoint brings.
    ///
    /// # Errors
    /// Where it brings none or none that parses, or has no tokenizer.
    pub fn chat_template(&self) -> Result<ChatTemplate, EngineError> {
        let text = |source| EngineError::Text { path: self.path.clone(), source };
        ChatTemplate::of_model(self.tokenizer()?.chat_template()).map_err(text)
    }

    /// Tokens of plain text, with the special tokens that the model puts around a text.
    ///
    /// # Errors
    /// Where the text cannot be encoded, or the model has no tokenizer.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        Ok(self.tokenizer()?.encode(text, SpecialTokens::AsText, Affixes::Model)?)
    }

    /// Tokens of a conversation that ends with a question, rendered by `template`.
    ///
    /// # Errors
    /// Where the template refuses the conversation or the text cannot be encoded.
    pub fn encode_chat(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
    ) -> Result<Vec<u32>, EngineError> {
        self.encode_conversation(template, messages, &[])
    }

    /// As [`Self::encode_chat`], with tools that the template describes to the model.
    ///
    /// # Errors
    /// As [`Self::encode_chat`].
    pub fn encode_conversation(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        tools: &[serde_json::Value],
    ) -> Result<Vec<u32>, EngineError> {
        let tokenizer = self.tokenizer()?;
        // What somebody wrote is text, also where it is spelt like a control token.
        let (mut messages, mut tools) = (messages.to_vec(), tools.to_vec());
        for message in &mut messages {
            cut_control_tokens(tokenizer, &mut message.content);
            message.extra.values_mut().for_each(|value| cut_control_tokens(tokenizer, value));
        }
        tools.iter_mut().for_each(|tool| cut_control_tokens(tokenizer, tool));
        let text = self.render_conversation(template, &messages, &tools)?;
        let mut ids = Vec::new();
        for piece in text.split(Tokenizer::CUT) {
            ids.extend(tokenizer.encode(piece, SpecialTokens::Parse, Affixes::None)?);
        }
        // Most templates spell out BOS themselves; where one does not, the model still expects it.
        if let Some(bos) = tokenizer.bos().filter(|bos| tokenizer.adds_bos() && ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// The text of a conversation that ends with a question, as it stands: what is spelt like a control token will be one
    /// where that is parsed.
    ///
    /// # Errors
    /// Where the template refuses the conversation, or the model has no tokenizer.
    pub fn render_conversation(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        tools: &[serde_json::Value],
    ) -> Result<String, EngineError> {
        let tokenizer = self.tokenizer()?;
        let spell = |id: Option<u32>| match id {
            Some(id) => tokenizer.decode(&[id], SpecialText::Show),
            None => Ok(String::new()),
        };
        let (bos, eos) = (spell(tokenizer.bos())?, spell(tokenizer.eos())?);
        let input = ChatInput { bos: &bos, eos: &eos, tools, ..ChatInput::new(messages) };
        Ok(template.render(&input)?)
    }

    /// What an answer of a given shape has to follow. The first call takes as long as reading the vocabulary.
    ///
    /// # Errors
    /// Where the grammar is not understood, or there is no tokenizer.
    pub fn grammar(&self, source: &GrammarSource) -> Result<Grammar, EngineError> {
        let vocab = match self.grammars.get() {
            Some(vocab) => vocab,
            None => {
                let vocab = GrammarVocab::new(self.tokenizer()?, self.spec().vocab)?;
                self.grammars.get_or_init(|| vocab)
            }
        };
        Ok(vocab.compile(source)?)
    }

    /// One vector of length 1 for a text: the mean of the hidden states of its tokens after the last norm.
    ///
    /// # Errors
    /// Where there is no token, one is not in the vocabulary, or there are more than the model's context holds.
    pub fn embed(&self, ctx: &Ctx, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        let capacity = self.spec().longest();
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if tokens.len() > capacity {
            return Err(EngineError::ContextFull { needed: tokens.len(), capacity });
        }
        let hidden = self.spec().hidden;
        let mut cache = self.decoder.cache(tokens.len(), KvElement::F16)?;
        let (mut sums, mut rows) = (vec![0f64; hidden], Vec::new());
        for batch in tokens.chunks(EMBEDDED_TOKENS) {
            self.decoder.hidden(ctx, batch, &mut cache, Logits::All, &mut rows)?;
            for row in rows.chunks_exact(hidden) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
        }
        let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        Ok(sums.iter().map(|sum| (sum / length) as f32).collect())
    }

    /// Bytes of weights read to decode one token: every matrix once, of the token embeddings one row unless they
    /// serve as the head, of experts those that a token uses.
    pub fn bytes_per_token(&self) -> usize {
        self.decoder.bytes_per_token()
    }
}

/// Cuts control tokens in every text of a value.
fn cut_control_tokens(tokenizer: &Tokenizer, value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            if let Cow::Owned(cut) = tokenizer.cut_control_tokens(text) {
                *text = cut;
            }
        }
        serde_json::Value::Array(list) => {
            list.iter_mut().for_each(|item| cut_control_tokens(tokenizer, item))
        }
        serde_json::Value::Object(map) => {
            map.values_mut().for_each(|item| cut_control_tokens(tokenizer, item))
        }
        _ => {}
    }
}

/// One tensor of a checkpoint, for reports.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TensorSummary {
    /// Name in the checkpoint.
    pub name: String,
    /// Label of its format.
    pub format: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Bytes stored.
    pub bytes: usize,
    /// Bits stored for each element.
    pub bits_per_weight: f64,
}

impl TensorSummary {
    pub(crate) fn new(checkpoint: &Checkpoint, info: &TensorInfo) -> Self {
        let elements = info.elements().max(1);
        Self {
            name: info.name.clone(),
            format: checkpoint.format_label(info),
            shape: info.dims.clone(),
            bytes: info.bytes,
            bits_per_weight: 8.0 * info.bytes as f64 / elements as f64,
        }
    }
}
