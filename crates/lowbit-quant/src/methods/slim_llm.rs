//! SliM-LLM.
//!
//! # What it does
//! Gives salient groups of columns one bit more and as many others one bit less, so that the mean stays what it was, and fits scales
//! where errors count by the inputs they meet.
//!
//! # Method
//! A weight's salience is w² / [H⁻¹]²ⱼⱼ (equation 2 of the paper), a group's the mean over its columns and all rows. Of all
//! numbers m the one is taken for which the layer loses least with the m most salient groups at N + 1 bits and the m least salient at N − 1
//! (salience-determined bit allocation, equation 4). Scales are those with the least error counted by inputs (salience-weighted
//! quantizer calibration, section 3.3). Codes are chosen column after column as in GPTQ.
//!
//! # Shapes
//! W [N, K], scales and zero points [N, K / group_size], bits [K / group_size].
//!
//! # Departures
//! What a layer loses is Σ (w − Q(w))² x̄² of nearest codes, in place of the Kullback–Leibler divergence of its outputs, so that groups add up and
//! every m is tried. Errors count by the mean square of inputs, in place of a search that treats salient weights and others apart. [H⁻¹]ⱼⱼ is that of the
//! columns from j on, in the order of the sweep. One bit stays the least.
//!
//! # Cost
//! That of `gptq`, with scales fitted for three numbers of bits.
//!
//! # Reference
//! W. Huang, H. Qin, Y. Liu, Y. Li, Q. Liu, X. Liu, L. Benini, M. Magno, S. Zhang, X. Qi: SliM-LLM: Salience-Driven Mixed-Precision
//! Quantization for Large Language Models, ICML 2025, arXiv:2405.14917.

use super::{Method, Recipe, check_damp};
use crate::{
    Card, Claim, Paper, QuantError,
    fit::{Counts, Group, MseGrid, highest, round},
    solve::{ChooseBits, GroupBits, Matrix, share},
};
use lowbit_format::{Bits, ElementFormat, FormatError, GroupShape, GroupedSpec, ZeroPoint};
use serde::{Deserialize, Serialize};

/// Settings of `slim_llm`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlimLlm {
    /// What is added to the diagonal of H, in parts of its mean, above 0 and at most 1.
    pub damp: f64,
    /// Whether all tokens count the same, as in `gptq`.
    pub equal_tokens: bool,
    /// Whether products of different inputs are shrunk by their number over itself and that of tokens, as in `gptq`.
    pub shrink: bool,
}

impl Default for SlimLlm {
    fn default() -> Self {
        Self { damp: 0.01, equal_tokens: true, shrink: true }
    }
}

impl Method for SlimLlm {
    const CARD: Card = Card {
        name: "slim_llm",
        summary: "one bit more for salient groups of columns and one less for others, column by column",
        formats: "asym groups of 2 to 7 bits, one level of scales",
        default_format: "int2-asym-g64",
        paper: Some(Paper {
            title: "SliM-LLM: Salience-Driven Mixed-Precision Quantization for Large Language Models",
            source: "arXiv:2405.14917",
            year: 2024,
        }),
        claims: &[Claim {
            setting: "LLaMA-7B, 2 bits, groups of 128, WikiText-2",
            metric: "perplexity",
            published: 14.58,
            baseline: ("gptq", 152.31),
            source: "Table 1",
        }],
    };

    fn recipe(&self) -> Result<Recipe, QuantError> {
        check_damp::<Self>(self.damp)?;
        let sweep = GroupBits {
            damp: self.damp,
            equal_tokens: self.equal_tokens,
            shrink: self.shrink,
            choose: Box::new(BySalience),
        };
        let check = |spec: &GroupedSpec| match (spec.element(), spec.levels()) {
            (ElementFormat::Int { bits, zero: ZeroPoint::Integer }, [level])
                if (2..=7).contains(&bits.get()) && matches!(level.shape, GroupShape::Group(_)) =>
            {
                Ok(())
            }
            _ => Err("it gives groups one bit more or less; take an asym format of 2 to 7 bits with groups"),
        };
        let fit = MseGrid { grid: 50, max_shrink: 0.6, counts: Counts::ByInputsAndSize };
        Ok(Recipe { check, ..Recipe::sweep(&Self::CARD, fit, sweep) })
    }
}

