//! Groups in columns: all rows of a panel share the scale and zero point of every input feature. The activations are multiplied by the
//! panel's scales, and its codes are then those of a matrix with one scale, which every kernel takes:
//! Σ (code − zero) s x = Σ (code − middle) (s x) − Σ (zero − middle) (s x).

use crate::{Act, Arranged, Ctx, FloatRows, MatMut, MatRef, dense::dot_rows, isa::multiversion};
use lowbit_format::{
    ElementFormat, FloatFormat, GroupParams, GroupShape, GroupedSpec, GroupedTensor, NK, ParamFormat, Params,
    QuantTensor, ScaleLevel, Storage, TensorData, ZeroPoint,
};

/// A matrix with groups in columns, each panel of rows as `W`.
#[derive(Debug)]
pub(crate) struct ByColumn<W> {
    shape: NK,
    /// Rows of a panel but for the last, which may have fewer.
    rows: usize,
    panels: Vec<W>,
    scales: Params,
    zeros: Option<Zeros>,
}

#[derive(Debug)]
struct Zeros {
    params: Params,
    /// What the panels' kernels subtract from codes already.
    middle: f32,
}

/// Rows of a panel of a matrix with groups in columns, and the format of panels; `None` for other formats.
pub(crate) fn panel(spec: &GroupedSpec) -> Option<(usize, GroupedSpec)> {
    let GroupShape::Column(size) = spec.levels()[0].shape else { return None };
    let element = match spec.element() {
        ElementFormat::Int { bits, .. } => ElementFormat::Int { bits, zero: ZeroPoint::Symmetric },
        other => other,
    };
    let level = ScaleLevel { shape: GroupShape::Tensor, format: ParamFormat::F16 };
    GroupedSpec::new(element, vec![level]).ok().map(|spec| (size as usize, spec))
}

/// The panels of a matrix with groups in columns, each with one scale of 1; `None` for other formats.
pub(crate) fn panels(w: &QuantTensor) -> Option<Vec<QuantTensor>> {
    let TensorData::Grouped(grouped) = w.data() else { return None };
    let (size, spec) = panel(grouped.spec())?;
    let NK { n, k } = w.shape();
    let panel = |first: usize| {
        let rows = grouped.rows(first..(first + size).min(n));
        let shape = NK { n: rows.shape().n, k };
        let one = Storage::from((ParamFormat::F16.encode(1.0) as u16).to_le_bytes().to_vec());
        let params = GroupParams::new(&spec, shape, vec![one], None).ok()?;
        let plain = GroupedTensor::new(spec.clone(), rows.codes().clone(), params).ok()?;
        Some(QuantTensor::from_grouped(plain))
    };
    (0..n).step_by(size).map(panel).collect()
}

impl<W> ByColumn<W> {
    /// The matrix with each of its panels made into what multiplies it; `None` for formats without groups in columns.
    pub(crate) fn new(w: &QuantTensor, make: impl FnMut(&QuantTensor) -> W) -> Option<Self> {
        let TensorData::Grouped(grouped) = w.data() else { return None };
        let panels = panels(w)?;
        let middle = panels.first().and_then(|panel| match panel.data() {
            TensorData::Grouped(panel) => panel.spec().element().center(),
            _ => None,
        });
        let zeros = grouped.params().zeros.clone().zip(middle);
        Some(Self {
            shape: w.shape(),
            rows: panels[0].shape().n,
            panels: panels.iter().map(make).collect(),
            scales: grouped.params().levels[0].clone(),
            zeros: zeros.map(|(params, middle)| Zeros { params, middle }),
        })
    }

    pub(crate) fn shape(&self) -> NK {
        self.shape
    }

    /// Its panels.
    pub(crate) fn panels(&self) -> &[W] {
        &self.panels
    }

    /// Bytes in memory, `of` those of a panel.
    pub(crate) fn bytes(&self, of: impl Fn(&W) -> usize) -> usize {
        let zeros = self.zeros.as_ref().map_or(0, |zeros| zeros.params.bytes().len());
        self.panels.iter().map(of).sum::<usize>() + self.scales.bytes().len() + zeros
    }
}

