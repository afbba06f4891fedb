//! What becomes of every tensor of a checkpoint.

use crate::{Formats, QuantError, Recipe};
use lowbit_engine::{EngineError, model_spec, naming};
use lowbit_format::{GroupShape, GroupedSpec, NK, WeightSpec};
use lowbit_io::{Checkpoint, Encoding, TensorInfo};
use lowbit_model::{Ffn, LinearId, ModelSpec, Names, Role, WeightCoding, in_block};
use std::{collections::HashMap, ops::Range, path::Path};

/// One tensor of the source, and what becomes of it: `None` where it stays as it is stored.
pub(crate) struct Planned<'a> {
    pub(crate) info: &'a TensorInfo,
    pub(crate) to: Option<(Role, WeightSpec)>,
    /// The block it belongs to, of matrices that are rounded.
    pub(crate) block: Option<usize>,
}

/// All of them.
pub(crate) struct Plan<'a> {
    pub(crate) tensors: Vec<Planned<'a>>,
    by_name: HashMap<&'a str, usize>,
    /// The layers of every block.
    pub(crate) blocks: Vec<Vec<BlockLayer>>,
}

/// A linear layer of a block: rows of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockLayer {
    pub(crate) id: LinearId,
    pub(crate) tensor: String,
    pub(crate) rows: Range<usize>,
}

impl<'a> Plan<'a> {
    pub(crate) fn get(&self, tensor: &str) -> Option<&Planned<'a>> {
        self.by_name.get(tensor).map(|i| &self.tensors[*i])
    }
}

/// Decides what every tensor becomes, and refuses what cannot be.
pub(crate) fn plan<'a>(
    checkpoint: &'a Checkpoint,
    names: &Names,
    model: &ModelSpec,
    recipe: &Recipe,
    formats: &Formats,
) -> Result<Plan<'a>, QuantError> {
    let blocks: Vec<_> = (0..model.blocks.len()).map(|block| layers(names, model, block)).collect();
    let of_block: HashMap<&str, usize> = blocks
        .iter()
        .enumerate()
        .flat_map(|(block, layers)| layers.iter().map(move |layer| (layer.tensor.as_str(), block)))
        .collect();
    let mut tensors = Vec::new();
    for info in checkpoint.tensors() {
        // Rotation frequencies and the like are no matrices, whatever they are called.
        let role = names.role(&info.name).filter(|_| info.dims.len() > 1);
        let to = role.and_then(|role| Some((role, formats.of(&info.name, role)?.clone())));
        if let Some((_, spec)) = &to {
            check(info, spec, recipe)?;
            if !checkpoint.input_ops(&info.name)?.is_empty() {
                return Err(QuantError::ChangedInput { tensor: info.name.clone() });
            }
        }
        let block = of_block.get(info.name.as_str()).copied().filter(|_| to.is_some());
        tensors.push(Planned { info, to, block });
    }
    let matrices = || checkpoint.tensors().iter().filter(|info| names.role(&info.name).is_some());
    if let Some((pattern, _)) =
        formats.tensors.iter().find(|(pattern, _)| !matrices().any(|info| pattern.matches(&info.name)))
    {
        return Err(QuantError::UnusedPattern { pattern: pattern.0.clone() });
    }
    let has = |role: Role| matrices().any(|info| names.role(&info.name) == Some(role));
    if let Some((role, _)) = formats.roles.iter().find(|(role, _)| !has(*role)) {
        return Err(QuantError::UnusedRole { role: role.name() });
    }
    let by_name = checkpoint.tensors().iter().enumerate().map(|(i, info)| (info.name.as_str(), i)).collect();
    Ok(Plan { tensors, by_name, blocks })
}

