//! Top-k: the k most probable tokens (Fan et al., "Hierarchical Neural Story Generation", arXiv 1805.04833).
//!
//! # Cost
//! One pass over the vocabulary with a threshold, then a sort of k tokens.

use super::candidates::Candidates;
use super::error::SamplerError;
use super::params::SamplingParams;
use super::stage::{Effect, Stage, StageEntry, Step};
use super::vocab::Vocab;

pub(super) const ENTRY: StageEntry = StageEntry {
    name: "top_k",
    aliases: &[],
    effect: Effect::TruncatesTail,
    summary: "keeps the k most probable tokens",
    example: r#"{"top_k": 5}"#,
    check: |_| Ok(()),
    same: |a, b| a.top_k == b.top_k,
    build,
};

fn build(params: &SamplingParams, vocab: &dyn Vocab) -> Result<Option<Box<dyn Stage>>, SamplerError> {
    let k = params.top_k as usize;
    if k == 0 || k >= vocab.size() {
        return Ok(None);
    }
    Ok(Some(Box::new(TopK { k })))
}

#[derive(Debug)]
struct TopK {
    k: usize,
}

impl Stage for TopK {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step<'_>) {
        candidates.keep_top(self.k);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ids_after, plain};
    use super::*;

    #[test]
    fn keeps_k_and_among_equals_the_lowest_ids() {
        let params = SamplingParams { top_k: 3, ..plain() };
        assert_eq!(ids_after(&params, &[1.0, 2.0, 2.0, 3.0, 2.0]), [3, 1, 2]);
    }
}
