//! lowbit-format
