//! A context of llama.cpp: a model with a cache of one sequence.

use std::ptr::NonNull;

use anyhow::{Context, Result, ensure};
use llama_cpp_sys_2 as sys;

use crate::model::Model;

/// Size and threads of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Positions in the cache.
    pub context: usize,
    /// Threads for batches and single tokens alike.
    pub threads: usize,
    /// How attention is computed.
    pub attention: Attention,
}

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Flash attention where llama.cpp chooses it; its default.
    Auto,
    /// One matrix product after the other.
    Plain,
    /// The same, in single precision throughout: the cache is f32, so that nothing is rounded to half.
    Single,
}

/// Tokens evaluated at once. The same for logical and physical batches, as llama-bench runs pp512.
pub(crate) const BATCH: usize = 512;

/// A model ready to evaluate tokens of one sequence.
#[derive(Debug)]
pub struct Session {
    context: NonNull<sys::llama_context>,
    model: Model,
    position: usize,
    capacity: usize,
}

/// Which rows of logits a batch computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outputs {
    Last,
    FromPosition(usize),
}

impl Session {
    /// Makes a cache for `model`.
    pub fn new(model: Model, options: SessionOptions) -> Result<Self> {
        // SAFETY: no arguments, returns a plain struct.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = u32::try_from(options.context).context("the context is too long")?;
        params.n_batch = BATCH as u32;
        params.n_ubatch = BATCH as u32;
        params.n_seq_max = 1;
        params.n_threads = i32::try_from(options.threads).context("too many threads")?;
        params.n_threads_batch = params.n_threads;
        params.flash_attn_type = match options.attention {
            Attention::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            Attention::Plain | Attention::Single => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        };
        let cached = match options.attention {
            Attention::Auto | Attention::Plain => sys::GGML_TYPE_F16,
            Attention::Single => sys::GGML_TYPE_F32,
        };
        params.type_k = cached;
        params.type_v = cached;
        // What llama.cpp's own tools ask for; the library's default keeps whole caches for layers
        // with a sliding window.
        params.swa_full = false;
        params.no_perf = true;
        // SAFETY: the model is alive and is kept alive by the session; the pointers inside the default
        // parameters are null.
        let context = unsafe { sys::llama_init_from_model(model.as_ptr(), params) };
        let context = NonNull::new(context).context("llama.cpp cannot make a context; it says why above")?;
        // SAFETY: the context has just been made.
        let capacity = unsafe { sys::llama_n_ctx(context.as_ptr()) } as usize;
        Ok(Self { context, model, position: 0, capacity })
    }

    /// The model inside.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        // SAFETY: the context is alive, and the memory belongs to it.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.context.as_ptr()), false) }
        self.position = 0;
    }

    /// Appends tokens and computes the logits of the last one.
    pub fn append(&mut self, ids: &[u32]) -> Result<()> {
        for chunk in ids.chunks(BATCH) {
            self.evaluate(chunk, Outputs::Last)?;
        }
        Ok(())
    }

    /// Appends tokens and copies the logits of positions `first..` to `rows`.
    pub fn append_with_logits(&mut self, ids: &[u32], first: usize, rows: &mut Vec<f32>) -> Result<()> {
        for chunk in ids.chunks(BATCH) {
            let start = self.position;
            self.evaluate(chunk, Outputs::FromPosition(first))?;
            for index in (0..chunk.len()).filter(|index| start + index >= first) {
                // SAFETY: the context is alive; row `index` of this batch was asked for above.
                let row = unsafe { sys::llama_get_logits_ith(self.context.as_ptr(), index as i32) };
                ensure!(!row.is_null(), "llama.cpp has no logits for position {}", start + index);
                // SAFETY: a row of logits is as long as the vocabulary and valid until the next batch.
                rows.extend_from_slice(unsafe { std::slice::from_raw_parts(row, self.model.vocabulary()) });
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, ids: &[u32], outputs: Outputs) -> Result<()> {
        let (count, start) = (ids.len(), self.position);
        ensure!(
            start + count <= self.capacity,
            "{} tokens do not fit a context of {}",
            start + count,
            self.capacity
        );
        let vocabulary = self.model.vocabulary();
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            anyhow::bail!("token id {id} is outside the vocabulary of {vocabulary}");
        }
        let mut token: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        let mut pos: Vec<i32> = (start..start + count).map(|position| position as i32).collect();
        let mut n_seq_id = vec![1_i32; count];
        let mut sequence = 0_i32;
        let mut seq_id = vec![&raw mut sequence; count];
        let mut logits: Vec<i8> = (0..count)
            .map(|index| match outputs {
                Outputs::Last => i8::from(index + 1 == count),
                Outputs::FromPosition(first) => i8::from(start + index >= first),
            })
            .collect();
        let batch = sys::llama_batch {
            n_tokens: count as i32,
            token: token.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: pos.as_mut_ptr(),
            n_seq_id: n_seq_id.as_mut_ptr(),
            seq_id: seq_id.as_mut_ptr(),
            logits: logits.as_mut_ptr(),
        };
        // SAFETY: the context is alive; every array has `count` entries (the ids checked against the
        // vocabulary, one sequence id an entry) and outlives both calls.
        let status = unsafe {
            let status = sys::llama_decode(self.context.as_ptr(), batch);
            sys::llama_synchronize(self.context.as_ptr());
            status
        };
        ensure!(status == 0, "llama_decode failed with status {status} at position {start}");
        self.position += count;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once, before the model, which is a field and drops later.
        unsafe { sys::llama_free(self.context.as_ptr()) }
    }
}