impl ByColumn<Arranged> {
    /// `out[M, N] = x[M, K] · W[N, K]ᵀ`, panels shared among the workers.
    pub(crate) fn multiply(&self, ctx: &Ctx, x: MatRef<'_>, mut out: MatMut<'_>) {
        let (tokens, k) = (x.rows(), self.shape.k);
        assert_eq!((x.cols(), out.rows(), out.cols()), (k, tokens, self.shape.n), "shapes of a product");
        let out = out.shared();
        ctx.run(self.panels.len(), |task, scratch| {
            let (panel, first) = (&self.panels[task], task * self.rows);
            let rows = panel.shape().n;
            let (serial, floats) = scratch.serial(ctx.isa(), (tokens + 1) * k + tokens * (rows + 1));
            let (scaled, rest) = floats.split_at_mut(tokens * k);
            let (zeros, rest) = rest.split_at_mut(k);
            let (made, missing) = rest.split_at_mut(tokens * rows);
            let params = (&self.scales, self.zeros.as_ref());
            scale_panel(ctx.isa(), params, first, x, (&mut *scaled, &mut *zeros));
            let scaled = MatRef::new(scaled, tokens, k);
            panel.multiply(serial, &Act::new(scaled), MatMut::new(made, tokens, rows));
            if self.zeros.is_some() {
                let zeros = FloatRows::new(FloatFormat::F32, bytemuck::cast_slice(zeros), 1, k);
                dot_rows(ctx.isa(), zeros, scaled, MatMut::new(missing, tokens, 1));
            } else {
                missing.fill(0.0);
            }
            for (m, (made, missing)) in made.chunks_exact(rows).zip(missing.iter()).enumerate() {
                // SAFETY: each task writes the columns of its own panel.
                let out = unsafe { out.part(m, first, rows) };
                out.iter_mut().zip(made).for_each(|(out, made)| *out = made - missing);
            }
        });
    }
}

multiversion! {
    fn scale_panel(
        params: (&Params, Option<&Zeros>), first: usize, x: MatRef<'_>, to: (&mut [f32], &mut [f32])
    ) = scale_panel_of_rows;
}

