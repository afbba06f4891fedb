//! lowbit-io
