//! Downloads from a hub that runs on a local port: what goes right, and each way in which it goes wrong.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::fixture::{Fixture, HUB_SOURCE, catalogue, content, files_containing, only_failure, record};
use crate::server::{COMMIT, Delivery, Hub, HubFile, sha256};
use lowbit_hub::{Error, Existing, Found, Origin, PullOptions, Remote, TokenState, env};

const OPTIONS: PullOptions = PullOptions { existing: Existing::Keep };

/// Pulls `tiny` from a hub that delivers its content in the given way.
fn pull_tiny(delivery: Delivery) -> (Hub, Fixture, Vec<u8>, Vec<String>, Result<lowbit_hub::Local, Error>) {
    let content = content(100_000);
    let hub = Hub::start(&[("tiny.gguf", HubFile::large(&content).delivered(delivery))]);
    let fixture = Fixture::new(&hub.endpoint, &[]);
    let store = fixture.store(&catalogue(&content, HUB_SOURCE));
    let mut events = Vec::new();
    let result = store.pull("tiny", &OPTIONS, &mut record(&mut events));
    (hub, fixture, content, events, result)
}

#[test]
fn a_file_is_downloaded_into_the_layout_of_the_hubs_own_tools() {
    let (_hub, fixture, content, events, result) = pull_tiny(Delivery::Whole);
    let local = result.unwrap();
    assert_eq!(fs::read(&local.path).unwrap(), content);
    let cache = fixture.repo_cache();
    assert_eq!(local.path, cache.join("snapshots").join(COMMIT).join("tiny.gguf"));
    assert_eq!(fs::read_to_string(cache.join("refs/main")).unwrap(), COMMIT);
    let blob = cache.join("blobs").join(sha256(&content));
    assert_eq!(fs::read(&blob).unwrap(), content);
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(&local.path).unwrap(),
        std::path::Path::new("../../blobs").join(sha256(&content))
    );
    assert_eq!(files_containing(fixture.dir.path(), "incomplete"), [""; 0].map(std::path::PathBuf::from));
    let expected = ["try hub repository user/repo", "start tiny.gguf 0/100000", "finish tiny.gguf"];
    assert_eq!(events, expected);
}

#[test]
fn what_is_here_is_found_without_the_hub() {
    let (_hub, fixture, content, _, result) = pull_tiny(Delivery::Whole);
    let local = result.unwrap();
    let mut offline = fixture.settings.clone();
    offline.network = lowbit_hub::Network::Offline;
    let catalogue = lowbit_hub::Catalogue::parse(&catalogue(&content, HUB_SOURCE)).unwrap();
    let store = lowbit_hub::Store::new(catalogue, offline);
    assert_eq!(store.find("tiny").unwrap(), Found::Local(local.clone()));
    assert_eq!(store.pull("tiny", &OPTIONS, &mut ()).unwrap(), local);
    assert_eq!(store.list()[0].local.as_ref(), Some(&local));
}

#[test]
fn offline_an_absent_file_is_an_error_that_names_the_switch() {
    let fixture = Fixture::new("http://127.0.0.1:9", &[(env::HF_HUB_OFFLINE, "1")]);
    let store = fixture.store(&catalogue(b"x", HUB_SOURCE));
    let error = only_failure(store.pull("tiny", &OPTIONS, &mut ()).unwrap_err());
    assert!(matches!(error, Error::Offline { .. }), "{error}");
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    let error = store.pull("user/repo:q4_0", &OPTIONS, &mut ()).unwrap_err();
    assert!(matches!(&error, Error::Offline { what } if what == "user/repo:q4_0"), "{error}");
}

#[test]
fn a_cut_connection_is_continued_where_it_ended() {
    let (hub, _fixture, content, events, result) = pull_tiny(Delivery::CutOnce(40_000));
    assert_eq!(fs::read(result.unwrap().path).unwrap(), content);
    assert_eq!(hub.ranges(), [None, Some("bytes=40000-".to_owned())]);
    assert!(events.contains(&"reconnect tiny.gguf".to_owned()), "{events:?}");
}

