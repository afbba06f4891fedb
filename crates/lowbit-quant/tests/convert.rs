//! Containers as GGUF files: the same weights, or a refusal that names the tensor.

use lowbit_format::{FloatFormat, NK, QuantTensor, WeightSpec};
use lowbit_io::{Access, Checkpoint, container::ContainerWriter};
use lowbit_quant::convert::{Converted, Inexact, Target, convert};
use lowbit_testing::{GgufFile, seeded_values};
use std::path::{Path, PathBuf};

const SHAPE: NK = NK { n: 5, k: 512 };

/// A container with the metadata of a GGUF file and a tensor of every format.
fn container(folder: &Path, labels: &[&str]) -> PathBuf {
    let gguf = folder.join("source.gguf");
    GgufFile::new("llama").with("llama.block_count", 1u32).write(&gguf).unwrap();
    let Checkpoint::Gguf(source) = Checkpoint::open(&gguf, Access::Read).unwrap() else {
        panic!("a GGUF file is one")
    };
    let mut writer = ContainerWriter::with_gguf(source.metadata()).unwrap();
    for label in labels {
        let weights = seeded_values(label, SHAPE.weights(), 0.3, 0.0);
        let spec = WeightSpec::parse(label).unwrap();
        let tensor = QuantTensor::quantize_nearest(&spec, &weights, SHAPE).unwrap();
        writer.tensor(&format!("{label}.weight"), &[SHAPE.n, SHAPE.k], &tensor).unwrap();
    }
    let path = folder.join("model.lowbit");
    writer.write(&path).unwrap();
    path
}

/// Bit for bit, the sign of zero apart.
fn same_weights(a: &Path, b: &Path, made: &Converted) {
    let open = |path| Checkpoint::open(path, Access::Read).unwrap();
    let (a, b) = (open(a), open(b));
    assert_eq!(made.tensors.len(), a.tensors().len());
    for tensor in &made.tensors {
        let bits = |checkpoint: &Checkpoint| {
            let weights = checkpoint.vector(&tensor.name).unwrap();
            weights.iter().map(|x| (x + 0.0).to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(bits(&a), bits(&b), "{}", tensor.name);
        assert_eq!(b.format_label(b.info(&tensor.name).unwrap()), tensor.to);
    }
}

#[test]
fn every_format_that_gguf_can_hold_has_the_same_weights_there() {
    let folder = tempfile::tempdir().unwrap();
    let labels = [
        "int1-sym-g128",
        "ternary-g256",
        "int2-sym-g64",
        "int3-asym-g32",
        "int4-sym-g64",
        "int4-asym-g32",
        "int5-sym-g32",
        "int8-sym-g32",
        "f16",
        "f32",
    ];
    let (source, out) = (container(folder.path(), &labels), folder.path().join("out.gguf"));
    let made = convert(&source, &out, Target::Gguf(Inexact::Refuse)).unwrap();
    same_weights(&source, &out, &made);
    assert_eq!(made.bytes, std::fs::metadata(&out).unwrap().len());
    // And back, with blocks as blocks.
    let back = folder.path().join("back.lowbit");
    let made = convert(&out, &back, Target::Lowbit).unwrap();
    same_weights(&out, &back, &made);
    assert_eq!(made.bytes, std::fs::metadata(&back).unwrap().len());
}

#[test]
fn what_gguf_cannot_hold_is_refused_by_name_or_decoded_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) =
        (container(folder.path(), &["int4-sym-g32", "int4-asym-g16"]), folder.path().join("out.gguf"));
    let error = convert(&source, &out, Target::Gguf(Inexact::Refuse)).unwrap_err().to_string();
    for part in ["\"int4-asym-g16.weight\"", "groups of 16 weights", "--format int4-sym-g32", "--lossy f16"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!out.exists());
    let table = container(folder.path(), &["nf4-g64-f32"]);
    let error = convert(&table, &out, Target::Gguf(Inexact::Refuse)).unwrap_err().to_string();
    assert!(error.contains("codes of nf4 stand for numbers that are no integers"), "{error}");
    let source = container(folder.path(), &["int4-sym-g32", "int4-asym-g16"]);
    let made = convert(&source, &out, Target::Gguf(Inexact::Decode(FloatFormat::F32))).unwrap();
    let decoded: Vec<_> = made.tensors.iter().filter(|tensor| tensor.inexact.is_some()).collect();
    assert!(matches!(decoded[..], [one] if one.name == "int4-asym-g16.weight" && one.to == "f32"));
    same_weights(&source, &out, &made);
}
