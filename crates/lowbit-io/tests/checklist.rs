//! The points a hardened loader checks, each with files that break it: every one is refused with a sentence of its
//! own that names the field or tensor, what was found and what was expected.

mod craft;

use craft::*;
use lowbit_format::Storage;
use lowbit_io::{Access, Checkpoint, IoError, gguf::Gguf, hf};
use std::{fs, path::Path};

/// Asserts that a message has every one of some parts.
#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn the_crafted_file_is_valid_before_it_is_spoiled() {
    let gguf = valid().parse().unwrap();
    assert_eq!(gguf.tensors().len(), 2);
    assert_eq!(gguf.info("a").unwrap().dims, [2, 32]);
    assert_eq!(gguf.tensor("b").unwrap().shape().k, 32);
    assert_eq!(gguf.metadata().get_str("general.architecture").unwrap(), Some("llama"));
}

#[test]
fn point_1_magic_version_and_endianness() {
    says(&refusal_of(|f| f.magic = *b"GGUX"), &["the magic number", "GGUX", "GGUF"]);
    says(&refusal_of(|f| f.version = 1), &["version 1", "expected 2 or 3"]);
    says(&refusal_of(|f| f.version = 4), &["version 4", "newer"]);
    says(&refusal_of(|f| f.version = 3u32.swap_bytes()), &["big-endian", "little-endian"]);
    let mut two = valid();
    two.version = 2;
    assert_eq!(two.parse().unwrap().version(), 2);
}

#[test]
fn point_1_a_file_cut_anywhere_is_refused() {
    let whole = valid().bytes();
    // The last block ends 14 bytes before the file: only padding may be missing.
    for len in 0..whole.len() - 14 {
        let cut = Storage::from(whole[..len].to_vec());
        assert!(Gguf::parse(cut).is_err(), "cut to {len} of {} bytes", whole.len());
    }
    let cut = Gguf::parse(Storage::from(whole[..whole.len() - 20].to_vec())).unwrap_err();
    says(&cut.to_string(), &["file ends at byte", "tensor \"b\"", "download it again"]);
}

#[test]
fn point_2_counts_and_lengths_are_compared_with_the_bytes_left() {
    says(
        &refusal_of(|f| f.tensor_count = Some(u64::MAX)),
        &["a tensor count of 18446744073709551615", "at most"],
    );
    says(&refusal_of(|f| f.pair_count = Some(1 << 60)), &["a metadata pair count"]);
    let longest = u64::MAX.to_le_bytes().to_vec();
    says(
        &refusal_of(|f| f.pairs.push(pair("k", STRING, longest.clone()))),
        &["file ends at byte", "metadata field \"k\""],
    );
    for element in [U8, U32, STRING] {
        says(
            &refusal_of(|f| f.pairs.push(pair("k", ARRAY, array(element, u64::MAX / 3, &[])))),
            &["file ends at byte", "metadata field \"k\""],
        );
    }
}

#[test]
fn point_2_arrays_do_not_nest() {
    let inner = array(U8, 1, &[7]);
    says(
        &refusal_of(|f| f.pairs.push(pair("k", ARRAY, array(ARRAY, 1, &inner)))),
        &["metadata field \"k\"", "an array of arrays"],
    );
}

#[test]
fn point_2_names_are_short_unique_text() {
    says(&refusal_of(|f| f.pairs[0].key = vec![b'k'; 257]), &["the key of metadata pair 0", "257 bytes"]);
    says(&refusal_of(|f| f.pairs[0].key = Vec::new()), &["the key of metadata pair 0", "0 bytes"]);
    says(&refusal_of(|f| f.pairs[0].key = vec![0xff]), &["the key of metadata pair 0", "UTF-8"]);
    says(
        &refusal_of(|f| f.pairs.push(u32_pair("general.architecture", 1))),
        &["metadata key \"general.architecture\" occurs twice"],
    );
    says(&refusal_of(|f| f.tensors[1].name = vec![b't'; 257]), &["the name of tensor 1", "257 bytes"]);
    says(&refusal_of(|f| f.tensors[1].name = vec![0xc0]), &["the name of tensor 1", "UTF-8"]);
    says(&refusal_of(|f| f.tensors[1].name = b"a".to_vec()), &["tensor \"a\" occurs twice"]);
}