#[test]
fn a_hub_without_ranges_is_read_from_the_start_again() {
    let (_hub, _fixture, content, _, result) = pull_tiny(Delivery::CutOnceNoRange(40_000));
    assert_eq!(fs::read(result.unwrap().path).unwrap(), content);
}

#[test]
fn a_download_that_was_given_up_is_continued_by_the_next_pull() {
    let (_hub, mut fixture, content, _, result) = pull_tiny(Delivery::CutAlways(10_000));
    let error = only_failure(result.unwrap_err());
    // Four reconnects: five connections of 10 000 bytes.
    assert!(matches!(error, Error::Interrupted { got: 50_000, attempts: 5, .. }), "{error}");

    let good = Hub::start(&[("tiny.gguf", HubFile::large(&content))]);
    fixture.settings.endpoint = good.endpoint.clone();
    let mut events = Vec::new();
    let store = fixture.store(&catalogue(&content, HUB_SOURCE));
    let local = store.pull("tiny", &OPTIONS, &mut record(&mut events)).unwrap();
    assert_eq!(fs::read(local.path).unwrap(), content);
    assert_eq!(good.ranges(), [Some("bytes=50000-".to_owned())]);
    assert_eq!(events[1], "start tiny.gguf 50000/100000");
}

#[test]
fn a_partial_file_of_other_content_is_discarded_with_both_hashes_named() {
    let content = content(100_000);
    let hub = Hub::start(&[("tiny.gguf", HubFile::large(&content))]);
    let fixture = Fixture::new(&hub.endpoint, &[]);
    let blobs = fixture.repo_cache().join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.lowbit.incomplete", sha256(&content)));
    fs::write(&partial, vec![7; 30_000]).unwrap();
    let store = fixture.store(&catalogue(&content, HUB_SOURCE));
    let error = only_failure(store.pull("tiny", &OPTIONS, &mut ()).unwrap_err());
    assert!(
        matches!(&error, Error::HashMismatch { expected, .. } if *expected == sha256(&content)),
        "{error}"
    );
    assert!(!partial.exists());
    store.pull("tiny", &OPTIONS, &mut ()).unwrap();
}

#[test]
fn content_that_is_not_what_was_announced_is_discarded() {
    let real = content(5000);
    let announced = sha256(b"something else");
    let file = HubFile { etag: Some(announced.clone()), ..HubFile::large(&real) };
    let hub = Hub::start(&[("m.Q4_0.gguf", file)]);
    let fixture = Fixture::new(&hub.endpoint, &[]);
    let error = fixture.store(&catalogue(b"x", HUB_SOURCE)).pull("user/repo", &OPTIONS, &mut ()).unwrap_err();
    let expected = format!("user/repo/m.Q4_0.gguf: sha256 is {}, expected {announced}", sha256(&real));
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(
        files_containing(fixture.dir.path(), &announced[..8])
            .iter()
            .all(|path| path.ends_with(format!("{announced}.lock")))
    );
    assert!(!fixture.repo_cache().join("refs/main").exists());
}

#[test]
fn another_file_under_the_catalogues_name_is_refused_before_it_is_downloaded() {
    let wanted = content(5000);
    let mut other = wanted.clone();
    other[17] ^= 1;
    for (offered, found) in [(other, "sha256"), (wanted[..4999].to_vec(), "4999 bytes")] {
        let hub = Hub::start(&[("tiny.gguf", HubFile::large(&offered))]);
        let fixture = Fixture::new(&hub.endpoint, &[]);
        let store = fixture.store(&catalogue(&wanted, HUB_SOURCE));
        let error = only_failure(store.pull("tiny", &OPTIONS, &mut ()).unwrap_err());
        assert!(matches!(error, Error::AnnouncedMismatch { .. }), "{error}");
        assert!(error.to_string().contains(found), "{error}");
        assert!(hub.seen().iter().all(|seen| seen.method == "HEAD"), "{:?}", hub.seen());
    }
}

