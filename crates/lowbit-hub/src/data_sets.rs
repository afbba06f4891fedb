//! Texts by a short name: files of data sets on the hub, each at one revision.
//!
//! The data is `data_sets.toml` beside this crate's manifest, embedded at build time and checked by a test.

use crate::{
    error::Error,
    hub_cache::RepoCache,
    hub_client::{Address, HubClient, Kind},
    names,
    progress::Progress,
    store::Store,
    transfer,
};
use serde::Deserialize;
use std::path::PathBuf;

/// A text that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSet {
    /// The name that is typed.
    pub name: String,
    /// What it is, in a line.
    pub description: String,
    /// The licence: an SPDX identifier where there is one, else in words.
    pub licence: String,
    /// Where it is stated.
    pub licence_url: String,
    /// `user/repo`, of a data set.
    pub repo: String,
    /// The commit.
    pub revision: String,
    /// Path inside the repository.
    pub file: String,
    /// The field of a line, or the column, that holds the text.
    pub field: String,
}

impl DataSet {
    /// All that lowbit knows.
    ///
    /// # Panics
    /// Never: the embedded file is checked by a test.
    pub fn all() -> Vec<DataSet> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        struct Sets {
            data_set: Vec<DataSet>,
        }
        let sets: Sets =
            toml::from_str(include_str!("../data_sets.toml")).expect("the embedded list is valid");
        sets.data_set
    }

    /// That of an exact name.
    ///
    /// # Errors
    /// [`Error::UnknownDataSet`] where there is none.
    pub fn named(name: &str) -> Result<DataSet, Error> {
        let all = Self::all();
        let known: Vec<String> = all.iter().map(|set| set.name.clone()).collect();
        let found = all.into_iter().find(|set| set.name == name);
        found.ok_or_else(|| Error::UnknownDataSet { name: name.to_owned(), known })
    }
}

/// A file of a repository of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataFile<'a> {
    /// `user/repo`.
    pub repo: &'a str,
    /// The commit, branch or tag.
    pub revision: &'a str,
    /// Path inside the repository.
    pub file: &'a str,
}

impl DataSet {
    /// Its file.
    pub fn data_file(&self) -> DataFile<'_> {
        DataFile { repo: &self.repo, revision: &self.revision, file: &self.file }
    }
}

impl Store {
    /// A file of data, where it is on this machine.
    pub fn local_data_file(&self, data: DataFile<'_>) -> Option<PathBuf> {
        let cache = RepoCache::new(&self.settings().hub_cache, Kind::DataSet, data.repo);
        cache.file(&cache.commit(data.revision)?, data.file)
    }

    /// The file of a data set, where it is on this machine.
    pub fn local_data_set(&self, set: &DataSet) -> Option<PathBuf> {
        self.local_data_file(set.data_file())
    }

    /// The file of a data set, fetched where it is not on this machine.
    ///
    /// # Errors
    /// As [`Self::pull_data_file`].
    pub fn pull_data_set(&self, set: &DataSet, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
        self.pull_data_file(set.data_file(), progress)
    }

    /// A file of data, fetched where it is not on this machine.
    ///
    /// # Errors
    /// Where it cannot be fetched, or its repository or file are none that can be named.
    pub fn pull_data_file(&self, data: DataFile<'_>, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
        let DataFile { repo, revision, file } = data;
        if !names::is_repo_id(repo) || !names::is_relative_path(file) {
            let problem = format!("{file:?} cannot be used");
            return Err(Error::Malformed { what: repo.to_owned(), problem });
        }
        if let Some(path) = self.local_data_file(data) {
            return Ok(path);
        }
        let client = HubClient::new(self.settings())?;
        let address = Address { kind: Kind::DataSet, repo, revision, file };
        transfer::fetch(&client, self.settings(), address, None, progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_set_is_one_file_at_a_commit() {
        let all = DataSet::all();
        for (i, set) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other.name != set.name), "{}", set.name);
            assert!(names::is_repo_id(&set.repo) && names::is_relative_path(&set.file), "{}", set.name);
            assert!(names::is_commit(&set.revision), "{}", set.name);
            assert!(!set.field.is_empty() && !set.licence.is_empty() && !set.description.is_empty());
        }
        let error = DataSet::named("c5").unwrap_err().to_string();
        assert!(error.contains("c4, wikitext2, pile, ultrachat") && error.contains("file"), "{error}");
    }
}
