//! Laws of the decoder and of the cache that hold for every model.

use super::tiny;
use lowbit_kernels::{Ctx, Isa, MatMut, MatRef};
use lowbit_model::{Decoder, KvElement, KvStore, Logits, ModelError, Sequence, Work, kv::Float};
use lowbit_testing::{GoldenCase, golden_case, golden_cases, max_relative_error, normal};

/// Tokens for a cache: dynamic rope scaling allows for no more than 32.
fn room(decoder: &Decoder) -> usize {
    decoder.spec().longest().min(64)
}

fn run(decoder: &Decoder, pieces: &[&[u32]], element: KvElement, threads: usize) -> Vec<f32> {
    let ctx = Ctx::new(Isa::detect(), threads);
    let mut cache = decoder.cache(room(decoder), element).unwrap();
    let (mut all, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        decoder.forward(&ctx, piece, &mut cache, Logits::All, &mut out).unwrap();
        all.extend_from_slice(&out);
    }
    all
}

#[test]
fn logits_have_the_same_bits_whatever_the_threads_and_however_the_prompt_is_cut() {
    for case in golden_cases() {
        let decoder = tiny::decoder(&case);
        let tokens = &case.tokens;
        let whole = run(&decoder, &[tokens], KvElement::F16, 1);
        assert_eq!(whole, run(&decoder, &[tokens], KvElement::F16, 3), "{}: threads", case.name);
        let cut = [&tokens[..5], &tokens[5..6], &tokens[6..]];
        assert_eq!(whole, run(&decoder, &cut, KvElement::F16, 2), "{}: cut", case.name);
    }
}

#[test]
fn asking_for_fewer_logits_gives_the_same_ones() {
    let ctx = Ctx::new(Isa::detect(), 2);
    for case in golden_cases() {
        let decoder = tiny::decoder(&case);
        let (vocab, tokens) = (decoder.spec().vocab, &case.tokens[..20]);
        let count = tokens.len();
        let all = run(&decoder, &[tokens], KvElement::F32, 2);
        for (want, from) in [
            (Logits::None, count),
            (Logits::Last, count - 1),
            (Logits::From(9), 9),
            (Logits::From(count), count),
        ] {
            let (mut cache, mut out) = (decoder.cache(room(&decoder), KvElement::F32).unwrap(), vec![1.0]);
            decoder.forward(&ctx, tokens, &mut cache, want, &mut out).unwrap();
            assert_eq!(out, all[from * vocab..], "{} {want:?}", case.name);
            assert_eq!(cache.len(), count);
            // The cache must be as full as after a pass with all logits.
            decoder.forward(&ctx, &[3], &mut cache, Logits::Last, &mut out).unwrap();
            let after = run(&decoder, &[tokens, &[3]], KvElement::F32, 2);
            assert_eq!(out, after[count * vocab..], "{} after {want:?}", case.name);
        }
    }
}

#[test]
fn streams_are_kept_after_every_block_and_change_no_logits() {
    let ctx = Ctx::new(Isa::detect(), 2);
    for case in golden_cases() {
        let decoder = tiny::decoder(&case);
        let (hidden, blocks) = (decoder.spec().hidden, decoder.spec().blocks.len());
        let streams = |tokens: &[u32], cut: usize, want| {
            let mut cache = decoder.cache(room(&decoder), KvElement::F32).unwrap();
            let mut out = Vec::new();
            decoder.forward(&ctx, &tokens[..cut], &mut cache, Logits::All, &mut out).unwrap();
            cache.streams = Some(vec![1.0]);
            decoder.forward(&ctx, &tokens[cut..], &mut cache, want, &mut out).unwrap();
            (cache.streams.take().unwrap(), out)
        };
        let whole = streams(&case.tokens, 0, Logits::All);
        let count = case.tokens.len();
        assert_eq!(whole.0.len(), blocks * count * hidden, "{}", case.name);
        assert_eq!(whole.1, run(&decoder, &[&case.tokens], KvElement::F32, 2), "{}", case.name);
        let rest = streams(&case.tokens, 5, Logits::All).0;
        for block in 0..blocks {
            let of = |all: &[f32], tokens: usize, skip: usize| {
                all[block * tokens * hidden..][skip * hidden..tokens * hidden].to_vec()
            };
            assert_eq!(of(&whole.0, count, 5), of(&rest, count - 5, 0), "{} block {block}", case.name);
            let before =
                block.checked_sub(1).map(|before| &whole.0[before * count * hidden..][..count * hidden]);
            assert_ne!(before, Some(&whole.0[block * count * hidden..][..count * hidden]), "{}", case.name);
        }
        let last = streams(&case.tokens, 0, Logits::Last).0;
        assert_eq!(last.len(), ((blocks - 1) * count + 1) * hidden, "{}", case.name);
        assert_eq!(last[last.len() - hidden..], whole.0[whole.0.len() - hidden..], "{}", case.name);
    }
}

