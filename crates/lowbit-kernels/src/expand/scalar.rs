//! The tile loop without vectors.

use super::{PANEL, Panel, emit};
use crate::{Int8Acts, SharedMut};

/// Multiplies a panel with every token into columns `first..first + rows` of `out`.
///
/// # Safety
/// - Nobody else refers to those columns.
pub(super) unsafe fn tokens(panel: &Panel<'_>, x: &Int8Acts, out: SharedMut<'_>, first: usize, rows: usize) {
    let shift = panel.act_shift(x);
    for m in 0..x.rows() {
        let (xq, d, sums) = (x.q(m), x.d(m), x.sums(m, panel.group));
        let mut acc = [0f32; PANEL];
        for (g, steps) in panel.steps() {
            let mut isum = [0i32; PANEL];
            for step in steps {
                let x4: &[i8; 4] = xq[4 * step..].first_chunk().expect("K is a multiple of 4");
                let w16 = panel.q[step * 4 * PANEL..][..4 * PANEL].as_chunks::<4>().0;
                for (isum, w4) in isum.iter_mut().zip(w16) {
                    for (w, x) in w4.iter().zip(x4) {
                        *isum += i32::from(*w) * i32::from(*x);
                    }
                }
            }
            let scales = &panel.s[g * PANEL..][..PANEL];
            for r in 0..PANEL {
                acc[r] = (isum[r] as f32).mul_add(scales[r] * d[g >> shift], acc[r]);
            }
            if !panel.c.is_empty() {
                let offsets = &panel.c[g * PANEL..][..PANEL];
                for r in 0..PANEL {
                    acc[r] = offsets[r].mul_add(sums[g], acc[r]);
                }
            }
        }
        // SAFETY: passed on.
        unsafe { emit(x, m, &acc[..rows], out, first) };
    }
}
