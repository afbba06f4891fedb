//! What a comparison found, for JSON and for reading.

use std::fmt::{self, Display};
use std::path::PathBuf;

use peers_protocol::{Description, Memory};
use serde::Serialize;

use crate::accuracy::{Divergence, Perplexity};
use crate::engines::Family;
use crate::statistics::Samples;
use crate::table::Table;

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    pub(crate) prompt_tokens: usize,
    pub(crate) generated_tokens: usize,
    pub(crate) models: Vec<ModelReport>,
}

/// Where it ran.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
}

/// Everything of one file.
#[derive(Debug, Serialize)]
pub(crate) struct ModelReport {
    pub(crate) model: PathBuf,
    pub(crate) file_bytes: u64,
    pub(crate) engines: Vec<EngineHead>,
    pub(crate) speed: Vec<SpeedRow>,
    pub(crate) accuracy: Option<Accuracy>,
}

/// Who an engine says it is.
#[derive(Debug, Serialize)]
pub(crate) struct EngineHead {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) file_bytes: u64,
    #[serde(flatten)]
    pub(crate) description: Description,
}

/// One engine with one number of threads.
#[derive(Debug, Serialize)]
pub(crate) struct SpeedRow {
    pub(crate) engine: String,
    #[serde(skip)]
    pub(crate) family: Family,
    pub(crate) threads: usize,
    #[serde(rename = "prompt_tokens_per_s")]
    pub(crate) prompt: Samples,
    #[serde(rename = "generated_tokens_per_s")]
    pub(crate) generate: Samples,
    #[serde(rename = "load_s")]
    pub(crate) load: Samples,
    #[serde(rename = "load_and_first_token_s")]
    pub(crate) first_token: Samples,
    #[serde(flatten)]
    pub(crate) memory: Memory,
    #[serde(rename = "ratio_to_best_llama_cpp")]
    pub(crate) ratios: Option<Ratios>,
}

/// An engine over llama.cpp's better setting of each column.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Ratios {
    pub(crate) prompt: f64,
    pub(crate) generate: f64,
    pub(crate) first_token: f64,
    pub(crate) peak: f64,
}

/// Logits over a text.
#[derive(Debug, Serialize)]
pub(crate) struct Accuracy {
    pub(crate) text: PathBuf,
    pub(crate) chunks: usize,
    pub(crate) reference: &'static str,
    pub(crate) rows: Vec<AccuracyRow>,
}

/// One engine over a text.
#[derive(Debug, Serialize)]
pub(crate) struct AccuracyRow {
    pub(crate) engine: &'static str,
    #[serde(flatten)]
    pub(crate) perplexity: Perplexity,
    /// From the reference; none for the reference itself.
    #[serde(rename = "kl_divergence")]
    pub(crate) divergence: Option<Divergence>,
}

impl ModelReport {
    /// The engine's name, with a star where a footnote warns of it.
    fn marked(&self, engine: &str) -> String {
        let warned = |head: &EngineHead| head.name == engine && head.description.caveat.is_some();
        let star = if self.engines.iter().any(warned) { "*" } else { "" };
        format!("{engine}{star}")
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} cores", self.machine.cpu, self.machine.cores)?;
        for model in &self.models {
            writeln!(f, "\n{}", "=".repeat(100))?;
            self.write_model(f, model)?;
        }
        Ok(())
    }
}

impl Report {
    fn write_model(&self, f: &mut fmt::Formatter<'_>, model: &ModelReport) -> fmt::Result {
        let name = model.model.file_name().unwrap_or_default().to_string_lossy();
        writeln!(f, "{name}  {:.1} MB", model.file_bytes as f64 / 1e6)?;
        for engine in &model.engines {
            let EngineHead { name, file, file_bytes, description } = engine;
            let own = match *file == model.model {
                true => String::new(),
                false => format!(" {:.1} MB", *file_bytes as f64 / 1e6),
            };
            writeln!(f, "  {name}{own}: {}; {}", description.engine, description.system)?;
        }
        writeln!(f, "\nmedian of {} rounds, ± = half of (max - min) / median\n", self.rounds)?;
        write!(f, "{}", self.speed_table(model))?;
        if let Some(accuracy) = &model.accuracy {
            let text = accuracy.text.file_name().unwrap_or_default().to_string_lossy();
            writeln!(
                f,
                "\nlogits over {} windows of {text}, divergence from {}\n",
                accuracy.chunks, accuracy.reference
            )?;
            write!(f, "{}", accuracy_table(model, &accuracy.rows))?;
        }
        for engine in &model.engines {
            if let Some(caveat) = &engine.description.caveat {
                writeln!(f, "\n{} {}", model.marked(&engine.name), caveat)?;
            }
        }
        Ok(())
    }

