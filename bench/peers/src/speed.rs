//! The interleaved measurement.

use std::path::Path;

use anyhow::Result;
use peers_protocol::{Description, LoadOptions, Memory, Request};

use crate::child::EngineProcess;
use crate::cli::Compare;
use crate::engines::Family;
use crate::entry::Entry;
use crate::report::{Ratios, SpeedRow};
use crate::statistics::Samples;

/// What one engine showed over all rounds, in tokens per second and seconds.
struct Measured<'a> {
    entry: &'a Entry,
    options: LoadOptions,
    prompt: Vec<f64>,
    generate: Vec<f64>,
    load: Vec<f64>,
    first_token: Vec<f64>,
    memory: Option<Memory>,
}

impl Measured<'_> {
    fn start(&self) -> Result<EngineProcess> {
        EngineProcess::start(self.entry.spec, &self.options)
    }
}

/// Measures all engines on one model with one number of threads.
pub(crate) fn measure(arguments: &Compare, model: &Path, threads: usize) -> Result<Vec<SpeedRow>> {
    let context = arguments.prompt.max(arguments.generate);
    let mut measured: Vec<Measured<'_>> = arguments
        .engines
        .iter()
        .map(|entry| Measured {
            entry,
            options: LoadOptions { model: entry.file(model).to_owned(), threads, context },
            prompt: Vec::new(),
            generate: Vec::new(),
            load: Vec::new(),
            first_token: Vec::new(),
            memory: None,
        })
        .collect();
    load_rounds(arguments, &mut measured)?;
    run_rounds(arguments, &mut measured)?;
    Ok(rows(measured, threads))
}

