//! The operators of one pass through a model: what each reads, writes and computes. No machine is known here.
//!
//! # Method
//! As "LLM Inference Unveiled" (Yuan et al., 2024, arXiv 2402.16363) counts: bytes of weights, of activations, of cached
//! keys and values, and operations, a multiplication and an addition counting as two. Weights have the bytes that they
//! are stored in, scales and zero points included.
//!
//! # Departures
//! Activations between operators have four bytes a number, as this program keeps them. Of the last block of a prompt only
//! the tokens whose logits are wanted go through queries, attention and feed-forward part, as in [`lowbit_model::Decoder`].

use crate::SimError;
use lowbit_format::{NK, WeightSpec};
use lowbit_model::{Ffn, LinearLayer, Linears, QkNorm, Role, WeightCoding};

/// Bytes of an activation between operators.
const ACTIVATION: f64 = 4.0;
/// Operations for an element of a norm: square, sum, two multiplications.
const NORM: f64 = 4.0;
/// Operations for an element of a rotated head: two multiplications, a sum, and the scale of scores.
const ROTATION: f64 = 4.0;
/// Operations for a score: subtraction, exponential counted as one, sum, division.
const SOFTMAX: f64 = 4.0;
/// Operations for an element between gate and down: the activation counted as two, the product.
const GATE: f64 = 3.0;

/// Tokens that go through a model together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Sequences.
    pub sequences: usize,
    /// New tokens of each.
    pub tokens: usize,
    /// Tokens in the cache of each before.
    pub past: usize,
    /// Rows that go through the model at a time: weights are read once for them.
    pub at_once: usize,
}

impl Pass {
    /// One token of each sequence, after `context` others.
    pub fn decode(sequences: usize, context: usize) -> Self {
        Self { sequences, tokens: 1, past: context, at_once: sequences.max(1) }
    }

    /// Prompts of `tokens` each, 512 rows at a time.
    pub fn prefill(sequences: usize, tokens: usize) -> Self {
        Self { sequences, tokens, past: 0, at_once: 512 }
    }

    fn rows(&self) -> usize {
        self.sequences * self.tokens
    }
}

/// Numbers in which activations meet weights, as a user chooses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Two terms of 8 bits.
    Int16,
    /// 8 bits.
    Int8,
    /// 4 bits, where weights have no more.
    Int4,
}

/// Numbers in which an operator computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// 8-bit integers, once for each term of an activation.
    Int8 {
        /// Terms.
        terms: u8,
    },
    /// 4-bit integers.
    Int4,
    /// Looked up in tables: nothing is multiplied.
    Tables,
}

impl Numbers {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 { terms: 1 } => "int8",
            Self::Int8 { .. } => "int16",
            Self::Int4 => "int4",
            Self::Tables => "tables",
        }
    }
}

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Token embeddings are looked up.
    Embedding,
    /// A product with weights.
    Linear(Role),
    /// Products of queries and keys, and softmax.
    Scores,
    /// Mix of values.
    Mix,
    /// Norm of rows.
    Norm,
    /// Rotation of queries or keys, their norm by head and their scale.
    Rotation,
    /// Keys and values written to the cache.
    Append,
    /// The function between gate and down.
    Between,
    /// What a part of a block gives, added to the stream.
    Sum,
}

impl Kind {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Linear(role) => role.name(),
            Self::Scores => "scores",
            Self::Mix => "values",
            Self::Norm => "norm",
            Self::Rotation => "rotation",
            Self::Append => "cache",
            Self::Between => "activation",
            Self::Sum => "sum",
        }
    }
}

/// Bytes that an operator moves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bytes {
    /// Of weights.
    pub weights: f64,
    /// Of activations, read and written.
    pub activations: f64,
    /// Of keys and values, read.
    pub kv_read: f64,
    /// Of keys and values, written.
    pub kv_written: f64,
}

/// The weight of a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Its format.
    pub format: WeightSpec,
    /// Its shape.
    pub shape: NK,
}

/// What tokens attend to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attended {
    /// Sequences.
    pub sequences: usize,
    /// Tokens of each that ask.
    pub tokens: usize,
    /// Position of the first of them.
    pub position: usize,
    /// Keys that a token sees, itself included; all where `None`.
    pub window: Option<usize>,
}

