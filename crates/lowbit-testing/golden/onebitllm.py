"""The 1bitLLM layout of BitNet b1.58 (`BitnetForCausalLM`), written from its public description.

transformers has no such model, so this is the independent implementation: a Llama block whose seven linear
layers quantize their weight per tensor (absmean, ternary) and their input per token (absmax, 8 bits), with an
RMS norm before the attention output projection and one before the down projection. Module names are the
checkpoint's.
"""

import torch
from torch import nn


class RmsNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return self.weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.eps)


def quantize_weight(w):
    scale = 1.0 / w.abs().mean().clamp(min=1e-5)
    return (w * scale).round().clamp(-1, 1) / scale


def quantize_activation(x, bits):
    high = 2 ** (bits - 1) - 1
    scale = high / x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5)
    return (x * scale).round().clamp(-high - 1, high) / scale


class BitLinear(nn.Module):
    def __init__(self, inputs, outputs, bits):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bits = bits

    def forward(self, x):
        return quantize_activation(x, self.bits) @ quantize_weight(self.weight).T


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        hidden, bits = c["hidden_size"], c["input_bits"]
        self.heads, self.kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        self.head_dim = hidden // self.heads
        self.theta = c["rope_theta"]
        kv = self.kv_heads * self.head_dim
        self.q_proj = BitLinear(hidden, hidden, bits)
        self.k_proj = BitLinear(hidden, kv, bits)
        self.v_proj = BitLinear(hidden, kv, bits)
        self.o_proj = BitLinear(hidden, hidden, bits)
        self.inner_attn_ln = RmsNorm(hidden, c["rms_norm_eps"])

    def rotate(self, x):
        # Pairs are (i, i + head_dim/2); angles in float64 so that only the product is rounded.
        half = self.head_dim // 2
        freq = self.theta ** (-torch.arange(half, dtype=torch.float64) * 2 / self.head_dim)
        angle = torch.arange(x.shape[0], dtype=torch.float64)[:, None, None] * freq
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

    def forward(self, x):
        n = x.shape[0]
        q = self.rotate(self.q_proj(x).view(n, self.heads, self.head_dim))
        k = self.rotate(self.k_proj(x).view(n, self.kv_heads, self.head_dim))
        v = self.v_proj(x).view(n, self.kv_heads, self.head_dim)
        k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
        v = v.repeat_interleave(self.heads // self.kv_heads, dim=1)
        scores = torch.einsum("ihd,jhd->hij", q, k) / self.head_dim**0.5
        future = torch.ones(n, n, dtype=torch.bool).triu(1)
        probs = scores.masked_fill(future, float("-inf")).softmax(-1)
        mixed = torch.einsum("hij,jhd->ihd", probs, v).reshape(n, -1)
        return self.o_proj(self.inner_attn_ln(mixed))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        hidden, inner, bits = c["hidden_size"], c["intermediate_size"], c["input_bits"]
        self.gate_proj = BitLinear(hidden, inner, bits)
        self.up_proj = BitLinear(hidden, inner, bits)
        self.down_proj = BitLinear(inner, hidden, bits)
        self.ffn_layernorm = RmsNorm(inner, c["rms_norm_eps"])

    def forward(self, x):
        gate = self.gate_proj(x)
        return self.down_proj(self.ffn_layernorm(gate * torch.sigmoid(gate) * self.up_proj(x)))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RmsNorm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RmsNorm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = Mlp(c)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RmsNorm(c["hidden_size"], c["rms_norm_eps"])


class BitnetForCausalLM(nn.Module):
    """Tied embeddings; the head is not quantized. `forward` takes ids [T] and gives logits [T, vocab]."""

    def __init__(self, c):
        super().__init__()
        if not c["tie_word_embeddings"]:
            raise ValueError("the published checkpoints tie the head to the embedding")
        self.model = Body(c)

    def forward(self, ids):
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x)
        return self.model.norm(x) @ self.model.embed_tokens.weight.T
