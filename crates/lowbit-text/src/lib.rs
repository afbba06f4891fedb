//! lowbit-text
#![forbid(unsafe_code)]
