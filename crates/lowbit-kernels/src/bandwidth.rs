//! Read bandwidth beyond the caches: the limit of decoding, measured in the same run as what is compared with it.
//!
//! One sequential stream for each core does not reach it: the hardware prefetchers follow several streams at once, so
//! every worker reads eight stretches of memory side by side.

use crate::{Ctx, isa::multiversion};
use std::{hint::black_box, time::Instant};

/// Streams that a worker reads side by side.
const STREAMS: usize = 8;

/// Measured read bandwidth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadBandwidth {
    /// Workers that read.
    pub threads: usize,
    /// Bytes read in a pass.
    pub bytes: usize,
    /// Median over the passes, in 10⁹ bytes a second.
    pub median_gb_per_s: f64,
    /// Best pass, in 10⁹ bytes a second.
    pub best_gb_per_s: f64,
}

/// Reads `bytes` bytes of fresh memory `passes` times on all workers. The buffer should be several times the last
/// cache; 256 MiB serve most machines.
pub fn read_bandwidth(ctx: &Ctx, bytes: usize, passes: usize) -> ReadBandwidth {
    let threads = ctx.threads();
    // A whole number of 64-byte lines for every stream of every worker.
    let lines = (bytes / 64 / (threads * STREAMS)).max(1);
    let buffer = vec![[1u64; 8]; lines * STREAMS * threads];
    let mut times: Vec<f64> = (0..passes.max(1) + 1)
        .map(|_| {
            let start = Instant::now();
            ctx.run(threads, |worker, _| {
                let mut total = [0u64; 8];
                let part = &buffer[worker * lines * STREAMS..][..lines * STREAMS];
                sum_streams(ctx.isa(), part, &mut total);
                black_box(total);
            });
            start.elapsed().as_secs_f64()
        })
        .skip(1) // the first pass faults the pages in
        .collect();
    times.sort_by(f64::total_cmp);
    let bytes = size_of_val(buffer.as_slice());
    let rate = |seconds: f64| bytes as f64 / seconds / 1e9;
    ReadBandwidth {
        threads,
        bytes,
        median_gb_per_s: rate(times[times.len() / 2]),
        best_gb_per_s: rate(times[0]),
    }
}

multiversion! {
    fn sum_streams(lines: &[[u64; 8]], total: &mut [u64; 8]) = sum_lines;
}

#[inline(always)]
fn sum_lines(lines: &[[u64; 8]], total: &mut [u64; 8]) {
    let length = lines.len() / STREAMS;
    let streams: [&[[u64; 8]]; STREAMS] = std::array::from_fn(|i| &lines[i * length..(i + 1) * length]);
    for line in 0..length {
        for stream in streams {
            for (total, word) in total.iter_mut().zip(&stream[line]) {
                *total = total.wrapping_add(*word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn every_line_is_read() {
        let lines: Vec<[u64; 8]> = (0..64).map(|i| [i; 8]).collect();
        for isa in Isa::available() {
            let mut total = [0; 8];
            sum_streams(isa, &lines, &mut total);
            assert_eq!(total, [63 * 64 / 2; 8], "{}", isa.level());
        }
        let measured = read_bandwidth(&Ctx::new(Isa::detect(), 2), 1 << 20, 3);
        assert!(measured.best_gb_per_s >= measured.median_gb_per_s && measured.median_gb_per_s > 0.0);
    }
}