struct BySalience;

impl ChooseBits for BySalience {
    fn name(&self) -> &'static str {
        "column sweep, bits by salience"
    }

    fn choose(&self, matrix: &Matrix<'_>) -> Result<Vec<GroupedSpec>, FormatError> {
        let bits = matrix.spec.element().packing().levels().ilog2() as u8;
        let element = |bits: u8| Ok(ElementFormat::Int { bits: Bits::new(bits)?, zero: ZeroPoint::Integer });
        let spec = |bits: u8| GroupedSpec::new(element(bits)?, matrix.spec.levels().to_vec());
        let specs = [spec(bits - 1)?, spec(bits)?, spec(bits + 1)?];
        let groups = groups(matrix, &specs);
        let mut by_salience: Vec<usize> = (0..groups.len()).collect();
        by_salience.sort_by(|a, b| groups[*b].salience.total_cmp(&groups[*a].salience).then(a.cmp(b)));
        // What each choice of m loses or gains over m = 0.
        let (mut least, mut best, mut change) = (0.0, 0, 0.0);
        for m in 1..=groups.len() / 2 {
            let (up, down) = (&groups[by_salience[m - 1]], &groups[by_salience[groups.len() - m]]);
            change += up.lost[2] - up.lost[1] + down.lost[0] - down.lost[1];
            if change < least {
                (least, best) = (change, m);
            }
        }
        let mut chosen = vec![specs[1].clone(); groups.len()];
        by_salience[..best].iter().for_each(|g| chosen[*g] = specs[2].clone());
        by_salience[groups.len() - best..].iter().for_each(|g| chosen[*g] = specs[0].clone());
        Ok(chosen)
    }
}

/// A group of columns, summed over all rows.
#[derive(Clone, Default)]
struct Columns {
    salience: f64,
    /// What is lost at one bit less, as many, and one more.
    lost: [f64; 3],
}

fn groups(matrix: &Matrix<'_>, specs: &[GroupedSpec; 3]) -> Vec<Columns> {
    let (k, len) = (matrix.shape.k, matrix.spec.levels()[0].shape.len_in_row(matrix.shape.k));
    let rows = share(matrix.threads, matrix.weights.chunks_exact(k), |row| {
        let columns = row.chunks(len).zip(matrix.importance.chunks(len)).zip(matrix.curvature.chunks(len));
        let group = |((weights, importance), curvature): ((&[f32], &[f32]), &[f32])| {
            let salience: f64 = weights.iter().zip(curvature).map(|(w, c)| f64::from(w * c).powi(2)).sum();
            let lost = [0, 1, 2].map(|i| {
                let (spec, highest) = (&specs[i], highest(&specs[i]));
                let group = Group { importance: Some(importance), ..Group::new(weights) };
                let fit = spec.stored(matrix.fit.fit(spec, &group));
                let nearest = |w: f32| if fit.scale == 0.0 { 0.0 } else { round(w, fit, highest) };
                let each =
                    weights.iter().zip(importance).map(|(w, m)| f64::from(m * (w - nearest(*w)).powi(2)));
                each.sum()
            });
            Columns { salience: salience / weights.len() as f64, lost }
        };
        columns.map(group).collect::<Vec<_>>()
    });
    let mut all = vec![Columns::default(); k.div_ceil(len)];
    for row in rows {
        for (all, group) in all.iter_mut().zip(row) {
            all.salience += group.salience;
            all.lost.iter_mut().zip(group.lost).for_each(|(all, lost)| *all += lost);
        }
    }
    all
}
