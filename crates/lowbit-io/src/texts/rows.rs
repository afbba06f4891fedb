//! Rows with named fields: the data of tasks.
//!
//! `.jsonl` and `.ndjson` files have an object in every line, `.json` files too, or they are an array of objects, or an object
//! of such arrays; `.tsv` files name their fields in the first line; `.parquet` files have columns. `.raw` files are WikiText's:
//! every article is a row, with its text in `page`.

use super::{
    columns::Columns,
    lines::MAX_LINE,
    source::{MAX_TEXT, Source},
};
use crate::{IoError, digest};
use parquet::{
    bloom_filter::Sbbf,
    column::page::PageReader,
    errors::{ParquetError, Result as ParquetResult},
    file::{metadata::RowGroupMetaData, reader::RowGroupReader},
    record::reader::{RowIter, TreeBuilder},
    schema::types::Type,
};
use serde_json::{Map, Value};
use std::{panic::catch_unwind, path::Path};

/// Fields that a message names.
const NAMED_FIELDS: usize = 12;
/// What a value takes beside its text.
const VALUE_BYTES: u64 = size_of::<Value>() as u64;
/// The field that holds the name of the array a row was in.
const ARRAY_FIELD: &str = "subset";

/// The rows of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// One at least, in the order of the file.
    pub rows: Vec<Row>,
    /// SHA-256 of the file as it is unpacked, of one of columns as it lies there, in hexadecimal.
    pub sha256: String,
}

/// One row: an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its fields.
    pub fields: Map<String, Value>,
    /// Its number in the file, from 1.
    pub number: usize,
}

impl Rows {
    /// Reads a file.
    ///
    /// # Errors
    /// Where the file cannot be read or unpacked, is larger than [`MAX_TEXT`] or takes more memory than that, is no UTF-8, has a
    /// row that is no object, or none at all.
    pub fn read(path: &Path) -> Result<Self, IoError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let read = || match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("jsonl" | "ndjson") => lines(Source::open(path)?),
            Some("json") => whole(Source::open(path)?),
            Some("tsv") => separated(Source::open(path)?),
            Some("raw") => articles(Source::open(path)?),
            // See `columns::read`.
            Some("parquet") => catch_unwind(|| of_columns(path))
                .unwrap_or_else(|_| Err(not_whole("pages that make no sense"))),
            _ => Err(IoError::invalid(
                "name",
                name,
                ".jsonl, .json, .tsv, .raw (with .gz or without) or .parquet",
            )),
        };
        let rows: Self = read().map_err(|error| error.in_file(path))?;
        if rows.rows.is_empty() {
            return Err(IoError::invalid("file", "no row", "at least one").in_file(path));
        }
        Ok(rows)
    }
}

