//! lowbit-kernels
