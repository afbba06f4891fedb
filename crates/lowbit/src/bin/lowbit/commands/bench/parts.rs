//! Where the time of a test went, part by part.

use crate::table::{
    Align::{Left, Right},
    Table,
};
use lowbit::{ForkJoin, Part, Profile};
use serde_json::{Value, json};
use std::io::Write;

/// A profile, and what a parallel call cost at the time.
pub(super) struct Parts<'a> {
    pub(super) profile: &'a Profile,
    pub(super) fork_join: ForkJoin,
}

impl Parts<'_> {
    pub(super) fn write(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut table = Table::new(&[("part", Left), ("µs/token", Right), ("share", Right)]);
        for part in self.used() {
            table.row([
                part.name().replace('_', "/"),
                format!("{:.1}", self.us_per_token(part)),
                percent(self.share(part)),
            ]);
        }
        table.row(["all".to_owned(), format!("{:.1}", self.us_per_token_in_all()), percent(1.0)]);
        table.write(out)?;
        let attention = self.share(Part::Attention);
        let (products, rest) = (self.products(), 1.0 - self.products() - attention);
        writeln!(
            out,
            "products {}, attention {}, the rest {}",
            percent(products),
            percent(attention),
            percent(rest)
        )?;
        writeln!(
            out,
            "{:.1} matrices of activations a token, {:.2} µs each to make ready",
            self.per_token(self.profile.matrices as f64),
            self.us_per_matrix(),
        )?;
        writeln!(
            out,
            "{:.1} parallel calls a token, {:.2} µs each when empty ({:.2} in the median): {} of the time",
            self.per_token(self.profile.forks as f64),
            self.fork_join.best_ns / 1e3,
            self.fork_join.median_ns / 1e3,
            percent(self.forking()),
        )?;
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        let part = |part: Part| {
            let us_per_token = self.us_per_token(part);
            json!({ "part": part.name(), "us_per_token": us_per_token, "share": self.share(part) })
        };
        json!({
            "tokens": self.profile.tokens,
            "us_per_token": self.us_per_token_in_all(),
            "parts": self.used().map(part).collect::<Vec<_>>(),
            "products_share": self.products(),
            "activation_matrices_per_token": self.per_token(self.profile.matrices as f64),
            "us_per_activation_matrix": self.us_per_matrix(),
            "forks_per_token": self.per_token(self.profile.forks as f64),
            "fork_join_ns": self.fork_join.best_ns,
            "fork_join_median_ns": self.fork_join.median_ns,
            "fork_join_share": self.forking(),
        })
    }

    /// Parts that this model has.
    fn used(&self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(|part| !self.profile.spent(*part).is_zero())
    }

    fn share(&self, part: Part) -> f64 {
        self.profile.spent(part).as_secs_f64() / self.profile.total().as_secs_f64()
    }

    /// Share of all products.
    fn products(&self) -> f64 {
        Part::ALL.into_iter().filter(|part| part.is_product()).map(|part| self.share(part)).sum()
    }

    /// Share that the calls made would have taken with nothing to do, at best; it is spread over the parts. The median
    /// tells more of other processes than of the pool where these want the same processors.
    fn forking(&self) -> f64 {
        self.profile.forks as f64 * self.fork_join.best_ns / 1e9 / self.profile.total().as_secs_f64()
    }

    fn per_token(&self, count: f64) -> f64 {
        count / self.profile.tokens.max(1) as f64
    }

    fn us_per_token(&self, part: Part) -> f64 {
        self.per_token(self.profile.spent(part).as_secs_f64() * 1e6)
    }

    fn us_per_token_in_all(&self) -> f64 {
        self.per_token(self.profile.total().as_secs_f64() * 1e6)
    }

    fn us_per_matrix(&self) -> f64 {
        self.profile.spent(Part::Activations).as_secs_f64() * 1e6 / self.profile.matrices.max(1) as f64
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