impl Row {
    /// The value at a path with points between names, as `choices.text`; `None` where it is not there or is null.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let mut names = path.split('.');
        let mut value = self.fields.get(names.next()?)?;
        for name in names {
            value = value.get(name)?;
        }
        Some(value).filter(|value| !value.is_null())
    }

    /// The text at a path.
    ///
    /// # Errors
    /// Where there is none, naming the row and the field.
    pub fn text(&self, path: &str) -> Result<&str, IoError> {
        let value = self.need(path)?;
        value.as_str().ok_or_else(|| self.wrong(path, value, "text"))
    }

    /// The list of texts at a path.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn texts(&self, path: &str) -> Result<Vec<String>, IoError> {
        let value = self.need(path)?;
        let texts = value.as_array().and_then(|list| {
            list.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        texts.ok_or_else(|| self.wrong(path, value, "a list of texts"))
    }

    /// The number from 0 on at a path; text of digits is read as one, false is 0 and true 1.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn number(&self, path: &str) -> Result<usize, IoError> {
        let value = self.need(path)?;
        let number = match value {
            Value::Number(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(truth) => Some(usize::from(*truth)),
            _ => None,
        };
        number.ok_or_else(|| self.wrong(path, value, "a number from 0 on"))
    }

    /// That a number is below a count.
    ///
    /// # Errors
    /// Where it is not, naming the row and the field.
    pub fn below(&self, path: &str, number: usize, count: usize) -> Result<usize, IoError> {
        if number < count {
            return Ok(number);
        }
        Err(self.invalid(path, number, format!("a number below {count}")))
    }

    /// The error of a field that is not what it has to be.
    pub fn invalid(&self, path: &str, found: impl std::fmt::Display, expected: impl Into<String>) -> IoError {
        IoError::invalid(format!("row {}, field {path:?}", self.number), found, expected)
    }

    fn need(&self, path: &str) -> Result<&Value, IoError> {
        self.get(path).ok_or_else(|| {
            let mut names: Vec<String> = self.fields.keys().map(|name| format!("{name:?}")).collect();
            names.sort();
            names.truncate(NAMED_FIELDS);
            let names = names.join(", ");
            let names = if names.is_empty() { "no field at all".to_owned() } else { names };
            self.invalid(path, names, "this field too")
        })
    }

    fn wrong(&self, path: &str, value: &Value, expected: &str) -> IoError {
        let mut found = value.to_string();
        if let Some((end, _)) = found.char_indices().nth(60) {
            found.replace_range(end.., "...");
        }
        self.invalid(path, found, expected)
    }
}

/// An object in every line.
fn lines(mut source: Source) -> Result<Rows, IoError> {
    let (mut rows, mut line, mut number) = (Vec::new(), Vec::new(), 0);
    while source.line(&mut line, MAX_LINE)? {
        number += 1;
        if !line.trim_ascii().is_empty() {
            rows.push(Row { fields: object(&line, &format!("line {number}"))?, number });
        }
    }
    Ok(Rows { rows, sha256: source.sha256() })
}

fn object(json: &[u8], what: &str) -> Result<Map<String, Value>, IoError> {
    serde_json::from_slice(json).map_err(|error| IoError::invalid(what, error, "a JSON object"))
}

/// Lines, an array of objects, or an object of arrays.
fn whole(mut source: Source) -> Result<Rows, IoError> {
    let bytes = source.rest()?;
    let sha256 = source.sha256();
    let mut objects = Vec::new();
    match serde_json::from_slice(&bytes) {
        Ok(Value::Array(all)) => objects.extend(all),
        Ok(Value::Object(arrays)) if arrays.values().all(Value::is_array) => {
            for (name, array) in arrays {
                let Value::Array(array) = array else { continue };
                objects.extend(array.into_iter().map(|mut object| {
                    if let Value::Object(fields) = &mut object {
                        fields.insert(ARRAY_FIELD.to_owned(), Value::String(name.clone()));
                    }
                    object
                }));
            }
        }
        Ok(one) => objects.push(one),
        Err(_) => {
            for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                if !line.trim_ascii().is_empty() {
                    objects.push(Value::Object(object(line, &format!("line {}", i + 1))?));
                }
            }
        }
    }
    let row = |(i, object)| match object {
        Value::Object(fields) => Ok(Row { fields, number: i + 1 }),
        _ => Err(IoError::invalid(format!("row {}", i + 1), "no object", "a JSON object")),
    };
    Ok(Rows { rows: objects.into_iter().enumerate().map(row).collect::<Result<_, _>>()?, sha256 })
}

/// Fields between tabs; the first line names them.
fn separated(mut source: Source) -> Result<Rows, IoError> {
    let (mut rows, mut line, mut names) = (Vec::new(), Vec::new(), None::<Vec<String>>);
    let mut number = 0;
    while source.line(&mut line, MAX_LINE)? {
        let text = std::str::from_utf8(&line)
            .map_err(|_| IoError::NotUtf8 { what: format!("line {}", number + 1) })?;
        let cells = text.trim_end_matches('\r').split('\t');
        match &names {
            None => names = Some(cells.map(str::to_owned).collect()),
            Some(_) if text.trim().is_empty() => {}
            Some(names) => {
                let cells: Vec<&str> = cells.collect();
                if cells.len() != names.len() {
                    let (what, expected) =
                        (format!("line {}", number + 1), format!("{} fields", names.len()));
                    return Err(IoError::invalid(what, format!("{} fields", cells.len()), expected));
                }
                let fields = names.iter().cloned().zip(cells.into_iter().map(Value::from)).collect();
                rows.push(Row { fields, number });
            }
        }
        number += 1;
    }
    Ok(Rows { rows, sha256: source.sha256() })
}

