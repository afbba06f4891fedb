//! `lowbit kernels`: which there are, and which one multiplies a weight, and why not the others.

use crate::{
    env,
    options::{self, Activations, parse_threads},
    record, report,
    table::{
        Align::{Left, Right},
        Table,
    },
};
use anyhow::{Context, Result, bail};
use clap::Args;
use lowbit::{
    ArrangedFormat, Candidate, Explanation, Isa, KERNELS, NK, Plan, Planner, Query, Source, TokenBucket,
    WeightSpec, arranged_formats, hub::Store,
};
use serde_json::{Value, json};
use std::io::Write;

/// List the kernels, or explain which one multiplies a weight.
#[derive(Args)]
pub(crate) struct Kernels {
    /// Explain the choice for weights of N rows, K columns and a format of `lowbit list formats`
    #[arg(long, num_args = 3, value_names = ["N", "K", "FORMAT"])]
    explain: Option<Vec<String>>,
    /// Tokens multiplied at once
    #[arg(short = 'm', long, value_name = "TOKENS", default_value_t = 1, requires = "explain",
          value_parser = parse_tokens)]
    tokens: usize,
    /// Worker threads [default: LOWBIT_THREADS, else one for each physical core]
    #[arg(short = 't', long, value_name = "N", value_parser = parse_threads, requires = "explain")]
    threads: Option<usize>,
    /// Numbers in which activations meet quantized weights
    #[arg(long, value_enum, value_name = "NUMBERS", default_value_t = Activations::Int16, requires = "explain")]
    activations: Activations,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Kernels {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        match self.explain.as_deref() {
            Some([n, k, format]) => self.explain(out, n, k, format),
            _ => self.list(out),
        }
    }

    fn list(&self, out: &mut dyn Write) -> Result<()> {
        let best = env::isa()?;
        let here: Vec<_> = Isa::available().filter(|isa| *isa <= best).map(Isa::level).collect();
        let mut table = Table::new(&[
            ("kernel", Left),
            ("here", Left),
            ("layout", Left),
            ("formats", Left),
            ("activations", Left),
            ("sums", Left),
        ]);
        let mut json = Vec::new();
        for card in KERNELS {
            let formats: Vec<String> = card.formats().iter().map(|info| info.spec.label()).collect();
            let runs = here.contains(&card.isa);
            table.row([
                card.name.to_owned(),
                if runs { "yes" } else { "-" }.to_owned(),
                card.layout.name().to_owned(),
                card.takes().to_owned(),
                card.activations().to_owned(),
                card.accumulation().to_owned(),
            ]);
            json.push(json!({
                "name": card.name,
                "isa": card.isa.name(),
                "here": runs,
                "layout": card.layout.name(),
                "takes": card.takes(),
                "formats": formats,
                "activations": card.activations(),
                "accumulation": card.accumulation(),
                "error": card.error(),
            }));
        }
        if self.json { report::json(out, &json) } else { Ok(table.write(out)?) }
    }

    fn explain(&self, out: &mut dyn Write, n: &str, k: &str, format: &str) -> Result<()> {
        let spec = WeightSpec::parse(format)?;
        let shape = NK { n: size("N", n)?, k: size("K", k)? };
        if let WeightSpec::Block(block) = &spec
            && !shape.k.is_multiple_of(block.layout().weights)
        {
            bail!(
                "K is {}, expected a multiple of the {} weights of a block of {format}",
                shape.k,
                block.layout().weights
            );
        }
        let record = record::read(&Store::from_env()?)?;
        let planner = Planner::with_record(&record);
        let matrices = arranged_formats(&spec, shape);
        let mut answers = Vec::new();
        for ArrangedFormat { spec, shape, alone } in &matrices {
            let planner = planner.alone(*alone);
            let query = planner.of_workers(&Query {
                spec,
                shape: *shape,
                tokens: TokenBucket::of(self.tokens),
                rounding: self.activations.precision().rounding(spec),
                isa: env::isa()?.level(),
                threads: options::threads(self.threads)?,
            });
            let (explanation, plans) = (planner.explain(&query), planner.plans(&query));
            answers.push(Answer { explanation, plans, query, alone: *alone, activations: self.activations });
        }
        let whole = matrices.len() == 1 && matrices[0].spec == spec;
        if self.json {
            let all = answers.iter().map(Answer::json).collect::<Result<Vec<_>>>()?;
            let parts = json!({ "format": format, "n": shape.n, "k": shape.k, "matrices": all });
            return report::json(out, if whole { &all[0] } else { &parts });
        }
        if !whole {
            writeln!(out, "{shape} {format} is multiplied as {}:", report::count(answers.len(), "product"))?;
        }
        answers.iter().try_for_each(|answer| answer.write(out))
    }
}

