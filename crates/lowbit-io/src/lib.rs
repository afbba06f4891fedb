//! Checkpoint files: GGUF (v2 and v3, split or whole, with its dialects), Hugging Face folders of safetensors,
//! llama2.c `.bin` files, and lowbit's own container.
//!
//! [`Checkpoint::open`] tells by content what a path is. A tensor comes back as a
//! [`QuantTensor`](lowbit_format::QuantTensor) over the mapped file, nothing copied; metadata stays in the file too
//! and is read where it lies. No other crate knows a file format. [`texts`] reads what models are calibrated with and
//! measured on.
//!
//! ```
//! use lowbit_format::FloatFormat;
//! use lowbit_io::{Access, Checkpoint, Config, Encoding, gguf::GgufWriter};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("tiny.gguf");
//! let weights = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|w| w.to_le_bytes()).collect();
//! GgufWriter::new()
//!     .metadata("llama.block_count", 1u32)?
//!     .tensor("blk.0.attn_q.weight", Encoding::Float(FloatFormat::F32), &[2, 2], weights)?
//!     .write(&path)?;
//!
//! let model = Checkpoint::open(&path, Access::Map)?;
//! let Config::Gguf(metadata) = model.config() else { panic!("a GGUF file has GGUF metadata") };
//! assert_eq!(metadata.get_u32("llama.block_count")?, Some(1));
//! let mut row = [0.0; 2];
//! model.tensor("blk.0.attn_q.weight")?.decode_row(1, &mut row);
//! assert_eq!(row, [3.0, 4.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Files are not trusted
//!
//! Every count and length is compared with the bytes that are left before anything is allocated for it, every sum
//! and product is checked, and every tensor lies inside the file and apart from the others before the first one is
//! handed out. The readers take bytes ([`gguf::Gguf::parse`] and its like), so that fuzzing meets the same code as
//! a file does.
//!
//! # Mapped files
//!
//! [`Access::Map`] reads through the page cache and costs no memory of its own. All reads stay inside the length at
//! the time of mapping, whatever the file's own numbers say. Two things it cannot see: another process that writes
//! into the file changes what is read (each metadata read checks its bounds and its UTF-8 again, so the worst is an
//! error or a wrong number), and one that *truncates* it makes the kernel send SIGBUS, which ends the process.
//! lowbit's own downloads never do either: they write a new file and rename it. For files on a disk that others
//! write to there is [`Access::Read`], which copies the file first; [`Checkpoint::check_unchanged`] compares length
//! and time with those at the opening.

#![deny(unsafe_code)]

mod bytes;
mod checkpoint;
pub mod container;
mod cursor;
mod digest;
mod error;
pub mod gguf;
pub mod hf;
pub mod llama2c;
#[allow(unsafe_code)]
mod mapped;
mod payload;
mod problem;
mod scan;
mod tensor;
pub mod texts;

pub use bytes::{Access, MAX_TEXT_FILE};
pub use checkpoint::{Checkpoint, Config};
pub use error::IoError;
pub use payload::{Payload, Spool, write_file};
pub use scan::{TensorFault, scan_tensor};
pub use tensor::{Encoding, RawTensor, TensorInfo};
