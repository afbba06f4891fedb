//! Codes with scales beside them as blocks of GGUF that mean exactly the same.
//!
//! A weight is `(code − zero) · scale`, one of a block `v · d` or `code · d + m`, where `v` is one of a few neighbouring
//! integers and `d` and `m` are half-precision numbers. The two are equal where `v = code − zero` is among these integers,
//! or `m = −zero · scale` is a half-precision number. That holds for every weight or it does not: each row is decoded
//! again and compared.

use lowbit_format::{
    BlockFormat, ElementFormat, GroupFit, GroupedTensor, NK, ParamFormat, QuantTensor, Storage,
};
use std::ops::Range;

/// Block formats by their size, the smallest first.
pub(super) const TARGETS: [Target; 9] = [
    Target { format: BlockFormat::Q1_0, values: Values::signed(-1, 2, 2, 0.5), put: bits },
    Target { format: BlockFormat::TQ2_0, values: Values::signed(-1, 1, 3, 1.0), put: ternary },
    Target { format: BlockFormat::Q2_0, values: Values::signed(-1, 1, 4, 1.0), put: quads },
    // Symmetric 2-bit codes are −2 to 1; with the sign in the scale they are −1 to 2.
    Target { format: BlockFormat::Q2_0, values: Values::signed(-1, 1, 4, -1.0), put: quads },
    Target { format: BlockFormat::Q4_0, values: Values::signed(-8, 1, 16, 1.0), put: nibbles },
    Target { format: BlockFormat::Q4_1, values: Values::Shifted { codes: 16 }, put: nibbles },
    Target { format: BlockFormat::Q5_0, values: Values::signed(-16, 1, 32, 1.0), put: fives },
    Target { format: BlockFormat::Q5_1, values: Values::Shifted { codes: 32 }, put: fives },
    Target { format: BlockFormat::Q8_0, values: Values::signed(-128, 1, 256, 1.0), put: bytes },
];

/// A block format and how it is written.
pub(super) struct Target {
    pub(super) format: BlockFormat,
    values: Values,
    /// Writes a block, given its codes and the bytes of `d` and `m`.
    put: fn(&[u8], &[u8], &mut Vec<u8>),
}

/// What codes stand for.
#[derive(Clone, Copy)]
enum Values {
    /// `(first + step · code) · d`, where `d` is the scale times `factor`.
    Signed { first: i16, step: i16, codes: u16, factor: f32 },
    /// `code · d + m`.
    Shifted { codes: u16 },
}

impl Values {
    const fn signed(first: i16, step: i16, codes: u16, factor: f32) -> Self {
        Self::Signed { first, step, codes, factor }
    }
}

/// The whole tensor in the smallest block format that holds it.
///
/// # Errors
/// Why the largest one does not.
pub(super) fn blocks(tensor: &GroupedTensor) -> Result<QuantTensor, String> {
    if let ElementFormat::Codebook(book) = tensor.spec().element() {
        return Err(format!("codes of {} stand for numbers that are no integers", book.label()));
    }
    let mut why = String::new();
    for target in &TARGETS {
        match target.encode(tensor) {
            Ok(made) => return Ok(made),
            Err(reason) => why = format!("{}: {reason}", target.format.label()),
        }
    }
    Err(why)
}

impl Target {
    /// The tensor in this format.
    ///
    /// # Errors
    /// Why it does not hold it.
    pub(super) fn encode(&self, tensor: &GroupedTensor) -> Result<QuantTensor, String> {
        let (shape, layout) = (tensor.shape(), self.format.layout());
        if !shape.k.is_multiple_of(layout.weights) {
            return Err(format!("rows of {} weights are no whole blocks of {}", shape.k, layout.weights));
        }
        let group = tensor.spec().levels()[0].shape.len_in_row(shape.k);
        if !group.is_multiple_of(layout.weights) {
            return Err(format!("groups of {group} weights are no whole blocks of {}", layout.weights));
        }
        let mut all = Vec::with_capacity(shape.n * (shape.k / layout.weights) * layout.bytes);
        let (mut expected, mut found) = (vec![0.0; shape.k], vec![0.0; shape.k]);
        for n in 0..shape.n {
            let start = all.len();
            self.encode_row(tensor, n, group, &mut all)?;
            let row = Storage::from(all[start..].to_vec());
            let row = QuantTensor::from_blocks(self.format, NK { n: 1, k: shape.k }, row);
            row.map_err(|error| error.to_string())?.decode_row(0, &mut found);
            tensor.decode_row(n, &mut expected);
            // Zeros of either sign are the same weight.
            if let Some(i) = (0..shape.k).find(|i| expected[*i] != found[*i]) {
                return Err(format!("row {n}, weight {i}: {} would become {}", expected[i], found[i]));
            }
        }
        QuantTensor::from_blocks(self.format, shape, all.into()).map_err(|error| error.to_string())
    }

