//! Read bandwidth beyond the caches: the limit of decoding, measured in the same run as what is compared with it.
//!
//! One sequential stream for each core does not reach it: the hardware prefetchers follow several streams at once, so
//! every worker reads some stretches of memory side by side. How many are best depends on the machine; each number is
//! tried in every round. Stretches start at different offsets within a page, so that they do not compete for the same
//! sets of a cache.

use crate::{Ctx, isa::multiversion, pages::Arena};
use std::{hint::black_box, time::Instant};

/// Numbers of streams that are tried.
const STREAMS: [usize; 3] = [2, 4, 8];

/// Lines that are read of a stream before the next one's turn.
const RUN: usize = 4;

/// Lines by which the starts of neighbouring streams are moved apart: not a whole number of pages.
const STAGGER: usize = 5 * RUN;

/// Measured read bandwidth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadBandwidth {
    /// Workers that read.
    pub threads: usize,
    /// Streams that each worker reads side by side, of those tried the best.
    pub streams: usize,
    /// Bytes read in a pass.
    pub bytes: usize,
    /// Median over the passes, in 10⁹ bytes a second.
    pub median_gb_per_s: f64,
    /// Best pass, in 10⁹ bytes a second.
    pub best_gb_per_s: f64,
}

/// Reads about `bytes` bytes of fresh memory `passes` times on all workers. The buffer should be several times the last
/// cache; 256 MiB serve most machines. Where the system has no room for it, nothing is read and the rates are zero.
pub fn read_bandwidth(ctx: &Ctx, bytes: usize, passes: usize) -> ReadBandwidth {
    let threads = ctx.threads();
    let part = (bytes / 64 / threads).max(STREAMS[STREAMS.len() - 1] * (STAGGER + RUN));
    let none = ReadBandwidth { threads, streams: 0, bytes: 0, median_gb_per_s: 0.0, best_gb_per_s: 0.0 };
    let Some(mut pages) = Arena::default().pages(64 * part * threads) else { return none };
    // Every page is a page of its own, and not the one of zeros.
    pages.bytes_mut().fill(1);
    let lines: &[[u64; 8]] = bytemuck::cast_slice(pages.bytes());
    let mut best = none;
    let mut times = STREAMS.map(|_| Vec::new());
    for _ in 0..passes.max(1) {
        for (streams, times) in STREAMS.into_iter().zip(&mut times) {
            let start = Instant::now();
            ctx.run(threads, |task, _| {
                let mut total = [0u64; 8];
                sum_streams(ctx.isa(), &lines[task * part..][..part], streams, &mut total);
                black_box(total);
            });
            times.push(start.elapsed().as_secs_f64());
        }
    }
    for (streams, mut times) in STREAMS.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let bytes = 64 * threads * streams * length(part, streams);
        let rate = |seconds: f64| bytes as f64 / seconds / 1e9;
        let median_gb_per_s = rate(times[times.len() / 2]);
        if median_gb_per_s > best.median_gb_per_s {
            best = ReadBandwidth { threads, streams, bytes, median_gb_per_s, best_gb_per_s: rate(times[0]) };
        }
    }
    best
}

/// Lines of each of so many streams in a part: whole runs, with room for the last stream's stagger.
fn length(part: usize, streams: usize) -> usize {
    ((part - streams * STAGGER) / streams / RUN).max(1) * RUN
}

multiversion! {
    fn sum_streams(lines: &[[u64; 8]], streams: usize, total: &mut [u64; 8]) = sum_lines;
}

#[inline(always)]
fn sum_lines(lines: &[[u64; 8]], streams: usize, total: &mut [u64; 8]) {
    let length = length(lines.len(), streams);
    let mut sums = [[0u64; 8]; RUN];
    for start in (0..length).step_by(RUN) {
        for stream in 0..streams {
            let at = stream * (length + STAGGER) + start;
            let run: &[[u64; 8]; RUN] = lines[at..].first_chunk().expect("streams lie inside the part");
            for (sum, line) in sums.iter_mut().zip(run) {
                for (sum, word) in sum.iter_mut().zip(line) {
                    *sum = sum.wrapping_add(*word);
                }
            }
        }
    }
    for sum in sums {
        for (total, sum) in total.iter_mut().zip(sum) {
            *total = total.wrapping_add(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn every_line_of_every_stream_is_read_once() {
        for isa in Isa::available() {
            for streams in STREAMS {
                let lines = vec![[1; 8]; 1000];
                let mut total = [0; 8];
                sum_streams(isa, &lines, streams, &mut total);
                assert_eq!(total, [(streams * length(1000, streams)) as u64; 8], "{}", isa.level());
                assert!(streams * length(1000, streams) > 1000 - streams * (STAGGER + RUN));
            }
        }
        let measured = read_bandwidth(&Ctx::new(Isa::detect(), 2), 1 << 20, 3);
        assert!(measured.best_gb_per_s >= measured.median_gb_per_s && measured.median_gb_per_s > 0.0);
    }
}