/// What is said of a query.
struct Answer<'a> {
    query: Query<'a>,
    activations: Activations,
    alone: bool,
    explanation: Explanation,
    plans: Vec<Plan>,
}

impl Answer<'_> {
    /// The kernel of the best plan, and the best other one.
    fn choice(&self) -> Result<(Candidate, Option<Candidate>)> {
        let plan = self.plans.first().context("no layout serves every number of tokens")?;
        let card = plan.kernel(self.query.tokens.typical());
        let candidates = &self.explanation.candidates;
        let choice =
            candidates.iter().find(|candidate| candidate.card == card).context("a plan of no candidates")?;
        Ok((*choice, candidates.iter().find(|candidate| candidate.card != card).copied()))
    }

    /// What decides about the layout.
    fn rule(&self) -> &'static str {
        let measured = |candidate: &Candidate| candidate.source == Source::Measured;
        match self.explanation.candidates.iter().any(measured) {
            true => "measurements",
            false if self.alone => "the cost model, activations counted; `lowbit tune` measures",
            false => "the format; `lowbit tune` measures",
        }
    }

    fn json(&self) -> Result<Value> {
        let (choice, runner_up) = self.choice()?;
        let candidates = self.explanation.candidates.iter().map(|candidate| {
            json!({ "kernel": candidate.card.name, "layout": candidate.card.layout.name(),
                    "seconds": candidate.seconds, "source": source(candidate.source) })
        });
        let refused = self.explanation.refused.iter();
        let layouts = self.plans.iter();
        Ok(json!({
            "format": self.query.spec.label(),
            "n": self.query.shape.n,
            "k": self.query.shape.k,
            "tokens": self.query.tokens.name(),
            "threads": self.query.threads,
            "isa": self.query.isa.name(),
            "activations": self.activations,
            "choice": choice.card.name,
            "runner_up": runner_up.map(|candidate| candidate.card.name),
            "candidates": candidates.collect::<Vec<_>>(),
            "layouts": layouts.map(|plan| json!({ "layout": plan.layout().name(), "conversation_s": plan.seconds() }))
                .collect::<Vec<_>>(),
            "refused": refused.map(|(card, why)| json!({ "kernel": card.name, "reason": why.to_string() }))
                .collect::<Vec<_>>(),
        }))
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let (choice, runner_up) = self.choice()?;
        let q = &self.query;
        let name = |candidate: Candidate| {
            format!(
                "{} ({} layout, {:.1} µs)",
                candidate.card.name,
                candidate.card.layout.name(),
                candidate.seconds * 1e6
            )
        };
        let layouts = self
            .plans
            .iter()
            .map(|plan| format!("{} {:.2} ms", plan.layout().name(), plan.seconds() * 1e3))
            .collect::<Vec<_>>()
            .join(", ");
        report::fields(
            out,
            &[
                ("weights", format!("{} {}", q.shape, q.spec.label())),
                (
                    "product",
                    format!(
                        "{} tokens, {}, {}, activations {}",
                        q.tokens.name(),
                        report::count(q.threads, "thread"),
                        q.isa,
                        self.activations.name()
                    ),
                ),
                ("choice", name(choice)),
                ("runner-up", runner_up.map_or("none".to_owned(), name)),
                ("a conversation by layout", layouts),
                ("layout chosen by", self.rule().to_owned()),
            ],
        )?;
        writeln!(out, "\nCandidates, {} tokens at once:", q.tokens.typical())?;
        let mut table = Table::new(&[("kernel", Left), ("layout", Left), ("µs", Right), ("from", Left)]);
        for Candidate { card, seconds, source: from } in &self.explanation.candidates {
            table.row([
                card.name.to_owned(),
                card.layout.name().to_owned(),
                format!("{:.1}", seconds * 1e6),
                source(*from).to_owned(),
            ]);
        }
        table.write(out)?;
        writeln!(out, "\nRefused:")?;
        let mut table = Table::new(&[("kernel", Left), ("reason", Left)]);
        for (card, why) in &self.explanation.refused {
            table.row([card.name.to_owned(), why.to_string()]);
        }
        Ok(table.write(out)?)
    }
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Measured => "measured",
        Source::Model => "cost model",
    }
}

fn size(what: &str, text: &str) -> Result<usize> {
    match text.parse() {
        Ok(size) if (1..=1 << 28).contains(&size) => Ok(size),
        _ => bail!("{what} is {text:?}, expected a number from 1 to {}", 1 << 28),
    }
}

fn parse_tokens(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(tokens) if (1..=1 << 20).contains(&tokens) => Ok(tokens),
        _ => Err(format!("expected a number from 1 to {}", 1 << 20)),
    }
}
