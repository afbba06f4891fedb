//! How checkpoints name tensors: two standard schemes, and what an architecture changes in them.

use crate::spec::{LinearId, Role};

/// Which scheme a checkpoint follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `model.layers.0.self_attn.q_proj.weight`.
    HuggingFace,
    /// `blk.0.attn_q.weight`.
    Gguf,
}

/// Names of tensors without the ending `.weight` or `.bias`. `{block}` and `{expert}` stand for numbers; an expert's
/// name without `{expert}` is one tensor that holds all of them, one after the other.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Names {
    pub embed: &'static str,
    pub head: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    /// Rows of query, key and value in one tensor, where the architecture stores them so.
    pub qkv: Option<&'static str>,
    pub output: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    /// Rows of gate and up in one tensor, where the architecture stores them so.
    pub gate_up: Option<&'static str>,
    pub down: &'static str,
    pub router: &'static str,
    pub expert_gate: &'static str,
    pub expert_up: &'static str,
    pub expert_down: &'static str,
    pub attention_in: &'static str,
    pub attention_out: &'static str,
    pub attention_sub: &'static str,
    pub query_norm: &'static str,
    pub key_norm: &'static str,
    pub ffn_in: &'static str,
    pub ffn_out: &'static str,
    pub ffn_sub: &'static str,
    pub final_norm: &'static str,
    /// What rotation frequencies are divided by, where the checkpoint has it.
    pub rope_divisors: Option<&'static str>,
    /// The same for the short and the long form of longrope.
    pub rope_short: Option<&'static str>,
    pub rope_long: Option<&'static str>,
}

/// Names of Hugging Face folders.
pub const HUGGING_FACE: Names = Names {
    embed: "model.embed_tokens",
    head: "lm_head",
    query: "model.layers.{block}.self_attn.q_proj",
    key: "model.layers.{block}.self_attn.k_proj",
    value: "model.layers.{block}.self_attn.v_proj",
    qkv: None,
    output: "model.layers.{block}.self_attn.o_proj",
    gate: "model.layers.{block}.mlp.gate_proj",
    up: "model.layers.{block}.mlp.up_proj",
    gate_up: None,
    down: "model.layers.{block}.mlp.down_proj",
    router: "model.layers.{block}.mlp.gate",
    expert_gate: "model.layers.{block}.mlp.experts.{expert}.gate_proj",
    expert_up: "model.layers.{block}.mlp.experts.{expert}.up_proj",
    expert_down: "model.layers.{block}.mlp.experts.{expert}.down_proj",
    attention_in: "model.layers.{block}.input_layernorm",
    attention_out: "model.layers.{block}.post_attention_layernorm",
    attention_sub: "model.layers.{block}.self_attn.attn_sub_norm",
    query_norm: "model.layers.{block}.self_attn.q_norm",
    key_norm: "model.layers.{block}.self_attn.k_norm",
    // Llama's name says where the norm stands in the code, not what it does: it is the one before the
    // feed-forward part. Architectures with four norms override it.
    ffn_in: "model.layers.{block}.post_attention_layernorm",
    ffn_out: "model.layers.{block}.post_feedforward_layernorm",
    ffn_sub: "model.layers.{block}.mlp.ffn_sub_norm",
    final_norm: "model.norm",
    rope_divisors: None,
    rope_short: None,
    rope_long: None,
};

