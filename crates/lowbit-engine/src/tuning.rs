//! Measured times of kernels as a file, one for each CPU model and set of kernels.
//!
//! Libraries do not look for it: the program says where it is, and hands what it read to [`crate::LoadOptions`].

use crate::EngineError;
use lowbit_kernels::{ActRounding, IsaLevel, KernelCard, PlanKey, Record, Timing, TokenBucket, kernel_set};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
};

/// Most bytes of a file that is read: some hundred thousand times.
const MOST_BYTES: u64 = 64 << 20;

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Document {
    cpu: String,
    kernel_set: String,
    products: Vec<Product>,
}

/// All times of one product.
#[derive(Serialize, Deserialize)]
struct Product {
    format: String,
    n: usize,
    k: usize,
    tokens: String,
    activations: String,
    isa: String,
    threads: usize,
    kernels: Vec<Time>,
}

#[derive(Serialize, Deserialize)]
struct Time {
    kernel: String,
    seconds: f64,
}

/// Name of the file for a CPU model and the kernels of this program.
pub fn file_name(cpu: &str) -> String {
    let mut name = String::new();
    for c in cpu.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
    }
    format!("{}-{:016x}.json", name.trim_end_matches('-'), kernel_set())
}

/// Reads a record; an empty one where there is no file, or where it is of another CPU model or other kernels.
///
/// # Errors
/// Where the file cannot be read, or does not say what it should.
pub fn read(path: &Path, cpu: &str) -> Result<Record, EngineError> {
    let wrong = |why: String| EngineError::Tuning { path: path.to_owned(), why };
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Record::default()),
        found => found.map_err(|error| wrong(error.to_string()))?,
    };
    if found.len() > MOST_BYTES {
        return Err(wrong(format!("it has {} bytes, expected at most {MOST_BYTES}", found.len())));
    }
    let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let document: Document = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let mut record = Record::default();
    if document.cpu != cpu || document.kernel_set != format!("{:016x}", kernel_set()) {
        return Ok(record);
    }
    for product in document.products {
        let unknown = |what: &str, name: &str| wrong(format!("no {what} is called {name:?}"));
        // Records are of one machine: levels of other architectures are not expected.
        let isa = IsaLevel::parse(&product.isa).ok_or_else(|| unknown("level", &product.isa))?;
        let key = PlanKey {
            tokens: TokenBucket::parse(&product.tokens)
                .ok_or_else(|| unknown("bucket of tokens", &product.tokens))?,
            activations: ActRounding::known_label(&product.activations)
                .ok_or_else(|| unknown("rounding", &product.activations))?,
            format: product.format,
            n: product.n,
            k: product.k,
            isa,
            threads: product.threads,
        };
        let time = |time: &Time| match KernelCard::named(&time.kernel) {
            None => Err(unknown("kernel", &time.kernel)),
            Some(_) if !time.seconds.is_finite() || time.seconds <= 0.0 => {
                Err(wrong(format!("{} takes {} seconds, expected more than 0", time.kernel, time.seconds)))
            }
            Some(card) => Ok(Timing { card, seconds: time.seconds }),
        };
        record.insert(key, product.kernels.iter().map(time).collect::<Result<_, _>>()?);
    }
    Ok(record)
}

/// Writes a record so that a reader finds either the old file or the new one, whole.
///
/// # Errors
/// Where the folder or the file cannot be written.
pub fn write(path: &Path, cpu: &str, record: &Record) -> Result<(), EngineError> {
    let wrong = |error: std::io::Error| EngineError::Tuning { path: path.to_owned(), why: error.to_string() };
    let products = record.iter().map(|(key, times)| Product {
        format: key.format.clone(),
        n: key.n,
        k: key.k,
        tokens: key.tokens.name().to_owned(),
        activations: key.activations.to_owned(),
        isa: key.isa.name().to_owned(),
        threads: key.threads,
        kernels: times
            .iter()
            .map(|timing| Time { kernel: timing.card.name.to_owned(), seconds: timing.seconds })
            .collect(),
    });
    let document = Document {
        cpu: cpu.to_owned(),
        kernel_set: format!("{:016x}", kernel_set()),
        products: products.collect(),
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(wrong)?;
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let text = serde_json::to_vec_pretty(&document).map_err(std::io::Error::from).map_err(wrong)?;
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What is half written is of no use; the error that matters is the first.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let card = KernelCard::named("packed-expand-scalar").unwrap();
        let key = PlanKey {
            format: "q4_0".to_owned(),
            n: 64,
            k: 96,
            tokens: TokenBucket::UpTo4,
            activations: ActRounding::label(Some(ActRounding::Group32Twice)),
            isa: IsaLevel::Scalar,
            threads: 2,
        };
        let mut record = Record::default();
        record.insert(key, vec![Timing { card, seconds: 1.5e-5 }]);
        record
    }

    #[test]
    fn a_record_is_read_back_and_only_by_its_own_cpu() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        assert_eq!(read(&path, "cpu").unwrap(), Record::default());
        write(&path, "cpu", &record()).unwrap();
        assert_eq!(read(&path, "cpu").unwrap(), record());
        assert_eq!(read(&path, "another").unwrap(), Record::default());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing temporary is left");
    }

    #[test]
    fn a_damaged_record_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.json");
        write(&path, "cpu", &record()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for (from, to, expected) in [
            ("packed-expand-scalar", "packed-expand-vax", "no kernel is called \"packed-expand-vax\""),
            ("\"2-4\"", "\"many\"", "no bucket of tokens is called \"many\""),
            ("int8-g32-twice", "int9", "no rounding is called \"int9\""),
            ("\"seconds\": ", "\"seconds\": -", "expected more than 0"),
            ("{", "", "expected"),
        ] {
            assert!(good.contains(from), "{from} in {good}");
            fs::write(&path, good.replacen(from, to, 1)).unwrap();
            let error = read(&path, "cpu").unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("b.json"), "{error}");
        }
    }

    #[test]
    fn a_file_is_named_for_the_cpu_and_the_kernels() {
        let name = file_name("AMD EPYC (TM) 9654 96-Core");
        assert!(name.starts_with("amd-epyc-tm-9654-96-core-") && name.ends_with(".json"), "{name}");
    }
}