/// An operator of a pass, once for all blocks that have it alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// What it does.
    pub kind: Kind,
    /// How often it is in the pass. Everything below is of one.
    pub count: usize,
    /// Rows of activations.
    pub rows: usize,
    /// Batches that the rows come in.
    pub batches: usize,
    /// Elements of a row: of the input of a product, of whatever else.
    pub width: usize,
    /// The weight of a product.
    pub weight: Option<Weight>,
    /// What attention looks at.
    pub attended: Option<Attended>,
    /// Bytes that it moves.
    pub bytes: Bytes,
    /// Operations, of numbers of whatever kind.
    pub operations: f64,
    /// Numbers in which it computes.
    pub numbers: Numbers,
}

impl Op {
    /// All bytes of one.
    pub fn all_bytes(&self) -> f64 {
        let Bytes { weights, activations, kv_read, kv_written } = self.bytes;
        weights + activations + kv_read + kv_written
    }

    /// Operations for each byte.
    pub fn intensity(&self) -> f64 {
        self.operations / self.all_bytes()
    }
}

/// The operators of a pass in the order of their first use. `kv_bits` are those of a cached number, and need not be whole.
///
/// # Errors
/// Where the pass has no token.
pub fn trace(
    linears: &Linears,
    pass: &Pass,
    precision: Precision,
    kv_bits: f64,
) -> Result<Vec<Op>, SimError> {
    let Pass { sequences, tokens, .. } = *pass;
    if pass.rows() == 0 {
        return Err(SimError::Empty { sequences, tokens });
    }
    let batches = pass.rows().div_ceil(pass.at_once.max(1));
    let all = Rows { rows: pass.rows(), batches, tokens, past: pass.past };
    // Of the last block, and of the head, only the last token of each sequence.
    let wanted =
        Rows { rows: sequences, batches: batches.min(sequences), tokens: 1, past: pass.past + tokens - 1 };
    let mut trace = Trace { linears, pass, precision, kv_bits, ops: Vec::new() };
    trace.embedding(all);
    let last = linears.spec.blocks.len().saturating_sub(1);
    for block in 0..linears.spec.blocks.len() {
        trace.block(block, all, if block == last { wanted } else { all });
    }
    trace.norm(linears.spec.hidden, wanted);
    for head in linears.layers.iter().filter(|layer| layer.id.role == Role::Head) {
        trace.product(head, wanted, 1);
    }
    Ok(trace.ops)
}

/// Rows that go through an operator.
#[derive(Clone, Copy)]
struct Rows {
    rows: usize,
    batches: usize,
    /// Tokens of a sequence among them.
    tokens: usize,
    /// Position of the first.
    past: usize,
}

struct Trace<'a> {
    linears: &'a Linears,
    pass: &'a Pass,
    precision: Precision,
    kv_bits: f64,
    ops: Vec<Op>,
}

