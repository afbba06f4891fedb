//! The container: every format comes back as it went in, the written specification's example byte for byte, and files
//! that are wrong in one place are refused with what is wrong.

use lowbit_format::{
    BlockFormat, FloatFormat, GroupedTensor, NK, OnlineOp, QuantTensor, Storage, SumTensor, TensorData, Term,
    TermKind, WeightSpec, all_specs,
};
use lowbit_io::{
    Access, Checkpoint, Config, Encoding, Payload,
    container::{Container, ContainerText, ContainerWriter, annotate},
    gguf::{Gguf, GgufWriter, OwnedValue, ValueType},
};
use std::{fs, path::Path};

const CONFIG: &str = r#"{"model_type":"llama"}"#;

/// Weights that are like no others near them.
fn weights(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
}

fn decoded(tensor: &QuantTensor) -> Vec<u32> {
    let NK { n, k } = tensor.shape();
    let mut row = vec![0.0; k];
    (0..n)
        .flat_map(|i| {
            tensor.decode_row(i, &mut row);
            row.iter().map(|w| w.to_bits()).collect::<Vec<_>>()
        })
        .collect()
}

/// Labels of formats with more than the listed ones have: two levels, every scale format, odd groups.
const UNLISTED: [&str; 9] = [
    "int4-asym-g32-int6-g256",
    "int2-sym-g16-e4m3-tensor-f32",
    "int4-sym-g32-e8m0",
    "int3-fzero-g64-f32",
    "int5-fzero-g20-bf16",
    "ternary-g12-pow2",
    "int7-asym-g4-int3-row",
    "int1-sym-row-int8-tensor-bf16",
    "ternary-row-f32-tensor",
];

#[test]
fn every_grouped_format_comes_back_as_it_went_in() {
    let listed = all_specs().into_iter().map(|s| s.spec);
    let unlisted = UNLISTED.iter().map(|label| WeightSpec::parse(label).unwrap());
    let specs: Vec<WeightSpec> =
        listed.chain(unlisted).filter(|s| matches!(s, WeightSpec::Grouped(_))).collect();
    assert!(specs.len() > 100);
    // Rows that end within a byte and within a group, and rows that do not.
    for shape in [NK { n: 3, k: 43 }, NK { n: 2, k: 256 }, NK { n: 1, k: 1 }] {
        let mut writer = ContainerWriter::new(CONFIG).unwrap();
        let mut written = Vec::new();
        for spec in &specs {
            let tensor = QuantTensor::quantize_nearest(spec, &weights(shape.weights()), shape).unwrap();
            let name = format!("model.{spec}.weight");
            writer.tensor(&name, &[shape.n, shape.k], &tensor).unwrap();
            written.push((name, tensor));
        }
        let bytes = writer.to_bytes();
        assert_eq!(bytes.len() as u64, writer.bytes());
        let container = Container::parse(Storage::from(bytes)).unwrap();
        assert_eq!(container.tensors().len(), specs.len());
        for (name, tensor) in written {
            let info = container.info(&name).unwrap();
            assert_eq!(
                (info.encoding, &info.dims[..], info.bytes),
                (Encoding::Grouped, &[shape.n, shape.k][..], tensor.bytes())
            );
            let read = container.tensor(&name).unwrap();
            assert_eq!(read.spec(), tensor.spec());
            assert_eq!(container.spec(&name), Some(tensor.spec()));
            let (TensorData::Grouped(read_parts), TensorData::Grouped(parts)) = (read.data(), tensor.data())
            else {
                panic!("{name}: not grouped")
            };
            assert_eq!(stored(read_parts), stored(parts), "{name}");
            assert_eq!(decoded(&read), decoded(&tensor), "{name}");
        }
    }
}

fn stored(tensor: &GroupedTensor) -> Vec<Vec<u8>> {
    let params = tensor.params();
    let params = params.levels.iter().chain(&params.zeros).map(|p| p.bytes().bytes().to_vec());
    [tensor.codes().bytes().bytes().to_vec()].into_iter().chain(params).collect()
}

