//! `lowbit study`: a recipe's models, methods and formats, each quantized and measured by the commands that a user has for it,
//! and a report.

mod shipped;
mod steps;

use crate::{Outcome, interrupt::Interrupt, progress, report};
use anyhow::{Context, Result, bail};
use clap::Args;
use lowbit::{
    eval::study::{Measured, Recipe, drawings, html},
    suggest, write_file,
};
use serde_json::json;
use std::{
    fs::{File, TryLockError},
    io::Write,
    path::{Path, PathBuf},
};
use steps::{Inputs, Steps};

/// Compare methods: quantize models by each method in each format, measure all of them alike, and write a report. What is
/// done is kept in the folder, and the same command goes on from there.
#[derive(Args)]
pub(crate) struct Study {
    /// A recipe: a TOML file, or the name of one of these
    #[arg(value_name = "RECIPE", long_help = format!("A recipe: a TOML file, or one that comes with lowbit:\n{}", shipped::list()))]
    recipe: String,
    /// Folder for results and the report
    #[arg(short, long, value_name = "FOLDER")]
    out: PathBuf,
    /// Folder with the tasks' data; what is not there is fetched from the hub
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Text that divergence from the source is measured on; without it, it is not
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Calibration text, in place of the recipe's: a name of `lowbit list calib` or a file
    #[arg(long, value_name = "TEXT")]
    calib: Option<String>,
    /// Only these of its models, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    models: Vec<String>,
    /// Documents of each task, in place of the recipe's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Let tasks run the programs that models write, in a sandbox (docs/sandbox.md)
    #[arg(long)]
    allow_code_execution: bool,
    /// Keep the quantized models; without it each is removed when it is measured
    #[arg(long)]
    keep_models: bool,
    /// Only write the report anew, from what is there
    #[arg(long)]
    report: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Study {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Outcome> {
        let recipe = self.recipe()?;
        let inputs = Inputs {
            data: self.data.clone().map(absolute).transpose()?,
            text: self.text.clone().map(absolute).transpose()?,
            allow_code_execution: self.allow_code_execution,
        };
        let folder = absolute(self.out.clone())?;
        for part in [&folder, &folder.join("steps"), &folder.join("models")] {
            std::fs::create_dir_all(part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        let _lock = lock(&folder)?;
        let steps = Steps::new(&recipe, &inputs, &folder)?;
        let interrupt = Interrupt::install()?;
        let over = interrupt.answering();
        let cells = recipe.cells();
        let mut measured = Vec::new();
        let mut failures = Vec::new();
        let bar = progress::bar(cells.len() as u64, "{pos}/{len} {wide_bar} {msg}, {eta} left");
        for cell in &cells {
            bar.set_message(cell.name());
            if self.report {
                measured.extend(steps.known(cell)?);
            } else {
                match steps.measure(cell, self.keep_models, &|line| bar.suspend(|| eprintln!("{line}"))) {
                    Ok(one) => measured.push(one),
                    Err(_) if over.is_over() => {}
                    Err(error) => {
                        // The others go on: which ones failed is told at the end.
                        bar.suspend(|| eprintln!("error: {}: {}", cell.name(), report::chain(&error)));
                        failures.push(cell.name());
                    }
                }
            }
            bar.inc(1);
            if over.is_over() {
                break;
            }
            self.write(&recipe, &measured, &inputs, &folder)?;
        }
        bar.finish_and_clear();
        if over.is_over() {
            eprintln!("interrupted; the same command goes on from there");
            return Ok(Outcome::Interrupted);
        }
        self.write(&recipe, &measured, &inputs, &folder)?;
        let path = folder.join("report.html");
        if self.json {
            report::json(out, &json!({ "report": path, "measured": measured, "failed": failures }))?;
        } else {
            writeln!(out, "{}: {} measured", path.display(), report::count(measured.len(), "model"))?;
        }
        if !failures.is_empty() {
            bail!("{} failed: {}; the same command tries them again", failures.len(), failures.join(", "));
        }
        Ok(Outcome::Done)
    }

    fn recipe(&self) -> Result<Recipe> {
        let text = match shipped::named(&self.recipe) {
            Some(text) => text.to_owned(),
            None if Path::new(&self.recipe).exists() => std::fs::read_to_string(&self.recipe)
                .with_context(|| format!("cannot read {}", self.recipe))?,
            None => {
                let near = suggest::nearest(&self.recipe, shipped::names());
                let near = near.map_or_else(String::new, |near| format!(" {near} is close;"));
                bail!(
                    "{:?} is no file and no recipe that comes with lowbit;{near} those are:\n{}",
                    self.recipe,
                    shipped::list()
                );
            }
        };
        let mut recipe = Recipe::parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", self.recipe))?;
        for model in &self.models {
            if !recipe.models.contains(model) {
                bail!("--models {model}: the recipe has {}", recipe.models.join(", "));
            }
        }
        if !self.models.is_empty() {
            recipe.models.retain(|model| self.models.contains(model));
        }
        if let Some(limit) = self.limit {
            recipe.limit = Some(limit as usize);
        }
        if let Some(calib) = &self.calib {
            recipe.calib = Some(calib.clone());
        }
        // A file that is named is found from any folder.
        if let Some(calib) = recipe.calib.as_ref().filter(|calib| Path::new(calib.as_str()).exists()) {
            recipe.calib = Some(absolute(PathBuf::from(calib))?.display().to_string());
        }
        Ok(recipe)
    }

    /// Report, charts and figures, as far as it is.
    fn write(&self, recipe: &Recipe, measured: &[Measured], inputs: &Inputs, folder: &Path) -> Result<()> {
        write_file(&folder.join("figures.json"), &serde_json::to_vec_pretty(measured)?)?;
        for drawing in drawings(recipe, measured) {
            write_file(&folder.join(format!("{}.svg", drawing.name)), drawing.svg.as_bytes())?;
        }
        let page = html(recipe, measured, &inputs.setting(recipe));
        Ok(write_file(&folder.join("report.html"), page.as_bytes())?)
    }
}

/// Keeps a second study out of a folder, until it is dropped.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            bail!("a study is at work in {}; wait for it or name another folder", folder.display())
        }
        // Not every file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).with_context(|| format!("cannot find {}", path.display()))
}
