//! In which order panels are read, and what is asked for before it is needed.
// Only x86-64 asks so far: elsewhere it could not be measured.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

use std::ops::Range;

/// Panels in the order in which so many streams, each of neighbours, have them next; those that are left come last.
pub(crate) fn side_by_side(panels: Range<usize>, streams: usize) -> Vec<usize> {
    let long = panels.len() / streams;
    let at = |i: usize| panels.start + i % streams * long + i / streams;
    (0..long * streams).map(at).chain(panels.start + long * streams..panels.end).collect()
}

/// Cuts a range into pieces of `most`, a power of two, and smaller powers of two at its end.
pub(crate) fn pieces(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let left = range.end.checked_sub(start).filter(|left| *left > 0)?;
        let piece = start..start + if left >= most { most } else { 1 << left.ilog2() };
        start = piece.end;
        Some(piece)
    })
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks the second-level cache for the lines of `bytes` bytes from an address on, which may be any.
#[inline(always)]
pub(crate) fn ask_for(at: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, and it is a hint that cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, bytes);
}

/// The bytes of the panel that comes next, asked for a little at a time while its predecessor is multiplied: between reads that
/// are long apart nothing else would, and reading and computing would take turns.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ahead<'a>(pub(crate) [&'a [u8]; 2]);

impl<'a> Ahead<'a> {
    /// What is asked for while rows `rows` of `all` are multiplied, in so many steps.
    #[inline(always)]
    pub(crate) fn during(self, rows: Range<usize>, all: usize, steps: usize) -> Asking<'a> {
        let lines = self.0[0].len().div_ceil(LINE) + self.0[1].len().div_ceil(LINE);
        let (next, end) = (rows.start * lines / all, rows.end * lines / all);
        Asking { ahead: self, next, end, a_step: (end - next).div_ceil(steps.max(1)) }
    }
}

/// Lines of two stretches of memory, some of which are still to be asked for.
pub(crate) struct Asking<'a> {
    ahead: Ahead<'a>,
    next: usize,
    end: usize,
    a_step: usize,
}

impl Asking<'_> {
    /// Asks for the lines of a step.
    #[inline(always)]
    pub(crate) fn step(&mut self) {
        if self.next == self.end {
            return;
        }
        let end = (self.next + self.a_step).min(self.end);
        let [first, second] = self.ahead.0;
        let of_first = first.len().div_ceil(LINE);
        ask_for_lines(first, self.next.min(of_first)..end.min(of_first));
        ask_for_lines(second, self.next.saturating_sub(of_first)..end.saturating_sub(of_first));
        self.next = end;
    }
}

#[inline(always)]
fn ask_for_lines(bytes: &[u8], lines: Range<usize>) {
    ask_for(bytes.as_ptr().wrapping_add(lines.start * LINE), lines.len() * LINE);
}

#[cfg(test)]
mod tests {
    use super::{Ahead, pieces, side_by_side};

    #[test]
    fn every_line_is_asked_for_once() {
        let bytes = [0u8; 1000];
        for (first, second) in [(0, 0), (1000, 0), (640, 65), (3, 900)] {
            let ahead = Ahead([&bytes[..first], &bytes[..second]]);
            let mut next = 0;
            for rows in [0..8, 8..12, 12..13] {
                let mut asking = ahead.during(rows, 13, 7);
                assert_eq!(asking.next, next);
                (0..7).for_each(|_| asking.step());
                assert_eq!(asking.next, asking.end);
                next = asking.end;
            }
            assert_eq!(next, usize::div_ceil(first, 64) + usize::div_ceil(second, 64));
        }
    }

    #[test]
    fn pieces_cover_a_range_in_powers_of_two() {
        assert_eq!(pieces(3..14, 4).collect::<Vec<_>>(), [3..7, 7..11, 11..13, 13..14]);
        assert_eq!(pieces(5..5, 4).count(), 0);
    }

    #[test]
    fn streams_go_on_with_their_neighbours() {
        assert_eq!(side_by_side(10..19, 4), [10, 12, 14, 16, 11, 13, 15, 17, 18]);
        assert_eq!(side_by_side(3..6, 4), [3, 4, 5]);
        assert_eq!(side_by_side(3..6, 1), [3, 4, 5]);
    }
}
