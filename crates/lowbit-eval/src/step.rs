//! A text fed to sessions side by side, part by part, so that no more than a part's logits are held of each.

use crate::EvalError;
use lowbit_engine::Session;
use lowbit_model::Logits;

/// Logits computed at a time: 32 MiB of floats, so that a vocabulary of 262,144 does not need 256 MiB for a window.
const LOGITS_AT_A_TIME: usize = 8 << 20;

/// Runs `tokens` as a text of their own through every session, forgetting what they held. After each part whose
/// predictions count, those of tokens from `first_scored` on, `seen` gets the sessions, which hold the part's logits,
/// the place of the part's first token in the text, and the tokens that were to be predicted.
///
/// # Errors
/// Where the tokens do not fit a session, and those of `seen`.
///
/// # Panics
/// Where `first_scored` is 0: nothing predicts the first token.
pub(crate) fn in_step<const N: usize>(
    sessions: &mut [&mut Session<'_>; N],
    tokens: &[u32],
    first_scored: usize,
    mut seen: impl FnMut(&[&mut Session<'_>; N], usize, &[u32]) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    assert!(first_scored > 0, "the first token has no prediction");
    let vocab = sessions.iter().map(|session| session.model().spec().vocab).max().unwrap_or(1);
    let batch = (LOGITS_AT_A_TIME / vocab).clamp(32, 512);
    sessions.iter_mut().for_each(|session| session.truncate(0));
    // The last token predicts nothing that is scored, so it need not be fed.
    let fed = tokens.len().saturating_sub(1);
    let silent = (first_scored - 1).min(fed);
    for part in tokens[..silent].chunks(512) {
        for session in &mut *sessions {
            session.feed(part, Logits::None)?;
        }
    }
    let mut position = silent;
    for part in tokens[silent..fed].chunks(batch) {
        for session in &mut *sessions {
            session.feed(part, Logits::All)?;
        }
        seen(sessions, position, &tokens[position + 1..][..part.len()])?;
        position += part.len();
    }
    Ok(())
}
