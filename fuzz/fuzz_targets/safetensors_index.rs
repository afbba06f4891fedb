//! The header of a safetensors file, or the index of a sharded one: the first byte of a header is never `{`, because
//! no header is that long.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lowbit_format::Storage;
use lowbit_io::hf::{ShardIndex, parse_safetensors};

fuzz_target!(|data: &[u8]| {
    if data.first() == Some(&b'{') {
        if let Ok(index) = ShardIndex::parse(data) {
            assert!(index.tensors.values().all(|shard| *shard < index.shards.len()));
            assert!(index.shards.iter().all(|name| !name.contains(['/', '\\'])));
        }
    }
    if let Ok(tensors) = parse_safetensors(&Storage::from(data.to_vec())) {
        let mut end = tensors.first().map_or(data.len() as u64, |t| t.offset);
        for tensor in &tensors {
            assert_eq!(tensor.offset, end);
            end += tensor.bytes as u64;
        }
        assert_eq!(end, data.len() as u64);
    }
});