#[test]
fn a_truncated_cache_continues_as_if_the_rest_had_never_been() {
    let ctx = Ctx::new(Isa::detect(), 2);
    for case in golden_cases() {
        let decoder = tiny::decoder(&case);
        let mut cache = decoder.cache(room(&decoder), KvElement::F32).unwrap();
        let mut out = Vec::new();
        decoder.forward(&ctx, &case.tokens, &mut cache, Logits::None, &mut out).unwrap();
        cache.truncate(11);
        assert_eq!(cache.len(), 11);
        decoder.forward(&ctx, &[5, 6, 7], &mut cache, Logits::All, &mut out).unwrap();
        let straight = run(&decoder, &[&case.tokens[..11], &[5, 6, 7]], KvElement::F32, 2);
        assert_eq!(out, straight[11 * decoder.spec().vocab..], "{}", case.name);
    }
}

#[test]
fn sequences_in_a_batch_get_the_bits_they_get_alone() {
    for case in golden_cases() {
        let decoder = tiny::decoder(&case);
        let (capacity, vocab) = (room(&decoder), decoder.spec().vocab);
        // What each holds before, what it brings, and from which of its tokens on logits are wanted.
        let tokens = &case.tokens[..20];
        let asked = [
            (0, 0..9, Logits::Last, 8),
            (7, 7..8, Logits::Last, 7),
            (3, 3..8, Logits::None, 8),
            (0, 2..5, Logits::All, 2),
            (1, 1..20, Logits::From(17), 18),
        ];
        for threads in [1, 3] {
            let ctx = Ctx::new(Isa::detect(), threads);
            let mut out = Vec::new();
            let mut caches: Vec<_> = asked
                .iter()
                .map(|(held, ..)| {
                    let mut cache = decoder.cache(capacity, KvElement::F16).unwrap();
                    decoder.forward(&ctx, &tokens[..*held], &mut cache, Logits::None, &mut out).unwrap();
                    cache
                })
                .collect();
            let sequences = asked.iter().zip(&mut caches);
            let mut sequences: Vec<Sequence<'_>> = sequences
                .map(|((_, range, want, _), cache)| Sequence {
                    tokens: &tokens[range.clone()],
                    cache,
                    want: *want,
                })
                .collect();
            decoder.forward_batch(&ctx, &mut sequences, &mut Work::default(), &mut out).unwrap();
            let mut rows = out.chunks_exact(vocab);
            for (cache, (held, range, _, from)) in caches.iter_mut().zip(asked.clone()) {
                let whole = [&tokens[..held], &tokens[range.clone()], &[5]].concat();
                let alone = run(&decoder, &[&whole], KvElement::F16, 1);
                let mut alone = alone.chunks_exact(vocab).skip(held + from - range.start);
                for _ in from..range.end {
                    assert!(rows.next() == alone.next(), "{} {held} {range:?}", case.name);
                }
                // The caches are as full as after passes of their own.
                let mut last = Vec::new();
                decoder.forward(&ctx, &[5], cache, Logits::Last, &mut last).unwrap();
                assert_eq!(Some(&last[..]), alone.last(), "{} {held} {range:?}", case.name);
            }
            assert_eq!(rows.next(), None);
        }
    }
}

#[test]
fn a_batch_with_one_bad_sequence_is_refused_and_leaves_all_caches_alone() {
    let decoder = tiny::decoder(&golden_case("llama-gqa"));
    let ctx = Ctx::new(Isa::detect(), 1);
    let mut caches = [8, 2].map(|capacity| decoder.cache(capacity, KvElement::F16).unwrap());
    let mut refused = |tokens: [&[u32]; 2], want: Logits| {
        let sequences = caches.iter_mut().zip(tokens);
        let mut sequences: Vec<_> =
            sequences.map(|(cache, tokens)| Sequence { tokens, cache, want }).collect();
        let error = decoder.forward_batch(&ctx, &mut sequences, &mut Work::default(), &mut Vec::new());
        let held: usize = caches.iter().map(|cache| cache.len()).sum();
        (error.map_err(|error| error.to_string()), held)
    };
    let (error, held) = refused([&[1, 2], &[1, 101]], Logits::Last);
    assert_eq!((error.unwrap_err().as_str(), held), ("token 1 has id 101, the vocabulary has 101", 0));
    let (error, held) = refused([&[1], &[1, 2, 3]], Logits::Last);
    assert!(error.unwrap_err().starts_with("0 tokens in the cache and 3 new ones exceed") && held == 0);
    assert_eq!(
        refused([&[1], &[]], Logits::From(1)).0.unwrap_err(),
        "logits from row 1 of a batch of 0 tokens"
    );
    assert_eq!(refused([&[], &[]], Logits::All), (Ok(()), 0));
    assert_eq!(refused([&[], &[3]], Logits::All), (Ok(()), 1));
}