impl Trace<'_> {
    /// Adds an operator, to one that is alike where there is one.
    fn add(&mut self, op: Op) {
        let alike = |other: &&mut Op| **other == Op { count: other.count, ..op.clone() };
        match self.ops.iter_mut().find(alike) {
            Some(other) => other.count += op.count,
            None => self.ops.push(op),
        }
    }

    /// An operator on rows of floats that has no weight.
    fn rowwise(&mut self, kind: Kind, width: usize, rows: Rows, (moved, operations): (f64, f64)) {
        let elements = (rows.rows * width) as f64;
        self.add(Op {
            kind,
            count: 1,
            rows: rows.rows,
            batches: rows.batches,
            width,
            weight: None,
            attended: None,
            bytes: Bytes { activations: ACTIVATION * moved * elements, ..Bytes::default() },
            operations: operations * elements,
            numbers: Numbers::F32,
        });
    }

    fn norm(&mut self, width: usize, rows: Rows) {
        self.rowwise(Kind::Norm, width, rows, (2.0, NORM));
    }

    fn embedding(&mut self, rows: Rows) {
        let width = self.linears.spec.hidden;
        let elements = (rows.rows * width) as f64;
        let read = elements * self.linears.embedding.bits_per_weight() / 8.0;
        self.add(Op {
            kind: Kind::Embedding,
            count: 1,
            rows: rows.rows,
            batches: rows.batches,
            width,
            weight: None,
            attended: None,
            bytes: Bytes { weights: read, activations: ACTIVATION * elements, ..Bytes::default() },
            operations: elements,
            numbers: Numbers::F32,
        });
    }

    fn block(&mut self, index: usize, all: Rows, asking: Rows) {
        let spec = &self.linears.spec;
        let (norms, block, hidden) = (spec.norms, spec.blocks[index].clone(), spec.hidden);
        let (wide, narrow) = (spec.query_width(), spec.kv_width());
        let qk_norm = spec.qk_norm;
        let layers: Vec<LinearLayer> = {
            let of_block = |layer: &&LinearLayer| {
                usize::from(layer.id.block) == index && !matches!(layer.id.role, Role::Head | Role::Embed)
            };
            self.linears.layers.iter().filter(of_block).cloned().collect()
        };
        let of = |role: Role| layers.iter().filter(move |layer| layer.id.role == role);
        if norms.attention_in {
            self.norm(hidden, all);
        }
        for (role, rows) in [(Role::Key, all), (Role::Value, all), (Role::Query, asking)] {
            of(role).for_each(|layer| self.product(layer, rows, 1));
        }
        if qk_norm == QkNorm::Row {
            self.norm(wide, asking);
            self.norm(narrow, all);
        }
        let turning = ROTATION + if qk_norm == QkNorm::Head { NORM } else { 0.0 };
        self.rowwise(Kind::Rotation, wide, asking, (2.0, turning));
        self.rowwise(Kind::Rotation, narrow, all, (2.0, turning));
        self.append(narrow, all);
        self.attention(asking, block.window);
        if norms.attention_sub {
            self.norm(wide, asking);
        }
        of(Role::Output).for_each(|layer| self.product(layer, asking, 1));
        if norms.attention_out {
            self.norm(hidden, asking);
        }
        self.rowwise(Kind::Sum, hidden, asking, (3.0, 1.0));
        if norms.ffn_in {
            self.norm(hidden, asking);
        }
        let (inner, rows, copies) = match block.ffn {
            Ffn::Dense { inner } => (inner, asking, 1),
            Ffn::Experts { count, used, inner, .. } => {
                of(Role::Router).for_each(|layer| self.product(layer, asking, 1));
                let (rows, chosen) = shared_out(asking, count, used);
                (inner, rows, chosen)
            }
        };
        // Experts are alike: the first stands for those that are chosen.
        for role in [Role::Gate, Role::Up] {
            of(role).take(1).for_each(|layer| self.product(layer, rows, copies));
        }
        for _ in 0..copies {
            self.rowwise(Kind::Between, inner, rows, (3.0, GATE));
            if norms.ffn_sub {
                self.norm(inner, rows);
            }
        }
        of(Role::Down).take(1).for_each(|layer| self.product(layer, rows, copies));
        if norms.ffn_out {
            self.norm(hidden, asking);
        }
        self.rowwise(Kind::Sum, hidden, asking, (3.0, 1.0));
    }

    fn product(&mut self, layer: &LinearLayer, rows: Rows, count: usize) {
        let NK { n, k } = layer.shape;
        self.add(Op {
            kind: Kind::Linear(layer.id.role),
            count,
            rows: rows.rows,
            batches: rows.batches,
            width: k,
            weight: Some(Weight { format: layer.format.clone(), shape: layer.shape }),
            attended: None,
            bytes: Bytes {
                weights: (layer.bytes * rows.batches) as f64,
                activations: ACTIVATION * (rows.rows * (n + k)) as f64,
                ..Bytes::default()
            },
            operations: 2.0 * rows.rows as f64 * n as f64 * k as f64,
            numbers: self.numbers(layer),
        });
    }

    /// Numbers in which a product is computed.
    fn numbers(&self, layer: &LinearLayer) -> Numbers {
        let whole = match layer.format.base() {
            WeightSpec::Float(_) => false,
            WeightSpec::Block(_) | WeightSpec::Sum(_) => true,
            WeightSpec::Grouped(spec) => spec.integer_group().is_some(),
        };
        if layer.id.role == Role::Router {
            return Numbers::F32;
        }
        let prescribed = match self.linears.spec.coding {
            WeightCoding::Plain => None,
            WeightCoding::TokenInt4 => Some(Precision::Int4),
            _ => Some(Precision::Int8),
        };
        match (self.precision, prescribed) {
            (Precision::F32, _) => Numbers::F32,
            (Precision::F16, _) => Numbers::F16,
            _ if !whole => Numbers::F32,
            (_, Some(Precision::Int4)) | (Precision::Int4, None) if layer.format.bits_per_weight() < 5.0 => {
                Numbers::Int4
            }
            (_, Some(_)) | (Precision::Int8 | Precision::Int4, None) => Numbers::Int8 { terms: 1 },
            (Precision::Int16, None) => Numbers::Int8 { terms: 2 },
        }
    }

    fn append(&mut self, narrow: usize, rows: Rows) {
        let elements = 2.0 * (rows.rows * narrow) as f64;
        self.add(Op {
            kind: Kind::Append,
            count: 1,
            rows: rows.rows,
            batches: rows.batches,
            width: narrow,
            weight: None,
            attended: None,
            bytes: Bytes {
                activations: ACTIVATION * elements,
                kv_written: elements * self.kv_bits / 8.0,
                ..Bytes::default()
            },
            operations: elements,
            numbers: Numbers::F32,
        });
    }

    fn attention(&mut self, rows: Rows, window: Option<usize>) {
        let spec = &self.linears.spec;
        let sequences = self.pass.sequences;
        let attended = Attended { sequences, tokens: rows.tokens, position: rows.past, window };
        let pairs = attended.pairs() * spec.heads as f64;
        let products = 2.0 * pairs * spec.head_dim as f64;
        let read = attended.keys_read(self.pass.at_once) * spec.kv_width() as f64 * self.kv_bits / 8.0;
        let (width, wide) = (spec.query_width(), (rows.rows * spec.query_width()) as f64);
        let numbers = if self.precision == Precision::F16 { Numbers::F16 } else { Numbers::F32 };
        for (kind, operations) in [(Kind::Scores, products + SOFTMAX * pairs), (Kind::Mix, products)] {
            self.add(Op {
                kind,
                count: 1,
                rows: rows.rows,
                batches: rows.batches,
                width,
                weight: None,
                attended: Some(attended),
                // Scores stay in a tile that fits a cache; queries come and mixed values go.
                bytes: Bytes { activations: ACTIVATION * wide, kv_read: read, ..Bytes::default() },
                operations,
                numbers,
            });
        }
    }
}

