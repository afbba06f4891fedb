//! Golden cases: a tiny checkpoint by formula, and the logits an independent implementation gave for it.
//!
//! The files are `golden/*.json`, made by `golden/make.py` from the list in `golden/cases.py`. Each holds the
//! configuration as a hub's folder has it, the names, types and shapes of the checkpoint's tensors, a prompt,
//! logits at some positions, and what the model says next.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use serde_json::json;

use crate::seeded::{packed_ternary, seeded_values};

/// A tiny model with its expected answers.
#[derive(Clone, Debug, Deserialize)]
pub struct GoldenCase {
    /// The case's name, which is the file's name and seeds the weights.
    pub name: String,
    /// What the case is there to tell apart.
    pub about: String,
    /// A restriction on how the case may be used, where there is one.
    pub note: Option<String>,
    /// The content of `config.json`.
    pub config: serde_json::Value,
    /// The tensors of the checkpoint.
    pub tensors: Vec<TensorDecl>,
    /// The prompt.
    pub tokens: Vec<u32>,
    /// The positions of the prompt that `logits` are given for, ascending; the last is the prompt's last.
    pub positions: Vec<usize>,
    /// One row over the vocabulary for each of `positions`, from one pass over the whole prompt.
    pub logits: Vec<Vec<f32>>,
    /// The tokens that greedy decoding with a cache appends; empty where `note` says why.
    pub greedy: Vec<u32>,
    /// The logits from which the last of `greedy` was chosen.
    pub greedy_logits: Option<Vec<f32>>,
    /// [`crate::fnv1a`] of the bytes of `tensors` one after the other, in hexadecimal.
    pub checksum: String,
    /// The largest relative difference of `logits` from a run in f64, as [`crate::max_relative_error`] measures.
    pub f64_gap: f64,
}

/// A tensor of a golden checkpoint; its values follow from the case's name and its own.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct TensorDecl {
    /// The name in the checkpoint.
    pub name: String,
    /// The type it is stored in.
    pub dtype: StoredType,
    /// The shape, outermost first.
    pub shape: Vec<usize>,
    /// Half the width of the interval the values fill; unused by [`StoredType::U8`].
    pub scale: f32,
    /// The middle of that interval.
    pub offset: f32,
}

/// How a tensor is stored.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum StoredType {
    /// IEEE single.
    F32,
    /// IEEE half, rounded to nearest even.
    F16,
    /// bfloat16, rounded to nearest even.
    #[serde(rename = "BF16")]
    Bf16,
    /// Bytes of four ternary codes, as BitNet's packed checkpoints have.
    U8,
}

impl TensorDecl {
    /// The number of stored elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl GoldenCase {
    /// The tensor's bytes as stored, little-endian.
    pub fn tensor_bytes(&self, tensor: &TensorDecl) -> Vec<u8> {
        let text = self.seed_text(tensor);
        let values = || seeded_values(&text, tensor.len(), tensor.scale, tensor.offset).into_iter();
        match tensor.dtype {
            StoredType::F32 => values().flat_map(f32::to_le_bytes).collect(),
            StoredType::F16 => values().flat_map(|v| f16::from_f32(v).to_le_bytes()).collect(),
            StoredType::Bf16 => values().flat_map(|v| bf16::from_f32(v).to_le_bytes()).collect(),
            StoredType::U8 => packed_ternary(&text, tensor.len()),
        }
    }

    /// The tensor's stored values widened to f32; packed bytes as their numbers.
    pub fn tensor_values(&self, tensor: &TensorDecl) -> Vec<f32> {
        let text = self.seed_text(tensor);
        let values = || seeded_values(&text, tensor.len(), tensor.scale, tensor.offset).into_iter();
        match tensor.dtype {
            StoredType::F32 => values().collect(),
            StoredType::F16 => values().map(|v| f16::from_f32(v).to_f32()).collect(),
            StoredType::Bf16 => values().map(|v| bf16::from_f32(v).to_f32()).collect(),
            StoredType::U8 => packed_ternary(&text, tensor.len()).into_iter().map(f32::from).collect(),
        }
    }

    /// Writes the case as a Hugging Face folder: `config.json` and the weights.
    ///
    /// With one shard the weights are `model.safetensors`; with more they are
    /// `model-00001-of-0000N.safetensors`, … and `model.safetensors.index.json`, the tensors dealt out in turn.
    ///
    /// # Panics
    /// If `shards` is 0 or more than there are tensors.
    pub fn write_folder(&self, folder: &Path, shards: usize) -> io::Result<()> {
        assert!(
            (1..=self.tensors.len()).contains(&shards),
            "{shards} shards of {} tensors",
            self.tensors.len()
        );
        fs::create_dir_all(folder)?;
        fs::write(folder.join("config.json"), serde_json::to_vec_pretty(&self.config)?)?;
        if shards == 1 {
            return write_safetensors(&folder.join("model.safetensors"), &self.stored(self.tensors.iter()));
        }
        let mut map = BTreeMap::new();
        let mut total = 0;
        for shard in 0..shards {
            let file = format!("model-{:05}-of-{shards:05}.safetensors", shard + 1);
            let stored = self.stored(self.tensors.iter().skip(shard).step_by(shards));
            for (tensor, bytes) in &stored {
                map.insert(&tensor.name, file.clone());
                total += bytes.len();
            }
            write_safetensors(&folder.join(&file), &stored)?;
        }
        let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
        fs::write(folder.join("model.safetensors.index.json"), serde_json::to_vec_pretty(&index)?)
    }

    fn stored<'a>(&self, tensors: impl Iterator<Item = &'a TensorDecl>) -> Vec<(&'a TensorDecl, Vec<u8>)> {
        tensors.map(|tensor| (tensor, self.tensor_bytes(tensor))).collect()
    }

    fn seed_text(&self, tensor: &TensorDecl) -> String {
        format!("{}/{}", self.name, tensor.name)
    }
}

