//! The most products a second that the instructions of a level make, of 8-bit integers and of floats: the limit of many
//! tokens, measured in the same run as what is compared with it.
//!
//! Independent chains of the level's dot product, operands in registers: what a kernel loses against it are loads,
//! unpacking and scales. Chains are as many as hide the latency and leave registers for operands.

use crate::{Ctx, Isa, IsaLevel};
use std::{hint::black_box, time::Instant};

/// Independent sums.
const CHAINS: usize = 12;

/// Instructions of a chain in a pass: some hundred microseconds.
const STEPS: usize = 1 << 15;

/// Measured rate of multiplications with their additions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DotPeak {
    /// Workers that multiplied.
    pub threads: usize,
    /// Median over the passes, in 10⁹ multiplications with their additions a second.
    pub median_g_mac_per_s: f64,
    /// Best pass, in 10⁹ a second.
    pub best_g_mac_per_s: f64,
}

/// Multiplies 8-bit integers in registers on all workers, `passes` times.
pub fn dot_peak(ctx: &Ctx, passes: usize) -> DotPeak {
    peak(ctx, passes, width(ctx.isa()), |steps| {
        black_box(chains(ctx.isa(), steps));
    })
}

/// The same with floats in single precision.
pub fn float_peak(ctx: &Ctx, passes: usize) -> DotPeak {
    peak(ctx, passes, LANES, |steps| {
        black_box(float_chains(ctx.isa(), steps));
    })
}

/// Times `chains(steps)`, whose steps are of `width` products for each chain.
fn peak(ctx: &Ctx, passes: usize, width: usize, chains: impl Fn(usize) + Sync) -> DotPeak {
    let threads = ctx.threads();
    let mut times: Vec<f64> = (0..passes.max(1) + 1)
        .map(|_| {
            let start = Instant::now();
            ctx.run(threads, |_, _| chains(black_box(STEPS)));
            start.elapsed().as_secs_f64()
        })
        .skip(1) // the first pass raises the clock
        .collect();
    times.sort_by(f64::total_cmp);
    let products = threads * STEPS * CHAINS * width;
    let rate = |seconds: f64| products as f64 / seconds / 1e9;
    DotPeak { threads, median_g_mac_per_s: rate(times[times.len() / 2]), best_g_mac_per_s: rate(times[0]) }
}

/// Floats of a chain: those of the widest vector; narrower ones take several.
const LANES: usize = 16;

/// Runs chains of floats and returns sums of them, so that none is left out.
fn float_chains(isa: Isa, steps: usize) -> f32 {
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the ISA value proves the instructions.
        IsaLevel::Avx512 => unsafe { x86::avx512_floats(steps) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the ISA value proves the instructions.
        IsaLevel::Avx2 => unsafe { x86::avx2_floats(steps) },
        _ => plain_floats(steps),
    }
}

/// What the auto-vectorizer makes of them.
fn plain_floats(steps: usize) -> f32 {
    // Products of one and zero, so that sums stay what they are: no operand is slow.
    let (a, b) = (black_box([1f32; LANES]), black_box([0f32; LANES]));
    let mut sums = [[1f32; LANES]; CHAINS];
    for _ in 0..steps {
        for sums in &mut sums {
            for ((sum, a), b) in sums.iter_mut().zip(&a).zip(&b) {
                // Without an instruction for both, a fused multiplication is a call of a function.
                *sum = if cfg!(target_arch = "aarch64") { a.mul_add(*b, *sum) } else { *sum + a * b };
            }
        }
    }
    sums.iter().flatten().sum()
}

/// Products of one step of a chain.
fn width(isa: Isa) -> usize {
    match isa.level() {
        IsaLevel::Avx512 => 64,
        IsaLevel::Avx2 => 32,
        IsaLevel::Scalar | IsaLevel::Neon | IsaLevel::Dotprod => 16,
    }
}