#[test]
fn blocks_floats_and_texts_come_back_as_they_went_in() {
    let mut writer = ContainerWriter::new(CONFIG).unwrap();
    for format in BlockFormat::ALL {
        let layout = format.layout();
        let bytes: Vec<u8> = (0..2 * layout.bytes).map(|i| (i * 7) as u8).collect();
        let scale = if layout.tensor_scale { 0.3 } else { 1.0 };
        let shape = NK { n: 2, k: layout.weights };
        let tensor = QuantTensor::from_scaled_blocks(*format, shape, bytes.into(), scale).unwrap();
        writer.tensor(layout.label, &[2, layout.weights], &tensor).unwrap();
    }
    for format in FloatFormat::ALL {
        let tensor = QuantTensor::from_floats(
            format,
            NK { n: 1, k: 5 },
            format.encode(&[1.0, -2.0, 0.5, 3.0, -0.25]).into(),
        );
        writer.tensor(format.label(), &[5], &tensor.unwrap()).unwrap();
    }
    let experts = QuantTensor::quantize_nearest(
        &WeightSpec::parse("int4-sym-g32").unwrap(),
        &weights(6 * 32),
        NK { n: 6, k: 32 },
    );
    writer.tensor("experts", &[2, 3, 32], &experts.unwrap()).unwrap();
    for text in ContainerText::ALL {
        writer.text(text, &format!("the text of {}, \"quoted\" \u{1f980}\n", text.key()));
    }
    writer.note("provenance", "a test");
    let container = Container::parse(Storage::from(writer.to_bytes())).unwrap();
    let Config::Json(config) = container.config() else { panic!("written with a config.json") };
    assert_eq!(config["model_type"], "llama");
    for text in ContainerText::ALL {
        assert!(container.text(text).unwrap().starts_with(&format!("the text of {}", text.key())));
    }
    for format in BlockFormat::ALL {
        let raw = container.raw(format.label()).unwrap();
        let expected: Vec<u8> = (0..2 * format.layout().bytes).map(|i| (i * 7) as u8).collect();
        assert_eq!(raw.bytes.bytes(), expected);
        assert_eq!(container.tensor(format.label()).unwrap().spec(), WeightSpec::Block(*format));
    }
    for format in FloatFormat::ALL {
        assert_eq!(container.vector(format.label()).unwrap(), [1.0, -2.0, 0.5, 3.0, -0.25]);
        assert_eq!(container.info(format.label()).unwrap().dims, [5]);
    }
    let info = container.info("experts").unwrap();
    assert_eq!((info.dims.as_slice(), info.matrix()), (&[2, 3, 32][..], NK { n: 6, k: 32 }));
    assert!(container.raw("experts").unwrap_err().to_string().contains("codes and scales apart"));
    let missing = container.tensor("expert").unwrap_err().to_string();
    assert!(missing.contains("\"expert\" is missing (the nearest name is \"experts\")"), "{missing}");
    // Wide elements first: each lies at a multiple of its size.
    let places = container.tensors().iter().filter(|t| matches!(t.encoding, Encoding::Float(_)));
    for info in places {
        assert_eq!(info.offset % (info.bytes as u64 / 5), 0, "{}", info.name);
    }
}