#[test]
fn point_3_dimensions_and_their_products_are_checked() {
    says(&refusal_of(|f| f.tensors[0].dims = vec![]), &["tensor \"a\"", "rank 0"]);
    says(&refusal_of(|f| f.tensors[0].dims = vec![1; 5]), &["tensor \"a\"", "rank 5", "rank 1 to 4"]);
    says(&refusal_of(|f| f.tensors[0].dims = vec![32, 0]), &["tensor \"a\"", "[32, 0]", "at least 1"]);
    for dims in [vec![1 << 32, 1 << 32], vec![u64::MAX], vec![1 << 62, 2, 2]] {
        says(&refusal_of(|f| f.tensors[0].dims = dims), &["tensor \"a\"", "product overflows"]);
    }
    says(
        &refusal_of(|f| f.tensors[1].dims = vec![33]),
        &["tensor \"b\"", "rows of 33 are no whole number of Q4_0 blocks of 32"],
    );
}

#[test]
fn point_3_offsets_that_wrap_are_refused() {
    says(&refusal_of(|f| f.tensors[1].offset = u64::MAX - 31), &["file ends at byte", "tensor \"b\""]);
    says(&refusal_of(|f| f.tensors[1].dims = vec![1 << 55]), &["file ends at byte", "tensor \"b\""]);
}

#[test]
fn point_4_alignment_has_its_type_and_a_sane_value() {
    let with = |value| refusal_of(|f| f.pairs.push(u32_pair("general.alignment", value)));
    for value in [0, 1, 4, 33, 1 << 21, u32::MAX] {
        says(
            &with(value),
            &["\"general.alignment\"", &value.to_string(), "a power of two from 8 to 1048576"],
        );
    }
    let as_u8 = refusal_of(|f| f.pairs.push(pair("general.alignment", U8, vec![32])));
    says(&as_u8, &["\"general.alignment\"", "uint8", "uint32"]);
    let mut aligned = valid();
    aligned.pairs.push(u32_pair("general.alignment", 64));
    aligned.alignment = 64;
    assert_eq!(aligned.parse().unwrap().tensors().len(), 2);
}

#[test]
fn point_5_tensors_lie_inside_the_file_and_apart() {
    says(&refusal_of(|f| f.tensors[1].offset = 255), &["tensor \"b\"", "byte 255", "alignment 32"]);
    says(&refusal_of(|f| f.tensors[1].offset = 224), &["\"a\" and \"b\" overlap at byte 224"]);
    says(&refusal_of(|f| f.tensors[1].offset = 0), &["overlap at byte 0"]);
    says(&refusal_of(|f| f.data.truncate(260)), &["file ends at byte", "tensor \"b\""]);
    let gap = refusal_of(|f| {
        f.tensors[1].offset = 320;
        f.data.resize(400, 0);
    });
    says(&gap, &["64 bytes before tensor \"b\"", "no tensor"]);
    let late = refusal_of(|f| {
        f.tensors.remove(0);
    });
    says(&late, &["256 bytes before tensor \"b\""]);
}

#[test]
fn point_5_unknown_types_are_refused_with_their_likely_origin() {
    says(
        &refusal_of(|f| f.tensors[1].number = 4),
        &["tensor \"b\"", "type number 4", "convert the original"],
    );
    says(&refusal_of(|f| f.tensors[1].number = 31), &["type number 31", "Q4_0"]);
    says(&refusal_of(|f| f.tensors[1].number = 137), &["type number 137", "ik_llama.cpp"]);
    says(&refusal_of(|f| f.tensors[1].number = u32::MAX), &["type number 4294967295", "damaged or newer"]);
}

#[test]
fn point_5_a_type_that_contradicts_the_spans_is_refused() {
    // 2 by 32 weights as f16 take 128 bytes, and 256 are there.
    says(&refusal_of(|f| f.tensors[0].number = 1), &["128 bytes before tensor \"b\""]);
}

/// A file of one tensor of 16 rows of 128 weights of the type, followed by an f32 vector.
fn dialect(number: u32, bytes: usize) -> Craft {
    let next = bytes.next_multiple_of(32) as u64;
    let mut craft = valid();
    craft.tensors = vec![tensor("w", &[128, 16], number, 0), tensor("v", &[8], 0, next)];
    craft.data = vec![0; next as usize + 32];
    craft
}

