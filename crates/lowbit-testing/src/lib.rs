//! lowbit-testing
#![forbid(unsafe_code)]
