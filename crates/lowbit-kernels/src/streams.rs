//! In which order panels are read: several streams of memory, each in order.

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

#[cfg(test)]
mod tests {
    use super::{pieces, side_by_side};

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
