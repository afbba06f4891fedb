//! Files of columns (Parquet), of which one is read, a text in every row, or all.
//!
//! The `parquet` crate knows the structure, the levels and the encodings. It believes what a file says of sizes, though, so
//! everything that it would make room for is checked before: the schema and the places of columns here and in
//! [`footer`], and pages are unpacked here, where a limit holds.

use super::{Texts, footer};
use crate::{IoError, bytes::open_regular, digest};
use flate2::read::MultiGzDecoder;
use parquet::{
    basic::{Compression, Encoding, Type},
    column::{
        page::{Page, PageMetadata, PageReader},
        reader::ColumnReaderImpl,
    },
    data_type::ByteArrayType,
    errors::ParquetError,
    file::{
        metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader},
        serialized_reader::SerializedPageReader,
    },
};
use std::{fs::File, io::Read, panic::catch_unwind, path::Path, sync::Arc};

/// Most bytes of a page as it is unpacked: writers make pages of a megabyte, one long document apart.
const MAX_PAGE: usize = 256 << 20;
/// Rows that are read at once.
const ROWS: usize = 1024;
/// What a row takes beside its text.
const ROW_BYTES: u64 = size_of::<String>() as u64;
/// Columns that a message names.
const NAMED_COLUMNS: usize = 8;

/// The documents of a column, at most `most` bytes of them.
pub(super) fn read(path: &Path, field: &str, most: u64) -> Result<Texts, IoError> {
    // Version 60 of the crate panics on some broken pages (a data page of codes whose dictionary is missing was one, found by
    // changing bytes). Nothing that was begun is used afterwards.
    catch_unwind(|| documents(path, field, most)).unwrap_or_else(|_| {
        let found = "pages that make no sense";
        Err(IoError::invalid(format!("column {field:?}"), found, "a Parquet file that is whole"))
    })
}

/// A file of columns, its metadata looked through.
pub(super) struct Columns {
    file: Arc<File>,
    file_bytes: u64,
    pub(super) metadata: ParquetMetaData,
}

impl Columns {
    pub(super) fn open(path: &Path, most: u64) -> Result<Self, IoError> {
        let (file, about) = open_regular(path)?;
        let file_bytes = about.len();
        if file_bytes > most {
            return Err(IoError::TooLarge { what: "file of columns".into(), found: file_bytes, most });
        }
        footer::check(&file, file_bytes)?;
        let wrong = |error: ParquetError| IoError::invalid("footer", error, "a Parquet file that is whole");
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(wrong)?;
        Ok(Self { file: Arc::new(file), file_bytes, metadata })
    }

    /// The pages of a column in a row group.
    pub(super) fn pages(&self, chunk: &ColumnChunkMetaData) -> Result<Unpacked, IoError> {
        let what = || format!("column {:?}", chunk.column_path().string());
        let file_bytes = self.file_bytes;
        check_place(chunk, file_bytes).map_err(|found| {
            IoError::invalid(what(), found, format!("bytes of this file, which has {file_bytes}"))
        })?;
        let codec = chunk.compression();
        if !matches!(codec, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_)) {
            return Err(IoError::invalid(
                what(),
                format!("codec {codec}"),
                "uncompressed, snappy or gzip; write the file anew with one of these, or as .jsonl",
            ));
        }
        // Pages come as they are stored and are unpacked where a limit holds.
        let stored = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build();
        let pages = stored
            .and_then(|stored| SerializedPageReader::new(self.file.clone(), &stored, 0, None))
            .map_err(|error| IoError::invalid(what(), error, "a Parquet file that is whole"))?;
        Ok(Unpacked { pages, codec, dictionary: Dictionary::Missing })
    }
}

fn documents(path: &Path, field: &str, most: u64) -> Result<Texts, IoError> {
    let columns = Columns::open(path, most)?;
    let what = || format!("column {field:?}");
    let column = find(&columns.metadata, field)?;
    let mut documents = Documents { all: Vec::new(), bytes: 0, most, rows: 0 };
    for group in columns.metadata.row_groups() {
        let chunk = group
            .columns()
            .get(column)
            .ok_or_else(|| IoError::invalid(what(), "a row group without it", "it in every row group"))?;
        let pages = Box::new(columns.pages(chunk)?);
        documents.read(ColumnReaderImpl::new(chunk.column_descr_ptr(), pages), field)?;
    }
    if documents.all.is_empty() {
        return Err(IoError::invalid(what(), "no row", "at least one"));
    }
    Ok(Texts { documents: documents.all, sha256: digest::sha256([path])? })
}

/// The number of a column that has one text a row.
fn find(metadata: &ParquetMetaData, field: &str) -> Result<usize, IoError> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let what = || format!("column {field:?}");
    let Some(index) = columns.iter().position(|column| column.path().string() == field) else {
        let names = columns.iter().take(NAMED_COLUMNS).map(|column| format!("{:?}", column.path().string()));
        let names = names.collect::<Vec<_>>().join(", ");
        let expected = format!("a column {field:?}; name the one that holds the text");
        return Err(IoError::invalid(what(), names, expected));
    };
    let column = &columns[index];
    if column.max_rep_level() > 0 {
        return Err(IoError::invalid(what(), "lists", "one text in every row"));
    }
    match column.physical_type() {
        Type::BYTE_ARRAY => Ok(index),
        other => Err(IoError::invalid(what(), other, "text; name the column that holds it")),
    }
}

