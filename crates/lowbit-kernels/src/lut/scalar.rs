//! Look-up one byte at a time: what the vector kernels compute, for any width of table.

use super::{Table, TableBits, Tile, layout::PANEL};

/// Adds the products of a tile to the sums `[token][row]`.
pub(super) fn tile(tile: &Tile<'_>, acc: &mut [[f32; PANEL]]) {
    let layout = tile.layout;
    let group_bytes = layout.lookups * tile.acts.lookup_bytes();
    for (i, group) in tile.groups.clone().enumerate() {
        let codes = &tile.bytes.codes[group * layout.group_bytes()..][..layout.group_bytes()];
        let params = &tile.bytes.params[layout.params_at(group)..];
        let zeros = &params[tile.params.scale.bytes()..];
        for (t, acc) in tile.tokens.clone().zip(acc.iter_mut()) {
            let tables = &tile.tables[(t - tile.tokens.start) * tile.token_stride + i * group_bytes..][..group_bytes];
            let x = tile.acts.group(t, group);
            for (row, acc) in acc.iter_mut().enumerate() {
                let mut sum = 0;
                let tuples = codes.chunks_exact(PANEL * layout.planes);
                for (codes, table) in tuples.zip(tables.chunks_exact(tile.acts.lookup_bytes())) {
                    for plane in 0..layout.planes {
                        sum += entry(codes[layout.at(row, plane)], layout.table, tile.acts.bits(), table) << plane;
                    }
                }
                let middle = layout.middle(zeros, row) * x.sum;
                let t = (sum as f32).mul_add(layout.unit() * x.d, middle);
                *acc = t.mul_add(tile.params.scale.get(params, row), *acc);
            }
        }
    }
}

/// Twice what a byte stands for.
fn entry(code: u8, table: Table, bits: TableBits, entries: &[u8]) -> i32 {
    let twice = |at: usize, width: usize| match bits {
        TableBits::Eight => 2 * i32::from(entries[at]) - 255,
        TableBits::Sixteen => {
            255 * (2 * i32::from(entries[at]) - 255) + 2 * i32::from(entries[at + width]) - 255
        }
    };
    match table {
        Table::Byte if code & 0x80 == 0 => twice(usize::from(code), 128),
        Table::Byte => -twice(usize::from(code & 0x7f), 128),
        Table::Nibble => {
            twice(usize::from(code & 15), 16) + twice(16 * bits.bytes() + usize::from(code >> 4), 16)
        }
    }
}