#[test]
fn point_5_dialects_are_told_apart_by_their_spans() {
    // 2048 weights: 18 bytes for 64, 34 for 128, 36 for 64, 6 for 32, 32 for 128 and a tail, 18 for 32.
    let rows = [
        (42, 2048 / 64 * 18, "q2_0"),
        (42, 2048 / 128 * 34, "q2_0_g128"),
        (142, 2048 / 128 * 34, "q2_0_g128"),
        (40, 2048 / 64 * 36, "nvfp4"),
        (40, 2048 / 32 * 6, "q1_0_g32"),
        (41, 2048 / 128 * 18, "q1_0"),
        (36, 2048 / 4 + 32, "i2_s"),
        (36, 2048 / 32 * 18, "iq4_nl_4_4"),
    ];
    for (number, bytes, label) in rows {
        let gguf = dialect(number, bytes).parse().unwrap_or_else(|e| panic!("{number} {label}: {e}"));
        assert_eq!(gguf.info("w").unwrap().encoding.label(), label);
        assert_eq!(gguf.info("w").unwrap().bytes, bytes);
    }
    let neither = dialect(42, 2048).refusal();
    says(&neither, &["type 42", "q2_0 (llama.cpp)", "q2_0_g128 (PrismML", "neither"]);
}

#[test]
fn point_5_the_last_tensor_tells_its_dialect_by_the_end_of_the_file() {
    for (bytes, label) in [(2048 / 64 * 18, "q2_0"), (2048 / 128 * 34, "q2_0_g128")] {
        let mut craft = valid();
        craft.tensors = vec![tensor("w", &[128, 16], 42, 0)];
        craft.data = vec![0; bytes];
        assert_eq!(craft.parse().unwrap().info("w").unwrap().encoding.label(), label);
    }
}

#[test]
fn point_5_an_ambiguous_dialect_is_refused() {
    // 128 weights take 36 or 34 bytes, both 64 once padded.
    let mut craft = valid();
    craft.tensors = vec![tensor("w", &[128], 42, 0), tensor("v", &[8], 0, 64)];
    craft.data = vec![0; 96];
    says(&craft.refusal(), &["type 42", "llama.cpp", "PrismML", "fit both"]);
    // A larger tensor of the same number settles it for both.
    craft.tensors.push(tensor("x", &[128, 16], 42, 96));
    craft.data = vec![0; 96 + 2048 / 128 * 34];
    assert_eq!(craft.parse().unwrap().info("w").unwrap().encoding.label(), "q2_0_g128");
}

#[test]
fn point_5_the_scale_of_i2_s_is_read_behind_its_codes() {
    let mut craft = dialect(36, 2048 / 4 + 32);
    craft.data[..512].fill(0b10_10_10_10);
    craft.data[512..516].copy_from_slice(&0.25f32.to_le_bytes());
    let tensor = craft.parse().unwrap().tensor("w").unwrap();
    let mut row = [0.0; 128];
    tensor.decode_row(15, &mut row);
    assert_eq!(row, [0.25; 128]);
    craft.data[512..516].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = craft.parse().unwrap().tensor("w").unwrap_err();
    says(&error.to_string(), &["the scale of tensor \"w\"", "NaN", "finite"]);
}

#[test]
fn point_6_metadata_is_read_by_its_declared_type_only() {
    let mut craft = valid();
    craft.pairs.extend([
        u32_pair("count", 7),
        pair("small", U8, vec![200]),
        pair("negative", I32, (-1i32).to_le_bytes().to_vec()),
        pair("base", F32, 1e4f32.to_le_bytes().to_vec()),
        pair("nan", F32, f32::NAN.to_le_bytes().to_vec()),
        pair("yes", BOOL, vec![1]),
        pair("maybe", BOOL, vec![2]),
        pair("bytes", ARRAY, array(U8, 4, &[1, 2, 3, 4])),
        pair("words", ARRAY, array(STRING, 2, &[text(b"ab"), text(b"")].concat())),
        pair("bad words", ARRAY, array(STRING, 1, &text(&[0xff]))),
    ]);
    let gguf = craft.parse().unwrap();
    let m = gguf.metadata();
    assert_eq!((m.get_u32("count").unwrap(), m.get_u64("small").unwrap()), (Some(7), Some(200)));
    assert_eq!((m.get_f32("base").unwrap(), m.get_bool("yes").unwrap()), (Some(1e4), Some(true)));
    assert_eq!((m.get_u32("absent").unwrap(), m.get_str("absent").unwrap()), (None, None));
    let words: Vec<&str> = m.get_strings("words").unwrap().unwrap().map(Result::unwrap).collect();
    assert_eq!(words, ["ab", ""]);
    assert_eq!(m.get_bytes("bytes").unwrap(), Some(&[1, 2, 3, 4][..]));

    let refused = |e: IoError, parts: &[&str]| says(&e.to_string(), parts);
    refused(m.get_str("count").unwrap_err(), &["\"count\"", "uint32", "string"]);
    refused(m.get_f32("count").unwrap_err(), &["\"count\"", "uint32", "float32"]);
    refused(m.get_u32("base").unwrap_err(), &["\"base\"", "float32", "integer"]);
    refused(m.get_u32("negative").unwrap_err(), &["\"negative\"", "-1", "expected 0 to 4294967295"]);
    refused(m.get_f32("nan").unwrap_err(), &["\"nan\"", "NaN", "finite"]);
    refused(m.get_bool("maybe").unwrap_err(), &["\"maybe\"", "bool 2", "0 or 1"]);
    // The element type is part of the type: an array of bytes is no array of numbers or words.
    refused(m.get_f32s("bytes").err().unwrap(), &["\"bytes\"", "an array of uint8", "an array of float32"]);
    refused(m.get_i64s("words").err().unwrap(), &["\"words\"", "an array of string"]);
    refused(m.get_bytes("words").err().unwrap(), &["\"words\"", "an array of string", "uint8"]);
    refused(m.get_strings("bytes").err().unwrap(), &["\"bytes\"", "an array of uint8"]);
    let bad = m.get_strings("bad words").unwrap().unwrap().next().unwrap().unwrap_err();
    refused(bad, &["array element 0", "UTF-8"]);
    let unknown = refusal_of(|f| f.pairs.push(pair("k", 13, vec![0; 8])));
    says(&unknown, &["metadata field \"k\"", "value type 13"]);
}

