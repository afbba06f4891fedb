//! `lowbit inspect`.

use crate::{
    env,
    memory::peak_rss_bytes,
    open,
    options::{self, Activations, load_options},
    report,
    table::{
        Align::{Left, Right},
        Table,
    },
};
use anyhow::{Context, Result, bail};
use clap::Args;
use lowbit::{Access, Ctx, Ffn, LoadStats, Model, ModelSpec, Planner, TensorSummary, hub::Store};
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Write};

/// Show what a model file holds.
#[derive(Args)]
pub(crate) struct Inspect {
    /// The model
    model: String,
    /// Context to tell the memory for; 0: as many tokens as the model was made for
    #[arg(short = 'c', long, value_name = "TOKENS", default_value_t = 0)]
    ctx_size: usize,
    /// Load it too, and tell time and peak memory
    #[arg(long)]
    load: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// Bytes of one key or value in 16 bits.
const F16_BYTES: usize = 2;

struct Facts {
    spec: ModelSpec,
    tensors: Vec<TensorSummary>,
    context: usize,
    file_bytes: u64,
    loaded: Option<Loaded>,
}

struct Loaded {
    stats: LoadStats,
    bytes_per_token: usize,
    peak_rss_bytes: Option<u64>,
}

impl Inspect {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        let local = open::locate(&Store::from_env()?, &self.model)?;
        let failed = || format!("cannot read {}", self.model);
        let (spec, tensors) = Model::inspect(&local.path, Access::Map).with_context(failed)?;
        let most = spec.longest();
        if self.ctx_size > most {
            bail!("a context of {} tokens was asked for; the model was made for {most}", self.ctx_size);
        }
        let context = if self.ctx_size == 0 { most } else { self.ctx_size };
        let loaded = if self.load {
            let ctx = Ctx::new(env::isa()?, options::threads(None)?);
            let model = Model::load(&ctx, &local.path, load_options(Activations::Int16, Planner::new()))
                .with_context(failed)?;
            let (stats, bytes_per_token) = (model.load_stats(), model.bytes_per_token());
            Some(Loaded { stats, bytes_per_token, peak_rss_bytes: peak_rss_bytes() })
        } else {
            None
        };
        let facts = Facts { spec, tensors, context, file_bytes: local.bytes, loaded };
        if self.json { report::json(out, &facts.json(&local.path)) } else { facts.write(out) }
    }
}

impl Facts {
    fn elements(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum()
    }

    fn tensor_bytes(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }

    fn bits_per_weight(&self) -> f64 {
        8.0 * self.tensor_bytes() as f64 / self.elements().max(1) as f64
    }

    /// Keys and values of every block at the full context, in 16 bits.
    fn kv_bytes(&self) -> usize {
        2 * self.spec.blocks.len() * self.spec.kv_width() * self.context * F16_BYTES
    }

    /// Number of tensors and bytes of each format.
    fn formats(&self) -> BTreeMap<&str, (usize, usize)> {
        let mut formats = BTreeMap::new();
        for tensor in &self.tensors {
            let (count, bytes) = formats.entry(tensor.format.as_str()).or_insert((0, 0));
            *count += 1;
            *bytes += tensor.bytes;
        }
        formats
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let spec = &self.spec;
        let windowed = spec.blocks.iter().filter(|block| block.window.is_some()).count();
        let mut fields = vec![
            ("architecture", spec.architecture.to_owned()),
            ("blocks", spec.blocks.len().to_string()),
            ("hidden", spec.hidden.to_string()),
            ("feed-forward", feed_forward(spec)),
            ("heads", format!("{} of {}, {} for keys and values", spec.heads, spec.head_dim, spec.kv_heads)),
            ("vocabulary", spec.vocab.to_string()),
            ("context", format!("{} tokens", spec.context)),
            ("weights", format!("{} in {}", self.elements(), report::count(self.tensors.len(), "tensor"))),
            ("bits/weight", format!("{:.3}", self.bits_per_weight())),
            ("file", report::bytes(self.file_bytes)),
            (
                "memory",
                format!(
                    "{} = {} of weights + {} of keys and values (f16) at {} tokens",
                    report::bytes((self.tensor_bytes() + self.kv_bytes()) as u64),
                    report::bytes(self.tensor_bytes() as u64),
                    report::bytes(self.kv_bytes() as u64),
                    self.context
                ),
            ),
        ];
        if windowed > 0 {
            fields.insert(7, ("windows", format!("{windowed} of the blocks")));
        }
        if let Some(loaded) = &self.loaded {
            fields.push(("loaded in", format!("{:.3} s", loaded.stats.total_s)));
            fields.push(("read/token", report::bytes(loaded.bytes_per_token as u64)));
            if let Some(peak) = loaded.peak_rss_bytes {
                fields.push(("peak memory", report::bytes(peak)));
            }
        }
        report::fields(out, &fields)?;
        writeln!(out)?;
        let mut formats =
            Table::new(&[("format", Left), ("tensors", Right), ("bytes", Right), ("share", Right)]);
        for (format, (count, bytes)) in self.formats() {
            let share = 100.0 * bytes as f64 / self.tensor_bytes().max(1) as f64;
            formats.row([
                format.to_owned(),
                count.to_string(),
                report::bytes(bytes as u64),
                format!("{share:.1} %"),
            ]);
        }
        formats.write(out)?;
        writeln!(out)?;
        let mut table =
            Table::new(&[("tensor", Left), ("format", Left), ("shape", Left), ("bits/weight", Right)]);
        for tensor in &self.tensors {
            let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
            table.row([
                tensor.name.clone(),
                tensor.format.clone(),
                shape.join(" x "),
                format!("{:.3}", tensor.bits_per_weight),
            ]);
        }
        Ok(table.write(out)?)
    }

    fn json(&self, path: &std::path::Path) -> Value {
        let spec = &self.spec;
        let mut value = json!({
            "path": path,
            "architecture": spec.architecture,
            "blocks": spec.blocks.len(),
            "hidden": spec.hidden,
            "feed_forward": feed_forward(spec),
            "heads": spec.heads,
            "kv_heads": spec.kv_heads,
            "head_dim": spec.head_dim,
            "vocabulary": spec.vocab,
            "context": spec.context,
            "norm_eps": spec.norm_eps,
            "windows": spec.blocks.iter().map(|block| block.window).collect::<Vec<_>>(),
            "rope_bases": spec.ropes.iter().map(|rope| rope.base).collect::<Vec<_>>(),
            "weights": self.elements(),
            "bits_per_weight": self.bits_per_weight(),
            "file_bytes": self.file_bytes,
            "memory": {
                "context": self.context,
                "weight_bytes": self.tensor_bytes(),
                "kv_bytes_f16": self.kv_bytes(),
                "total_bytes": self.tensor_bytes() + self.kv_bytes(),
            },
            "tensors": self.tensors,
        });
        if let Some(loaded) = &self.loaded {
            value["load_s"] = loaded.stats.total_s.into();
            value["load"] = json!(loaded.stats);
            value["bytes_per_token"] = loaded.bytes_per_token.into();
            value["peak_rss_bytes"] = loaded.peak_rss_bytes.into();
        }
        value
    }
}

/// The feed-forward part in words; blocks may differ.
fn feed_forward(spec: &ModelSpec) -> String {
    let mut kinds: Vec<String> = spec
        .blocks
        .iter()
        .map(|block| match block.ffn {
            Ffn::Dense { inner } => inner.to_string(),
            Ffn::Experts { count, used, inner, .. } => format!("{used} of {count} experts of {inner}"),
        })
        .collect();
    kinds.dedup();
    kinds.join(", ")
}
