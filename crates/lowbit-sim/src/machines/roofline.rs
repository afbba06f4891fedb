//! A machine with a memory bandwidth and a peak for each kind of number: nothing runs faster.
//!
//! # Method
//! An operator takes at least the longer of `bytes / bandwidth` and `operations / peak`. Williams, Waterman and Patterson,
//! "Roofline: an insightful visual performance model", CACM 52(4), 2009.
//!
//! # Departures
//! Activations of an operator that fit the last cache are not counted as read from memory. What is looked up in tables is
//! bounded by memory only: the peak of multiplications says nothing about it.

use crate::{Numbers, Op};

/// Peaks in operations a second, a multiplication and an addition counting as two. Numbers without a peak of their own run
/// at that of the next wider ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Single precision.
    pub f32: f64,
    /// Half precision.
    pub f16: Option<f64>,
    /// 8-bit integers.
    pub int8: Option<f64>,
    /// 4-bit integers.
    pub int4: Option<f64>,
}

impl Peaks {
    /// Operations of a trace a second in such numbers: an activation of two terms takes two.
    pub fn of(&self, numbers: Numbers) -> f64 {
        let f16 = self.f16.unwrap_or(self.f32);
        let int8 = self.int8.unwrap_or(f16);
        match numbers {
            Numbers::F32 => self.f32,
            Numbers::F16 => f16,
            Numbers::Int8 { terms } => int8 / f64::from(terms.max(1)),
            Numbers::Int4 => self.int4.unwrap_or(int8),
            Numbers::Tables => f64::INFINITY,
        }
    }
}

/// The machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Roofline {
    /// Its name.
    pub name: String,
    /// Bytes a second from the memory that holds the weights.
    pub bytes_per_s: f64,
    /// Bytes of the last cache, where that is known.
    pub cache_bytes: Option<f64>,
    /// Peaks.
    pub peaks: Peaks,
}

/// What bounds an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Memory.
    Memory,
    /// Arithmetic.
    Compute,
}

impl Bound {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Compute => "compute",
        }
    }
}

/// What an operator takes at least, once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Bytes that come from memory or go there.
    pub bytes: f64,
    /// Seconds that moving them takes.
    pub memory_s: f64,
    /// Seconds that its operations take.
    pub compute_s: f64,
}

impl Cost {
    /// The longer of both.
    pub fn seconds(&self) -> f64 {
        self.memory_s.max(self.compute_s)
    }

    /// Which that is.
    pub fn bound(&self) -> Bound {
        if self.memory_s >= self.compute_s { Bound::Memory } else { Bound::Compute }
    }
}

impl Roofline {
    /// The least that an operator takes, once.
    pub fn cost(&self, op: &Op) -> Cost {
        let moved = op.bytes.activations;
        // A batch of rows at a time.
        let near = self.cache_bytes.is_some_and(|cache| moved / op.batches.max(1) as f64 <= cache);
        let bytes = op.all_bytes() - if near { moved } else { 0.0 };
        Cost {
            bytes,
            memory_s: bytes / self.bytes_per_s,
            compute_s: op.operations / self.peaks.of(op.numbers),
        }
    }

    /// Operations for a byte from which on arithmetic is the bound.
    pub fn ridge(&self, numbers: Numbers) -> f64 {
        self.peaks.of(numbers) / self.bytes_per_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, trace::Bytes};

    fn machine(cache_bytes: Option<f64>) -> Roofline {
        let peaks = Peaks { f32: 100.0, f16: None, int8: Some(400.0), int4: None };
        Roofline { name: "toy".into(), bytes_per_s: 10.0, cache_bytes, peaks }
    }

    fn op(weights: f64, activations: f64, operations: f64, numbers: Numbers) -> Op {
        Op {
            kind: Kind::Norm,
            count: 1,
            rows: 1,
            batches: 1,
            width: 1,
            weight: None,
            attended: None,
            bytes: Bytes { weights, activations, ..Bytes::default() },
            operations,
            numbers,
        }
    }

    #[test]
    fn the_longer_of_memory_and_arithmetic_counts() {
        let cost = machine(None).cost(&op(50.0, 10.0, 100.0, Numbers::F32));
        assert_eq!((cost.memory_s, cost.compute_s, cost.seconds()), (6.0, 1.0, 6.0));
        assert_eq!(cost.bound(), Bound::Memory);
        let cost = machine(None).cost(&op(50.0, 10.0, 1000.0, Numbers::F32));
        assert_eq!((cost.seconds(), cost.bound()), (10.0, Bound::Compute));
        assert_eq!(machine(None).ridge(Numbers::F32), 10.0);
    }

    #[test]
    fn activations_that_fit_the_cache_do_not_come_from_memory() {
        assert_eq!(machine(Some(10.0)).cost(&op(50.0, 10.0, 0.0, Numbers::F32)).bytes, 50.0);
        assert_eq!(machine(Some(9.0)).cost(&op(50.0, 10.0, 0.0, Numbers::F32)).bytes, 60.0);
    }

    #[test]
    fn two_terms_take_twice_as_long_and_tables_no_multiplication() {
        let peaks = machine(None).peaks;
        assert_eq!(peaks.of(Numbers::Int8 { terms: 2 }), 200.0);
        assert_eq!(peaks.of(Numbers::Int4), 400.0);
        assert_eq!(peaks.of(Numbers::F16), 100.0);
        assert_eq!(machine(None).cost(&op(1.0, 0.0, 1e9, Numbers::Tables)).bound(), Bound::Memory);
    }
}
