"""The golden cases: the one list of them.

Each case is a `config.json` written the way published folders of that architecture have it, the type its
weights are stored in, and *ablations*: changes after which the logits must differ by more than one percent, so
that a decoder which ignores the feature cannot pass. An ablation is a dict merged into the configuration, or a
function applied to the loaded model.
"""

import torch
from torch import nn

SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def without(*names):
    """Replaces the modules with these last names by the identity."""

    def change(model):
        for path, _ in list(model.named_modules()):
            if path.split(".")[-1] in names:
                parent, leaf = path.rsplit(".", 1)
                setattr(model.get_submodule(parent), leaf, nn.Identity())

    return change


def zeroed(suffix):
    """Sets the parameters whose names end so to zero."""

    def change(model):
        found = [p for name, p in model.named_parameters() if name.endswith(suffix)]
        assert found, suffix
        for p in found:
            p.data.zero_()

    return change


def norms_one_centred(model):
    """Applies weight w where Gemma applies 1 + w."""
    for name, p in model.named_parameters():
        if "norm" in name:
            p.data -= 1.0


def per_head_norm(model):
    """Normalizes q and k head by head where OLMo-2 takes the whole row."""

    class PerHead(nn.Module):
        def __init__(self, inner, dim):
            super().__init__()
            self.inner, self.dim = inner, dim

        def forward(self, x):
            heads = x.unflatten(-1, (-1, self.dim))
            heads = heads * torch.rsqrt(heads.pow(2).mean(-1, keepdim=True) + self.inner.variance_epsilon)
            return self.inner.weight * heads.flatten(-2)

    for layer in model.model.layers:
        a = layer.self_attn
        a.q_norm, a.k_norm = PerHead(a.q_norm, a.head_dim), PerHead(a.k_norm, a.head_dim)


