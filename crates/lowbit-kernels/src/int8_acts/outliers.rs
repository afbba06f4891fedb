//! Activations of which the large ones are rounded apart from the others: the mixed-precision decomposition of LLM.int8().

use super::Int8Acts;
use crate::{ActRounding, Ctx, mat::MatRef};
use lowbit_format::OUTLIER;

/// Rounds what is below [`OUTLIER`] with one scale a token, and the rest twice, by spans. Where no token has an outlier, the rows
/// for them are zeros.
pub(super) fn round(ctx: &Ctx, x: MatRef<'_>, span: usize) -> Int8Acts {
    let (tokens, k) = (x.rows(), x.cols());
    let part = |is_outlier: bool| -> Vec<f32> {
        let keep = |x: &f32| if (x.abs() >= OUTLIER) == is_outlier { *x } else { 0.0 };
        (0..tokens).flat_map(|m| x.row(m).iter().map(keep)).collect()
    };
    let rounded =
        |values: &[f32], rounding| Int8Acts::by_spans(ctx, MatRef::new(values, tokens, k), rounding, span);
    let mut acts = rounded(&part(false), ActRounding::Token);
    acts.append(rounded(&part(true), ActRounding::Group32Twice));
    acts
}

impl Int8Acts {
    /// Adds the rows of another rounding of as many tokens by the same spans.
    fn append(&mut self, more: Self) {
        debug_assert_eq!((self.tokens, self.k, self.span), (more.tokens, more.k, more.span));
        self.rows += more.rows;
        self.q.extend(more.q);
        self.d.extend(more.d);
        for (sums, more) in [(&mut self.whole, more.whole), (&mut self.halves, more.halves)] {
            sums.scaled.extend(more.scaled);
            sums.bias.extend(more.bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn outliers_do_not_coarsen_the_others_and_are_themselves_in_sixteen_bits() {
        let (tokens, k) = (3, 70);
        let mut x: Vec<f32> = (0..tokens * k).map(|i| ((i * 37) % 101) as f32 / 60.0 - 0.8).collect();
        x[5] = 60.0;
        x[k + 66] = -9.5;
        let acts =
            Int8Acts::new(&Ctx::new(Isa::SCALAR, 1), MatRef::new(&x, tokens, k), ActRounding::TokenOutliers);
        assert_eq!((acts.rows(), acts.tokens()), (3 * tokens, tokens));
        for m in 0..tokens {
            let small =
                x[m * k..][..k].iter().filter(|x| x.abs() < OUTLIER).fold(0f32, |a, x| a.max(x.abs()));
            for i in 0..k {
                let of_row = |row: usize| f32::from(acts.q(row)[i]) * acts.d(row)[i / acts.span()];
                let sum: f32 = (0..3).map(|term| of_row(term * tokens + m)).sum();
                let exact = x[m * k + i];
                let most = if exact.abs() < OUTLIER { small / 253.0 } else { exact.abs() / 30_000.0 };
                assert!((sum - exact).abs() <= most, "{m} {i}: {sum} {exact}");
            }
        }
    }
}
