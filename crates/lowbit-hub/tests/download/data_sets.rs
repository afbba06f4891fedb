//! Data sets from a hub that runs on a local port.

use crate::fixture::{Fixture, content};
use crate::server::{COMMIT, Delivery, Hub, HubFile};
use lowbit_hub::{Catalogue, DataFile, DataSet, Error, Network, Store};
use std::fs;

fn set() -> DataSet {
    DataSet {
        name: "tiny".into(),
        description: "test".into(),
        licence: "none".into(),
        licence_url: "none".into(),
        repo: "user/repo".into(),
        revision: COMMIT.into(),
        file: "data/tiny.jsonl".into(),
        field: "text".into(),
    }
}

fn store(fixture: &Fixture) -> Store {
    Store::new(Catalogue::builtin(), fixture.settings.clone())
}

#[test]
fn a_data_set_is_fetched_from_its_place_once_and_found_offline_afterwards() {
    let content = content(50_000);
    let file = HubFile::large(&content).delivered(Delivery::CutOnce(20_000));
    let hub = Hub::start(&[("data/tiny.jsonl", file)]);
    let mut fixture = Fixture::new(&hub.endpoint, &[]);
    let path = store(&fixture).pull_data_set(&set(), &mut ()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content);
    let cache = fixture.settings.hub_cache.join("datasets--user--repo");
    assert_eq!(path, cache.join("snapshots").join(COMMIT).join("data/tiny.jsonl"));
    assert!(hub.seen().iter().any(|seen| seen.path.starts_with("/datasets/user/repo/resolve/")));
    fixture.settings.network = Network::Offline;
    assert_eq!(store(&fixture).pull_data_set(&set(), &mut ()).unwrap(), path);
    assert_eq!(store(&fixture).local_data_set(&set()), Some(path));
}

#[test]
fn a_file_of_a_branch_is_at_the_commit_that_the_branch_is_at() {
    let content = content(3000);
    let name = "default/validation/0000.parquet";
    let hub = Hub::start(&[(name, HubFile::large(&content))]);
    let mut fixture = Fixture::new(&hub.endpoint, &[]);
    let data = DataFile { repo: "user/repo", revision: "refs/convert/parquet", file: name };
    assert_eq!(store(&fixture).local_data_file(data), None);
    let path = store(&fixture).pull_data_file(data, &mut ()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content);
    // The slashes of a branch are no folders of the address.
    let address = format!("/datasets/user/repo/resolve/refs%2Fconvert%2Fparquet/{name}");
    assert!(hub.seen().iter().any(|seen| seen.path == address), "{:?}", hub.seen());
    let cache = fixture.settings.hub_cache.join("datasets--user--repo");
    assert_eq!(path, cache.join("snapshots").join(COMMIT).join(name));
    assert_eq!(fs::read_to_string(cache.join("refs/refs/convert/parquet")).unwrap(), COMMIT);
    fixture.settings.network = Network::Offline;
    assert_eq!(store(&fixture).pull_data_file(data, &mut ()).unwrap(), path);
}

#[test]
fn what_cannot_be_had_is_said() {
    let hub = Hub::start(&[]);
    let mut fixture = Fixture::new(&hub.endpoint, &[]);
    let pull = |fixture: &Fixture, set: &DataSet| store(fixture).pull_data_set(set, &mut ()).unwrap_err();
    let error = pull(&fixture, &set());
    assert!(matches!(error, Error::FileNotFound { .. }), "{error}");
    let error = pull(&fixture, &DataSet { file: "../tiny.jsonl".into(), ..set() });
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    fixture.settings.network = Network::Offline;
    let error = pull(&fixture, &set()).to_string();
    assert!(error.contains("tiny.jsonl") && error.contains("HF_HUB_OFFLINE"), "{error}");
}