fn write_safetensors(path: &Path, stored: &[(&TensorDecl, Vec<u8>)]) -> io::Result<()> {
    let views = stored.iter().map(|(tensor, bytes)| {
        let dtype = match tensor.dtype {
            StoredType::F32 => Dtype::F32,
            StoredType::F16 => Dtype::F16,
            StoredType::Bf16 => Dtype::BF16,
            StoredType::U8 => Dtype::U8,
        };
        let view =
            TensorView::new(dtype, tensor.shape.clone(), bytes).expect("bytes follow from type and shape");
        (tensor.name.as_str(), view)
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(io::Error::other)
}

/// Every golden case, in the order of their names.
///
/// # Panics
/// If a file cannot be read or is not what `make.py` writes.
pub fn golden_cases() -> Vec<GoldenCase> {
    let folder = golden_folder();
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// The golden case of this name.
///
/// # Panics
/// If there is none; the message lists those there are.
pub fn golden_case(name: &str) -> GoldenCase {
    let path = golden_folder().join(format!("{name}.json"));
    if !path.exists() {
        let known: Vec<String> = golden_cases().into_iter().map(|case| case.name).collect();
        panic!("no golden case {name}; there are {}", known.join(", "));
    }
    read(&path)
}

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn read(path: &Path) -> GoldenCase {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    #[test]
    fn every_file_is_whole_and_consistent() {
        let cases = golden_cases();
        assert!(!cases.is_empty());
        for case in cases {
            let vocab = case.config["vocab_size"].as_u64().unwrap() as usize;
            let name = &case.name;
            assert_eq!(golden_case(name).name, *name);
            assert!(case.tokens.iter().chain(&case.greedy).all(|&t| (t as usize) < vocab), "{name}");
            assert_eq!(case.positions.last(), Some(&(case.tokens.len() - 1)), "{name}");
            assert!(case.positions.is_sorted_by(|a, b| a < b), "{name}");
            assert_eq!(case.positions.len(), case.logits.len(), "{name}");
            assert!(case.logits.iter().chain(&case.greedy_logits).all(|row| row.len() == vocab), "{name}");
            assert!(case.logits.iter().flatten().all(|v| v.is_finite()), "{name}");
            assert!(case.f64_gap <= 1e-5, "{name}: {}", case.f64_gap);
            assert_eq!(case.greedy.is_empty(), case.greedy_logits.is_none(), "{name}");
            assert_eq!(case.greedy.is_empty(), case.note.is_some(), "{name}");
        }
    }

    #[test]
    fn the_weights_are_those_the_script_filled_in() {
        for case in golden_cases() {
            let bytes: Vec<u8> = case.tensors.iter().flat_map(|tensor| case.tensor_bytes(tensor)).collect();
            assert_eq!(format!("{:016x}", crate::fnv1a(bytes)), case.checksum, "{}", case.name);
        }
    }

    #[test]
    fn greedy_tokens_are_the_largest_logits() {
        for case in golden_cases().iter().filter(|case| !case.greedy.is_empty()) {
            let best =
                |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32;
            assert_eq!(best(case.logits.last().unwrap()), case.greedy[0], "{}", case.name);
            assert_eq!(
                Some(best(case.greedy_logits.as_ref().unwrap())),
                case.greedy.last().copied(),
                "{}",
                case.name
            );
        }
    }

    #[test]
    fn a_folder_holds_what_the_case_declares() {
        for name in ["llama-mha", "llama-gqa", "bitnet-packed"] {
            let case = golden_case(name);
            let folder = tempfile::tempdir().unwrap();
            case.write_folder(folder.path(), 1).unwrap();
            let config: serde_json::Value =
                serde_json::from_slice(&fs::read(folder.path().join("config.json")).unwrap()).unwrap();
            assert_eq!(config, case.config);
            let bytes = fs::read(folder.path().join("model.safetensors")).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(file.len(), case.tensors.len());
            for tensor in &case.tensors {
                let view = file.tensor(&tensor.name).unwrap();
                assert_eq!(view.shape(), tensor.shape);
                assert_eq!(view.data(), case.tensor_bytes(tensor));
            }
        }
    }

    #[test]
    fn shards_hold_every_tensor_once_where_the_index_says() {
        let case = golden_case("llama-gqa");
        let folder = tempfile::tempdir().unwrap();
        case.write_folder(folder.path(), 3).unwrap();
        assert!(!folder.path().join("model.safetensors").exists());
        let index = fs::read(folder.path().join("model.safetensors.index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let mut seen = 0;
        for shard in 1..=3 {
            let name = format!("model-0000{shard}-of-00003.safetensors");
            let bytes = fs::read(folder.path().join(&name)).unwrap();
            for (tensor, _) in SafeTensors::deserialize(&bytes).unwrap().iter() {
                assert_eq!(index["weight_map"][tensor], *name);
                seen += 1;
            }
        }
        assert_eq!(seen, case.tensors.len());
    }

    #[test]
    fn stored_bytes_and_widened_values_agree() {
        let case = golden_case("llama-mha");
        let tensor = case.tensors.iter().find(|t| t.dtype == StoredType::F16 && t.shape.len() == 2).unwrap();
        let bytes = case.tensor_bytes(tensor);
        let widened: Vec<f32> =
            bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        assert_eq!(widened, case.tensor_values(tensor));
    }

    #[test]
    #[should_panic(expected = "no golden case lama; there are bitnet-1bitllm, ")]
    fn an_unknown_name_lists_the_known_ones() {
        golden_case("lama");
    }
}
