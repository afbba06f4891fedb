//! Tensors of a checkpoint put in their places, with every shape checked against the spec.

use crate::{
    ModelError, ModelSpec, Names, Naming,
    arch::Architecture,
    input::{InputOps, Seen},
    linear::{LinearOp, Stored},
    names::in_block,
    spec::{ExpertWeights, Ffn, Head, LinearId, Presence, QkNorm, Role, WeightCoding},
    ternary,
};
use lowbit_format::{NK, OnlineOp, QuantTensor, Storage};
use lowbit_kernels::{ActPrecision, ActRounding};

/// An error of whoever provides tensors or metadata.
pub type WeightError = Box<dyn std::error::Error + Send + Sync>;

/// Where tensors come from: a checkpoint, seen by name.
pub trait Weights {
    /// Which naming scheme it follows.
    fn scheme(&self) -> Naming;
    /// Whether there is a tensor of that name.
    fn has(&self, name: &str) -> bool;
    /// A matrix as it is stored. One with more than two dimensions counts as rows of the last.
    ///
    /// # Errors
    /// Where it is absent, or its elements are no weights by themselves.
    fn matrix(&self, name: &str) -> Result<QuantTensor, WeightError>;
    /// What is done to the input of a layer before it meets this weight, the first operation first; nothing unless the
    /// checkpoint says so.
    ///
    /// # Errors
    /// Where it says so and they are none.
    fn input_ops(&self, name: &str) -> Result<Vec<OnlineOp>, WeightError> {
        let _ = name;
        Ok(Vec::new())
    }
    /// A small tensor decoded to f32.
    ///
    /// # Errors
    /// As [`Self::matrix`].
    fn vector(&self, name: &str) -> Result<Vec<f32>, WeightError>;
    /// A matrix of bytes without a meaning of their own.
    ///
    /// # Errors
    /// Where it is absent, or not a matrix of bytes.
    fn packed(&self, name: &str) -> Result<PackedBytes, WeightError>;
}

/// A matrix of bytes.
#[derive(Clone, Debug)]
pub struct PackedBytes {
    /// Number of rows.
    pub rows: usize,
    /// Bytes in a row.
    pub cols: usize,
    /// The bytes, row after row.
    pub bytes: Storage,
}

/// A layer of some kind.
pub(crate) type Linear = Box<dyn LinearOp>;
/// What turns a stored layer into the one that the decoder holds.
pub(crate) type Wrap<'a> = &'a dyn Fn(LinearId, Stored) -> Linear;

pub(crate) struct Block {
    pub(crate) attention_in: Option<Vec<f32>>,
    pub(crate) attention_out: Option<Vec<f32>>,
    pub(crate) attention_sub: Option<Vec<f32>>,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) output: Linear,
    pub(crate) query_norm: Option<Vec<f32>>,
    pub(crate) key_norm: Option<Vec<f32>>,
    pub(crate) ffn_in: Option<Vec<f32>>,
    pub(crate) ffn_out: Option<Vec<f32>>,
    pub(crate) ffn: FfnWeights,
}

pub(crate) enum FfnWeights {
    Dense(Mlp),
    Experts { router: Linear, experts: Vec<Mlp>, used: usize, weights: ExpertWeights },
}

pub(crate) struct Mlp {
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) sub: Option<Vec<f32>>,
}

pub(crate) struct Parts {
    pub(crate) embed: QuantTensor,
    pub(crate) blocks: Vec<Block>,
    pub(crate) final_norm: Vec<f32>,
    pub(crate) head: Linear,
    /// Whether the head is the token embeddings.
    pub(crate) tied: bool,
    pub(crate) rope_divisors: RopeDivisors,
}

