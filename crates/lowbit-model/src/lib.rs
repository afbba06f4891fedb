//! lowbit-model
#![forbid(unsafe_code)]
