//! Texts: what a model is calibrated with and measured on.
//!
//! A file holds one document or many. Its name says which, without a `.gz` at its end: in `.jsonl`, `.ndjson` and
//! `.json` every line is an object with a document in one field, everything else is one document as a whole. Gzip is
//! told by its first bytes, whatever the name. Of a file of columns, `.parquet`, one column is read, a document in every
//! row.
//!
//! Of the data of tasks every field counts: [`Rows`] are whole lines or rows.
//!
//! Nothing here knows a tokenizer: [`samples`] takes documents as token ids and cuts windows out of them.

mod columns;
mod footer;
mod lines;
mod rows;
mod samples;
mod source;

pub use rows::{Row, Rows};
pub use samples::samples;
pub use source::MAX_TEXT;

use crate::IoError;
use source::Source;
use std::path::Path;

/// The field of a line, or the column, in which data sets keep their text.
pub const TEXT_FIELD: &str = "text";

/// The documents of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// One at least, in the order of the file.
    pub documents: Vec<String>,
    /// SHA-256 of the file as it is unpacked, of one of columns as it lies there, in hexadecimal: by it others can tell that
    /// they use the same.
    pub sha256: String,
}

impl Texts {
    /// Reads a file. `field` names the field of lines, or the column, that holds a document, [`TEXT_FIELD`] where it is
    /// `None`; of a column inside of others its path, with points between.
    ///
    /// # Errors
    /// Where the file cannot be read or unpacked, is larger than [`MAX_TEXT`], is no UTF-8, or a line is no object
    /// with text in the field; where a column is no text, has a row of none or is packed otherwise than by snappy or gzip;
    /// where a field is named for a file that has none; where there is no document.
    pub fn read(path: &Path, field: Option<&str>) -> Result<Self, IoError> {
        let read = || {
            let kind = Kind::of(path);
            match (kind, field) {
                (Kind::Whole, None) => whole(Source::open(path)?),
                (Kind::Whole, Some(field)) => Err(IoError::invalid(
                    format!("field {field:?}"),
                    "a file that is one document as a whole",
                    "a file of lines or columns, .jsonl or .parquet; leave the field out",
                )),
                (Kind::Lines, field) => lines::read(Source::open(path)?, field.unwrap_or(TEXT_FIELD)),
                (Kind::Columns, field) => columns::read(path, field.unwrap_or(TEXT_FIELD), MAX_TEXT),
            }
        };
        read().map_err(|error| error.in_file(path))
    }

    /// All documents as one text, blank lines between them, as the papers on quantization join the rows of WikiText-2.
    pub fn joined(&self) -> String {
        self.documents.join("\n\n")
    }
}

/// What a file's name says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Lines,
    Columns,
}

impl Kind {
    fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("jsonl" | "ndjson" | "json") => Self::Lines,
            Some("parquet") => Self::Columns,
            _ => Self::Whole,
        }
    }
}

fn whole(mut source: Source) -> Result<Texts, IoError> {
    let bytes = source.rest()?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        IoError::NotUtf8 { what: format!("byte {at} of the text") }
    })?;
    if text.is_empty() {
        return Err(IoError::invalid("text", "nothing", "at least one character"));
    }
    Ok(Texts { documents: vec![text], sha256: source.sha256() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is_whatever_their_case_and_packing() {
        for (name, kind) in [
            ("a.txt", Kind::Whole),
            ("wiki.test.raw.gz", Kind::Whole),
            ("README", Kind::Whole),
            ("c4.jsonl", Kind::Lines),
            ("C4.JSONL.GZ", Kind::Lines),
            ("c4-train.00000-of-01024.json.gz", Kind::Lines),
            ("train-00000-of-00001.parquet", Kind::Columns),
        ] {
            assert_eq!(Kind::of(Path::new(name)), kind, "{name}");
        }
    }
}
