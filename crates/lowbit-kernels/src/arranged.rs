//! A weight in the one layout that it keeps in memory, with the kernel for every number of tokens: decided when it is loaded.

use crate::{
    Act, ActRounding, Codes, Ctx, Integers, LutWeights, MatMut, Method, Packed, Plan, Planner, Query,
    TokenBucket, WeightLayout,
    by_column::{self, ByColumn},
    by_row,
    groups::PackedGroups,
    mpgemm,
    terms::Terms,
};
use lowbit_format::{NK, QuantTensor, TensorData, TermKind, WeightSpec};

/// A weight matrix arranged for products on this machine, which serves one token and many.
#[derive(Debug)]
pub struct Arranged {
    weight: Arrangement,
    plan: Plan,
    rounding: Option<ActRounding>,
    /// What products of rows are multiplied with, where scales are in units of one a row.
    rows: Option<Vec<f32>>,
    /// What is added to the products, where the weight is a sum; the rest is then its base.
    terms: Option<Terms<Arranged>>,
}

impl Arranged {
    /// Arranges a tensor on the workers of `ctx` by the plan for them, for activations rounded as said, or left floats.
    ///
    /// Where there is no memory for a second copy in the best layout, the next one is taken; at last the weight stays as it
    /// is stored. [`Self::plan`] says what it has become.
    pub fn new(ctx: &Ctx, w: &QuantTensor, planner: &Planner<'_>, rounding: Option<ActRounding>) -> Self {
        if let TensorData::Sum(sum) = w.data() {
            let arranged = |w: &QuantTensor| Self::new(ctx, w, planner, rounding);
            return Self {
                terms: Some(Terms::new(ctx, sum.terms(), w.shape().k, arranged)),
                ..arranged(sum.base())
            };
        }
        if let Some((plain, rows)) = by_row::split(w) {
            return Self { rows: Some(rows), ..Self::new(ctx, &plain, planner, rounding) };
        }
        if let Some(columns) = ByColumn::new(w, |panel| Self::new(ctx, panel, &planner.alone(true), rounding))
        {
            let plan = columns.panels()[0].plan;
            return Self { weight: Arrangement::Columns(columns), plan, rounding, rows: None, terms: None };
        }
        let spec = w.spec();
        let (isa, threads) = (ctx.isa().level(), ctx.threads());
        let query = Query { spec: &spec, shape: w.shape(), tokens: TokenBucket::One, rounding, isa, threads };
        planner
            .plans(&query)
            .into_iter()
            .find_map(|plan| {
                let weight = Arrangement::new(ctx, w, plan.layout())?;
                Some(Self { weight, plan, rounding, rows: None, terms: None })
            })
            .expect("a stored weight needs no memory, and floats or expansion take every format")
    }

    /// N and K.
    pub fn shape(&self) -> NK {
        match &self.weight {
            Arrangement::Planes(w) => w.shape(),
            Arrangement::Fields(w) => w.shape(),
            Arrangement::Groups(w) => w.shape(),
            Arrangement::Columns(w) => w.shape(),
            Arrangement::Stored(w) => w.shape(),
        }
    }

    /// Bytes in memory, which a product reads.
    pub fn bytes(&self) -> usize {
        let base = match &self.weight {
            Arrangement::Planes(w) => w.bytes(),
            Arrangement::Fields(w) => w.bytes(),
            Arrangement::Groups(w) => w.bytes(),
            Arrangement::Columns(w) => w.bytes(Self::bytes),
            Arrangement::Stored(w) => w.bytes(),
        };
        let rows = self.rows.as_ref().map_or(0, |rows| size_of_val(&**rows));
        base + rows + self.terms.as_ref().map_or(0, |terms| terms.bytes(Self::bytes))
    }

    /// The layout, and the kernel for every number of tokens; of a sum those of the base, of groups in columns those
    /// of the first panel.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Makes of the activations what a product reads, where that is not done yet.
    pub fn prepare(&self, ctx: &Ctx, x: &Act<'_>) {
        self.weight.prepare(ctx, x, self.how(x));
    }

