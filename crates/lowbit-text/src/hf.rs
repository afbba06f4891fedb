//! Tokenizers from Hugging Face's `tokenizer.json`, encoded by the `tokenizers` crate.
//!
//! That crate knows every normalizer and pre-tokenizer of the format but holds each token as several strings,
//! which is why GGUF vocabularies are not routed through it. Only encoding is left to it: the bytes of every
//! token are put in our own table, so that decoding, streaming and special tokens work as for other sources.

mod declared;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokenizers::Tokenizer as HfTokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::processors::PostProcessorWrapper;

use self::declared::Declared;
pub use self::write::HfTexts;
use crate::byte_alphabet;
use crate::error::{Result, TextError};
use crate::pieces::PieceTable;
use crate::special::end_ids;
use crate::tokenizer::{Encoder, NamedTokens, SpecialTokens, Tokenizer};
use crate::vocab::{TokenKind, parse_byte_token};

/// The files of a Hugging Face model folder that say how text becomes ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct HfFiles<'a> {
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// `tokenizer_config.json`: which tokens are BOS and EOS, and the chat template.
    pub tokenizer_config: Option<&'a [u8]>,
    /// `generation_config.json`: further tokens that end an answer.
    pub generation_config: Option<&'a [u8]>,
    /// `chat_template.jinja`, which newer folders have instead of the template in the configuration.
    pub chat_template: Option<&'a str>,
}

/// Ids are dense in practice; a file with one token at id four billion must not allocate for all below.
const MAX_ID: u32 = 1 << 22;

const TOKENIZER: &str = "tokenizer.json";

/// The encoder of a `tokenizer.json`.
#[derive(Debug)]
pub(crate) struct HfEncoder {
    parse_special: HfTokenizer,
    /// The same with control tokens taken as text; made when first needed, as few programs need both.
    special_as_text: OnceLock<Box<HfTokenizer>>,
}

impl HfEncoder {
    pub(crate) fn encode(&self, text: &str, special: SpecialTokens, ids: &mut Vec<u32>) -> Result<()> {
        let tokenizer = match special {
            SpecialTokens::Parse => &self.parse_special,
            SpecialTokens::AsText => self.special_as_text.get_or_init(|| {
                let mut tokenizer = self.parse_special.clone();
                tokenizer.set_encode_special_tokens(true);
                Box::new(tokenizer)
            }),
        };
        let encoding = contained(|| tokenizer.encode_fast(text, false)).map_err(TextError::Encode)?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }
}

#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    #[serde(default)]
    bos_token: Option<NamedToken>,
    #[serde(default)]
    eos_token: Option<NamedToken>,
    #[serde(default)]
    unk_token: Option<NamedToken>,
    #[serde(default)]
    pad_token: Option<NamedToken>,
    #[serde(default)]
    add_bos_token: Option<bool>,
    #[serde(default)]
    add_eos_token: Option<bool>,
    #[serde(default)]
    chat_template: Option<Templates>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a token is neither text nor an object with its content")]
enum NamedToken {
    Text(String),
    Full { content: String },
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "chat_template is neither text nor a list of names and templates")]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Debug, Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

#[derive(Debug, Default, Deserialize)]
struct GenerationConfig {
    #[serde(default)]
    eos_token_id: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "eos_token_id is neither an id nor a list of ids")]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

/// How token texts spell bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spelling {
    byte_level: bool,
    byte_tokens: bool,
    /// Decoding drops the space before the first word.
    drops_first_space: bool,
}

