//! Studies: models, methods and formats, each with each, measured alike; a recipe to begin with and a report at the end.

mod chart;
mod comparison;
mod recipe;
mod report;

pub use chart::{Chart, Front, Scale, Series, bars};
pub use comparison::{Comparison, comparison_table, comparisons};
pub use recipe::{Cell, Made, MethodUse, MethodWith, Recipe};
pub use report::{Drawing, Measured, TaskFigure, drawings, html};