#[test]
fn a_copied_prefix_continues_as_the_original_and_leaves_it_alone() {
    let ctx = Ctx::new(Isa::detect(), 2);
    for case in golden_cases() {
        let decoder = tiny::decoder(&case);
        let (vocab, mut out, tokens) = (decoder.spec().vocab, Vec::new(), &case.tokens[..20]);
        for element in [KvElement::F16, KvElement::F32] {
            let mut cache = decoder.cache(room(&decoder), element).unwrap();
            decoder.forward(&ctx, tokens, &mut cache, Logits::None, &mut out).unwrap();
            let mut copy = cache.prefix(11);
            assert_eq!(
                (copy.len(), copy.capacity(), cache.prefix(999).len()),
                (11, cache.capacity(), cache.len())
            );
            assert_eq!(copy.bytes(), decoder.cache_bytes(11, element), "{}", case.name);
            decoder.forward(&ctx, &[5, 6, 7], &mut copy, Logits::All, &mut out).unwrap();
            let straight = run(&decoder, &[&tokens[..11], &[5, 6, 7]], element, 2);
            assert_eq!(out, straight[11 * vocab..], "{}", case.name);
            decoder.forward(&ctx, &[9], &mut cache, Logits::Last, &mut out).unwrap();
            let whole = run(&decoder, &[tokens, &[9]], element, 2);
            assert_eq!(out, whole[tokens.len() * vocab..], "{}", case.name);
        }
    }
}

#[test]
fn half_precision_keys_and_values_change_logits_by_less_than_their_rounding_suggests() {
    for case in golden_cases() {
        let decoder = tiny::decoder(&case);
        let exact = run(&decoder, &[&case.tokens], KvElement::F32, 2);
        let halves = run(&decoder, &[&case.tokens], KvElement::F16, 2);
        assert_ne!(exact, halves, "{}", case.name);
        // Keys and values are off by 2^-11 each, in up to four layers; a code of BitNet's 8-bit activations that tips
        // over is worth another 1/127.
        let error = max_relative_error(&halves, &exact);
        let bound = if case.name.contains("bit") { 5e-2 } else { 8.0 / 2048.0 };
        assert!(error < bound, "{}: {error:.1e}", case.name);
    }
}

/// Whether a change of token `at` changes the logits of the last token.
fn reaches(decoder: &Decoder, case: &GoldenCase, at: usize) -> bool {
    let mut other = case.tokens.clone();
    other[at] = (other[at] + 1) % decoder.spec().vocab as u32;
    let vocab = decoder.spec().vocab;
    let last = |tokens: &[u32]| {
        run(decoder, &[tokens], KvElement::F32, 1).split_off((case.tokens.len() - 1) * vocab)
    };
    last(&case.tokens) != last(&other)
}

#[test]
fn a_sliding_window_hides_what_lies_before_it_and_nothing_else() {
    // Two layers with a window of 7: the last token sees 6 tokens back, and these 6 further ones.
    let case = golden_case("mistral-window");
    let decoder = tiny::decoder(&case);
    assert!(decoder.spec().blocks.iter().all(|block| block.window == Some(7)));
    let last = case.tokens.len() - 1;
    assert!(!reaches(&decoder, &case, last - 13), "13 back");
    assert!(reaches(&decoder, &case, last - 12), "12 back");
    let full = tiny::decoder(&golden_case("llama-gqa"));
    assert!(reaches(&full, &golden_case("llama-gqa"), 0));
}

