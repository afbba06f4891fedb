//! What runs on the CPU: detection of its instructions, the worker threads, products of stored weights with
//! activations, and the float operations between them.
//!
//! This crate knows [`lowbit_format`] and nothing else of ours. Every function takes a [`Ctx`]; there is no global
//! state. Every kernel is a line of [`KERNELS`]; a [`Planner`] chooses among them for an [`Arranged`] weight, and [`mpgemm`]
//! multiplies one as it is stored. What is computed is defined by [`mod@reference`].

mod act;
mod arranged;
mod bandwidth;
mod by_column;
mod by_row;
mod ctx;
mod dense;
mod expand;
mod fork_join;
mod groups;
mod int8_acts;
mod isa;
mod lanes;
mod list;
mod lut;
mod machine;
mod mat;
mod mpgemm;
pub mod ops;
mod packed;
mod pages;
mod panels;
mod param;
mod peak;
mod plan;
mod pool;
pub mod reference;
mod sparse;
mod streams;
mod terms;

pub use act::{ACT_GROUP, Act, ActRounding};
pub use arranged::{Arranged, ArrangedFormat, arranged_formats, arranged_matrices};
pub use bandwidth::{ReadBandwidth, read_bandwidth};
pub use ctx::{Ctx, Scratch};
pub use dense::{FloatColumns, FloatRows, dot_columns, dot_rows, mix_rows};
pub use fork_join::{ForkJoin, fork_join};
pub use groups::PackedGroups;
pub use int8_acts::Int8Acts;
pub use isa::{Isa, IsaLevel};
pub use list::{KERNELS, KernelCard, Method, WeightLayout, kernel_set};
pub use lut::{Lookup, LutWeights, TableBits, Tables};
pub use machine::{Cache, Machine};
pub use mat::{MatMut, MatRef, SharedMut};
pub use mpgemm::{ActPrecision, Codes, Integers, mpgemm, prepare};
pub use packed::Packed;
pub use peak::{DotPeak, dot_peak, float_peak};
pub use plan::{
    Candidate, Explanation, Plan, PlanKey, Planner, Query, Record, Refusal, Source, Subject, Timing,
    TokenBucket,
};
