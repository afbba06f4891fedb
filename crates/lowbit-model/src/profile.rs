//! Where the time of a forward pass goes.
//!
//! A pass that is profiled reads the clock where one part of a block ends and the next begins; one that is not does
//! nothing for it but look at an `Option`.

use std::time::{Duration, Instant};

/// A part of the work of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Products with the query, key and value projections.
    Qkv,
    /// Products with the output projection of attention.
    Output,
    /// Products with the gate and up projections.
    GateUp,
    /// Products with the down projection.
    Down,
    /// Products with the router of experts, and the choice.
    Router,
    /// The product with the head.
    Head,
    /// Activations rounded, or made into tables: once for each matrix of activations, whatever products read it.
    Activations,
    /// Scores, softmax and mix.
    Attention,
    /// Norms of rows.
    Norms,
    /// Rotation of queries and keys, and their norms by head.
    Rope,
    /// Keys and values written to the cache.
    Cache,
    /// The function between gate and down.
    Gate,
    /// The rest: embeddings, angles, sums into the stream.
    Other,
}

impl Part {
    /// All parts, in the order of a report.
    pub const ALL: [Self; 13] = [
        Self::Qkv,
        Self::Output,
        Self::GateUp,
        Self::Down,
        Self::Router,
        Self::Head,
        Self::Activations,
        Self::Attention,
        Self::Norms,
        Self::Rope,
        Self::Cache,
        Self::Gate,
        Self::Other,
    ];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qkv => "qkv",
            Self::Output => "output",
            Self::GateUp => "gate_up",
            Self::Down => "down",
            Self::Router => "router",
            Self::Head => "head",
            Self::Activations => "activations",
            Self::Attention => "attention",
            Self::Norms => "norms",
            Self::Rope => "rope",
            Self::Cache => "cache",
            Self::Gate => "gate",
            Self::Other => "other",
        }
    }

    /// Whether it is a product of weights with activations.
    pub const fn is_product(self) -> bool {
        matches!(self, Self::Qkv | Self::Output | Self::GateUp | Self::Down | Self::Router | Self::Head)
    }
}

/// Time by part, over all passes since it was made.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    spent: [Duration; Part::ALL.len()],
    /// Tokens that went through.
    pub tokens: u64,
    /// Matrices of activations that were multiplied, each with one weight or with several.
    pub matrices: u64,
    /// Calls that were shared out over several workers.
    pub forks: u64,
}

impl Profile {
    /// Time spent in a part.
    pub fn spent(&self, part: Part) -> Duration {
        self.spent[part as usize]
    }

    /// Time spent in all parts: from the beginning of each pass to its end.
    pub fn total(&self) -> Duration {
        self.spent.iter().sum()
    }
}

/// The clock of one pass: each reading gives the time since the last to a part.
pub(crate) struct Laps(Option<(Instant, Profile)>);

impl Laps {
    /// Starts the clock where there is a profile to fill.
    pub(crate) fn start(profile: Option<Profile>) -> Self {
        Self(profile.map(|profile| (Instant::now(), profile)))
    }

    /// Whether anyone reads the clock.
    pub(crate) fn running(&self) -> bool {
        self.0.is_some()
    }

    /// Counts a matrix of activations.
    pub(crate) fn matrix(&mut self) {
        if let Some((_, profile)) = &mut self.0 {
            profile.matrices += 1;
        }
    }

    /// What was done since the last lap is of `part`.
    #[inline]
    pub(crate) fn lap(&mut self, part: Part) {
        if let Some((last, profile)) = &mut self.0 {
            let now = Instant::now();
            profile.spent[part as usize] += now - *last;
            *last = now;
        }
    }

    /// The profile, a pass of `tokens` richer.
    pub(crate) fn finish(mut self, tokens: usize, forks: u64) -> Option<Profile> {
        self.lap(Part::Other);
        self.0.map(|(_, mut profile)| {
            profile.tokens += tokens as u64;
            profile.forks += forks;
            profile
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_listed_once_at_their_places_and_laps_add_up() {
        for (i, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, i, "{}", part.name());
            assert!(Part::ALL[..i].iter().all(|other| other.name() != part.name()));
        }
        let mut laps = Laps::start(Some(Profile::default()));
        std::thread::sleep(Duration::from_millis(2));
        laps.lap(Part::Down);
        laps.matrix();
        let profile = laps.finish(3, 5).unwrap();
        assert!(profile.spent(Part::Down) >= Duration::from_millis(2));
        assert_eq!(profile.total(), profile.spent(Part::Down) + profile.spent(Part::Other));
        assert_eq!((profile.tokens, profile.matrices, profile.forks), (3, 1, 5));
        let mut off = Laps::start(None);
        off.lap(Part::Down);
        assert!(!off.running() && off.finish(1, 1).is_none());
    }
}