    fn speed_table(&self, model: &ModelReport) -> Table {
        let prompt = format!("pp{} t/s", self.prompt_tokens);
        let generate = format!("tg{} t/s", self.generated_tokens);
        let mut table = Table::new([
            "engine",
            "threads",
            &prompt,
            "±",
            &generate,
            "±",
            "load s",
            "+token s",
            "peak MiB",
            "anon MiB",
            "| pp",
            "tg",
            "+token",
            "peak (ratio to best llama.cpp)",
        ]);
        for row in &model.speed {
            let mut cells = vec![
                model.marked(&row.engine),
                row.threads.to_string(),
                format!("{:.1}", row.prompt.median),
                percent(row.prompt.spread / 2.0),
                format!("{:.1}", row.generate.median),
                percent(row.generate.spread / 2.0),
                format!("{:.3}", row.load.median),
                format!("{:.3}", row.first_token.median),
                mebibytes(row.memory.peak_bytes),
                mebibytes(row.memory.anonymous_bytes),
            ];
            if let Some(ratios) = row.ratios {
                for ratio in [ratios.prompt, ratios.generate, ratios.first_token, ratios.peak] {
                    cells.push(format!("{ratio:.2}"));
                }
            }
            table.push(cells);
        }
        table
    }
}

fn accuracy_table(model: &ModelReport, rows: &[AccuracyRow]) -> Table {
    let mut table =
        Table::new(["engine", "perplexity", "±", "mean KL", "±", "p99 KL", "max KL", "top-1 agreement"]);
    for row in rows {
        let mut cells = vec![
            model.marked(row.engine),
            format!("{:.4}", row.perplexity.perplexity),
            format!("{:.4}", row.perplexity.standard_error),
        ];
        if let Some(divergence) = row.divergence {
            let Divergence { mean, standard_error, percentile_99, max, top1_agreement } = divergence;
            for value in [mean, standard_error, percentile_99, max] {
                cells.push(format!("{value:.6}"));
            }
            cells.push(format!("{:.2}%", top1_agreement * 100.0));
        }
        table.push(cells);
    }
    table
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &'static str, caveat: Option<&str>) -> EngineHead {
        let description = Description {
            engine: name.to_uppercase(),
            system: String::new(),
            architecture: String::new(),
            vocabulary: 1,
            caveat: caveat.map(str::to_owned),
        };
        EngineHead { name: name.to_owned(), file: "m.gguf".into(), file_bytes: 0, description }
    }

    fn row(engine: &'static str) -> AccuracyRow {
        let perplexity = Perplexity { perplexity: 2.0, standard_error: 0.1, tokens: 7 };
        AccuracyRow { engine, perplexity, divergence: None }
    }

    #[test]
    fn an_engine_with_a_known_fault_is_starred_and_explained_below() {
        let accuracy = Accuracy {
            text: "t".into(),
            chunks: 1,
            reference: "right",
            rows: vec![row("right"), row("wrong")],
        };
        let model = ModelReport {
            model: "m.gguf".into(),
            file_bytes: 0,
            engines: vec![head("right", None), head("wrong", Some("rounds down"))],
            speed: Vec::new(),
            accuracy: Some(accuracy),
        };
        let machine = Machine { cpu: String::new(), cores: 1 };
        let report =
            Report { machine, rounds: 1, prompt_tokens: 1, generated_tokens: 1, models: vec![model] };
        let text = report.to_string();
        let (table, note) = text.rsplit_once("\n\n").unwrap();
        assert_eq!(note, "wrong* rounds down\n");
        assert!(table.contains("\nwrong*  ") && table.contains("\nright   "), "{text}");
    }
}
