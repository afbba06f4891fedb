//! Measured times of kernels: where they are kept, and for which machine.

use anyhow::Result;
use lowbit::{Machine, Record, hub::Store, tuning};
use std::path::PathBuf;

/// Name of this machine's processor, by which measurements are kept.
pub(crate) fn cpu() -> String {
    Machine::detect().cpu.unwrap_or_else(|| "unknown".to_owned())
}

/// The file for this machine and these kernels, beside the models.
pub(crate) fn path(store: &Store) -> PathBuf {
    store.settings().home.join("tuning").join(tuning::file_name(&cpu()))
}

/// What was measured on this machine; nothing where nothing was.
pub(crate) fn read(store: &Store) -> Result<Record> {
    Ok(tuning::read(&path(store), &cpu())?)
}