def interleaved_pairs(model):
    """Rotates neighbours (2i, 2i+1) where the folder's layout rotates (i, i + head_dim/2)."""
    for layer in model.model.layers:
        a = layer.self_attn
        for linear in (a.q_proj, a.k_proj):
            rows = linear.weight.data.unflatten(0, (-1, a.head_dim // 2, 2))
            linear.weight.data = rows.transpose(1, 2).flatten(0, 2)


def whole_head_rotates(model):
    """Rotates all of a head where partial_rotary_factor leaves a quarter alone."""
    rope = model.config.rope_parameters
    for key in ("short_factor", "long_factor"):
        rope[key] = rope[key] + rope[key][-1:] * 2
    rope["partial_rotary_factor"] = 1.0
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)


def swap_gate_up(model):
    """Takes the first half of gate_up_proj for up."""
    for layer in model.model.layers:
        w = layer.mlp.gate_up_proj.weight
        half = w.shape[0] // 2
        w.data = torch.cat([w.data[half:], w.data[:half]])


def float_linears(model):
    """Runs the BitNet linears with float activations."""
    import transformers.integrations.bitnet as bitnet

    class Plain(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            m = self.inner
            if isinstance(m, bitnet.BitLinear):
                return x @ bitnet.unpack_weights(m.weight, dtype=x.dtype).T / m.weight_scale
            if m.online_quant:
                return x @ bitnet.WeightQuant.apply(m.weight).T
            return x @ m.weight.T * m.weight_scale

    for path, _ in list(model.named_modules()):
        if path.split(".")[-1] in SEVEN:
            parent, leaf = path.rsplit(".", 1)
            outer = model.get_submodule(parent)
            setattr(outer, leaf, Plain(getattr(outer, leaf)))


def config(architecture, model_type, **keys):
    """A tiny config.json; a key given as `...` is left out of it."""
    base = {
        "architectures": [architecture],
        "model_type": model_type,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 48,
        "initializer_range": 0.02,
        "intermediate_size": 88,
        "max_position_embeddings": 128,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": 101,
    }
    base.update(keys)
    return {k: v for k, v in base.items() if v is not ...}


def llama(**keys):
    return config("LlamaForCausalLM", "llama",
                  **{"attention_bias": False, "mlp_bias": False, "rope_scaling": None, **keys})


def bitnet(**keys):
    base = dict(
        hidden_act="relu2", hidden_size=32, intermediate_size=44, num_attention_heads=4, num_key_value_heads=1,
        rope_theta=500000.0, tie_word_embeddings=True, torch_dtype="bfloat16", vocab_size=96,
    )
    base.update(keys)
    return config("BitNetForCausalLM", "bitnet", **base)


def quantization(linear_class, mode):
    return {"quant_method": "bitnet", "linear_class": linear_class, "quantization_mode": mode}


class Case:
    """One golden file. `tokens` is the prompt's length, `greedy` how many tokens follow it."""

    def __init__(self, name, about, config, bites, tokens=32, greedy=8, note=None):
        self.name, self.about, self.config, self.bites = name, about, config, bites
        self.tokens, self.greedy, self.note = tokens, greedy, note


NO_SCALING = {"rope_scaling": None}

CASES = [
    Case("llama-mha", "Llama 1 and 2: as many key heads as heads, weights in f16",
         llama(num_key_value_heads=4, torch_dtype="float16", rms_norm_eps=1e-2),
         {"rope base": {"rope_theta": 500.0}, "pairs": interleaved_pairs, "norm epsilon": {"rms_norm_eps": 1e-6}}),
    Case("llama-gqa", "Llama 3: grouped heads, weights in bf16",
         llama(torch_dtype="bfloat16", rope_theta=500000.0, num_attention_heads=6, num_key_value_heads=2,
               num_hidden_layers=3),
         {"rope base": {"rope_theta": 10000.0}}),
    Case("llama-biases", "Llama with biases everywhere, a head size of its own and tied embeddings",
         llama(attention_bias=True, mlp_bias=True, head_dim=16, tie_word_embeddings=True),
         {"q bias": zeroed("q_proj.bias"), "k bias": zeroed("k_proj.bias"), "v bias": zeroed("v_proj.bias"),
          "o bias": zeroed("o_proj.bias"), "gate bias": zeroed("gate_proj.bias"), "up bias": zeroed("up_proj.bias"),
          "down bias": zeroed("down_proj.bias")}),
    Case("llama-rope-linear", "Linear rope scaling, the key spelled `type`",
         llama(rope_scaling={"type": "linear", "factor": 4.0}), {"no scaling": NO_SCALING}),
    Case("llama-rope-dynamic", "Dynamic NTK rope scaling on a prompt longer than max_position_embeddings",
         llama(rope_scaling={"type": "dynamic", "factor": 2.0}, max_position_embeddings=16),
         {"no scaling": NO_SCALING}, greedy=0,
         note="every row uses the base of the whole prompt's length; with a cache the answer depends on how the prompt was cut"),
    Case("llama-rope-yarn", "YaRN rope scaling with its attention factor",
         llama(rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
                             "beta_fast": 2.0, "beta_slow": 0.25},
               hidden_size=64, max_position_embeddings=256),
         {"no scaling": NO_SCALING,
          "attention factor": {"rope_scaling": {"attention_factor": 1.0}},
          "beta_fast": {"rope_scaling": {"beta_fast": 32.0}},
          "beta_slow": {"rope_scaling": {"beta_slow": 1.0}},
          "linear": {"rope_scaling": {"rope_type": "linear"}}}),
    Case("llama-rope-llama3", "Llama 3.1 rope scaling with kept, blended and divided frequencies",
         llama(rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 32},
               hidden_size=64, rope_theta=500.0, tie_word_embeddings=True),
         {"no scaling": NO_SCALING, "linear": {"rope_scaling": {"rope_type": "linear"}},
          "low_freq_factor": {"rope_scaling": {"low_freq_factor": 2.0}},
          "high_freq_factor": {"rope_scaling": {"high_freq_factor": 16.0}}}),
    Case("llama-rope-parameters", "The keys of transformers 5: rope_parameters, dtype",
         llama(rope_scaling=..., rope_theta=..., torch_dtype=..., dtype="float32", hidden_size=64,
               rope_parameters={"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
                                "high_freq_factor": 4.0, "original_max_position_embeddings": 32}),
         {"rope base": {"rope_parameters": {"rope_theta": 10000.0}},
          "no scaling": {"rope_parameters": {"rope_type": "default"}}}),
    Case("mistral-window", "Mistral with a sliding window of 7",
         config("MistralForCausalLM", "mistral", sliding_window=7, head_dim=None),
         {"no window": {"sliding_window": None}, "one key more": {"sliding_window": 8},
          "one key fewer": {"sliding_window": 6}}),
    Case("mistral-head-dim", "Mistral-Nemo: a head size that is not hidden size over heads, no window",
         config("MistralForCausalLM", "mistral", sliding_window=None, head_dim=16, rope_theta=1000000.0),
         {"rope base": {"rope_theta": 10000.0}}),
    Case("qwen2", "Qwen2: biases on q, k and v; a sliding window that is switched off",
         config("Qwen2ForCausalLM", "qwen2", tie_word_embeddings=True, rope_theta=1000000.0, use_sliding_window=False,
                sliding_window=5, max_window_layers=1, torch_dtype="bfloat16"),
         {"q bias": zeroed("q_proj.bias"), "k bias": zeroed("k_proj.bias"), "v bias": zeroed("v_proj.bias"),
          "window wrongly on": {"use_sliding_window": True}}),
    Case("qwen2-window", "Qwen2 with its sliding window on, from layer 1 of 3",
         config("Qwen2ForCausalLM", "qwen2", num_hidden_layers=3, use_sliding_window=True, sliding_window=5,
                max_window_layers=1),
         {"no window": {"use_sliding_window": False}, "all layers": {"max_window_layers": 0},
          "one layer fewer": {"max_window_layers": 2}}),
    Case("qwen3", "Qwen3: norms on q and k by head, a head size of its own",
         config("Qwen3ForCausalLM", "qwen3", head_dim=16, attention_bias=False, rope_theta=1000000.0, rope_scaling=None,
                max_window_layers=2, sliding_window=None, use_sliding_window=False, rms_norm_eps=1e-6,
                tie_word_embeddings=True),
         {"q norm": without("q_norm"), "k norm": without("k_norm")}),
    Case("qwen3-moe", "Qwen3-MoE: 3 of 8 experts, weights normalized, one dense layer",
         config("Qwen3MoeForCausalLM", "qwen3_moe", head_dim=16, attention_bias=False, rope_theta=1000000.0,
                rope_scaling=None, num_hidden_layers=3, decoder_sparse_step=1, mlp_only_layers=[1], num_experts=8,
                num_experts_per_tok=3, moe_intermediate_size=24, norm_topk_prob=True, hidden_size=32,
                intermediate_size=56, sliding_window=None, use_sliding_window=False, rms_norm_eps=1e-6),
         {"normalized weights": {"norm_topk_prob": False}, "experts": {"num_experts_per_tok": 2},
          "q norm": without("q_norm")}),
    Case("gemma2", "Gemma 2: soft caps, alternating windows, four norms, scale from query_pre_attn_scalar",
         config("Gemma2ForCausalLM", "gemma2", hidden_act="gelu_pytorch_tanh", hidden_activation="gelu_pytorch_tanh",
                attention_bias=False, attn_logit_softcapping=3.0, final_logit_softcapping=2.0, head_dim=16,
                num_hidden_layers=4, query_pre_attn_scalar=6, sliding_window=6, rms_norm_eps=1e-6,
                tie_word_embeddings=True, torch_dtype="bfloat16"),
         {"attention cap": {"attn_logit_softcapping": None}, "final cap": {"final_logit_softcapping": None},
          "scale": {"query_pre_attn_scalar": 16}, "window": {"sliding_window": 1000},
          "one key more": {"sliding_window": 7},
          "which layers": {"layer_types": ["full_attention", "sliding_attention"] * 2},
          "activation": {"hidden_activation": "silu"},
          "one-centred norms": norms_one_centred,
          "norms after": without("post_attention_layernorm", "post_feedforward_layernorm")}),
    Case("gemma3", "Gemma 3 text: q and k norms, two rope bases, windows in two of three layers, linear scaling",
         config("Gemma3ForCausalLM", "gemma3_text", hidden_act=..., hidden_activation="gelu_pytorch_tanh",
                attention_bias=False, attn_logit_softcapping=None, final_logit_softcapping=None, head_dim=16,
                num_hidden_layers=4, query_pre_attn_scalar=24, rope_local_base_freq=100.0, rope_theta=1000.0,
                rope_scaling={"factor": 2.0, "rope_type": "linear"}, sliding_window=6, sliding_window_pattern=3,
                rms_norm_eps=1e-6, tie_word_embeddings=...),
         {"local base": {"rope_local_base_freq": 1000.0}, "global base": {"rope_theta": 100.0},
          "scaling": {"rope_scaling": None}, "window": {"sliding_window": 1000},
          "one key more": {"sliding_window": 7}, "pattern": {"sliding_window_pattern": 2},
          "scale": {"query_pre_attn_scalar": 16}, "q norm": without("q_norm"),
          "one-centred norms": norms_one_centred}),
    Case("gemma3-rope-parameters", "Gemma 3 text with the keys of transformers 5: nested rope_parameters, layer_types",
         config("Gemma3ForCausalLM", "gemma3_text", hidden_act=..., hidden_activation="gelu_pytorch_tanh", head_dim=16,
                rope_theta=..., torch_dtype=..., dtype="float32", num_hidden_layers=3, query_pre_attn_scalar=16,
                layer_types=["sliding_attention", "full_attention", "sliding_attention"], sliding_window=6,
                rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 1000.0},
                                 "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}},
                final_logit_softcapping=2.0, rms_norm_eps=1e-6, tie_word_embeddings=True),
         {"local base": {"rope_parameters": {"sliding_attention": {"rope_theta": 1000.0}}},
          "global base": {"rope_parameters": {"full_attention": {"rope_theta": 100.0}}},
          "final cap": {"final_logit_softcapping": None},
          "which layers": {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}}),
    Case("phi3-window", "Phi-3-mini-4k: fused q, k, v and gate, up; sliding window",
         config("Phi3ForCausalLM", "phi3", pad_token_id=0, sliding_window=9, rope_scaling=None, original_max_position_embeddings=128,
                num_key_value_heads=4),
         {"window": {"sliding_window": None}, "gate before up": swap_gate_up}),
    Case("phi3-longrope-short", "Phi-3.5: longrope within the original length, short factors",
         config("Phi3ForCausalLM", "phi3", pad_token_id=0, sliding_window=None, original_max_position_embeddings=64,
                rope_scaling={"type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.7, 2.0, 3.0],
                              "long_factor": [1.0, 2.0, 4.0, 8.0, 9.0, 12.0]}),
         {"short factors": {"rope_scaling": {"short_factor": [1.0] * 6}},
          "attention factor": {"max_position_embeddings": 64}}),
    Case("phi3-longrope-long", "Phi-4-mini: longrope past the original length, three quarters of a head rotated, tied",
         config("Phi3ForCausalLM", "phi3", pad_token_id=0, sliding_window=None, hidden_size=64, original_max_position_embeddings=16,
                partial_rotary_factor=0.75, tie_word_embeddings=True,
                rope_scaling={"type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.7, 2.0, 3.0],
                              "long_factor": [1.0, 2.0, 4.0, 8.0, 9.0, 12.0]}),
         {"long factors": {"rope_scaling": {"long_factor": [1.0, 1.1, 1.3, 1.7, 2.0, 3.0]}},
          "attention factor": {"max_position_embeddings": 16},
          "part of the head": whole_head_rotates}),
    Case("smollm3", "SmolLM3: one layer in two without rope, given as a list",
         config("SmolLM3ForCausalLM", "smollm3", pad_token_id=0, num_hidden_layers=4, no_rope_layer_interval=4,
                no_rope_layers=[1, 0, 1, 0], rope_theta=5000000.0, rope_scaling=None, use_sliding_window=False,
                sliding_window=None, tie_word_embeddings=True, attention_bias=False, mlp_bias=False),
         {"rope everywhere": {"no_rope_layers": [1, 1, 1, 1]}, "the other layers": {"no_rope_layers": [0, 1, 0, 1]},
          "by interval": {"no_rope_layers": [1, 1, 1, 0]}}),
    Case("smollm3-interval", "SmolLM3: layers without rope by interval, tied by default",
         config("SmolLM3ForCausalLM", "smollm3", pad_token_id=0, num_hidden_layers=3, no_rope_layer_interval=3, rope_theta=10000.0,
                tie_word_embeddings=...),
         {"rope everywhere": {"no_rope_layer_interval": 9}, "another interval": {"no_rope_layer_interval": 2}}),
    Case("olmo2", "OLMo-2: norms only after, q and k normalized over the whole row",
         config("Olmo2ForCausalLM", "olmo2", attention_bias=False, rope_theta=500000.0, rope_scaling=None,
                num_hidden_layers=3, rms_norm_eps=1e-6),
         {"q norm": without("q_norm"), "k norm": without("k_norm"), "norm by head": per_head_norm,
          "norms after": without("post_attention_layernorm", "post_feedforward_layernorm")}),
    Case("bitnet-online", "BitNet b1.58 2B-4T, master weights quantized while running",
         bitnet(quantization_config=quantization("autobitlinear", "online")),
         {"attention sub-norm": without("attn_sub_norm"), "ffn sub-norm": without("ffn_sub_norm"),
          "activation": {"hidden_act": "silu"}, "8-bit activations": float_linears}, tokens=24),
    Case("bitnet-packed", "BitNet b1.58 2B-4T, packed ternary weights, scale multiplied",
         bitnet(quantization_config=quantization("autobitlinear", "offline")),
         {"attention sub-norm": without("attn_sub_norm"), "ffn sub-norm": without("ffn_sub_norm"),
          "activation": {"hidden_act": "silu"}, "8-bit activations": float_linears}, tokens=24),
    Case("llama-bitlinear", "Llama with packed BitNet linears, scale divided (HF1BitLLM)",
         llama(hidden_size=32, intermediate_size=44, vocab_size=96, torch_dtype="bfloat16",
               quantization_config=quantization("bitlinear", "offline")),
         {"8-bit activations": float_linears}, tokens=24),
    Case("bitnet-1bitllm", "BitNet b1.58 as 1bitLLM published it; f16 master weights",
         config("BitnetForCausalLM", "llama", hidden_size=32, intermediate_size=44, num_key_value_heads=4,
                input_bits=8, weight_bits=1, rope_scaling=None, tie_word_embeddings=True, torch_dtype="float16",
                vocab_size=96),
         {"inner_attn_ln": without("inner_attn_ln"), "ffn_layernorm": without("ffn_layernorm"),
          "8-bit activations": {"input_bits": 16}}, tokens=24),
    Case("mixtral", "Mixtral: 2 of 4 experts, weights normalized",
         config("MixtralForCausalLM", "mixtral", hidden_size=32, intermediate_size=40, num_local_experts=4,
                num_experts_per_tok=2, sliding_window=None, rope_theta=1000000.0, output_router_logits=False),
         {"experts": {"num_experts_per_tok": 3}, "one expert": {"num_experts_per_tok": 1}}),
]
