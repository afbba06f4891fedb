//! Windows of equal length out of documents, as methods that need calibration data ask for them.
//!
//! The documents are joined in their order, and windows cut wherever they fall, across documents too: what GPTQ
//! (Frantar et al., arXiv 2210.17323) does with WikiText-2 and AWQ (Lin et al., arXiv 2306.00978) with its blocks of
//! the Pile. Begin and end tokens are the caller's: documents encoded as the model's tokenizer does it bring theirs
//! along, and none are added or moved, so that most windows begin in the middle of a text, as in those papers.

use crate::IoError;
use rand_pcg::{Pcg64, rand_core::Rng as _};

/// Stream of the random numbers, so that other users of a seed draw others.
const STREAM: u128 = 0x7465_7874;

/// `count` windows of exactly `length` tokens at random places of `documents`, in their order. They do not overlap
/// where there are `count · length` tokens, and no more than they must where there are fewer. The same arguments give
/// the same windows on every machine.
///
/// # Errors
/// Where a window or none is asked for that cannot be had: of no token, or of more than `length + count − 1` tokens
/// in all, by which the windows start at different places.
pub fn samples(
    documents: &[Vec<u32>],
    count: usize,
    length: usize,
    seed: u64,
) -> Result<Vec<Vec<u32>>, IoError> {
    let joined = documents.concat();
    let starts = starts(joined.len(), count, length, seed)?;
    Ok(starts.into_iter().map(|start| joined[start..start + length].to_vec()).collect())
}

/// Where windows start: numbers drawn from what is left when the windows lie side by side, sorted, each moved on by
/// the windows before it. All sets of places are equally likely so.
fn starts(tokens: usize, count: usize, length: usize, seed: u64) -> Result<Vec<usize>, IoError> {
    for (what, found) in [("number of windows", count), ("tokens of a window", length)] {
        if found == 0 {
            return Err(IoError::invalid(what, 0, "at least 1"));
        }
    }
    let room = (tokens.checked_sub(length)).filter(|room| *room >= count - 1);
    let Some(room) = room else {
        let needed = length.saturating_add(count - 1);
        return Err(IoError::TooFewTokens { found: tokens, count, length, needed });
    };
    let step = room.checked_div(count - 1).map_or(length, |step| step.min(length));
    let slack = (room - (count - 1) * step) as u64;
    let mut rng = Pcg64::new(u128::from(seed), STREAM);
    let mut drawn: Vec<usize> = (0..count).map(|_| below(&mut rng, slack + 1) as usize).collect();
    drawn.sort_unstable();
    Ok(drawn.into_iter().enumerate().map(|(index, drawn)| drawn + index * step).collect())
}

/// A number from 0 to `end` − 1. Numbers of tokens are so far below 2⁶⁴ that none is noticeably likelier.
fn below(rng: &mut Pcg64, end: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(end)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(lengths: &[u32]) -> Vec<Vec<u32>> {
        let mut next = 0..;
        lengths.iter().map(|length| next.by_ref().take(*length as usize).collect()).collect()
    }

    #[test]
    fn windows_have_the_length_asked_for_and_overlap_only_where_they_must() {
        for (tokens, count, length) in
            [(1000, 10, 50), (1000, 20, 50), (100, 1, 100), (100, 1, 7), (100, 30, 7), (20, 14, 7), (7, 7, 1)]
        {
            for seed in 0..20 {
                let windows = samples(&documents(&[tokens - 3, 0, 3]), count, length, seed).unwrap();
                assert_eq!(windows.len(), count);
                for window in &windows {
                    assert_eq!(window.len(), length);
                    assert!(window.windows(2).all(|pair| pair[1] == pair[0] + 1), "{window:?}");
                }
                let fits = count * length <= tokens as usize;
                for pair in windows.windows(2) {
                    let step = (pair[1][0] - pair[0][0]) as usize;
                    let least = if fits { length } else { (tokens as usize - length) / (count - 1) };
                    assert!(step >= least, "{tokens} {count} {length}: {step}");
                }
            }
        }
    }

    #[test]
    fn seeds_decide_the_places_and_every_place_can_come() {
        let of = |seed| starts(60, 2, 20, seed).unwrap();
        assert_eq!(of(1), of(1));
        let mut seen = [false; 21];
        (0..400).for_each(|seed| seen[of(seed)[0]] = true);
        assert!(seen.iter().all(|seen| *seen), "{seen:?}");
    }

    /// `tests/golden/samples.py` computes them with a generator of its own.
    #[test]
    fn places_are_those_of_the_golden_script() {
        for (tokens, count, length, seed, expected) in [
            (100_000, 6, 2048, 0, [6873, 31769, 45216, 52368, 71000, 91235]),
            (100_000, 6, 2048, 42, [3171, 27043, 37700, 45604, 72936, 88055]),
            (303, 6, 100, 7, [0, 41, 81, 122, 163, 203]),
        ] {
            assert_eq!(starts(tokens, count, length, seed).unwrap(), expected, "seed {seed}");
        }
    }

    #[test]
    fn too_few_tokens_and_no_windows_are_refused_with_the_numbers() {
        let error = |count, length| samples(&documents(&[9]), count, length, 0).unwrap_err().to_string();
        assert!(error(2, 9).contains("9 tokens"), "{}", error(2, 9));
        assert!(error(2, 9).contains("at least 10"), "{}", error(2, 9));
        assert!(error(1, 10).contains("at least 10"), "{}", error(1, 10));
        assert!(error(usize::MAX, usize::MAX).contains("9 tokens"));
        assert!(error(0, 5).contains("number of windows"));
        assert!(error(5, 0).contains("tokens of a window"));
        assert!(samples(&[], 1, 1, 0).is_err());
        assert_eq!(samples(&documents(&[9]), 1, 9, 0).unwrap(), documents(&[9]));
    }
}
