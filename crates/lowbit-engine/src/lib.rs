//! Running a model: loading a checkpoint, sessions with their key/value cache, sampling, generation.
#![forbid(unsafe_code)]

pub mod sampler;
