//! Building a tokenizer from a plain vocabulary, and everything that is checked on the way.

use std::borrow::Cow;

use crate::bpe::BytePairs;
use crate::byte_alphabet;
use crate::charsmap::CharsMap;
use crate::error::{Result, TextError, nearest};
use crate::pieces::{PieceTable, SpellingIndex};
use crate::pretokenizers::PreTokenizer;
use crate::special::{SpecialMatcher, SpecialToken, control_looking, end_ids};
use crate::spm::ScoredPairs;
use crate::tokenizer::{Encoder, NamedTokens, Tokenizer};
use crate::unigram::{Unigram, UnigramSpaces};
use crate::vocab::{TokenKind, VocabData, parse_byte_token, printable};

/// The largest published vocabularies have a quarter of a million tokens.
const MAX_TOKENS: usize = 1 << 22;
const MAX_TOKEN_BYTES: usize = 1 << 16;
const MAX_VOCAB_BYTES: usize = 1 << 28;

/// The algorithms, by the name in `tokenizer.ggml.model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    BytePairs,
    ScoredPairs,
    Unigram,
}

impl Model {
    const NAMED: [(&'static str, Self); 3] =
        [("gpt2", Self::BytePairs), ("llama", Self::ScoredPairs), ("t5", Self::Unigram)];

    fn named(name: &str) -> Result<Self> {
        let names = || Self::NAMED.iter().map(|&(name, _)| name);
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|&(_, model)| model).ok_or_else(|| {
            TextError::UnknownModel {
                found: name.chars().take(80).collect(),
                known: names().collect::<Vec<_>>().join(", "),
                nearest: nearest(name, names()),
            }
        })
    }
}

impl Tokenizer {
    /// A tokenizer from a plain vocabulary. Every id, length, score, kind, byte token and merge is checked
    /// first; nothing is allocated beyond a small multiple of what `data` holds.
    pub fn from_vocab(data: &VocabData<'_>) -> Result<Self> {
        let model = Model::named(data.model)?;
        check_sizes(data)?;
        check_named_ids(data)?;
        let spellings = SpellingIndex::new(&data.tokens).map_err(|(first, second)| {
            TextError::DuplicateToken { text: printable(data.tokens[first as usize]), first, second }
        })?;
        let kinds = read_kinds(data, model, &spellings)?;
        let (pieces, byte_ids) = build_pieces(data, model, &kinds)?;
        let pre = (model == Model::BytePairs).then(|| pre_tokenizer(data)).transpose()?;
        let encoder = match pre {
            Some(pre) => Encoder::BytePairs(byte_pairs(data, pre, &spellings, &pieces)?),
            None => scored_encoder(data, model, byte_ids, &pieces)?,
        };
        let (add_bos, add_eos, space_prefix) = match model {
            Model::BytePairs => (pre.is_some_and(|pre| pre.add_bos), false, false),
            Model::ScoredPairs => (true, false, true),
            Model::Unigram => (false, true, true),
        };
        let add_bos = check_added("bos", data.add_bos.unwrap_or(add_bos), data.bos)?;
        let add_eos = check_added("eos", data.add_eos.unwrap_or(add_eos), data.eos)?;

        let strips = takes_space_after_control(data);
        let special = |wanted: fn(TokenKind) -> bool| {
            let kinds = kinds.iter().enumerate().filter(move |&(_, &kind)| wanted(kind));
            kinds.map(|(id, _)| {
                let text = data.tokens[id];
                let takes_space_after = strips && !matches!(text, b"<unk>" | b"<s>" | b"<|endoftext|>");
                (SpecialToken { id: id as u32, takes_space_after }, text)
            })
        };
        let user_defined = special(|kind| kind == TokenKind::UserDefined);
        let all = || special(|kind| kind == TokenKind::UserDefined || kind.is_special());
        let ends = [data.eos, data.eot, data.eom].into_iter().flatten();
        Ok(Self {
            user_defined: SpecialMatcher::new(user_defined)?,
            all_special: SpecialMatcher::new(all())?,
            special_ids: all().map(|(token, _)| token.id).collect(),
            encoder,
            pieces,
            named: NamedTokens { bos: data.bos, eos: data.eos, unk: data.unk, pad: data.pad },
            end_ids: end_ids(ends, |text| spellings.find(text.as_bytes())),
            add_bos,
            add_eos,
            space_prefix: model != Model::BytePairs && data.add_space_prefix.unwrap_or(space_prefix),
            chat_template: data.chat_template.map(str::to_owned),
        })
    }
}

fn check_sizes(data: &VocabData<'_>) -> Result<()> {
    let count = data.tokens.len();
    if count == 0 {
        return Err(TextError::EmptyVocab);
    }
    let bytes = data.tokens.iter().fold(0usize, |sum, token| sum.saturating_add(token.len()));
    let longest = data.tokens.iter().map(|token| token.len()).max().unwrap_or(0);
    for (what, found, limit) in [
        ("tokens", count, MAX_TOKENS),
        ("merges", data.merges.len(), MAX_TOKENS),
        ("bytes in one token", longest, MAX_TOKEN_BYTES),
        ("bytes of token text", bytes, MAX_VOCAB_BYTES),
    ] {
        if found > limit {
            return Err(TextError::VocabTooLarge { what, found, limit });
        }
    }
    let scores = data.scores.as_ref().map(|array| ("scores", array.len()));
    let kinds = data.kinds.as_ref().map(|array| ("token types", array.len()));
    for (array, found) in [scores, kinds].into_iter().flatten() {
        if found != count {
            return Err(TextError::LengthMismatch { array, found, expected: count });
        }
    }
    let scores = data.scores.as_deref().unwrap_or_default();
    match scores.iter().position(|score| !score.is_finite()) {
        Some(id) => Err(TextError::BadScore { id: id as u32, score: scores[id] }),
        None => Ok(()),
    }
}

fn check_named_ids(data: &VocabData<'_>) -> Result<()> {
    let roles = [
        ("bos", data.bos),
        ("eos", data.eos),
        ("eot", data.eot),
        ("eom", data.eom),
        ("unknown", data.unk),
        ("padding", data.pad),
    ];
    for (role, id) in roles {
        if let Some(id) = id.filter(|&id| id as usize >= data.tokens.len()) {
            return Err(TextError::IdOutOfRange { role, id, vocab_len: data.tokens.len() });
        }
    }
    Ok(())
}

fn check_added(role: &'static str, add: bool, id: Option<u32>) -> Result<bool> {
    if add && id.is_none() { Err(TextError::MissingSpecial { role }) } else { Ok(add) }
}

fn read_kinds(
    data: &VocabData<'_>,
    model: Model,
    spellings: &SpellingIndex<'_, '_>,
) -> Result<Vec<TokenKind>> {
    let mut kinds = match &data.kinds {
        Some(kinds) => {
            let kinds = kinds.iter().enumerate().map(|(id, &kind)| TokenKind::from_gguf(id as u32, kind));
            kinds.collect::<Result<Vec<_>>>()?
        }
        // Without kinds, SentencePiece's byte tokens are known by their spelling alone.
        None => {
            let byte_or_normal = |token: &&[u8]| match parse_byte_token(token) {
                Some(_) if model != Model::BytePairs => TokenKind::Byte,
                _ => TokenKind::Normal,
            };
            data.tokens.iter().map(byte_or_normal).collect()
        }
    };
    // Converters sometimes forget that the end of a turn is a control token; without this it would be printed.
    for id in control_looking(spellings) {
        let kind = &mut kinds[id as usize];
        // Gemma's </s> is a user-defined tag of marked-up text.
        if *kind == TokenKind::Normal {
            *kind = TokenKind::Control;
        }
    }
    Ok(kinds)
}

/// The bytes of every token, and the ids of the byte tokens.
fn build_pieces(
    data: &VocabData<'_>,
    model: Model,
    kinds: &[TokenKind],
) -> Result<(PieceTable, [Option<u32>; 256])> {
    let bytes = data.tokens.iter().map(|token| token.len()).sum();
    let mut pieces = PieceTable::with_capacity(data.tokens.len(), bytes);
    let mut byte_ids = [None; 256];
    for (&token, &kind) in data.tokens.iter().zip(kinds) {
        let byte = (kind == TokenKind::Byte).then(|| parse_byte_token(token));
        let id = match byte {
            Some(Some(byte)) => pieces.push_with(kind, |arena| arena.push(byte)),
            Some(None) => {
                return Err(TextError::BadByteToken { id: pieces.len() as u32, text: printable(token) });
            }
            None => pieces.push_with(kind, |arena| push_piece(token, model, kind, arena)),
        };
        if let Some(Some(byte)) = byte {
            byte_ids[byte as usize].get_or_insert(id);
        } else if findable(token, model, kind, pieces.bytes(id)) {
            pieces.make_findable(id);
        }
    }
    pieces.shrink();
    Ok((pieces, byte_ids))
}

fn push_piece(token: &[u8], model: Model, kind: TokenKind, arena: &mut Vec<u8>) {
    let ordinary = matches!(kind, TokenKind::Normal | TokenKind::Unused);
    if model == Model::BytePairs {
        if !ordinary || !byte_alphabet::decode_into(token, arena) {
            arena.extend_from_slice(token);
        }
    } else if ordinary || kind == TokenKind::UserDefined {
        push_with_spaces(token, arena);
    } else {
        arena.extend_from_slice(token);
    }
}

/// Whether ordinary text may turn into the token.
fn findable(token: &[u8], model: Model, kind: TokenKind, piece: &[u8]) -> bool {
    match (kind, model) {
        (TokenKind::Control | TokenKind::Unknown | TokenKind::Byte, _) => false,
        (_, Model::BytePairs) => {
            let mut bytes = Vec::new();
            byte_alphabet::decode_into(token, &mut bytes) && bytes == piece
        }
        // Spelt with real spaces it is found as a whole, before SentencePiece sees the text.
        (TokenKind::UserDefined, _) => !token.contains(&b' '),
        _ => true,
    }
}

fn push_with_spaces(token: &[u8], arena: &mut Vec<u8>) {
    const LOWER_BLOCK: &[u8] = "▁".as_bytes();
    let mut rest = token;
    while let Some((&byte, after)) = rest.split_first() {
        match rest.strip_prefix(LOWER_BLOCK) {
            Some(after) => {
                arena.push(b' ');
                rest = after;
            }
            None => {
                arena.push(byte);
                rest = after;
            }
        }
    }
}

fn pre_tokenizer(data: &VocabData<'_>) -> Result<&'static PreTokenizer> {
    PreTokenizer::named(data.pre.filter(|name| !name.is_empty()).ok_or(TextError::MissingPreTokenizer)?)
}

fn byte_pairs(
    data: &VocabData<'_>,
    pre: &PreTokenizer,
    spellings: &SpellingIndex<'_, '_>,
    pieces: &PieceTable,
) -> Result<BytePairs> {
    if data.merges.is_empty() {
        return Err(TextError::MissingArray { model: "gpt2", array: "merges" });
    }
    BytePairs::new(pre, &data.merges, spellings, pieces)
}

fn scored_encoder(
    data: &VocabData<'_>,
    model: Model,
    byte_ids: [Option<u32>; 256],
    pieces: &PieceTable,
) -> Result<Encoder> {
    let name = if model == Model::Unigram { "t5" } else { "llama" };
    let scores = data.scores.as_ref().ok_or(TextError::MissingArray { model: name, array: "scores" })?;
    if model == Model::ScoredPairs {
        return Ok(Encoder::ScoredPairs(ScoredPairs::new(scores, byte_ids, pieces)));
    }
    let spaces = UnigramSpaces {
        prefix: data.add_space_prefix.unwrap_or(true),
        merge: data.remove_extra_whitespaces.unwrap_or(true),
    };
    let charsmap = CharsMap::new(data.precompiled_charsmap.unwrap_or_default())?;
    Ok(Encoder::Unigram(Unigram::new(scores.clone().into_owned(), charsmap, spaces, pieces)))
}

/// Phi-3's tags take the white space after them. GGUF has no place to say so; as in llama.cpp the name does.
fn takes_space_after_control(data: &VocabData<'_>) -> bool {
    let name: Cow<'_, str> = data.general_name.map(|name| name.to_lowercase().into()).unwrap_or_default();
    name.contains("phi-3") || name.contains("phi3")
}