#[test]
fn point_6_hyper_parameters_are_range_checked() {
    let mut craft = valid();
    craft.pairs.push(u32_pair("llama.block_count", 1 << 20));
    craft.pairs.push(pair("llama.rope.freq_base", F32, (-1f32).to_le_bytes().to_vec()));
    let gguf = craft.parse().unwrap();
    let layers = gguf.metadata().get_integer("llama.block_count", 1..=4096).unwrap_err();
    says(&layers.to_string(), &["\"llama.block_count\"", "1048576", "expected 1 to 4096"]);
    let base = gguf.metadata().get_f32_in("llama.rope.freq_base", 1.0..=1e9).unwrap_err();
    says(&base.to_string(), &["\"llama.rope.freq_base\"", "-1", "expected 1 to"]);
}

#[test]
fn point_6_llama2c_numbers_are_range_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    let open = |numbers, floats| {
        fs::write(&path, llama2c(numbers, floats)).unwrap();
        lowbit_io::llama2c::Llama2c::open(&path, Access::Map)
    };
    assert_eq!(open(LLAMA2C, LLAMA2C_FLOATS).unwrap().tensors().len(), 2 * 9 + 2);
    let spoiled = |at: usize, value| {
        let mut numbers = LLAMA2C;
        numbers[at] = value;
        open(numbers, LLAMA2C_FLOATS).unwrap_err().to_string()
    };
    says(&spoiled(0, -8), &["dim of the llama2.c header", "-8", "expected 1 to 65536"]);
    says(&spoiled(2, i32::MAX), &["n_layers", "2147483647", "expected 1 to 1024"]);
    says(&spoiled(3, 3), &["n_heads", "3", "a divisor of 8"]);
    says(&spoiled(4, 0), &["n_kv_heads", "0"]);
    says(&spoiled(5, i32::MIN), &["vocab_size", "-2147483648"]);
    says(
        &open(LLAMA2C, LLAMA2C_FLOATS - 1).unwrap_err().to_string(),
        &["file ends at byte", "download it again"],
    );
    says(
        &open(LLAMA2C, LLAMA2C_FLOATS + 1).unwrap_err().to_string(),
        &["the length of the file", "by its header"],
    );
}

#[test]
fn point_8_weights_that_are_not_finite_are_found_by_name() {
    let mut craft = valid();
    craft.data[4 * 33..4 * 34].copy_from_slice(&f32::INFINITY.to_le_bytes());
    craft.data[256..258].copy_from_slice(&half::f16::NAN.to_le_bytes());
    let checkpoint = Checkpoint::Gguf(craft.parse().unwrap());
    let faults = checkpoint.check_tensors().unwrap();
    assert_eq!(faults.len(), 2);
    says(&faults[0].to_string(), &["tensor \"a\"", "1 weights", "row 1, column 1"]);
    says(&faults[1].to_string(), &["tensor \"b\"", "32 weights", "row 0, column 0"]);
    let sound = Checkpoint::Gguf(valid().parse().unwrap());
    assert_eq!(sound.check_tensors().unwrap(), []);
}

/// One shard of a set: a tensor of its own name and the fields of a split file.
fn shard(no: u16, count: u16, tensors: i32) -> Craft {
    let mut craft = valid();
    craft.pairs.extend([
        pair("split.no", 2, no.to_le_bytes().to_vec()),
        pair("split.count", 2, count.to_le_bytes().to_vec()),
        pair("split.tensors.count", I32, tensors.to_le_bytes().to_vec()),
    ]);
    craft.tensors = vec![tensor(&format!("t{no}"), &[8], 0, 0)];
    craft.data = vec![no as u8; 32];
    craft
}

