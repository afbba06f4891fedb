//! Every kernel: a product of one weight layout by one method at one instruction-set level.
//!
//! A card says what a kernel is, what it computes in, and what it refuses; the planner ([`crate::Planner`]) chooses among
//! those that accept. The list is the same on every host: what a CPU cannot run is refused with that reason.
//!
//! Names are `lut-8bit-once-avx2`: family, what sets it apart, level.

use crate::{
    ActRounding,
    IsaLevel::{self, Avx2, Avx512, Dotprod, Neon, Scalar},
    Lookup, LutWeights,
    TableBits::{self, Eight, Sixteen},
    Tables::{self, Once, Tiled},
    by_row, groups,
    lut::{Form, Key, Table, layout::Layout},
    plan::{Query, Refusal, TokenBucket},
};
use Method::{Dot, Expand, Float};
use WeightLayout::{Fields, Groups, Planes, Stored};
use lowbit_format::{ElementFormat, GroupedSpec, NK, SpecInfo, WeightSpec, all_specs};

/// In which order a weight's bytes lie in memory; decided once, when it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeightLayout {
    /// Bit planes of sixty-four rows, to be looked up: [`crate::LutWeights`].
    Planes,
    /// Codes in fields of 4, 2 and 1 bits, sixteen rows side by side: [`crate::Packed`].
    Fields,
    /// Integers in groups, codes in such fields or bytes, with the scales in front: [`crate::PackedGroups`].
    Groups,
    /// As the checkpoint has it.
    Stored,
}

impl WeightLayout {
    /// All of them.
    pub const ALL: [Self; 4] = [Planes, Fields, Groups, Stored];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Planes => "bitplane",
            Fields => "fields",
            Groups => "groups",
            Stored => "stored",
        }
    }
}

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Signed sums of activations are looked up by bit planes of weights.
    Lookup(Lookup),
    /// Codes are taken apart in registers, for each few rows of activations anew.
    Dot,
    /// A panel of codes is expanded to bytes once and multiplied with every token.
    Expand,
    /// Weights are multiplied as floats.
    Float,
}

/// What a kernel is.
#[derive(Debug, PartialEq, Eq)]
pub struct KernelCard {
    /// Its name.
    pub name: &'static str,
    /// What it reads.
    pub layout: WeightLayout,
    /// What it does.
    pub method: Method,
    /// The instructions that it needs.
    pub isa: IsaLevel,
}

/// Every kernel.
pub static KERNELS: &[KernelCard] = &[
    card("lut-8bit-once-scalar", Planes, lookup(Eight, Once), Scalar),
    card("lut-8bit-once-neon", Planes, lookup(Eight, Once), Neon),
    card("lut-8bit-once-dotprod", Planes, lookup(Eight, Once), Dotprod),
    card("lut-8bit-once-avx2", Planes, lookup(Eight, Once), Avx2),
    card("lut-8bit-once-avx512", Planes, lookup(Eight, Once), Avx512),
    card("lut-8bit-tiled-scalar", Planes, lookup(Eight, Tiled), Scalar),
    card("lut-8bit-tiled-neon", Planes, lookup(Eight, Tiled), Neon),
    card("lut-8bit-tiled-dotprod", Planes, lookup(Eight, Tiled), Dotprod),
    card("lut-8bit-tiled-avx2", Planes, lookup(Eight, Tiled), Avx2),
    card("lut-8bit-tiled-avx512", Planes, lookup(Eight, Tiled), Avx512),
    card("lut-16bit-once-scalar", Planes, lookup(Sixteen, Once), Scalar),
    card("lut-16bit-once-neon", Planes, lookup(Sixteen, Once), Neon),
    card("lut-16bit-once-dotprod", Planes, lookup(Sixteen, Once), Dotprod),
    card("lut-16bit-once-avx2", Planes, lookup(Sixteen, Once), Avx2),
    card("lut-16bit-once-avx512", Planes, lookup(Sixteen, Once), Avx512),
    card("lut-16bit-tiled-scalar", Planes, lookup(Sixteen, Tiled), Scalar),
    card("lut-16bit-tiled-neon", Planes, lookup(Sixteen, Tiled), Neon),
    card("lut-16bit-tiled-dotprod", Planes, lookup(Sixteen, Tiled), Dotprod),
    card("lut-16bit-tiled-avx2", Planes, lookup(Sixteen, Tiled), Avx2),
    card("lut-16bit-tiled-avx512", Planes, lookup(Sixteen, Tiled), Avx512),
    card("planes-expand-avx2", Planes, Expand, Avx2),
    card("planes-expand-avx512", Planes, Expand, Avx512),
    card("packed-dot-avx512", Fields, Dot, Avx512),
    card("packed-expand-scalar", Fields, Expand, Scalar),
    card("packed-expand-neon", Fields, Expand, Neon),
    card("packed-expand-dotprod", Fields, Expand, Dotprod),
    card("packed-expand-avx2", Fields, Expand, Avx2),
    card("packed-expand-avx512", Fields, Expand, Avx512),
    card("groups-dot-avx512", Groups, Dot, Avx512),
    card("groups-expand-scalar", Groups, Expand, Scalar),
    card("groups-expand-neon", Groups, Expand, Neon),
    card("groups-expand-dotprod", Groups, Expand, Dotprod),
    card("groups-expand-avx2", Groups, Expand, Avx2),
    card("groups-expand-avx512", Groups, Expand, Avx512),
    card("stored-dot-avx512", Stored, Dot, Avx512),
    card("stored-expand-scalar", Stored, Expand, Scalar),
    card("stored-expand-neon", Stored, Expand, Neon),
    card("stored-expand-dotprod", Stored, Expand, Dotprod),
    card("stored-expand-avx2", Stored, Expand, Avx2),
    card("stored-expand-avx512", Stored, Expand, Avx512),
    card("stored-float-scalar", Stored, Float, Scalar),
    card("stored-float-neon", Stored, Float, Neon),
    card("stored-float-dotprod", Stored, Float, Dotprod),
    card("stored-float-avx2", Stored, Float, Avx2),
    card("stored-float-avx512", Stored, Float, Avx512),
];

