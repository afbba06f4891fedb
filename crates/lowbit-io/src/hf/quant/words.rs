//! Matrices whose elements are laid out by columns where lowbit has them by rows.

/// Edge of the tiles that are turned at a time: both sides stay in the first-level cache.
const TILE: usize = 32;

/// The transpose of a matrix of `rows` by `columns` elements of `W` bytes.
pub(super) fn transposed<const W: usize>(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let words = bytes.as_chunks::<W>().0;
    let mut out = vec![[0; W]; rows * columns];
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for row in top..(top + TILE).min(rows) {
                for column in left..(left + TILE).min(columns) {
                    out[column * rows + row] = words[row * columns + column];
                }
            }
        }
    }
    out.into_flattened()
}

/// [`transposed`] for scales of 2 or 4 bytes.
pub(super) fn transposed_floats(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    match bytes.len() / (rows * columns).max(1) {
        2 => transposed::<2>(bytes, rows, columns),
        _ => transposed::<4>(bytes, rows, columns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_turned_twice_is_itself_and_turned_once_is_not() {
        let (rows, columns) = (37, 70);
        let bytes: Vec<u8> = (0..rows * columns * 4).map(|i| (i % 251) as u8).collect();
        let turned = transposed::<4>(&bytes, rows, columns);
        assert_eq!(turned[4 * rows..][..4], bytes[4..8]);
        assert_eq!(transposed::<4>(&turned, columns, rows), bytes);
    }
}