fn write_set(folder: &Path, shards: &[Craft]) {
    for (i, shard) in shards.iter().enumerate() {
        let name = format!("m-{:05}-of-{:05}.gguf", i + 1, shards.len());
        fs::write(folder.join(name), shard.bytes()).unwrap();
    }
}

#[test]
fn point_9_a_set_of_shards_opens_from_any_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path(), &[shard(0, 2, 2), shard(1, 2, 2)]);
    for name in ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "."] {
        let set = Checkpoint::open(&folder.path().join(name), Access::Map).unwrap();
        let names: Vec<&str> = set.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["t0", "t1"]);
        assert_eq!(set.raw("t1").unwrap().bytes.bytes(), [1; 32]);
        assert_eq!(set.files().count(), 2);
    }
}

#[test]
fn point_9_shards_that_do_not_belong_together_are_refused() {
    let refusal = |shards: &[Craft]| {
        let folder = tempfile::tempdir().unwrap();
        write_set(folder.path(), shards);
        let path = folder.path().join(format!("m-00001-of-{:05}.gguf", shards.len()));
        Checkpoint::open(&path, Access::Map).unwrap_err().to_string()
    };
    says(&refusal(&[shard(0, 2, 2), shard(0, 2, 2)]), &["shard 2", "file 1 of 2", "expected 2 of 2"]);
    says(&refusal(&[shard(0, 2, 2), shard(1, 3, 2)]), &["shard 2", "file 2 of 3"]);
    says(&refusal(&[shard(0, 2, 2), shard(1, 2, 5)]), &["shard 2", "another set", "split.tensors.count"]);
    says(&refusal(&[shard(0, 2, 9), shard(1, 2, 9)]), &["announces 9 tensors", "list 2"]);
    let mut other = shard(1, 2, 2);
    other.pairs[0] = pair("general.architecture", STRING, text(b"qwen2"));
    says(&refusal(&[shard(0, 2, 2), other]), &["shard 2", "general.architecture"]);
    let mut twice = shard(1, 2, 2);
    twice.tensors[0].name = b"t0".to_vec();
    says(&refusal(&[shard(0, 2, 2), twice]), &["tensor \"t0\" occurs twice"]);
    let plain = valid();
    says(&refusal(&[shard(0, 2, 3), plain]), &["shard 2", "split.count is missing"]);
    says(&refusal_of(|f| f.pairs.push(u32_pair("split.count", 1 << 30))), &["\"split.count\"", "1073741824"]);
}

#[test]
fn point_9_a_missing_or_renamed_shard_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path(), &[shard(0, 2, 2), shard(1, 2, 2)]);
    let first = folder.path().join("m-00001-of-00002.gguf");
    let renamed = folder.path().join("m.gguf");
    fs::copy(&first, &renamed).unwrap();
    let error = Checkpoint::open(&renamed, Access::Map).unwrap_err().to_string();
    says(&error, &["m.gguf", "must be named NAME-00001-of-00002.gguf"]);
    fs::remove_file(folder.path().join("m-00002-of-00002.gguf")).unwrap();
    let error = Checkpoint::open(&first, Access::Map).unwrap_err().to_string();
    says(&error, &["m-00002-of-00002.gguf", "cannot open"]);
}

#[cfg(unix)]
#[test]
fn point_9_a_shard_that_links_elsewhere_is_refused() {
    use std::os::unix::fs::symlink;
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_set(folder.path(), &[shard(0, 2, 2), shard(1, 2, 2)]);
    let second = folder.path().join("m-00002-of-00002.gguf");
    fs::rename(&second, outside.path().join("secret")).unwrap();
    symlink(outside.path().join("secret"), &second).unwrap();
    let error = Checkpoint::open(&folder.path().join("m-00001-of-00002.gguf"), Access::Map).unwrap_err();
    says(&error.to_string(), &["m-00002-of-00002.gguf", "a link out of the folder"]);
}

const TENSOR_A: &str = r#""a":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]}"#;
const TENSOR_B: &str = r#""b":{"dtype":"BF16","shape":[4],"data_offsets":[32,40]}"#;

fn safetensors_refusal(entries: &str, data: usize) -> String {
    let bytes = safetensors(&format!("{{{entries}}}"), &vec![0; data]);
    hf::parse_safetensors(&Storage::from(bytes)).unwrap_err().to_string()
}

