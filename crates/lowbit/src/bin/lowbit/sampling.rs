//! Options of sampling, under the names that llama.cpp gave them.

use anyhow::{Context, Result, bail};
use clap::Args;
use lowbit::sampler::{Mirostat, SamplingParams};

/// How tokens are drawn. What is not given keeps its default: the engine's, or for a single answer without any of
/// these options the most probable token at each step.
#[derive(Args, Debug, Clone, Default, PartialEq)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// Seed of the random numbers; the same seed gives the same text, whatever the number of threads [default: drawn]
    #[arg(short = 's', long, value_name = "N")]
    seed: Option<u64>,
    /// Logits are divided by it; 0 takes the most probable token [default: 0.8; 0 for a single answer without any
    /// sampling option]
    #[arg(long, visible_alias = "temperature", value_name = "T")]
    temp: Option<f32>,
    /// Temperature moves by this much with the entropy; 0: off [default: 0]
    #[arg(long, value_name = "R")]
    dynatemp_range: Option<f32>,
    /// How it moves [default: 1]
    #[arg(long, value_name = "E")]
    dynatemp_exp: Option<f32>,
    /// Keep this many of the most probable tokens; 0: all [default: 40]
    #[arg(long, value_name = "N")]
    top_k: Option<u32>,
    /// Keep the fewest tokens with this probability together; 1: all [default: 0.95]
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Keep tokens with this share of the best one's probability; 0: all [default: 0.05]
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Keep the most typical tokens with this probability together; 1: all [default: 1]
    #[arg(long, visible_alias = "typical", value_name = "P")]
    typical_p: Option<f32>,
    /// Keep tokens within this many standard deviations of the best logit; 0: all [default: 0]
    #[arg(long, visible_alias = "top-n-sigma", value_name = "N")]
    top_nsigma: Option<f32>,
    /// Probability of excluding the top choices; 0: off [default: 0]
    #[arg(long, value_name = "P")]
    xtc_probability: Option<f32>,
    /// Probability above which a token is a top choice [default: 0.1]
    #[arg(long, value_name = "P")]
    xtc_threshold: Option<f32>,
    /// Penalty for repeating a sequence of tokens; 0: off [default: 0]
    #[arg(long, value_name = "X")]
    dry_multiplier: Option<f32>,
    /// Its growth with each further token [default: 1.75]
    #[arg(long, value_name = "X")]
    dry_base: Option<f32>,
    /// Length from which on it applies [default: 2]
    #[arg(long, value_name = "N")]
    dry_allowed_length: Option<u32>,
    /// Tokens it looks back; -1: all [default: -1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    dry_penalty_last_n: Option<i64>,
    /// Text that no sequence reaches across, in place of the default ones; may be repeated
    #[arg(long, value_name = "TEXT")]
    dry_sequence_breaker: Vec<String>,
    /// Logits of tokens seen are divided by it; 1: off [default: 1]
    #[arg(long, value_name = "X")]
    repeat_penalty: Option<f32>,
    /// Taken from logits of tokens seen [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Taken from logits for each time a token was seen [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// Tokens these three look back; -1: all [default: 64]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    repeat_last_n: Option<i64>,
    /// 2: Mirostat 2 in place of the truncating stages; 0: off [default: 0]
    #[arg(long, value_name = "N", value_parser = ["0", "2"])]
    mirostat: Option<String>,
    /// Surprise that Mirostat aims for, in bits [default: 5]
    #[arg(long, value_name = "X", requires = "mirostat")]
    mirostat_tau: Option<f32>,
    /// Its learning rate [default: 0.1]
    #[arg(long, value_name = "X", requires = "mirostat")]
    mirostat_eta: Option<f32>,
    /// Added to the logit of a token, by its id: 15043=-100 bans it; may be repeated
    #[arg(long, value_name = "TOKEN=X", value_parser = parse_bias)]
    logit_bias: Vec<(u32, f32)>,
    /// Names of the stages to run, in order (see `lowbit list samplers`)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    samplers: Option<Vec<String>>,
}

/// Where options leave off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One answer, which is the same each time unless a sampling option is given.
    Answer,
    /// A conversation, where variety is welcome.
    Chat,
}

impl Sampling {
    /// The parameters, checked. A seed is drawn where none is given and one is needed.
    pub(crate) fn params(&self, purpose: Purpose) -> Result<SamplingParams> {
        let mut params = SamplingParams::default();
        if purpose == Purpose::Answer && *self == Self::default() {
            params = SamplingParams::greedy();
        }
        let p = &mut params;
        set(&mut p.temperature, self.temp);
        set(&mut p.dynamic_temperature.range, self.dynatemp_range);
        set(&mut p.dynamic_temperature.exponent, self.dynatemp_exp);
        set(&mut p.top_k, self.top_k);
        set(&mut p.top_p, self.top_p);
        set(&mut p.min_p, self.min_p);
        set(&mut p.typical_p, self.typical_p);
        set(&mut p.top_n_sigma, self.top_nsigma);
        set(&mut p.xtc.probability, self.xtc_probability);
        set(&mut p.xtc.threshold, self.xtc_threshold);
        set(&mut p.dry.multiplier, self.dry_multiplier);
        set(&mut p.dry.base, self.dry_base);
        set(&mut p.dry.allowed_length, self.dry_allowed_length);
        set(
            &mut p.dry.last_n,
            self.dry_penalty_last_n.map(last_n).transpose().context("--dry-penalty-last-n")?,
        );
        if !self.dry_sequence_breaker.is_empty() {
            p.dry.sequence_breakers.clone_from(&self.dry_sequence_breaker);
        }
        set(&mut p.penalties.repeat, self.repeat_penalty);
        set(&mut p.penalties.presence, self.presence_penalty);
        set(&mut p.penalties.frequency, self.frequency_penalty);
        set(&mut p.penalties.last_n, self.repeat_last_n.map(last_n).transpose().context("--repeat-last-n")?);
        p.mirostat = self.mirostat()?;
        p.logit_bias = self.logit_bias.iter().copied().collect();
        p.order.clone_from(&self.samplers);
        p.seed = match self.seed {
            Some(seed) => seed,
            None if p.temperature > 0.0 || p.mirostat.is_some() => draw_seed()?,
            None => 0,
        };
        params.validate()?;
        Ok(params)
    }