/// Names of GGUF files.
pub const GGUF: Names = Names {
    embed: "token_embd",
    head: "output",
    query: "blk.{block}.attn_q",
    key: "blk.{block}.attn_k",
    value: "blk.{block}.attn_v",
    qkv: None,
    output: "blk.{block}.attn_output",
    gate: "blk.{block}.ffn_gate",
    up: "blk.{block}.ffn_up",
    gate_up: None,
    down: "blk.{block}.ffn_down",
    router: "blk.{block}.ffn_gate_inp",
    expert_gate: "blk.{block}.ffn_gate_exps",
    expert_up: "blk.{block}.ffn_up_exps",
    expert_down: "blk.{block}.ffn_down_exps",
    attention_in: "blk.{block}.attn_norm",
    attention_out: "blk.{block}.post_attention_norm",
    attention_sub: "blk.{block}.attn_sub_norm",
    query_norm: "blk.{block}.attn_q_norm",
    key_norm: "blk.{block}.attn_k_norm",
    ffn_in: "blk.{block}.ffn_norm",
    ffn_out: "blk.{block}.post_ffw_norm",
    ffn_sub: "blk.{block}.ffn_sub_norm",
    final_norm: "output_norm",
    rope_divisors: Some("rope_freqs"),
    rope_short: Some("rope_factors_short"),
    rope_long: Some("rope_factors_long"),
};

impl Names {
    /// Name of a linear layer's tensor, without its ending.
    pub fn linear(&self, id: LinearId) -> String {
        let pattern = match (id.role, id.expert) {
            (Role::Query, _) => self.query,
            (Role::Key, _) => self.key,
            (Role::Value, _) => self.value,
            (Role::Output, _) => self.output,
            (Role::Gate, None) => self.gate,
            (Role::Up, None) => self.up,
            (Role::Down, None) => self.down,
            (Role::Gate, Some(_)) => self.expert_gate,
            (Role::Up, Some(_)) => self.expert_up,
            (Role::Down, Some(_)) => self.expert_down,
            (Role::Router, _) => self.router,
            (Role::Embed, _) => self.embed,
            (Role::Head, _) => self.head,
        };
        let name = in_block(pattern, usize::from(id.block));
        match id.expert {
            Some(expert) => name.replace("{expert}", &expert.to_string()),
            None => name,
        }
    }
}

impl Names {
    /// What the weight matrix of a name is for; `None` for norms, biases and whatever else. Query, key and value in one
    /// tensor count as query, gate and up in one as gate.
    pub fn role(&self, tensor: &str) -> Option<Role> {
        let name = tensor.strip_suffix(".weight")?;
        let patterns = [
            (Some(self.query), Role::Query),
            (self.qkv, Role::Query),
            (Some(self.key), Role::Key),
            (Some(self.value), Role::Value),
            (Some(self.output), Role::Output),
            (Some(self.gate), Role::Gate),
            (self.gate_up, Role::Gate),
            (Some(self.expert_gate), Role::Gate),
            (Some(self.up), Role::Up),
            (Some(self.expert_up), Role::Up),
            (Some(self.down), Role::Down),
            (Some(self.expert_down), Role::Down),
            (Some(self.router), Role::Router),
            (Some(self.embed), Role::Embed),
            (Some(self.head), Role::Head),
        ];
        patterns
            .into_iter()
            .find(|(pattern, _)| pattern.is_some_and(|p| is_like(p, name)))
            .map(|(_, role)| role)
    }
}

impl Names {
    /// Every name of a tensor with weights or gains, one for each field, fused ones before their parts.
    fn patterns(&self) -> [Option<&'static str>; 24] {
        [
            Some(self.embed),
            Some(self.head),
            self.qkv,
            Some(self.query),
            Some(self.key),
            Some(self.value),
            Some(self.output),
            self.gate_up,
            Some(self.gate),
            Some(self.up),
            Some(self.down),
            Some(self.router),
            Some(self.expert_gate),
            Some(self.expert_up),
            Some(self.expert_down),
            Some(self.attention_in),
            Some(self.attention_out),
            Some(self.attention_sub),
            Some(self.query_norm),
            Some(self.key_norm),
            Some(self.ffn_in),
            Some(self.ffn_out),
            Some(self.ffn_sub),
            Some(self.final_norm),
        ]
    }