#[test]
fn point_10_safetensors_headers_are_checked() {
    let whole =
        safetensors(&format!(r#"{{"__metadata__":{{"format":"pt"}},{TENSOR_A},{TENSOR_B}}}"#), &[0; 40]);
    let tensors = hf::parse_safetensors(&Storage::from(whole.clone())).unwrap();
    assert_eq!(tensors.iter().map(|t| t.bytes).collect::<Vec<_>>(), [32, 8]);
    for len in 0..whole.len() {
        assert!(hf::parse_safetensors(&Storage::from(whole[..len].to_vec())).is_err(), "cut to {len}");
    }
    let cut = hf::parse_safetensors(&Storage::from(whole[..whole.len() - 1].to_vec())).unwrap_err();
    says(&cut.to_string(), &["file ends at byte", "tensor \"b\"", "download it again"]);

    let huge = [&(1u64 << 40).to_le_bytes()[..], &[0; 16]].concat();
    let huge = hf::parse_safetensors(&Storage::from(huge)).unwrap_err().to_string();
    says(&huge, &["safetensors header", "1099511627776", "at most 100000000"]);

    says(&safetensors_refusal(&format!("{TENSOR_A},{TENSOR_A}"), 32), &["tensor \"a\" occurs twice"]);
    let gap = r#""b":{"dtype":"BF16","shape":[4],"data_offsets":[34,42]}"#;
    says(&safetensors_refusal(&format!("{TENSOR_A},{gap}"), 42), &["tensor \"b\"", "a gap or an overlap"]);
    let overlap = r#""b":{"dtype":"BF16","shape":[4],"data_offsets":[30,38]}"#;
    says(
        &safetensors_refusal(&format!("{TENSOR_A},{overlap}"), 38),
        &["tensor \"b\"", "a gap or an overlap"],
    );
    says(&safetensors_refusal(TENSOR_B, 40), &["tensor \"b\"", "a gap or an overlap"]);
    says(&safetensors_refusal(TENSOR_A, 40), &["8 bytes after the last tensor"]);
    let short = r#""a":{"dtype":"F32","shape":[2,4],"data_offsets":[0,28]}"#;
    says(&safetensors_refusal(short, 28), &["tensor \"a\"", "offsets 0 to 28", "32 bytes"]);
    let backwards = r#""a":{"dtype":"F32","shape":[2,4],"data_offsets":[32,0]}"#;
    says(&safetensors_refusal(backwards, 32), &["tensor \"a\"", "offsets 32 to 0"]);
    let wraps = r#""a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}"#;
    says(&safetensors_refusal(wraps, 0), &["tensor \"a\"", "product overflows"]);
    let deep = r#""a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}"#;
    says(&safetensors_refusal(deep, 4), &["at most 8 dimensions"]);
    let extra = r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"code":"x"}"#;
    says(&safetensors_refusal(extra, 4), &["unknown field `code`"]);
    let many: Vec<String> =
        (0..100_001).map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#)).collect();
    says(&safetensors_refusal(&many.join(","), 0), &["more than 100000 tensors"]);
}

#[test]
fn point_10_an_index_names_only_files_beside_it() {
    let refusal = |shard: &str| {
        let json = serde_json::json!({"weight_map": {"a": shard}}).to_string();
        hf::ShardIndex::parse(json.as_bytes()).unwrap_err().to_string()
    };
    for name in ["../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "a\\b.safetensors"] {
        says(&refusal(name), &["safetensors index", "a path separator", "only files beside it"]);
    }
    says(&refusal("c:x.safetensors"), &["a character that no checkpoint file has"]);
    says(&refusal(".."), &["is no file name"]);
    says(&refusal("x.bin"), &["\"x.bin\"", "is no .safetensors file"]);
    let twice = br#"{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}"#;
    says(&hf::ShardIndex::parse(twice).unwrap_err().to_string(), &["tensor \"a\" occurs twice"]);
    says(&hf::ShardIndex::parse(b"{}").unwrap_err().to_string(), &["weight_map"]);
    let deep = format!("{{\"metadata\":{}", "[".repeat(100_000));
    says(&hf::ShardIndex::parse(deep.as_bytes()).unwrap_err().to_string(), &["the safetensors index"]);
}

/// A folder with a config, an index and two shards.
fn hf_folder(folder: &Path) {
    fs::write(folder.join("config.json"), r#"{"model_type":"llama"}"#).unwrap();
    let map = r#"{"weight_map":{"a":"x-1.safetensors","c":"x-2.safetensors"}}"#;
    fs::write(folder.join("model.safetensors.index.json"), map).unwrap();
    let one = safetensors(&format!("{{{TENSOR_A}}}"), &[0; 32]);
    let two = safetensors(r#"{"c":{"dtype":"U8","shape":[4,2],"data_offsets":[0,8]}}"#, &[5; 8]);
    fs::write(folder.join("x-1.safetensors"), one).unwrap();
    fs::write(folder.join("x-2.safetensors"), two).unwrap();
}

#[test]
fn point_10_a_folder_of_shards_opens_and_matches_its_index() {
    let folder = tempfile::tempdir().unwrap();
    hf_folder(folder.path());
    let model = Checkpoint::open(folder.path(), Access::Map).unwrap();
    assert_eq!(model.tensor("a").unwrap().shape(), lowbit_format::NK { n: 2, k: 4 });
    // Packed weights are there raw and refused as weights.
    let raw = model.raw("c").unwrap();
    assert_eq!((raw.dtype, &raw.dims[..], raw.bytes.bytes()), ("u8", &[4, 2][..], &[5; 8][..]));
    says(&model.tensor("c").unwrap_err().to_string(), &["tensor \"c\"", "u8", "quantizer packed them"]);
    says(&model.tensor("d").unwrap_err().to_string(), &["tensor \"d\" is missing"]);

    let map = r#"{"weight_map":{"a":"x-2.safetensors","c":"x-1.safetensors"}}"#;
    fs::write(folder.path().join("model.safetensors.index.json"), map).unwrap();
    let error = Checkpoint::open(folder.path(), Access::Map).unwrap_err().to_string();
    says(&error, &["x-2.safetensors", "tensor \"a\"", "which is in x-1.safetensors"]);
    let map = r#"{"weight_map":{"a":"x-1.safetensors","gone":"x-2.safetensors"}}"#;
    fs::write(folder.path().join("model.safetensors.index.json"), map).unwrap();
    let error = Checkpoint::open(folder.path(), Access::Map).unwrap_err().to_string();
    says(&error, &["tensor \"gone\"", "which no shard does"]);
}

#[cfg(unix)]
#[test]
fn point_10_links_lead_only_into_the_hub_cache_of_the_same_model() {
    use std::os::unix::fs::symlink;
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("models--org--name/snapshots/0123");
    let blobs = cache.path().join("models--org--name/blobs");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(&blobs).unwrap();
    hf_folder(&blobs);
    for name in ["config.json", "model.safetensors.index.json", "x-1.safetensors", "x-2.safetensors"] {
        symlink(Path::new("../../blobs").join(name), snapshot.join(name)).unwrap();
    }
    Checkpoint::open(&snapshot, Access::Map).unwrap();

    // The same blob in another model's folder, or anywhere else, is out of reach.
    let other = cache.path().join("models--org--other/blobs");
    fs::create_dir_all(&other).unwrap();
    fs::rename(blobs.join("x-2.safetensors"), other.join("x-2.safetensors")).unwrap();
    fs::remove_file(snapshot.join("x-2.safetensors")).unwrap();
    symlink(other.join("x-2.safetensors"), snapshot.join("x-2.safetensors")).unwrap();
    let error = Checkpoint::open(&snapshot, Access::Map).unwrap_err().to_string();
    says(&error, &["x-2.safetensors", "a link out of the folder"]);

    // Outside a hub cache the parent folders are out of reach too.
    let plain = cache.path().join("plain/snapshots/0123");
    fs::create_dir_all(&plain).unwrap();
    fs::create_dir_all(cache.path().join("plain/blobs")).unwrap();
    hf_folder(&cache.path().join("plain/blobs"));
    symlink("../../blobs/config.json", plain.join("config.json")).unwrap();
    let error = Checkpoint::open(&plain, Access::Map).unwrap_err().to_string();
    says(&error, &["config.json", "a link out of the folder"]);
}

#[test]
fn point_10_a_configuration_has_limits() {
    let folder = tempfile::tempdir().unwrap();
    hf_folder(folder.path());
    let config = folder.path().join("config.json");
    let refusal = |content: &[u8]| {
        fs::write(&config, content).unwrap();
        Checkpoint::open(folder.path(), Access::Map).unwrap_err().to_string()
    };
    says(&refusal(&vec![b' '; (1 << 20) + 1]), &["config.json", "1048577", "at most 1048576"]);
    says(&refusal("[".repeat(1000).as_bytes()), &["config.json", "recursion limit"]);
    says(&refusal(b"[]"), &["config.json", "expected an object"]);
    says(&refusal(b"{\"a\":"), &["config.json", "EOF"]);
}

#[test]
fn point_11_pickles_are_refused_and_never_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    fs::write(folder.path().join("pytorch_model.bin"), b"\x80\x02}q\x00.").unwrap();
    let error = Checkpoint::open(folder.path(), Access::Map).unwrap_err().to_string();
    says(&error, &["pytorch_model.bin", "pickle", "can run code", "safetensors"]);
    let error = Checkpoint::open(&folder.path().join("pytorch_model.bin"), Access::Map).unwrap_err();
    says(&error.to_string(), &["pickle", "can run code"]);
    fs::write(folder.path().join("model.gguf"), b"PK\x03\x04rest").unwrap();
    let error = Gguf::open(&folder.path().join("model.gguf"), Access::Map).unwrap_err().to_string();
    says(&error, &["model.gguf", "zip archive"]);
}

#[test]
fn point_13_a_file_that_changed_after_opening_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for access in [Access::Map, Access::Read] {
        fs::write(&path, valid().bytes()).unwrap();
        let model = Checkpoint::open(&path, access).unwrap();
        model.check_unchanged().unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(64).unwrap();
        let error = model.check_unchanged().unwrap_err().to_string();
        says(&error, &["model.gguf", "now", "another program"]);
    }
}

#[test]
fn point_13_without_mapping_a_truncated_file_cannot_hurt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut craft = valid();
    craft.data.fill(1);
    fs::write(&path, craft.bytes()).unwrap();
    let model = Checkpoint::open(&path, Access::Read).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert_eq!(model.raw("a").unwrap().bytes.bytes(), [1; 256]);
}

