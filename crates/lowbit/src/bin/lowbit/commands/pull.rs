//! `lowbit pull`.

use crate::{open, progress::Download, report};
use anyhow::Result;
use clap::Args;
use lowbit::hub::{Existing, PullOptions, Store};
use std::io::Write;

/// Fetch a model.
#[derive(Args)]
pub(crate) struct Pull {
    /// A name of `lowbit list`, or user/repo[:quant] of the hub
    model: String,
    /// Hash a model that is here already, and fetch it anew if it has changed
    #[arg(long)]
    verify: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Pull {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        let store = Store::from_env()?;
        let existing = if self.verify { Existing::Verify } else { Existing::Keep };
        let local = store.pull(&self.model, &PullOptions { existing }, &mut Download::new())?;
        if self.json {
            return report::json(
                out,
                &serde_json::json!({
                    "model": self.model,
                    "path": local.path,
                    "files": local.files,
                    "bytes": local.bytes,
                    "origin": open::origin(&local.origin),
                }),
            );
        }
        Ok(writeln!(out, "{}", local.path.display())?)
    }
}
