//! Files of columns as pyarrow writes them (`golden/parquet.py`), wrong ones, and broken ones.

use lowbit_io::texts::Texts;
use std::{fs, path::PathBuf};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parquet").join(format!("{name}.parquet"))
}

/// What the script wrote.
fn texts() -> Vec<&'static str> {
    ["one", "", "zwei, drüben", "three\nlines\nlong", "one"].repeat(20)
}

const GOOD: [&str; 8] =
    ["snappy", "gzip", "plain", "pages_v2", "row_groups", "many_pages", "delta", "required"];

#[test]
fn a_column_is_read_however_it_was_written() {
    for name in GOOD {
        let found = Texts::read(&golden(name), None).unwrap();
        assert_eq!(found.documents, texts(), "{name}");
        assert_eq!(found.sha256.len(), 64, "{name}");
    }
    let titles = Texts::read(&golden("snappy"), Some("meta.title")).unwrap();
    assert_eq!(titles.documents[3], "THREE\nLINES\nLONG");
}

#[test]
fn what_is_wrong_with_a_column_is_said_with_file_and_column() {
    for (name, field, said) in [
        ("zstd", None, "column \"text\": found codec ZSTD"),
        ("null", None, "row 2, column \"text\": found null, expected text"),
        ("empty", None, "column \"text\": found no row"),
        ("lists", Some("text.list.element"), "found lists, expected one text in every row"),
        ("numbers", None, "column \"text\": found INT64, expected text"),
        ("not_utf8", None, "row 2, column \"text\" is not valid UTF-8"),
        ("snappy", Some("body"), "found \"id\", \"text\", \"meta.title\", expected a column \"body\""),
    ] {
        let error = Texts::read(&golden(name), field).unwrap_err().to_string();
        assert!(error.contains(said), "{name}: {error}");
        assert!(error.contains(&format!("{name}.parquet")), "{name}: {error}");
    }
}

/// Whatever is cut off or changed, there is an answer or an error: no panic, and nothing that takes long.
#[test]
fn broken_files_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.parquet");
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Texts::read(&path, None)
    };
    for name in GOOD {
        let bytes = fs::read(golden(name)).unwrap();
        for end in (0..bytes.len()).step_by(97) {
            let error = read(&bytes[..end]).unwrap_err().to_string();
            assert!(error.contains("broken.parquet"), "{name} {end}: {error}");
        }
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= [0x01, 0x80, 0xff][at % 3];
            let _ = read(&broken);
        }
    }
}
