//! What a model costs on a machine, without running it there.
//!
//! ```text
//! Linears (lowbit-model) ─ Formats ─┐
//!                    Pass ──────────┴→ trace → [Op] ─┬→ machines::Roofline → the least time of each
//!                                                    └→ Rates, measured here → the time this program takes
//! ```
//!
//! A [`trace()`] is the list of operators of one pass with their bytes and operations; it knows no machine. A machine gives
//! every operator a time. [`HARDWARE`](hardware) is data; [`Rates`] are measured on the machine that the program runs on.
#![forbid(unsafe_code)]

mod error;
mod figure;
mod formats;
pub mod hardware;
pub mod machines;
mod rates;
mod trace;

pub use error::SimError;
pub use figure::{Mark, figure};
pub use formats::{Formats, matrix_bytes, of_shape, stored_bytes};
pub use rates::{Layers, Rates, Subject};
pub use trace::{Attended, Bytes, Kind, Numbers, Op, Pass, Precision, Weight, trace};