impl Attended {
    /// Keys that the token at a position sees.
    fn visible(&self, position: usize) -> usize {
        self.window.unwrap_or(usize::MAX).min(position + 1)
    }

    /// Keys seen, summed over all tokens that ask.
    fn pairs(&self) -> f64 {
        let of_one: f64 = (0..self.tokens).map(|i| self.visible(self.position + i) as f64).sum();
        of_one * self.sequences as f64
    }

    /// Keys read, those of a batch once for all of its tokens.
    fn keys_read(&self, at_once: usize) -> f64 {
        let step = (at_once / self.sequences.max(1)).clamp(1, self.tokens);
        let batch = |first: usize| {
            let end = self.position + (first + step).min(self.tokens);
            end - (self.position + first + 1 - self.visible(self.position + first)).min(end)
        };
        let of_one: f64 = (0..self.tokens).step_by(step).map(|first| batch(first) as f64).sum();
        of_one * self.sequences as f64
    }
}

/// Rows that each chosen expert gets, and how many are chosen: with tokens that choose independently, an expert of `count`
/// is left out by all of them with probability `(1 - used / count)^rows`.
fn shared_out(rows: Rows, count: usize, used: usize) -> (Rows, usize) {
    let of_batch = rows.rows.div_ceil(rows.batches) as f64;
    let left_out = (1.0 - used as f64 / count as f64).powf(of_batch);
    let chosen = (count as f64 * (1.0 - left_out)).round().clamp(used as f64, count as f64) as usize;
    let each = (rows.rows * used).div_ceil(chosen).max(1);
    (Rows { rows: each, batches: rows.batches.min(each), ..rows }, chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attended(tokens: usize, position: usize, window: Option<usize>) -> Attended {
        Attended { sequences: 1, tokens, position, window }
    }

    #[test]
    fn tokens_see_what_was_before_them_and_a_window_no_more_than_that() {
        // 1 + 2 + 3 + 4 keys; with a window of two 1 + 2 + 2 + 2.
        assert_eq!(attended(4, 0, None).pairs(), 10.0);
        assert_eq!(attended(4, 0, Some(2)).pairs(), 7.0);
        assert_eq!(attended(1, 9, None).pairs(), 10.0);
        assert_eq!(attended(1, 9, Some(4)).pairs(), 4.0);
    }

    #[test]
    fn a_batch_reads_the_keys_of_its_tokens_once() {
        // Two batches of two tokens: 2 keys, then 4.
        assert_eq!(attended(4, 0, None).keys_read(2), 6.0);
        assert_eq!(attended(4, 0, None).keys_read(512), 4.0);
        // The first token of the second batch sees one before it: keys 1, 2 and 3.
        assert_eq!(attended(4, 0, Some(2)).keys_read(2), 5.0);
        assert_eq!(attended(1, 9, Some(4)).keys_read(1), 4.0);
    }

    #[test]
    fn one_token_uses_its_experts_and_many_use_all() {
        let rows = |rows| Rows { rows, batches: 1, tokens: rows, past: 0 };
        let (each, chosen) = shared_out(rows(1), 8, 2);
        assert_eq!((each.rows, chosen), (1, 2));
        let (each, chosen) = shared_out(rows(512), 8, 2);
        assert_eq!((each.rows, chosen), (128, 8));
    }
}
