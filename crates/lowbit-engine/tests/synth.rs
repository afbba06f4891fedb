//! Models with random weights: the same bytes for the same seed, finite logits of a usual size for every kind of
//! format, and containers with a tokenizer that read and write text.

use lowbit_engine::{
    EngineError, LoadOptions, Model, Session,
    synth::{Synth, SynthFile, SynthProgress, SynthRequest},
};
use lowbit_format::{BlockFormat, WeightSpec};
use lowbit_io::{
    Access, Checkpoint,
    container::{Container, ContainerText, ContainerWriter},
};
use lowbit_kernels::{Ctx, Isa};
use lowbit_model::{KvElement, Logits};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// One block and few tokens of the smallest shape whose rows are whole blocks of so many weights.
fn small(label: &str, block: usize) -> SynthRequest {
    let like = match block {
        ..=64 => "smollm2-135m",
        65..=128 => "qwen2.5-0.5b",
        _ => "llama-3.2-1b",
    };
    let spec = WeightSpec::parse(label).unwrap();
    SynthRequest { like: like.into(), layers: Some(1), vocab: Some(40), spec, seed: 7 }
}

fn write(folder: &Path, request: SynthRequest) -> PathBuf {
    let synth = Synth::new(request).unwrap();
    let path = folder.join(format!("model.{}", synth.file().extension()));
    let made = Arc::new(AtomicU64::new(0));
    let count = made.clone();
    let progress: SynthProgress = Arc::new(move |bytes| {
        count.fetch_add(bytes, Ordering::Relaxed);
    });
    synth.write(&path, &progress).unwrap();
    let (made, announced) = (made.load(Ordering::Relaxed) as f64, synth.tensor_bytes() as f64);
    // Norms are not counted as they are made; scales of rows and padding are not announced.
    assert!((made / announced - 1.0).abs() < 0.02, "{made} bytes made, {announced} announced");
    path
}

/// The logits after the last of a few tokens read, and after one more.
fn logits(path: &Path) -> Vec<f32> {
    let ctx = Ctx::new(Isa::detect(), 1);
    let model = Model::load(&ctx, path, LoadOptions::default()).unwrap();
    let mut session = Session::new(&model, &ctx, 8, KvElement::F16).unwrap();
    let mut all = session.feed(&[1, 2, 3, 30, 4], Logits::Last).unwrap().to_vec();
    all.extend(session.feed(&[5], Logits::Last).unwrap());
    assert_eq!(all.len(), 2 * 40);
    all
}

#[test]
fn every_kind_of_format_gives_finite_logits_of_a_usual_size() {
    // Of blocks of 256 weights those with different parameters; laws over the formats cover the others.
    let long = ["q2_k", "q3_k", "q4_k", "q6_k", "q8_k", "iq1_m", "iq2_xxs", "iq4_xs", "tq1_0", "tq2_0"];
    let block = |format: &BlockFormat| (format.label(), format.layout().weights);
    let blocks = BlockFormat::ALL.iter().map(block).filter(|(l, n)| *n < 256 || long.contains(l));
    let blocks = blocks.filter(|(label, _)| !["i2_s", "q1_0_g32"].contains(label));
    let others = [
        "f32",
        "f16",
        "bf16",
        "int1-sym-row",
        "int2-sym-g128",
        "int3-asym-g64",
        "int4-asym-g32-int6-g256",
        "int4-fzero-g20",
        "int8-sym-g32-e4m3",
        "int6-sym-g16-e8m0",
        "int5-asym-g32-int1-row-bf16",
        "ternary-row",
        "ternary-tensor-f32",
        "ternary-g36-pow2",
    ];
    for (label, block) in blocks.chain(others.map(|label| (label, 1))) {
        let folder = tempfile::tempdir().unwrap();
        let logits = logits(&write(folder.path(), small(label, block)));
        assert!(logits.iter().all(|x| x.is_finite()), "{label}");
        let size = (logits.iter().map(|x| x * x).sum::<f32>() / logits.len() as f32).sqrt();
        // The head's outputs are sums of K products of numbers of size 1 and 1 / √K, so of size 1, but powers of two
        // are rounded, and a tied embedding finds its own token again: up to √K, 45 where K is 2048.
        assert!((0.3..45.0).contains(&size), "{label}: {size}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
    for label in ["q4_0", "f16", "int2-asym-g32", "ternary-row"] {
        let bytes = |seed| {
            let folder = tempfile::tempdir().unwrap();
            let request = SynthRequest { seed, ..small(label, 32) };
            std::fs::read(write(folder.path(), request)).unwrap()
        };
        let first = bytes(1);
        assert!(first == bytes(1), "{label}");
        let other = bytes(2);
        let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same * 2 < first.len(), "{label}: {same} of {} bytes are the same", first.len());
    }
}

#[test]
fn random_codes_are_valid_to_the_last_bit() {
    // Rows of 576 and 1536 codes of three bits or five digits end within a byte or do not.
    for label in ["int3-sym-row", "ternary-row", "int7-asym-g32"] {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), small(label, 1));
        let checkpoint = Checkpoint::open(&path, Access::Map).unwrap();
        assert!(checkpoint.check_tensors().unwrap().is_empty(), "{label}");
    }
}