    fn mirostat(&self) -> Result<Option<Mirostat>> {
        if self.mirostat.as_deref() != Some("2") {
            if self.mirostat_tau.is_some() || self.mirostat_eta.is_some() {
                bail!("--mirostat-tau and --mirostat-eta do nothing without --mirostat 2");
            }
            return Ok(None);
        }
        let mut mirostat = Mirostat::default();
        set(&mut mirostat.tau, self.mirostat_tau);
        set(&mut mirostat.eta, self.mirostat_eta);
        Ok(Some(mirostat))
    }
}

/// A seed from the operating system; of 32 bits, so that every reader of JSON keeps all of it.
pub(crate) fn draw_seed() -> Result<u64> {
    Ok(u64::from(getrandom::u32().context("cannot draw a seed; give one with --seed")?))
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// −1 stands for all tokens.
fn last_n(tokens: i64) -> Result<Option<u32>> {
    match tokens {
        -1 => Ok(None),
        _ => Ok(Some(
            u32::try_from(tokens).map_err(|_| anyhow::anyhow!("{tokens} tokens, expected -1 or more"))?,
        )),
    }
}

fn parse_bias(text: &str) -> Result<(u32, f32), String> {
    let parsed = text
        .split_once('=')
        .and_then(|(token, bias)| Some((token.trim().parse().ok()?, bias.trim().parse().ok()?)));
    parsed.ok_or_else(|| "expected TOKEN=X, as in 15043=-100".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sampling: Sampling,
    }

    fn params(purpose: Purpose, args: &[&str]) -> Result<SamplingParams> {
        Line::try_parse_from(std::iter::once(&"x").chain(args))?.sampling.params(purpose)
    }

    #[test]
    fn a_single_answer_is_greedy_until_any_option_is_given() {
        assert_eq!(params(Purpose::Answer, &[]).unwrap(), SamplingParams::greedy());
        let seeded = SamplingParams { seed: 7, ..SamplingParams::default() };
        assert_eq!(params(Purpose::Answer, &["--seed", "7"]).unwrap(), seeded);
        assert_eq!(params(Purpose::Chat, &["--seed", "7"]).unwrap(), seeded);
    }

    #[test]
    fn every_option_reaches_its_field() {
        let line = "--seed 3 --temp 0.5 --dynatemp-range 0.1 --dynatemp-exp 2 --top-k 9 --top-p 0.8 --min-p 0.1 \
                    --typical-p 0.7 --top-nsigma 2 --xtc-probability 0.4 --xtc-threshold 0.2 --dry-multiplier 0.8 \
                    --dry-base 2 --dry-allowed-length 4 --dry-penalty-last-n 50 --dry-sequence-breaker x \
                    --repeat-penalty 1.1 --presence-penalty -0.5 --frequency-penalty 0.25 --repeat-last-n -1 \
                    --logit-bias 5=-100 --samplers top_k,temperature";
        let args: Vec<&str> = line.split_whitespace().collect();
        let expected: SamplingParams = serde_json::from_value(serde_json::json!({
            "seed": 3, "temperature": 0.5, "dynamic_temperature": {"range": 0.1, "exponent": 2.0}, "top_k": 9,
            "top_p": 0.8, "min_p": 0.1, "typical_p": 0.7, "top_n_sigma": 2.0,
            "xtc": {"probability": 0.4, "threshold": 0.2},
            "penalties": {"repeat": 1.1, "frequency": 0.25, "presence": -0.5, "last_n": null},
            "dry": {"multiplier": 0.8, "base": 2.0, "allowed_length": 4, "last_n": 50, "sequence_breakers": ["x"]},
            "logit_bias": {"5": -100.0}, "order": ["top_k", "temperature"]
        }))
        .unwrap();
        assert_eq!(params(Purpose::Chat, &args).unwrap(), expected);
        let mirostat = params(Purpose::Chat, &["--mirostat", "2", "--mirostat-tau", "3"]).unwrap().mirostat;
        assert_eq!(mirostat, Some(Mirostat { tau: 3.0, ..Mirostat::default() }));
    }

    #[test]
    fn what_would_do_nothing_or_is_out_of_range_is_refused_by_name() {
        for (args, expected) in [
            (&["--top-p", "1.5"][..], "top_p"),
            (&["--mirostat-tau", "3"], "--mirostat"),
            (&["--mirostat", "0", "--mirostat-eta", "0.1"], "--mirostat 2"),
            (&["--repeat-last-n", "-2"], "--repeat-last-n"),
            (&["--logit-bias", "a=b"], "TOKEN=X"),
        ] {
            let error = format!("{:#}", params(Purpose::Chat, args).unwrap_err());
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }
}
