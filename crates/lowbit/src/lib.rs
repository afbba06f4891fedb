//! lowbit