    /// `out[M, N] = x[M, K] · W[N, K]ᵀ`.
    ///
    /// Any number of workers may run it, and other instructions than those it was planned for where the layout does not
    /// depend on them: the result has the same bits.
    ///
    /// # Panics
    /// Where the shapes do not fit, or the context has tables of another width than the one bit planes were arranged for.
    pub fn multiply(&self, ctx: &Ctx, x: &Act<'_>, mut out: MatMut<'_>) {
        self.weight.multiply(ctx, x, self.how(x), out.reborrow());
        if let Some(rows) = &self.rows {
            by_row::scale(rows, out.reborrow());
        }
        if let Some(terms) = &self.terms {
            terms.add(ctx, x, out, &|w, x, out| w.multiply(ctx, x, out));
        }
    }

    fn how(&self, x: &Act<'_>) -> How {
        (self.plan.kernel(x.x().rows()).method, self.rounding)
    }
}

/// How a product is computed, and its activations rounded.
pub(crate) type How = (Method, Option<ActRounding>);

/// A weight in a layout.
#[derive(Debug)]
pub(crate) enum Arrangement {
    Planes(LutWeights),
    Fields(Packed),
    Groups(PackedGroups),
    Columns(ByColumn<Arranged>),
    Stored(QuantTensor),
}

impl Arrangement {
    /// Arranges a tensor; `None` where its format does not have the layout, or where there is no memory.
    pub(crate) fn new(ctx: &Ctx, w: &QuantTensor, layout: WeightLayout) -> Option<Self> {
        match layout {
            WeightLayout::Planes => LutWeights::new(ctx, w).map(Self::Planes),
            WeightLayout::Fields => Packed::new(ctx, w).map(Self::Fields),
            WeightLayout::Groups => PackedGroups::new(ctx, w).map(Self::Groups),
            WeightLayout::Stored => Some(Self::Stored(w.clone())),
        }
    }

    pub(crate) fn prepare(&self, ctx: &Ctx, x: &Act<'_>, how: How) {
        match (self, how) {
            // Every panel has activations of its own.
            (Self::Columns(_), _) => {}
            (Self::Planes(w), (Method::Lookup(lookup), _)) => w.prepare(ctx, x, lookup),
            (Self::Planes(w), (Method::Expand, Some(rounding))) => {
                w.prepare_expanded(ctx, x, rounding);
            }
            (Self::Groups(w), (Method::Dot | Method::Expand, Some(rounding))) => w.prepare(ctx, x, rounding),
            (_, (Method::Dot | Method::Expand, Some(rounding))) => {
                x.int8(ctx, rounding);
            }
            _ => {}
        }
    }

    /// # Panics
    /// Where the shapes do not fit, or no kernel of the layout has the method.
    pub(crate) fn multiply(&self, ctx: &Ctx, x: &Act<'_>, (method, rounding): How, out: MatMut<'_>) {
        let codes = if method == Method::Dot { Codes::InRegisters } else { Codes::Expanded };
        match (self, method, rounding) {
            (Self::Columns(w), ..) => w.multiply(ctx, x.x(), out),
            (Self::Planes(w), Method::Lookup(lookup), _) => w.multiply(ctx, x, lookup, out),
            (Self::Planes(w), Method::Expand, Some(rounding)) => {
                w.multiply_expanded(ctx, x, rounding, out);
            }
            (Self::Fields(w), Method::Dot | Method::Expand, Some(rounding)) => {
                w.multiply(ctx, x, Integers { rounding, codes }, out);
            }
            (Self::Groups(w), Method::Dot | Method::Expand, Some(rounding)) => {
                w.multiply(ctx, x, Integers { rounding, codes }, out);
            }
            (Self::Stored(w), Method::Dot | Method::Expand, Some(rounding)) => {
                mpgemm::integers(ctx, w, x, Integers { rounding, codes }, out);
            }
            (Self::Stored(w), Method::Float, _) => mpgemm::floats(ctx, w, x, out),
            _ => panic!("{self:?} is not multiplied by {method:?} with activations {rounding:?}"),
        }
    }
}

