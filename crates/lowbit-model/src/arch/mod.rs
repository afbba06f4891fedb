//! Architectures, one file each: what configurations call their hyper-parameters, and what checkpoints call their
//! tensors. No forward code: see `docs/adding/model.md`.

mod bitnet;
mod bitnet_1bitllm;
mod gemma2;
mod gemma3;
mod llama;
mod mistral;
mod mixtral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod smollm3;

use crate::{Config, ModelError, ModelSpec, Names, Naming};
use serde_json::Value;

/// An architecture: who it is, by which names files call it, and how to read it.
pub struct Architecture {
    /// Name in reports.
    pub name: &'static str,
    /// One line on what sets it apart.
    pub summary: &'static str,
    /// Where it was described.
    pub reference: &'static str,
    /// Names in `architectures` of `config.json`, or in `model_type` where that is missing.
    pub hugging_face: &'static [&'static str],
    /// Names in `general.architecture` of GGUF files.
    pub gguf: &'static [&'static str],
    /// Tensor names in Hugging Face folders.
    pub hugging_face_names: Names,
    /// Tensor names in GGUF files.
    pub gguf_names: Names,
    /// Hyper-parameters.
    pub spec: fn(&Config<'_>) -> Result<ModelSpec, ModelError>,
    /// The other way: what `config.json` says beyond what all say. `None` where the reference implementation does not
    /// compute what GGUF files of the architecture mean.
    pub config: Option<fn(&ModelSpec) -> Value>,
}

/// Every architecture, in the order of the documentation.
pub static ARCHITECTURES: &[&Architecture] = &[
    &llama::LLAMA,
    &mistral::MISTRAL,
    &mixtral::MIXTRAL,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &qwen3_moe::QWEN3_MOE,
    &gemma2::GEMMA2,
    &gemma3::GEMMA3,
    &phi3::PHI3,
    &smollm3::SMOLLM3,
    &olmo2::OLMO2,
    &bitnet::BITNET,
    &bitnet_1bitllm::BITNET_1BITLLM,
];

impl Architecture {
    /// The architecture that a configuration names.
    ///
    /// # Errors
    /// Where none is known by that name; the error suggests the nearest.
    pub fn of(config: &Config<'_>) -> Result<&'static Self, ModelError> {
        let names = |arch: &Self| if config.is_hugging_face() { arch.hugging_face } else { arch.gguf };
        let found = config.architecture_names();
        let matching = |arch: &&&'static Self| found.iter().any(|f| names(arch).contains(&f.as_str()));
        if let Some(arch) = ARCHITECTURES.iter().find(matching) {
            return Ok(arch);
        }
        let found = found.first().cloned().unwrap_or_default();
        let known: Vec<&str> = ARCHITECTURES.iter().flat_map(|arch| names(arch).iter().copied()).collect();
        // What all names end in says nothing about which one was meant.
        let stem = |name: &str| name.split("ForC").next().unwrap_or_default().to_lowercase();
        let sought = stem(&found);
        let nearest = known.iter().map(|name| (strsim::levenshtein(&sought, &stem(name)), *name)).min();
        let hint = match nearest {
            Some((distance, name)) if distance <= sought.len() / 3 => {
                format!(", did you mean `{name}`?")
            }
            _ => String::new(),
        };
        Err(ModelError::UnknownArchitecture { found, hint, known: known.join(", ") })
    }

    /// The architecture of that [`name`](Self::name).
    pub(crate) fn named(name: &str) -> Result<&'static Self, ModelError> {
        ARCHITECTURES.iter().find(|arch| arch.name == name).copied().ok_or_else(|| {
            let known: Vec<&str> = ARCHITECTURES.iter().map(|arch| arch.name).collect();
            ModelError::UnknownArchitecture {
                found: name.to_owned(),
                hint: String::new(),
                known: known.join(", "),
            }
        })
    }

    /// Tensor names in checkpoints of a scheme.
    pub fn names(&self, naming: Naming) -> &Names {
        match naming {
            Naming::HuggingFace => &self.hugging_face_names,
            Naming::Gguf => &self.gguf_names,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_file_of_the_folder_is_in_the_list_and_every_name_is_listed_once() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/arch");
        let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.filter(|f| f != "mod.rs").collect();
        files.sort();
        let mut listed: Vec<String> = ARCHITECTURES.iter().map(|arch| format!("{}.rs", arch.name)).collect();
        listed.sort();
        assert_eq!(files, listed);
        let schemes: [fn(&Architecture) -> &'static [&'static str]; 2] =
            [|arch| arch.hugging_face, |arch| arch.gguf];
        for names in schemes {
            let mut names: Vec<&str> =
                ARCHITECTURES.iter().flat_map(|arch| names(arch).iter().copied()).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        }
    }

    #[test]
    fn an_unknown_architecture_is_refused_with_the_nearest_name() {
        let json = json!({"architectures": ["Qwen2ForCasualLM"]});
        let error = Architecture::of(&Config::hugging_face(&json).unwrap()).err().unwrap().to_string();
        assert!(error.contains("did you mean `Qwen2ForCausalLM`?"), "{error}");
        let json = json!({"architectures": ["MambaForCausalLM2000"]});
        let error = Architecture::of(&Config::hugging_face(&json).unwrap()).err().unwrap().to_string();
        assert!(error.contains("LlamaForCausalLM") && error.contains("MambaForCausalLM2000"), "{error}");
        assert!(!error.contains("did you mean"), "{error}");
    }
}