/// Where a column's pages lie must be in the file; says where they would be.
fn check_place(chunk: &ColumnChunkMetaData, file_bytes: u64) -> Result<(), String> {
    if let Some(other) = chunk.file_path() {
        return Err(format!("pages in another file, {other:?}"));
    }
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let len = chunk.compressed_size();
    let end = u64::try_from(start)
        .ok()
        .zip(u64::try_from(len).ok())
        .and_then(|(start, len)| start.checked_add(len));
    match end {
        Some(end) if end <= file_bytes => Ok(()),
        _ => Err(format!("{len} bytes of pages from byte {start} on")),
    }
}

/// What was read so far.
struct Documents {
    all: Vec<String>,
    /// Their bytes, and what they take beside.
    bytes: u64,
    most: u64,
    rows: usize,
}

impl Documents {
    /// Adds those of a column of a row group.
    fn read(&mut self, mut column: ColumnReaderImpl<ByteArrayType>, field: &str) -> Result<(), IoError> {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        loop {
            values.clear();
            levels.clear();
            let (rows, found, _) =
                column.read_records(ROWS, Some(&mut levels), None, &mut values).map_err(|error| {
                    IoError::invalid(format!("column {field:?}"), error, "pages that are whole")
                })?;
            if rows == 0 {
                return Ok(());
            }
            if found < rows {
                let highest = levels.iter().max().copied().unwrap_or(0);
                let null = levels.iter().position(|level| *level < highest || found == 0).unwrap_or(0);
                let place = format!("row {}, column {field:?}", self.rows + null + 1);
                return Err(IoError::invalid(place, "null", "text; drop such rows, or name another column"));
            }
            for (i, value) in values.iter().enumerate() {
                self.bytes += value.len() as u64 + ROW_BYTES;
                if self.bytes > self.most {
                    let what = "text, as it is unpacked,".into();
                    return Err(IoError::TooLarge { what, found: self.bytes, most: self.most });
                }
                let text = std::str::from_utf8(value.data()).map_err(|_| IoError::NotUtf8 {
                    what: format!("row {}, column {field:?}", self.rows + i + 1),
                })?;
                self.all.push(text.to_owned());
            }
            self.rows += rows;
        }
    }
}

/// Pages of a column, unpacked.
pub(super) struct Unpacked {
    pages: SerializedPageReader<File>,
    codec: Compression,
    dictionary: Dictionary,
}

/// Whether a column's dictionary came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dictionary {
    Missing,
    Here,
}

impl Unpacked {
    fn unpack(&self, packed: &[u8]) -> Result<Vec<u8>, ParquetError> {
        // A page without values may have no bytes at all.
        if packed.is_empty() {
            return Ok(Vec::new());
        }
        let too_long = || ParquetError::General(format!("a page of more than {MAX_PAGE} bytes"));
        match self.codec {
            Compression::GZIP(_) => {
                let mut bytes = Vec::new();
                MultiGzDecoder::new(packed).take(MAX_PAGE as u64 + 1).read_to_end(&mut bytes)?;
                if bytes.len() > MAX_PAGE { Err(too_long()) } else { Ok(bytes) }
            }
            Compression::SNAPPY => {
                let wrong = |error: snap::Error| ParquetError::General(error.to_string());
                // An element of snappy has 3 bytes at least for 64 of the text.
                let len = snap::raw::decompress_len(packed).map_err(wrong)?;
                if len > MAX_PAGE || len / 32 > packed.len() {
                    return Err(too_long());
                }
                snap::raw::Decoder::new().decompress_vec(packed).map_err(wrong)
            }
            _ => Ok(packed.to_vec()),
        }
    }
}

impl Iterator for Unpacked {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Unpacked {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let Some(mut page) = self.pages.get_next_page()? else { return Ok(None) };
        if page.is_dictionary_page() {
            self.dictionary = Dictionary::Here;
        } else if matches!(page.encoding(), Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY)
            && self.dictionary == Dictionary::Missing
        {
            return Err(ParquetError::General("a page of codes without a dictionary".to_owned()));
        }
        match &mut page {
            Page::DataPage { buf, .. } => *buf = self.unpack(buf)?.into(),
            Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, is_compressed, .. } => {
                if *is_compressed {
                    let levels =
                        (*def_levels_byte_len as usize).saturating_add(*rep_levels_byte_len as usize);
                    let (levels, values) = buf
                        .split_at_checked(levels)
                        .ok_or_else(|| ParquetError::General("levels longer than their page".to_owned()))?;
                    *buf = [levels, &self.unpack(values)?].concat().into();
                    *is_compressed = false;
                }
            }
            Page::DictionaryPage { buf, num_values, .. } => {
                *buf = self.unpack(buf)?.into();
                // Every entry has its length before it.
                if *num_values as usize > buf.len() / 4 {
                    return Err(ParquetError::General(format!(
                        "a dictionary of {num_values} entries in {} bytes",
                        buf.len()
                    )));
                }
            }
        }
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool, ParquetError> {
        self.pages.at_record_boundary()
    }
}
