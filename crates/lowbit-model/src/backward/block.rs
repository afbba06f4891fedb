//! One block of a dense decoder, forward with what its derivatives need and backward.

use super::{
    attention::Sequence,
    dense::Dense,
    derivatives::{ungate, unnorm, unturn},
};
use crate::{
    Attention, LinearId, ModelError, ModelSpec, Stored, Weights,
    build::{self, Block, FfnWeights, Linear},
    linear::LinearOp,
    rope::{RopeTable, Turn},
    rows::share_rows,
    spec::{Ffn, QkNorm, Role, WeightCoding},
};
use lowbit_format::NK;
use lowbit_kernels::{ActPrecision, Ctx, ops};
use std::{cell::RefCell, collections::BTreeMap};

/// One block with its weights in f32.
pub struct TracedBlock {
    spec: ModelSpec,
    index: usize,
    /// Its norms; its layers are in `layers`.
    block: Block,
    layers: BTreeMap<Role, Dense>,
    rope: Option<RopeTable>,
}

/// What a forward pass of a block went through: all that backward needs.
pub struct Trace {
    /// The stream that comes out, [T, hidden].
    pub stream: Vec<f32>,
    tokens: usize,
    angles: Vec<f32>,
    before: Vec<f32>,
    attention_in: Vec<f32>,
    raw_query: Vec<f32>,
    raw_key: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    mixed: Vec<f32>,
    output_in: Vec<f32>,
    attended: Vec<f32>,
    between: Vec<f32>,
    ffn_in: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    gated: Vec<f32>,
    down_in: Vec<f32>,
    fed: Vec<f32>,
}

/// A linear layer in a backward pass over T tokens.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Which layer.
    pub id: LinearId,
    /// N and K.
    pub shape: NK,
    /// What it read, [T, K].
    pub input: &'a [f32],
    /// The gradient of what it gave, [T, N].
    pub gradient: &'a [f32],
}

impl TracedBlock {
    /// Block `index` of a model for sequences of at most `capacity` tokens, on which frequencies of some ropes depend.
    ///
    /// # Errors
    /// Where a tensor is absent or of another shape, and where the model has a part whose gradient is not known here.
    ///
    /// # Panics
    /// Where the model has no such block.
    pub fn build(
        spec: &ModelSpec,
        index: usize,
        weights: &dyn Weights,
        capacity: usize,
    ) -> Result<Self, ModelError> {
        let mut spec = spec.clone();
        if let Ffn::Experts { .. } = spec.blocks[index].ffn {
            return Err(none_of(
                format!("experts of block {index}"),
                "take a dense model, or a method that needs none",
            ));
        }
        if spec.coding != WeightCoding::Plain {
            let next = "take a model of plain weights";
            return Err(none_of(format!("{:?} weights, which round activations", spec.coding), next));
        }
        let (layers, turned) = (RefCell::new(BTreeMap::new()), RefCell::new(None));
        let keep = |id: LinearId, stored: Stored| -> Linear {
            if stored.input().is_some() {
                turned.replace(Some(id));
            }
            layers.borrow_mut().insert(id.role, Dense::new(id, &stored));
            Box::new(stored)
        };
        let (block, divisors) = build::one_block(&mut spec, index, weights, ActPrecision::Float, &keep)?;
        if let Some(id) = turned.into_inner() {
            let what =
                format!("the {} layer of block {index}, whose input is permuted or rotated", id.role.name());
            return Err(none_of(what, "take the model that it was made from"));
        }
        let rope = spec.blocks[index].rope;
        let rope = rope.map(|rope| RopeTable::new(&spec.ropes[rope], divisors[rope].as_deref(), capacity));
        Ok(Self { spec, index, block, layers: layers.into_inner(), rope })
    }

