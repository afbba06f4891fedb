//! A loaded model and its vocabulary.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Once;

use anyhow::{Context, Result, ensure};
use llama_cpp_sys_2 as sys;
use peers_protocol::{Special, Tokens};

/// How weights lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Rearranged for the CPU at load, where llama.cpp knows how; its default.
    Repacked,
    /// As in the file, mapped.
    AsStored,
}

/// How much of a file to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Everything, with the weights laid out like this.
    All(Weights),
    /// Only what tokenizing needs.
    Vocabulary,
}

/// Whether text that spells a special token becomes that token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseSpecial {
    /// It stays text.
    No,
    /// It becomes the token.
    Yes,
}

/// A model in memory.
#[derive(Debug)]
pub struct Model {
    raw: NonNull<sys::llama_model>,
}

impl Model {
    /// Loads a GGUF file, mapping it.
    pub fn load(path: &Path, contents: Contents) -> Result<Self> {
        initialize();
        let name = path.to_str().context("the path of the model is not UTF-8")?;
        let name = CString::new(name).context("the path of the model contains a zero byte")?;
        // SAFETY: no arguments, returns a plain struct.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.load_mode = sys::LLAMA_LOAD_MODE_MMAP;
        params.use_extra_bufts = contents == Contents::All(Weights::Repacked);
        params.vocab_only = contents == Contents::Vocabulary;
        // SAFETY: `name` is a C string that lives through the call; the pointers inside the default
        // parameters are null.
        let raw = unsafe { sys::llama_model_load_from_file(name.as_ptr(), params) };
        let raw = NonNull::new(raw)
            .with_context(|| format!("llama.cpp cannot load {}; it says why above", path.display()))?;
        Ok(Self { raw })
    }

    /// One string of the metadata.
    pub fn metadata(&self, key: &CStr) -> Option<String> {
        let mut buffer = [0_u8; 256];
        // SAFETY: the model is alive, `key` ends with a zero, and the buffer's size is the one passed.
        let length = unsafe {
            sys::llama_model_meta_val_str(
                self.raw.as_ptr(),
                key.as_ptr(),
                buffer.as_mut_ptr().cast::<c_char>(),
                buffer.len(),
            )
        };
        usize::try_from(length).ok()?;
        Some(CStr::from_bytes_until_nul(&buffer).ok()?.to_string_lossy().into_owned())
    }

    /// Number of token ids.
    pub fn vocabulary(&self) -> usize {
        // SAFETY: the vocabulary belongs to the model, which is alive.
        let count = unsafe { sys::llama_vocab_n_tokens(self.vocab()) };
        usize::try_from(count).expect("a vocabulary has no negative size")
    }

    /// What the model's metadata puts before every text.
    pub fn begin(&self) -> Special {
        // SAFETY: the vocabulary belongs to the model, which is alive.
        let (adds, bos) =
            unsafe { (sys::llama_vocab_get_add_bos(self.vocab()), sys::llama_vocab_bos(self.vocab())) };
        match u32::try_from(bos) {
            Ok(bos) if adds => Special::Bos(bos),
            _ => Special::None,
        }
    }

    /// Token ids of `text`, including what the metadata adds at its ends.
    pub fn tokenize(&self, text: &[u8], parse_special: ParseSpecial) -> Result<Tokens> {
        Ok(Tokens { ids: self.ids(text, true, parse_special)?, begin: self.begin() })
    }

    /// Token ids of `text` and nothing else.
    pub fn tokenize_bare(&self, text: &[u8], parse_special: ParseSpecial) -> Result<Vec<u32>> {
        self.ids(text, false, parse_special)
    }

    fn ids(&self, text: &[u8], add_special: bool, parse_special: ParseSpecial) -> Result<Vec<u32>> {
        let text_len = i32::try_from(text.len()).context("llama.cpp tokenizes at most 2 GiB at once")?;
        let parse_special = parse_special == ParseSpecial::Yes;
        // No token is shorter than a byte; four more for what is added at the ends, and as many as the
        // answer says if normalization made the text longer.
        let mut ids = vec![0_i32; text.len() + 4];
        loop {
            let capacity = i32::try_from(ids.len()).context("too many tokens")?;
            // SAFETY: both buffers have the lengths passed beside them.
            let count = unsafe {
                sys::llama_tokenize(
                    self.vocab(),
                    text.as_ptr().cast::<c_char>(),
                    text_len,
                    ids.as_mut_ptr(),
                    capacity,
                    add_special,
                    parse_special,
                )
            };
            match usize::try_from(count) {
                Ok(count) => {
                    ids.truncate(count);
                    break;
                }
                Err(_) => {
                    let needed = count.unsigned_abs() as usize;
                    ensure!(needed > ids.len(), "llama.cpp cannot tokenize this text");
                    ids.resize(needed, 0);
                }
            }
        }
        ids.into_iter().map(|id| u32::try_from(id).context("llama.cpp gave a negative token id")).collect()
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::llama_model {
        self.raw.as_ptr()
    }

    fn vocab(&self) -> *const sys::llama_vocab {
        // SAFETY: the model is alive.
        unsafe { sys::llama_model_get_vocab(self.raw.as_ptr()) }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: made by `load`, freed once, and sessions own their model, so none outlives it.
        unsafe { sys::llama_model_free(self.raw.as_ptr()) }
    }
}

/// Version of the library inside.
pub fn version() -> String {
    // SAFETY: returns a static string.
    let ggml = unsafe { CStr::from_ptr(sys::ggml_version()) }.to_string_lossy();
    format!("llama.cpp (llama-cpp-sys-2 {}, ggml {ggml})", env!("LLAMA_CPP_SYS_VERSION"))
}

/// The instruction sets and options the library was built with.
pub fn system_info() -> String {
    initialize();
    // SAFETY: returns a static string, rewritten only by a further call of the same function; nothing
    // else in the process calls it at the same time, engine processes being single-threaded here.
    unsafe { CStr::from_ptr(sys::llama_print_system_info()) }.to_string_lossy().trim().to_owned()
}

/// Starts the library once and sends its warnings, not its chatter, to standard error.
fn initialize() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the callback takes what the library passes and is a plain function.
        unsafe {
            sys::llama_log_set(Some(log), std::ptr::null_mut());
            sys::llama_backend_init();
        }
    });
}

unsafe extern "C" fn log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if matches!(level, sys::GGML_LOG_LEVEL_WARN | sys::GGML_LOG_LEVEL_ERROR) && !text.is_null() {
        // SAFETY: the library passes a C string that lives through the call.
        eprint!("{}", unsafe { CStr::from_ptr(text) }.to_string_lossy());
    }
}
