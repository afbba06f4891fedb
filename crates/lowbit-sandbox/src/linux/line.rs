//! What parent and child say to each other: messages with their lengths before them.

use crate::{End, Problem};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, Read, Write};

/// No message is longer.
const LONGEST: u32 = 256 << 20;

/// What the child says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Said {
    /// It has namespaces, whose users are to be mapped.
    HasNamespaces,
    /// The command ended; the file that was asked for follows where there is one.
    Ended { end: End, fetched: bool },
    /// It could not be run.
    Failed(Problem),
}

pub(super) fn send(line: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other("more than 256 MiB"))?;
    line.write_all(&length.to_le_bytes())?;
    line.write_all(bytes)
}

pub(super) fn receive(line: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    line.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::Error::other("more than 256 MiB"));
    }
    let mut bytes = Vec::new();
    line.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

pub(super) fn send_json(line: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    send(line, &serde_json::to_vec(message)?)
}

pub(super) fn receive_json<T: DeserializeOwned>(line: &mut impl Read) -> io::Result<T> {
    Ok(serde_json::from_slice(&receive(line)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent_and_broken_ones_are_errors() {
        let mut bytes = Vec::new();
        send(&mut bytes, b"one").unwrap();
        send_json(&mut bytes, &Said::HasNamespaces).unwrap();
        let mut read = bytes.as_slice();
        assert_eq!(receive(&mut read).unwrap(), b"one");
        assert_eq!(receive_json::<Said>(&mut read).unwrap(), Said::HasNamespaces);
        assert!(receive(&mut read).is_err());
        assert!(receive(&mut &bytes[..5]).is_err());
        assert!(receive(&mut [255; 8].as_slice()).is_err());
    }
}
