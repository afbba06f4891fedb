//! This machine: its limits, measured, and layers to measure its kernels with.

use crate::commands::doctor::{BANDWIDTH_BYTES, BANDWIDTH_PASSES};
use lowbit::{
    ActPrecision, ActRounding, Ctx, DotPeak, LinearOp, Machine, Method, Planner, Query, ReadBandwidth, Role,
    Stored, TokenBucket, WeightCoding, WeightSpec, dot_peak, float_peak, pack, read_bandwidth,
    sim::{
        Kind, Numbers, Op, Precision, Weight, hardware,
        machines::{Peaks, Roofline},
    },
    synth::random_tensor,
};

/// Passes in which peaks are measured.
const PEAK_PASSES: usize = 21;

/// Least bytes that bandwidth is measured with: a model that is smaller is read from a cache, but not from the first.
const LEAST_BYTES: usize = 4 << 20;

/// What was measured.
pub(super) struct Here {
    bandwidth: ReadBandwidth,
    integers: DotPeak,
    floats: DotPeak,
    cache_bytes: Option<f64>,
    pub(super) memory_bytes: Option<f64>,
}

impl Here {
    /// Measures bandwidth and peaks on the workers of `ctx`: bandwidth as doctor does, of a model that is smaller than
    /// what that reads over as many bytes as a token reads of it, since they may stay in a cache.
    pub(super) fn measure(ctx: &Ctx, weight_bytes: f64) -> Self {
        let machine = Machine::detect();
        let bytes = (weight_bytes as usize).clamp(LEAST_BYTES, BANDWIDTH_BYTES);
        Self {
            bandwidth: read_bandwidth(ctx, bytes, BANDWIDTH_PASSES),
            integers: dot_peak(ctx, PEAK_PASSES),
            floats: float_peak(ctx, PEAK_PASSES),
            cache_bytes: machine.caches.last().map(|cache| cache.bytes as f64),
            memory_bytes: machine
                .memory_limit_bytes
                .into_iter()
                .chain(machine.memory_bytes)
                .min()
                .map(|b| b as f64),
        }
    }

    /// Best passes: a bound is what the machine can do, not what it does while others use it.
    pub(super) fn roofline(&self) -> Roofline {
        Roofline {
            name: hardware::MEASURED.to_owned(),
            bytes_per_s: 1e9 * self.bandwidth.best_gb_per_s,
            cache_bytes: self.cache_bytes,
            peaks: Peaks {
                f32: 2e9 * self.floats.best_g_mac_per_s,
                f16: None,
                int8: Some(2e9 * self.integers.best_g_mac_per_s),
                int4: None,
            },
        }
    }
}

/// How lowbit computes with such activations, if it does.
pub(super) fn computed(precision: Precision, coding: WeightCoding) -> Option<ActPrecision> {
    match (precision, coding) {
        (Precision::F16 | Precision::Int4, _) => None,
        (_, WeightCoding::TokenInt4) => Some(ActPrecision::Int8(ActRounding::Token4)),
        (_, WeightCoding::TokenInt8Outliers) => Some(ActPrecision::Int8(ActRounding::TokenOutliers)),
        (_, WeightCoding::TokenInt8 | WeightCoding::TernaryMaster | WeightCoding::TernaryPacked(_)) => {
            Some(ActPrecision::Int8(ActRounding::Token))
        }
        (Precision::F32, _) => Some(ActPrecision::Float),
        (Precision::Int8, _) => Some(ActPrecision::Int8(ActRounding::Group32)),
        (Precision::Int16, _) => Some(ActPrecision::Int8(ActRounding::Group32Twice)),
    }
}

/// A layer with random weights, arranged as a model's is.
pub(super) fn layer(
    ctx: &Ctx,
    planner: &Planner<'_>,
    (weight, role): (&Weight, Role),
    computed: ActPrecision,
    seed: u64,
) -> Result<Box<dyn LinearOp>, String> {
    let tensor = random_tensor(&weight.format, weight.shape, seed).map_err(|error| error.to_string())?;
    let precision = if role == Role::Router { ActPrecision::Float } else { computed };
    Ok(pack(ctx, planner, Stored::new(tensor, None, precision)))
}

/// Marks a product that lowbit looks up: the peak of multiplications is no bound of it.
pub(super) fn mark_tables(ctx: &Ctx, planner: &Planner<'_>, computed: ActPrecision, op: &mut Op) {
    let (Kind::Linear(role), Some(weight)) = (op.kind, &op.weight) else { return };
    if role == Role::Router || matches!(weight.format, WeightSpec::Float(_)) {
        return;
    }
    let rows = op.rows.div_ceil(op.batches.max(1));
    let query = Query {
        spec: &weight.format,
        shape: weight.shape,
        tokens: TokenBucket::of(rows),
        rounding: computed.rounding(&weight.format),
        isa: ctx.isa().level(),
        threads: ctx.threads(),
    };
    let plan = planner.plans(&query).into_iter().next();
    if plan.is_some_and(|plan| matches!(plan.kernel(rows).method, Method::Lookup(_))) {
        op.numbers = Numbers::Tables;
    }
}
