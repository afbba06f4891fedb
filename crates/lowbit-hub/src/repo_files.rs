//! Which files of a repository make up the model that was asked for: one GGUF file, a set of GGUF shards, or a
//! safetensors folder with its configuration and tokenizer.

use crate::error::Error;

/// GGUF quantizations in the order in which they are chosen when none is asked for: around four bits first, then
/// larger ones, then smaller ones, then unquantized.
const PREFERENCE: &[&str] = &[
    "Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "IQ4_XS", "IQ4_NL", "MXFP4", "Q5_K_M", "Q5_K_S", "Q5_0", "Q5_1",
    "Q6_K", "Q8_0", "Q3_K_M", "Q3_K_L", "Q3_K_S", "IQ3_M", "IQ3_XXS", "Q2_K", "IQ2_M", "TQ2_0", "TQ1_0",
    "I2_S", "BF16", "F16", "F32",
];

/// Files beside the weights that a safetensors folder is read with, where present.
const COMPANIONS: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
];

/// The part of a repository that is one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// GGUF files, shards in order.
    Gguf(Vec<String>),
    /// The files of a safetensors folder; `config.json` is among them.
    Folder(Vec<String>),
}

impl Selection {
    pub(crate) fn files(&self) -> &[String] {
        match self {
            Selection::Gguf(files) | Selection::Folder(files) => files,
        }
    }
}

/// Chooses among `files` of `repo`. `quant` is any part of a GGUF file's name, in any case; a whole word
/// (`Q4_K` in `x.Q4_K.gguf`, not in `x.Q4_K_M.gguf`) goes before a part of one.
pub(crate) fn select(repo: &str, files: &[String], quant: Option<&str>) -> Result<Selection, Error> {
    let groups = gguf_groups(repo, files)?;
    if groups.is_empty() && quant.is_none() {
        return folder(repo, files);
    }
    let fitting = match quant {
        Some(quant) => {
            let words: Vec<&Group> = groups.iter().filter(|group| has_word(&group.stem, quant)).collect();
            let parts = || groups.iter().filter(|group| contains(&group.stem, quant)).collect();
            if words.is_empty() { parts() } else { words }
        }
        None => groups.iter().collect(),
    };
    let preferred = PREFERENCE.iter().find_map(|name| {
        let named: Vec<&Group> =
            fitting.iter().copied().filter(|group| has_word(&group.stem, name)).collect();
        (!named.is_empty()).then_some(named)
    });
    match preferred.unwrap_or(fitting).as_slice() {
        [] => Err(Error::QuantNotFound {
            repo: repo.to_owned(),
            quant: quant.unwrap_or_default().to_owned(),
            available: groups.into_iter().map(|group| group.stem).collect(),
        }),
        [one] => one.complete(repo),
        several => Err(Error::Ambiguous {
            repo: repo.to_owned(),
            candidates: several.iter().map(|group| group.stem.clone()).collect(),
        }),
    }
}

/// A GGUF file, or the shards of one.
struct Group {
    /// The name without shard number and suffix.
    stem: String,
    /// Number of shards announced by the names; 1 for a file that is not sharded.
    count: usize,
    /// Shard number from 1, and name.
    shards: Vec<(usize, String)>,
}

impl Group {
    fn complete(&self, repo: &str) -> Result<Selection, Error> {
        let mut shards = self.shards.clone();
        shards.sort();
        for number in 1..=self.count {
            if shards.get(number - 1).is_none_or(|shard| shard.0 != number) {
                let missing = format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count);
                return Err(Error::Incomplete { repo: repo.to_owned(), missing });
            }
        }
        Ok(Selection::Gguf(shards.into_iter().map(|(_, name)| name).collect()))
    }
}

fn gguf_groups(repo: &str, files: &[String]) -> Result<Vec<Group>, Error> {
    let mut groups: Vec<Group> = Vec::new();
    for file in files {
        let Some(name) = strip_suffix_ignoring_case(file, ".gguf") else { continue };
        let base = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        // Image projectors and importance matrices have the suffix and are not language models.
        if base.starts_with("mmproj") || base.contains("imatrix") {
            continue;
        }
        let (stem, number, count) = shard_of(name).unwrap_or((name, 1, 1));
        let shard = (number, file.clone());
        match groups.iter_mut().find(|group| group.stem == stem && group.count == count) {
            Some(group) if group.shards.iter().any(|(other, _)| *other == number) => {
                let problem = format!("{file} occurs twice, in different case");
                return Err(Error::Malformed { what: repo.to_owned(), problem });
            }
            Some(group) => group.shards.push(shard),
            None => groups.push(Group { stem: stem.to_owned(), count, shards: vec![shard] }),
        }
    }
    Ok(groups)
}

/// Splits `stem-00002-of-00005` into stem, number and count.
fn shard_of(name: &str) -> Option<(&str, usize, usize)> {
    const DIGITS: usize = 5;
    let number_of = |text: &str| -> Option<usize> {
        (text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().ok())
            .flatten()
    };
    let (rest, count) = name.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let (number, count) = (number_of(number)?, number_of(count)?);
    (1 <= number && number <= count).then_some((stem, number, count))
}

