//! Changes of weights that leave what the model computes as it is, and make it easier to round.

mod fold;
mod migrate;
mod output_error;
mod reassemble;
mod reorder;
mod rotate;
mod seam;
mod smooth_attention;

pub(crate) use fold::fold;
pub use migrate::Migrate;
pub use output_error::output_error;
pub use reassemble::Reassemble;
pub use reorder::Reorder;
pub use rotate::Rotate;
pub use seam::{Consumer, Place, Seam};
pub(crate) use seam::{consumers, movable, seams};
pub use smooth_attention::SmoothAttention;

use crate::stats::Needs;

/// Chooses a scale for every column of the layers at a seam: their weights are multiplied by it, and what they read is
/// divided by it where it is made.
pub trait FindScale: Send + Sync {
    /// What calibration must collect for it.
    fn needs(&self) -> Needs;
    /// What tells it from others of the same recipe.
    fn label(&self) -> String {
        String::new()
    }
    /// The places at which it looks.
    fn places(&self) -> &[Place];
    /// The scales: positive, one for each column; `None` where the seam is best left as it is.
    fn find(&self, seam: &Seam<'_>) -> Option<Vec<f32>>;
}
