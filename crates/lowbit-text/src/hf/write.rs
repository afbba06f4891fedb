//! A plain vocabulary as the files of a Hugging Face folder: the same ids, from other programs too.
//!
//! SentencePiece's merges by score are written as a list of pairs, the way the published converters do it: every way to
//! cut a token in two that are tokens, the best score first.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::bpe::split_merge;
use crate::error::{Result, TextError};
use crate::pretokenizers::PreTokenizer;
use crate::tokenizer::Tokenizer;
use crate::vocab::{TokenKind, VocabData};

/// The texts of a Hugging Face folder that say how text becomes ids.
#[derive(Debug, Clone)]
pub struct HfTexts {
    /// `tokenizer.json`.
    pub tokenizer: Value,
    /// `tokenizer_config.json`, the chat template in it.
    pub tokenizer_config: Value,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The tokens that end an answer, the vocabulary's own first.
    pub eos: Vec<u32>,
    /// The token for padding.
    pub pad: Option<u32>,
}

impl HfTexts {
    /// The files of a vocabulary. `tokenizer.json` is one for version 0.20 of the `tokenizers` library or later: merges are
    /// pairs.
    ///
    /// # Errors
    /// What [`Tokenizer::from_vocab`] refuses; a token that is no UTF-8; unigram vocabularies.
    pub fn from_vocab(data: &VocabData<'_>) -> Result<Self> {
        let checked = Tokenizer::from_vocab(data)?;
        let texts = data.tokens.iter().enumerate().map(|(id, token)| text(id as u32, token));
        let vocab = Vocab { data, checked: &checked, texts: texts.collect::<Result<_>>()? };
        let (model, normalizer, pre_tokenizer, decoder) = match data.model {
            "gpt2" => vocab.byte_pairs()?,
            "llama" => vocab.scored_pairs(),
            other => {
                return Err(TextError::NotWritable { why: format!("a vocabulary of the model {other}") });
            }
        };
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": vocab.added(),
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": vocab.affixes(),
            "decoder": decoder,
            "model": model,
        });
        let mut eos = Vec::new();
        for id in [data.eos, data.eot, data.eom].into_iter().flatten() {
            if !eos.contains(&id) {
                eos.push(id);
            }
        }
        Ok(Self { tokenizer, tokenizer_config: vocab.config(), bos: data.bos, eos, pad: data.pad })
    }
}

fn text(id: u32, token: &[u8]) -> Result<&str> {
    let why = |_| TextError::NotWritable { why: format!("token {id}, whose text is no UTF-8,") };
    std::str::from_utf8(token).map_err(why)
}

struct Vocab<'a> {
    data: &'a VocabData<'a>,
    checked: &'a Tokenizer,
    texts: Vec<&'a str>,
}

/// Model, normalizer, pre-tokenizer and decoder of a `tokenizer.json`.
type Steps = (Value, Value, Value, Value);

