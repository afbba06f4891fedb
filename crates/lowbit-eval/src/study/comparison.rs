//! Methods beside those that they are held against.

use super::report::{Measured, with_error};
use std::fmt::Write;

/// A model beside that of another method with as many bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison<'a> {
    /// The model.
    pub cell: &'a Measured,
    /// The other one: with the nearest number of bits, or two with fewer and with more.
    pub others: Vec<&'a Measured>,
    /// Divergence of the other: of two, what a line between the logarithms of theirs has at the number of bits of the model.
    pub kl: f64,
}

/// What [`Comparison::row`] gives.
pub(super) const HEADS: [&str; 12] = [
    "Method",
    "Format",
    "Bits",
    "KL divergence",
    "Held against",
    "Its bits",
    "Its KL divergence",
    "Less by",
    "Decode t/s",
    "Prompt t/s",
    "Quantize s, peak MB",
    "Published",
];

/// Every model that is held against another method.
pub fn comparisons<'a>(cells: &[&'a Measured]) -> Vec<Comparison<'a>> {
    let pairs = cells.iter().flat_map(|cell| cell.against.iter().map(move |against| (*cell, against)));
    pairs.filter_map(|(cell, against)| Comparison::of(cell, against, cells)).collect()
}

impl<'a> Comparison<'a> {
    fn of(cell: &'a Measured, against: &str, cells: &[&'a Measured]) -> Option<Self> {
        let (bits, _) = cell.block_bits.zip(cell.kl)?;
        let mut others: Vec<(f64, f64, &Measured)> = Vec::new();
        for other in cells.iter().copied().filter(|other| other.method.as_deref() == Some(against)) {
            others.push((other.block_bits?, other.kl?.0, other));
        }
        others.sort_by(|a, b| a.0.total_cmp(&b.0));
        let above = others.partition_point(|(others, ..)| *others < bits);
        let (below, above) = (above.checked_sub(1).map(|i| others[i]), others.get(above).copied());
        // Bits of groups of other lengths differ in the second digit, which is as many.
        let near = |other: f64| (other / bits - 1.0).abs() < 0.02;
        match (below, above) {
            (Some((low, few, a)), Some((high, many, b))) if !near(low) && !near(high) => {
                let share = (bits - low) / (high - low);
                let kl = (few.ln() * (1.0 - share) + many.ln() * share).exp();
                Some(Self { cell, others: vec![a, b], kl })
            }
            (below, above) => {
                let both = [below, above].into_iter().flatten();
                let nearest = both.min_by(|a, b| (a.0 - bits).abs().total_cmp(&(b.0 - bits).abs()));
                nearest.map(|(_, kl, other)| Self { cell, others: vec![other], kl })
            }
        }
    }

    /// By how much of the other's divergence that of the model is less; negative where it is more.
    pub fn less(&self) -> f64 {
        let own = self.cell.kl.map_or(f64::NAN, |(kl, _)| kl);
        1.0 - own / self.kl
    }

    /// Its figures in the order of [`HEADS`].
    pub(super) fn row(&self) -> [String; 12] {
        let Self { cell, others, .. } = self;
        let format = |cell: &Measured| cell.format.clone().unwrap_or_default();
        let bits = |cell: &Measured| cell.block_bits.map_or_else(String::new, |bits| format!("{bits:.3}"));
        let kl = |cell: &Measured| cell.kl.map_or_else(String::new, |kl| with_error(kl, 4));
        let beside = |of: fn(&Measured) -> Option<f64>| {
            let all = std::iter::once(*cell).chain(others.iter().copied()).map(of);
            let all: Option<Vec<String>> = all.map(|speed| Some(format!("{:.0}", speed?))).collect();
            all.map_or_else(String::new, |all| all.join(" / "))
        };
        let join = |text: &dyn Fn(&Measured) -> String| {
            others.iter().map(|other| text(other)).collect::<Vec<_>>().join(", ")
        };
        let between = if others.len() > 1 { format!("{:.4} (of {})", self.kl, join(&kl)) } else { join(&kl) };
        let cost = |seconds: f64, bytes: u64| format!("{seconds:.0}, {:.0}", bytes as f64 / 1e6);
        [
            cell.method().to_owned(),
            format(cell),
            bits(cell),
            kl(cell),
            format!("{}, {}", others[0].method(), join(&format)),
            join(&bits),
            between,
            format!("{:.0} %", 100.0 * self.less()),
            beside(|cell| cell.decode_tokens_per_s),
            beside(|cell| cell.prompt_tokens_per_s),
            cell.quantize_s.zip(cell.peak_bytes).map_or_else(String::new, |(s, bytes)| cost(s, bytes)),
            cell.published.join("; "),
        ]
    }
}

/// The comparisons of a model's cells as a table in Markdown; nothing where there are none.
pub fn comparison_table(cells: &[&Measured]) -> String {
    let all = comparisons(cells);
    let mut table = String::new();
    if all.is_empty() {
        return table;
    }
    let mut line = |texts: &[String]| {
        let _ = writeln!(table, "| {} |", texts.join(" | "));
    };
    line(&HEADS.map(str::to_owned));
    line(&HEADS.map(|_| "---".to_owned()));
    all.iter().for_each(|comparison| line(&comparison.row().map(|text| text.replace('|', "\\|"))));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(method: &str, bits: f64, kl: f64) -> Measured {
        Measured {
            model: "a".to_owned(),
            method: Some(method.to_owned()),
            format: Some(format!("at {bits}")),
            block_bits: Some(bits),
            kl: Some((kl, 0.001)),
            ..Measured::default()
        }
    }

    fn against(bits: f64, kl: f64) -> Measured {
        let published = vec!["5.87, gptq 6.13".to_owned()];
        Measured {
            against: vec!["gptq".to_owned(), "absent".to_owned()],
            published,
            ..made("spqr", bits, kl)
        }
    }

    #[test]
    fn a_method_is_held_against_the_other_at_as_many_bits() {
        let others = [made("gptq", 4.0, 0.1), made("gptq", 2.0, 1.6), made("rtn", 3.0, 9.0)];
        let compared = |cell: &Measured| {
            let cells: Vec<&Measured> = others.iter().chain([cell]).collect();
            let all = comparisons(&cells);
            assert_eq!(all.len(), 1);
            (all[0].kl, all[0].others.len(), all[0].less(), comparison_table(&cells))
        };
        // Half way between 1.6 and 0.1 on a logarithmic scale.
        let (kl, count, less, table) = compared(&against(3.0, 0.3));
        assert!((kl - 0.4).abs() < 1e-9 && count == 2 && (less - 0.25).abs() < 1e-9);
        for part in
            ["gptq, at 2, at 4", "0.4000 (of 1.6000 ± 0.0010, 0.1000 ± 0.0010)", "25 %", "5.87, gptq 6.13"]
        {
            assert!(table.contains(part), "{part} in {table}");
        }
        // Nearly as many bits are as many, and beyond the last there is only that.
        for (bits, kl) in [(4.05, 0.1), (2.03, 1.6), (7.0, 0.1), (1.0, 1.6)] {
            let (found, count, ..) = compared(&against(bits, 0.3));
            assert_eq!((found, count), (kl, 1), "{bits}");
        }
        let alone = against(3.0, 0.3);
        assert!(comparisons(&[&alone]).is_empty() && comparison_table(&[&alone]).is_empty());
    }
}
