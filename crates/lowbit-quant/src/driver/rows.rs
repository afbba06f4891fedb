//! Which rows of the model's matrices get more bits: by gradients of its loss, over some samples, before any block is changed.
//!
//! A sample is run forward, the stream before every block kept, and then backward, block by block: a block is decoded, runs
//! again with what its derivatives need, and is gone. Only one sample's streams are there at a time.

use super::{Job, plan::Plan, work::Work};
use crate::{
    Calibration, QuantError,
    fit::Range,
    solve::{Layer, MoreRows, Nearest, Rows, Salient, quantize_matrix, share},
};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use lowbit_format::{NK, QuantTensor, WeightSpec};
use lowbit_io::Checkpoint;
use lowbit_kernels::Ctx;
use lowbit_model::{
    Ffn, ModelSpec, Names,
    backward::{LossHead, Seen, TracedBlock},
    embed,
};
use std::collections::BTreeMap;

/// Rows of a matrix that are one task.
const ROWS: usize = 64;
/// Forward passes that a block of one sample takes as long as: forward once more, its gradient, and what rows change.
pub(super) const PASSES: f64 = 4.0;

impl Job<'_> {
    /// The rows that get more bits, where the recipe gives any.
    pub(super) fn rows(&self, plan: &Plan<'_>) -> Result<Rows, QuantError> {
        let (Some(more), Some(calibration)) = (&self.recipe.rows, self.calibration) else {
            return Ok(Rows::new());
        };
        if let Some(rows) = self.partial.rows()? {
            return Ok(rows);
        }
        let step = |done| self.told(done, 0, "choosing rows");
        let look = Look {
            ctx: self.ctx,
            checkpoint: self.checkpoint,
            model: self.model,
            plan,
            threads: self.request.threads,
            capacity: longest(calibration),
        };
        let samples = &calibration.windows()[..more.samples.min(calibration.windows().len())];
        let rows = more.choose(&look.salience(samples, more, &step)?);
        self.partial.keep_rows(&rows)?;
        Ok(rows)
    }
}

/// Tokens of the longest sample.
pub(super) fn longest(calibration: &Calibration) -> usize {
    calibration.windows().iter().map(Vec::len).max().unwrap_or(1)
}

/// Bytes that are held while rows are chosen: a block in f32, its streams and what its derivatives need, logits.
pub(super) fn bytes(model: &ModelSpec, tokens: usize) -> u64 {
    const LOGITS: usize = 1 << 24;
    let (hidden, wide, narrow) = (model.hidden, model.query_width(), model.kv_width());
    let blocks = model.blocks.iter().map(|block| {
        let (Ffn::Dense { inner } | Ffn::Experts { inner, .. }) = block.ffn;
        let weights = hidden * (2 * wide + 2 * narrow + 3 * inner);
        weights + hidden * inner.max(wide) + tokens * (10 * hidden + 8 * wide + 8 * narrow + 7 * inner)
    });
    let streams = (model.blocks.len() + 1) * tokens * hidden;
    // Logits, and parts of the gradient before them.
    let head = 2 * LOGITS.min(tokens * model.vocab);
    4 * (streams + blocks.max().unwrap_or(0) + head) as u64
}

/// What a look at gradients works with.
struct Look<'a> {
    ctx: &'a Ctx,
    checkpoint: &'a Checkpoint,
    model: (&'a ModelSpec, &'a Names),
    plan: &'a Plan<'a>,
    threads: usize,
    /// Tokens of the longest sequence.
    capacity: usize,
}

