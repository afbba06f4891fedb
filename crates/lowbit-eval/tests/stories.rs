//! Loss on real text against figures that other programs gave.

use flate2::read::GzDecoder;
use lowbit_engine::{LoadOptions, Model, Session};
use lowbit_eval::{Loss, Options, Protocol, perplexity, score};
use lowbit_kernels::{Ctx, Isa};
use lowbit_model::KvElement;
use std::{fs::File, io::Read, ops::ControlFlow, path::Path};

fn unpack(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// The figure, 3.64 over 13,205 tokens, is of a separate numpy program: stories begin at "Once upon a time" and are cut
/// at 900 characters, the first 39 count, every token after BOS is scored. It is given with three digits.
#[test]
fn stories260k_has_the_perplexity_that_numpy_computes() {
    let Some(model) = lowbit_testing::data_file("models/stories260K/stories260K.bin") else { return };
    let Some(text) = lowbit_testing::data_file("text/tinystories_v2_valid.first_half.txt.gz") else { return };
    let ctx = Ctx::new(Isa::detect(), 2);
    let model = Model::load(&ctx, &model, LoadOptions::default()).unwrap();
    let text = unpack(&text);
    let starts: Vec<usize> = text.match_indices("Once upon a time").map(|(at, _)| at).collect();
    let mut session = Session::new(&model, &ctx, 0, KvElement::F32).unwrap();
    let mut loss = Loss::default();
    for (index, pair) in starts.windows(2).take(39).enumerate() {
        let story: String = text[pair[0]..pair[1]].chars().take(900).collect();
        let tokens = model.encode(story.trim()).unwrap();
        score(&mut session, &tokens, 1, index, &mut loss).unwrap();
    }
    println!("perplexity {} over {} tokens", loss.perplexity(), loss.tokens());
    assert!((loss.perplexity() - 3.64).abs() < 0.005, "{}", loss.perplexity());
}

/// `llama-perplexity` gives 13.0665 for the first window. Both engines round activations to 8 bits, each in its own
/// way, so that a window of 255 tokens agrees to well under its own standard error and not to all digits.
#[test]
fn the_first_window_of_wikitext_is_as_llama_cpp_has_it() {
    let Some(model) = lowbit_testing::model_file("smollm2.gguf") else { return };
    let Some(text) = lowbit_testing::data_file("text/wikitext-2-raw/wiki.test.raw.gz") else { return };
    let ctx = Ctx::new(Isa::detect(), 2);
    let model = Model::load(&ctx, &model, LoadOptions::default()).unwrap();
    let protocol = Protocol::named("llama.cpp").unwrap();
    let options = Options { protocol, chunks: Some(1), cache: KvElement::F16 };
    let mut seen = 0;
    let found = perplexity(&model, &ctx, &unpack(&text), options, |_| {
        seen += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((seen, found.chunks, found.scored_tokens), (1, 1, 255));
    assert!((found.perplexity / 13.0665 - 1.0).abs() < 0.005, "{}", found.perplexity);
}