impl Tokenizer {
    /// A tokenizer from the files of a Hugging Face folder.
    pub fn from_hf(files: HfFiles<'_>) -> Result<Self> {
        let declared = Declared::read(files.tokenizer)?;
        let mut tokenizer = contained(|| HfTokenizer::from_bytes(files.tokenizer)).map_err(bad)?;
        declared.check_ids(&tokenizer)?;
        // Cutting and filling up are for training; a prompt that is cut must not pass unseen.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| bad(e.to_string()))?;
        let config: TokenizerConfig = read_config("tokenizer_config.json", files.tokenizer_config)?;
        let generation: GenerationConfig = read_config("generation_config.json", files.generation_config)?;
        let spelling = spelling(tokenizer.get_decoder())?;
        let (pieces, special_ids) = build_pieces(&tokenizer, spelling)?;

        let affixes = take_affixes(&mut tokenizer)?;
        let id = |token: &Option<NamedToken>| {
            let (NamedToken::Text(text) | NamedToken::Full { content: text }) = token.as_ref()?;
            tokenizer.token_to_id(text)
        };
        let named = NamedTokens {
            bos: id(&config.bos_token).or(affixes.0),
            eos: id(&config.eos_token).or(affixes.1),
            unk: id(&config.unk_token),
            pad: id(&config.pad_token),
        };
        let generation_ends = match generation.eos_token_id {
            None => Vec::new(),
            Some(OneOrMany::One(id)) => vec![id],
            Some(OneOrMany::Many(ids)) => ids,
        };
        if let Some(&id) = generation_ends.iter().find(|&&id| pieces.kind(id).is_none()) {
            return Err(TextError::IdOutOfRange { role: "eos", id, vocab_len: pieces.len() });
        }
        let ends = named.eos.into_iter().chain(generation_ends);
        let end_ids = end_ids(ends, |text| {
            let id = tokenizer.token_to_id(text)?;
            // Ordinary words may look like an end; only tokens set apart are meant.
            special_ids.contains(&id).then_some(id)
        });
        let template = files
            .chat_template
            .map(str::to_owned)
            .or_else(|| config.chat_template.and_then(default_template));
        Ok(Self {
            pieces,
            user_defined: None,
            all_special: None,
            special_ids,
            end_ids,
            add_bos: config.add_bos_token.unwrap_or(affixes.0.is_some()) && named.bos.is_some(),
            add_eos: config.add_eos_token.unwrap_or(affixes.1.is_some()) && named.eos.is_some(),
            named,
            space_prefix: spelling.drops_first_space,
            chat_template: template,
            encoder: Encoder::HuggingFace(Box::new(HfEncoder {
                parse_special: tokenizer,
                special_as_text: OnceLock::new(),
            })),
        })
    }
}

fn default_template(templates: Templates) -> Option<String> {
    match templates {
        Templates::One(template) => Some(template),
        Templates::Named(list) => {
            list.into_iter().find(|entry| entry.name == "default").map(|entry| entry.template)
        }
    }
}

/// The tokens that the post-processor puts before and after a text. It is taken out of the tokenizer: adding them is
/// done for all sources in one place.
fn take_affixes(tokenizer: &mut HfTokenizer) -> Result<(Option<u32>, Option<u32>)> {
    let ids = |tokenizer: &HfTokenizer| {
        let encoding = contained(|| tokenizer.encode_fast("a", true)).map_err(bad)?;
        Ok::<_, TextError>(encoding.get_ids().to_vec())
    };
    let full = ids(tokenizer)?;
    tokenizer.with_post_processor(None::<PostProcessorWrapper>);
    let plain = ids(tokenizer)?;
    if plain.is_empty() && full.is_empty() {
        return Ok((None, None));
    }
    if plain.is_empty() {
        return Err(bad("it has no token for 'a', so what its post-processor adds cannot be known".into()));
    }
    let before = full.windows(plain.len()).position(|window| window == plain);
    let before = before.ok_or_else(|| bad("its post-processor changes the ids of the text".into()))?;
    let after = full.len() - plain.len() - before;
    if before > 1 || after > 1 {
        let reason = format!("its post-processor adds {before} tokens before and {after} after a text");
        return Err(bad(reason + ", expected at most one each"));
    }
    Ok(((before == 1).then(|| full[0]), (after == 1).then(|| full[full.len() - 1])))
}

fn spelling(decoder: Option<&DecoderWrapper>) -> Result<Spelling> {
    let mut spelling = Spelling { byte_level: false, byte_tokens: false, drops_first_space: false };
    let single = decoder.map(std::slice::from_ref).unwrap_or_default();
    let steps = match decoder {
        Some(DecoderWrapper::Sequence(sequence)) => sequence.get_decoders(),
        _ => single,
    };
    for step in steps {
        match step {
            DecoderWrapper::ByteLevel(_) => spelling.byte_level = true,
            DecoderWrapper::ByteFallback(_) => spelling.byte_tokens = true,
            DecoderWrapper::Metaspace(metaspace) => {
                spelling.drops_first_space = metaspace.prepend_scheme != PrependScheme::Never;
            }
            DecoderWrapper::Strip(strip) => spelling.drops_first_space = strip.start > 0,
            DecoderWrapper::Replace(_) | DecoderWrapper::Fuse(_) => {}
            other => {
                let name = format!("{other:?}");
                let name = name.split('(').next().unwrap_or_default();
                let reason =
                    format!("its decoder {name} is not supported, known are ByteLevel and Metaspace");
                return Err(bad(reason));
            }
        }
    }
    Ok(spelling)
}

