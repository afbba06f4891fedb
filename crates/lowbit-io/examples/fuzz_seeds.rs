//! Writes the crafted part of the fuzz corpus: small valid files and some that are wrong in one place.
//!
//! ```sh
//! cargo run -p lowbit-io --example fuzz_seeds -- fuzz/corpus
//! ```

use lowbit_format::{BlockFormat, FloatFormat, NK, QuantTensor, WeightSpec};
use lowbit_io::{
    Encoding, IoError,
    container::{ContainerText, ContainerWriter},
    gguf::{GgufWriter, OwnedValue, ValueType},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let corpus = PathBuf::from(std::env::args().nth(1).ok_or("usage: fuzz_seeds CORPUS_FOLDER")?);
    write(&corpus.join("gguf"), ggufs()?)?;
    write(&corpus.join("safetensors_index"), safetensors())?;
    write(&corpus.join("container"), containers()?)?;
    write(&corpus.join("llama2c"), llama2cs())?;
    write(&corpus.join("tokenizer_vocab"), vocabularies())?;
    write(&corpus.join("chat_template"), templates())?;
    Ok(())
}

/// Files by name.
type Seeds = Vec<(String, Vec<u8>)>;

fn write(folder: &Path, files: Seeds) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    files.into_iter().try_for_each(|(name, bytes)| fs::write(folder.join(format!("seed-{name}")), bytes))
}

fn ggufs() -> Result<Seeds, IoError> {
    let mut files = Vec::new();
    let mut plain = GgufWriter::new();
    let words = ["<s>", "a", "ab"].map(|w| OwnedValue::Str(w.to_owned())).to_vec();
    plain
        .metadata("general.architecture", "llama")?
        .metadata("llama.block_count", 1u32)?
        .metadata("llama.rope.freq_base", 1e4f32)?
        .metadata("tokenizer.ggml.add_bos_token", true)?
        .metadata("tokenizer.ggml.tokens", OwnedValue::Array(ValueType::Str, words))?
        .metadata(
            "tokenizer.ggml.token_type",
            OwnedValue::Array(ValueType::I32, vec![OwnedValue::I32(1); 3]),
        )?
        .tensor("output_norm.weight", Encoding::Float(FloatFormat::F32), &[4], vec![0; 16])?
        .tensor("experts", Encoding::Float(FloatFormat::F16), &[2, 2, 4], vec![0; 32])?;
    let bytes = plain.to_bytes();
    files.push(("cut".into(), bytes[..bytes.len() - 40].to_vec()));
    files.push(("plain".into(), bytes));
    for format in BlockFormat::ALL.iter().copied() {
        let layout = format.layout();
        let mut writer = GgufWriter::new();
        // Enough rows that padding does not hide which format a number with two meanings stands for.
        let rows = 256 / layout.weights;
        let codes = (0..rows * layout.bytes).map(|i| i as u8).collect();
        // Formats without a number of their own are written below.
        if writer.tensor("w", Encoding::Blocks(format), &[rows, layout.weights], codes).is_ok() {
            files.push((layout.label.to_owned(), writer.to_bytes()));
        }
    }
    let mut dialect = GgufWriter::new();
    dialect.numbered("w", 36, &[4, 128], vec![0x55; 4 * 32 + 32]);
    files.push(("i2_s".into(), dialect.to_bytes()));
    let mut dialect = GgufWriter::new();
    dialect.numbered("w", 42, &[16, 128], vec![0x55; 16 * 34]);
    files.push(("q2_0_g128_as_42".into(), dialect.to_bytes()));
    // 24 bytes that announce more than any memory holds.
    let mut head = b"GGUF\x03\0\0\0".to_vec();
    head.extend([0xff; 16]);
    files.push(("huge_counts".into(), head));
    Ok(files)
}

fn safetensors() -> Seeds {
    let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[],"data_offsets":[16,18]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 18]].concat();
    let index =
        r#"{"metadata":{"total_size":18},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}"#;
    vec![
        ("cut".into(), file[..file.len() - 3].to_vec()),
        ("file".into(), file),
        ("index".into(), index.as_bytes().to_vec()),
        ("index_escape".into(), index.replace("m-2", "../m-2").into_bytes()),
        ("huge_header".into(), [0xff; 24].to_vec()),
    ]
}

