//! A note added to a container that is written already: what was found out by running it.

use super::Container;
use crate::hf::write::quoted;
use crate::{
    Access, IoError, bytes,
    hf::safetensors::{MAX_HEADER, SKIPPED},
    payload::write_new,
};
use std::path::Path;

/// How headers of lowbit's own writing begin.
const BEGIN: &str = "{\"__metadata__\":{";

/// Adds metadata `lowbit.x-KEY`, which readers skip, to the container at `path`, and returns the bytes that the file has
/// then. It is written anew beside the old one, which it replaces.
///
/// # Errors
/// Where the file is no container of lowbit's own writing, has the note already, or cannot be written.
pub fn annotate(path: &Path, key: &str, content: &str) -> Result<u64, IoError> {
    // What is wrong with the file is found here.
    Container::open(path, Access::Map)?;
    let (bytes, _) = bytes::open(path, Access::Map)?;
    let (header, data) = annotated(bytes.bytes(), key, content).map_err(|error| error.in_file(path))?;
    let len = (header.len() as u64).to_le_bytes();
    let parts = [&len, header.as_bytes(), data];
    write_new(path, |out| {
        parts.iter().try_for_each(|part| out.write_all(part)).map_err(|error| IoError::os("write", error))
    })?;
    Ok(parts.iter().map(|part| part.len() as u64).sum())
}

/// The header with the note in it, and what follows the header.
fn annotated<'a>(all: &'a [u8], key: &str, content: &str) -> Result<(String, &'a [u8]), IoError> {
    let foreign = || IoError::invalid("the header", "another writer's", "one that begins with the metadata");
    let (len, rest) = all.split_first_chunk::<8>().ok_or_else(foreign)?;
    let (header, data) = rest.split_at_checked(u64::from_le_bytes(*len) as usize).ok_or_else(foreign)?;
    let header = std::str::from_utf8(header).map_err(|_| foreign())?.trim_end_matches(' ');
    let entries = header.strip_prefix(BEGIN).ok_or_else(foreign)?;
    let key = format!("{SKIPPED}{key}");
    if entries.contains(&format!("{}:", quoted(&key))) {
        return Err(IoError::Duplicate { what: "metadata key", name: key });
    }
    let mut header = format!("{BEGIN}{}:{},{entries}", quoted(&key), quoted(content));
    // The data begin at a multiple of eight bytes.
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    if header.len() as u64 > MAX_HEADER {
        let (what, found) = ("header with its texts".to_owned(), header.len() as u64);
        return Err(IoError::TooLarge { what, found, most: MAX_HEADER });
    }
    Ok((header, data))
}