/// Articles of WikiText, each from its title on; what is before the first is no article unless it has text. What looks like a
/// title begins an article also where it is none ("= 1 henry and capacitance C ="): so has the hub's set of whole articles
/// (`wikitext_document_level`), whose articles these are.
fn articles(mut source: Source) -> Result<Rows, IoError> {
    let bytes = source.rest()?;
    let sha256 = source.sha256();
    let text = std::str::from_utf8(&bytes).map_err(|_| IoError::NotUtf8 { what: "text".into() })?;
    let mut pages: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.split('\n') {
        if is_title(line) {
            pages.push(Vec::new());
        }
        if let Some(page) = pages.last_mut() {
            page.push(line);
        }
    }
    let pages = pages.iter().map(|lines| lines.join("\n")).filter(|page| !page.trim().is_empty());
    let row =
        |(i, page)| Row { fields: Map::from_iter([("page".to_owned(), Value::String(page))]), number: i + 1 };
    Ok(Rows { rows: pages.enumerate().map(row).collect(), sha256 })
}

/// ` = Title = `, but no ` = = Section = = `.
fn is_title(line: &str) -> bool {
    let line = line.replace("= = =", "===").replace("= =", "==");
    let line = line.trim();
    line.starts_with("= ") && line.ends_with(" =")
}

fn not_whole(found: impl std::fmt::Display) -> IoError {
    IoError::invalid("rows", found, "a Parquet file that is whole")
}

fn of_columns(path: &Path) -> Result<Rows, IoError> {
    let columns = Columns::open(path, MAX_TEXT)?;
    let schema = columns.metadata.file_metadata().schema_descr_ptr();
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for metadata in columns.metadata.row_groups() {
        if metadata.columns().len() != schema.num_columns() {
            return Err(not_whole("a row group without some column"));
        }
        // What is wrong with a column is told by its name, which the crate would wrap.
        for chunk in metadata.columns() {
            columns.pages(chunk)?;
        }
        let group = Group { columns: &columns, metadata };
        for row in TreeBuilder::new().as_iter(schema.clone(), &group).map_err(not_whole)? {
            let Value::Object(fields) = row.map_err(not_whole)?.to_json_value() else { continue };
            bytes += fields.iter().map(|(name, value)| name.len() as u64 + weight(value)).sum::<u64>();
            if bytes > MAX_TEXT {
                let what = "rows, as they are unpacked,".into();
                return Err(IoError::TooLarge { what, found: bytes, most: MAX_TEXT });
            }
            rows.push(Row { fields, number: rows.len() + 1 });
        }
    }
    Ok(Rows { rows, sha256: digest::sha256([path])? })
}

/// Bytes of memory, roughly.
fn weight(value: &Value) -> u64 {
    VALUE_BYTES
        + match value {
            Value::String(text) => text.len() as u64,
            Value::Array(list) => list.iter().map(weight).sum(),
            Value::Object(map) => map.iter().map(|(name, value)| name.len() as u64 + weight(value)).sum(),
            _ => 0,
        }
}

/// A row group whose pages are unpacked under a limit.
struct Group<'a> {
    columns: &'a Columns,
    metadata: &'a RowGroupMetaData,
}