/// The layers of a block by the tensors that hold them; those that share a tensor and inputs are one.
fn layers(names: &Names, model: &ModelSpec, block: usize) -> Vec<BlockLayer> {
    let (hidden, wide, narrow) = (model.hidden, model.query_width(), model.kv_width());
    let mut layers = Vec::new();
    let mut push = |role: Role, expert: Option<usize>, pattern: Option<&str>, rows: Range<usize>| {
        let id = LinearId { block: block as u16, role, expert: expert.map(|expert| expert as u16) };
        let name = pattern.map_or_else(|| names.linear(id), |pattern| in_block(pattern, block));
        layers.push(BlockLayer { id, tensor: format!("{name}.weight"), rows });
    };
    match names.qkv {
        None => {
            push(Role::Query, None, None, 0..wide);
            push(Role::Key, None, None, 0..narrow);
            push(Role::Value, None, None, 0..narrow);
        }
        fused => {
            push(Role::Query, None, fused, 0..wide);
            push(Role::Key, None, fused, wide..wide + narrow);
            push(Role::Value, None, fused, wide + narrow..wide + 2 * narrow);
        }
    }
    push(Role::Output, None, None, 0..hidden);
    match model.blocks[block].ffn {
        Ffn::Dense { inner } => {
            match names.gate_up {
                None => {
                    push(Role::Gate, None, None, 0..inner);
                    push(Role::Up, None, None, 0..inner);
                }
                fused => {
                    push(Role::Gate, None, fused, 0..inner);
                    push(Role::Up, None, fused, inner..2 * inner);
                }
            }
            push(Role::Down, None, None, 0..hidden);
        }
        Ffn::Experts { count, inner, .. } => {
            for (role, n) in [(Role::Gate, inner), (Role::Up, inner), (Role::Down, hidden)] {
                let id = |expert| LinearId { block: block as u16, role, expert: Some(expert) };
                let stacked = names.linear(id(0)) == names.linear(id(1));
                for expert in 0..count {
                    let start = if stacked { expert * n } else { 0 };
                    push(role, Some(expert), None, start..start + n);
                }
            }
        }
    }
    layers
}

fn check(info: &TensorInfo, spec: &WeightSpec, recipe: &Recipe) -> Result<(), QuantError> {
    let refused = |why| QuantError::Refused {
        tensor: info.name.clone(),
        method: recipe.card.name,
        format: spec.label(),
        why,
    };
    if matches!(info.encoding, Encoding::Other { .. }) {
        return Err(refused("its elements are no weights by themselves"));
    }
    match spec {
        WeightSpec::Float(_) => Ok(()),
        WeightSpec::Sum(_) => {
            Err(refused("what is added is for a method to find; give the format of the codes alone"))
        }
        WeightSpec::Block(format) => {
            recipe.accepts_blocks(*format).map_err(refused)?;
            whole_groups(info, format.layout().weights)
        }
        WeightSpec::Grouped(grouped) => {
            check_groups(info, grouped)?;
            recipe.accepts(grouped).map_err(refused)
        }
    }
}

fn check_groups(info: &TensorInfo, spec: &GroupedSpec) -> Result<(), QuantError> {
    spec.levels().iter().try_for_each(|level| match level.shape {
        GroupShape::Group(size) => whole_groups(info, size as usize),
        _ => Ok(()),
    })
}

/// # Errors
/// Where rows are no whole number of groups, or of blocks, of so many weights.
fn whole_groups(info: &TensorInfo, group: usize) -> Result<(), QuantError> {
    let shape: NK = info.matrix();
    if shape.k.is_multiple_of(group) {
        return Ok(());
    }
    Err(QuantError::RowNotGroups { tensor: info.name.clone(), shape, group })
}

/// A container cannot hold what a llama2.c file is read with.
pub(crate) fn no_place_for_llama2c(path: &Path) -> QuantError {
    let why = "a container has no place for a llama2.c vocabulary; convert the model to GGUF first";
    QuantError::Unsupported { path: path.display().to_string(), why }
}

/// What the source is and how its tensors are named. Sources that a container cannot hold are refused.
pub(crate) fn model(checkpoint: &Checkpoint, path: &Path) -> Result<(ModelSpec, &'static Names), QuantError> {
    let unsupported = |why| QuantError::Unsupported { path: path.display().to_string(), why };
    if matches!(checkpoint, Checkpoint::Llama2c(_)) {
        return Err(no_place_for_llama2c(path));
    }
    let wrong = |source| EngineError::Model { path: path.to_owned(), source };
    let spec = model_spec(checkpoint).map_err(wrong)?;
    if spec.coding != WeightCoding::Plain {
        let why = "its weights are ternary by training, or rounded for 8-bit activations, and cannot be rounded again";
        return Err(unsupported(why));
    }
    let architecture = lowbit_model::ARCHITECTURES.iter().find(|a| a.name == spec.architecture);
    let architecture = architecture.expect("specs are made by the architectures of the list");
    Ok((spec, architecture.names(naming(checkpoint))))
}
