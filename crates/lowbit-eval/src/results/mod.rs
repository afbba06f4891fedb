//! What was measured, kept: one row a document, so that a run goes on after it was killed, and two models compare on the same
//! documents.

mod paired;
mod store;

pub use paired::Paired;
pub(crate) use store::sha256;
pub use store::{Results, Run, RunAbout, StoredDocument, Texts};
