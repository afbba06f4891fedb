//! A text cut into windows as llama-perplexity cuts it.
//!
//! The whole text is tokenized once. Windows of [`WINDOW`] tokens follow each other without overlap;
//! where the model begins texts with a token, that token takes the place of each window's first. Only
//! the second half of a window is scored, so that every scored token has at least half a window of
//! context: the row at position p, from [`FIRST_ROW`] on, scores the text's token p + 1.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use peers_protocol::{Reply, Request, Special, read_ids};

use crate::child::{EngineProcess, unexpected};

/// Tokens of a window.
pub(crate) const WINDOW: usize = 512;
/// The first position whose logits score a token.
pub(crate) const FIRST_ROW: usize = WINDOW / 2;

/// A tokenized text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Windows {
    ids: Vec<u32>,
    begin: Special,
}

impl Windows {
    /// Has `engine` tokenize a file, plain or (by its name) gzip-compressed.
    pub(crate) fn of_file(engine: &mut EngineProcess, path: &Path, scratch: &Path) -> Result<Self> {
        let text = scratch.join("text");
        std::fs::write(&text, read_text(path)?)?;
        let ids = scratch.join("ids");
        match engine.ask(&Request::Tokenize { text, ids: ids.clone() })? {
            Reply::Tokenized { count, begin } => {
                let ids = read_ids(&ids)?;
                ensure!(ids.len() == count, "{count} tokens were announced and {} written", ids.len());
                Ok(Self { ids, begin })
            }
            other => Err(unexpected(engine.spec(), &other)),
        }
    }

    /// How many whole windows there are, `wanted` if given, which must not be more than there are.
    pub(crate) fn count(&self, wanted: Option<usize>) -> Result<usize> {
        let whole = self.ids.len() / WINDOW;
        let count = wanted.unwrap_or(whole);
        ensure!(
            (1..=whole).contains(&count),
            "{count} windows of {WINDOW} tokens were asked for; the text has {} tokens, {whole} windows",
            self.ids.len()
        );
        Ok(count)
    }

    /// What an engine is fed.
    pub(crate) fn input(&self, index: usize) -> Vec<u32> {
        let mut window = self.tokens(index).to_vec();
        if let Special::Bos(bos) = self.begin {
            window[0] = bos;
        }
        window
    }

    /// The tokens that the rows from [`FIRST_ROW`] on are scored by. One fewer than there are rows: the
    /// last row predicts a token of the next window.
    pub(crate) fn targets(&self, index: usize) -> &[u32] {
        &self.tokens(index)[FIRST_ROW + 1..]
    }

    /// The tokens of a window as they are in the text.
    pub(crate) fn tokens(&self, index: usize) -> &[u32] {
        &self.ids[index * WINDOW..(index + 1) * WINDOW]
    }

    /// What the model puts before a text.
    pub(crate) fn begin(&self) -> Special {
        self.begin
    }
}

/// The bytes of a text. A final line end is dropped, as llama.cpp's `-f` does.
fn read_text(path: &Path) -> Result<Vec<u8>> {
    let name = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(name)?;
    let mut text = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        MultiGzDecoder::new(file).read_to_end(&mut text).with_context(name)?;
    } else {
        file.read_to_end(&mut text).with_context(name)?;
    }
    text.pop_if(|last| *last == b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn counting(tokens: u32, begin: Special) -> Windows {
        Windows { ids: (0..tokens).collect(), begin }
    }

    #[test]
    fn windows_do_not_overlap_and_the_rest_is_dropped() {
        let windows = counting(1100, Special::None);
        assert_eq!(windows.count(None).unwrap(), 2);
        assert_eq!(windows.input(1), (512..1024).collect::<Vec<_>>());
        assert!(windows.count(Some(3)).unwrap_err().to_string().contains("1100 tokens"));
        assert!(windows.count(Some(0)).is_err());
    }

    #[test]
    fn the_begin_token_replaces_what_is_fed_and_not_what_is_scored() {
        let windows = counting(1024, Special::Bos(7777));
        assert_eq!(windows.input(1)[..3], [7777, 513, 514]);
        assert_eq!(windows.tokens(1)[0], 512);
        assert_eq!(windows.targets(1)[0], 512 + 257);
        assert_eq!(windows.targets(1).len(), 255);
    }

    #[test]
    fn a_compressed_text_reads_as_the_plain_one() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed) = (folder.path().join("a.txt"), folder.path().join("a.txt.gz"));
        std::fs::write(&plain, "one\n\n two\n\n").unwrap();
        let mut encoder = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
        encoder.write_all(b"one\n\n two\n\n").unwrap();
        encoder.finish().unwrap();
        assert_eq!(read_text(&plain).unwrap(), b"one\n\n two\n");
        assert_eq!(read_text(&packed).unwrap(), b"one\n\n two\n");
    }
}
