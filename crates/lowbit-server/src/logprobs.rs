//! Log-probabilities in the two shapes that OpenAI's API has for them.

use crate::served::Served;
use lowbit_engine::scheduler::Scored;
use lowbit_text::{SpecialText, StreamDecoder, TextStart};
use serde_json::{Map, Value, json};

/// What stands for minus infinity, which JSON has not.
const LOWEST: f32 = -9999.0;

fn number(logprob: f32) -> f32 {
    logprob.max(LOWEST)
}

/// A token of a chat.
pub(crate) fn chat_token(served: &Served, token: &Scored) -> Value {
    let one = |id: u32, logprob: f32| {
        let (text, bytes) = served.spell(id);
        json!({ "token": text, "logprob": number(logprob), "bytes": bytes })
    };
    let mut value = one(token.id, token.logprob);
    value["top_logprobs"] = token.top.iter().map(|(id, logprob)| one(*id, *logprob)).collect();
    value
}

/// Tokens of a plain completion, side by side in four lists.
#[derive(Default)]
pub(crate) struct Lists {
    tokens: Vec<Value>,
    logprobs: Vec<Value>,
    tops: Vec<Value>,
    offsets: Vec<Value>,
}

impl Lists {
    /// A token; one without scores is the first of a prompt.
    pub(crate) fn push(&mut self, served: &Served, offsets: &mut Offsets, id: u32, scored: Option<&Scored>) {
        self.tokens.push(served.spell(id).0.into());
        self.offsets.push(offsets.next(served, id).into());
        self.logprobs.push(scored.map_or(Value::Null, |scored| number(scored.logprob).into()));
        self.tops.push(scored.filter(|scored| !scored.top.is_empty()).map_or(Value::Null, |scored| {
            let mut top = Map::new();
            // The token itself is always among them, as clients look it up there.
            for (id, logprob) in scored.top.iter().chain([&(scored.id, scored.logprob)]) {
                top.entry(served.spell(*id).0).or_insert_with(|| number(*logprob).into());
            }
            top.into()
        }));
    }

    pub(crate) fn json(self) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.logprobs,
            "top_logprobs": self.tops,
            "text_offset": self.offsets,
        })
    }
}

/// At which character of the text each token begins.
pub(crate) struct Offsets {
    decoder: StreamDecoder,
    characters: usize,
}

impl Offsets {
    pub(crate) fn new(start: TextStart) -> Self {
        Self { decoder: StreamDecoder::new(SpecialText::Hide, start), characters: 0 }
    }

    fn next(&mut self, served: &Served, id: u32) -> usize {
        let begins = self.characters;
        if let Ok(tokenizer) = served.tokenizer() {
            let text = self.decoder.push(tokenizer, id).unwrap_or_default();
            self.characters += text.chars().count();
        }
        begins
    }
}
