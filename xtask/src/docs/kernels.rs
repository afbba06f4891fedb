//! `docs/kernels.md`, from the list of kernels.

use super::{code, table};
use anyhow::Result;
use lowbit_format::{SpecInfo, SpecSource};
use lowbit_kernels::{KERNELS, KernelCard};

pub(super) fn page() -> Result<String> {
    // One row for what differs in its level only; the levels of a row are in the order of the list.
    let mut rows: Vec<(&KernelCard, Vec<&str>)> = Vec::new();
    for card in KERNELS {
        match rows.iter_mut().find(|(first, _)| (first.layout, first.method) == (card.layout, card.method)) {
            Some((_, levels)) => levels.push(card.isa.name()),
            None => rows.push((card, vec![card.isa.name()])),
        }
    }
    let family =
        |card: &KernelCard| card.name.trim_end_matches(card.isa.name()).trim_end_matches('-').to_owned();
    let mut text = "# Kernels\n\n\
        Everything that multiplies stored weights with activations. A kernel's name is its family and a level of instructions,\n\
        as in `packed-expand-avx2`. A weight gets its layout once, when it is loaded, and a kernel for each number of tokens,\n\
        1, 2 to 4, 5 to 16, 17 to 64 and more: the fastest by measurements of this machine (`lowbit tune`), else by a model of\n\
        costs. `lowbit kernels --explain N K FORMAT` says which, and why not the others. Kernels of one layout give the same\n\
        bits, so how a prompt is cut into batches changes nothing.\n\n"
        .to_owned();
    text += &table(
        &["family", "levels", "layout", "takes"],
        rows.iter().map(|(card, levels)| {
            [format!("`{}`", family(card)), code(levels), card.layout.name().into(), card.takes().into()]
                .into()
        }),
    );
    text += "\n## Numerics\n\n\
        The last column is what rounding activations adds to the error of a product, beside f32 arithmetic. Each kernel equals\n\
        scalar code with the same roundings bit for bit (`crates/lowbit-kernels/tests/list.rs`).\n\n";
    text += &table(
        &["family", "activations", "sums", "error"],
        rows.iter().map(|(card, _)| {
            let numerics = [card.activations(), card.accumulation(), card.error()].map(str::to_owned);
            [vec![format!("`{}`", family(card))], numerics.into()].concat()
        }),
    );
    text += "\n## Formats\n\n\
        How many of the [formats](formats.md) a family takes.\n\n";
    text += &table(
        &["family", "float", "GGUF", "GGUF dialects", "lowbit"],
        rows.iter().map(|(card, _)| {
            let formats = card.formats();
            let of = |source: SpecSource| {
                formats.iter().filter(|info: &&SpecInfo| info.source == source).count().to_string()
            };
            let counts =
                [SpecSource::Float, SpecSource::Gguf, SpecSource::GgufDialect, SpecSource::Lowbit].map(of);
            [vec![format!("`{}`", family(card))], counts.into()].concat()
        }),
    );
    text += "\n[Adding one](adding/kernel.md) is a line of the list and what it names.\n";
    Ok(text)
}
