//! `docs/sampling.md`, from the list of sampling stages.

use super::{code, table};
use anyhow::Result;
use lowbit_engine::sampler::STAGES;

pub(super) fn page() -> Result<String> {
    let rows = STAGES.iter().map(|stage| {
        let aliases = if stage.aliases.is_empty() { "–".to_owned() } else { code(stage.aliases) };
        vec![format!("`{}`", stage.name), aliases, stage.summary.to_owned(), format!("`{}`", stage.example)]
    });
    Ok(format!(
        "# Sampling\n\n\
         The stages between the model's logits and the next token, in the order they run in unless another is asked for.\n\
         Logit biases come before them; Mirostat 2, where asked for, replaces those that truncate. The same seed gives the\n\
         same text whatever the number of threads.\n\n{}\n[Adding one](adding/sampler-stage.md) is one file and one line.\n",
        table(&["stage", "other names", "what it does", "settings that make it act"], rows)
    ))
}