const fn lookup(bits: TableBits, tables: Tables) -> Method {
    Method::Lookup(Lookup { bits, tables })
}

const fn card(name: &'static str, layout: WeightLayout, method: Method, isa: IsaLevel) -> KernelCard {
    KernelCard { name, layout, method, isa }
}

/// What identifies the kernels that a measurement was made with: a hash of their names and of the version.
pub fn kernel_set() -> u64 {
    let names = KERNELS.iter().map(|card| card.name).chain([env!("CARGO_PKG_VERSION")]);
    // FNV-1a, with a byte after each name that none has.
    names.flat_map(|name| name.bytes().chain([0xff])).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Most tokens that `packed-dot` and `groups-dot` multiply: from a few on, taking codes apart for each anew is lost time.
const DOT_TOKENS: TokenBucket = TokenBucket::UpTo16;

/// Why no kernel of integers takes codes that stand for numbers of a table.
const NO_INTEGERS: Refusal = Refusal::Format("its codes stand for numbers that are no integers");

/// Most bytes of tables made before a product.
const TABLE_BYTES: usize = 64 << 20;

impl KernelCard {
    /// The kernel of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KERNELS.iter().find(|card| card.name == name)
    }

    /// Whether it computes what is asked, and may.
    ///
    /// # Errors
    /// Why it does not.
    pub fn accepts(&self, q: &Query<'_>) -> Result<(), Refusal> {
        if self.isa != q.isa {
            return Err(Refusal::Isa { needs: self.isa, has: q.isa });
        }
        let one_level = by_row::spec_of_rows(q.spec);
        let q = &Query { spec: one_level.as_ref().unwrap_or(q.spec), ..*q };
        if let WeightSpec::Sum(_) = q.spec {
            return Err(Refusal::Format(
                "it is a sum, whose matrices are multiplied each by a kernel of its own",
            ));
        }
        match self.method {
            Method::Lookup(Lookup { bits, tables }) => look_up(bits, tables, q),
            Expand if self.layout == Planes => match planes(q)? {
                (layout, _) if LutWeights::expands(layout.is_ternary(), q.isa) => Ok(()),
                _ => Err(Refusal::Format("its codes are several weights each")),
            },
            Dot | Expand => {
                match (self.layout, q.spec) {
                    (_, WeightSpec::Float(_)) => return Err(Refusal::Format("it has no integer codes")),
                    (Fields, WeightSpec::Grouped(_)) => {
                        return Err(Refusal::Format("its codes lie in no blocks"));
                    }
                    (Groups, WeightSpec::Block(_)) => {
                        return Err(Refusal::Format("its codes lie in blocks"));
                    }
                    (Groups, WeightSpec::Grouped(spec))
                        if groups::layout::Layout::of(spec, q.shape.k).is_none() =>
                    {
                        return Err(no_groups(spec));
                    }
                    (Fields, WeightSpec::Block(format)) if format.layout().elements.is_none() => {
                        return Err(Refusal::Format("its codes are not one for each weight"));
                    }
                    (_, WeightSpec::Grouped(spec)) if spec.integer_group().is_none() => {
                        return Err(match spec.element() {
                            ElementFormat::Codebook(_) => NO_INTEGERS,
                            _ => Refusal::GroupSize { needs: "a multiple of 16" },
                        });
                    }
                    _ => {}
                }
                if q.rounding.is_none() {
                    return Err(Refusal::Accuracy(
                        "it rounds activations to 8 bits, and floats are asked for",
                    ));
                }
                let most = match (self.method, self.layout) {
                    (Dot, Stored) => TokenBucket::One,
                    (Dot, _) => DOT_TOKENS,
                    _ => TokenBucket::More,
                };
                if q.tokens > most { Err(Refusal::Tokens { most }) } else { Ok(()) }
            }
            Float => {
                let integers = match q.spec {
                    WeightSpec::Float(_) => false,
                    WeightSpec::Block(_) | WeightSpec::Sum(_) => true,
                    WeightSpec::Grouped(spec) => spec.integer_group().is_some(),
                };
                if integers && q.rounding.is_some() {
                    return Err(Refusal::Accuracy(
                        "it leaves activations floats, and integers are asked for",
                    ));
                }
                Ok(())
            }
        }
    }

    /// Which of the formats of [`all_specs`] it takes, for some rounding of activations.
    pub fn formats(&self) -> Vec<SpecInfo> {
        let takes = |spec: &WeightSpec| {
            let roundings = ActRounding::ALL.map(Some).into_iter().chain([None]);
            // A whole number of blocks and groups of every format.
            let (shape, tokens, threads) = (NK { n: 256, k: 256 }, TokenBucket::One, 1);
            roundings
                .map(|rounding| Query { spec, shape, tokens, rounding, isa: self.isa, threads })
                .any(|q| self.accepts(&q).is_ok())
        };
        all_specs().into_iter().filter(|info| takes(&info.spec)).collect()
    }

    /// The same in words.
    pub fn takes(&self) -> &'static str {
        match (self.layout, self.method) {
            (Planes, Expand) => "1 to 4 bits, one level of scales",
            (Planes, _) => "1 to 4 bits and ternary, one level of scales",
            (Fields, _) => "blocks with a code for each weight",
            (Groups, _) => "2 to 8 bits, one level of scales, groups of a multiple of 32",
            (Stored, Float) => "all, as floats",
            (Stored, _) => "blocks, and integers in groups of a multiple of 16",
        }
    }

    /// Numbers in which activations meet weights.
    pub fn activations(&self) -> &'static str {
        match self.method {
            Method::Lookup(Lookup { bits: Eight, .. }) => "16-bit integers a group, in tables of 8 bits",
            Method::Lookup(Lookup { bits: Sixteen, .. }) => "16-bit integers a group, in tables of 16 bits",
            Expand if self.layout == Planes => "one or two terms of 8 bits, a scale a group",
            Dot | Expand if self.layout == Groups => {
                "one or two terms of 8 bits, a scale a group or one for all"
            }
            Dot | Expand => "one or two terms of 8 bits, a scale for 32, 256 or all",
            Float => "f32",
        }
    }

    /// How products are summed.
    pub fn accumulation(&self) -> &'static str {
        match self.method {
            Method::Lookup(_) | Dot | Expand => "exact integers in a group, f32 over groups in order",
            Float => "f32 in sixteen lanes",
        }
    }

    /// What the roundings of activations add to a product, beside f32 arithmetic.
    pub fn error(&self) -> &'static str {
        match self.method {
            Method::Lookup(Lookup { bits: Eight, .. }) => {
                "half of 1/127 of a group's largest table entry for each look-up"
            }
            Method::Lookup(Lookup { bits: Sixteen, .. }) => {
                "half of 1/32500 of a group's largest sum of 8 magnitudes for each weight"
            }
            Expand if self.layout == Planes => {
                "half of 1/127 of a group's largest activation for each weight; two terms: as tables of 16 bits"
            }
            Dot | Expand => {
                "half of 1/127 of a group's largest activation for each weight; two terms: 1/254 of that; 4 bits: half of 1/7"
            }
            Float => "none",
        }
    }
}

