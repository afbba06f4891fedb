//! Tests of the decoder from outside, over tiny models.

mod config;
mod gguf;
mod golden;
mod gradients;
mod imports;
mod laws;
mod online;
mod tiny;
