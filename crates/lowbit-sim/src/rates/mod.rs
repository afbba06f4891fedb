//! What this program takes for an operator on this machine: measured, each kind of operator the first time it is asked for.
//!
//! # Method
//! The time of a pass is the sum over its operators of what each takes alone with the rows it has, the workers it has and
//! weights that were not used just before: kernels go through copies of a weight that are larger than a cache together, as
//! a model does. What a parallel call costs is in the measured times, as are loads that wait, scales and tails.
//!
//! # Departures
//! Nothing is fitted. What is left out is what one operator does to the next: what it leaves in the caches, and workers
//! that begin late.

mod product;
mod rowwise;

use crate::{
    Kind, Op, SimError,
    trace::{Attended, Weight},
};
use lowbit_kernels::Ctx;
use lowbit_model::{KvElement, LinearOp, ModelSpec, Role};
use product::Product;
use std::time::{Duration, Instant};

/// Makes a layer to measure with: its weight, what it is for, and a seed, so that two are not the same bytes.
pub type Layers<'a> = dyn Fn(&Weight, Role, u64) -> Result<Box<dyn LinearOp>, String> + 'a;

/// Time for which an operator is measured.
const ENOUGH: Duration = Duration::from_millis(25);

/// Bytes of copies of a weight, or of keys and values, that are gone through in turn, where the model has as many: several times
/// the last cache, which keeps some of what is gone through even where all of it has no place.
const COLD: usize = 256 << 20;

/// What a measurement is about.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Workers.
    pub ctx: &'a Ctx,
    /// The model.
    pub spec: &'a ModelSpec,
    /// Floats in which keys and values are kept.
    pub kv: KvElement,
    /// Makes layers.
    pub layers: &'a Layers<'a>,
    /// Bytes that a token reads: no more copies of a weight are gone through.
    pub footprint: usize,
}

/// Measured times.
pub struct Rates<'a> {
    subject: Subject<'a>,
    products: Vec<(Weight, Role, usize, Product)>,
    attention: Vec<(Attended, usize, f64)>,
    rowwise: Vec<(Kind, usize, usize, f64)>,
}

impl<'a> Rates<'a> {
    /// Nothing measured yet.
    pub fn new(subject: Subject<'a>) -> Self {
        Self { subject, products: Vec::new(), attention: Vec::new(), rowwise: Vec::new() }
    }

    /// Seconds that an operator takes, once; `None` for what is too little to measure.
    ///
    /// # Errors
    /// Where a layer cannot be made.
    pub fn seconds(&mut self, op: &Op) -> Result<Option<f64>, SimError> {
        match (op.kind, &op.weight, op.attended) {
            (Kind::Linear(role), Some(weight), _) => self.product(op, role, weight).map(Some),
            (Kind::Scores | Kind::Mix, _, Some(attended)) => {
                let dim = self.subject.spec.head_dim as f64;
                let of_scores = (dim + 2.0) / (2.0 * dim + 2.0);
                let share = if op.kind == Kind::Scores { of_scores } else { 1.0 - of_scores };
                Ok(Some(share * self.attention(attended, op.batches)))
            }
            (Kind::Norm | Kind::Rotation | Kind::Append | Kind::Between | Kind::Sum, ..) => {
                Ok(Some(self.rows(op)))
            }
            _ => Ok(None),
        }
    }

    fn product(&mut self, op: &Op, role: Role, weight: &Weight) -> Result<f64, SimError> {
        let rows = op.rows.div_ceil(op.batches.max(1));
        // Layers alike take the same, whatever they are for; routers are multiplied otherwise.
        let kind = |role: Role| role == Role::Router;
        let found = self
            .products
            .iter()
            .find(|(w, r, m, _)| (w, kind(*r), *m) == (weight, kind(role), rows))
            .map(|(.., product)| *product);
        let product = match found {
            Some(product) => product,
            None => {
                let product = Product::measure(&self.subject, (weight, role), rows)?;
                self.products.push((weight.clone(), role, rows, product));
                product
            }
        };
        // Queries and values find activations done for the keys, the up projection those for the gate.
        let ready = matches!(role, Role::Query | Role::Value | Role::Up);
        let prepare = if ready { 0.0 } else { product.prepare_s };
        Ok(op.batches as f64 * (prepare + product.multiply_s))
    }

    fn attention(&mut self, attended: Attended, batches: usize) -> f64 {
        let found = self.attention.iter().find(|(a, b, _)| (*a, *b) == (attended, batches));
        if let Some((.., seconds)) = found {
            return *seconds;
        }
        let seconds = rowwise::attention(&self.subject, attended, batches);
        self.attention.push((attended, batches, seconds));
        seconds
    }

    fn rows(&mut self, op: &Op) -> f64 {
        let key = (op.kind, op.width, op.rows);
        if let Some((.., seconds)) = self.rowwise.iter().find(|(kind, w, m, _)| (*kind, *w, *m) == key) {
            return *seconds;
        }
        let seconds = rowwise::rows(&self.subject, op);
        self.rowwise.push((op.kind, op.width, op.rows, seconds));
        seconds
    }
}

/// The median of what `once` gives, called at least `calls` times and for [`ENOUGH`] time, the first calls apart.
fn median(calls: usize, mut once: impl FnMut() -> f64) -> f64 {
    once();
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < calls || start.elapsed() < ENOUGH {
        times.push(once());
    }
    middle(times)
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Numbers that are neither all equal nor tiny.
fn noise(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 1021) as f32 / 510.0 - 1.0).collect()
}
