//! Quantization: from a checkpoint to a container of low-bit weights that runs as it is stored.
//!
//! A method is one file of `methods/` and one line of [`METHODS`]: a card, settings with the paper's defaults, and a
//! [`Recipe`] put together from parts: what calibration collects is in `stats/`, changes of weights that change nothing
//! else in `transform/`, scales and zero points in `fit/`, codes in `solve/`. [`quantize`] is the driver: it streams a
//! checkpoint through a recipe block by block and writes the file. The same input gives the same bytes, whatever the
//! number of threads, and after any number of interruptions.
//!
//! ```
//! use lowbit_format::WeightSpec;
//! use lowbit_quant::METHODS;
//!
//! let method = lowbit_quant::method("hqq")?;
//! let recipe = (method.recipe)(&serde_json::json!({"iterations": 10}))?;
//! let WeightSpec::Grouped(spec) = WeightSpec::parse("int4-asym-g128")? else { unreachable!() };
//! assert!(recipe.accepts(&spec).is_ok());
//! assert!(lowbit_quant::method("hhq").is_err_and(|error| error.to_string().contains("did you mean `hqq`?")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod advice;
mod base;
mod calibration;
mod card;
pub mod convert;
mod driver;
mod error;
pub mod fit;
mod formats;
pub mod methods;
mod provenance;
mod report;
pub mod solve;
pub mod stats;
pub mod transform;

pub use advice::{Data, advice};
pub use base::Base;
pub use calibration::Calibration;
pub use card::{Card, Claim, Paper};
pub use driver::{Cost, Estimate, Progress, Request, Resume, estimate, quantize, unfinished_samples};
pub use error::QuantError;
pub use formats::{ChooseFormat, Formats, Pattern};
pub use methods::{METHODS, Method, MethodEntry, Propagate, Recipe, method};
pub use report::{Report, TensorReport};
pub use solve::{Quantized, quantize_matrix};
