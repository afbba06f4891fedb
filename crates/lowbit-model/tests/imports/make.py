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
TOKENS = [(37 * i * i + 11 * i + 5) % VOCAB for i in range(24)]
POSITIONS = [0, 1, 5, 11, 17, 23]


def shapes(inner):
    """Rows and columns of the layers of a block."""
    return {
        "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
        "self_attn.v_proj": (HIDDEN // 2, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (inner, HIDDEN), "mlp.up_proj": (inner, HIDDEN), "mlp.down_proj": (HIDDEN, inner),
    }


def original(inner=INNER):
    """The model before quantization: layers in float32, the rest in float16."""
    g = torch.Generator().manual_seed(20)
    rest = {"model.embed_tokens.weight": (torch.randn(VOCAB, HIDDEN, generator=g) * 0.5).half(),
            "model.norm.weight": (1 + 0.2 * torch.randn(HIDDEN, generator=g)).half()}
    layers = {}
    for i in range(LAYERS):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            rest[f"model.layers.{i}.{norm}.weight"] = (1 + 0.2 * torch.randn(HIDDEN, generator=g)).half()
        for name, (n, k) in shapes(inner).items():
            layers[f"model.layers.{i}.{name}"] = torch.randn(n, k, generator=g) * (1.3 / k**0.5)
    return layers, rest


def logits(layers, rest):
    """Logits of transformers in float32."""
    import transformers

    inner = layers["model.layers.0.mlp.up_proj"].shape[0]
    settings = {k: v for k, v in CONFIG.items() if k not in ("torch_dtype", "architectures")}
    config = transformers.LlamaConfig(**settings | {"intermediate_size": inner})
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
    inner = decoded["model.layers.0.mlp.up_proj"].shape[0]
    config = CONFIG | {"intermediate_size": inner, "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
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


def tiles(w, rows, columns):
    """Blocks of a matrix, zeros where it does not fill the last: [N/rows, rows, K/columns, columns]."""
    n, k = w.shape
    w = torch.nn.functional.pad(w, (0, -k % columns, 0, -n % rows))
    return w.reshape(w.shape[0] // rows, rows, w.shape[1] // columns, columns)


def compressed(out, name, form, scheme, inner=INNER):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.mx_utils import decompress_mx_scale
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize
    from compressed_tensors.quantization.utils import calculate_qparams

    layers, rest = original(inner)
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
        if weights.strategy == "block":
            blocks = tiles(w, *weights.block_structure)
            low, high = blocks.amin((1, 3)), blocks.amax((1, 3))
        if form == "nvfp4-pack-quantized":
            state["weight_global_scale"] = (448 * 6 / w.abs().max()).reshape(1)
            scale, zero = calculate_qparams(low, high, weights, global_scale=state["weight_global_scale"])
        else:
            scale, zero = calculate_qparams(low, high, weights)
        if form in ("pack-quantized", "int-quantized"):
            scale = scale.to(torch.bfloat16).float()
        state |= {"weight_scale": scale, "weight_zero_point": zero}
        packed = compressor.compress(state, scheme)
        if "fp4" in form:
            # As the library decodes them, but to single precision.
            codes = unpack_fp4_from_uint8(packed["weight_packed"], n, k, torch.float32)
            stored_scale = packed["weight_scale"]
            stored_scale = decompress_mx_scale(stored_scale) if form.startswith("mx") else stored_scale
            decoded[layer] = dequantize(codes, stored_scale.float(), args=weights, dtype=torch.float32,
                                        global_scale=packed.get("weight_global_scale"))
        else:
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


def bnb_4bit(out, name, table, double, inner=INNER, block=32):
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    layers, rest = original(inner)
    stored, decoded = {}, {}
    for layer, w in layers.items():
        codes, state = quantize_4bit(w, blocksize=block, compress_statistics=double, quant_type=table)
        assert state.dtype == torch.float32
        decoded[layer] = dequantize_4bit(codes, state).float()
        stored |= {f"{layer}.weight": codes}
        stored |= {f"{layer}.weight.{part}": value for part, value in state.as_dict(packed=True).items()}
    settings = {"quant_method": "bitsandbytes", "load_in_8bit": False, "load_in_4bit": True, "_load_in_8bit": False,
                "_load_in_4bit": True, "llm_int8_threshold": 6.0, "llm_int8_skip_modules": None,
                "llm_int8_has_fp16_weight": False, "bnb_4bit_quant_type": table, "bnb_4bit_compute_dtype": "float32",
                "bnb_4bit_use_double_quant": double, "bnb_4bit_quant_storage": "uint8"}
    write(out, name, version("bitsandbytes", "torch", "transformers"), settings, stored, decoded, rest)


def fp8(out, name, block):
    from types import SimpleNamespace

    from transformers import FineGrainedFP8Config
    from transformers.integrations.finegrained_fp8 import Fp8Quantize, _dequantize_fp8_weight

    layers, rest = original()
    stored, decoded = {}, {}
    for layer, w in layers.items():
        n, k = w.shape
        rows, columns = block or (n, k)
        # The library's quantizer wants whole blocks, its reader does not.
        whole = torch.nn.functional.pad(w, (0, -k % columns, 0, -n % rows))
        config = FineGrainedFP8Config(weight_block_size=(rows, columns))
        made = Fp8Quantize(SimpleNamespace(quantization_config=config)).convert({f"{layer}.weight": whole})
        codes, scale = made[f"{layer}.weight"][:n, :k].contiguous(), made[f"{layer}.weight_scale_inv"]
        scale = scale if block else scale.reshape(())
        decoded[layer] = _dequantize_fp8_weight(codes, scale, block, torch.float32)
        stored |= {f"{layer}.weight": codes, f"{layer}.weight_scale_inv": scale}
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": block,
                "modules_to_not_convert": ["lm_head"]}
    write(out, name, version("transformers", "torch"), settings, stored, decoded, rest)


def ct(bits=4, kind="int", strategy="group", group=32, symmetric=True, **more):
    """Settings of weights in compressed-tensors."""
    return {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": symmetric} | more | (
        {"group_size": group} if "group" in strategy else {})


FLOAT8 = ct(8, "float", "token", dynamic=True)
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
    "bnb-nf4": lambda out, name: bnb_4bit(out, name, "nf4", False),
    # Wide enough for scales of scales to have more than one group.
    "bnb-nf4-double": lambda out, name: bnb_4bit(out, name, "nf4", True, inner=160),
    "bnb-fp4": lambda out, name: bnb_4bit(out, name, "fp4", False),
    "ct-fp8-tensor": lambda out, name: compressed(
        out, name, "float-quantized", {"weights": ct(8, "float", "tensor"), "input_activations": FLOAT8}),
    "ct-fp8-channel": lambda out, name: compressed(
        out, name, "float-quantized", {"weights": ct(8, "float", "channel"), "input_activations": FLOAT8}),
    "ct-fp8-block": lambda out, name: compressed(
        out, name, "float-quantized",
        {"weights": ct(8, "float", "block", block_structure=[48, 64]), "input_activations": FLOAT8}),
    "ct-mxfp8": lambda out, name: compressed(
        out, name, "mxfp8-quantized", {"weights": ct(8, "float", "group", 32, scale_dtype="torch.uint8")}),
    "fp8-block": lambda out, name: fp8(out, name, [48, 64]),
    "fp8-tensor": lambda out, name: fp8(out, name, None),
    "ct-nvfp4": lambda out, name: compressed(
        out, name, "nvfp4-pack-quantized",
        {"weights": ct(4, "float", "tensor_group", 16, scale_dtype="torch.float8_e4m3fn")}, inner=128),
    "ct-mxfp4": lambda out, name: compressed(
        out, name, "mxfp4-pack-quantized", {"weights": ct(4, "float", "group", 32, scale_dtype="torch.uint8")}),
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