    /// Runs a sequence from its first token on: `stream` [T, hidden] goes in.
    ///
    /// # Panics
    /// Where the stream is not made of whole tokens.
    pub fn forward(&self, ctx: &Ctx, stream: &[f32]) -> Trace {
        let (spec, hidden) = (&self.spec, self.spec.hidden);
        assert!(stream.len().is_multiple_of(hidden), "a stream of whole tokens of {hidden} elements");
        let tokens = stream.len() / hidden;
        let angles = self.angles(ctx, tokens);
        let before = stream.to_vec();
        let attention_in = self.normed(ctx, &before, self.block.attention_in.as_deref());
        let [raw_query, raw_key, value] =
            [Role::Query, Role::Key, Role::Value].map(|role| self.layers[&role].forward(ctx, &attention_in));
        let mut query =
            self.turned(ctx, &angles, &raw_query, self.block.query_norm.as_deref(), spec.query_width());
        ops::scale(ctx.isa(), &mut query, spec.attention_scale);
        let key = self.turned(ctx, &angles, &raw_key, self.block.key_norm.as_deref(), spec.kv_width());
        let of = Sequence { query: &query, key: &key, value: &value, tokens };
        let mixed = self.attention().whole(ctx, of);
        let output_in = self.normed(ctx, &mixed, self.block.attention_sub.as_deref());
        let attended = self.layers[&Role::Output].forward(ctx, &output_in);
        let mut between = self.normed(ctx, &attended, self.block.attention_out.as_deref());
        ops::add(ctx.isa(), &mut between, &before);
        let ffn_in = self.normed(ctx, &between, self.block.ffn_in.as_deref());
        let [gate, up] = [Role::Gate, Role::Up].map(|role| self.layers[&role].forward(ctx, &ffn_in));
        let mut gated = gate.clone();
        ops::gate(ctx.isa(), spec.activation, &mut gated, &up);
        let down_in = self.normed(ctx, &gated, self.ffn_sub());
        let fed = self.layers[&Role::Down].forward(ctx, &down_in);
        let mut stream = self.normed(ctx, &fed, self.block.ffn_out.as_deref());
        ops::add(ctx.isa(), &mut stream, &between);
        Trace {
            stream,
            tokens,
            angles,
            before,
            attention_in,
            raw_query,
            raw_key,
            query,
            key,
            value,
            mixed,
            output_in,
            attended,
            between,
            ffn_in,
            gate,
            up,
            gated,
            down_in,
            fed,
        }
    }