#[test]
fn the_catalogues_hash_is_checked_also_where_the_hub_announces_only_a_git_id() {
    let wanted = content(5000);
    let mut other = wanted.clone();
    other[17] ^= 1;
    let hub = Hub::start(&[("tiny.gguf", HubFile::small(&other))]);
    let fixture = Fixture::new(&hub.endpoint, &[]);
    let store = fixture.store(&catalogue(&wanted, HUB_SOURCE));
    let error = only_failure(store.pull("tiny", &OPTIONS, &mut ()).unwrap_err());
    assert!(
        matches!(&error, Error::HashMismatch { expected, .. } if *expected == sha256(&wanted)),
        "{error}"
    );

    // Another tool, which knows no catalogue, has put it into the cache.
    let blob = fixture.repo_cache().join("blobs").join(HubFile::small(&other).etag());
    fs::write(&blob, &other).unwrap();
    let error = only_failure(store.pull("tiny", &OPTIONS, &mut ()).unwrap_err());
    assert!(matches!(error, Error::AnnouncedMismatch { .. }), "{error}");
    assert!(blob.exists(), "another tool's file is left alone");
}

#[test]
#[cfg(unix)]
fn a_cached_file_of_the_right_name_and_length_but_other_content_is_not_taken() {
    let wanted = content(5000);
    let mut other = wanted.clone();
    other[17] ^= 1;
    let fixture = Fixture::new("http://127.0.0.1:9", &[]);
    let store = fixture.store(&catalogue(&wanted, HUB_SOURCE));
    let cache = fixture.repo_cache();
    let snapshot = cache.join("snapshots").join(COMMIT);
    fs::create_dir_all(cache.join("blobs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    let pointer = snapshot.join("tiny.gguf");
    for (stored, is_wanted) in [(&other, false), (&wanted, true)] {
        fs::write(cache.join("blobs").join(sha256(stored)), stored).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/{}", sha256(stored)), &pointer).unwrap();
        assert_eq!(matches!(store.find("tiny").unwrap(), Found::Local(_)), is_wanted);
        fs::remove_file(&pointer).unwrap();
        // The layout without links.
        fs::write(&pointer, stored).unwrap();
        assert_eq!(matches!(store.find("tiny").unwrap(), Found::Local(_)), is_wanted);
        fs::remove_file(&pointer).unwrap();
    }
}

#[test]
fn refusals_are_told_apart_and_name_the_next_step() {
    let cases = [
        (401, "", "set HF_TOKEN"),
        (403, "GatedRepo", "accept the licence"),
        (404, "RepoNotFound", "no repository \"user/repo\"; check the name"),
        (404, "RevisionNotFound", "no revision \"main\""),
        (404, "EntryNotFound", "no file \"tiny.gguf\" at revision main"),
        (503, "", "answers 503 for user/repo/tiny.gguf"),
    ];
    for (status, code, expected) in cases {
        let hub = Hub::refusing(status, code);
        let fixture = Fixture::new(&hub.endpoint, &[]);
        let store = fixture.store(&catalogue(b"x", HUB_SOURCE));
        let error = only_failure(store.pull("tiny", &OPTIONS, &mut ()).unwrap_err());
        assert!(error.to_string().contains(expected), "{status} {code}: {error}");
        let fits = match status {
            401 => matches!(error, Error::Unauthorized { token: TokenState::Absent, .. }),
            403 => matches!(error, Error::Forbidden { .. }),
            404 => !matches!(error, Error::Status { .. }),
            _ => matches!(error, Error::Status { status: 503, .. }),
        };
        assert!(fits, "{status} {code}: {error:?}");
        assert_eq!(hub.seen().len(), 1, "a refusal is not retried");
    }
}

#[test]
fn a_missing_repository_is_named_when_its_files_are_listed() {
    let hub = Hub::refusing(404, "");
    let fixture = Fixture::new(&hub.endpoint, &[]);
    let error = fixture.store(&catalogue(b"x", HUB_SOURCE)).pull("user/repo", &OPTIONS, &mut ()).unwrap_err();
    assert!(matches!(error, Error::RepoNotFound { .. }), "{error}");
}

#[test]
fn an_answer_of_a_refusal_carries_the_hubs_own_words() {
    let hub = Hub::refusing(403, "");
    let fixture = Fixture::new(&hub.endpoint, &[]);
    let error = fixture.store(&catalogue(b"x", HUB_SOURCE)).pull("user/repo", &OPTIONS, &mut ()).unwrap_err();
    assert!(error.to_string().contains("(refused by test)"), "{error}");
}

#[test]
fn a_refused_connection_fails_at_once() {
    // A port that was free a moment ago has no listener.
    let endpoint = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let fixture = Fixture::new(&endpoint, &[]);
    let start = Instant::now();
    let store = fixture.store(&catalogue(b"x", HUB_SOURCE));
    let error = only_failure(store.pull("tiny", &OPTIONS, &mut ()).unwrap_err());
    assert!(matches!(&error, Error::Unreachable { address, .. } if *address == endpoint), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_stalled_download_is_given_up_and_what_arrived_is_kept() {
    let start = Instant::now();
    let (_hub, fixture, _, _, result) = pull_tiny(Delivery::Stall(30_000));
    let error = only_failure(result.unwrap_err());
    // The second connection asks for the rest and gets 30 000 bytes more.
    assert!(matches!(error, Error::Stalled { got: 60_000, .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let partial = files_containing(fixture.dir.path(), "incomplete");
    assert_eq!(fs::metadata(&partial[0]).unwrap().len(), 60_000);
}

#[test]
fn the_token_is_sent_to_the_hub_and_to_no_other_host() {
    let content = content(1000);
    let hub = Hub::start(&[("tiny.gguf", HubFile::large(&content))]);
    let fixture = Fixture::new(&hub.endpoint, &[(env::HF_TOKEN, "hf_secret")]);
    fixture.store(&catalogue(&content, HUB_SOURCE)).pull("tiny", &OPTIONS, &mut ()).unwrap();
    for seen in hub.seen() {
        let expected = (!seen.path.starts_with("/cdn/")).then_some("Bearer hf_secret");
        assert_eq!(
            seen.headers.get("authorization").map(String::as_str),
            expected,
            "{} {}",
            seen.method,
            seen.path
        );
    }
    assert!(hub.seen().iter().any(|seen| seen.path.starts_with("/cdn/")));
}

#[test]
fn a_damaged_model_is_fetched_anew_when_asked_to_verify() {
    let (_hub, fixture, content, _, result) = pull_tiny(Delivery::Whole);
    let path = result.unwrap().path;
    let mut damaged = content.clone();
    damaged[5] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let store = fixture.store(&catalogue(&content, HUB_SOURCE));
    assert_eq!(fs::read(store.pull("tiny", &OPTIONS, &mut ()).unwrap().path).unwrap(), damaged);
    let verify = PullOptions { existing: Existing::Verify };
    assert_eq!(fs::read(store.pull("tiny", &verify, &mut ()).unwrap().path).unwrap(), content);
}

#[test]
fn a_quantization_of_a_repository_is_pulled_with_all_its_shards() {
    let shards = [content(3000), content(2000)];
    let hub = Hub::start(&[
        ("m-Q8_0.gguf", HubFile::large(b"large")),
        ("q4/m-Q4_0-00001-of-00002.gguf", HubFile::large(&shards[0])),
        ("q4/m-Q4_0-00002-of-00002.gguf", HubFile::large(&shards[1])),
        ("README.md", HubFile::small(b"readme")),
    ]);
    let fixture = Fixture::new(&hub.endpoint, &[]);
    let store = fixture.store(&catalogue(b"x", HUB_SOURCE));
    let remote = Remote::Repo { repo: "user/repo".to_owned(), quant: Some("q4_0".to_owned()) };
    assert_eq!(store.find("user/repo:q4_0").unwrap(), Found::Remote(remote));
    let local = store.pull("user/repo:q4_0", &OPTIONS, &mut ()).unwrap();
    assert!(local.path.ends_with("q4/m-Q4_0-00001-of-00002.gguf"), "{}", local.path.display());
    assert_eq!((local.files.len(), local.bytes), (2, 5000));
    assert_eq!(local.origin, Origin::Repo { repo: "user/repo".to_owned(), commit: COMMIT.to_owned() });
    for (path, shard) in local.files.iter().zip(&shards) {
        assert_eq!(fs::read(path).unwrap(), *shard);
    }
    assert_eq!(store.find("user/repo:q4_0").unwrap(), Found::Local(local));
    let error = store.pull("user/repo:q2_k", &OPTIONS, &mut ()).unwrap_err();
    assert!(matches!(error, Error::QuantNotFound { .. }), "{error}");
}

#[test]
fn a_safetensors_folder_is_pulled_with_small_files_checked_by_their_git_id() {
    let index =
        br#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    let files = [
        ("config.json", HubFile::small(b"{}")),
        ("tokenizer.json", HubFile::large(b"{\"large\":1}")),
        ("model-00001-of-00002.safetensors", HubFile::large(b"one")),
        ("model-00002-of-00002.safetensors", HubFile::large(b"two")),
        ("model.safetensors.index.json", HubFile::small(index)),
        ("README.md", HubFile::small(b"readme")),
    ];
    let hub = Hub::start(&files);
    let fixture = Fixture::new(&hub.endpoint, &[]);
    let store = fixture.store(&catalogue(b"x", HUB_SOURCE));
    let local = store.pull("user/repo", &OPTIONS, &mut ()).unwrap();
    assert_eq!(local.path, fixture.repo_cache().join("snapshots").join(COMMIT));
    assert_eq!(local.files.len(), 5);
    assert!(!local.path.join("README.md").exists());
    assert_eq!(store.find("user/repo").unwrap(), Found::Local(local.clone()));
    fs::remove_file(local.path.join("model-00002-of-00002.safetensors")).unwrap();
    assert!(matches!(store.find("user/repo").unwrap(), Found::Remote(_)));

    let wrong = HubFile { etag: Some("0".repeat(40)), ..HubFile::small(b"{}") };
    let hub = Hub::start(&[("config.json", wrong), ("model.safetensors", HubFile::large(b"one"))]);
    let fixture = Fixture::new(&hub.endpoint, &[]);
    let error = fixture.store(&catalogue(b"x", HUB_SOURCE)).pull("user/repo", &OPTIONS, &mut ()).unwrap_err();
    assert!(matches!(error, Error::HashMismatch { algorithm: "git blob id", .. }), "{error}");
}

#[test]
fn file_names_that_leave_the_cache_make_a_listing_unusable() {
    let hub = Hub::start(&[("../../evil.Q4_0.gguf", HubFile::large(b"x"))]);
    let fixture = Fixture::new(&hub.endpoint, &[]);
    let error = fixture.store(&catalogue(b"x", HUB_SOURCE)).pull("user/repo", &OPTIONS, &mut ()).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[test]
fn paths_and_unknown_names_are_told_apart() {
    let fixture = Fixture::new("http://127.0.0.1:9", &[]);
    let store = fixture.store(&catalogue(b"x", HUB_SOURCE));
    let file = fixture.dir.path().join("some.gguf");
    fs::write(&file, b"abc").unwrap();
    let target = file.to_str().unwrap();
    let Found::Local(local) = store.find(target).unwrap() else { panic!("{target} is here") };
    assert_eq!((local.path, local.bytes, local.origin), (file.clone(), 3, Origin::Path));
    for missing in ["./nothing", "/nowhere/x", "other.gguf"] {
        assert!(matches!(store.find(missing), Err(Error::PathMissing { .. })), "{missing}");
    }
    for unknown in
        ["tinny", "What is the capital of France?", "Which is larger, 1/2 or 2/3?", "", "a/b/c", "a/b:"]
    {
        assert!(matches!(store.find(unknown), Err(Error::UnknownModel { .. })), "{unknown:?}");
    }
    let error = store.find("tinny").unwrap_err().to_string();
    assert!(error.contains("did you mean tiny?"), "{error}");
}

#[test]
fn two_pulls_at_once_download_once() {
    let content = content(400_000);
    let hub = Hub::start(&[("tiny.gguf", HubFile::large(&content))]);
    let fixture = Fixture::new(&hub.endpoint, &[]);
    let store = fixture.store(&catalogue(&content, HUB_SOURCE));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                assert_eq!(fs::read(store.pull("tiny", &OPTIONS, &mut ()).unwrap().path).unwrap(), content)
            });
        }
    });
    assert_eq!(hub.ranges().len(), 1);
}
