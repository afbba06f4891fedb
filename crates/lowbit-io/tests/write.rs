//! Written files read back as they were meant, and appear whole or not at all.

use lowbit_format::{BlockFormat, FloatFormat};
use lowbit_io::{
    Access, Checkpoint, Config, Encoding,
    gguf::{Gguf, GgufWriter, OwnedValue, Value, ValueType},
};

/// Bytes that no two tensors share.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (seed * 31 + i * 7) as u8).collect()
}

#[test]
fn every_encoding_with_a_number_of_its_own_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.gguf");
    let mut writer = GgufWriter::new();
    let mut written = Vec::new();
    let floats = FloatFormat::ALL.map(|f| (Encoding::Float(f), 1, f.bytes()));
    let blocks = BlockFormat::ALL.iter().map(|f| {
        let layout = f.layout();
        (Encoding::Blocks(*f), layout.weights, layout.bytes)
    });
    for (i, (encoding, weights, bytes)) in floats.into_iter().chain(blocks).enumerate() {
        // 48 blocks: large enough that a number with two meanings is told apart.
        let (dims, data) = ([3, 2, 8 * weights], pattern(i, 48 * bytes));
        match writer.tensor(encoding.label(), encoding, &dims, data.clone()) {
            Ok(_) => written.push((encoding, dims, data)),
            // These have no number of their own, or more than blocks to write.
            Err(error) => assert!(["q1_0_g32", "i2_s"].contains(&encoding.label()), "{error}"),
        }
    }
    writer.write(&path).unwrap();
    let model = Gguf::open(&path, Access::Map).unwrap();
    assert_eq!(model.tensors().len(), written.len());
    for (encoding, dims, data) in written {
        let name = encoding.label();
        let info = model.info(name).unwrap();
        assert_eq!((info.encoding, &info.dims[..]), (encoding, &dims[..]), "{name}");
        assert_eq!(model.raw(name).unwrap().bytes.bytes(), data, "{name}");
        let shape = model.tensor(name).unwrap().shape();
        assert_eq!((shape.n, shape.k), (6, dims[2]), "{name}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), writer.to_bytes());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left behind");
}

#[test]
fn every_kind_of_metadata_reads_back() {
    let mut writer = GgufWriter::new();
    let values = [
        OwnedValue::U8(200),
        OwnedValue::I8(-100),
        OwnedValue::U16(60_000),
        OwnedValue::I16(-30_000),
        OwnedValue::U32(u32::MAX),
        OwnedValue::I32(i32::MIN),
        OwnedValue::F32(0.1),
        OwnedValue::Bool(true),
        OwnedValue::Str("żółw".into()),
        OwnedValue::U64(u64::MAX),
        OwnedValue::I64(i64::MIN),
        OwnedValue::F64(0.1),
    ];
    for (i, value) in values.iter().enumerate() {
        writer.metadata(&format!("v{i}"), value.clone()).unwrap();
    }
    writer.metadata("general.alignment", 64u32).unwrap();
    writer
        .metadata(
            "words",
            OwnedValue::Array(ValueType::Str, vec![values[8].clone(), OwnedValue::Str(String::new())]),
        )
        .unwrap();
    writer.metadata("nothing", OwnedValue::Array(ValueType::F32, Vec::new())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.gguf");
    writer.write(&path).unwrap();

    let model = Checkpoint::open(&path, Access::Read).unwrap();
    let Config::Gguf(metadata) = model.config() else { panic!("not GGUF") };
    let expected = [
        Value::U8(200),
        Value::I8(-100),
        Value::U16(60_000),
        Value::I16(-30_000),
        Value::U32(u32::MAX),
        Value::I32(i32::MIN),
        Value::F32(0.1),
        Value::Bool(true),
        Value::Str("żółw"),
        Value::U64(u64::MAX),
        Value::I64(i64::MIN),
        Value::F64(0.1),
    ];
    let found: Vec<Value<'_>> = metadata.iter().take(12).map(|(_, value)| value.unwrap()).collect();
    assert_eq!(found, expected);
    let words: Vec<&str> = metadata.get_strings("words").unwrap().unwrap().map(Result::unwrap).collect();
    assert_eq!(words, ["żółw", ""]);
    assert_eq!(metadata.get_f32s("nothing").unwrap().unwrap().len(), 0);
}

#[test]
fn what_no_reader_would_accept_is_not_written() {
    let mut writer = GgufWriter::new();
    writer.metadata("k", 1u32).unwrap();
    let refused = |e: Option<lowbit_io::IoError>, part: &str| {
        let message = e.expect("refused").to_string();
        assert!(message.contains(part), "{message}");
    };
    refused(writer.metadata("k", 2u32).err(), "occurs twice");
    refused(writer.metadata("", 2u32).err(), "0 bytes");
    refused(writer.metadata("general.alignment", 3u32).err(), "power of two");
    let mixed = OwnedValue::Array(ValueType::U32, vec![OwnedValue::Bool(true)]);
    refused(writer.metadata("mixed", mixed).err(), "elements of type uint32");
    let q4 = Encoding::Blocks(BlockFormat::Q4_0);
    refused(writer.tensor("w", q4, &[2, 32], vec![0; 35]).err(), "36 bytes");
    refused(writer.tensor("w", q4, &[2, 33], vec![0; 36]).err(), "whole blocks");
    refused(writer.tensor("w", q4, &[], Vec::new()).err(), "whole blocks");
    refused(
        writer.tensor("w", Encoding::Blocks(BlockFormat::I2_S), &[1, 128], vec![0; 32]).err(),
        "number of its own",
    );
    refused(writer.write(std::path::Path::new("/nonexistent/x.gguf")).err(), "/nonexistent/x.gguf");
}