/// The example of the specification.
fn example() -> ContainerWriter {
    let mut writer = ContainerWriter::new(r#"{"model_type":"llama"}"#).unwrap();
    let spec = WeightSpec::parse("int2-asym-g4").unwrap();
    let shape = NK { n: 2, k: 8 };
    let codes = lowbit_format::Codes::pack(
        lowbit_format::Packing::Bits(lowbit_format::Bits::new(2).unwrap()),
        shape,
        &[0, 1, 2, 3, 3, 2, 1, 0, 1, 1, 1, 1, 2, 2, 2, 2],
    );
    let WeightSpec::Grouped(grouped) = &spec else { panic!("a grouped format") };
    let scales = FloatFormat::F16.encode(&[1.0, 0.5, 2.0, 0.25]);
    let zeros = vec![0b0110, 0b0001];
    let params =
        lowbit_format::GroupParams::new(grouped, shape, vec![scales.into()], Some(zeros.into())).unwrap();
    let tensor = GroupedTensor::new(grouped.clone(), codes, params).unwrap();
    writer.tensor("w", &[2, 8], &QuantTensor::from_grouped(tensor)).unwrap();
    let gain = Payload::from(FloatFormat::F32.encode(&[1.0, -1.0]));
    let mut gain = Some(gain);
    writer.payloads("norm", &WeightSpec::Float(FloatFormat::F32), &[2], |_| gain.take().unwrap()).unwrap();
    writer
}

#[test]
fn the_example_of_the_specification_is_written_byte_for_byte() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/container.md")).unwrap();
    let dump = page.split("```hex\n").nth(1).expect("a hex dump").split("```").next().unwrap();
    let listed: Vec<u8> = dump
        .split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|e| panic!("{byte}: {e}")))
        .collect();
    let written = example().to_bytes();
    let hex: Vec<String> = written.iter().map(|b| format!("{b:02x}")).collect();
    let lines: Vec<String> = hex.chunks(24).map(|line| line.join(" ")).collect();
    assert_eq!(listed, written, "the page should have\n{}", lines.join("\n"));
    let container = Container::parse(Storage::from(listed)).unwrap();
    let values = decoded(&container.tensor("w").unwrap()).into_iter().map(f32::from_bits).collect::<Vec<_>>();
    // As the page multiplies them out: zero points 2 and 1, then 1 and 0.
    assert_eq!(values[..8], [-2.0, -1.0, 0.0, 1.0, 1.0, 0.5, 0.0, -0.5]);
    assert_eq!(values[8..], [0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5]);
}

#[test]
fn a_container_is_recognized_by_its_content_and_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    fs::write(&path, "old").unwrap();
    example().write(&path).unwrap();
    for access in [Access::Map, Access::Read] {
        let checkpoint = Checkpoint::open(&path, access).unwrap();
        assert_eq!((checkpoint.kind(), checkpoint.tensors().len()), ("lowbit", 2));
        let Config::Json(config) = checkpoint.config() else {
            panic!("a container has a JSON configuration")
        };
        assert_eq!(config["model_type"], "llama");
        let info = checkpoint.info("w").unwrap();
        assert_eq!(checkpoint.format_label(info), "int2-asym-g4");
        assert_eq!(checkpoint.file_bytes(), fs::metadata(&path).unwrap().len());
        assert!(checkpoint.check_tensors().unwrap().is_empty());
        checkpoint.check_unchanged().unwrap();
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // A safetensors file that is no container is what it was.
    fs::write(&path, craft(&[], "", 0)).unwrap();
    let error = Checkpoint::open(&path, Access::Map).unwrap_err().to_string();
    assert!(error.contains("a single safetensors file: open the folder"), "{error}");
    let bytes = example().to_bytes();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = Checkpoint::open(&path, Access::Map).unwrap_err().to_string();
    assert!(error.contains("model.bin") && error.contains("file ends at byte"), "{error}");
}

