//! One product of ggml: a weight matrix, in several copies where it is to come from memory, times some tokens.

use std::ffi::CStr;
use std::ptr::NonNull;

use anyhow::{Context as _, Result, ensure};
use llama_cpp_sys_2 as sys;

use crate::model::Weights;

/// Rows that are quantized; a matrix repeats them, as speed does not depend on what weights are.
const ROWS: usize = 64;

/// Types whose products can be timed, by the name GGUF tools give them.
pub const TYPES: [(&str, sys::ggml_type); 8] = [
    ("q8_0", sys::GGML_TYPE_Q8_0),
    ("q4_0", sys::GGML_TYPE_Q4_0),
    ("q4_k", sys::GGML_TYPE_Q4_K),
    ("q3_k", sys::GGML_TYPE_Q3_K),
    ("q2_k", sys::GGML_TYPE_Q2_K),
    ("tq2_0", sys::GGML_TYPE_TQ2_0),
    ("tq1_0", sys::GGML_TYPE_TQ1_0),
    ("q1_0", sys::GGML_TYPE_Q1_0),
];

/// What is multiplied.
#[derive(Debug, Clone, Copy)]
pub struct ProductOptions {
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Columns of activations.
    pub tokens: usize,
    /// Type of the weights.
    pub kind: sys::ggml_type,
    /// How they lie in memory.
    pub weights: Weights,
    /// Copies of the weights exceed so many bytes.
    pub cold: usize,
    /// Threads.
    pub threads: usize,
}

/// Copies of a matrix, activations, and one graph a copy.
#[derive(Debug)]
pub struct Product {
    backend: NonNull<sys::ggml_backend>,
    contexts: [NonNull<sys::ggml_context>; 2],
    buffers: Vec<NonNull<sys::ggml_backend_buffer>>,
    graphs: Vec<*mut sys::ggml_cgraph>,
    next: usize,
    bytes: usize,
}