impl Look<'_> {
    /// How salient every row is of the matrices of blocks that are rounded to groups, in the mean over samples.
    fn salience(
        &self,
        samples: &[Vec<u32>],
        more: &MoreRows,
        step: &dyn Fn(f64) -> Result<(), QuantError>,
    ) -> Result<Vec<Salient>, QuantError> {
        let mut all = self.tensors();
        for (i, tokens) in samples.iter().enumerate() {
            let step = |done: f64| step((i as f64 + done) / samples.len() as f64);
            self.sample(i, tokens, &step, &mut |tensor, row, change| {
                let salient: &mut Salient = all.get_mut(tensor).expect("only rounded tensors are looked at");
                salient.salience[row] += (more.salience)(change) / samples.len() as f64;
            })?;
        }
        Ok(all.into_values().collect())
    }

    /// The tensors of blocks that are rounded to groups.
    fn tensors(&self) -> BTreeMap<String, Salient> {
        let planned = self.plan.tensors.iter().filter(|planned| planned.block.is_some());
        let grouped = planned.filter(|planned| matches!(planned.to, Some((_, WeightSpec::Grouped(_)))));
        let all = grouped.map(|planned| {
            let (tensor, NK { n, k }) = (planned.info.name.clone(), planned.info.matrix());
            (tensor.clone(), Salient { tensor, k, salience: vec![0.0; n] })
        });
        all.collect()
    }

    /// Tells of every row by how much the loss of a sample would change, in first order, were it alone rounded.
    fn sample(
        &self,
        number: usize,
        tokens: &[u32],
        step: &dyn Fn(f64) -> Result<(), QuantError>,
        changed: &mut dyn FnMut(&str, usize, f64),
    ) -> Result<(), QuantError> {
        let whole = PASSES * self.plan.blocks.len() as f64;
        let first = self.work(0);
        let mut streams = vec![self.embed(&first, tokens)?];
        for index in 0..self.plan.blocks.len() {
            let block = self.block(&self.work(index), index)?;
            streams.push(block.forward(self.ctx, &streams[index]).stream);
            self.finite((index, number), &streams[index + 1])?;
            step((index + 1) as f64 / whole)?;
        }
        let (_, mut gradient) = self
            .head(&first)?
            .loss(self.ctx, &streams[streams.len() - 1], tokens)
            .map_err(QuantError::Forward)?;
        streams.pop();
        while let Some(stream) = streams.pop() {
            let index = streams.len();
            let work = self.work(index);
            let block = self.block(&work, index)?;
            let trace = block.forward(self.ctx, &stream);
            let mut seen = Ok(());
            block.backward(self.ctx, trace, &mut gradient, &mut |layer| {
                if seen.is_ok() {
                    seen = self.layer(&work, layer, changed);
                }
            });
            seen?;
            step(1.0 - (PASSES - 1.0) * index as f64 / whole)?;
        }
        Ok(())
    }

    /// Σ over tokens of g · (Δw · x), for every row of a layer with rounding errors Δw.
    fn layer(
        &self,
        work: &Work<'_>,
        seen: Seen<'_>,
        changed: &mut dyn FnMut(&str, usize, f64),
    ) -> Result<(), QuantError> {
        let Some(layer) = work.layers().iter().find(|layer| layer.id == seen.id) else { return Ok(()) };
        let Some(spec @ WeightSpec::Grouped(_)) = work.spec_of(&layer.tensor) else { return Ok(()) };
        let NK { n, k } = seen.shape;
        let errors = self.errors(work, &layer.tensor, spec)?;
        let errors = &errors[layer.rows.start * k..layer.rows.end * k];
        let tokens = seen.input.len() / k;
        let x = MatRef::from_row_major_slice(seen.input, tokens, k);
        let changes = share(self.threads, errors.chunks(ROWS * k).enumerate(), |(task, errors)| {
            let rows = errors.len() / k;
            let mut outputs = vec![0.0f32; tokens * rows];
            let errors = MatRef::from_row_major_slice(errors, rows, k).transpose();
            let to = MatMut::from_row_major_slice_mut(&mut outputs, tokens, rows);
            matmul(to, Accum::Replace, x, errors, 1.0, Par::Seq);
            let mut sums = vec![0f64; rows];
            for (outputs, gradient) in outputs.chunks_exact(rows).zip(seen.gradient.chunks_exact(n)) {
                let each = sums.iter_mut().zip(outputs).zip(&gradient[task * ROWS..]);
                each.for_each(|((sum, y), g)| *sum += f64::from(*y) * f64::from(*g));
            }
            sums
        });
        for (row, change) in changes.concat().into_iter().enumerate() {
            changed(&layer.tensor, layer.rows.start + row, change);
        }
        Ok(())
    }

    /// What rounding to the nearest codes changes of the weights of a tensor.
    fn errors(&self, work: &Work<'_>, tensor: &str, spec: &WeightSpec) -> Result<Vec<f32>, QuantError> {
        let (mut weights, shape) = work.decoded(tensor)?;
        let rounded = self.rounded(work, tensor, spec)?;
        let mut row = vec![0.0; shape.k];
        for (n, weights) in weights.chunks_exact_mut(shape.k).enumerate() {
            rounded.decode_row(n, &mut row);
            weights.iter_mut().zip(&row).for_each(|(w, rounded)| *w = rounded - *w);
        }
        Ok(weights)
    }

    fn rounded(&self, work: &Work<'_>, tensor: &str, spec: &WeightSpec) -> Result<QuantTensor, QuantError> {
        let weight = work.weight(tensor)?;
        let layer = Layer { weight: &weight, stats: None, threads: self.threads };
        let wrong = |error| QuantError::Solve { tensor: tensor.to_owned(), error };
        let made = quantize_matrix((&Range, &Nearest), &layer, spec).map_err(wrong)?;
        Ok(made.tensor(spec, weight.shape())?)
    }

    fn work(&self, index: usize) -> Work<'_> {
        Work::new(self.checkpoint, self.model, self.plan, index)
    }

    fn embed(&self, work: &Work<'_>, tokens: &[u32]) -> Result<Vec<f32>, QuantError> {
        let embedding = work.weight(&format!("{}.weight", self.model.1.embed))?;
        embed(self.model.0, &embedding, tokens).map_err(QuantError::Forward)
    }

    fn block(&self, work: &Work<'_>, index: usize) -> Result<TracedBlock, QuantError> {
        TracedBlock::build(self.model.0, index, work, self.capacity).map_err(QuantError::Forward)
    }

    fn head(&self, work: &Work<'_>) -> Result<LossHead, QuantError> {
        LossHead::build(self.model.0, work).map_err(QuantError::Forward)
    }

    fn finite(&self, (block, sample): (usize, usize), stream: &[f32]) -> Result<(), QuantError> {
        match stream.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let (token, value) = (at / self.model.0.hidden, stream[at]);
                Err(QuantError::StreamNotFinite { block, sample, token, value })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Formats,
        driver::{model, plan},
        solve::Among,
    };
    use lowbit_format::{FloatFormat, Storage};
    use lowbit_io::Access;
    use lowbit_kernels::Isa;
    use lowbit_testing::{SplitMix64, golden_case};
    use serde_json::json;

    fn in_look(case: &str, test: impl FnOnce(&Look<'_>, &[Vec<u32>])) {
        let folder = tempfile::tempdir().unwrap();
        golden_case(case).write_folder(folder.path(), 1).unwrap();
        let checkpoint = Checkpoint::open(folder.path(), Access::Map).unwrap();
        let (spec, names) = model(&checkpoint, folder.path()).unwrap();
        let recipe = (crate::method("rtn").unwrap().recipe)(&json!({})).unwrap();
        let default = WeightSpec::parse("int4-asym-g4").unwrap();
        let formats = Formats { default, roles: vec![], tensors: vec![] };
        let plan = plan(&checkpoint, names, &spec, &recipe, &formats).unwrap();
        let mut rng = SplitMix64::new(3);
        let mut sample = |len: usize| (0..len).map(|_| rng.next_below(spec.vocab as u64) as u32).collect();
        let samples: Vec<Vec<u32>> = [24, 16, 20].into_iter().map(&mut sample).collect();
        let ctx = Ctx::new(Isa::detect(), 2);
        let (model, plan, checkpoint) = ((&spec, names), &plan, &checkpoint);
        test(&Look { ctx: &ctx, checkpoint, model, plan, threads: 2, capacity: 24 }, &samples);
    }

    /// The mean over samples of how much the loss changes by a change of weights, whichever way.
    fn change(look: &Look<'_>, work: &Work<'_>, samples: &[(Vec<u32>, f64)]) -> f64 {
        let changes = samples.iter().map(|(tokens, before)| (loss(look, work, tokens) - before).abs());
        changes.sum::<f64>() / samples.len() as f64
    }

    fn loss(look: &Look<'_>, work: &Work<'_>, tokens: &[u32]) -> f64 {
        let mut stream = look.embed(work, tokens).unwrap();
        for index in 0..look.plan.blocks.len() {
            stream = look.block(work, index).unwrap().forward(look.ctx, &stream).stream;
        }
        look.head(work).unwrap().loss(look.ctx, &stream, tokens).unwrap().0
    }

    #[test]
    fn salient_rows_are_those_whose_rounding_changes_the_loss_most() {
        for case in ["llama-gqa", "gemma2", "phi3-window"] {
            in_look(case, |look, samples| {
                let more = |among| MoreRows {
                    share: 0.1,
                    among,
                    samples: 3,
                    salience: |change| (change + 0.5 * change * change).abs(),
                };
                let found = look.salience(samples, &more(Among::Model), &|_| Ok(())).unwrap();
                let plain = look.work(0);
                let samples: Vec<_> = samples.iter().map(|s| (s.clone(), loss(look, &plain, s))).collect();
                let measured: Vec<Salient> = found
                    .iter()
                    .map(|Salient { tensor, k, salience }| {
                        let (weights, shape) = plain.decoded(tensor).unwrap();
                        let errors = look.errors(&plain, tensor, plain.spec_of(tensor).unwrap()).unwrap();
                        let of_row = |n: usize| {
                            let mut changed = weights.clone();
                            let row = n * k..(n + 1) * k;
                            changed[row.clone()].iter_mut().zip(&errors[row]).for_each(|(w, e)| *w += e);
                            let bytes = Storage::from(FloatFormat::F32.encode(&changed));
                            let mut work = look.work(0);
                            work.set(
                                tensor,
                                QuantTensor::from_floats(FloatFormat::F32, shape, bytes).unwrap(),
                            );
                            change(look, &work, &samples)
                        };
                        let salience = (0..salience.len()).map(of_row).collect();
                        Salient { tensor: tensor.clone(), k: *k, salience }
                    })
                    .collect();
                // What rounding the chosen rows one by one would change of the loss.
                let worth = |rows: &Rows| -> f64 {
                    let each = measured.iter().filter_map(|all| Some((all, rows.get(&all.tensor)?)));
                    each.flat_map(|(all, rows)| rows.iter().map(|n| all.salience[*n as usize])).sum()
                };
                let best = worth(&more(Among::Model).choose(&measured));
                let chosen = worth(&more(Among::Model).choose(&found));
                let by_matrix = worth(&more(Among::Matrix).choose(&found));
                println!("{case} {best:.5}: {:.3} {:.3}", chosen / best, by_matrix / best);
                assert!(chosen > 0.9 * best, "{case} {chosen} {best}");
                assert!(by_matrix < chosen, "{case} {by_matrix} {chosen}");
                let all = |of: &[Salient]| of.iter().flat_map(|s| s.salience.clone()).collect::<Vec<f64>>();
                let (measured, found) = (all(&measured), all(&found));
                let first = (0..measured.len()).max_by(|a, b| measured[*a].total_cmp(&measured[*b])).unwrap();
                let before = found.iter().filter(|s| **s > found[first]).count();
                assert!(before < 5, "{case}: the row that changes the loss most is number {before}");
            });
        }
    }
}
