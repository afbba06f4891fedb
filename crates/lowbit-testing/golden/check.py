"""A second opinion on the golden files: every architecture once more, in float64 with numpy alone.

`python check.py [CASE ...]` fills each case's weights by the formula, computes its logits by what is written here
(no line of it comes from transformers, which made the files) and fails where they differ by more than TOLERANCE,
for the prompt and for the last greedy step. It is also the shortest description of what the decoder must do.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

import formula

TOLERANCE = 1e-5
HERE = Path(__file__).resolve().parent


def bfloat16(values):
    """float32 rounded to bfloat16, ties to even."""
    bits = values.view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16).astype(np.uint32).view(np.float32)


def stored(case, tensor):
    n, text = int(np.prod(tensor["shape"])), f"{case['name']}/{tensor['name']}"
    if tensor["dtype"] == "U8":
        return formula.packed_ternary(text, n).reshape(tensor["shape"])
    values = formula.affine(text, n, tensor["scale"], tensor["offset"])
    rounded = {"F32": lambda v: v, "BF16": bfloat16, "F16": lambda v: v.astype(np.float16)}[tensor["dtype"]](values)
    return rounded.astype(np.float64).reshape(tensor["shape"])


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def activation(name, x):
    if name == "silu":
        return x / (1 + np.exp(-x))
    if name == "relu2":
        return np.maximum(x, 0) ** 2
    assert name == "gelu_pytorch_tanh", name
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def soft_cap(x, cap):
    return cap * np.tanh(x / cap) if cap else x


def frequencies(theta, scaling, size, config, total):
    """Inverse frequencies of `size`/2 pairs, and the factor on cosine and sine, for `total` positions."""
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    limit = config["max_position_embeddings"]
    original = config.get("original_max_position_embeddings") or scaling.get("original_max_position_embeddings", limit)
    pair = np.arange(size // 2)
    if kind == "dynamic":
        stretch = scaling["factor"] * max(total, limit) / limit - (scaling["factor"] - 1)
        theta *= stretch ** (size / (size - 2))
    freq = theta ** (-2 * pair / size)
    if kind in ("default", "dynamic"):
        return freq, 1.0
    if kind == "linear":
        return freq / scaling["factor"], 1.0
    if kind == "llama3":
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        turns = original * freq / (2 * math.pi)
        # 0 divides by the factor, 1 keeps; between low and high turns it blends.
        keep = np.clip((turns - low) / (high - low), 0, 1)
        return freq * (keep + (1 - keep) / scaling["factor"]), 1.0
    if kind == "yarn":
        def pair_of(turns):
            return size * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

        first = max(math.floor(pair_of(scaling.get("beta_fast") or 32)), 0)
        last = min(math.ceil(pair_of(scaling.get("beta_slow") or 1)), size - 1)
        divide = np.clip((pair - first) / max(last - first, 0.001), 0, 1)
        factor = scaling["factor"]
        attention = scaling.get("attention_factor") or 0.1 * math.log(factor) + 1
        return freq * (1 - divide) + freq / factor * divide, attention
    assert kind == "longrope", kind
    freq = freq / np.array(scaling["long_factor" if total > original else "short_factor"])
    factor = scaling.get("factor") or limit / original
    return freq, math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0


def window(config, layer):
    """How many keys a query of this layer sees, itself included; None for all before it."""
    kind = config["model_type"]
    if kind in ("mistral", "mixtral", "phi3"):
        return config["sliding_window"]
    if kind in ("qwen2", "qwen3"):
        slides = config["use_sliding_window"] and layer >= config["max_window_layers"]
    elif kind == "gemma2":
        slides = layer % 2 == 0
    elif kind == "gemma3_text" and "layer_types" in config:
        slides = config["layer_types"][layer] == "sliding_attention"
    elif kind == "gemma3_text":
        slides = (layer + 1) % config["sliding_window_pattern"] != 0
    else:
        slides = False
    return config["sliding_window"] if slides else None


def rope(config, layer):
    """The layer's base and scaling, or None where q and k are not rotated."""
    if config["model_type"] == "smollm3":
        listed = config.get("no_rope_layers")
        if not (listed[layer] if listed else (layer + 1) % config["no_rope_layer_interval"]):
            return None
    parameters = config.get("rope_parameters")
    if config["model_type"] == "gemma3_text":
        local = window(config, layer) is not None
        if parameters:
            parameters = parameters["sliding_attention" if local else "full_attention"]
        elif local:
            return config["rope_local_base_freq"], {}
    if parameters:
        return parameters["rope_theta"], parameters
    return config["rope_theta"], config.get("rope_scaling") or {}