/// The matrices of one weight that kernels are chosen for: those of a sum, with one level of scales where the second is of
/// rows, and the first panel where groups lie in columns.
pub fn arranged_matrices(w: &QuantTensor) -> Vec<QuantTensor> {
    let plain = |w: &QuantTensor| {
        let panel = by_column::panels(w).and_then(|panels| panels.into_iter().next());
        panel.or_else(|| Some(by_row::split(w)?.0)).unwrap_or_else(|| w.clone())
    };
    let TensorData::Sum(sum) = w.data() else { return vec![plain(w)] };
    // Single weights and runs of them have a kernel of their own.
    let matrices = sum.terms().iter().filter(|term| !matches!(term.kind, TermKind::Sparse { .. }));
    std::iter::once(sum.base()).chain(matrices.flat_map(|term| &term.matrices)).map(plain).collect()
}

/// A matrix that kernels are chosen for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrangedFormat {
    /// What it is stored as.
    pub spec: WeightSpec,
    /// N and K.
    pub shape: NK,
    /// Whether no other weight reads its activations: see [`Planner::alone`].
    pub alone: bool,
}

/// What a weight of a format is multiplied as, as [`arranged_matrices`] says it of a weight.
pub fn arranged_formats(spec: &WeightSpec, shape: NK) -> Vec<ArrangedFormat> {
    let plain = |w: &WeightSpec, shape: NK| {
        let panel = if let WeightSpec::Grouped(grouped) = w { by_column::panel(grouped) } else { None };
        if let Some((rows, panel)) = panel {
            let shape = NK { n: rows.min(shape.n), ..shape };
            return ArrangedFormat { spec: WeightSpec::Grouped(panel), shape, alone: true };
        }
        let spec = by_row::spec_of_rows(w).unwrap_or_else(|| w.clone());
        ArrangedFormat { spec, shape, alone: false }
    };
    let WeightSpec::Sum(sum) = spec else { return vec![plain(spec, shape)] };
    let terms = sum.terms().iter().filter(|term| !matches!(term.kind, TermKind::Sparse { .. }));
    let matrices = terms
        .flat_map(|term| term.kind.matrices(shape).into_iter().map(move |shape| plain(&term.weight, shape)));
    std::iter::once(plain(sum.base(), shape)).chain(matrices).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_those_of_the_matrices_that_a_weight_becomes() {
        let shape = NK { n: 300, k: 192 };
        let formats = |label: &str| -> Vec<String> {
            let all = arranged_formats(&WeightSpec::parse(label).unwrap(), shape);
            all.iter().map(|m| format!("{} {} {}", m.spec, m.shape.n, m.shape.k)).collect()
        };
        assert_eq!(formats("q4_0"), ["q4_0 300 192"]);
        assert_eq!(formats("int4-asym-c128"), ["int4-sym-tensor 128 192"]);
        assert_eq!(formats("int4-asym-g64-int8-row"), ["int4-asym-g64-int8 300 192"]);
        let sum = ["int3-asym-g64 300 192", "f16 8 192", "f16 300 8"];
        assert_eq!(formats("int3-asym-g64+rank8-f16+sparse9x1-f16"), sum);
        let label = "int4-asym-c128";
        let spec = WeightSpec::parse(label).unwrap();
        let w = QuantTensor::quantize_nearest(&spec, &vec![0.5; shape.weights()], shape).unwrap();
        let made: Vec<String> = arranged_matrices(&w)
            .iter()
            .map(|w| format!("{} {} {}", w.spec(), w.shape().n, w.shape().k))
            .collect();
        assert_eq!(made, formats(label));
    }
}