/// The activations of a panel, multiplied by its scales, and the zero points that its products lack.
#[inline(always)]
fn scale_panel_of_rows(
    (scales, zeros): (&Params, Option<&Zeros>),
    first: usize,
    x: MatRef<'_>,
    (scaled, missing): (&mut [f32], &mut [f32]),
) {
    // Scales go where zero points will be.
    scales.decode_row(first, missing);
    for (m, scaled) in scaled.chunks_exact_mut(missing.len()).enumerate() {
        scaled.iter_mut().zip(x.row(m)).zip(missing.iter()).for_each(|((to, x), s)| *to = x * s);
    }
    if let Some(zeros) = zeros {
        zeros.params.decode_row(first, missing);
        missing.iter_mut().for_each(|zero| *zero -= zeros.middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActRounding, Isa, Planner, reference};
    use lowbit_format::WeightSpec;
    use lowbit_testing::seeded_values;

    const LABELS: [&str; 6] = [
        "int4-asym-c16",
        "int3-asym-c12",
        "int2-sym-c16",
        "int8-asym-c8-f32",
        "int4-fzero-c128",
        "ternary-c20",
    ];

    fn weight(label: &str, shape: NK) -> QuantTensor {
        let mut weights = seeded_values("columns", shape.weights(), 1.0, 0.1);
        weights.iter_mut().enumerate().for_each(|(i, w)| *w *= (1 + i % shape.k % 5) as f32);
        QuantTensor::quantize_nearest(&WeightSpec::parse(label).unwrap(), &weights, shape).unwrap()
    }

    #[test]
    fn products_are_those_of_the_panels_with_scaled_activations_bit_for_bit() {
        let shape = NK { n: 37, k: 192 };
        for label in LABELS {
            let w = weight(label, shape);
            let TensorData::Grouped(grouped) = w.data() else { panic!("{label}") };
            let params = grouped.params();
            for (isa, tokens) in Isa::available().flat_map(|isa| [(isa, 1), (isa, 6)]) {
                let ctx = Ctx::new(isa, 2);
                let planner = Planner::new();
                let x = seeded_values("inputs", tokens * shape.k, 1.0, 0.0);
                let (mut found, mut expected) = (vec![0.0; tokens * shape.n], vec![0.0; tokens * shape.n]);
                let arranged = Arranged::new(&ctx, &w, &planner, Some(ActRounding::Group32Twice));
                let x = MatRef::new(&x, tokens, shape.k);
                arranged.multiply(&ctx, &Act::new(x), MatMut::new(&mut found, tokens, shape.n));
                let mut first = 0;
                for panel in panels(&w).unwrap() {
                    let alone = planner.alone(true);
                    let plain = Arranged::new(&ctx, &panel, &alone, Some(ActRounding::Group32Twice));
                    let scaled: Vec<f32> = (0..tokens * shape.k)
                        .map(|i| x.row(i / shape.k)[i % shape.k] * params.levels[0].get(first, i % shape.k))
                        .collect();
                    let mut made = vec![0.0; tokens * panel.shape().n];
                    let scaled = MatRef::new(&scaled, tokens, shape.k);
                    let to = MatMut::new(&mut made, tokens, panel.shape().n);
                    plain.multiply(&ctx, &Act::new(scaled), to);
                    for m in 0..tokens {
                        // Sixteen lanes and a fixed tree: the reference of float products.
                        let missing = params.zeros.as_ref().map_or(0.0, |zeros| {
                            let zeros: Vec<f32> =
                                (0..shape.k).map(|k| zeros.get(first, k) - middle(&panel)).collect();
                            let row = QuantTensor::from_floats(
                                FloatFormat::F32,
                                NK { n: 1, k: shape.k },
                                Storage::from(FloatFormat::F32.encode(&zeros)),
                            );
                            let x = MatRef::new(scaled.row(m), 1, shape.k);
                            reference::mpgemm(&row.unwrap(), x, crate::ActPrecision::Float)[0]
                        });
                        for r in 0..panel.shape().n {
                            expected[m * shape.n + first + r] = made[m * panel.shape().n + r] - missing;
                        }
                    }
                    first += panel.shape().n;
                }
                assert_eq!(found, expected, "{label} {isa:?} {tokens}");
            }
        }
    }

    #[test]
    fn nothing_is_kept_twice() {
        let ctx = Ctx::new(Isa::detect(), 1);
        for label in ["int4-asym-c128", "int3-sym-c64"] {
            let w = weight(label, NK { n: 256, k: 512 });
            let arranged = Arranged::new(&ctx, &w, &Planner::new(), Some(ActRounding::Group32Twice));
            // What keeps panels of 64 rows from the sets of a cache that others take, at most.
            assert!(
                arranged.bytes() <= w.bytes() + 1024 * 256 / 64,
                "{label}: {} of {}",
                arranged.bytes(),
                w.bytes()
            );
        }
    }

    fn middle(panel: &QuantTensor) -> f32 {
        match panel.data() {
            TensorData::Grouped(panel) => panel.spec().element().center().unwrap(),
            _ => panic!("a panel of codes"),
        }
    }

    #[test]
    fn products_are_near_what_the_weights_mean() {
        for (label, shape) in
            LABELS.into_iter().zip([NK { n: 40, k: 128 }, NK { n: 9, k: 1000 }].into_iter().cycle())
        {
            let w = weight(label, shape);
            for isa in Isa::available() {
                let ctx = Ctx::new(isa, 2);
                let arranged = Arranged::new(&ctx, &w, &Planner::new(), Some(ActRounding::Group32Twice));
                for tokens in [1, 9] {
                    let x = seeded_values("inputs", tokens * shape.k, 1.0, 0.0);
                    let x = MatRef::new(&x, tokens, shape.k);
                    let mut out = vec![0.0; tokens * shape.n];
                    arranged.multiply(&ctx, &Act::new(x), MatMut::new(&mut out, tokens, shape.n));
                    let (off, size) = reference::distance(&out, &reference::mpgemm_f64(&w, x));
                    // Two terms of 8 bits: half of 1 / (127 · 254) of the largest scaled activation of 32, for each of K weights.
                    assert!(off < size * 1e-3, "{label} {isa:?}: {off} of {size}");
                }
            }
        }
    }
}