#[test]
fn what_cannot_be_stored_is_refused_by_the_writer() {
    let refusal = |config: &str| ContainerWriter::new(config).map(|_| ()).unwrap_err().to_string();
    assert!(refusal("[1]").contains("expected an object"));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    assert!(refusal(&long).contains("\"lowbit.config\" of 1048584, at most 1048576"));
    let mut writer = example();
    let float = |n, k| {
        let bytes = FloatFormat::F32.encode(&vec![1.0; n * k]);
        QuantTensor::from_floats(FloatFormat::F32, NK { n, k }, bytes.into()).unwrap()
    };
    let mut says = |name: &str, dims: &[usize], tensor: &QuantTensor, expected: &str| {
        let error = writer.tensor(name, dims, tensor).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    says("w", &[2, 8], &float(2, 8), "tensor \"w\" occurs twice");
    says("w.codes", &[2, 8], &float(2, 8), "tensor \"w.codes\" occurs twice");
    says("", &[2, 8], &float(2, 8), "1 to 512 bytes");
    says(&"x".repeat(513), &[2, 8], &float(2, 8), "1 to 512 bytes");
    says("a", &[8, 2], &float(2, 8), "found dimensions [8, 2], expected [2, 8]");
    let spec = WeightSpec::parse("q4_0").unwrap();
    let error = writer.payloads("a", &spec, &[4, 33], |_| Vec::new().into()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("no whole number of q4_0 blocks"), "{error}");
    let error = writer.payloads("a", &spec, &[32], |_| Vec::new().into()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("no matrix that can be stored"), "{error}");
}

/// A safetensors file of metadata and the JSON of its tensors, with so many zero bytes of data.
fn craft(metadata: &[(&str, &str)], tensors: &str, data: usize) -> Vec<u8> {
    let metadata: serde_json::Map<String, serde_json::Value> =
        metadata.iter().map(|(k, v)| (k.to_string(), (*v).into())).collect();
    let metadata = serde_json::Value::from(metadata);
    let separator = if tensors.is_empty() { "" } else { "," };
    let header = format!("{{\"__metadata__\":{metadata}{separator}{tensors}}}");
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

const VERSION: (&str, &str) = ("lowbit.version", "1");
const MODEL: (&str, &str) = ("lowbit.config", CONFIG);

/// Why a file of these tensors is refused, said of a right version and configuration.
fn refusal(declared: &str, tensors: &str, data: usize) -> String {
    let metadata = [VERSION, MODEL, ("lowbit.tensors", declared)];
    Container::parse(Storage::from(craft(&metadata, tensors, data))).map(|_| ()).unwrap_err().to_string()
}

fn says(error: &str, all: &[&str]) {
    for part in all {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

#[test]
fn metadata_that_is_not_version_1_is_refused() {
    let parse = |metadata: &[(&str, &str)]| Container::parse(Storage::from(craft(metadata, "", 0)));
    let refusal = |metadata: &[(&str, &str)]| parse(metadata).map(|_| ()).unwrap_err().to_string();
    parse(&[VERSION, MODEL]).unwrap();
    parse(&[VERSION, MODEL, ("lowbit.x-provenance", "?"), ("format", "pt"), ("lowbitten", "")]).unwrap();
    says(&refusal(&[MODEL]), &["\"lowbit.version\" is missing"]);
    says(&refusal(&[VERSION]), &["\"lowbit.config\" is missing"]);
    says(&refusal(&[("lowbit.version", "2"), MODEL]), &["container version 2", "a newer lowbit"]);
    for version in ["", "1.0", "01", "+1", "-1", "99999999999"] {
        says(&refusal(&[("lowbit.version", version), MODEL]), &["\"lowbit.version\"", "expected a number"]);
    }
    says(&refusal(&[VERSION, MODEL, ("lowbit.rotation", "")]), &["\"lowbit.rotation\"", "a newer lowbit"]);
    says(&refusal(&[VERSION, ("lowbit.config", "{")]), &["the model's configuration"]);
    says(&refusal(&[VERSION, ("lowbit.config", "[]")]), &["expected an object"]);
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    says(&refusal(&[VERSION, ("lowbit.config", &long)]), &["\"lowbit.config\"", "at most 1048576"]);
    let many: Vec<String> = (0..70).map(|i| format!("lowbit.{i}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "")).collect();
    says(&refusal(&many), &["more than 64 lowbit keys"]);
    let parse = |header: &str| {
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        Container::parse(Storage::from(bytes)).map(|_| ()).unwrap_err().to_string()
    };
    says(&parse(r#"{"__metadata__":{"lowbit.version":1}}"#), &["safetensors header", "expected a string"]);
    says(&parse(r#"{"__metadata__":[]}"#), &["safetensors header", "an object of texts"]);
    let twice = r#"{"__metadata__":{"lowbit.version":"1","lowbit.version":"1"}}"#;
    says(&parse(twice), &["\"lowbit.version\" occurs twice"]);
}

#[test]
fn entries_of_lowbit_tensors_that_say_no_format_and_shape_are_refused() {
    let entry = |entry: &str| refusal(&format!("{{\"w\":{entry}}}"), "", 0);
    says(&refusal("[]", "", 0), &["lowbit.tensors", "formats and shapes by tensor name"]);
    says(&refusal("{} x", "", 0), &["lowbit.tensors", "trailing characters"]);
    says(&entry("{}"), &["missing field `spec`"]);
    says(&entry(r#"{"spec":"int2-sym-row"}"#), &["missing field `shape`"]);
    says(&entry(r#"{"spec":"int2-sym-row","shape":[1,4],"online":[]}"#), &["\"online\"", "a newer lowbit"]);
    let input = |list: &str| entry(&format!(r#"{{"spec":"q4_0","shape":[1,32],"input":{list}}}"#));
    says(&input("[]"), &["lowbit.tensors", "1 to 8 names of operations"]);
    says(&input(r#""permute""#), &["1 to 8 names of operations"]);
    says(&input(r#"["rotate"]"#), &["\"w\"", "\"rotate\"", "permute, scale, pairs, or hadamard-B"]);
    says(&input(r#"["hadamard-3"]"#), &["\"hadamard-3\""]);
    says(&input(&format!("[{}]", ["\"scale\""; 9].join(","))), &["invalid length 9"]);
    says(&entry(r#"{"spec":"q4_0","spec":"q4_0"}"#), &["\"spec\"", "occurs twice"]);
    says(&entry(r#"{"spec":"int9-sym-row","shape":[1,4]}"#), &["\"w\"", "9 bits a code"]);
    says(&entry(r#"{"spec":"int4sym","shape":[1,4]}"#), &["\"w\"", "unknown weight format"]);
    says(&entry(r#"{"spec":"int4-sym-g6","shape":[1,4]}"#), &["\"w\"", "groups of 6 weights"]);
    says(&entry(r#"{"spec":"f16","shape":[1,4]}"#), &["format f16", "stored under their own name"]);
    says(&entry(r#"{"spec":"q4_0","shape":[1,33]}"#), &["\"w\"", "no whole number of q4_0 blocks"]);
    says(&entry(r#"{"spec":"q4_0","shape":[32]}"#), &["has rows and columns"]);
    says(&entry(r#"{"spec":"q4_0","shape":[0,32]}"#), &["has weights"]);
    says(&entry(r#"{"spec":"q4_0","shape":[1,2,3,4,5,6,7,8,9]}"#), &["at most 8 dimensions"]);
    let huge = r#"{"spec":"int1-sym-row","shape":[9223372036854775807,3]}"#;
    says(&entry(huge), &["product overflows"]);
    let long = format!(r#"{{"spec":"{}","shape":[1,4]}}"#, "x".repeat(257));
    says(&entry(&long), &["a format label of 257 bytes"]);
    let twice = r#"{"w":{"spec":"q4_0","shape":[1,32]},"w":{"spec":"q4_0","shape":[1,32]}}"#;
    says(&refusal(twice, "", 0), &["\"w\" occurs twice"]);
    let name = format!(r#"{{"{}":{{}}}}"#, "x".repeat(513));
    says(&refusal(&name, "", 0), &["a tensor name of 513 bytes"]);
    let many: Vec<String> = (0..100_001).map(|i| format!(r#""{i}":{{"spec":"a","shape":[]}}"#)).collect();
    says(&refusal(&format!("{{{}}}", many.join(",")), "", 0), &["more than 100000 tensors"]);
}

#[test]
fn parts_that_are_not_those_of_format_and_shape_are_refused() {
    let declared = r#"{"w":{"spec":"int2-asym-g4","shape":[2,8],"x-comment":{"skipped":true}}}"#;
    const CODES: &str = r#""w.codes":{"dtype":"U8","shape":[2,2],"data_offsets":[8,12]}"#;
    const SCALES: &str = r#""w.scales":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}"#;
    const ZEROS: &str = r#""w.zeros":{"dtype":"U8","shape":[2,1],"data_offsets":[12,14]}"#;
    let whole = format!("{SCALES},{CODES},{ZEROS}");
    let metadata = [VERSION, MODEL, ("lowbit.tensors", declared)];
    let parse = |tensors: &str, data| Container::parse(Storage::from(craft(&metadata, tensors, data)));
    assert_eq!(parse(&whole, 14).unwrap().tensors()[0].bytes, 14);
    let skipped = format!(r#"{whole},"x-signs":{{"dtype":"U8","shape":[1],"data_offsets":[14,15]}}"#);
    assert_eq!(parse(&skipped, 15).unwrap().tensors().len(), 1);

    says(&refusal(declared, &format!("{SCALES},{CODES}"), 12), &["\"w.zeros\" is missing"]);
    says(
        &refusal(declared, &whole.replace("[2,2],\"data_offsets\":[8", "[4,1],\"data_offsets\":[8"), 14),
        &["\"w.codes\" of int2-asym-g4 [2, 8]", "found u8 [4, 1], expected u8 [2, 2]"],
    );
    says(&refusal(declared, &whole.replace("F16", "BF16"), 14), &["found bf16 [2, 2], expected f16 [2, 2]"]);
    let longer = whole.replace("[2,1],\"data_offsets\":[12,14]", "[2,2],\"data_offsets\":[12,16]");
    says(&refusal(declared, &longer, 16), &["\"w.zeros\"", "found u8 [2, 2], expected u8 [2, 1]"]);
    let stray = format!(r#"{whole},"w.scales2":{{"dtype":"F16","shape":[2,1],"data_offsets":[14,18]}}"#);
    says(&refusal(declared, &stray, 18), &["\"w.scales2\"", "a part that no tensor"]);
    let stray = format!(r#"{whole},"v.codes":{{"dtype":"U8","shape":[1],"data_offsets":[14,15]}}"#);
    says(&refusal(declared, &stray, 15), &["\"v.codes\" of type u8", "newer than this program"]);
    let both = format!(r#"{whole},"w":{{"dtype":"F32","shape":[1],"data_offsets":[14,18]}}"#);
    says(&refusal(declared, &both, 18), &["tensor \"w\" occurs twice"]);
}

#[test]
fn operations_on_a_layers_input_come_back_and_bad_ones_are_refused() {
    let ops = vec![
        OnlineOp::Permute(vec![7, 6, 5, 4, 3, 2, 1, 0]),
        OnlineOp::Scale(vec![0.5; 8]),
        OnlineOp::Pairs(vec![[0, 0], [1, 4], [2, 2], [0, 0], [5, 3], [7, 7], [6, 6], [7, 7]]),
        OnlineOp::Hadamard { block: 4, signs: vec![1, -1, 1, -1, 1, 1, 1, -1] },
    ];
    let mut writer = example();
    writer.input("w", &ops).unwrap();
    let written = writer.to_bytes();
    let container = Container::parse(Storage::from(written.clone())).unwrap();
    assert_eq!(container.input_ops("w").unwrap(), ops);
    assert_eq!(container.input_ops("norm").unwrap(), []);
    assert_eq!(container.tensors().len(), 2);
    assert_eq!(container.info("w").unwrap().bytes, 14 + 8 * (4 + 4 + 8 + 1));

    // The numbers lie at the end: eight signs behind the codes.
    let damaged = |from: &[u8], to: &[u8]| {
        let mut bytes = written.clone();
        let at = bytes.windows(from.len()).position(|w| w == from).expect("the numbers are there");
        bytes[at..at + to.len()].copy_from_slice(to);
        Container::parse(Storage::from(bytes)).unwrap().input_ops("w").unwrap_err().to_string()
    };
    says(&damaged(&[7, 0, 0, 0, 6, 0, 0, 0], &[6]), &["\"w\"", "6 at place 1", "0 to 7 once"]);
    says(&damaged(&[0, 0, 0, 0x3f, 0, 0, 0, 0x3f], &[0, 0, 0x80, 0x7f]), &["\"w\"", "inf at place 0"]);
    says(&damaged(&[5, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0], &[8]), &["\"w\"", "8 at place 4", "below 8"]);
    says(&damaged(&[1, 255, 1, 255, 1, 1, 1, 255], &[3]), &["\"w\"", "3 at place 0", "1 or -1"]);

    let declared = r#"{"w":{"spec":"int8-sym-row","shape":[1,4],"input":["permute"]}}"#;
    let weight = r#""w.codes":{"dtype":"U8","shape":[1,4],"data_offsets":[2,6]},"w.scales":{"dtype":"F16","shape":[1,1],"data_offsets":[0,2]}"#;
    says(&refusal(declared, weight, 6), &["\"w.input0\" is missing"]);
    let short = format!(r#"{weight},"w.input0":{{"dtype":"U32","shape":[1,3],"data_offsets":[6,18]}}"#);
    says(&refusal(declared, &short, 18), &["\"w.input0\"", "found u32 [1, 3], expected u32 [1, 4]"]);
    let stray = format!(r#"{weight},"w.input0":{{"dtype":"F32","shape":[1,4],"data_offsets":[6,22]}}"#);
    says(
        &refusal(&declared.replace(r#","input":["permute"]"#, ""), &stray, 22),
        &["\"w.input0\"", "a part that no"],
    );

    let mut writer = example();
    let mut refused = |name: &str, ops: &[OnlineOp], expected: &[&str]| {
        says(&writer.input(name, ops).map(|_| ()).unwrap_err().to_string(), expected);
    };
    refused("norm", &ops, &["\"norm\"", "the quantized one added last"]);
    refused("w", &[OnlineOp::Scale(vec![1.0; 4])], &["\"w\"", "4 elements, expected 8"]);
    refused("w", &vec![ops[1].clone(); 9], &["found 9, expected at most 8"]);
}

#[test]
fn sums_come_back_and_terms_that_are_none_are_refused() {
    let matrix = |label: &str, n: usize, k: usize| {
        let weights: Vec<f32> = (0..n * k).map(|i| i as f32 / 4.0 - 1.0).collect();
        QuantTensor::quantize_nearest(&WeightSpec::parse(label).unwrap(), &weights, NK { n, k }).unwrap()
    };
    let terms = vec![
        Term {
            kind: TermKind::Rank(1),
            lists: vec![],
            matrices: vec![matrix("f16", 1, 8), matrix("f16", 2, 1)],
        },
        Term {
            kind: TermKind::Sparse { count: 2, width: 4 },
            lists: vec![[0, 1, 2].into(), [1, 0].into()],
            matrices: vec![matrix("int8-sym-row", 2, 4)],
        },
    ];
    let sum = SumTensor::new(matrix("int2-asym-g4", 2, 8), terms).unwrap();
    let sum = QuantTensor::from_sum(sum);
    let mut writer = ContainerWriter::new("{}").unwrap();
    writer.tensor("w", &[2, 8], &sum).unwrap();
    let bytes = writer.to_bytes();
    let container = Container::parse(Storage::from(bytes.clone())).unwrap();
    let back = container.tensor("w").unwrap();
    assert_eq!(back.spec().label(), "int2-asym-g4+rank1-f16+sparse2x4-int8-sym-row");
    assert_eq!(decoded(&back), decoded(&sum));
    assert_eq!((container.tensors().len(), container.info("w").unwrap().bytes), (1, sum.bytes()));

    // Places of runs are 1, 0: U16 one after the other.
    let at = bytes.windows(4).rposition(|w| w == [1, 0, 0, 0]).expect("the places are there");
    let mut damaged = bytes.clone();
    damaged[at] = 2;
    let error = Container::parse(Storage::from(damaged)).unwrap().tensor("w").unwrap_err().to_string();
    says(&error, &["\"w\"", "sparse2x4", "below 2"]);
    let declared = r#"{"w":{"spec":"f16+rows1-f16","shape":[1,4]}}"#;
    says(&refusal(declared, "", 0), &["\"w\"", "floats need nothing"]);
    let declared = r#"{"w":{"spec":"int8-sym-row+rows1-f16","shape":[1,4]}}"#;
    let base = r#""w.codes":{"dtype":"U8","shape":[1,4],"data_offsets":[2,6]},"w.scales":{"dtype":"F16","shape":[1,1],"data_offsets":[0,2]}"#;
    says(&refusal(declared, base, 6), &["\"w.term0.list0\" is missing"]);
    let stray = format!(r#"{base},"w.term0.matrix0":{{"dtype":"F16","shape":[1,4],"data_offsets":[6,14]}}"#);
    let plain = declared.replace("+rows1-f16", "");
    says(&refusal(&plain, &stray, 14), &["\"w.term0.matrix0\"", "a part that no"]);
}

#[test]
fn bytes_that_are_no_ternary_codes_are_refused_with_the_tensor() {
    let declared = r#"{"w":{"spec":"ternary-row","shape":[1,5]}}"#;
    let tensors = r#""w.codes":{"dtype":"U8","shape":[1,1],"data_offsets":[2,3]},"w.scales":{"dtype":"F16","shape":[1,1],"data_offsets":[0,2]}"#;
    let mut bytes = craft(&[VERSION, MODEL, ("lowbit.tensors", declared)], tensors, 3);
    assert!(Container::parse(Storage::from(bytes.clone())).unwrap().tensor("w").is_ok());
    *bytes.last_mut().unwrap() = 243;
    let error = Container::parse(Storage::from(bytes)).unwrap().tensor("w").unwrap_err().to_string();
    says(&error, &["tensor \"w\"", "byte 0 of ternary codes is 243"]);
}

/// A container with the metadata of a GGUF file of one shard.
fn with_gguf() -> ContainerWriter {
    let mut gguf = GgufWriter::new();
    gguf.metadata("general.architecture", "llama").unwrap();
    gguf.metadata("llama.block_count", OwnedValue::U32(2)).unwrap();
    gguf.metadata(
        "tokenizer.ggml.tokens",
        OwnedValue::Array(ValueType::Str, vec!["a".into(), "\u{1f980}".into()]),
    )
    .unwrap();
    gguf.metadata("split.count", OwnedValue::U16(1)).unwrap();
    let gguf = Gguf::parse(Storage::from(gguf.to_bytes())).unwrap();
    ContainerWriter::with_gguf(gguf.metadata()).unwrap()
}

#[test]
fn the_metadata_of_a_gguf_file_come_back_but_for_those_of_shards() {
    let container = Container::parse(Storage::from(with_gguf().to_bytes())).unwrap();
    assert!(container.tensors().is_empty());
    let Config::Gguf(metadata) = container.config() else { panic!("written with GGUF metadata") };
    assert_eq!(metadata.get_str("general.architecture").unwrap(), Some("llama"));
    assert_eq!(metadata.get_u32("llama.block_count").unwrap(), Some(2));
    let tokens: Vec<_> = metadata.get_strings("tokenizer.ggml.tokens").unwrap().unwrap().collect();
    assert_eq!(tokens.into_iter().map(Result::unwrap).collect::<Vec<_>>(), ["a", "\u{1f980}"]);
    assert_eq!(metadata.len(), 3);
}

#[test]
fn gguf_metadata_and_a_configuration_together_are_refused() {
    let bytes = with_gguf().to_bytes();
    let text = String::from_utf8_lossy(&bytes[8..]).into_owned();
    let head = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let json =
        text[..head].replacen("{\"lowbit.version\"", "{\"lowbit.config\":\"{}\",\"lowbit.version\"", 1);
    assert_ne!(json, text[..head]);
    let both = [&(json.len() as u64).to_le_bytes(), json.as_bytes(), &bytes[8 + head..]].concat();
    let error = Container::parse(Storage::from(both)).unwrap_err().to_string();
    assert!(error.contains("lowbit.gguf") && error.contains("one of the two"), "{error}");
}

#[test]
fn a_note_is_added_to_a_container_once_and_changes_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.lowbit");
    let spec = WeightSpec::parse("int3-asym-g32").unwrap();
    let shape = NK { n: 4, k: 64 };
    let tensor = QuantTensor::quantize_nearest(&spec, &weights(shape.weights()), shape).unwrap();
    let mut writer = ContainerWriter::new(CONFIG).unwrap();
    writer
        .tensor("w", &[shape.n, shape.k], &tensor)
        .unwrap()
        .note("provenance", "{\"a\":1}")
        .write(&path)
        .unwrap();
    let before = fs::metadata(&path).unwrap().len();
    let bytes = annotate(&path, "verification", "{\"mean_kl\":\"0.1\\n\"}").unwrap();
    assert!(bytes > before);
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
    let container = Container::open(&path, Access::Map).unwrap();
    assert_eq!(decoded(&container.tensor("w").unwrap()), decoded(&tensor));
    let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
    assert!(text.contains(r#""lowbit.x-verification":"{\"mean_kl\":\"0.1\\n\"}""#), "{text}");
    assert!(text.contains("lowbit.x-provenance"));
    let error = annotate(&path, "verification", "again").unwrap_err().to_string();
    assert!(error.contains("a.lowbit") && error.contains("occurs twice"), "{error}");
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
    fs::write(&path, b"not a container").unwrap();
    assert!(annotate(&path, "verification", "x").is_err());
    assert_eq!(fs::read(&path).unwrap(), b"not a container");
}
