"""Makes the golden folders of imports: `python make.py OUT [CASE ...]`; see README.md beside it.

Each is a tiny Llama whose layers a library packed, in the library's own layout, with the library's own settings in
config.json, and the logits of transformers in float32 over the weights that the library itself decodes from the
stored tensors. The library is named in the case; where its quantizer needs a GPU, weights are rounded here and only
packing and decoding are the library's.
"""

import json
import os
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from safetensors.torch import save_file

HIDDEN, INNER, LAYERS, HEADS, KV, VOCAB = 64, 96, 2, 4, 2, 128
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": HIDDEN // HEADS,
    "vocab_size": VOCAB, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "hidden_act": "silu", "tie_word_embeddings": True, "torch_dtype": "float16", "attention_bias": False,
    "mlp_bias": False, "bos_token_id": 1, "eos_token_id": 2,
}
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.v_proj": (HIDDEN // 2, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER),
}
TOKENS = [(37 * i * i + 11 * i + 5) % VOCAB for i in range(24)]
POSITIONS = [0, 1, 5, 11, 17, 23]


def original():
    """The model before quantization: layers in float32, the rest in float16."""
    g = torch.Generator().manual_seed(20)
    rest = {"model.embed_tokens.weight": (torch.randn(VOCAB, HIDDEN, generator=g) * 0.5).half(),
            "model.norm.weight": (1 + 0.2 * torch.randn(HIDDEN, generator=g)).half()}
    layers = {}
    for i in range(LAYERS):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            rest[f"model.layers.{i}.{norm}.weight"] = (1 + 0.2 * torch.randn(HIDDEN, generator=g)).half()
        for name, (n, k) in SHAPES.items():
            layers[f"model.layers.{i}.{name}"] = torch.randn(n, k, generator=g) * (1.3 / k**0.5)
    return layers, rest