impl Product {
    /// Makes the matrices; none where ggml does not repack this type for this CPU.
    pub fn new(options: &ProductOptions) -> Result<Option<Self>> {
        let ProductOptions { n, k, tokens, kind, .. } = *options;
        // SAFETY: takes a type that exists.
        let block = unsafe { sys::ggml_blck_size(kind) } as usize;
        ensure!(k.is_multiple_of(block), "{k} inputs are no multiple of the {block} weights of a block");
        let row = quantized(kind, k)?;
        let bytes = row.len() / ROWS * n;
        let copies = 1 + options.cold / bytes;
        // SAFETY: no arguments.
        let backend =
            NonNull::new(unsafe { sys::ggml_backend_cpu_init() }).context("ggml has no CPU backend")?;
        // SAFETY: the backend is alive and a CPU's.
        unsafe { sys::ggml_backend_cpu_set_n_threads(backend.as_ptr(), options.threads as i32) };
        let contexts = [context(copies, 0)?, context(copies + 1, copies)?];
        let mut product = Self { backend, contexts, buffers: Vec::new(), graphs: Vec::new(), next: 0, bytes };
        let [weights, graph] = contexts.map(NonNull::as_ptr);
        // SAFETY: the contexts are alive and have room for this many tensors and graphs; what is made in them
        // lives as long as they do, which is as long as `product`.
        unsafe {
            let matrices: Vec<_> =
                (0..copies).map(|_| sys::ggml_new_tensor_2d(weights, kind, k as i64, n as i64)).collect();
            let place = match options.weights {
                Weights::Repacked => match repacking() {
                    Some(place) => place,
                    None => return Ok(None),
                },
                Weights::AsStored => sys::ggml_backend_cpu_buffer_type(),
            };
            product.keep(sys::ggml_backend_alloc_ctx_tensors_from_buft(weights, place))?;
            // A matrix that is repacked says so when it gets its place; others must not be filled there.
            if options.weights == Weights::Repacked && (*matrices[0]).extra.is_null() {
                return Ok(None);
            }
            let all: Vec<u8> = row.iter().copied().cycle().take(bytes).collect();
            for matrix in &matrices {
                ensure!(sys::ggml_nbytes(*matrix) == bytes, "ggml counts other bytes than {bytes}");
                sys::ggml_backend_tensor_set(*matrix, all.as_ptr().cast(), 0, bytes);
            }
            let x = sys::ggml_new_tensor_2d(graph, sys::GGML_TYPE_F32, k as i64, tokens as i64);
            for matrix in matrices {
                let made = sys::ggml_new_graph(graph);
                sys::ggml_build_forward_expand(made, sys::ggml_mul_mat(graph, matrix, x));
                product.graphs.push(made);
            }
            product.keep(sys::ggml_backend_alloc_ctx_tensors(graph, backend.as_ptr()))?;
            let values = random(k * tokens);
            sys::ggml_backend_tensor_set(x, values.as_ptr().cast(), 0, size_of_val(values.as_slice()));
        }
        Ok(Some(product))
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Matrices that take turns.
    pub fn copies(&self) -> usize {
        self.graphs.len()
    }

    /// One product, with the next copy.
    pub fn multiply(&mut self) -> Result<()> {
        // SAFETY: the backend and the graph are alive, and all tensors of the graph have their memory.
        let status =
            unsafe { sys::ggml_backend_graph_compute(self.backend.as_ptr(), self.graphs[self.next]) };
        self.next = (self.next + 1) % self.graphs.len();
        ensure!(status == sys::GGML_STATUS_SUCCESS, "ggml failed with status {status}");
        Ok(())
    }

    fn keep(&mut self, buffer: *mut sys::ggml_backend_buffer) -> Result<()> {
        self.buffers.push(NonNull::new(buffer).context("ggml has no memory for the matrices")?);
        Ok(())
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        // SAFETY: each was made by `new` and is freed once; no graph runs.
        unsafe {
            for buffer in &self.buffers {
                sys::ggml_backend_buffer_free(buffer.as_ptr());
            }
            for context in self.contexts {
                sys::ggml_free(context.as_ptr());
            }
            sys::ggml_backend_free(self.backend.as_ptr());
        }
    }
}

/// Room for the heads of tensors and graphs, not for their data.
fn context(tensors: usize, graphs: usize) -> Result<NonNull<sys::ggml_context>> {
    // SAFETY: the functions take no arguments; memory of the context is ggml's own.
    unsafe {
        let mem_size = (tensors + 1) * sys::ggml_tensor_overhead() + graphs * sys::ggml_graph_overhead();
        let params = sys::ggml_init_params { mem_size, mem_buffer: std::ptr::null_mut(), no_alloc: true };
        NonNull::new(sys::ggml_init(params)).context("ggml cannot make a context")
    }
}

/// The place in which ggml repacks weights, if it was built with one.
fn repacking() -> Option<sys::ggml_backend_buffer_type_t> {
    // SAFETY: the registry is static; the function has the type its name stands for in ggml's header, and
    // gives an array that ends with a null pointer.
    unsafe {
        let registry = sys::ggml_backend_cpu_reg();
        let name = c"ggml_backend_dev_get_extra_bufts";
        let found = sys::ggml_backend_reg_get_proc_address(registry, name.as_ptr());
        let list: sys::ggml_backend_dev_get_extra_bufts_t = std::mem::transmute(found);
        let mut next = list?(sys::ggml_backend_reg_dev_get(registry, 0));
        while !next.is_null() && !(*next).is_null() {
            if CStr::from_ptr(sys::ggml_backend_buft_name(*next)) == c"CPU_REPACK" {
                return Some(*next);
            }
            next = next.add(1);
        }
        None
    }
}

/// Some rows of random weights as `kind` stores them.
fn quantized(kind: sys::ggml_type, k: usize) -> Result<Vec<u8>> {
    let values = random(ROWS * k);
    // SAFETY: takes a type that exists and whole blocks; the buffer has the size that ggml tells; none of the
    // types needs an importance matrix.
    unsafe {
        let mut bytes = vec![0; ROWS * sys::ggml_row_size(kind, k as i64)];
        let (rows, none) = (ROWS as i64, std::ptr::null());
        let (from, to) = (values.as_ptr(), bytes.as_mut_ptr().cast());
        let written = sys::ggml_quantize_chunk(kind, from, to, 0, rows, k as i64, none);
        ensure!(written == bytes.len(), "ggml wrote {written} bytes, not {}", bytes.len());
        Ok(bytes)
    }
}

/// Uniform numbers from −1 to 1, from their index.
fn random(len: usize) -> Vec<f32> {
    let mixed = |i: u64| {
        let z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32
    };
    (0..len as u64).map(|i| mixed(i) / 8_388_608.0 - 1.0).collect()
}
