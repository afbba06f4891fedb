//! Vocabularies: as a GGUF file holds them, and llama2.c tokenizer files.
#![no_main]

#[path = "../checks/tokenizer_vocab.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = checks::check(data);
});
