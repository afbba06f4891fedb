//! What is asked of a kernel, and why one refuses.

use crate::{ActRounding, IsaLevel};
use lowbit_format::{NK, WeightSpec};
use std::fmt;

/// How many tokens are multiplied at once, in steps between which another kernel may be the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenBucket {
    /// 1: decoding.
    One,
    /// 2 to 4.
    UpTo4,
    /// 5 to 16.
    UpTo16,
    /// 17 to 64.
    UpTo64,
    /// 65 and more: a prompt.
    More,
}

impl TokenBucket {
    /// All of them, fewest tokens first.
    pub const ALL: [Self; 5] = [Self::One, Self::UpTo4, Self::UpTo16, Self::UpTo64, Self::More];

    /// The bucket of a number of tokens.
    pub fn of(tokens: usize) -> Self {
        match tokens {
            0..=1 => Self::One,
            2..=4 => Self::UpTo4,
            5..=16 => Self::UpTo16,
            17..=64 => Self::UpTo64,
            _ => Self::More,
        }
    }

    /// Place in [`Self::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// As many tokens as stand for the bucket when it is measured.
    pub fn typical(self) -> usize {
        match self {
            Self::One => 1,
            Self::UpTo4 => 3,
            Self::UpTo16 => 8,
            Self::UpTo64 => 32,
            Self::More => 128,
        }
    }

    /// Most tokens of the bucket; of the last, as many as a batch of a prompt has.
    pub fn most(self) -> usize {
        match self {
            Self::One => 1,
            Self::UpTo4 => 4,
            Self::UpTo16 => 16,
            Self::UpTo64 => 64,
            Self::More => 512,
        }
    }

    /// Name in reports and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::UpTo4 => "2-4",
            Self::UpTo16 => "5-16",
            Self::UpTo64 => "17-64",
            Self::More => "65+",
        }
    }

    /// The bucket of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bucket| bucket.name() == name)
    }
}

/// A product that a kernel is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// What the weights are stored as.
    pub spec: &'a WeightSpec,
    /// Their shape.
    pub shape: NK,
    /// Tokens at once.
    pub tokens: TokenBucket,
    /// How activations are to be rounded; `None` for floats.
    pub rounding: Option<ActRounding>,
    /// The instructions in use.
    pub isa: IsaLevel,
    /// Workers.
    pub threads: usize,
}

impl Query<'_> {
    /// The same with other tokens.
    pub fn at(self, tokens: TokenBucket) -> Self {
        Self { tokens, ..self }
    }
}

/// Why a kernel does not compute a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is for other instructions than those in use.
    Isa {
        /// Those it is for.
        needs: IsaLevel,
        /// Those in use.
        has: IsaLevel,
    },
    /// It does not read such weights: what about them.
    Format(&'static str),
    /// It does not take groups of this size.
    GroupSize {
        /// Sizes that it takes.
        needs: &'static str,
    },
    /// It rounds activations otherwise than asked.
    Accuracy(&'static str),
    /// It is for fewer tokens.
    Tokens {
        /// Most tokens that it takes.
        most: TokenBucket,
    },
    /// Its working memory would be too large.
    Memory {
        /// What it would take.
        bytes: usize,
        /// What is allowed.
        most: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isa { needs, has } => write!(f, "isa: it is for {needs}, in use is {has}"),
            Self::Format(why) => write!(f, "format: {why}"),
            Self::GroupSize { needs } => write!(f, "group size: it takes {needs}"),
            Self::Accuracy(why) => write!(f, "accuracy: {why}"),
            Self::Tokens { most } => write!(f, "tokens: it takes at most {}", most.most()),
            Self::Memory { bytes, most } => {
                write!(f, "memory: its tables would take {} MiB of at most {}", bytes >> 20, most >> 20)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TokenBucket;

    #[test]
    fn buckets_cover_every_number_of_tokens_and_parse_back() {
        for bucket in TokenBucket::ALL {
            assert_eq!(TokenBucket::of(bucket.typical()), bucket);
            assert_eq!(TokenBucket::of(bucket.most()), bucket);
            assert_eq!(TokenBucket::parse(bucket.name()), Some(bucket));
            assert_eq!(TokenBucket::ALL[bucket.index()], bucket);
        }
        assert_eq!(TokenBucket::of(0), TokenBucket::One);
        assert_eq!(TokenBucket::of(usize::MAX), TokenBucket::More);
    }
}
