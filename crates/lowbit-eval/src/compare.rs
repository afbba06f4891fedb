//! Two models on the same text.

use crate::{
    EvalError, Figures, LayerError, Pairs, Row, layers::Layers, perplexity::Options, step::in_step,
    windows::Windows,
};
use lowbit_engine::{Model, Session};
use lowbit_kernels::Ctx;
use lowbit_model::KvElement;
use serde::Serialize;
use std::{ops::ControlFlow, sync::OnceLock};

/// Two models of one vocabulary.
#[derive(Clone, Copy)]
pub struct ModelPair<'a> {
    /// The one that is taken as right.
    pub reference: &'a Model,
    /// The one that is judged.
    pub other: &'a Model,
}

/// How far two models are apart on a text, and what the figures stand on.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// How far the residual streams are apart after each block, over the scored tokens; empty where the models have
    /// other numbers of blocks or other widths.
    pub layers: Vec<LayerError>,
    /// Divergence of every scored token, in nats and in the order of the text.
    #[serde(skip)]
    pub kl: Vec<f64>,
    /// Windows scored.
    pub chunks: usize,
    /// Windows to be scored.
    pub of_chunks: usize,
    /// Tokens of the whole text.
    pub text_tokens: usize,
}

/// How far a comparison is.
#[derive(Clone, Copy, Debug)]
pub struct CompareProgress {
    /// Windows scored.
    pub chunks: usize,
    /// Windows to be scored.
    pub of_chunks: usize,
    /// Perplexities of the reference and of the other so far.
    pub perplexities: [f64; 2],
    /// Mean divergence so far, in nats.
    pub kl: f64,
}

/// Compares two models on `text`, cut and scored as [`perplexity`](crate::perplexity) does by the tokenizer of the
/// reference, so that each perplexity is the one that it gives. Both models run in step, so that no more than a part of
/// a window's logits is held of each. `watch` sees how far it is after each window and ends the work by breaking.
///
/// # Errors
/// Those of [`perplexity`](crate::perplexity), and where the models have other vocabularies.
pub fn compare(
    models: ModelPair<'_>,
    ctx: &Ctx,
    text: &str,
    options: Options,
    watch: impl FnMut(&CompareProgress) -> ControlFlow<()>,
) -> Result<Comparison, EvalError> {
    same_vocabulary(models)?;
    let protocol = options.protocol;
    let windows = Windows::of(models.reference, text, protocol, options.chunks)?;
    let context = models.other.spec().longest();
    if protocol.window > context {
        return Err(EvalError::WindowTooLong { window: protocol.window, context });
    }
    let cut = Cut { of_chunks: windows.count, first_scored: protocol.first_scored, cache: options.cache };
    let compared = compare_windows(models, ctx, windows.iter(), cut, watch)?;
    Ok(Comparison { text_tokens: windows.text_tokens(), ..compared })
}

/// What is done with windows that are cut already.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) of_chunks: usize,
    pub(crate) first_scored: usize,
    pub(crate) cache: KvElement,
}

/// Compares two models on windows of the same vocabulary.
pub(crate) fn compare_windows(
    models: ModelPair<'_>,
    ctx: &Ctx,
    windows: impl Iterator<Item = Vec<u32>>,
    cut: Cut,
    mut watch: impl FnMut(&CompareProgress) -> ControlFlow<()>,
) -> Result<Comparison, EvalError> {
    let (mut pairs, mut layers) = (Pairs::default(), layers(models));
    let (mut chunks, mut tokens) = (0, 0);
    let mut sessions = None;
    for window in windows {
        let [reference, other] = match &mut sessions {
            Some(sessions) => sessions,
            none => none.insert(open(models, ctx, window.len(), cut.cache, layers.is_some())?),
        };
        in_step(
            &mut [reference, other],
            &window,
            cut.first_scored,
            |[reference, other], position, targets| {
                if let Some(layers) = &mut layers {
                    layers.add(reference.streams(), other.streams());
                }
                for (i, row) in rows(ctx, reference, other, targets).into_iter().enumerate() {
                    pairs.add(row.ok_or_else(|| not_finite([reference, other], chunks, position, i))?);
                }
                Ok(())
            },
        )?;
        pairs.end_window();
        (chunks, tokens) = (chunks + 1, tokens + window.len());
        let perplexities = pairs.losses().map(|loss| loss.perplexity());
        let progress =
            CompareProgress { chunks, of_chunks: cut.of_chunks, perplexities, kl: pairs.mean_kl() };
        if watch(&progress).is_break() {
            break;
        }
    }
    Ok(Comparison {
        figures: pairs.figures(),
        layers: layers.map_or_else(Vec::new, |layers| layers.errors()),
        kl: pairs.kl().to_vec(),
        chunks,
        of_chunks: cut.of_chunks,
        text_tokens: tokens,
    })
}