#[test]
fn what_cannot_be_made_is_refused_with_the_reason() {
    let refusal = |request| Synth::new(request).map(|_| ()).unwrap_err().to_string();
    let error = refusal(SynthRequest { like: "llama2-7b".into(), ..small("q4_0", 32) });
    assert!(error.contains("\"llama2-7b\", did you mean llama-2-7b?"), "{error}");
    let error = refusal(SynthRequest { like: "smollm2-135m".into(), ..small("q4_k", 256) });
    assert!(error.contains("\"token_embd.weight\": rows of 576 weights"), "{error}");
    let error = refusal(SynthRequest { layers: Some(2000), ..small("q4_0", 32) });
    assert!(error.contains("num_hidden_layers") && error.contains("2000"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let synth = Synth::new(small("i2_s", 128)).unwrap();
    assert_eq!(synth.file(), SynthFile::Gguf);
    let nothing: SynthProgress = Arc::new(|_| {});
    let error = synth.write(&folder.path().join("x.gguf"), &nothing).unwrap_err().to_string();
    assert!(error.contains("i2_s") && error.contains("a GGUF number of its own"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn without_a_tokenizer_text_is_refused_with_the_reason_and_with_one_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Ctx::new(Isa::detect(), 1);
    for (label, why) in [("q4_0", "says that it has no vocabulary"), ("int4-sym-g32", "no lowbit.tokenizer")]
    {
        let path = write(folder.path(), small(label, 32));
        let model = Model::load(&ctx, &path, LoadOptions::default()).unwrap();
        let error = model.encode("a").unwrap_err();
        assert!(matches!(error, EngineError::NoTokenizer { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let source = Container::open(&folder.path().join("model.lowbit"), Access::Map).unwrap();
    let lowbit_io::Config::Json(config) = source.config() else { panic!("synth writes a config.json") };
    let mut writer = ContainerWriter::new(&config.to_string()).unwrap();
    for info in source.tensors() {
        writer.tensor(&info.name, &info.dims, &source.tensor(&info.name).unwrap()).unwrap();
    }
    let tokenizer = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
        "post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
        "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
        "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
        "vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}"#;
    writer.text(ContainerText::Tokenizer, tokenizer);
    writer.text(ContainerText::ChatTemplate, "{{ messages[0].content }}");
    let path = folder.path().join("text.lowbit");
    writer.write(&path).unwrap();
    let model = Model::load(&ctx, &path, LoadOptions::default()).unwrap();
    assert_eq!(model.encode("abba").unwrap(), [2, 1, 0]);
    assert_eq!(model.kind(), "lowbit");
    model.chat_template().unwrap();
    assert_eq!(logits(&path), logits(&folder.path().join("model.lowbit")));
}