impl Vocab<'_> {
    fn kind(&self, id: usize) -> TokenKind {
        self.checked.token_kind(id as u32).unwrap_or(TokenKind::Unused)
    }

    fn named(&self, id: Option<u32>) -> Option<&str> {
        id.map(|id| self.texts[id as usize])
    }

    /// The tokens that are found as a whole.
    fn added(&self) -> Vec<Value> {
        let ids = self.checked.special_ids.iter().filter(|&&id| !self.texts[id as usize].is_empty());
        let added = ids.map(|&id| {
            let takes_space_after =
                self.checked.all_special.as_ref().is_some_and(|all| all.takes_space_after(id));
            json!({
                "id": id,
                "content": self.texts[id as usize],
                "single_word": false,
                "lstrip": false,
                "rstrip": takes_space_after,
                "normalized": false,
                "special": self.kind(id as usize).is_special(),
            })
        });
        added.collect()
    }

    /// What puts BOS and EOS around a text.
    fn affixes(&self) -> Value {
        let wanted = |id: Option<u32>, add: bool| id.filter(|_| add);
        let before = wanted(self.data.bos, self.checked.adds_bos());
        let after = wanted(self.data.eos, self.checked.adds_eos());
        if before.is_none() && after.is_none() {
            return Value::Null;
        }
        let around = |sequence: &str, type_id: u32| {
            let token =
                |id: u32| json!({"SpecialToken": {"id": self.texts[id as usize], "type_id": type_id}});
            let text = json!({"Sequence": {"id": sequence, "type_id": type_id}});
            before.map(token).into_iter().chain([text]).chain(after.map(token)).collect::<Vec<_>>()
        };
        let tokens = before.into_iter().chain(after).map(|id| {
            let text = self.texts[id as usize];
            (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}))
        });
        let pair = [around("A", 0), around("B", 1)].concat();
        json!({
            "type": "TemplateProcessing",
            "single": around("A", 0),
            "pair": pair,
            "special_tokens": tokens.collect::<Map<_, _>>(),
        })
    }

    fn ids(&self) -> Map<String, Value> {
        self.texts.iter().enumerate().map(|(id, text)| ((*text).to_owned(), id.into())).collect()
    }

    fn byte_pairs(&self) -> Result<Steps> {
        let pre = PreTokenizer::named(self.data.pre.unwrap_or_default())?;
        let mut seen = HashSet::new();
        // Of a pair that is listed twice the first counts.
        let merges = self.data.merges.iter().filter(|merge| seen.insert(**merge)).filter_map(|merge| {
            let (left, right) = split_merge(merge)?;
            Some(json!([String::from_utf8_lossy(left), String::from_utf8_lossy(right)]))
        });
        let model = json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": self.named(self.data.unk),
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": pre.whole_words_first,
            "vocab": self.ids(),
            "merges": merges.collect::<Vec<_>>(),
        });
        let mut steps: Vec<Value> = pre
            .stages
            .iter()
            .map(|alternatives| {
                let pattern = portable(&alternatives.join("|"));
                let pattern = json!({ "Regex": pattern });
                json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
            })
            .collect();
        let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": regex});
        steps.push(bytes(false));
        Ok((model, Value::Null, json!({"type": "Sequence", "pretokenizers": steps}), bytes(true)))
    }

    fn scored_pairs(&self) -> Steps {
        let has_bytes = (0..self.texts.len()).any(|id| self.kind(id) == TokenKind::Byte);
        let model = json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": self.named(self.data.unk),
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": has_bytes,
            "ignore_merges": false,
            "vocab": self.ids(),
            "merges": self.merges_by_score(),
        });
        // A vocabulary that has no piece for a space spells it as the byte that it is.
        let space = if self.texts.contains(&"▁") { "▁" } else { " " };
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": space});
        let normalizer = if self.checked.space_prefix {
            json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": space}, spaces]})
        } else {
            spaces
        };
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if self.checked.space_prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        (model, normalizer, Value::Null, json!({"type": "Sequence", "decoders": decoders}))
    }

    /// Every way to cut a token in two, the best score first.
    fn merges_by_score(&self) -> Vec<Value> {
        let scores = self.data.scores.as_deref().unwrap_or_default();
        let findable = |id: &usize| match self.kind(*id) {
            TokenKind::Normal | TokenKind::Unused => true,
            TokenKind::UserDefined => !self.texts[*id].contains(' '),
            _ => false,
        };
        let ids: HashMap<&str, usize> =
            (0..self.texts.len()).filter(findable).map(|id| (self.texts[id], id)).collect();
        let mut merges: Vec<(usize, usize, usize)> = Vec::new();
        for id in (0..self.texts.len()).filter(findable) {
            let cuts = self.texts[id].char_indices().skip(1).filter_map(|(at, _)| {
                let (left, right) = self.texts[id].split_at(at);
                Some((id, *ids.get(left)?, *ids.get(right)?))
            });
            merges.extend(cuts);
        }
        merges.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.cmp(b)));
        merges.iter().map(|(_, left, right)| json!([self.texts[*left], self.texts[*right]])).collect()
    }

    fn config(&self) -> Value {
        let data = self.data;
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            "add_bos_token": self.checked.adds_bos(),
            "add_eos_token": self.checked.adds_eos(),
        });
        let named = [
            ("bos_token", data.bos),
            ("eos_token", data.eos),
            ("unk_token", data.unk),
            ("pad_token", data.pad),
        ];
        for (key, id) in named {
            if let Some(text) = self.named(id) {
                config[key] = text.into();
            }
        }
        if let Some(template) = data.chat_template {
            config["chat_template"] = template.into();
        }
        config
    }
}

/// A pattern of our table for the regular expressions of other programs.
fn portable(pattern: &str) -> String {
    pattern.replace("(?i-u:", "(?i:").replace(r"\u{", r"\x{")
}