impl RowGroupReader for Group<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.metadata
    }

    fn num_columns(&self) -> usize {
        self.metadata.num_columns()
    }

    fn get_column_page_reader(&self, i: usize) -> ParquetResult<Box<dyn PageReader>> {
        let pages = self.columns.pages(self.metadata.column(i));
        Ok(Box::new(pages.map_err(|error| ParquetError::General(error.to_string()))?))
    }

    fn get_column_bloom_filter(&self, _: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Type>) -> ParquetResult<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn file(name: &str, content: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        (folder, path)
    }

    #[test]
    fn the_same_rows_come_of_every_kind_of_file() {
        let expected = r#"[{"a":"x","b":"1"},{"a":"y","b":"2"}]"#;
        for (name, content) in [
            ("a.jsonl", "{\"a\":\"x\",\"b\":\"1\"}\n\n{\"a\":\"y\",\"b\":\"2\"}"),
            ("a.json", "{\"a\":\"x\",\"b\":\"1\"}\n{\"a\":\"y\",\"b\":\"2\"}\n"),
            ("a.json", expected),
            ("a.tsv", "a\tb\r\nx\t1\r\ny\t2\r\n"),
        ] {
            let (_folder, path) = file(name, content);
            let rows = Rows::read(&path).unwrap().rows;
            let objects: Vec<Value> = rows.into_iter().map(|row| Value::Object(row.fields)).collect();
            assert_eq!(serde_json::to_string(&objects).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn articles_go_from_title_to_title() {
        let first = " = One = \n \n = = Section = = \n a = b \n";
        let (_folder, path) =
            file("w.test.raw", &format!(" \n{first}\n = Two (2) = \n = = = Sub = = = \nend\n"));
        let rows = Rows::read(&path).unwrap().rows;
        let pages: Vec<_> = rows.iter().map(|row| (row.number, row.text("page").unwrap())).collect();
        assert_eq!(pages, [(1, first), (2, " = Two (2) = \n = = = Sub = = = \nend\n")]);
    }

    #[test]
    fn rows_of_an_object_of_arrays_know_their_array() {
        let (_folder, path) = file("a.json", r#"{"sst2": [{"x": 1}], "qqp": [{"x": 2}, {"x": 3}]}"#);
        let rows = Rows::read(&path).unwrap().rows;
        let mut found: Vec<_> =
            rows.iter().map(|row| (row.text("subset").unwrap(), row.number("x").unwrap())).collect();
        found.sort();
        assert_eq!(found, [("qqp", 2), ("qqp", 3), ("sst2", 1)]);
    }

    #[test]
    fn fields_are_found_by_path_and_what_is_wrong_is_said_by_row_and_field() {
        let (_folder, path) = file(
            "a.jsonl",
            r#"{"choices": {"text": ["a", "b"]}, "answer": "1", "right": true, "none": null}"#,
        );
        let rows = Rows::read(&path).unwrap().rows;
        let row = &rows[0];
        assert_eq!(row.texts("choices.text").unwrap(), ["a", "b"]);
        assert_eq!((row.number("answer").unwrap(), row.number("right").unwrap()), (1, 1));
        assert!(row.get("none").is_none() && row.get("choices.label").is_none());
        for (error, said) in [
            (row.text("none").unwrap_err(), r#"row 1, field "none": found "answer", "choices""#),
            (row.text("right").unwrap_err(), r#"row 1, field "right": found true, expected text"#),
            (row.texts("answer").unwrap_err(), "expected a list of texts"),
            (row.number("choices").unwrap_err(), "expected a number from 0 on"),
            (row.below("answer", 4, 4).unwrap_err(), "found 4, expected a number below 4"),
        ] {
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn files_without_rows_and_of_other_kinds_are_refused() {
        for (name, content, said) in [
            ("a.jsonl", "\n", "no row"),
            ("a.jsonl", "[1]", "line 1: found"),
            ("a.json", "[1]", "row 1: found no object"),
            ("a.tsv", "a\tb\nx\n", "line 2: found 1 fields, expected 2 fields"),
            ("a.txt", "x", "expected .jsonl"),
            ("a.parquet", "PAR1", "Parquet file that is whole"),
        ] {
            let (_folder, path) = file(name, content);
            let error = Rows::read(&path).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