    fn encode_row(
        &self,
        tensor: &GroupedTensor,
        n: usize,
        group: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let codes: Vec<u8> = tensor.codes().row(n).collect();
        let block = self.format.layout().weights;
        for (g, (codes, fit)) in codes.chunks(group).zip(tensor.stored_fits(n)).enumerate() {
            let here = g * group..g * group + codes.len();
            let (codes, params) = self.group(codes, fit).map_err(|why| at(n, &here, &why))?;
            codes.chunks(block).for_each(|codes| (self.put)(codes, &params, out));
        }
        Ok(())
    }

    /// The codes of a group, and the bytes of its `d` and, where the format has one, its `m`.
    fn group(&self, codes: &[u8], fit: GroupFit) -> Result<(Vec<u8>, Vec<u8>), String> {
        match self.values {
            Values::Signed { first, step, codes: count, factor } => {
                let of = |code: &u8| {
                    let value = (f32::from(*code) - fit.zero) / factor;
                    let code = (value - f32::from(first)) / f32::from(step);
                    let held = code.fract() == 0.0 && (0.0..f32::from(count)).contains(&code);
                    held.then_some(code as u8).ok_or_else(|| {
                        let last = first + step * (count as i16 - 1);
                        format!(
                            "a code less its zero point is {}, blocks hold {first} to {last}",
                            value * factor
                        )
                    })
                };
                let codes = codes.iter().map(of).collect::<Result<_, _>>()?;
                Ok((codes, half("scale", fit.scale * factor)?.to_vec()))
            }
            Values::Shifted { codes: count } => {
                if let Some(code) = codes.iter().find(|code| u16::from(**code) >= count) {
                    return Err(format!("the code {code}, blocks hold 0 to {}", count - 1));
                }
                let params = [half("scale", fit.scale)?, half("minimum", -fit.zero * fit.scale)?];
                Ok((codes.to_vec(), params.concat()))
            }
        }
    }
}

fn at(row: usize, weights: &Range<usize>, why: &str) -> String {
    format!("row {row}, weights {} to {}: {why}", weights.start, weights.end - 1)
}

/// The bytes of a number in half precision, where it is one.
fn half(what: &str, x: f32) -> Result<[u8; 2], String> {
    let bits = ParamFormat::F16.encode(x);
    if ParamFormat::F16.decode(bits) == x {
        return Ok((bits as u16).to_le_bytes());
    }
    Err(format!("the {what} {x} is no half-precision number"))
}

/// `Q1_0`: a bit a weight, low bits first.
fn bits(codes: &[u8], params: &[u8], out: &mut Vec<u8>) {
    out.extend(params);
    out.extend(codes.chunks(8).map(|codes| codes.iter().rev().fold(0, |byte, code| byte << 1 | code)));
}

/// `Q2_0`: four codes a byte, low bits first.
fn quads(codes: &[u8], params: &[u8], out: &mut Vec<u8>) {
    out.extend(params);
    out.extend(codes.chunks(4).map(|codes| codes.iter().rev().fold(0, |byte, code| byte << 2 | code)));
}

/// `TQ2_0`: every byte has four codes that stand 32 apart; the scale comes last.
fn ternary(codes: &[u8], params: &[u8], out: &mut Vec<u8>) {
    for half in codes.chunks(128) {
        out.extend((0..32).map(|l| (0..4).rev().fold(0, |byte, run| byte << 2 | half[32 * run + l])));
    }
    out.extend(params);
}

/// `Q4_0` and `Q4_1`: every byte has two codes that stand 16 apart.
fn nibbles(codes: &[u8], params: &[u8], out: &mut Vec<u8>) {
    out.extend(params);
    out.extend((0..16).map(|j| codes[j] & 15 | codes[j + 16] << 4));
}

/// `Q5_0` and `Q5_1`: the fifth bits in a word, then nibbles.
fn fives(codes: &[u8], params: &[u8], out: &mut Vec<u8>) {
    let fifth = codes.iter().rev().fold(0u32, |word, code| word << 1 | u32::from(code >> 4));
    nibbles(codes, &[params, &fifth.to_le_bytes()].concat(), out);
}

