//! How much memory opening takes, counted by the allocator: next to none, whatever a file announces.

mod craft;

use craft::*;
use lowbit_format::Storage;
use lowbit_io::{Access, Checkpoint, container::Container, gguf::Gguf, hf, llama2c::Llama2c};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    path::PathBuf,
};

/// Counts the bytes that the current thread holds and the most it has held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that is ending has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting allocates nothing (the counters are
// const-initialized cells without destructors).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks may exist for a moment.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes held above those at the start while `f` runs.
fn peak<T>(f: impl FnOnce() -> T) -> (isize, T) {
    let before = HELD.get();
    PEAK.set(before);
    let out = f();
    (PEAK.get() - before, out)
}

#[test]
fn the_counter_counts() {
    let (most, v) = peak(|| vec![0u8; 1 << 20]);
    assert!((1 << 20..1 << 21).contains(&most), "{most}");
    drop(v);
}

const MIB: isize = 1 << 20;

#[test]
fn a_24_byte_gguf_cannot_allocate_a_megabyte() {
    let counts = [0u64, 1, 255, 1 << 16, 1 << 24, 1 << 31, 1 << 32, 1 << 40, i64::MAX as u64, u64::MAX];
    for tensors in counts {
        for pairs in counts {
            let mut bytes = b"GGUF\x03\0\0\0".to_vec();
            bytes.extend(tensors.to_le_bytes());
            bytes.extend(pairs.to_le_bytes());
            assert_eq!(bytes.len(), 24);
            let storage = Storage::from(bytes);
            let (most, result) = peak(|| Gguf::parse(storage));
            assert_eq!(result.is_ok(), (tensors, pairs) == (0, 0), "{tensors} {pairs}");
            assert!(most < MIB / 16, "{tensors} tensors, {pairs} pairs: {most} bytes");
        }
    }
}

#[test]
fn small_files_with_huge_lengths_inside_cannot_allocate_a_megabyte() {
    for huge in [1u64 << 24, 1 << 31, 1 << 40, u64::MAX / 8, u64::MAX] {
        let spoils: [&dyn Fn(&mut Craft); 6] = [
            &|f| f.tensor_count = Some(huge),
            &|f| f.pair_count = Some(huge),
            &|f| f.pairs.push(pair("k", STRING, huge.to_le_bytes().to_vec())),
            &|f| f.pairs.push(pair("k", ARRAY, array(STRING, huge, &[0; 64]))),
            &|f| f.pairs.push(pair("k", ARRAY, array(U32, huge, &[0; 64]))),
            &|f| f.tensors[0].dims = vec![huge & !31],
        ];
        for (i, spoil) in spoils.iter().enumerate() {
            let mut craft = valid();
            spoil(&mut craft);
            let storage = Storage::from(craft.bytes());
            let (most, result) = peak(|| Gguf::parse(storage));
            assert!(result.is_err(), "spoil {i} with {huge}");
            assert!(most < MIB / 16, "spoil {i} with {huge}: {most} bytes");
        }
        let header = [&huge.to_le_bytes()[..], &[b'{'; 16]].concat();
        let (most, result) = peak(|| hf::parse_safetensors(&Storage::from(header)));
        assert!(result.is_err() && most < MIB / 16, "safetensors with {huge}: {most} bytes");
    }
    for at in 0..7 {
        let mut numbers = LLAMA2C;
        numbers[at] = i32::MAX;
        let bytes = llama2c(numbers, 0);
        let (most, result) = peak(|| Llama2c::parse(Storage::from(bytes)));
        assert!(result.is_err() && most < MIB / 16, "llama2.c number {at}: {most} bytes");
    }
    let largest = llama2c([1 << 16, 1 << 18, 1 << 10, 1, 1, -(1 << 20), 1 << 20], 0);
    let (most, result) = peak(|| Llama2c::parse(Storage::from(largest)));
    assert!(result.is_err() && most < MIB / 16, "the largest llama2.c header: {most} bytes");
}

#[test]
fn a_container_cannot_allocate_for_what_it_announces() {
    for huge in [1u64 << 24, 1 << 31, 1 << 40, i64::MAX as u64, u64::MAX] {
        for spec in ["q4_0", "int1-sym-g4", "int4-asym-g32-int6-g256", "ternary-tensor-f32"] {
            for shape in [format!("{huge},32"), format!("1,{}", huge & !255), format!("{huge},{huge},{huge}")]
            {
                let tensors = format!(r#"{{\"w\":{{\"spec\":\"{spec}\",\"shape\":[{shape}]}}}}"#);
                let header = format!(
                    r#"{{"__metadata__":{{"lowbit.version":"1","lowbit.config":"{{}}","lowbit.tensors":"{tensors}"}}}}"#
                );
                let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
                let (most, result) = peak(|| Container::parse(Storage::from(bytes)));
                let error = result.map(|_| ()).unwrap_err().to_string();
                assert!(error.contains('w'), "{error}");
                assert!(most < MIB / 16, "{spec} of {shape}: {most} bytes");
            }
        }
    }
}

#[test]
fn opening_a_real_model_takes_less_than_a_megabyte() {
    let Some(folder) = std::env::var_os("LOWBIT_MODELS").map(PathBuf::from) else {
        println!("skipped: LOWBIT_MODELS does not name a folder with the models");
        return;
    };
    for name in ["smollm2.gguf", "gemma3-270m.gguf", "qwen2.5-coder-0.5b.gguf"] {
        let path = folder.join(name);
        if !path.exists() {
            println!("skipped: {name} is not in LOWBIT_MODELS");
            continue;
        }
        let start = std::time::Instant::now();
        let (most, model) = peak(|| Checkpoint::open(&path, Access::Map).unwrap());
        println!(
            "{name}: {} bytes, opened in {:?} with {most} bytes of heap",
            model.file_bytes(),
            start.elapsed()
        );
        assert!(most < MIB, "{name}: {most} bytes");
    }
}
