//! The loop of an engine process: requests in, replies out, and the stopwatch.

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::engine::Engine;
use crate::files::{write_f32, write_ids};
use crate::memory::Memory;
use crate::message::{Reply, Request};

/// Serves on standard input and output: the whole of an engine program's `main`.
///
/// The process ends with the coordinator, even if it is stopped by signal at that moment.
pub fn run<E: Engine>(load: impl Fn(&crate::LoadOptions) -> Result<E>) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot tie this process to its parent")?;
    serve(load, std::io::stdin().lock(), std::io::stdout().lock())
}

/// Answers requests until [`Request::Quit`] or the end of `input`. `load` makes the engine, so that an
/// engine program can add what its own command line says.
///
/// A request that fails is answered with [`Reply::Failed`]; only a broken pipe or a line that is no
/// request ends the loop with an error.
fn serve<E: Engine>(
    load: impl Fn(&crate::LoadOptions) -> Result<E>,
    input: impl BufRead,
    mut output: impl Write,
) -> Result<()> {
    let mut engine = None;
    for line in input.lines() {
        let line = line.context("cannot read the next request")?;
        let request: Request =
            serde_json::from_str(&line).with_context(|| format!("this is no request: {line}"))?;
        if request == Request::Quit {
            break;
        }
        let reply = answer(&load, &mut engine, request)
            .unwrap_or_else(|error| Reply::Failed { message: format!("{error:#}") });
        serde_json::to_writer(&mut output, &reply)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn answer<E: Engine>(
    load: impl Fn(&crate::LoadOptions) -> Result<E>,
    slot: &mut Option<E>,
    request: Request,
) -> Result<Reply> {
    if let Request::Load(options) = &request {
        ensure!(slot.is_none(), "a model is loaded already; start another process for another model");
        let start = Instant::now();
        let engine = slot.insert(load(options)?);
        let load_s = start.elapsed().as_secs_f64();
        engine.decode(0)?;
        let first_token_s = start.elapsed().as_secs_f64();
        engine.reset()?;
        return Ok(Reply::Loaded { load_s, first_token_s, description: engine.describe() });
    }
    let engine = slot.as_mut().context("no model is loaded yet")?;
    match request {
        Request::Tokenize { text, ids } => {
            let bytes = std::fs::read(&text).with_context(|| format!("cannot read {}", text.display()))?;
            let tokens = engine.tokenize(&bytes)?;
            write_ids(&ids, &tokens.ids)?;
            Ok(Reply::Tokenized { count: tokens.ids.len(), begin: tokens.begin })
        }
        Request::Prefill { ids } => timed(engine, &ids, |engine| engine.prefill(&ids)),
        Request::Decode { ids } => {
            timed(engine, &ids, |engine| ids.iter().try_for_each(|&id| engine.decode(id)))
        }
        Request::Logits { window, first, out } => {
            ensure!(
                first < window.len(),
                "logits from position {first} of a window of {} tokens",
                window.len()
            );
            engine.reset()?;
            let logits = engine.logits(&window, first)?;
            let rows = window.len() - first;
            ensure!(
                logits.values.len() == rows * logits.vocabulary,
                "the engine gave {} logits, {rows} rows of {} were expected",
                logits.values.len(),
                logits.vocabulary
            );
            write_f32(&out, &logits.values)?;
            Ok(Reply::Logits { rows, vocabulary: logits.vocabulary })
        }
        Request::Memory => Ok(Reply::Memory(Memory::of_this_process()?)),
        Request::Load(_) | Request::Quit => bail!("handled before"),
    }
}

/// Runs `work` on an empty cache and times it. One token is decoded beforehand: between two timed runs
/// other engines have had the CPU, and waking threads is not what is being measured.
fn timed<E: Engine>(engine: &mut E, ids: &[u32], work: impl FnOnce(&mut E) -> Result<()>) -> Result<Reply> {
    let first = *ids.first().context("nothing to time: the list of ids is empty")?;
    engine.reset()?;
    engine.decode(first)?;
    engine.reset()?;
    let start = Instant::now();
    work(engine)?;
    Ok(Reply::Timed { seconds: start.elapsed().as_secs_f64() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Description, LoadOptions, Logits, Special, Tokens};

    /// Knows how many tokens its cache holds, and gives the position as every logit.
    struct Counter {
        position: usize,
    }

    const VOCABULARY: usize = 3;

    impl Engine for Counter {
        fn load(_: &LoadOptions) -> Result<Self> {
            Ok(Self { position: 0 })
        }
        fn describe(&self) -> Description {
            Description {
                engine: "counter".to_owned(),
                system: String::new(),
                architecture: String::new(),
                vocabulary: VOCABULARY,
                caveat: None,
            }
        }
        fn tokenize(&self, text: &[u8]) -> Result<Tokens> {
            Ok(Tokens { ids: text.iter().map(|&byte| byte.into()).collect(), begin: Special::Bos(1) })
        }
        fn reset(&mut self) -> Result<()> {
            self.position = 0;
            Ok(())
        }
        fn prefill(&mut self, ids: &[u32]) -> Result<()> {
            ensure!(self.position == 0, "a prompt was begun in a cache of {} tokens", self.position);
            self.position = ids.len();
            Ok(())
        }
        fn decode(&mut self, _: u32) -> Result<()> {
            self.position += 1;
            Ok(())
        }
        fn logits(&mut self, window: &[u32], first: usize) -> Result<Logits> {
            self.prefill(window)?;
            let rows = (first..window.len()).flat_map(|position| [position as f32; VOCABULARY]);
            Ok(Logits { values: rows.collect(), vocabulary: VOCABULARY })
        }
    }

    fn talk(requests: &[Request]) -> Vec<Reply> {
        let lines: Vec<String> =
            requests.iter().map(|request| serde_json::to_string(request).unwrap()).collect();
        let mut output = Vec::new();
        serve(Counter::load, lines.join("\n").as_bytes(), &mut output).unwrap();
        String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn load() -> Request {
        Request::Load(LoadOptions { model: "m.gguf".into(), threads: 1, context: 8 })
    }

    #[test]
    fn every_timed_run_begins_with_an_empty_cache() {
        let prefill = Request::Prefill { ids: vec![5, 6, 7] };
        let decode = Request::Decode { ids: vec![5, 6] };
        let replies = talk(&[load(), prefill.clone(), decode, prefill]);
        assert!(matches!(replies[0], Reply::Loaded { .. }));
        for reply in &replies[1..] {
            assert!(matches!(reply, Reply::Timed { .. }), "{reply:?}");
        }
    }

    #[test]
    fn a_failed_request_is_answered_and_the_next_one_served() {
        let replies =
            talk(&[Request::Memory, load(), load(), Request::Prefill { ids: vec![] }, Request::Memory]);
        let failed = |reply: &Reply| matches!(reply, Reply::Failed { .. });
        assert_eq!(replies.iter().map(failed).collect::<Vec<_>>(), [true, false, true, true, false]);
    }

    #[test]
    fn logits_are_those_of_the_positions_from_first_on() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("rows");
        let replies = talk(&[load(), Request::Logits { window: vec![9; 4], first: 2, out: out.clone() }]);
        assert_eq!(replies[1], Reply::Logits { rows: 2, vocabulary: VOCABULARY });
        assert_eq!(crate::read_f32(&out).unwrap(), [2.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
    }

    #[test]
    fn nothing_is_answered_after_quit() {
        assert!(talk(&[Request::Quit, Request::Memory]).is_empty());
    }
}
