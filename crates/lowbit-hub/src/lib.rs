//! lowbit-hub
#![forbid(unsafe_code)]
