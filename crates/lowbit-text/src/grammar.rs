//! Answers of a given shape: which tokens may come next under a JSON schema, a regular expression or a Lark grammar.
//!
//! A [`GrammarVocab`] is made once of a tokenizer. It compiles a [`GrammarSource`] into a [`Grammar`], which is cloned
//! for every answer and then follows its tokens: [`Grammar::allowed`] before a token is drawn, [`Grammar::accept`] after
//! it. What is not understood is refused when it is compiled, never ignored.

use crate::{TextError, Tokenizer, error::Result};
use llguidance::{
    Matcher, ParserFactory,
    api::{GrammarInit, GrammarWithLexer, ParserLimits, TopLevelGrammar},
    toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie},
};
use serde_json::{Value, json};
use std::{fmt, sync::Arc};

/// Bytes of a schema or grammar.
pub const LONGEST_GRAMMAR: usize = 1 << 18;
/// Lines of it: the time that rules take grows with the square of their number.
const MOST_LINES: usize = 1000;
/// Brackets inside of brackets: what reads them calls itself.
const DEEPEST_GRAMMAR: usize = 64;
/// Bytes of stack for compiling. A grammar of the greatest length nests no deeper than this holds.
const STACK_BYTES: usize = 256 << 20;

/// The shape of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum GrammarSource {
    /// JSON that a schema describes.
    JsonSchema(Value),
    /// Text that a regular expression matches as a whole.
    Regex(String),
    /// A grammar in llguidance's kind of Lark.
    Lark(String),
}

/// Tokens that may come next.
pub struct TokenSet(SimpleVob);

impl TokenSet {
    /// Whether a token is one of them.
    pub fn contains(&self, id: u32) -> bool {
        (id as usize) < self.0.len() && self.0.is_allowed(id)
    }
}

/// What grammars know of a vocabulary.
pub struct GrammarVocab(Arc<ParserFactory>);

impl GrammarVocab {
    /// Takes the bytes of all tokens; `logits` is the number of tokens that a model scores.
    ///
    /// # Errors
    /// Where the vocabulary has no token by which an answer ends.
    pub fn new(tokenizer: &Tokenizer, logits: usize) -> Result<Self> {
        let size = logits.max(tokenizer.vocab_len());
        let ends = tokenizer.end_of_generation_ids();
        let Some(end) = ends.first() else { return Err(TextError::NoEnd) };
        let word = |id: u32| match tokenizer.token_kind(id) {
            Some(kind) if !kind.is_special() => tokenizer.token_bytes(id).unwrap_or_default().to_vec(),
            // Control tokens are never part of a text, whatever it says.
            Some(_) => {
                [&[TokTrie::SPECIAL_TOKEN_MARKER], tokenizer.token_bytes(id).unwrap_or_default()].concat()
            }
            None => Vec::new(),
        };
        let words: Vec<Vec<u8>> = (0..size as u32).map(word).collect();
        let trie = TokTrie::from(&TokRxInfo::new(size as u32, *end), &words).with_eos_tokens(ends);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(refused)?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
        Ok(Self(Arc::new(factory)))
    }

    /// Compiles a grammar.
    ///
    /// # Errors
    /// Where it is too large, nests too deeply, or says something that is not understood.
    pub fn compile(&self, source: &GrammarSource) -> Result<Grammar> {
        let text = match source {
            GrammarSource::JsonSchema(schema) => schema.to_string(),
            GrammarSource::Regex(text) | GrammarSource::Lark(text) => text.clone(),
        };
        check(&text)?;
        let top = match source.clone() {
            GrammarSource::JsonSchema(schema) => GrammarWithLexer::from_json_schema(one_line(schema)),
            GrammarSource::Regex(regex) => GrammarWithLexer::from_regex(&regex),
            GrammarSource::Lark(grammar) => GrammarWithLexer::from_lark(grammar),
        };
        let factory = self.0.clone();
        let init = GrammarInit::Serialized(TopLevelGrammar::from_grammar(top));
        let compile = move || {
            Matcher::new(factory.create_parser_from_init_ext(
                init,
                llguidance::Logger::new(0, 0),
                InferenceCapabilities::default(),
                factory.limits().clone(),
            ))
        };
        // Rules that name each other are followed by calls.
        let thread = std::thread::Builder::new().name("lowbit-grammar".into()).stack_size(STACK_BYTES);
        let matcher = thread.spawn(compile).map(|thread| thread.join());
        let Ok(Ok(matcher)) = matcher else { return Err(refused("it could not be read")) };
        match matcher.get_error() {
            Some(error) => Err(refused(error)),
            None => Ok(Grammar(matcher)),
        }
    }
}

/// A compiled grammar and how far an answer has come in it.
#[derive(Clone)]
pub struct Grammar(Matcher);

impl fmt::Debug for Grammar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Grammar")
    }
}

impl Grammar {
    /// The tokens that may come next; those that end the answer are among them where it may end here.
    ///
    /// # Errors
    /// Where the grammar asks for more work than a step may take.
    pub fn allowed(&mut self) -> Result<TokenSet> {
        self.0.compute_mask_or_eos().map(TokenSet).map_err(refused)
    }

    /// Goes on with a token that was drawn.
    ///
    /// # Errors
    /// Where it was not one of those allowed.
    pub fn accept(&mut self, id: u32) -> Result<()> {
        self.0.consume_token(id).map_err(refused)
    }