/// The layout of bit planes that is asked for, and how activations are to be rounded for it.
fn planes(q: &Query<'_>) -> Result<(Layout, ActRounding), Refusal> {
    let WeightSpec::Grouped(spec) = q.spec else {
        return Err(Refusal::Format("its codes are no bit planes with scales apart"));
    };
    let Some(layout) = Layout::of(spec, q.shape.k, Table::at(q.isa)) else { return Err(no_planes(spec)) };
    match q.rounding {
        None => Err(Refusal::Accuracy("it rounds activations, and floats are asked for")),
        Some(rounding) if rounding.by_token() => {
            Err(Refusal::Accuracy("it rounds activations by groups, and one scale a token is asked for"))
        }
        Some(rounding) => Ok((layout, rounding)),
    }
}

fn look_up(bits: TableBits, tables: Tables, q: &Query<'_>) -> Result<(), Refusal> {
    let (layout, rounding) = planes(q)?;
    if TableBits::of(rounding) != bits {
        return Err(Refusal::Accuracy(match bits {
            Eight => "its tables have 8 bits, and activations in 16 are asked for",
            Sixteen => "its tables have 16 bits, and activations in 8 are asked for",
        }));
    }
    let bytes = Key::new(&layout, Form::Tables(bits)).table_bytes().saturating_mul(q.tokens.most());
    if tables == Once && bytes > TABLE_BYTES {
        return Err(Refusal::Memory { bytes, most: TABLE_BYTES });
    }
    Ok(())
}

