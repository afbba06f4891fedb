//! The worked example of `docs/tmac.md`, read from there and held against the code, so that neither drifts.

use super::{Form, Lookup, Table, TableActs, TableBits, Tables, layout::Layout, nibble};
use crate::{Act, Ctx, Isa, LutWeights, MatMut, MatRef, reference};
use lowbit_format::{
    Codes, GroupParams, GroupedSpec, GroupedTensor, NK, ParamFormat, QuantTensor, Storage, WeightSpec,
};

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tmac.md"));

/// Rows and columns.
const SIZE: usize = 8;

/// Cells of the first table under a heading, its head left out.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE.split_once(&format!("\n### {heading}\n")).expect("the page has the heading");
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect()
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn byte(text: &str) -> u8 {
    u8::from_str_radix(text, 16).unwrap_or_else(|_| panic!("{text:?} is no byte"))
}

fn spec() -> GroupedSpec {
    match WeightSpec::parse("int2-sym-row") {
        Ok(WeightSpec::Grouped(spec)) => spec,
        other => unreachable!("{other:?}"),
    }
}

fn weights() -> GroupedTensor {
    let rows = table("Weights");
    let codes: Vec<u8> = rows.iter().flat_map(|row| row[1].split(' ').map(|c| number(c) as u8)).collect();
    let scale = |row: &Vec<&str>| (ParamFormat::F16.encode(number(row[2]) as f32) as u16).to_le_bytes();
    let scales: Vec<u8> = rows.iter().flat_map(scale).collect();
    let shape = NK { n: SIZE, k: SIZE };
    let params = GroupParams::new(&spec(), shape, vec![Storage::from(scales)], None).unwrap();
    GroupedTensor::new(spec(), Codes::pack(spec().element().packing(), shape, &codes), params).unwrap()
}

fn activations() -> Vec<f32> {
    table("Activations").iter().flat_map(|row| row[1].split(' ').map(|x| number(x) as f32)).collect()
}

#[test]
fn its_tables_are_those_that_are_looked_up() {
    let x = activations();
    let x = MatRef::new(&x, 1, SIZE);
    let ctx = Ctx::new(Isa::detect(), 1);
    let layout = Layout::of(&spec(), SIZE, Table::Nibble).unwrap();
    for bits in TableBits::ALL {
        let acts = TableActs::new(&ctx, x, &layout, Form::Tables(bits));
        let integers = &acts.integers(0, 0)[..SIZE];
        let mut entries = vec![0; 32 * bits.bytes()];
        nibble::build(ctx.isa(), integers, 8, bits, &mut entries);
        let halves = entries.chunks_exact(16 * bits.bytes());
        // An entry is worth d, which has the half of ½ σ in it; the page writes that half by itself.
        let d = 2.0 * f64::from(acts.group(0, 0).d);
        for (column, half) in halves.enumerate() {
            for (e, row) in table("Tables").iter().enumerate() {
                assert_eq!((usize::from(byte(row[0])), row[1].len()), (e, 4));
                assert!(row[1].chars().enumerate().all(|(i, sign)| (e >> i & 1 == 1) == (sign == '+')));
                match bits {
                    TableBits::Eight => assert_eq!(f64::from(half[e]), number(row[4 + column]), "entry {e}"),
                    TableBits::Sixteen => {
                        let [h, l] = [half[e], half[16 + e]].map(|byte| f64::from(byte) - 127.5);
                        let value = d * (255.0 * h + l);
                        assert!((value - number(row[2 + column])).abs() < 1e-5, "entry {e}: {value}");
                    }
                }
            }
        }
    }
}

#[test]
fn its_bytes_are_those_of_the_layout_and_find_what_it_says() {
    let layout = Layout::of(&spec(), SIZE, Table::Nibble).unwrap();
    let mut panel = vec![0; layout.panel_bytes()];
    layout.pack(&weights(), &mut panel);
    let codes = &panel[layout.codes_at(0)..];
    let tables = table("Tables");
    let entry = |e: u8, column: usize| number(tables[usize::from(e)][column]);
    for (n, row) in table("Look-ups").iter().enumerate() {
        let mut planes = 0.0;
        for plane in 0..2 {
            let (at, found) = (byte(row[1 + 2 * plane]), number(row[2 + 2 * plane]));
            assert_eq!(codes[layout.at(n, plane)], at, "row {n}, plane {plane}");
            assert_eq!(entry(at & 15, 2) + entry(at >> 4, 3), found, "row {n}, plane {plane}");
            planes += f64::from(1 << plane) * found;
        }
        assert_eq!(planes, number(row[5]), "row {n}");
    }
}

#[test]
fn its_results_are_those_of_the_kernels() {
    let x = activations();
    let x = MatRef::new(&x, 1, SIZE);
    let w = QuantTensor::from_grouped(weights());
    let rows = table("Look-ups");
    let column = |i: usize| rows.iter().map(|row| number(row[i])).collect::<Vec<_>>();
    assert_eq!(reference::mpgemm_f64(&w, x), column(6));
    let near = |got: &[f32], want: &[f64]| {
        got.iter().zip(want).all(|(got, want)| (f64::from(*got) - want).abs() < 1e-5)
    };
    for isa in Isa::available() {
        let ctx = Ctx::new(isa, 1);
        let lut = LutWeights::new(&ctx, &w).unwrap();
        for (bits, want) in [(TableBits::Sixteen, column(6)), (TableBits::Eight, column(7))] {
            // The page shows entries of bytes for tables of sixteen.
            if bits == TableBits::Eight && Table::of(isa) == Table::Byte {
                continue;
            }
            let mut got = [0.0; SIZE];
            lut.multiply(
                &ctx,
                &Act::new(x),
                Lookup { bits, tables: Tables::Once },
                MatMut::new(&mut got, 1, SIZE),
            );
            assert!(near(&got, &want), "{} {bits:?}: {got:?}", isa.level());
        }
    }
}