#[test]
fn files_under_a_wrong_name_are_told_for_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let rows: [(&[u8], &str); 8] = [
        (b"", "the file is empty"),
        (&[0; 4096], "zero bytes"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\n <HTML>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"Entry not found", "an error message of a model hub"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"tjgg\x01\0\0\0", "before GGUF"),
    ];
    for (content, part) in rows {
        fs::write(&path, content).unwrap();
        for error in
            [Checkpoint::open(&path, Access::Map).unwrap_err(), Gguf::open(&path, Access::Read).unwrap_err()]
        {
            says(&error.to_string(), &["model.gguf", part]);
        }
    }
    fs::write(&path, b"hello world, this is some text").unwrap();
    says(
        &Checkpoint::open(&path, Access::Map).unwrap_err().to_string(),
        &["not a checkpoint", "30 bytes", "hello"],
    );
    says(
        &Checkpoint::open(folder.path().join("x").as_path(), Access::Map).unwrap_err().to_string(),
        &["cannot open"],
    );
    let single = safetensors(&format!("{{{TENSOR_A},{TENSOR_B}}}"), &[0; 40]);
    fs::write(&path, single).unwrap();
    says(&Checkpoint::open(&path, Access::Map).unwrap_err().to_string(), &["a single safetensors file"]);
}