/// Sessions on both.
fn open<'m>(
    models: ModelPair<'m>,
    ctx: &'m Ctx,
    window: usize,
    cache: KvElement,
    keep_streams: bool,
) -> Result<[Session<'m>; 2], EvalError> {
    let open = |model| {
        let mut session = Session::new(model, ctx, window, cache)?;
        if keep_streams {
            session.keep_streams();
        }
        Ok::<_, EvalError>(session)
    };
    Ok([open(models.reference)?, open(models.other)?])
}

/// Sums for every block, where the blocks of one model are those of the other.
fn layers(models: ModelPair<'_>) -> Option<Layers> {
    let [(blocks, hidden), other] =
        [models.reference, models.other].map(|model| (model.spec().blocks.len(), model.spec().hidden));
    ((blocks, hidden) == other).then(|| Layers::new(blocks, hidden))
}

/// The predictions of two sessions before each of `targets`, compared on the workers.
fn rows(ctx: &Ctx, reference: &Session<'_>, other: &Session<'_>, targets: &[u32]) -> Vec<Option<Row>> {
    let vocab = reference.model().spec().vocab;
    let compared: Vec<OnceLock<Option<Row>>> = targets.iter().map(|_| OnceLock::new()).collect();
    ctx.run(targets.len(), |i, _| {
        let [a, b] = [reference, other].map(|session| &session.logits()[i * vocab..][..vocab]);
        compared[i].get_or_init(|| Row::of(a, b, targets[i]));
    });
    compared.into_iter().map(|row| row.into_inner().flatten()).collect()
}

/// Which of the two gave no numbers for row `i` of a part.
fn not_finite(sessions: [&Session<'_>; 2], window: usize, position: usize, i: usize) -> EvalError {
    let [reference, other] = sessions;
    let vocab = reference.model().spec().vocab;
    let broken = reference.logits()[i * vocab..][..vocab].iter().any(|logit| !logit.is_finite());
    let model = if broken { reference.model() } else { other.model() };
    EvalError::not_finite(model, window, position + i)
}

/// Whether a token means the same to both.
pub(crate) fn same_vocabulary(models: ModelPair<'_>) -> Result<(), EvalError> {
    let differ = |why| EvalError::OtherVocabulary {
        reference: models.reference.path().to_owned(),
        other: models.other.path().to_owned(),
        why,
    };
    let [rows, other_rows] = [models.reference, models.other].map(|model| model.spec().vocab);
    if rows != other_rows {
        return Err(differ(format!("logits for {rows} tokens and for {other_rows}")));
    }
    let (ours, theirs) = (models.reference.tokenizer()?, models.other.tokenizer()?);
    let ids = 0..ours.vocab_len().max(theirs.vocab_len()) as u32;
    let Some(id) = ids.into_iter().find(|id| ours.token_bytes(*id) != theirs.token_bytes(*id)) else {
        return Ok(());
    };
    let spelt = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        None => "absent".to_owned(),
    };
    let (ours, theirs) = (spelt(ours.token_bytes(id)), spelt(theirs.token_bytes(id)));
    Err(differ(format!("token {id} is {ours} in the one and {theirs} in the other")))
}
