//! Data sets from a hub that runs on a local port.

use crate::fixture::{Fixture, content};
use crate::server::{COMMIT, Delivery, Hub, HubFile};
use lowbit_hub::{Catalogue, DataSet, Error, Network, Store};
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
