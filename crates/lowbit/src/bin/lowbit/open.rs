//! From what a user calls a model to the model, loaded.

use crate::{options::Compute, progress::Download, record, report};
use anyhow::{Context, Result};
use lowbit::{
    Ctx, Model, Planner,
    hub::{Error, Found, Local, Origin, PullOptions, Remote, Store},
};
use std::path::Path;

/// Model that commands use where none is named.
pub(crate) const DEFAULT_MODEL: &str = "smollm2";

/// Finds a model, and fetches it where it is not here.
pub(crate) fn locate(store: &Store, target: &str) -> Result<Local> {
    let remote = match store.find(target)? {
        Found::Local(local) => return Ok(local),
        Found::Remote(remote) => remote,
    };
    match &remote {
        Remote::Catalogue { name, bytes } => {
            eprintln!("{name} is not on this machine, fetching {}", report::bytes(*bytes));
        }
        Remote::Repo { repo, .. } => eprintln!("{repo} is not on this machine, asking the hub"),
    }
    Ok(store.pull(target, &PullOptions::default(), &mut Download::new())?)
}

/// Finds, fetches and loads a model for figures that must not depend on what was measured on this machine.
pub(crate) fn load_untuned(ctx: &Ctx, target: &str, compute: &Compute) -> Result<Model> {
    let local = locate(&Store::from_env()?, target)?;
    let options = compute.load_options(Planner::new());
    Model::load(ctx, &local.path, options).with_context(|| format!("cannot load {target}"))
}

/// Finds, fetches and loads a model with the kernels that were the fastest on this machine, where they were measured.
pub(crate) fn load_from(ctx: &Ctx, store: &Store, target: &str, compute: &Compute) -> Result<Model> {
    load_at(ctx, store, &locate(store, target)?.path, compute)
        .with_context(|| format!("cannot load {target}"))
}

/// Loads the model at a path with the kernels that were the fastest on this machine, where they were measured.
pub(crate) fn load_at(ctx: &Ctx, store: &Store, path: &Path, compute: &Compute) -> Result<Model> {
    let record = record::read(store)?;
    Ok(Model::load(ctx, path, compute.load_options(Planner::with_record(&record)))?)
}

/// Whether a target names a model, wherever it is. Text that is written like none is something else, a prompt.
pub(crate) fn names_a_model(store: &Store, target: &str) -> Result<Naming> {
    match store.find(target) {
        Ok(_) => Ok(Naming::Model),
        Err(Error::UnknownModel { suggestions, .. }) => Ok(Naming::Nothing { suggestions }),
        Err(error) => Err(error.into()),
    }
}

/// What a word on the command line names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Model,
    Nothing {
        /// Catalogue names that are close.
        suggestions: Vec<String>,
    },
}

/// Where a model came from, in a word or two.
pub(crate) fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Catalogue(name) => name.clone(),
        Origin::Repo { repo, commit } => format!("{repo}@{commit}"),
        Origin::Path => "path".to_owned(),
    }
}