/// `Q8_0`: signed bytes, 128 below the code.
fn bytes(codes: &[u8], params: &[u8], out: &mut Vec<u8>) {
    out.extend(params);
    out.extend(codes.iter().map(|code| code ^ 128));
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit_format::{GroupedSpec, WeightSpec};
    use lowbit_testing::seeded_values;

    const SHAPE: NK = NK { n: 3, k: 512 };

    fn grouped(label: &str) -> GroupedSpec {
        match WeightSpec::parse(label).unwrap() {
            WeightSpec::Grouped(spec) => spec,
            other => panic!("{other} is not grouped"),
        }
    }

    fn weights(lift: f32) -> Vec<f32> {
        seeded_values("weights", SHAPE.weights(), 0.1, lift)
    }

    /// Decoded with the codec of the block format, which is tested against the reference package, not with ours.
    fn same(label: &str, tensor: &GroupedTensor, made: &QuantTensor) {
        let (mut expected, mut found) = (vec![0.0; SHAPE.k], vec![0.0; SHAPE.k]);
        for n in 0..SHAPE.n {
            tensor.decode_row(n, &mut expected);
            made.decode_row(n, &mut found);
            // Bit for bit, the sign of zero apart.
            let bits = |row: &[f32]| row.iter().map(|x| (x + 0.0).to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&expected), bits(&found), "{label} row {n}");
        }
    }

    #[test]
    fn every_format_becomes_the_smallest_blocks_that_mean_the_same() {
        for (label, expected) in [
            ("int1-sym-g128", "q1_0"),
            ("ternary-g256", "tq2_0"),
            ("ternary-g64", "q2_0"),
            ("ternary-g32", "q4_0"),
            ("int2-sym-g64", "q2_0"),
            ("int2-sym-g32", "q4_0"),
            ("int2-asym-g32", "q4_0"),
            ("int3-sym-g32", "q4_0"),
            ("int3-asym-g64", "q4_0"),
            ("int4-sym-g32", "q4_0"),
            ("int4-sym-g128", "q4_0"),
            ("int4-sym-row", "q4_0"),
            ("int4-asym-g32", "q5_0"),
            ("int5-sym-g32", "q5_0"),
            ("int5-asym-g32", "q8_0"),
            ("int6-sym-g32", "q8_0"),
            ("int8-sym-g32", "q8_0"),
        ] {
            let tensor = GroupedTensor::quantize_nearest(&grouped(label), &weights(0.01), SHAPE).unwrap();
            let made = blocks(&tensor).unwrap_or_else(|why| panic!("{label}: {why}"));
            assert_eq!(made.spec().label(), expected, "{label}");
            same(label, &tensor, &made);
        }
    }

    #[test]
    fn every_block_format_of_the_list_is_made_of_something() {
        let made = |label: &str, fit: GroupFit| {
            let spec = grouped(label);
            let groups = SHAPE.n * spec.levels()[0].shape.per_row(SHAPE.k);
            let fits = vec![fit; groups];
            let tensor = GroupedTensor::quantize_with(&spec, &weights(0.5), SHAPE, &fits).unwrap();
            let made = blocks(&tensor).unwrap_or_else(|why| panic!("{label}: {why}"));
            same(label, &tensor, &made);
            made.spec().label()
        };
        let fit = |scale, zero| GroupFit { scale, zero };
        let found = [
            made("int1-sym-g128", fit(0.25, 0.0)),
            made("ternary-g256", fit(0.25, 0.0)),
            made("int2-sym-g64", fit(0.25, 0.0)),
            made("int4-sym-g32", fit(0.0625, 0.0)),
            made("int4-fzero-g32", fit(0.0625, 0.5)),
            made("int5-sym-g32", fit(0.03125, 0.0)),
            made("int5-fzero-g32", fit(0.03125, 0.5)),
            made("int8-asym-g32", fit(0.0078125, 8.0)),
        ];
        let mut listed: Vec<_> = TARGETS.iter().map(|target| target.format.label()).collect();
        listed.dedup();
        assert_eq!(found, listed[..]);
    }

    #[test]
    fn what_would_be_another_number_is_refused_with_its_place() {
        let refused = |label: &str, lift| {
            let tensor = GroupedTensor::quantize_nearest(&grouped(label), &weights(lift), SHAPE).unwrap();
            blocks(&tensor).unwrap_err()
        };
        for (label, expected) in [
            ("int4-sym-g16", "groups of 16 weights are no whole blocks of 32"),
            ("ternary-tensor-f32", "row 0, weights 0 to 511: the scale"),
            ("int4-sym-g32-f32", "is no half-precision number"),
        ] {
            let why = refused(label, 0.01);
            assert!(why.starts_with("q8_0: ") && why.contains(expected), "{label}: {why}");
        }
        // All weights are positive: the zero point is 0 and codes reach 255.
        let why = refused("int8-asym-g32", 1.0);
        assert!(why.contains("a code less its zero point is") && why.contains("hold -128 to 127"), "{why}");
    }

    #[test]
    fn a_minimum_that_is_no_half_precision_number_is_refused_by_formats_with_one() {
        let spec = grouped("int4-fzero-g32");
        let fits = vec![GroupFit { scale: 0.1, zero: 3.3 }; SHAPE.n * 16];
        let tensor = GroupedTensor::quantize_with(&spec, &weights(0.0), SHAPE, &fits).unwrap();
        let q4_1 = TARGETS.iter().find(|target| target.format == BlockFormat::Q4_1).unwrap();
        let why = q4_1.encode(&tensor).unwrap_err();
        assert!(why.starts_with("row 0, weights 0 to 31: the minimum -0.3"), "{why}");
    }
}