/// Why a grouped format is not packed by its groups.
fn no_groups(spec: &GroupedSpec) -> Refusal {
    match spec.element() {
        ElementFormat::Ternary => Refusal::Format("its codes are several weights each"),
        ElementFormat::Codebook(_) => NO_INTEGERS,
        _ if spec.levels().len() > 1 => Refusal::Format("it has two levels of scales"),
        _ if !spec.levels().iter().any(|level| Layout::reads(level.format)) => {
            Refusal::Format("its scales are neither f16 nor f32, nor integers over one a row")
        }
        ElementFormat::Int { bits, .. } if bits.get() == 1 => Refusal::Format("its codes are single bits"),
        _ => Refusal::GroupSize { needs: "a multiple of 32" },
    }
}

/// Why a grouped format has no bit planes.
fn no_planes(spec: &GroupedSpec) -> Refusal {
    match spec.element() {
        ElementFormat::Codebook(_) => NO_INTEGERS,
        ElementFormat::Int { bits, .. } if bits.get() > 4 => Refusal::Format("it has more than 4 bits"),
        _ if spec.levels().len() > 1 => Refusal::Format("it has two levels of scales"),
        _ if !spec.levels().iter().any(|level| Layout::reads(level.format)) => {
            Refusal::Format("its scales are neither f16 nor f32, nor integers over one a row")
        }
        _ => Refusal::GroupSize { needs: "up to 256, or equal pieces of 32 to 256" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar_and_are_unique() {
        for (i, card) in KERNELS.iter().enumerate() {
            let family = match (card.layout, card.method) {
                (Planes, Method::Lookup(_)) => "lut",
                (Planes, _) => "planes",
                (Fields, _) => "packed",
                (Groups, _) => "groups",
                (Stored, _) => "stored",
            };
            let method = match card.method {
                Method::Lookup(Lookup { bits: Eight, tables: Once }) => "8bit-once",
                Method::Lookup(Lookup { bits: Eight, tables: Tiled }) => "8bit-tiled",
                Method::Lookup(Lookup { bits: Sixteen, tables: Once }) => "16bit-once",
                Method::Lookup(Lookup { bits: Sixteen, tables: Tiled }) => "16bit-tiled",
                Dot => "dot",
                Expand => "expand",
                Float => "float",
            };
            assert_eq!(card.name, format!("{family}-{method}-{}", card.isa));
            assert!(KERNELS[..i].iter().all(|other| other.name != card.name), "{} twice", card.name);
            assert_eq!(KernelCard::named(card.name), Some(card));
        }
    }
}
