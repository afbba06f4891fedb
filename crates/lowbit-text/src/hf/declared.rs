//! What a `tokenizer.json` says of itself, read before and compared after the `tokenizers` crate has its turn.

use serde::Deserialize;
use tokenizers::Tokenizer as HfTokenizer;

use super::{TOKENIZER, bad, read_object};
use crate::error::Result;

/// The members of the file that are checked here; all others are left to the `tokenizers` crate.
#[derive(Debug, Deserialize)]
pub(super) struct Declared {
    #[serde(default)]
    added_tokens: Vec<DeclaredToken>,
    model: DeclaredModel,
}

#[derive(Debug, Deserialize)]
struct DeclaredToken {
    id: u32,
    content: String,
}

#[derive(Debug, Deserialize)]
struct DeclaredModel {
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

impl Declared {
    /// Refuses marks of word parts: the text of a token would not be what it decodes to, and the `tokenizers` crate
    /// takes as many bytes off every merge as the prefix has without looking whether it is there.
    pub(super) fn read(file: &[u8]) -> Result<Self> {
        let declared: Self = read_object(TOKENIZER, file)?;
        let DeclaredModel { continuing_subword_prefix, end_of_word_suffix } = &declared.model;
        let marks = [
            ("continuing_subword_prefix", continuing_subword_prefix),
            ("end_of_word_suffix", end_of_word_suffix),
        ];
        for (member, mark) in marks {
            if let Some(mark) = mark.as_deref().filter(|mark| !mark.is_empty()) {
                let mark: String = mark.chars().take(20).collect();
                return Err(bad(format!("its {member} is '{mark}', only models without are supported")));
            }
        }
        Ok(declared)
    }

    /// Refuses a file whose added tokens have other ids than it says: the `tokenizers` crate numbers them on from
    /// the end of the vocabulary, whatever the file says, and the model would be given wrong ids.
    pub(super) fn check_ids(&self, tokenizer: &HfTokenizer) -> Result<()> {
        let found = |token: &&DeclaredToken| tokenizer.token_to_id(&token.content);
        let Some(token) = self.added_tokens.iter().find(|token| found(token) != Some(token.id)) else {
            return Ok(());
        };
        let content: String = token.content.chars().take(80).collect();
        let place = found(&token).map_or("none".to_owned(), |id| id.to_string());
        Err(bad(format!(
            "its added token '{content}' has id {}, expected {place}, as the ids before it leave no other",
            token.id
        )))
    }
}
