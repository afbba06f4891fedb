//! Outliers of inputs moved into the weights that meet them.

use super::Seam;

/// sⱼ = max|Xⱼ|^α / max|Wⱼ|^(1 − α), over all layers of a seam.
#[derive(Clone, Copy, Debug)]
pub struct Migrate {
    /// α: how much is moved, from 0 to 1.
    pub alpha: f32,
}

impl Migrate {
    /// The scale of every column, 1 for those that have no inputs or no weights.
    pub fn scales(&self, seam: &Seam<'_>) -> Vec<f32> {
        let mut most = vec![0f32; seam.stats.columns()];
        for row in seam.consumers.iter().flat_map(|layer| layer.weights.chunks_exact(layer.shape.k)) {
            most.iter_mut().zip(row).for_each(|(most, w)| *most = most.max(w.abs()));
        }
        let scales = seam.stats.abs_max.iter().zip(&most);
        let scales = scales.map(|(x, w)| x.powf(self.alpha) / w.powf(1.0 - self.alpha));
        scales.map(|s| if s.is_finite() && s > 1e-5 { s } else { 1.0 }).collect()
    }
}