#[test]
fn calls_that_cannot_be_answered_are_refused_and_leave_the_cache_alone() {
    let decoder = tiny::decoder(&golden_case("llama-gqa"));
    let other = tiny::decoder(&golden_case("llama-mha"));
    let ctx = Ctx::new(Isa::detect(), 1);
    let mut cache = decoder.cache(8, KvElement::F16).unwrap();
    let mut out = Vec::new();
    decoder.forward(&ctx, &[1, 2, 3], &mut cache, Logits::Last, &mut out).unwrap();
    let mut refused = |tokens: &[u32], want| {
        decoder.forward(&ctx, tokens, &mut cache, want, &mut out).unwrap_err().to_string()
    };
    assert_eq!(refused(&[1, 101], Logits::Last), "token 1 has id 101, the vocabulary has 101");
    assert!(refused(&[1; 6], Logits::Last).starts_with("3 tokens in the cache and 6 new ones exceed"));
    assert_eq!(refused(&[1], Logits::From(2)), "logits from row 2 of a batch of 1 tokens");
    assert!(matches!(
        other.forward(&ctx, &[1], &mut cache, Logits::Last, &mut out),
        Err(ModelError::OtherCache { .. })
    ));
    assert_eq!(cache.len(), 3);
    decoder.forward(&ctx, &[], &mut cache, Logits::Last, &mut out).unwrap();
    assert!(out.is_empty() && cache.len() == 3);
    decoder.forward(&ctx, &[1; 5], &mut cache, Logits::Last, &mut out).unwrap();
    for capacity in [0, 129, usize::MAX] {
        assert!(matches!(decoder.cache(capacity, KvElement::F16), Err(ModelError::Capacity { .. })));
    }
}

#[test]
fn products_with_cached_keys_and_values_are_those_with_the_decoded_ones() {
    let (heads, dim, rows) = (2, 10, 3);
    for element in [KvElement::F16, KvElement::F32] {
        let mut store = Float::new(element, heads, dim);
        // Uneven pieces over more than two steps of memory.
        for (seed, tokens) in [100, 1, 60, 128, 7].into_iter().enumerate() {
            let keys = normal(tokens * heads * dim, seed as u64);
            let values = normal(tokens * heads * dim, 100 + seed as u64);
            let width = heads * dim;
            store.append(MatRef::new(&keys, tokens, width), MatRef::new(&values, tokens, width));
        }
        assert_eq!(store.len(), 296);
        store.truncate(290);
        for range in [0..290, 0..1, 3..4, 127..129, 128..256, 200..290, 130..130] {
            for head in 0..heads {
                let count = range.len();
                let (mut keys, mut values) = (vec![0.0; count * dim], vec![0.0; count * dim]);
                let (k, v) = (MatMut::new(&mut keys, count, dim), MatMut::new(&mut values, count, dim));
                store.decode(head, range.clone(), k, v);
                let (q, p) = (normal(rows * dim, 7), normal(rows * count, 8));
                let (mut scores, mut mixed) = (vec![f32::NAN; rows * count], vec![f32::NAN; rows * dim]);
                let width = range.len();
                let out = MatMut::new(&mut scores, rows, width);
                store.scores(Isa::detect(), head, MatRef::new(&q, rows, dim), range.clone(), out);
                let p_view = MatRef::new(&p, rows, width);
                store.mix(Isa::detect(), head, p_view, range.clone(), MatMut::new(&mut mixed, rows, dim));
                for m in 0..rows {
                    for t in 0..count {
                        let sum: f32 = (0..dim).map(|e| q[m * dim + e] * keys[t * dim + e]).sum();
                        let bound = 1e-5 * (1.0 + sum.abs());
                        assert!((scores[m * count + t] - sum).abs() < bound, "{range:?} score {m} {t}");
                    }
                    for e in 0..dim {
                        let sum: f32 = (0..count).map(|t| p[m * count + t] * values[t * dim + e]).sum();
                        // Up to 290 terms of size 1 in another order.
                        let bound = 290.0 * f32::EPSILON * 8.0;
                        assert!((mixed[m * dim + e] - sum).abs() < bound, "{range:?} mix {m} {e}");
                    }
                }
            }
        }
    }
}

#[test]
fn memory_of_a_cache_grows_with_its_tokens() {
    let decoder = tiny::decoder(&golden_case("llama-gqa"));
    let ctx = Ctx::new(Isa::detect(), 1);
    let mut cache = decoder.cache(128, KvElement::F16).unwrap();
    assert_eq!(cache.bytes(), 0);
    decoder.forward(&ctx, &[1], &mut cache, Logits::None, &mut Vec::new()).unwrap();
    let spec = decoder.spec();
    // Memory grows by 256 tokens.
    assert_eq!(cache.bytes(), spec.blocks.len() * spec.kv_width() * 256 * 2 * 2);
}
