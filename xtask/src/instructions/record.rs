//! The recorded counts: `bench/record/instructions.csv`.

use crate::tree;
use anyhow::{Context, Result};

const PATH: &str = "bench/record/instructions.csv";
const HEAD: &str = "level,kernel,weights,instructions_per_weight,compiler";
const LEVELS: [&str; 3] = ["scalar", "avx2", "avx512"];

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Count {
    /// Instruction-set level.
    pub(super) level: &'static str,
    /// Family of kernels, and bits of the activations or tables.
    pub(super) kernel: String,
    /// Label of the weights' format, or what of it an inner loop depends on.
    pub(super) weights: String,
    /// Instructions for one weight and token.
    pub(super) per_weight: f64,
}

impl Count {
    pub(super) fn name(&self) -> String {
        format!("{} {} {}", self.level, self.kernel, self.weights)
    }
}

/// All figures, and the compiler they belong to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) compiler: String,
    pub(super) counts: Vec<Count>,
}

impl Record {
    pub(super) fn find(&self, like: &Count) -> Option<&Count> {
        self.counts.iter().find(|count| count.name() == like.name())
    }

    pub(super) fn read() -> Result<Self> {
        Self::parse(&tree::read(PATH)?).with_context(|| format!("{PATH} is no record of counts"))
    }

    pub(super) fn write(&self) -> Result<()> {
        std::fs::write(tree::root().join(PATH), self.to_csv()).with_context(|| format!("cannot write {PATH}"))
    }

    pub(super) fn to_csv(&self) -> String {
        let rows = self.counts.iter().map(|count| {
            let Count { level, kernel, weights, per_weight } = count;
            format!("{level},{kernel},{weights},{per_weight:.4},{}\n", self.compiler)
        });
        format!("{HEAD}\n{}", rows.collect::<String>())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        lines.next().filter(|head| *head == HEAD)?;
        let (mut compiler, mut counts) = (String::new(), Vec::new());
        for line in lines {
            let mut cells = line.splitn(5, ',');
            let level = cells.next()?;
            counts.push(Count {
                level: LEVELS.into_iter().find(|known| *known == level)?,
                kernel: cells.next()?.to_owned(),
                weights: cells.next()?.to_owned(),
                per_weight: cells.next()?.parse().ok()?,
            });
            compiler = cells.next()?.to_owned();
        }
        Some(Self { compiler, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let count =
            Count { level: "avx2", kernel: "lut8".into(), weights: "int1-sym-g32".into(), per_weight: 0.25 };
        let record = Record { compiler: "rustc 1.95.0 (x 2026-04-14)".into(), counts: vec![count] };
        assert_eq!(Record::parse(&record.to_csv()), Some(record));
        assert_eq!(Record::parse("level\n"), None);
    }
}
