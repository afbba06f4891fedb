//! Instruction sets: which this CPU has, and values that prove it.
//!
//! An [`Isa`] can be made only by detection, so holding one is the proof that its instructions exist, and the unsafe
//! call into a `#[target_feature]` function needs no other argument. Levels are ordered; a lower one can always be
//! asked for, which is how every path is tested and measured on one machine.

use std::fmt;

/// A set of instructions that kernels are written for, those of an architecture weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IsaLevel {
    /// What every CPU of the architecture has, through the auto-vectorizer.
    Scalar,
    /// 64-bit Arm with NEON, which all of its CPUs have that we meet.
    Neon,
    /// NEON's dot products of bytes on top, from Armv8.2 on.
    Dotprod,
    /// x86-64 with AVX2, FMA, BMI2 and F16C.
    Avx2,
    /// AVX-512 F, BW, CD, DQ, VL, VNNI and VBMI, and GFNI on top.
    Avx512,
}

impl IsaLevel {
    /// Every level of this architecture, weakest first.
    pub const ALL: &[Self] = if cfg!(target_arch = "x86_64") {
        &[Self::Scalar, Self::Avx2, Self::Avx512]
    } else if cfg!(target_arch = "aarch64") {
        &[Self::Scalar, Self::Neon, Self::Dotprod]
    } else {
        &[Self::Scalar]
    };

    /// Name in commands, reports and the environment variable that lowers the level.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The level of that name, `None` where the architecture has none.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|level| level.name() == name)
    }
}

impl fmt::Display for IsaLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Proof that the CPU has the instructions of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa(IsaLevel);

impl Isa {
    /// The level that needs nothing.
    pub const SCALAR: Self = Self(IsaLevel::Scalar);

    /// The best level of this CPU.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("bmi2");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512cd")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
                && is_x86_feature_detected!("avx512vbmi")
                && is_x86_feature_detected!("gfni");
            if avx512 {
                return Self(IsaLevel::Avx512);
            }
            if avx2 {
                return Self(IsaLevel::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            let dotprod = std::arch::is_aarch64_feature_detected!("dotprod");
            return Self(if dotprod { IsaLevel::Dotprod } else { IsaLevel::Neon });
        }
        Self::SCALAR
    }

    /// Every level of this CPU, weakest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let best = Self::detect();
        IsaLevel::ALL.iter().copied().filter(move |level| *level <= best.0).map(Self)
    }

    /// The best level of this architecture that is neither above this nor above `limit`.
    pub fn at_most(self, limit: IsaLevel) -> Self {
        let highest = self.0.min(limit);
        Self(IsaLevel::ALL.iter().rev().copied().find(|level| *level <= highest).unwrap_or(IsaLevel::Scalar))
    }

    /// Which level this proves.
    pub fn level(self) -> IsaLevel {
        self.0
    }
}

/// Compiles one generic function for every level and defines a function that calls the right one.
///
/// The body must be `#[inline(always)]`: it is inlined into a wrapper with the level's instructions enabled, where
/// the auto-vectorizer does the rest. Nothing it does may depend on the vector width, so that every level gives the
/// same bits.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$generic:ident : $bound:path>)? (
        $($arg:ident : $ty:ty),* $(,)?) $(-> $out:ty)? = $body:path;) => {
        $(#[$meta])*
        $vis fn $name $(<$generic: $bound>)? (isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c,bmi2")]
                fn avx2 $(<$generic: $bound>)? ($($arg: $ty),*) $(-> $out)? { $body($($arg),*) }
                #[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
                fn avx512 $(<$generic: $bound>)? ($($arg: $ty),*) $(-> $out)? { $body($($arg),*) }
                match isa.level() {
                    // SAFETY: an `Isa` of this level exists only where the CPU has its instructions.
                    $crate::isa::IsaLevel::Avx512 => return unsafe { avx512 $(::<$generic>)? ($($arg),*) },
                    // SAFETY: as above.
                    $crate::isa::IsaLevel::Avx2 => return unsafe { avx2 $(::<$generic>)? ($($arg),*) },
                    _ => {}
                }
            }
            let _ = isa;
            $body($($arg),*)
        }
    };
}
pub(crate) use multiversion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_levels_are_ordered() {
        for level in IsaLevel::ALL {
            assert_eq!(IsaLevel::parse(level.name()), Some(*level));
        }
        assert!(IsaLevel::ALL.is_sorted());
        assert_eq!(IsaLevel::parse("sse9"), None);
        assert!(Isa::available().is_sorted());
        assert_eq!(Isa::detect().at_most(IsaLevel::Scalar), Isa::SCALAR);
    }

    #[test]
    fn no_limit_makes_a_level_of_another_architecture() {
        let levels = [IsaLevel::Scalar, IsaLevel::Neon, IsaLevel::Dotprod, IsaLevel::Avx2, IsaLevel::Avx512];
        for (isa, limit) in Isa::available().flat_map(|isa| levels.map(|limit| (isa, limit))) {
            let got = isa.at_most(limit);
            assert!(IsaLevel::ALL.contains(&got.level()) && got <= isa, "{isa:?} at most {limit}");
        }
    }
}