fn build_pieces(tokenizer: &HfTokenizer, spelling: Spelling) -> Result<(PieceTable, Vec<u32>)> {
    let added = tokenizer.get_added_tokens_decoder();
    let mut tokens: Vec<(u32, String)> =
        tokenizer.get_vocab(true).into_iter().map(|(text, id)| (id, text)).collect();
    tokens.sort_unstable();
    let Some(&(last, _)) = tokens.last() else { return Err(TextError::EmptyVocab) };
    if last >= MAX_ID {
        return Err(TextError::VocabTooLarge {
            what: "tokens",
            found: last as usize + 1,
            limit: MAX_ID as usize,
        });
    }
    let bytes = tokens.iter().map(|(_, text)| text.len()).sum();
    let mut pieces = PieceTable::with_capacity(last as usize + 1, bytes);
    let mut special_ids = Vec::new();
    for (id, text) in &tokens {
        if (*id as usize) < pieces.len() {
            let first = pieces.len() as u32 - 1;
            return Err(TextError::DuplicateToken { text: text.clone(), first, second: *id });
        }
        // Models round their vocabulary up; the ids between mean nothing.
        while pieces.len() < *id as usize {
            pieces.push_with(TokenKind::Unused, |_| {});
        }
        let byte = parse_byte_token(text.as_bytes()).filter(|_| spelling.byte_tokens);
        let kind = match (added.get(id), byte) {
            (Some(token), _) if token.special => TokenKind::Control,
            (Some(_), _) => TokenKind::UserDefined,
            (None, Some(_)) => TokenKind::Byte,
            (None, None) => TokenKind::Normal,
        };
        pieces.push_with(kind, |arena| match (kind, byte) {
            (TokenKind::Byte, Some(byte)) => arena.push(byte),
            (TokenKind::Normal, _) if spelling.byte_level => {
                if !byte_alphabet::decode_into(text.as_bytes(), arena) {
                    arena.extend_from_slice(text.as_bytes());
                }
            }
            (TokenKind::Normal | TokenKind::UserDefined, _) if !spelling.byte_level => {
                arena.extend_from_slice(text.replace('▁', " ").as_bytes());
            }
            _ => arena.extend_from_slice(text.as_bytes()),
        });
        match kind {
            TokenKind::Normal => pieces.make_findable(*id),
            TokenKind::Control | TokenKind::UserDefined => special_ids.push(*id),
            _ => {}
        }
    }
    Ok((pieces, special_ids))
}

fn read_config<T: Default + DeserializeOwned>(file: &'static str, bytes: Option<&[u8]>) -> Result<T> {
    bytes.map_or_else(|| Ok(T::default()), |bytes| read_object(file, bytes))
}

fn read_object<T: DeserializeOwned>(file: &'static str, bytes: &[u8]) -> Result<T> {
    // serde would take the items of a list for the members in the order of our own type.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(TextError::BadFile { file, reason: "it holds a list, expected an object".into() });
    }
    serde_json::from_slice(bytes).map_err(|e| TextError::BadFile { file, reason: e.to_string() })
}

/// Runs a call of the `tokenizers` crate, a panic in it being an error like another. It panics on more than one sort
/// of damaged file (a merge into a token that is not there, a character map that points outside itself, a
/// post-processor that names an unknown token), some only when a text comes by, and a file from outside must not
/// end the process. What a panic leaves half done is dropped (loading) or is a cache that checks itself (encoding).
fn contained<T, E: ToString>(call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("unknown");
            Err(format!("it is damaged so that the tokenizers library fails: {text}"))
        }
    }
}

fn bad(reason: String) -> TextError {
    TextError::BadFile { file: TOKENIZER, reason }
}