/// A container of one tensor of each kind of format, and files that are wrong in one place of its header.
fn containers() -> Result<Seeds, Box<dyn std::error::Error>> {
    let config = r#"{"model_type":"llama"}"#;
    let weights: Vec<f32> = (0..2 * 36).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
    let mut files = Vec::new();
    let mut all = ContainerWriter::new(config)?;
    let labels = [
        "int1-sym-row",
        "int3-asym-g32",
        "int4-fzero-g16-int6-row",
        "int8-sym-g4-e4m3",
        "ternary-tensor-f32",
    ];
    for label in labels.iter().chain(&["f16"]) {
        let tensor = QuantTensor::quantize_nearest(&WeightSpec::parse(label)?, &weights, NK { n: 2, k: 36 })?;
        let mut one = ContainerWriter::new(config)?;
        files.push((label.replace('-', "_"), one.tensor("w", &[2, 36], &tensor)?.to_bytes()));
        all.tensor(label, &[2, 36], &tensor)?;
    }
    let blocks = QuantTensor::from_blocks(BlockFormat::Q4_0, NK { n: 1, k: 32 }, vec![0x5a; 18].into())?;
    all.tensor("blocks", &[1, 32], &blocks)?.text(ContainerText::ChatTemplate, "{{ bos_token }}");
    let bytes = all.note("note", "a seed").to_bytes();
    files.push(("cut".into(), bytes[..bytes.len() - 9].to_vec()));
    files.push(("all".into(), bytes));
    let asym = files.iter().find(|(name, _)| name == "int3_asym_g32").map(|(_, bytes)| bytes.clone());
    let asym = asym.ok_or("no asymmetric file")?;
    // Replacements of the same length: the header's length stays right.
    for (name, from, to) in [
        ("unknown_key", &b"lowbit.tensors"[..], &b"lowbit.rotated"[..]),
        ("no_zeros", b"w.zeros", b"w.zeroz"),
        ("wrong_part", b"int3", b"int5"),
        ("huge_shape", b"[2,36]", b"[2e38]"),
    ] {
        let at = asym.windows(from.len()).position(|w| w == from).ok_or("nothing to replace")?;
        let wrong = [&asym[..at], to, &asym[at + from.len()..]].concat();
        files.push((name.into(), wrong));
    }
    Ok(files)
}

fn llama2cs() -> Seeds {
    // dim 2, hidden 1, 1 layer, 1 head, 1 kv head, 2 tokens (tied or not), context 1.
    let file = |vocab: i32, floats: usize| {
        let numbers = [2, 1, 1, 1, 1, vocab, 1];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|n: &i32| n.to_le_bytes()).collect();
        bytes.resize(bytes.len() + 4 * floats, 0);
        bytes
    };
    // Embedding 4, norms 2 + 2 + 2, attention 4 · 4, feed-forward 3 · 2, rotary tables 2, output 4.
    let (tied, untied) = (4 + 6 + 16 + 6 + 2, 4 + 6 + 16 + 6 + 2 + 4);
    let mut second: Vec<u8> =
        [0x616b_3432, 1, 2, 1, 1, 1, 1, 2, 1].iter().flat_map(|n: &i32| n.to_le_bytes()).collect();
    second.push(1);
    second.resize(256 + 4 * (tied - 2), 0);
    vec![
        ("tied".into(), file(2, tied)),
        ("untied".into(), file(-2, untied)),
        ("version_1".into(), second),
        ("cut".into(), file(2, tied - 5)),
        ("negative".into(), file(i32::MIN, 0)),
    ]
}

/// In the form that the target reads: a first line of model, pre-tokenizer and flags, then a kind digit, a score
/// letter and the text of each token, then after an empty line the merges; `C`, a length and a character map before it.
fn vocabularies() -> Seeds {
    let bytes = |kind: char| (0..=255u8).map(move |b| format!("{kind}a<0x{b:02X}>"));
    let pieces = ["2a<unk>", "3a<s>", "3a</s>"].map(str::to_owned).into_iter();
    let words = ["1ba", "1bb", "1cab", "1b\u{2581}", "1d\u{2581}ab"].map(str::to_owned);
    let sentence: Vec<String> =
        ["llama - 1".to_owned()].into_iter().chain(pieces).chain(bytes('6')).chain(words).collect();
    let small = "t5 - 0\n2a<unk>\n3a</s>\n1ba\n1cb\n1dab\n1e\u{2581}";
    // A trie that turns "A" into "b": the root has base 128, the leaf for 'A' at 128 ^ 65 has its value at 1.
    let mut trie = [0u32; 256];
    (trie[0], trie[128 ^ 65], trie[1]) = (128 << 10, (128 ^ 65 ^ 1) << 10 | 1 << 8 | 65, 1 << 31);
    let mut mapped = vec![b'C', 6, 4];
    [1024].iter().chain(&trie).for_each(|unit| mapped.extend(unit.to_le_bytes()));
    mapped.extend(b"b\0");
    mapped.extend(small.as_bytes());
    let pairs = "gpt2 default 0\n3a<|end|>\n1aa\n1ab\n1aab\n1a\u{120}\n1a\u{120}ab\n\na b\n\u{120} ab";
    vec![
        ("llama".into(), sentence.join("\n").into_bytes()),
        ("t5".into(), small.into()),
        ("t5_charsmap".into(), mapped),
        ("gpt2".into(), pairs.into()),
        ("twice".into(), pairs.replace("1ab\n", "1aa\n").into_bytes()),
        ("merge_of_nothing".into(), pairs.replace("a b", "a z").into_bytes()),
    ]
}

fn templates() -> Seeds {
    let chatml = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let inst = "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{{ '[INST] ' ~ m.content.strip() ~ ' [/INST]' }}{% endfor %}";
    let macros = "{% macro f(x) %}{{ x | trim | upper }}{% endmacro %}{% set ns = namespace(n=0) %}{% for m in messages[1:] %}{% set ns.n = ns.n + 1 %}{{ f(m.content) }}{{ m | tojson }}{% endfor %}{{ ns.n }}";
    let endless = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    let long =
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}";
    let include = "{% include '/etc/passwd' %}{{ messages.__class__ }}";
    let all = [
        ("chatml", chatml),
        ("inst", inst),
        ("macros", macros),
        ("endless", endless),
        ("long", long),
        ("include", include),
    ];
    all.into_iter().map(|(name, source)| (name.to_owned(), source.into())).collect()
}
