//! `docs/formats.md`, from [`all_specs`].

use super::table;
use anyhow::Result;
use lowbit_format::{SpecInfo, SpecSource, WeightSpec, all_specs};

pub(super) fn page() -> Result<String> {
    let specs = all_specs();
    let of = |source| specs.iter().filter(move |info| info.source == source);
    let mut text = "# Weight formats\n\n\
        Every format that a stored weight can have, by the label that files, reports and commands use. Bits per weight count\n\
        codes, scales and zero points of groups.\n\n## Floats\n\n"
        .to_owned();
    text += &table(
        &["label", "bits per weight"],
        of(SpecSource::Float).map(|info| vec![format!("`{}`", info.spec), bits(info)]),
    );
    text += "\n## GGUF\n\n\
        Decoded bit for bit as the `gguf` Python package does (`crates/lowbit-format/tests/golden`). Blocks stay in memory as\n\
        they are in the file. [Adding one](adding/format.md) is one file and one line. `lowbit quantize` makes those that are\n\
        [made](quantize.md#blocks-of-gguf), by any method that rounds to nearest codes or sweeps columns.\n\n";
    text += &blocks(of(SpecSource::Gguf));
    text += "\n## GGUF dialects\n\n\
        Formats that one project writes under type numbers which mean something else elsewhere; they are told apart by the\n\
        bytes that each tensor spans, and a file that leaves it open is refused.\n\n";
    text += &blocks(of(SpecSource::GgufDialect));
    text += "\n## lowbit's own packing\n\n\
        Codes with one or two levels of scales beside them, made by rounding to nearest. The table gives bits per weight of\n\
        the combinations in common use. Any group size that is a multiple of four can be had, scales in f32, f16 (the default),\n\
        bf16, and integer scales over a coarser level: `int4-asym-g32-int6-g256`. Where groups lie in columns (`-c128`) every 128 weights\n\
        that meet the same input share a scale; activations are multiplied by the scales of a panel of rows, and its codes are then those\n\
        of a matrix with one scale, which every kernel takes. Codes of `nf4`, `fp4` and `e4m3` stand for\n\
        numbers of a table; such weights come from [other tools](imports.md) and are multiplied as floats.\n\n";
    text += &grouped(of(SpecSource::Lowbit));
    text += "\n## Sums\n\n\
        Something may be added to a matrix in any of these formats: what a [method](methods.md) keeps beside the codes. After each\n\
        `+` of the label come a term and the format of its own matrices, of K columns and N rows as the whole has.\n\n";
    let terms = [
        ("`+rankR-FORMAT`", "the product of a matrix of N by R and one of R by K"),
        ("`+rowsC-FORMAT`", "C rows, each added to one of the whole"),
        ("`+columnsC-FORMAT`", "C columns, likewise"),
        ("`+sparseCxL-FORMAT`", "C runs of L weights, anywhere"),
    ];
    text +=
        &table(&["term", "what is added"], terms.map(|(term, what)| vec![term.to_owned(), what.to_owned()]));
    text += "\n`int3-asym-g64+rank8-int8-sym-row` is 3-bit integers and a product of rank 8 in 8 bits. How many bits a term takes\n\
        depends on the shape; reports count all of them.\n";
    Ok(text)
}

fn bits(info: &SpecInfo) -> String {
    format!("{:.4}", info.spec.bits_per_weight()).trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn blocks<'a>(infos: impl Iterator<Item = &'a SpecInfo>) -> String {
    let rows = infos.filter_map(|info| {
        let WeightSpec::Block(format) = info.spec else { return None };
        let layout = format.layout();
        let link = format!("[`{0}`](../crates/lowbit-format/src/block/{0}.rs)", layout.label);
        let size = [layout.weights, layout.bytes].map(|n| n.to_string());
        let made = if layout.stores { "yes" } else { "–" };
        let last = [made, info.summary].map(str::to_owned);
        Some([vec![link, bits(info)], size.to_vec(), last.to_vec()].concat())
    });
    table(&["label", "bits per weight", "weights a block", "bytes a block", "made", "what it is"], rows)
}

/// An element with the shapes its groups come in.
struct Element<'a> {
    label: String,
    summary: &'a str,
    /// Label of a shape, and bits per weight with it.
    shapes: Vec<(String, String)>,
}

/// One row an element, one column a shape of groups.
fn grouped<'a>(infos: impl Iterator<Item = &'a SpecInfo>) -> String {
    let mut elements: Vec<Element<'_>> = Vec::new();
    for info in infos {
        let label = info.spec.label();
        let at = ["-g", "-row", "-tensor"].iter().find_map(|shape| label.find(shape)).unwrap_or(label.len());
        let shape = (label[at..].to_owned(), bits(info));
        match elements.iter_mut().find(|element| element.label == label[..at]) {
            Some(element) => element.shapes.push(shape),
            None => elements.push(Element {
                label: label[..at].to_owned(),
                summary: info.summary,
                shapes: vec![shape],
            }),
        }
    }
    let mut shapes: Vec<&str> = Vec::new();
    for (shape, _) in elements.iter().flat_map(|element| &element.shapes) {
        if !shapes.contains(&shape.as_str()) {
            shapes.push(shape);
        }
    }
    let columns: Vec<String> = shapes.iter().map(|shape| format!("`{shape}`")).collect();
    let head: Vec<&str> =
        ["element", "what it is"].into_iter().chain(columns.iter().map(String::as_str)).collect();
    let rows = elements.iter().map(|element| {
        let cell = |shape: &&str| {
            let found = element.shapes.iter().find(|(s, _)| s == shape);
            found.map_or("–".to_owned(), |(_, bits)| bits.clone())
        };
        let first = [format!("`{}`", element.label), element.summary.to_owned()];
        first.into_iter().chain(shapes.iter().map(cell)).collect()
    });
    table(&head, rows)
}
