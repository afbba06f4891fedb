//! The residual streams of the calibration's samples, and running a block over them.

use super::work::Work;
use crate::{
    QuantError,
    stats::{Collector, InputStats, Needs},
};
use lowbit_engine::pack;
use lowbit_format::NK;
use lowbit_io::{Checkpoint, IoError};
use lowbit_kernels::{Act, ActPrecision, ActRounding, Ctx, MatMut, Planner};
use lowbit_model::{
    InputOps, LinearId, LinearOp, ModelError, ModelSpec, Names, OneBlock, Role, Stored, embed,
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// In which numbers activations are multiplied while calibrating: 8 bits with scales for every 32. What that changes is far
/// below what rounding weights does, and it takes half the time of anything better.
const PRECISION: ActPrecision = ActPrecision::Int8(ActRounding::Group32);

/// Residual streams, a run of floats for each sample: in memory, or in a file that goes with the program.
pub(crate) struct Streams {
    lens: Vec<usize>,
    place: Place,
}

enum Place {
    Memory(Vec<Vec<f32>>),
    File(File),
}

/// Where streams are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep<'a> {
    InMemory,
    /// In a temporary file in this folder.
    InFile(&'a Path),
}

impl Streams {
    /// The token embeddings of every sample.
    pub(crate) fn embed(
        source: &Checkpoint,
        (model, names): (&ModelSpec, &Names),
        samples: &[Vec<u32>],
        keep: Keep<'_>,
    ) -> Result<Self, QuantError> {
        let embedding = source.tensor(&format!("{}.weight", names.embed))?;
        let expected = NK { n: model.vocab, k: model.hidden };
        if embedding.shape() != expected {
            let (tensor, found) = (format!("{}.weight", names.embed), embedding.shape());
            return Err(QuantError::Forward(ModelError::MatrixShape { tensor, found, expected }));
        }
        let place = match keep {
            Keep::InMemory => Place::Memory(Vec::new()),
            Keep::InFile(folder) => Place::File(
                tempfile::tempfile_in(folder)
                    .map_err(|e| IoError::os("create a temporary file", e).in_file(folder))?,
            ),
        };
        let mut streams = Self { lens: Vec::new(), place };
        for sample in samples {
            let stream = embed(model, &embedding, sample).map_err(QuantError::Forward)?;
            streams.push(stream)?;
        }
        Ok(streams)
    }

    fn push(&mut self, stream: Vec<f32>) -> Result<(), QuantError> {
        self.lens.push(stream.len());
        if let Place::Memory(all) = &mut self.place {
            all.push(stream);
            return Ok(());
        }
        self.put(self.lens.len() - 1, stream)
    }

    pub(crate) fn take(&mut self, i: usize) -> Result<Vec<f32>, QuantError> {
        let (start, len) = (self.start(i), self.lens[i]);
        match &mut self.place {
            Place::Memory(all) => Ok(all[i].clone()),
            Place::File(file) => {
                let mut bytes = vec![0; 4 * len];
                let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes));
                read.map_err(|e| IoError::os("read a temporary file", e))?;
                let floats = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
                Ok(floats.collect())
            }
        }
    }

    fn put(&mut self, i: usize, stream: Vec<f32>) -> Result<(), QuantError> {
        let start = self.start(i);
        match &mut self.place {
            Place::Memory(all) => all[i] = stream,
            Place::File(file) => {
                let bytes: Vec<u8> = stream.iter().flat_map(|x| x.to_le_bytes()).collect();
                let written = file.seek(SeekFrom::Start(start)).and_then(|_| file.write_all(&bytes));
                written.map_err(|e| IoError::os("write a temporary file", e))?;
            }
        }
        Ok(())
    }

    fn start(&self, i: usize) -> u64 {
        self.lens[..i].iter().map(|len| 4 * *len as u64).sum()
    }

    pub(crate) fn len(&self) -> usize {
        self.lens.len()
    }
}