class Model:
    def __init__(self, case):
        self.config = case["config"]
        self.weights = {t["name"]: stored(case, t) for t in case["tensors"]}
        self.kind = self.config["model_type"]
        self.gemma = self.kind.startswith("gemma")
        self.onebitllm = self.config["architectures"] == ["BitnetForCausalLM"]
        self.quantization = self.config.get("quantization_config")
        self.heads = self.config["num_attention_heads"]
        self.kv_heads = self.config["num_key_value_heads"]
        self.head_dim = self.config.get("head_dim") or self.config["hidden_size"] // self.heads

    def norm(self, x, name):
        gain = self.weights[name + ".weight"] + (1 if self.gemma else 0)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.config["rms_norm_eps"]) * gain

    def linear(self, x, name):
        w = self.weights[name + ".weight"]
        if self.quantization or self.onebitllm:
            return self.bit_linear(x, w, name)
        return x @ w.T + self.weights.get(name + ".bias", 0)

    def bit_linear(self, x, w, name):
        """Input per token to 8 bits by its largest value; weight ternary by its mean magnitude, or packed."""
        x_scale = 127 / np.maximum(np.abs(x).max(-1, keepdims=True), 1e-5)
        codes = np.clip(np.round(x * x_scale), -128, 127)
        if self.onebitllm or self.quantization["quantization_mode"] == "online":
            w_scale = 1 / max(np.abs(w).mean(), 1e-5)
            return codes @ np.clip(np.round(w * w_scale), -1, 1).T / (x_scale * w_scale)
        # Bits 2j, 2j+1 of row r are the code of row r + j * rows.
        ternary = np.concatenate([((w >> (2 * j)) & 3).astype(np.float64) - 1 for j in range(4)])
        w_scale = self.weights[name + ".weight_scale"][0]
        if self.quantization["linear_class"] == "autobitlinear":
            return codes @ ternary.T / x_scale * w_scale
        return codes @ ternary.T / (x_scale * w_scale)

    def rotate(self, x, layer, total):
        chosen = rope(self.config, layer)
        if chosen is None:
            return x
        size = int(self.head_dim * self.config.get("partial_rotary_factor", 1.0))
        freq, factor = frequencies(*chosen, size, self.config, total)
        angle = np.arange(total)[:, None, None] * freq
        cos, sin = np.cos(angle) * factor, np.sin(angle) * factor
        a, b = x[..., : size // 2], x[..., size // 2 : size]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin, x[..., size:]], axis=-1)

    def attention(self, x, layer):
        at, n = f"model.layers.{layer}.self_attn.", len(x)
        sizes = np.array([self.heads, self.kv_heads]) * self.head_dim
        if self.kind == "phi3":
            q, k, v = np.split(self.linear(x, at + "qkv_proj"), sizes.cumsum(), axis=-1)
        else:
            q, k, v = (self.linear(x, at + name) for name in ("q_proj", "k_proj", "v_proj"))
        if self.kind == "olmo2":
            q, k = self.norm(q, at + "q_norm"), self.norm(k, at + "k_norm")
        q, k, v = (m.reshape(n, -1, self.head_dim) for m in (q, k, v))
        if self.kind in ("qwen3", "qwen3_moe", "gemma3_text"):
            q, k = self.norm(q, at + "q_norm"), self.norm(k, at + "k_norm")
        q, k = self.rotate(q, layer, n), self.rotate(k, layer, n)
        k, v = (np.repeat(m, self.heads // self.kv_heads, axis=1) for m in (k, v))
        divisor = self.config["query_pre_attn_scalar"] if self.gemma else self.head_dim
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(divisor)
        if self.kind == "gemma2":
            scores = soft_cap(scores, self.config["attn_logit_softcapping"])
        behind = np.arange(n)[:, None] - np.arange(n)[None, :]
        seen = (behind >= 0) & (behind < (window(self.config, layer) or n))
        mixed = np.einsum("hij,jhd->ihd", softmax(np.where(seen, scores, -np.inf)), v).reshape(n, -1)
        if self.kind == "bitnet":
            mixed = self.norm(mixed, at + "attn_sub_norm")
        if self.onebitllm:
            mixed = self.norm(mixed, at + "inner_attn_ln")
        return self.linear(mixed, at + "o_proj")

    def gated(self, x, gate, up, down, inner_norm=None):
        name = self.config["hidden_activation" if self.gemma else "hidden_act"]
        inner = activation(name, self.linear(x, gate)) * self.linear(x, up)
        return self.linear(self.norm(inner, inner_norm) if inner_norm else inner, down)

    def experts(self, x, at, names, normalized):
        probs = softmax(x @ self.weights[at + "gate.weight"].T)
        out = np.zeros_like(x)
        for i, row in enumerate(probs):
            chosen = np.argsort(-row)[: self.config["num_experts_per_tok"]]
            total = row[chosen].sum() if normalized else 1.0
            for e in chosen:
                out[i] += row[e] / total * self.gated(x[i], *(f"{at}experts.{e}.{name}" for name in names))
        return out

    def mlp(self, x, layer):
        at, config = f"model.layers.{layer}.mlp.", self.config
        if self.kind == "mixtral":
            return self.experts(x, f"model.layers.{layer}.block_sparse_moe.", ("w1", "w3", "w2"), True)
        names = ("gate_proj", "up_proj", "down_proj")
        if self.kind == "qwen3_moe" and layer not in config["mlp_only_layers"]:
            return self.experts(x, at, names, config["norm_topk_prob"])
        if self.kind == "phi3":
            gate, up = np.split(self.linear(x, at + "gate_up_proj"), 2, axis=-1)
            return self.linear(activation(config["hidden_act"], gate) * up, at + "down_proj")
        inner = at + "ffn_sub_norm" if self.kind == "bitnet" else at + "ffn_layernorm" if self.onebitllm else None
        return self.gated(x, *(at + name for name in names), inner)

    def logits(self, tokens):
        """Logits [tokens, vocab] of one pass."""
        embedding = self.weights["model.embed_tokens.weight"]
        x = embedding[tokens] * (math.sqrt(self.config["hidden_size"]) if self.gemma else 1.0)
        before = [None, None] if self.kind == "olmo2" else ["input_layernorm", "post_attention_layernorm"]
        after = ["post_attention_layernorm", "post_feedforward_layernorm"] if self.kind == "olmo2" else [None, None]
        if self.gemma:
            before = ["input_layernorm", "pre_feedforward_layernorm"]
            after = ["post_attention_layernorm", "post_feedforward_layernorm"]
        for layer in range(self.config["num_hidden_layers"]):
            for part, pre, post in zip((self.attention, self.mlp), before, after):
                y = part(self.norm(x, f"model.layers.{layer}.{pre}") if pre else x, layer)
                x = x + (self.norm(y, f"model.layers.{layer}.{post}") if post else y)
        x = self.norm(x, "model.norm")
        head = self.weights.get("lm_head.weight", embedding)
        return soft_cap(x @ head.T, self.config.get("final_logit_softcapping"))


def gap(a, b):
    return (np.abs(a - b).max(-1) / np.abs(b).max(-1)).max()


def main(names):
    paths = [HERE / f"{name}.json" for name in names] or sorted(HERE.glob("*.json"))
    bad = 0
    for path in paths:
        case = json.loads(path.read_text())
        model = Model(case)
        gaps = [gap(model.logits(case["tokens"])[case["positions"]], np.array(case["logits"]))]
        if case["greedy"]:
            last = model.logits(case["tokens"] + case["greedy"][:-1])[-1:]
            gaps.append(gap(last, np.array([case["greedy_logits"]])))
        verdict = "ok" if max(gaps) <= TOLERANCE else "DIFFERS"
        bad += verdict != "ok"
        print(f"{case['name']:24} {verdict:8}", *(f"{g:.1e}" for g in gaps))
    if bad:
        raise SystemExit(f"{bad} of {len(paths)} cases differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main(sys.argv[1:])