/// Reads all parts and fills in what the spec leaves to the checkpoint's tensors.
pub(crate) fn parts(
    spec: &mut ModelSpec,
    weights: &dyn Weights,
    precision: ActPrecision,
    wrap: Wrap<'_>,
) -> Result<Parts, ModelError> {
    let architecture = Architecture::named(spec.architecture)?;
    let names = architecture.names(weights.scheme());
    let rope_divisors = ropes(spec, weights, names)?;
    let loader = Loader { spec, weights, names, precision, wrap, seen: Seen::default() };
    let embed = loader.matrix(&weight(names.embed), NK { n: spec.vocab, k: spec.hidden })?;
    let (head, input, tied) = loader.head(&embed)?;
    let head = Stored::new(head, None, precision).with_input(input);
    Ok(Parts {
        embed,
        blocks: (0..spec.blocks.len()).map(|i| loader.block(i)).collect::<Result<_, _>>()?,
        final_norm: loader.gain(&weight(names.final_norm), spec.hidden)?,
        head: wrap(LinearId { block: 0, role: Role::Head, expert: None }, head),
        tied,
        rope_divisors,
    })
}

/// What comes after the blocks.
pub(crate) struct LastParts {
    pub(crate) norm: Vec<f32>,
    pub(crate) head: QuantTensor,
    /// What is done to what the head reads.
    pub(crate) input: Option<InputOps>,
}

/// Reads what comes after the blocks.
pub(crate) fn last_parts(spec: &ModelSpec, weights: &dyn Weights) -> Result<LastParts, ModelError> {
    let names = Architecture::named(spec.architecture)?.names(weights.scheme());
    let (precision, wrap): (_, Wrap<'_>) = (ActPrecision::Float, &|_, stored| Box::new(stored));
    let loader = Loader { spec, weights, names, precision, wrap, seen: Seen::default() };
    let embed = loader.matrix(&weight(names.embed), NK { n: spec.vocab, k: spec.hidden })?;
    let (head, input, _) = loader.head(&embed)?;
    Ok(LastParts { norm: loader.gain(&weight(names.final_norm), spec.hidden)?, head, input })
}

/// What each of a spec's ropes is divided by, where the checkpoint has it.
pub(crate) type RopeDivisors = Vec<Option<Vec<f32>>>;

/// Reads one block, and what each of the spec's ropes is divided by.
pub(crate) fn one_block(
    spec: &mut ModelSpec,
    index: usize,
    weights: &dyn Weights,
    precision: ActPrecision,
    wrap: Wrap<'_>,
) -> Result<(Block, RopeDivisors), ModelError> {
    let names = Architecture::named(spec.architecture)?.names(weights.scheme());
    let rope_divisors = ropes(spec, weights, names)?;
    let block = Loader { spec, weights, names, precision, wrap, seen: Seen::default() }.block(index)?;
    Ok((block, rope_divisors))
}

/// Reads the divisors that GGUF files keep as tensors.
pub(crate) fn ropes(
    spec: &mut ModelSpec,
    weights: &dyn Weights,
    names: &Names,
) -> Result<RopeDivisors, ModelError> {
    use crate::rope::RopeScaling::LongRope;
    let read = |name: &str, len: usize| {
        let name = weight(name);
        let divisors = vector(weights, &name, len)?;
        match divisors.iter().find(|d| !(1e-3..=1e6).contains(*d)) {
            None => Ok(divisors),
            Some(d) => Err(ModelError::TensorValue {
                tensor: name,
                found: d.to_string(),
                expected: "divisors from 0.001 to 1000000".into(),
            }),
        }
    };
    let mut divisors = vec![None; spec.ropes.len()];
    for (rope, divisors) in spec.ropes.iter_mut().zip(&mut divisors) {
        let pairs = rope.dims / 2;
        match (&mut rope.scaling, names.rope_short, names.rope_long, names.rope_divisors) {
            (LongRope { short, long, .. }, Some(short_name), Some(long_name), _) if short.is_empty() => {
                *short = read(short_name, pairs)?;
                *long = read(long_name, pairs)?;
            }
            (LongRope { .. }, ..) => {}
            (_, _, _, Some(name)) if weights.has(&weight(name)) => *divisors = Some(read(name, pairs)?),
            _ => {}
        }
    }
    Ok(divisors)
}

struct Loader<'a> {
    spec: &'a ModelSpec,
    weights: &'a dyn Weights,
    names: &'a Names,
    precision: ActPrecision,
    wrap: Wrap<'a>,
    seen: Seen,
}