/// What is done with the streams that a pass over a block gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// They replace those that went in.
    Advance,
    /// They are dropped: the pass was for what it collected.
    Stay,
}

/// Layers whose inputs are collected, by their role and expert.
pub(crate) type Collected = BTreeMap<(Role, Option<u16>), InputStats>;

/// What a pass over a block collects.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Of layers of these roles.
    pub(crate) roles: &'a [Role],
    pub(crate) needs: Needs,
    /// Tokens of all samples.
    pub(crate) tokens: u64,
    pub(crate) threads: usize,
}

impl Wanted<'_> {
    pub(crate) const NOTHING: Wanted<'static> =
        Wanted { roles: &[], needs: Needs::NONE, tokens: 0, threads: 1 };
}

/// The block as it is now with the engine's packed layers, each as `tap` gives it back.
pub(crate) fn build(
    ctx: &Ctx,
    work: &Work<'_>,
    tap: &dyn Fn(LinearId, Box<dyn LinearOp>) -> Box<dyn LinearOp>,
) -> Result<OneBlock, QuantError> {
    let planner = Planner::new();
    let wrap = |id: LinearId, stored: Stored| tap(id, pack(ctx, &planner, stored));
    OneBlock::build_with(work.model, work.index, work, PRECISION, &wrap).map_err(QuantError::Forward)
}

/// Runs all streams through the block as it is now. `step` is told after every sample how many are done and says whether to
/// go on.
pub(crate) fn pass(
    ctx: &Ctx,
    work: &Work<'_>,
    streams: &mut Streams,
    (wanted, after): (Wanted<'_>, After),
    step: &dyn Fn(usize) -> Result<(), QuantError>,
) -> Result<Collected, QuantError> {
    let collectors: RefCell<BTreeMap<_, Arc<Mutex<Collector>>>> = RefCell::default();
    let tap = |id: LinearId, inner: Box<dyn LinearOp>| -> Box<dyn LinearOp> {
        if !wanted.roles.contains(&id.role) {
            return inner;
        }
        let collector = Collector::new(inner.shape().k, wanted.needs, wanted.tokens, wanted.threads);
        let collector = Arc::new(Mutex::new(collector));
        collectors.borrow_mut().insert((id.role, id.expert), Arc::clone(&collector));
        Box::new(Tap { inner, collector })
    };
    let block = build(ctx, work, &tap)?;
    let hidden = work.model.hidden;
    let longest = streams.lens.iter().max().map_or(1, |len| len / hidden);
    let mut cache = block.cache(longest.max(1)).map_err(QuantError::Forward)?;
    for i in 0..streams.len() {
        let mut stream = streams.take(i)?;
        cache.truncate(0);
        block.forward(ctx, &mut stream, &mut cache).map_err(QuantError::Forward)?;
        if let Some(at) = stream.iter().position(|x| !x.is_finite()) {
            let (token, value) = (at / hidden, stream[at]);
            return Err(QuantError::StreamNotFinite { block: work.index, sample: i, token, value });
        }
        if after == After::Advance {
            streams.put(i, stream)?;
        }
        step(i + 1)?;
    }
    drop(block);
    let collectors = collectors.into_inner().into_iter().map(|(key, collector)| {
        let collector = Arc::into_inner(collector).expect("the block that shared it is gone");
        (key, collector.into_inner().unwrap_or_else(PoisonError::into_inner).finish())
    });
    Ok(collectors.collect())
}

/// A layer whose inputs are collected.
struct Tap {
    inner: Box<dyn LinearOp>,
    collector: Arc<Mutex<Collector>>,
}

impl LinearOp for Tap {
    fn shape(&self) -> NK {
        self.inner.shape()
    }

    fn bytes(&self) -> usize {
        self.inner.bytes()
    }

    fn input(&self) -> Option<&InputOps> {
        self.inner.input()
    }

    fn forward(&self, ctx: &Ctx, x: &Act<'_>, out: MatMut<'_>) {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner).add(x.x());
        self.inner.forward(ctx, x, out);
    }
}