    /// What a checkpoint of other names calls a tensor; `None` where it is none of these. `{expert}` stays in the name
    /// where this scheme has all experts in one tensor and the other has a tensor each.
    pub fn translate(&self, tensor: &str, other: &Self) -> Option<String> {
        let ending = [".weight", ".bias"].into_iter().find(|ending| tensor.ends_with(ending))?;
        let name = tensor.strip_suffix(ending)?;
        self.patterns().into_iter().zip(other.patterns()).find_map(|(from, to)| {
            let numbers = numbers(from?, name)?;
            let name = numbers.iter().fold(to?.to_owned(), |name, (key, number)| name.replace(key, number));
            Some(name + ending)
        })
    }

    /// Whether a tensor is a norm's gain.
    pub fn is_gain(&self, tensor: &str) -> bool {
        let gains = [
            self.attention_in,
            self.attention_out,
            self.attention_sub,
            self.query_norm,
            self.key_norm,
            self.ffn_in,
            self.ffn_out,
            self.ffn_sub,
            self.final_norm,
        ];
        tensor.strip_suffix(".weight").is_some_and(|name| gains.iter().any(|gain| is_like(gain, name)))
    }
}

/// Whether a name is a pattern with numbers filled in.
fn is_like(pattern: &str, name: &str) -> bool {
    numbers(pattern, name).is_some()
}

/// What stands in a name for each `{...}` of a pattern; `None` where it is not one of the pattern.
fn numbers<'a>(pattern: &'a str, name: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    let (mut pattern, mut name, mut found) = (pattern, name, Vec::new());
    while let Some((before, rest)) = pattern.split_once('{') {
        let end = rest.find('}')? + 1;
        let left = name.strip_prefix(before)?;
        let digits = left.len() - left.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return None;
        }
        found.push((&pattern[before.len()..=before.len() + end], &left[..digits]));
        (pattern, name) = (&rest[end..], &left[digits..]);
    }
    (pattern == name).then_some(found)
}

/// A pattern of [`Names`] with the block's number filled in.
pub fn in_block(pattern: &str, block: usize) -> String {
    pattern.replace("{block}", &block.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_has_a_name_in_the_other_scheme() {
        let there = |name: &str| GGUF.translate(name, &HUGGING_FACE);
        for (gguf, hf) in [
            ("token_embd.weight", Some("model.embed_tokens.weight")),
            ("blk.12.attn_q.bias", Some("model.layers.12.self_attn.q_proj.bias")),
            ("blk.3.ffn_up_exps.weight", Some("model.layers.3.mlp.experts.{expert}.up_proj.weight")),
            ("output_norm.weight", Some("model.norm.weight")),
            ("rope_freqs.weight", None),
            ("blk.x.attn_q.weight", None),
            ("blk.0.attn_q.scale", None),
        ] {
            assert_eq!(there(gguf).as_deref(), hf, "{gguf}");
        }
        // Gate and up in one tensor are called like up alone.
        let (from, to) =
            (Names { gate_up: Some(GGUF.up), ..GGUF }, Names { gate_up: Some("both"), ..HUGGING_FACE });
        assert_eq!(from.translate("blk.0.ffn_up.weight", &to).as_deref(), Some("both.weight"));
        assert!(GGUF.is_gain("blk.7.attn_q_norm.weight") && !GGUF.is_gain("blk.7.attn_q.weight"));
    }

    #[test]
    fn a_role_is_found_by_the_name_that_a_layer_has() {
        for (names, expert) in [(&HUGGING_FACE, Some(7)), (&GGUF, None)] {
            for role in Role::ALL {
                let name = names.linear(LinearId { block: 12, role, expert: None });
                assert_eq!(names.role(&format!("{name}.weight")), Some(role), "{name}");
                assert_eq!(names.role(&format!("{name}.bias")), None, "{name}");
            }
            let name = names.linear(LinearId { block: 3, role: Role::Up, expert });
            assert_eq!(names.role(&format!("{name}.weight")), Some(Role::Up), "{name}");
        }
        assert_eq!(GGUF.role("blk.0.attn_norm.weight"), None);
        assert_eq!(GGUF.role("blk.x.attn_q.weight"), None);
    }
}
