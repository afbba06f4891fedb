//! Other formats for the layers of a model: what it would weigh if it were quantized otherwise.

use crate::SimError;
use lowbit_format::{NK, WeightSpec};
use lowbit_model::{Ffn, Head, LinearId, LinearLayer, Linears, ModelSpec, Role};

/// Formats that layers get; those of the checkpoint where `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Formats {
    /// Of the layers of blocks, routers apart.
    pub blocks: Option<WeightSpec>,
    /// Of the head and of the token embeddings.
    pub head: Option<WeightSpec>,
}

impl Formats {
    /// Puts the formats in place of those that layers have.
    ///
    /// # Errors
    /// Where a row is no whole number of a format's blocks.
    pub fn apply(&self, linears: &mut Linears) -> Result<(), SimError> {
        if let Some(head) = &self.head {
            linears.embedding = head.clone();
        }
        for layer in &mut linears.layers {
            let format = match layer.id.role {
                Role::Router => &None,
                Role::Head | Role::Embed => &self.head,
                _ => &self.blocks,
            };
            if let Some(format) = format {
                layer.bytes = bytes_of(layer.id.role, format, layer.shape)?;
                layer.format = format.clone();
            }
        }
        Ok(())
    }
}

/// The layers of a model of which only the shape is known, all in one format.
///
/// # Errors
/// Where a row is no whole number of the format's blocks.
pub fn of_shape(spec: &ModelSpec, format: &WeightSpec) -> Result<Linears, SimError> {
    let (hidden, wide, narrow) = (spec.hidden, spec.query_width(), spec.kv_width());
    let mut layers = Vec::new();
    let mut push = |block: usize, role: Role, expert: Option<u16>, n: usize, k: usize| {
        let (shape, id) = (NK { n, k }, LinearId { block: block as u16, role, expert });
        let bytes = bytes_of(role, format, shape)?;
        layers.push(LinearLayer { id, format: format.clone(), shape, bytes });
        Ok(())
    };
    for (b, block) in spec.blocks.iter().enumerate() {
        push(b, Role::Query, None, wide, hidden)?;
        push(b, Role::Key, None, narrow, hidden)?;
        push(b, Role::Value, None, narrow, hidden)?;
        push(b, Role::Output, None, hidden, wide)?;
        let (experts, inner) = match block.ffn {
            Ffn::Dense { inner } => (vec![None], inner),
            Ffn::Experts { count, inner, .. } => {
                push(b, Role::Router, None, count, hidden)?;
                ((0..count).map(|expert| Some(expert as u16)).collect(), inner)
            }
        };
        for expert in experts {
            push(b, Role::Gate, expert, inner, hidden)?;
            push(b, Role::Up, expert, inner, hidden)?;
            push(b, Role::Down, expert, hidden, inner)?;
        }
    }
    push(0, Role::Head, None, spec.vocab, hidden)?;
    let tied = spec.head == Head::Tied;
    Ok(Linears { spec: spec.clone(), layers, embedding: format.clone(), tied })
}

/// Bytes of all matrices, token embeddings among them, norms and biases apart.
pub fn matrix_bytes(linears: &Linears) -> usize {
    let (spec, layers) = (&linears.spec, linears.layers.iter().map(|layer| layer.bytes).sum::<usize>());
    let shape = NK { n: spec.vocab, k: spec.hidden };
    layers + if linears.tied { 0 } else { stored_bytes(&linears.embedding, shape).unwrap_or(0) }
}

/// Bytes of a matrix in a format: codes, scales and zero points. `None` where a row is no whole number of its blocks.
pub fn stored_bytes(format: &WeightSpec, shape: NK) -> Option<usize> {
    format.stored_bytes(shape).ok()
}

fn bytes_of(role: Role, format: &WeightSpec, shape: NK) -> Result<usize, SimError> {
    stored_bytes(format, shape).ok_or_else(|| SimError::RowNotBlocks {
        layer: role.name(),
        shape,
        format: format.label(),
        block: match format {
            WeightSpec::Block(format) => format.layout().weights,
            _ => 1,
        },
    })
}
