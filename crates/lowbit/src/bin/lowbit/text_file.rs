//! The text that a measurement is made on: an option for the file, and what a report says of it.

use anyhow::Result;
use clap::Args;
use lowbit::texts::Texts;
use std::path::PathBuf;

/// Which text.
#[derive(Args, Debug, Clone)]
pub(crate) struct TextOption {
    /// Text to score, plain or gzipped; of .jsonl files a field of every line and of .parquet files a column, documents
    /// joined by blank lines
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Field of a .jsonl file, or column of a .parquet file, that holds the text [default: text]
    #[arg(long, value_name = "NAME")]
    text_field: Option<String>,
}

/// A text with what tells it from others.
pub(crate) struct TextFile {
    pub(crate) text: String,
    pub(crate) path: PathBuf,
    /// Of the file as it is unpacked, in hexadecimal.
    pub(crate) sha256: String,
}

impl TextOption {
    pub(crate) fn read(&self) -> Result<TextFile> {
        let texts = Texts::read(&self.text, self.text_field.as_deref())?;
        Ok(TextFile { text: texts.joined(), path: self.text.clone(), sha256: texts.sha256 })
    }
}