/// Runs the chains of a level and returns one of their sums, so that none is left out.
fn chains(isa: Isa, steps: usize) -> i32 {
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the ISA value proves the instructions.
        IsaLevel::Avx512 => unsafe { x86::avx512(steps) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the ISA value proves the instructions.
        IsaLevel::Avx2 => unsafe { x86::avx2(steps) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the ISA value proves the instructions.
        IsaLevel::Neon => unsafe { arm::neon(steps) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the ISA value proves the instructions.
        IsaLevel::Dotprod => unsafe { arm::dotprod(steps) },
        _ => scalar(steps),
    }
}

/// Sixteen products a step, whatever the auto-vectorizer makes of them.
fn scalar(steps: usize) -> i32 {
    let (a, b) = (black_box([3i8; 16]), black_box([-5i8; 16]));
    let mut sums = [[0i32; 16]; CHAINS];
    for _ in 0..steps {
        // What is multiplied must seem new in every step.
        let (a, b) = (black_box(&a), black_box(&b));
        for sums in &mut sums {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum = sum.wrapping_add(i32::from(*a) * i32::from(*b));
            }
        }
    }
    sums.iter().flatten().fold(0, |all, sum| all.wrapping_add(*sum))
}

// Spelt out in assembly, because sums of the same operands would be made one multiplication by the compiler.

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::CHAINS;
    use std::arch::x86_64::*;

    /// # Safety
    /// - The CPU has AVX-512 F and VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn avx512(steps: usize) -> i32 {
        let (a, b) = (_mm512_set1_epi8(3), _mm512_set1_epi8(-5));
        let zero = _mm512_setzero_si512();
        let mut sums = [zero; CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                // SAFETY: arithmetic on registers, with instructions that this function's features have.
                unsafe {
                    std::arch::asm!(
                        "vpdpbusd {sum}, {a}, {b}",
                        sum = inout(zmm_reg) *sum,
                        a = in(zmm_reg) a,
                        b = in(zmm_reg) b,
                        options(nomem, nostack, preserves_flags),
                    );
                }
            }
        }
        _mm512_reduce_add_epi32(sums.into_iter().fold(zero, |all, sum| _mm512_add_epi32(all, sum)))
    }

    /// Spelt out too: the auto-vectorizer makes gathers of these chains.
    ///
    /// # Safety
    /// - The CPU has AVX-512 F.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512_floats(steps: usize) -> f32 {
        let (a, b) = (_mm512_set1_ps(1.0), _mm512_setzero_ps());
        let mut sums = [a; CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                // SAFETY: arithmetic on registers, with instructions that this function's features have.
                unsafe {
                    std::arch::asm!(
                        "vfmadd231ps {sum}, {a}, {b}",
                        sum = inout(zmm_reg) *sum,
                        a = in(zmm_reg) a,
                        b = in(zmm_reg) b,
                        options(nomem, nostack, preserves_flags),
                    );
                }
            }
        }
        _mm512_reduce_add_ps(sums.into_iter().fold(b, |all, sum| _mm512_add_ps(all, sum)))
    }

    /// # Safety
    /// - The CPU has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2_floats(steps: usize) -> f32 {
        let (a, b) = (_mm256_set1_ps(1.0), _mm256_setzero_ps());
        let mut sums = [a; CHAINS];
        for _ in 0..2 * steps {
            for sum in &mut sums {
                // SAFETY: arithmetic on registers, with instructions that this function's features have.
                unsafe {
                    std::arch::asm!(
                        "vfmadd231ps {sum}, {a}, {b}",
                        sum = inout(ymm_reg) *sum,
                        a = in(ymm_reg) a,
                        b = in(ymm_reg) b,
                        options(nomem, nostack, preserves_flags),
                    );
                }
            }
        }
        _mm256_cvtss_f32(sums.into_iter().fold(b, |all, sum| _mm256_add_ps(all, sum)))
    }

    /// # Safety
    /// - The CPU has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(steps: usize) -> i32 {
        let (a, b) = (_mm256_set1_epi8(3), _mm256_set1_epi8(-5));
        let (zero, ones) = (_mm256_setzero_si256(), _mm256_set1_epi16(1));
        let mut sums = [zero; CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                // SAFETY: arithmetic on registers, with instructions that this function's features have.
                unsafe {
                    std::arch::asm!(
                        "vpmaddubsw {pairs}, {a}, {b}",
                        "vpmaddwd {pairs}, {pairs}, {ones}",
                        "vpaddd {sum}, {sum}, {pairs}",
                        pairs = out(ymm_reg) _,
                        sum = inout(ymm_reg) *sum,
                        a = in(ymm_reg) a,
                        b = in(ymm_reg) b,
                        ones = in(ymm_reg) ones,
                        options(nomem, nostack, preserves_flags),
                    );
                }
            }
        }
        let all = sums.into_iter().fold(zero, |all, sum| _mm256_add_epi32(all, sum));
        let half = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
        let half = _mm_add_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
        _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32::<0b10_11_00_01>(half)))
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::CHAINS;
    use std::arch::aarch64::*;

    /// # Safety
    /// - The CPU has NEON.
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn neon(steps: usize) -> i32 {
        let (a, b) = (vdupq_n_s8(3), vdupq_n_s8(-5));
        let mut sums = [vdupq_n_s32(0); CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                // SAFETY: arithmetic on registers, with instructions that this function's features have.
                unsafe {
                    std::arch::asm!(
                        "smull {pairs:v}.8h, {a:v}.8b, {b:v}.8b",
                        "smlal2 {pairs:v}.8h, {a:v}.16b, {b:v}.16b",
                        "sadalp {sum:v}.4s, {pairs:v}.8h",
                        pairs = out(vreg) _,
                        sum = inout(vreg) *sum,
                        a = in(vreg) a,
                        b = in(vreg) b,
                        options(nomem, nostack, preserves_flags),
                    );
                }
            }
        }
        sums.into_iter().fold(0, |all, sum| all.wrapping_add(vaddvq_s32(sum)))
    }

    /// # Safety
    /// - The CPU has NEON and its dot products.
    #[target_feature(enable = "neon,dotprod")]
    pub(super) unsafe fn dotprod(steps: usize) -> i32 {
        let (a, b) = (vdupq_n_s8(3), vdupq_n_s8(-5));
        let mut sums = [vdupq_n_s32(0); CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                // SAFETY: arithmetic on registers, with instructions that this function's features have.
                unsafe {
                    std::arch::asm!(
                        "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                        sum = inout(vreg) *sum,
                        a = in(vreg) a,
                        b = in(vreg) b,
                        options(nomem, nostack, preserves_flags),
                    );
                }
            }
        }
        sums.into_iter().fold(0, |all, sum| all.wrapping_add(vaddvq_s32(sum)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chain_of_every_level_adds_up_its_products() {
        for isa in Isa::available() {
            let products = (100 * CHAINS * width(isa)) as i32;
            assert_eq!(chains(isa, 100), -15 * products, "{}", isa.level());
        }
        for isa in Isa::available() {
            // Of AVX2 one lane is returned, which is of every chain.
            let lanes = if isa.level() == IsaLevel::Avx2 { 1 } else { LANES };
            assert_eq!(float_chains(isa, 100), (CHAINS * lanes) as f32, "{}", isa.level());
        }
        let ctx = Ctx::new(Isa::detect(), 2);
        for measured in [dot_peak(&ctx, 3), float_peak(&ctx, 3)] {
            let (best, median) = (measured.best_g_mac_per_s, measured.median_g_mac_per_s);
            assert!(best >= median && median > 0.0);
        }
    }
}
