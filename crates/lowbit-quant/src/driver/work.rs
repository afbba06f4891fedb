//! One block while it is worked on: its weights as they are now.

use super::plan::{BlockLayer, Plan};
use crate::{
    QuantError,
    solve::{SolveError, decode},
};
use lowbit_engine::Tensors;
use lowbit_format::{FloatFormat, NK, OnlineOp, QuantTensor, Storage, WeightSpec};
use lowbit_io::Checkpoint;
use lowbit_model::{ModelSpec, Names, Naming, PackedBytes, Role, WeightError, Weights, in_block};
use std::collections::BTreeMap;

/// The weights of a block: the source's, but for what was changed.
pub(crate) struct Work<'a> {
    pub(crate) model: &'a ModelSpec,
    pub(crate) names: &'a Names,
    pub(crate) index: usize,
    source: &'a Checkpoint,
    plan: &'a Plan<'a>,
    matrices: BTreeMap<String, QuantTensor>,
    vectors: BTreeMap<String, Vec<f32>>,
    inputs: BTreeMap<String, Vec<OnlineOp>>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        source: &'a Checkpoint,
        (model, names): (&'a ModelSpec, &'a Names),
        plan: &'a Plan<'a>,
        index: usize,
    ) -> Self {
        let (matrices, vectors, inputs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { model, names, index, source, plan, matrices, vectors, inputs }
    }

    pub(crate) fn layers(&self) -> &'a [BlockLayer] {
        &self.plan.blocks[self.index]
    }

    pub(crate) fn layers_of(&self, role: Role) -> impl Iterator<Item = &'a BlockLayer> + use<'a> {
        self.layers().iter().filter(move |layer| layer.id.role == role)
    }

    /// What a matrix will be rounded to, `None` where it stays as it is stored.
    pub(crate) fn spec_of(&self, tensor: &str) -> Option<&'a WeightSpec> {
        self.plan.get(tensor)?.to.as_ref().map(|(_, spec)| spec)
    }

    pub(crate) fn weight(&self, tensor: &str) -> Result<QuantTensor, QuantError> {
        match self.matrices.get(tensor) {
            Some(edited) => Ok(edited.clone()),
            None => Ok(self.source.tensor(tensor)?),
        }
    }

    /// The weights of a matrix as floats, all of them finite.
    pub(crate) fn decoded(&self, tensor: &str) -> Result<(Vec<f32>, NK), QuantError> {
        let weight = self.weight(tensor)?;
        let wrong = |error| QuantError::Solve { tensor: tensor.to_owned(), error: SolveError::Format(error) };
        decode(&weight, 0..weight.shape().n).map_err(wrong)
    }

    pub(crate) fn set(&mut self, tensor: &str, weight: QuantTensor) {
        self.matrices.insert(tensor.to_owned(), weight);
    }

    /// What is done to the input of the layers of a tensor.
    pub(crate) fn input(&self, tensor: &str) -> &[OnlineOp] {
        self.inputs.get(tensor).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn set_input(&mut self, tensor: &str, ops: Vec<OnlineOp>) {
        if !ops.is_empty() {
            self.inputs.insert(tensor.to_owned(), ops);
        }
    }

    /// Changes all rows of a matrix.
    pub(crate) fn edit(&mut self, tensor: &str, mut edit: impl FnMut(&mut [f32])) -> Result<(), QuantError> {
        self.edit_matrix(tensor, |_, row| edit(row))
    }

    fn edit_matrix(
        &mut self,
        tensor: &str,
        mut edit: impl FnMut(usize, &mut [f32]),
    ) -> Result<(), QuantError> {
        let (mut weights, shape) = self.decoded(tensor)?;
        weights.chunks_exact_mut(shape.k).enumerate().for_each(|(n, row)| edit(n, row));
        let bytes = Storage::from(FloatFormat::F32.encode(&weights));
        let edited = QuantTensor::from_floats(FloatFormat::F32, shape, bytes)?;
        self.matrices.insert(tensor.to_owned(), edited);
        Ok(())
    }

    /// Vectors that were changed.
    pub(crate) fn vectors(&self) -> &BTreeMap<String, Vec<f32>> {
        &self.vectors
    }

    /// Puts back a vector that was changed before.
    pub(crate) fn set_vector(&mut self, name: &str, vector: Vec<f32>) {
        self.vectors.insert(name.to_owned(), vector);
    }

    /// Changes the rows of all layers of a role, by their number in the layer.
    pub(crate) fn edit_rows(
        &mut self,
        role: Role,
        mut edit: impl FnMut(usize, &mut [f32]),
    ) -> Result<(), QuantError> {
        for layer in self.layers_of(role) {
            self.edit_matrix(&layer.tensor, |n, row| {
                if layer.rows.contains(&n) {
                    edit(n - layer.rows.start, row);
                }
            })?;
        }
        Ok(())
    }

    /// Changes what makes the outputs of all layers of a role: every weight of their rows, and their biases.
    pub(crate) fn edit_outputs(
        &mut self,
        role: Role,
        edit: impl Fn(usize, &mut f32),
    ) -> Result<(), QuantError> {
        self.edit_rows(role, |n, row| row.iter_mut().for_each(|w| edit(n, w)))?;
        for layer in self.layers_of(role) {
            let name = bias_name(layer);
            if self.has(&name) {
                let rows = layer.rows.clone();
                self.edit_vector(&name, |bias| {
                    bias[rows].iter_mut().enumerate().for_each(|(n, b)| edit(n, b));
                })?;
            }
        }
        Ok(())
    }

    /// The bias of a layer, where it has one.
    pub(crate) fn bias(&self, layer: &BlockLayer) -> Result<Option<Vec<f32>>, QuantError> {
        let name = bias_name(layer);
        let bias = match self.vectors.get(&name) {
            Some(edited) => Some(edited[layer.rows.clone()].to_vec()),
            None if self.has(&name) => Some(self.source.vector(&name)?[layer.rows.clone()].to_vec()),
            None => None,
        };
        Ok(bias)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.source.info(name).is_some()
    }

    /// Name of a vector of this block.
    pub(crate) fn vector_name(&self, pattern: &str, ending: &str) -> String {
        format!("{}.{ending}", in_block(pattern, self.index))
    }

    pub(crate) fn edit_vector(
        &mut self,
        name: &str,
        edit: impl FnOnce(&mut [f32]),
    ) -> Result<(), QuantError> {
        let mut vector = match self.vectors.remove(name) {
            Some(vector) => vector,
            None => self.source.vector(name)?,
        };
        edit(&mut vector);
        self.vectors.insert(name.to_owned(), vector);
        Ok(())
    }
}

fn bias_name(layer: &BlockLayer) -> String {
    format!("{}.bias", layer.tensor.trim_end_matches(".weight"))
}

impl Weights for Work<'_> {
    fn scheme(&self) -> Naming {
        Tensors(self.source).scheme()
    }

    fn has(&self, name: &str) -> bool {
        Work::has(self, name)
    }

    fn matrix(&self, name: &str) -> Result<QuantTensor, WeightError> {
        Ok(self.weight(name)?)
    }

    fn input_ops(&self, name: &str) -> Result<Vec<OnlineOp>, WeightError> {
        // Sources with operations of their own were refused.
        Ok(self.input(name).to_vec())
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        match self.vectors.get(name) {
            Some(edited) => Ok(edited.clone()),
            None => Tensors(self.source).vector(name),
        }
    }

    fn packed(&self, name: &str) -> Result<PackedBytes, WeightError> {
        Tensors(self.source).packed(name)
    }
}
