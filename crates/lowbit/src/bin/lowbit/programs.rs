//! Programs that a model writes: whether they may be run, and by what.

use anyhow::{Context, Result};
use lowbit::{
    eval::{
        EvalError,
        harness::TaskData,
        tasks::{Language, Task},
    },
    sandbox::{Launcher, Runner},
};
use std::collections::BTreeSet;

/// The command by which the program starts itself for a sandbox.
pub(crate) const CHILD: &str = "sandbox-child";

/// Whether programs may be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    Given,
    NotGiven,
}

/// What runs the programs of some tasks; `None` where they have none. What is missing is told here, before any work.
pub(crate) fn runner(tasks: &[(&'static Task, &TaskData)], permission: Permission) -> Result<Option<Runner>> {
    let mut languages: BTreeSet<Language> = BTreeSet::new();
    for (task, data) in tasks {
        let Some(language) = task.language(&data.rows.rows)? else { continue };
        if permission == Permission::NotGiven {
            return Err(EvalError::CodeExecution { task: task.name }.into());
        }
        languages.insert(language);
    }
    if languages.is_empty() {
        return Ok(None);
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let launcher = Launcher { program, arguments: vec![CHILD.to_owned()] };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let languages: Vec<Language> = languages.into_iter().collect();
    Ok(Some(Runner::new(launcher, &languages, &path)?))
}
