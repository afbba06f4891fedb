//! lowbit-engine
#![forbid(unsafe_code)]
