//! `peers reference`: what llama.cpp makes of a text, as files for tests of others.
//!
//! `<model>.ids.u32` holds the tokens of the first windows as they are in the text; where the model has a
//! begin token, a consumer puts it in the place of each window's first. `<model>.logits.f32` holds the
//! second halves' logits, `[windows, 256, vocabulary]`, and `<model>.json` the shapes.

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::{Context, Result, ensure};
use peers_protocol::{LoadOptions, Special, write_ids};
use serde_json::json;

use crate::accuracy::rows;
use crate::child::EngineProcess;
use crate::cli::Reference;
use crate::engines::REFERENCE;
use crate::windows::{FIRST_ROW, WINDOW, Windows};

pub(crate) fn run(arguments: &Reference) -> Result<()> {
    let scratch = tempfile::tempdir_in(&arguments.out)
        .with_context(|| format!("cannot write to {}", arguments.out.display()))?;
    let options = LoadOptions { model: arguments.model.clone(), threads: arguments.threads, context: WINDOW };
    let mut engine = EngineProcess::start(REFERENCE, &options)?;
    let windows = Windows::of_file(&mut engine, &arguments.text, scratch.path())?;
    let count = windows.count(Some(arguments.chunks))?;
    ensure!(
        arguments.logit_chunks <= count,
        "logits of {} windows were asked for and tokens of only {count}",
        arguments.logit_chunks
    );
    let stem = arguments.model.file_stem().context("the model has no file name")?;
    let file = |extension: &str| {
        let mut name = stem.to_owned();
        name.push(extension);
        arguments.out.join(name)
    };

    let tokens: Vec<u32> = (0..count).flat_map(|index| windows.tokens(index).iter().copied()).collect();
    write_ids(&file(".ids.u32"), &tokens)?;

    let mut logits = BufWriter::new(File::create(file(".logits.f32"))?);
    let mut vocabulary = 0;
    for index in 0..arguments.logit_chunks {
        let rows = rows(&mut engine, &windows, index, scratch.path())?;
        vocabulary = rows.vocabulary;
        for value in rows.values {
            logits.write_all(&value.to_le_bytes())?;
        }
        eprintln!("window {} of {}", index + 1, arguments.logit_chunks);
    }
    logits.flush()?;

    let begin = match windows.begin() {
        Special::None => None,
        Special::Bos(id) => Some(id),
    };
    let description = json!({
        "model": stem.to_string_lossy(),
        "engine": engine.loaded().description,
        "window": WINDOW,
        "first_row": FIRST_ROW,
        "token_windows": count,
        "logits_shape": [arguments.logit_chunks, WINDOW - FIRST_ROW, vocabulary],
        "begin_token": begin,
    });
    std::fs::write(file(".json"), serde_json::to_string_pretty(&description)? + "\n")?;
    Ok(())
}