    /// Replaces the gradient of the stream that came out by that of the stream that went in, and shows every layer to `visit`,
    /// the last first.
    ///
    /// # Panics
    /// Where the gradient is of another length than the stream.
    pub fn backward(&self, ctx: &Ctx, trace: Trace, gradient: &mut [f32], visit: &mut dyn FnMut(Seen<'_>)) {
        assert_eq!(gradient.len(), trace.stream.len(), "a gradient for every element of the stream");
        let added = self.feed_forward_back(ctx, &trace, gradient, visit);
        ops::add(ctx.isa(), gradient, &added);
        let added = self.attend_back(ctx, &trace, gradient, visit);
        ops::add(ctx.isa(), gradient, &added);
    }

    /// What the feed-forward part adds to the gradient.
    fn feed_forward_back(
        &self,
        ctx: &Ctx,
        trace: &Trace,
        gradient: &[f32],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Vec<f32> {
        let mut added = gradient.to_vec();
        self.unnormed(ctx, &trace.fed, self.block.ffn_out.as_deref(), &mut added);
        let mut gated = self.through(ctx, &[(Role::Down, &added)], &trace.down_in, visit);
        self.unnormed(ctx, &trace.gated, self.ffn_sub(), &mut gated);
        let (mut gate, mut up) = (trace.gate.clone(), trace.up.clone());
        let width = self.layers[&Role::Gate].shape.n;
        ungate(ctx, self.spec.activation, (&mut gate, &mut up), &gated, width);
        let mut into = self.through(ctx, &[(Role::Gate, &gate), (Role::Up, &up)], &trace.ffn_in, visit);
        self.unnormed(ctx, &trace.between, self.block.ffn_in.as_deref(), &mut into);
        into
    }

    /// What attention adds to the gradient.
    fn attend_back(
        &self,
        ctx: &Ctx,
        trace: &Trace,
        gradient: &[f32],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Vec<f32> {
        let (spec, block) = (&self.spec, &self.block);
        let mut added = gradient.to_vec();
        self.unnormed(ctx, &trace.attended, block.attention_out.as_deref(), &mut added);
        let mut mixed = self.through(ctx, &[(Role::Output, &added)], &trace.output_in, visit);
        self.unnormed(ctx, &trace.mixed, block.attention_sub.as_deref(), &mut mixed);
        let of = Sequence { query: &trace.query, key: &trace.key, value: &trace.value, tokens: trace.tokens };
        let [mut query, mut key, value] = self.attention().backward(ctx, of, &mixed);
        ops::scale(ctx.isa(), &mut query, spec.attention_scale);
        for (gradient, raw, gain, width) in [
            (&mut query, &trace.raw_query, block.query_norm.as_deref(), spec.query_width()),
            (&mut key, &trace.raw_key, block.key_norm.as_deref(), spec.kv_width()),
        ] {
            unturn(ctx, &self.turn(&trace.angles, gain), spec.head_dim, raw, gradient, width);
            self.unnormed(ctx, raw, gain.filter(|_| spec.qk_norm == QkNorm::Row), gradient);
        }
        let layers = [(Role::Query, &query[..]), (Role::Key, &key), (Role::Value, &value)];
        let mut into = self.through(ctx, &layers, &trace.attention_in, visit);
        self.unnormed(ctx, &trace.before, block.attention_in.as_deref(), &mut into);
        into
    }

    /// The gradient of what some layers read, from those of what they gave.
    fn through(
        &self,
        ctx: &Ctx,
        layers: &[(Role, &[f32])],
        input: &[f32],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Vec<f32> {
        let mut into = vec![0.0; input.len()];
        for (role, gradient) in layers {
            let layer = &self.layers[role];
            visit(Seen { id: layer.id, shape: layer.shape, input, gradient });
            layer.backward(ctx, gradient, &mut into);
        }
        into
    }

    fn ffn_sub(&self) -> Option<&[f32]> {
        match &self.block.ffn {
            FfnWeights::Dense(mlp) => mlp.sub.as_deref(),
            FfnWeights::Experts { .. } => None,
        }
    }

    fn attention(&self) -> Attention {
        let spec = &self.spec;
        Attention {
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            cap: spec.attention_cap,
            window: spec.blocks[self.index].window,
        }
    }

    fn angles(&self, ctx: &Ctx, tokens: usize) -> Vec<f32> {
        let Some(table) = &self.rope else { return Vec::new() };
        let width = 2 * table.pairs();
        let mut angles = vec![0.0; tokens * width];
        share_rows(ctx, &mut angles, width, |position, row, _| table.angles(position, row));
        angles
    }

    fn turn<'a>(&'a self, angles: &'a [f32], gain: Option<&'a [f32]>) -> Turn<'a> {
        Turn {
            gain: gain.filter(|_| self.spec.qk_norm == QkNorm::Head),
            eps: self.spec.norm_eps,
            pairs: self.spec.rope_pairs,
            angles: self.rope.as_ref().map(|table| (table.pairs(), angles)),
        }
    }

    /// Queries or keys as they meet, without the scale.
    fn turned(&self, ctx: &Ctx, angles: &[f32], raw: &[f32], gain: Option<&[f32]>, width: usize) -> Vec<f32> {
        let mut turned = self.normed(ctx, raw, gain.filter(|_| self.spec.qk_norm == QkNorm::Row));
        let turn = self.turn(angles, gain);
        share_rows(ctx, &mut turned, width, |m, row, scratch| {
            turn.heads(ctx, m, row, scratch.floats(self.spec.head_dim));
        });
        turned
    }

    /// Rows normed; as they are without a gain.
    fn normed(&self, ctx: &Ctx, x: &[f32], gain: Option<&[f32]>) -> Vec<f32> {
        let mut out = x.to_vec();
        if let Some(gain) = gain {
            let width = gain.len();
            share_rows(ctx, &mut out, width, |m, out, _| {
                ops::rms_norm(ctx.isa(), &x[m * width..][..width], gain, self.spec.norm_eps, out);
            });
        }
        out
    }

    /// The gradient before a norm of `x`, in place; as it is without a gain.
    fn unnormed(&self, ctx: &Ctx, x: &[f32], gain: Option<&[f32]>, gradient: &mut [f32]) {
        if let Some(gain) = gain {
            unnorm(ctx, x, gain, self.spec.norm_eps, gradient);
        }
    }
}

/// There is no gradient of a part of a model.
pub(super) fn none_of(what: String, next: &'static str) -> ModelError {
    ModelError::NoGradient { what, next }
}