#[test]
fn a_header_length_that_looks_like_another_format_is_still_a_header_length() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    // The lengths are those that begin as pickles and gzip files do.
    for length in [0x0280, 0x0480, 0x8b1f, 0x08_8b1f] {
        let header = format!("{{{TENSOR_A}}}");
        let padded = format!("{header}{}", " ".repeat(length - header.len()));
        fs::write(folder.path().join("model.safetensors"), safetensors(&padded, &[0; 32])).unwrap();
        let model = Checkpoint::open(folder.path(), Access::Map).unwrap();
        assert_eq!(model.tensors().len(), 1, "{length:#x}");
    }
    // A llama2.c model begins with its width: 640 is a pickle's first two bytes.
    let path = folder.path().join("model.bin");
    let floats = 640 * 10 + 640 * 3 + 4 * 640 * 640 + 3 * 640 + 2 * 320;
    fs::write(&path, llama2c([640, 1, 1, 1, 1, 10, 1], floats)).unwrap();
    assert_eq!(Checkpoint::open(&path, Access::Map).unwrap().kind(), "llama2.c");
}

#[test]
fn a_folder_of_one_model_opens_and_of_several_lists_them() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = || Checkpoint::open(folder.path(), Access::Map).unwrap_err().to_string();
    says(&refusal(), &["neither config.json nor a .gguf file"]);
    fs::write(folder.path().join("house-of-cards.gguf"), valid().bytes()).unwrap();
    assert_eq!(Checkpoint::open(folder.path(), Access::Map).unwrap().kind(), "gguf");
    fs::write(folder.path().join("b.gguf"), valid().bytes()).unwrap();
    says(&refusal(), &["several GGUF models", "b.gguf, house-of-cards.gguf"]);
}