/// Starts and ends every engine once a round.
fn load_rounds(arguments: &Compare, measured: &mut [Measured<'_>]) -> Result<()> {
    for _ in 0..arguments.rounds {
        for engine in &mut *measured {
            let process = engine.start()?;
            engine.load.push(process.loaded().load_s);
            engine.first_token.push(process.loaded().first_token_s);
        }
    }
    Ok(())
}

/// Keeps one process of every engine and gives each its turn in every round.
fn run_rounds(arguments: &Compare, measured: &mut [Measured<'_>]) -> Result<()> {
    let mut processes =
        measured.iter().map(|engine| engine.start()).collect::<Result<Vec<EngineProcess>>>()?;
    let vocabulary = smallest_vocabulary(processes.iter().map(|process| &process.loaded().description));
    let prompt = Request::Prefill { ids: random_ids(arguments.prompt, vocabulary) };
    let generate = Request::Decode { ids: random_ids(arguments.generate, vocabulary) };

    for process in &mut processes {
        process.time(&prompt)?;
        process.time(&generate)?;
    }
    for _ in 0..arguments.rounds {
        for (process, engine) in processes.iter_mut().zip(&mut *measured) {
            engine.prompt.push(arguments.prompt as f64 / process.time(&prompt)?);
        }
        for (process, engine) in processes.iter_mut().zip(&mut *measured) {
            engine.generate.push(arguments.generate as f64 / process.time(&generate)?);
        }
    }
    for (process, engine) in processes.iter_mut().zip(measured) {
        engine.memory = Some(process.memory()?);
    }
    Ok(())
}

fn smallest_vocabulary<'a>(descriptions: impl Iterator<Item = &'a Description>) -> usize {
    descriptions.map(|description| description.vocabulary).min().unwrap_or(1)
}

/// Random token ids, as llama-bench feeds; every engine gets the same. SplitMix64 from a fixed seed.
fn random_ids(count: usize, vocabulary: usize) -> Vec<u32> {
    let mut state = 0x5eed_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (0..count).map(|_| (next() % vocabulary as u64) as u32).collect()
}

fn rows(measured: Vec<Measured<'_>>, threads: usize) -> Vec<SpeedRow> {
    let mut rows: Vec<SpeedRow> = measured
        .into_iter()
        .map(|engine| {
            let memory = engine.memory.expect("every engine reported its memory");
            SpeedRow {
                engine: engine.entry.label(),
                family: engine.entry.spec.family,
                threads,
                prompt: Samples::new(engine.prompt),
                generate: Samples::new(engine.generate),
                load: Samples::new(engine.load),
                first_token: Samples::new(engine.first_token),
                memory,
                ratios: None,
            }
        })
        .collect();
    let Some(best) = Best::of(&rows) else { return rows };
    for row in &mut rows {
        row.ratios = Some(Ratios {
            prompt: row.prompt.ratio_to(&best.prompt).median,
            generate: row.generate.ratio_to(&best.generate).median,
            first_token: row.first_token.ratio_to(&best.first_token).median,
            peak: row.memory.peak_bytes as f64 / best.peak_bytes as f64,
        });
    }
    rows
}

/// llama.cpp at its best: each column of whichever of its settings has the better median.
struct Best {
    prompt: Samples,
    generate: Samples,
    first_token: Samples,
    peak_bytes: u64,
}

impl Best {
    fn of(rows: &[SpeedRow]) -> Option<Self> {
        let llama = || rows.iter().filter(|row| row.family == Family::LlamaCpp);
        let fastest = |samples: fn(&SpeedRow) -> &Samples| {
            llama().map(samples).max_by(|a, b| a.median.total_cmp(&b.median)).cloned()
        };
        let shortest = llama().map(|row| &row.first_token).min_by(|a, b| a.median.total_cmp(&b.median));
        Some(Self {
            prompt: fastest(|row| &row.prompt)?,
            generate: fastest(|row| &row.generate)?,
            first_token: shortest?.clone(),
            peak_bytes: llama().map(|row| row.memory.peak_bytes).min()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(entry: &Entry, prompt: [f64; 3], generate: [f64; 3], peak_bytes: u64) -> Measured<'_> {
        Measured {
            entry,
            options: LoadOptions { model: "m.gguf".into(), threads: 1, context: 1 },
            prompt: prompt.to_vec(),
            generate: generate.to_vec(),
            load: vec![1.0; 3],
            first_token: vec![2.0; 3],
            memory: Some(Memory { peak_bytes, anonymous_bytes: 0 }),
        }
    }

    #[test]
    fn ratios_are_to_the_better_llama_cpp_of_each_column() {
        let entry = |name| Entry::parse(name).unwrap();
        let (repacked, stored, own) = (entry("llama.cpp"), entry("llama.cpp-no-repack"), entry("lowbit"));
        let rows = rows(
            vec![
                measured(&repacked, [10.0, 20.0, 10.0], [9.0; 3], 300),
                measured(&stored, [40.0, 80.0, 40.0], [3.0; 3], 200),
                measured(&own, [20.0, 40.0, 20.0], [18.0; 3], 100),
            ],
            1,
        );
        let ratios = rows[2].ratios.unwrap();
        assert_eq!((ratios.prompt, ratios.generate, ratios.peak), (0.5, 2.0, 0.5));
        assert_eq!(rows[1].ratios.unwrap().generate, 1.0 / 3.0);
    }

    #[test]
    fn without_llama_cpp_there_is_nothing_to_compare_with() {
        let own = Entry::parse("lowbit").unwrap();
        assert!(rows(vec![measured(&own, [1.0; 3], [1.0; 3], 1)], 1)[0].ratios.is_none());
    }

    #[test]
    fn random_ids_repeat_and_stay_inside_the_vocabulary() {
        let ids = random_ids(512, 100);
        assert_eq!(ids, random_ids(512, 100));
        assert!(ids.iter().all(|&id| id < 100));
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        // 512 draws from 100 miss an id with probability 0.99^512 < 1 %: about one is missing.
        assert!(distinct.len() > 90, "{}", distinct.len());
    }
}
