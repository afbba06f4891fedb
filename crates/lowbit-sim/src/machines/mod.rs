//! Machines: what gives operators of a trace their time, one file each.

mod roofline;

pub use roofline::{Bound, Cost, Peaks, Roofline};
