//! A Llama of a few thousand seeded weights in a GGUF file, with a vocabulary of bytes.

use crate::{GgufFile, GgufValue, seeded_values};

/// Whether the file brings a chat template.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// One that writes the role before each message.
    Chat,
    /// None: the model continues plain text.
    None,
}

const HIDDEN: u64 = 32;
const INNER: u64 = 64;
const HEADS: u32 = 4;
const KV_WIDTH: u64 = 16;
const BLOCKS: u32 = 2;
/// Three control tokens, then one for each byte.
const VOCAB: u64 = 3 + 256;
/// Tokens of context; longer than one preset's window and shorter than the other's.
const CONTEXT: u32 = 600;

const CHAT: &str = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]";

/// The model.
pub fn tiny_gguf(template: Template) -> GgufFile {
    model(template, &vocabulary())
}

/// The model with the bytes of tokens 5 and 6 in each other's place.
pub fn swapped_gguf() -> GgufFile {
    let mut tokens = vocabulary();
    tokens.swap(5, 6);
    model(Template::None, &tokens)
}

fn vocabulary() -> Vec<String> {
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain(bytes).collect()
}

fn model(template: Template, tokens: &[String]) -> GgufFile {
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    // Unknown, control, control, then bytes.
    let kinds: Vec<i32> = [2, 3, 3].into_iter().chain([6; 256]).collect();
    let mut file = GgufFile::new("llama")
        .with("llama.block_count", BLOCKS)
        .with("llama.context_length", CONTEXT)
        .with("llama.embedding_length", HIDDEN as u32)
        .with("llama.feed_forward_length", INNER as u32)
        .with("llama.attention.head_count", HEADS)
        .with("llama.attention.head_count_kv", HEADS / 2)
        .with("llama.attention.layer_norm_rms_epsilon", 1e-5f32)
        .with("llama.rope.freq_base", 10_000f32)
        .with("tokenizer.ggml.model", "llama")
        .with("tokenizer.ggml.tokens", &tokens[..])
        .with("tokenizer.ggml.scores", &[0f32; VOCAB as usize][..])
        .with("tokenizer.ggml.token_type", &kinds[..])
        .with("tokenizer.ggml.bos_token_id", 1u32)
        .with("tokenizer.ggml.eos_token_id", 2u32)
        .with("tokenizer.ggml.unknown_token_id", 0u32)
        .with("tokenizer.ggml.add_bos_token", true)
        .with("tokenizer.ggml.add_space_prefix", false);
    if template == Template::Chat {
        file = file.with("tokenizer.chat_template", GgufValue::from(CHAT));
    }
    file = weight(file, "token_embd.weight", &[HIDDEN, VOCAB]);
    for block in 0..BLOCKS {
        for (name, dims) in [
            ("attn_q", [HIDDEN, HIDDEN]),
            ("attn_k", [HIDDEN, KV_WIDTH]),
            ("attn_v", [HIDDEN, KV_WIDTH]),
            ("attn_output", [HIDDEN, HIDDEN]),
            ("ffn_gate", [HIDDEN, INNER]),
            ("ffn_up", [HIDDEN, INNER]),
            ("ffn_down", [INNER, HIDDEN]),
        ] {
            file = weight(file, &format!("blk.{block}.{name}.weight"), &dims);
        }
        for norm in ["attn_norm", "ffn_norm"] {
            file = file.with_f32(&format!("blk.{block}.{norm}.weight"), &[HIDDEN], &[1.0; HIDDEN as usize]);
        }
    }
    file.with_f32("output_norm.weight", &[HIDDEN], &[1.0; HIDDEN as usize])
}

fn weight(file: GgufFile, name: &str, dims: &[u64]) -> GgufFile {
    let len = dims.iter().product::<u64>() as usize;
    file.with_f32(name, dims, &seeded_values(name, len, 0.5, 0.0))
}
