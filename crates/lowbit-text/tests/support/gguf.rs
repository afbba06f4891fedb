//! Just enough of a GGUF reader to fill a vocabulary from a trusted model file. The real reader is in
//! `lowbit-io`; these tests stand without it so that text and files can be worked on apart.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Result};
use std::path::Path;

/// A metadata value, numbers widened.
#[derive(Debug)]
pub(crate) enum Value {
    Int(i64),
    Float(f64),
    Text(Vec<u8>),
    Texts(Vec<Vec<u8>>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
}

/// The metadata of the file by key.
pub(crate) fn metadata(path: &Path) -> Result<HashMap<String, Value>> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let header: [u8; 8] = take(&mut file)?;
    assert_eq!(header[..4], *b"GGUF", "{}", path.display());
    let _tensors: [u8; 8] = take(&mut file)?;
    let pairs = u64::from_le_bytes(take(&mut file)?);
    let pair = |file: &mut BufReader<File>| {
        let key = String::from_utf8(text(file)?).expect("keys are UTF-8");
        let kind = u32::from_le_bytes(take(file)?);
        Ok((key, value(file, kind)?))
    };
    (0..pairs).map(|_| pair(&mut file)).collect()
}

fn value(file: &mut impl Read, kind: u32) -> Result<Value> {
    Ok(match kind {
        6 | 12 => Value::Float(float(file, kind)?),
        8 => Value::Text(text(file)?),
        9 => {
            let kind = u32::from_le_bytes(take(file)?);
            let count = u64::from_le_bytes(take(file)?);
            match kind {
                8 => Value::Texts((0..count).map(|_| text(file)).collect::<Result<_>>()?),
                6 => Value::Floats((0..count).map(|_| Ok(float(file, 6)? as f32)).collect::<Result<_>>()?),
                kind => Value::Ints((0..count).map(|_| int(file, kind)).collect::<Result<_>>()?),
            }
        }
        kind => Value::Int(int(file, kind)?),
    })
}

fn int(file: &mut impl Read, kind: u32) -> Result<i64> {
    Ok(match kind {
        0 | 7 => u8::from_le_bytes(take(file)?).into(),
        1 => i8::from_le_bytes(take(file)?).into(),
        2 => u16::from_le_bytes(take(file)?).into(),
        3 => i16::from_le_bytes(take(file)?).into(),
        4 => u32::from_le_bytes(take(file)?).into(),
        5 => i32::from_le_bytes(take(file)?).into(),
        10 | 11 => i64::from_le_bytes(take(file)?),
        _ => panic!("metadata type {kind}"),
    })
}

fn float(file: &mut impl Read, kind: u32) -> Result<f64> {
    Ok(if kind == 6 { f32::from_le_bytes(take(file)?).into() } else { f64::from_le_bytes(take(file)?) })
}

fn text(file: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = vec![0; u64::from_le_bytes(take(file)?) as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn take<const N: usize>(file: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