fn folder(repo: &str, files: &[String]) -> Result<Selection, Error> {
    let has = |name: &str| files.iter().any(|file| file == name);
    // Only the top level: subfolders hold other formats of the same weights.
    let weights = |file: &&String| !file.contains('/') && file.ends_with(".safetensors");
    let mut chosen: Vec<String> = files.iter().filter(weights).cloned().collect();
    if chosen.is_empty() || !has("config.json") {
        return Err(Error::NoModelFile { repo: repo.to_owned(), files: files.len() });
    }
    // A repository that has both the sharded and the consolidated form is loaded through the index.
    let index = "model.safetensors.index.json";
    if has(index) {
        chosen.retain(|file| !file.starts_with("consolidated"));
        chosen.push(index.to_owned());
    } else if has("model.safetensors") {
        chosen.retain(|file| file == "model.safetensors");
    }
    for name in chosen.iter().filter_map(|file| file.strip_suffix(".safetensors")) {
        let Some((stem, _, count)) = shard_of(name) else { continue };
        let missing =
            (1..=count).map(|n| format!("{stem}-{n:05}-of-{count:05}.safetensors")).find(|shard| !has(shard));
        if let Some(missing) = missing {
            return Err(Error::Incomplete { repo: repo.to_owned(), missing });
        }
    }
    chosen.extend(COMPANIONS.iter().filter(|name| has(name)).map(|name| (*name).to_owned()));
    chosen.sort();
    Ok(Selection::Folder(chosen))
}

fn contains(name: &str, part: &str) -> bool {
    name.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

/// Whether `word` occurs in `name` with no letter or digit before it and no letter, digit or `_` after it: types
/// are told apart by what follows (`Q4_K`, `Q4_K_M`) or by a letter before (`F16`, `BF16`).
fn has_word(name: &str, word: &str) -> bool {
    let (name, word) = (name.to_ascii_lowercase(), word.to_ascii_lowercase());
    !word.is_empty()
        && name.match_indices(&word).any(|(start, _)| {
            let before = name[..start].chars().next_back();
            let after = name[start + word.len()..].chars().next();
            let is_name = |c: char| c.is_ascii_alphanumeric();
            !before.is_some_and(is_name) && !after.is_some_and(|c| is_name(c) || c == '_')
        })
}

fn strip_suffix_ignoring_case<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let split = name.len().checked_sub(suffix.len())?;
    let tail = name.get(split..)?;
    tail.eq_ignore_ascii_case(suffix).then(|| &name[..split])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Vec<String> {
        files.iter().map(|file| (*file).to_owned()).collect()
    }

    fn chosen(files: &[&str], quant: Option<&str>) -> Vec<String> {
        select("u/r", &names(files), quant).unwrap().files().to_vec()
    }

    #[test]
    fn the_quantization_is_matched_as_a_word_in_any_case() {
        let files =
            ["m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-q4_k.gguf", "m-IQ4_NL.gguf", "m-f16.gguf", "m-bf16.gguf"];
        for (quant, expected) in [
            ("q4_k_m", "m-Q4_K_M.gguf"),
            ("Q4_K", "m-q4_k.gguf"),
            ("F16", "m-f16.gguf"),
            ("bf16", "m-bf16.gguf"),
            ("nl", "m-IQ4_NL.gguf"),
        ] {
            assert_eq!(chosen(&files, Some(quant)), [expected], "{quant}");
        }
    }

    #[test]
    fn without_a_word_the_preferred_type_among_the_parts_is_taken() {
        assert_eq!(chosen(&["m.Q4_K_S.gguf", "m.Q4_K_M.gguf"], Some("q4_k")), ["m.Q4_K_M.gguf"]);
    }

    #[test]
    fn four_bits_are_preferred_when_nothing_is_asked_for() {
        let files = [
            "README.md",
            "m.F16.gguf",
            "m.Q8_0.gguf",
            "m.Q4_0.gguf",
            "m.IQ4_XS.gguf",
            "mmproj-m.Q4_K_M.gguf",
        ];
        assert_eq!(chosen(&files, None), ["m.Q4_0.gguf"]);
        assert_eq!(chosen(&["only-one.gguf"], None), ["only-one.gguf"]);
    }

    #[test]
    fn all_shards_are_taken_in_order() {
        let files = ["q/m-Q4_0-00002-of-00002.gguf", "q/m-Q4_0-00001-of-00002.gguf", "m-Q8_0.gguf"];
        assert_eq!(chosen(&files, None), ["q/m-Q4_0-00001-of-00002.gguf", "q/m-Q4_0-00002-of-00002.gguf"]);
    }

    #[test]
    fn a_missing_shard_is_named() {
        let error =
            select("u/r", &names(&["m-00001-of-00003.gguf", "m-00003-of-00003.gguf"]), None).unwrap_err();
        assert_eq!(error.to_string(), "u/r is incomplete: m-00002-of-00003.gguf is missing");
    }

    #[test]
    fn a_folder_is_its_weights_index_configuration_and_tokenizer() {
        let files = [
            "README.md",
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "consolidated.safetensors",
            "onnx/model.safetensors",
            "pytorch_model.bin",
        ];
        let expected = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        assert_eq!(chosen(&files, None), expected);
        let error = select("u/r", &names(&files[..5]), None).unwrap_err();
        assert_eq!(error.to_string(), "u/r is incomplete: model-00002-of-00002.safetensors is missing");
    }

    #[test]
    fn errors_list_what_there_is() {
        let error = select("u/r", &names(&["m.Q8_0.gguf"]), Some("Q2_K")).unwrap_err();
        assert_eq!(error.to_string(), "u/r has no GGUF file for \"Q2_K\"; it has m.Q8_0");
        let error = select("u/r", &names(&["a.Q4_0.gguf", "b.Q4_0.gguf"]), None).unwrap_err();
        assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
        let error = select("u/r", &names(&["README.md"]), None).unwrap_err();
        assert!(matches!(error, Error::NoModelFile { files: 1, .. }), "{error}");
    }
}
