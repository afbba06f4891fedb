//! Text in and text out: tokenizers, streaming detokenization and chat templates.
//!
//! A [`Tokenizer`] is built either from [`VocabData`], the plain vocabulary that a GGUF file carries in its
//! metadata, from a Hugging Face `tokenizer.json` ([`HfFiles`]), or from llama2.c's `tok512.bin`. The crate
//! knows none of the checkpoint formats: whoever reads the file fills [`VocabData`].
//!
//! [`StreamDecoder`] turns ids into text one at a time and holds back bytes until a character is complete.
//! [`ChatTemplate`] renders the Jinja template of a model in a sandbox: no files, no includes, and limits on
//! work, output and nesting. A [`Grammar`] says which tokens an answer of a given shape may go on with.
//!
//! What is absent on purpose: no file access, no network, no clock (the time that a template may ask for is
//! passed in), no environment variables, no global state.
#![forbid(unsafe_code)]

mod bpe;
mod build;
mod byte_alphabet;
mod charsmap;
pub mod chat;
mod error;
mod grammar;
mod hf;
mod llama2c;
mod merge;
mod pieces;
mod pretokenize;
mod pretokenizers;
mod special;
mod spm;
mod stream;
mod tokenizer;
mod unigram;
mod vocab;

pub use chat::{ChatInput, ChatTemplate, GenerationPrompt, Message};
pub use error::{Result, TextError};
pub use grammar::{Grammar, GrammarSource, GrammarVocab, LONGEST_GRAMMAR, TokenSet, one_line};
pub use hf::{HfFiles, HfTexts};
pub use pretokenizers::known_pre_tokenizers;
pub use stream::{SpecialText, StreamDecoder, TextStart};
pub use tokenizer::{Affixes, SpecialTokens, Tokenizer};
pub use vocab::{TokenKind, VocabData};