def logits(layers, rest):
    """Logits of transformers in float32."""
    import transformers

    config = transformers.LlamaConfig(**{k: v for k, v in CONFIG.items() if k not in ("torch_dtype", "architectures")})
    config._attn_implementation = "eager"
    model = transformers.LlamaForCausalLM(config).float().eval()
    state = {k: v.float() for k, v in rest.items()}
    state |= {f"{k}.weight": v.float() for k, v in layers.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
    model.tie_weights()
    with torch.no_grad():
        return model(torch.tensor([TOKENS])).logits[0]


def write(out, name, library, quantization, stored, decoded, rest):
    """One golden folder."""
    folder = Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": quantization}, indent=1) + "\n")
    tensors = {k: v.contiguous().clone() for k, v in (stored | rest).items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    rows = logits(decoded, rest)[POSITIONS].tolist()
    rows = [[float(f"{x:.7g}") for x in row] for row in rows]
    text = json.dumps({"library": library, "tokens": TOKENS, "positions": POSITIONS, "logits": rows})
    (folder / "expected.json").write_text(text.replace("], [", "],\n[") + "\n")
    print(name, f"{max(map(max, rows)):.2f}", flush=True)


def version(*names):
    from importlib.metadata import version as of

    return ", ".join(f"{name} {of(name)}" for name in names)


def rounding(w, bits, group, sym):
    """Scales (float16 values) and zero points of every group of columns, [N, G]."""
    n, k = w.shape
    groups = w.reshape(n, k // group, group)
    top = 2**bits - 1
    if sym:
        scale = (groups.abs().amax(-1) * 2 / top).half().float()
        return scale, torch.full_like(scale, 2 ** (bits - 1))
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scale = ((high - low) / top).half().float()
    return scale, (-low / scale).round().clamp(0, top)


def gptq(out, name, bits, sym, act_order, form, group=32):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
    from gptqmodel.quantization import QuantizeConfig

    layers, rest = original()
    stored, decoded = {}, {}
    for i, (layer, w) in enumerate(layers.items()):
        n, k = w.shape
        size = k if group == -1 else group
        g = torch.Generator().manual_seed(i)
        order = torch.randperm(k, generator=g) if act_order else torch.arange(k)
        scale, zero = rounding(w[:, order], bits, size, sym)
        g_idx = torch.empty(k, dtype=torch.int32)
        g_idx[order] = torch.arange(k, dtype=torch.int32) // size
        linear = torch.nn.Linear(k, n, bias=False)
        linear.weight.data = w
        packed = TorchLinear(bits=bits, group_size=group, sym=sym, desc_act=act_order, in_features=k, out_features=n,
                             bias=False, pack_dtype=torch.int32, register_buffers=True)
        packed.pack_original(linear, scale, zero, g_idx=g_idx)
        packed.post_init()
        packed.scales = packed.scales.float()
        decoded[layer] = packed.dequantize_weight().T.float()
        if form == "gptq":
            config = QuantizeConfig(bits=bits, group_size=group, sym=sym, desc_act=act_order)
            convert_gptq_v2_to_v1_format_module(packed, config)
        stored |= {f"{layer}.qweight": packed.qweight, f"{layer}.qzeros": packed.qzeros,
                   f"{layer}.scales": packed.scales.half(), f"{layer}.g_idx": packed.g_idx.to(torch.int32)}
    settings = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": sym, "desc_act": act_order,
                "checkpoint_format": form, "pack_dtype": "int32", "lm_head": False}
    write(out, name, version("gptqmodel", "torch", "transformers"), settings, stored, decoded, rest)


def compressed(out, name, form, scheme):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    layers, rest = original()
    stored, decoded = {}, {}
    weights = QuantizationArgs(**scheme["weights"])
    activations = QuantizationArgs(**scheme["input_activations"]) if "input_activations" in scheme else None
    scheme = QuantizationScheme(targets=["Linear"], weights=weights, input_activations=activations)
    compressor = BaseCompressor.get_value_from_registry(form)
    for layer, w in layers.items():
        n, k = w.shape
        size = weights.group_size if weights.strategy in ("group", "tensor_group") else k
        state = {"weight": w}
        groups = w.reshape(n, k // size, size)
        low, high = groups.amin(-1), groups.amax(-1)
        if weights.strategy == "tensor":
            low, high = low.amin().reshape(1), high.amax().reshape(1)
        if form == "nvfp4-pack-quantized":
            state["weight_global_scale"] = (448 * 6 / w.abs().max()).reshape(1)
            scale, zero = calculate_qparams(low, high, weights, global_scale=state["weight_global_scale"])
        else:
            scale, zero = calculate_qparams(low, high, weights)
        if form in ("pack-quantized", "int-quantized"):
            scale = scale.to(torch.bfloat16).float()
        state |= {"weight_scale": scale, "weight_zero_point": zero}
        packed = compressor.compress(state, scheme)
        decoded[layer] = compressor.decompress(dict(packed), scheme)["weight"].float()
        if form in ("pack-quantized", "int-quantized"):
            packed["weight_scale"] = packed["weight_scale"].to(torch.bfloat16)
        stored |= {f"{layer}.{part}": value for part, value in packed.items()}
    dump = scheme.model_dump(mode="json") | {"format": form}
    settings = {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
                "config_groups": {"group_0": dump}, "ignore": ["lm_head"], "kv_cache_scheme": None,
                "global_compression_ratio": None}
    write(out, name, version("compressed-tensors", "torch", "transformers"), settings, stored, decoded, rest)


def awq(out, name, group=32):
    from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

    layers, rest = original()
    stored, decoded = {}, {}
    for layer, w in layers.items():
        n, k = w.shape
        scale, zero = rounding(w, 4, group, False)
        linear = torch.nn.Linear(k, n, bias=False)
        linear.weight.data = w
        packed = AwqTorchLinear(bits=4, group_size=group, sym=False, desc_act=False, in_features=k, out_features=n, bias=False)
        packed.pack(linear, scale, zero)
        packed.scales = packed.scales.float()
        args = (packed.qweight, packed.qzeros, packed.scales, 4, group)
        decoded[layer] = dequantize_gemm(*args).T.float()
        stored |= {f"{layer}.{part}": getattr(packed, part) for part in ("qweight", "qzeros")}
        stored[f"{layer}.scales"] = packed.scales.half()
    settings = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm",
                "modules_to_not_convert": None}
    write(out, name, version("gptqmodel", "torch", "transformers"), settings, stored, decoded, rest)


def hqq(out, name, bits, group=32):
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    layers, rest = original()
    stored, decoded = {}, {}
    config = BaseQuantizeConfig(nbits=bits, group_size=group, axis=1)
    for layer, w in layers.items():
        linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        linear.weight.data = w.clone()
        packed = HQQLinear(linear, config, compute_dtype=torch.float16, device="cpu")
        state = {part: value for part, value in packed.state_dict().items() if torch.is_tensor(value)}
        packed.meta["scale"], packed.meta["zero"] = packed.meta["scale"].float(), packed.meta["zero"].float()
        packed.meta["compute_dtype"] = packed.compute_dtype = torch.float32
        decoded[layer] = packed.dequantize().float()
        stored |= {f"{layer}.{part}": value for part, value in state.items()}
    weights = {k: v for k, v in config["weight_quant_params"].items()}
    settings = {"quant_method": "hqq", "skip_modules": ["lm_head"],
                "quant_config": {"weight_quant_params": weights, "scale_quant_params": None, "zero_quant_params": None,
                                 "offload_meta": False}}
    write(out, name, version("hqq", "torch", "transformers"), settings, stored, decoded, rest)


def bnb_int8(out, name):
    from bitsandbytes.functional import int8_vectorwise_dequant, int8_vectorwise_quant

    layers, rest = original()
    stored, decoded = {}, {}
    for layer, w in layers.items():
        codes, scale, _ = int8_vectorwise_quant(w.half())
        decoded[layer] = int8_vectorwise_dequant(codes, scale).float()
        stored |= {f"{layer}.weight": codes, f"{layer}.SCB": scale,
                   f"{layer}.weight_format": torch.tensor(0, dtype=torch.uint8)}
    settings = {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False, "_load_in_8bit": True,
                "_load_in_4bit": False, "llm_int8_threshold": 6.0, "llm_int8_skip_modules": None,
                "llm_int8_has_fp16_weight": False, "bnb_4bit_quant_type": "fp4"}
    write(out, name, version("bitsandbytes", "torch", "transformers"), settings, stored, decoded, rest)


def ct(bits=4, kind="int", strategy="group", group=32, symmetric=True, **more):
    """Settings of weights in compressed-tensors."""
    return {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": symmetric} | more | (
        {"group_size": group} if "group" in strategy else {})


TOKEN8 = ct(8, "int", "token", dynamic=True)
CASES = {
    "gptq-4-sym": lambda out, name: gptq(out, name, 4, True, False, "gptq"),
    "gptq-4-asym-act-order": lambda out, name: gptq(out, name, 4, False, True, "gptq"),
    "gptq-v2-4-asym-act-order": lambda out, name: gptq(out, name, 4, False, True, "gptq_v2"),
    "gptq-v2-3-asym": lambda out, name: gptq(out, name, 3, False, False, "gptq_v2"),
    "gptq-3-sym-act-order": lambda out, name: gptq(out, name, 3, True, True, "gptq"),
    "gptq-2-asym": lambda out, name: gptq(out, name, 2, False, False, "gptq"),
    "gptq-8-sym-row": lambda out, name: gptq(out, name, 8, True, False, "gptq", group=-1),
    "ct-pack-4-sym": lambda out, name: compressed(out, name, "pack-quantized", {"weights": ct()}),
    "ct-pack-4-asym": lambda out, name: compressed(out, name, "pack-quantized", {"weights": ct(symmetric=False)}),
    "ct-pack-8-tensor": lambda out, name: compressed(out, name, "pack-quantized", {"weights": ct(8, strategy="tensor")}),
    "ct-pack-3-asym": lambda out, name: compressed(out, name, "pack-quantized", {"weights": ct(3, symmetric=False)}),
    "ct-pack-8-channel": lambda out, name: compressed(out, name, "pack-quantized", {"weights": ct(8, strategy="channel")}),
    "ct-int-8": lambda out, name: compressed(
        out, name, "int-quantized", {"weights": ct(8, strategy="channel"), "input_activations": TOKEN8}),
    "awq-4": awq,
    "hqq-4": lambda out, name: hqq(out, name, 4),
    "hqq-2": lambda out, name: hqq(out, name, 2),
    "bnb-int8": bnb_int8,
}

if __name__ == "__main__":
    out, *names = sys.argv[1:]
    for name in names or CASES:
        try:
            CASES[name](out, name)
        except Exception as error:
            import traceback
            traceback.print_exc()
            print("FAILED", name, error, flush=True)