impl Loader<'_> {
    /// The head, what is done to its input, and whether it is the token embeddings.
    fn head(&self, embed: &QuantTensor) -> Result<(QuantTensor, Option<InputOps>, bool), ModelError> {
        let (spec, weights, names) = (self.spec, self.weights, self.names);
        let own = weight(names.head);
        let tied = match spec.head {
            Head::Tied => true,
            Head::Own => false,
            Head::OwnIfStored => !weights.has(&own),
        };
        let embedding = weight(names.embed);
        if !weights.input_ops(&embedding).map_err(|e| unusable(&embedding, e))?.is_empty() {
            return Err(ModelError::TensorValue {
                tensor: embedding,
                found: "operations on its input".into(),
                expected: "an embedding, which is looked up and not multiplied".into(),
            });
        }
        match tied {
            true => Ok((embed.clone(), None, tied)),
            false => Ok((self.matrix(&own, embed.shape())?, self.input(&own, spec.hidden)?, tied)),
        }
    }

    fn block(&self, block: usize) -> Result<Block, ModelError> {
        let (spec, names) = (self.spec, self.names);
        let (hidden, wide, kv) = (spec.hidden, spec.query_width(), spec.kv_width());
        let norm = |wanted: bool, name: &str, len: usize| {
            wanted.then(|| self.gain(&weight(&in_block(name, block)), len)).transpose()
        };
        let [query, key, value] = self.fused_or(
            names.qkv,
            block,
            [(Role::Query, wide), (Role::Key, kv), (Role::Value, kv)],
            hidden,
            spec.biases.qkv,
        )?;
        let (query_len, key_len) = match spec.qk_norm {
            QkNorm::Row => (wide, kv),
            QkNorm::None | QkNorm::Head => (spec.head_dim, spec.head_dim),
        };
        let qk = spec.qk_norm != QkNorm::None;
        Ok(Block {
            attention_in: norm(spec.norms.attention_in, names.attention_in, hidden)?,
            attention_out: norm(spec.norms.attention_out, names.attention_out, hidden)?,
            attention_sub: norm(spec.norms.attention_sub, names.attention_sub, wide)?,
            query,
            key,
            value,
            output: self.linear(
                id(block, Role::Output, None),
                NK { n: hidden, k: wide },
                spec.biases.output,
            )?,
            query_norm: norm(qk, names.query_norm, query_len)?,
            key_norm: norm(qk, names.key_norm, key_len)?,
            ffn_in: norm(spec.norms.ffn_in, names.ffn_in, hidden)?,
            ffn_out: norm(spec.norms.ffn_out, names.ffn_out, hidden)?,
            ffn: self.ffn(block)?,
        })
    }

    fn ffn(&self, block: usize) -> Result<FfnWeights, ModelError> {
        let (spec, names) = (self.spec, self.names);
        match spec.blocks[block].ffn {
            Ffn::Dense { inner } => {
                let [gate, up] = self.fused_or(
                    names.gate_up,
                    block,
                    [(Role::Gate, inner), (Role::Up, inner)],
                    spec.hidden,
                    spec.biases.ffn,
                )?;
                let down = id(block, Role::Down, None);
                let sub = weight(&in_block(names.ffn_sub, block));
                Ok(FfnWeights::Dense(Mlp {
                    gate,
                    up,
                    down: self.linear(down, NK { n: spec.hidden, k: inner }, spec.biases.ffn)?,
                    sub: spec.norms.ffn_sub.then(|| self.gain(&sub, inner)).transpose()?,
                }))
            }
            Ffn::Experts { count, used, inner, weights } => {
                let router = id(block, Role::Router, None);
                let shape = NK { n: count, k: spec.hidden };
                let tensor = self.matrix(&weight(&names.linear(router)), shape)?;
                let input =
                    self.input(&weight(&self.names.linear(id(block, Role::Router, None))), spec.hidden)?;
                let stored = Stored::new(tensor, None, ActPrecision::Float).with_input(input);
                let router = (self.wrap)(router, stored);
                let into = NK { n: inner, k: spec.hidden };
                let back = NK { n: spec.hidden, k: inner };
                let gates = self.experts(block, Role::Gate, count, into)?;
                let ups = self.experts(block, Role::Up, count, into)?;
                let downs = self.experts(block, Role::Down, count, back)?;
                let experts = gates.into_iter().zip(ups).zip(downs);
                let experts = experts.map(|((gate, up), down)| Mlp { gate, up, down, sub: None }).collect();
                Ok(FfnWeights::Experts { router, experts, used, weights })
            }
        }
    }

    /// One layer of every expert: a tensor each, or one tensor with all of them.
    fn experts(&self, block: usize, role: Role, count: usize, shape: NK) -> Result<Vec<Linear>, ModelError> {
        let first = id(block, role, Some(0));
        let stacked = self.names.linear(first);
        if stacked != self.names.linear(id(block, role, Some(1))) {
            let each = |expert| self.linear(id(block, role, Some(expert)), shape, Presence::Never);
            return (0..count).map(each).collect();
        }
        // Both factors are capped by the configuration's reader.
        let all = self.matrix(&weight(&stacked), NK { n: count * shape.n, k: shape.k })?;
        let input = self.input(&weight(&stacked), shape.k)?;
        let each = |expert: usize| {
            let tensor = all.rows(expert * shape.n..(expert + 1) * shape.n);
            let stored = Stored::new(tensor, None, self.precision).with_input(input.clone());
            (self.wrap)(id(block, role, Some(expert)), stored)
        };
        Ok((0..count).map(each).collect())
    }

    /// Layers that share an input: a tensor each, or the rows of one tensor where the architecture fuses them.
    fn fused_or<const L: usize>(
        &self,
        fused: Option<&str>,
        block: usize,
        layers: [(Role, usize); L],
        k: usize,
        biases: Presence,
    ) -> Result<[Linear; L], ModelError> {
        let mut out = Vec::with_capacity(L);
        match fused {
            None => {
                for (role, n) in layers {
                    out.push(self.linear(id(block, role, None), NK { n, k }, biases)?);
                }
            }
            Some(pattern) => {
                let name = in_block(pattern, block);
                let n = layers.iter().map(|(_, n)| n).sum();
                let (all, precision) = self.coded(&name, NK { n, k })?;
                let input = self.input(&weight(&name), k)?;
                let bias = self.bias(&name, n, biases)?;
                let mut start = 0;
                for (role, n) in layers {
                    let rows = start..start + n;
                    let bias = bias.as_ref().map(|bias| bias[rows.clone()].to_vec());
                    let stored = Stored::new(all.rows(rows), bias, precision).with_input(input.clone());
                    out.push((self.wrap)(id(block, role, None), stored));
                    start += n;
                }
            }
        }
        Ok(out.try_into().unwrap_or_else(|_| unreachable!("one layer was pushed for each asked for")))
    }

    fn linear(&self, id: LinearId, shape: NK, bias: Presence) -> Result<Linear, ModelError> {
        let name = self.names.linear(id);
        let (tensor, precision) = self.coded(&name, shape)?;
        let stored = Stored::new(tensor, self.bias(&name, shape.n, bias)?, precision);
        Ok((self.wrap)(id, stored.with_input(self.input(&weight(&name), shape.k)?)))
    }

    /// What is done to the input of a layer of `k` columns.
    fn input(&self, name: &str, k: usize) -> Result<Option<InputOps>, ModelError> {
        let ops = self.weights.input_ops(name).map_err(|e| unusable(name, e))?;
        ops.iter().try_for_each(|op| op.check(k)).map_err(|e| unusable(name, e.into()))?;
        Ok(self.seen.shared(ops))
    }

    /// A block's weight by the spec's coding, and what its activations are rounded to.
    fn coded(&self, name: &str, shape: NK) -> Result<(QuantTensor, ActPrecision), ModelError> {
        let token = ActPrecision::Int8(ActRounding::Token);
        let name = weight(name);
        match self.spec.coding {
            WeightCoding::Plain => Ok((self.matrix(&name, shape)?, self.precision)),
            WeightCoding::TokenInt8 => Ok((self.matrix(&name, shape)?, token)),
            WeightCoding::TokenInt4 => {
                Ok((self.matrix(&name, shape)?, ActPrecision::Int8(ActRounding::Token4)))
            }
            WeightCoding::TokenInt8Outliers => {
                Ok((self.matrix(&name, shape)?, ActPrecision::Int8(ActRounding::TokenOutliers)))
            }
            WeightCoding::TernaryMaster => {
                Ok((ternary::from_master(&name, &self.matrix(&name, shape)?)?, token))
            }
            WeightCoding::TernaryPacked(scale) => {
                let packed = self.present(&name, |weights, name| weights.packed(name))?;
                let factor = format!("{name}_scale");
                let stored = vector(self.weights, &factor, 1)?[0];
                if !stored.is_normal() || stored < 0.0 {
                    return Err(ModelError::TensorValue {
                        tensor: factor,
                        found: stored.to_string(),
                        expected: "a positive scale".into(),
                    });
                }
                Ok((ternary::from_packed(&name, &packed, shape, stored, scale)?, token))
            }
        }
    }

    fn matrix(&self, name: &str, expected: NK) -> Result<QuantTensor, ModelError> {
        let tensor = self.present(name, |weights, name| weights.matrix(name))?;
        let found = tensor.shape();
        if found == expected {
            Ok(tensor)
        } else {
            Err(ModelError::MatrixShape { tensor: name.to_owned(), found, expected })
        }
    }

    /// A norm's gain, the spec's offset added.
    fn gain(&self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        let mut gain = vector(self.weights, name, len)?;
        gain.iter_mut().for_each(|gain| *gain += self.spec.gain_offset);
        Ok(gain)
    }

    fn bias(&self, name: &str, len: usize, presence: Presence) -> Result<Option<Vec<f32>>, ModelError> {
        let name = format!("{name}.bias");
        match (presence, self.weights.has(&name)) {
            (Presence::Always, _) | (Presence::IfStored, true) => vector(self.weights, &name, len).map(Some),
            // Some quantizers store a bias for every layer, of zeros where the model has none.
            (Presence::Never, true) => match vector(self.weights, &name, len)?.iter().all(|b| *b == 0.0) {
                true => Ok(None),
                false => Err(ModelError::UnexpectedTensor { tensor: name }),
            },
            (Presence::Never | Presence::IfStored, false) => Ok(None),
        }
    }

    fn present<T>(
        &self,
        name: &str,
        read: impl Fn(&dyn Weights, &str) -> Result<T, WeightError>,
    ) -> Result<T, ModelError> {
        present(self.weights, name, read)
    }
}

fn id(block: usize, role: Role, expert: Option<usize>) -> LinearId {
    // Both are capped at 1024 by the configuration's reader.
    LinearId { block: block as u16, role, expert: expert.map(|expert| expert as u16) }
}

fn weight(name: &str) -> String {
    format!("{name}.weight")
}

fn vector(weights: &dyn Weights, name: &str, expected: usize) -> Result<Vec<f32>, ModelError> {
    let values = present(weights, name, |weights, name| weights.vector(name))?;
    if values.len() == expected {
        Ok(values)
    } else {
        Err(ModelError::VectorLength { tensor: name.to_owned(), found: values.len(), expected })
    }
}

fn present<T>(
    weights: &dyn Weights,
    name: &str,
    read: impl Fn(&dyn Weights, &str) -> Result<T, WeightError>,
) -> Result<T, ModelError> {
    if !weights.has(name) {
        return Err(ModelError::MissingTensor { tensor: name.to_owned() });
    }
    read(weights, name).map_err(|source| unusable(name, source))
}

fn unusable(name: &str, source: WeightError) -> ModelError {
    ModelError::Tensor { tensor: name.to_owned(), source }
}
