//! Text files as they come: plain and packed, whole and in lines, and wrong.

use flate2::{Compression, write::GzEncoder};
use lowbit_io::texts::{Texts, samples};
use std::{fs::File, io::Write, path::PathBuf};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn plain(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn packed(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap();
        path
    }
}

#[test]
fn packed_and_plain_files_are_the_same_texts_with_the_same_digest() {
    let folder = Folder::new();
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for path in [folder.plain("a.txt", b"abc"), folder.packed("a.raw.gz", b"abc"), folder.packed("a", b"abc")]
    {
        let texts = Texts::read(&path, None).unwrap();
        assert_eq!(texts, Texts { documents: vec!["abc".into()], sha256: digest.into() });
    }
    let lines = "{\"text\": \"one\", \"id\": 1}\n\n{\"id\": 2, \"text\": \"\u{2028}two\\n\"}\r\n";
    let read = |path: PathBuf| Texts::read(&path, None).unwrap();
    let (plain, packed) = (
        read(folder.plain("b.jsonl", lines.as_bytes())),
        read(folder.packed("b.jsonl.gz", lines.as_bytes())),
    );
    assert_eq!(plain, packed);
    assert_eq!(plain.documents, ["one", "\u{2028}two\n"]);
    assert_eq!(plain.joined(), "one\n\n\u{2028}two\n");
}

#[test]
fn what_is_wrong_is_said_with_the_file() {
    let folder = Folder::new();
    let cut = folder.packed("cut.gz", &[b'a'; 5000]);
    let bytes = std::fs::read(&cut).unwrap();
    for (path, field, said) in [
        (folder.plain("b.txt", b"ab\xff"), None, "byte 2 of the text is not valid UTF-8"),
        (folder.plain("c.txt", b""), None, "nothing, expected at least one character"),
        (folder.plain("d.txt", b"a"), Some("content"), "field \"content\""),
        (folder.plain("e.jsonl", b"{\"text\": \"a\"}\n{\"text\": 1}"), None, "line 2, field \"text\""),
        (folder.plain("f.jsonl", b"\n \n"), None, "no line with a document"),
        (
            folder.plain("g.jsonl", b"{\"text\": \"a\"}"),
            Some("body"),
            "found \"text\", expected a field \"body\"",
        ),
        (folder.plain("h.gz", &bytes[..bytes.len() / 2]), None, "cannot read or unpack it"),
        (folder.plain("i.parquet", b"PAR1"), None, "fewer bytes than a Parquet file"),
        (folder.plain("j.parquet", b"PAR1 is not at the end"), None, "no mark of Parquet"),
        (folder.plain("k.parquet", b"PAR1\xff\xff\xff\x00PAR1"), None, "a footer longer than the file"),
        (folder.0.path().to_owned(), None, "not a regular file"),
        (folder.0.path().join("absent"), None, "cannot open it"),
    ] {
        let error = Texts::read(&path, field).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    }
}

#[test]
fn calibration_files_are_read_and_windows_cut_from_them() {
    for (name, documents) in [
        ("calib/c4_train_1000.jsonl.gz", 1000),
        ("calib/c4_demo_300.jsonl.gz", 300),
        ("calib/wikitext2_raw_train_first1MB.txt.gz", 1),
    ] {
        let Some(path) = lowbit_testing::data_file(name) else { return };
        let texts = Texts::read(&path, None).unwrap();
        assert_eq!(texts.documents.len(), documents, "{name}");
        // Bytes for tokens.
        let tokens = |text: &String| text.bytes().map(u32::from).collect();
        let tokens: Vec<Vec<u32>> = texts.documents.iter().map(tokens).collect();
        let windows = samples(&tokens, 128, 2048, 0).unwrap();
        assert!(windows.iter().all(|window| window.len() == 2048) && windows.len() == 128);
    }
}