    /// Whether nothing may follow.
    pub fn is_complete(&self) -> bool {
        self.0.is_stopped()
    }
}

/// A schema whose JSON is written on one line with a space after `,` and `:`. With white space wherever JSON allows it,
/// small models write nothing else.
pub fn one_line(mut schema: Value) -> Value {
    if let Value::Object(fields) = &mut schema {
        let style = json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " });
        fields.insert("x-guidance".into(), style);
    }
    schema
}

fn refused(why: impl fmt::Display) -> TextError {
    TextError::Grammar { why: why.to_string() }
}

fn check(text: &str) -> Result<()> {
    if text.len() > LONGEST_GRAMMAR {
        return Err(refused(format!("it has {} bytes, and may have {LONGEST_GRAMMAR}", text.len())));
    }
    let lines = text.bytes().filter(|byte| *byte == b'\n').count();
    if lines > MOST_LINES {
        return Err(refused(format!("it has {lines} lines, and may have {MOST_LINES}")));
    }
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > DEEPEST_GRAMMAR {
        return Err(refused(format!("it nests {deepest} brackets deep, and may {DEEPEST_GRAMMAR}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VocabData;

    /// Bytes, and an end.
    fn vocab() -> (Tokenizer, GrammarVocab) {
        let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
        let tokens: Vec<String> =
            ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain(bytes).collect();
        let kinds: Vec<i32> = [2, 3, 3].into_iter().chain([6; 256]).collect();
        let data = VocabData {
            model: "llama",
            scores: Some(vec![0.0; tokens.len()].into()),
            kinds: Some(kinds.into()),
            tokens: tokens.iter().map(String::as_bytes).collect(),
            bos: Some(1),
            eos: Some(2),
            unk: Some(0),
            ..VocabData::default()
        };
        let tokenizer = Tokenizer::from_vocab(&data).unwrap();
        let vocab = GrammarVocab::new(&tokenizer, 300).unwrap();
        (tokenizer, vocab)
    }

    /// Whether a text follows a grammar, and may end there.
    fn follows(vocab: &GrammarVocab, source: &GrammarSource, text: &str) -> bool {
        let mut grammar = vocab.compile(source).unwrap();
        for byte in text.bytes() {
            let id = u32::from(byte) + 3;
            if grammar.is_complete() || !grammar.allowed().unwrap().contains(id) {
                return false;
            }
            grammar.accept(id).unwrap();
        }
        grammar.allowed().unwrap().contains(2)
    }

    #[test]
    fn only_what_follows_is_allowed() {
        let (_, vocab) = vocab();
        let schema = json!({
            "type": "object",
            "properties": { "n": { "type": "integer", "minimum": 3 }, "s": { "enum": ["a", "b"] } },
            "required": ["n", "s"],
            "additionalProperties": false
        });
        let source = GrammarSource::JsonSchema(schema);
        assert!(follows(&vocab, &source, r#"{"n": 12, "s": "b"}"#));
        for wrong in [
            r#"{"n": 2, "s": "b"}"#,
            r#"{"n": 12}"#,
            r#"{"n": 12, "s": "c"}"#,
            "no",
            r#"{"n": 12, "s": "b"}x"#,
        ] {
            assert!(!follows(&vocab, &source, wrong), "{wrong}");
        }
        let source = GrammarSource::Regex("[a-c]+d".into());
        assert!(
            follows(&vocab, &source, "abcd")
                && !follows(&vocab, &source, "abc")
                && !follows(&vocab, &source, "dd")
        );
        let source = GrammarSource::Lark("start: \"x\" start \"y\" | \"z\"".into());
        assert!(follows(&vocab, &source, "xxzyy") && !follows(&vocab, &source, "xxzy"));
    }

    #[test]
    fn control_tokens_and_those_without_a_spelling_never_follow() {
        let (_, vocab) = vocab();
        let mut grammar = vocab.compile(&GrammarSource::Regex("(.|\n)*".into())).unwrap();
        let allowed = grammar.allowed().unwrap();
        assert!([0, 1, 259, 299, 300, u32::MAX].iter().all(|id| !allowed.contains(*id)));
        assert!([2, 3 + 10, 3 + 0x41].iter().all(|id| allowed.contains(*id)));
    }

    #[test]
    fn what_is_not_understood_or_too_much_is_refused() {
        let (_, vocab) = vocab();
        let lark = |text: String| GrammarSource::Lark(text);
        let rules: String = (0..2000).map(|i| format!("a{i}: a{}\n", i + 1)).collect();
        for (source, said) in [
            (GrammarSource::JsonSchema(json!({ "type": "strange" })), "strange"),
            (GrammarSource::JsonSchema(json!({ "type": "string", "unevaluatedProperties": 1 })), ""),
            (GrammarSource::JsonSchema(json!({ "$ref": "http://example.com/x" })), ""),
            (GrammarSource::Regex("(".into()), ""),
            (lark("nothing".into()), ""),
            (lark("start: missing".into()), "missing"),
            (lark(format!("start: {}\"x\"{}", "(".repeat(65), ")".repeat(65))), "nests 65"),
            (lark(format!("start: \"{}\"", "x".repeat(LONGEST_GRAMMAR))), "bytes"),
            (lark(format!("start: a0\n{rules}")), "lines"),
        ] {
            let error = vocab.compile(&source).unwrap_err().to_string();
            assert!(error.starts_with("the grammar cannot be followed") && error.contains(said), "{error}");
        }
    }
}
