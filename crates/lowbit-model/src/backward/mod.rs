//! Gradients of a dense decoder, block by block, for methods that ask what a change of weights does to the loss.
//!
//! A [`TracedBlock`] runs one sequence and keeps what its derivatives need; backward it turns the gradient of the stream that
//! comes out into that of the stream that went in, and shows for every linear layer what it read and the gradient of what it
//! gave. A [`LossHead`] is where a gradient begins: the last norm, the head, and the loss of the next token. The decoder is not
//! touched by any of it: weights are decoded to f32, activations are never rounded, and nothing is cached.
//!
//! Sums are made in pieces of fixed sizes, so no result depends on the number of workers.

mod attention;
mod block;
mod dense;
mod derivatives;
mod head;

pub use block::{Seen, Trace, TracedBlock};
pub use head::LossHead;
