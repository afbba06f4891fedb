//! lowbit-eval
#![forbid(unsafe_code)]
