//! Look-up one byte at a time: what the vector kernels compute, for any width of table.

use super::{Table, TableBits, Tile, layout::PANEL, nibble::Place};

/// Adds the products of a tile to the sums `[panel][token][row]`.
pub(super) fn tile(tile: &Tile<'_>, sums: &mut [[f32; PANEL]]) {
    for (panel, sums) in tile.panels.iter().zip(sums.chunks_exact_mut(tile.tokens.len())) {
        one_panel(tile, panel, sums);
    }
}

fn one_panel(tile: &Tile<'_>, panel: &[u8], sums: &mut [[f32; PANEL]]) {
    let layout = tile.layout;
    let group_bytes = layout.lookups * tile.acts.lookup_bytes();
    for (i, group) in tile.groups.clone().enumerate() {
        let codes = &panel[layout.codes_at(group)..][..layout.group_bytes];
        let params = &panel[layout.params_at(group)..];
        let zeros = &params[tile.params.scale_bytes()..];
        for (t, acc) in tile.tokens.clone().zip(sums.iter_mut()) {
            let tables =
                &tile.tables[(t - tile.tokens.start) * tile.token_stride + i * group_bytes..][..group_bytes];
            let x = tile.acts.group(t, group);
            for (row, acc) in acc.iter_mut().enumerate() {
                let places: [usize; 4] = std::array::from_fn(|plane| layout.at(row, plane));
                let mut sum = tile.acts.start_of_sum();
                for (l, table) in tables.chunks_exact(tile.acts.lookup_bytes()).enumerate() {
                    for (plane, at) in places[..layout.planes].iter().enumerate() {
                        sum += entry(tile, codes, table, (l, *at)) << plane;
                    }
                }
                let t = layout.middle(zeros, row).mul_add(x.sum, x.bias);
                let t = (sum as f32).mul_add(x.d, t);
                *acc = t.mul_add(tile.params.scale.get(params, row), *acc);
            }
        }
    }
}

/// What a tuple of the row and plane whose bytes are at `at` finds, in the entries that are the tuple's.
fn entry(tile: &Tile<'_>, codes: &[u8], entries: &[u8], (tuple, at): (usize, usize)) -> i32 {
    let (layout, bits) = (tile.layout, tile.acts.bits());
    let found = |at: usize, width: usize, negative: bool| {
        let byte = |at: usize| i32::from(if negative { !entries[at] } else { entries[at] });
        match bits {
            TableBits::Eight => byte(at),
            TableBits::Sixteen => 255 * byte(at) + byte(at + width),
        }
    };
    if layout.table == Table::Nibble && layout.ternary {
        let place = Place::of(tuple, layout.lookups);
        let index = codes[PANEL * place.index + at] >> place.index_shift & 15;
        let sign = codes[PANEL * place.sign + at] >> place.sign_shift & 1;
        return found(usize::from(index), 16, sign == 1);
    }
    let code = codes[tuple * PANEL * layout.planes + at];
    match layout.table {
        Table::Byte => found(usize::from(code & 0x7f), 128, code & 0x80 != 0),
        Table::Nibble => {
            found(usize::from(code & 15), 16, false)
                + found(16 * bits.bytes() + usize::from(code >> 4), 16, false)
        }
    }
}
