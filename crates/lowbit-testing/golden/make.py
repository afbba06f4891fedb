"""Makes the golden files: `python make.py [CASE ...]`, all cases by default. See ../README.md.

For a case it writes the folder a hub would hold (config.json, model.safetensors filled by formula.py), loads it
with transformers' own loader, runs a fixed prompt in float32 with eager attention, and records logits at some
positions and a greedy continuation with the key-value cache. It refuses to write a file when

- the same model in float64 differs by more than F64_GAP,
- an ablation of the case (cases.py) changes the logits by less than BITE,
- the greedy tokens with the cache are not those without, or their choice hangs by less than GREEDY_MARGIN,
- a value that is rounded to an integer hangs by less than TIE_MARGIN, or a choice of experts by ROUTE_MARGIN.

Where a margin is missed the next prompt is tried; the prompt is part of the file.
"""

import contextlib
import copy
import json
import os
import platform
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # eager everywhere: no compiler needed, and the arithmetic is the source's
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import safetensors.torch
import torch
import transformers

import formula
from cases import CASES, SEVEN
from onebitllm import BitnetForCausalLM

F64_GAP = 1e-5
BITE = 1e-2
GREEDY_MARGIN = 1e-3
ROUTE_MARGIN = 1e-4
TIE_MARGIN = 1.5e-6
ATTEMPTS = 200
POSITIONS = [0, 1, 2, 5, 6, 7, 8, 9, 12, 15, 16, 23, 30, 31]
DTYPES = {"float32": ("F32", torch.float32), "bfloat16": ("BF16", torch.bfloat16), "float16": ("F16", torch.float16)}
HERE = Path(__file__).resolve().parent


def is_onebitllm(config):
    return config["architectures"] == ["BitnetForCausalLM"]


def stored_shapes(config):
    """Checkpoint names and shapes, as transformers itself saves a new model of this configuration."""
    if is_onebitllm(config):
        return {name: list(p.shape) for name, p in BitnetForCausalLM(config).named_parameters()}
    with tempfile.TemporaryDirectory() as folder:
        plain = {k: v for k, v in config.items() if k != "quantization_config"}
        (Path(folder) / "config.json").write_text(json.dumps(plain))
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
        model.save_pretrained(folder)
        with safetensors.safe_open(Path(folder) / "model.safetensors", "pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}


def declare(config):
    """Every tensor of the checkpoint: name, dtype, shape, scale and offset of the formula."""
    dtype = DTYPES[config.get("torch_dtype", config.get("dtype"))][0]
    quantized = config.get("quantization_config", {})
    packed = quantized.get("quantization_mode") == "offline"
    shapes = stored_shapes(config)
    tied = "lm_head.weight" not in shapes
    gemma = config["model_type"].startswith("gemma")
    tensors = []

    def add(name, shape, scale, offset=0.0, dtype=dtype):
        tensors.append({"name": name, "dtype": dtype, "shape": shape,
                        "scale": float(np.float32(scale)), "offset": float(np.float32(offset))})

    for name, shape in shapes.items():
        parts = name.split(".")
        if len(shape) == 1 and parts[-1] == "weight":
            add(name, shape, 0.25, 0.0 if gemma else 1.0)
        elif parts[-1] == "bias":
            add(name, shape, 0.5)
        elif parts[-2] == "embed_tokens":
            add(name, shape, (2 if tied else 1) * (3 / shape[1]) ** 0.5 if tied else 1.0)
        elif packed and parts[-2] in SEVEN:
            add(name, [shape[0] // 4, shape[1]], 0.0, 0.0, "U8")
            size = (1.5 / shape[1]) ** 0.5
            size = 1 / size if quantized["linear_class"] == "bitlinear" else size
            add(name + "_scale", [1], 0.1 * size, size)
        else:
            # Unit variance out; queries, keys and the router sharper, so that position and choice matter.
            gain = 1.5 if parts[-2] in ("q_proj", "k_proj", "qkv_proj", "gate") else 1.0
            add(name, shape, gain * (3 / shape[1]) ** 0.5)
    return tensors


def fill(case, tensors):
    """The checkpoint's tensors by the formula, in their stored types."""
    out = {}
    for t in tensors:
        n, text = int(np.prod(t["shape"])), f"{case.name}/{t['name']}"
        if t["dtype"] == "U8":
            values = torch.from_numpy(formula.packed_ternary(text, n))
        else:
            values = torch.from_numpy(formula.affine(text, n, t["scale"], t["offset"]))
            values = values.to({name: kind for name, kind in DTYPES.values()}[t["dtype"]])
        out[t["name"]] = values.reshape(t["shape"])
    return out


def checksum(weights):
    """FNV-1a of all stored bytes, tensor after tensor: what the Rust side must fill in too."""
    stored = b"".join(w.flatten().view(torch.uint8).numpy().tobytes() for w in weights.values())
    return f"{formula.fnv1a(stored):016x}"


def merged(config, change):
    """`change` laid over `config`, dictionaries key by key."""
    out = copy.deepcopy(config)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out


def load(config, weights):
    """The model in float32, through the loader that published folders go through."""
    if is_onebitllm(config):
        model = BitnetForCausalLM(config)
        model.load_state_dict({k: v.float() for k, v in weights.items()})
        return model.eval()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        safetensors.torch.save_file(weights, Path(folder) / "model.safetensors", {"format": "pt"})
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
            output_loading_info=True,
        )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[kind], (kind, info[kind])
    # A checkpoint that is quantized already keeps its stored types: widen them too.
    return torch.nn.Module.float(model).eval()


@contextlib.contextmanager
def doubled():
    """Makes every upcast to float32 in the model code an upcast to float64."""
    saved = torch.float32, torch.float, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = saved


def logits64(model, ids):
    """The logits with everything, rope tables included, in float64."""
    model = copy.deepcopy(model)
    with doubled():
        if hasattr(model.model, "rotary_emb"):
            model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
        model = model.double()
        for module in model.modules():
            if type(module).__name__ == "BitLinear" and hasattr(module, "weight_scale"):
                module.dtype = torch.float64
        return run(model, ids)


def run(model, ids):
    """Logits [tokens, vocab] of one pass without a cache."""
    with torch.no_grad():
        if isinstance(model, BitnetForCausalLM):
            return model(torch.tensor(ids))
        return model(torch.tensor([ids]), use_cache=False).logits[0]


class Margins:
    """How little the run's discrete choices hang by.

    `tie`: the least distance of a value that is rounded from the nearest tie, over the largest value of its row,
    which is what float32 errors scale with. `route`: the least relative lead of a kept expert over a dropped one.
    """

    def __init__(self):
        self.tie, self.route = float("inf"), float("inf")

    def __enter__(self):
        self.round, self.topk = torch.Tensor.round, torch.topk

        def round(x):
            distance = (x - x.floor() - 0.5).abs() / x.abs().amax(-1, keepdim=True).clamp(min=0.5)
            self.tie = min(self.tie, float(distance.min()))
            return self.round(x)

        def topk(x, k, dim=-1):
            ranked = x.sort(dim=-1, descending=True).values
            if k < x.shape[-1]:
                self.route = min(self.route, float(((ranked[..., k - 1] - ranked[..., k]) / ranked[..., k]).min()))
            return self.topk(x, k, dim=dim)

        torch.Tensor.round, torch.topk = round, topk
        return self

    def __exit__(self, *_):
        torch.Tensor.round, torch.topk = self.round, self.topk


def continuation(model, ids, count):
    """Greedy tokens with the cache, the last step's logits, and the least relative lead of a choice."""
    tokens, lead, cache, step = [], float("inf"), None, list(ids)
    for _ in range(count):
        with torch.no_grad():
            if isinstance(model, BitnetForCausalLM):
                last = model(torch.tensor(ids + tokens))[-1]
            else:
                answer = model(torch.tensor([step]), past_key_values=cache, use_cache=True)
                last, cache = answer.logits[0, -1], answer.past_key_values
        best = last.topk(2).values
        lead = min(lead, float((best[0] - best[1]) / last.abs().max()))
        tokens.append(int(last.argmax()))
        step = tokens[-1:]
    return tokens, last if count else None, lead


def gap(a, b):
    """The largest over positions of max|a - b| / max|b|."""
    a, b = a.double(), b.double()
    return float(((a - b).abs().amax(-1) / b.abs().amax(-1)).max())


def measure(case, model):
    """The first prompt whose margins hold, and what the model says to it."""
    vocab = case.config["vocab_size"]
    for attempt in range(ATTEMPTS):
        ids = formula.tokens(f"{case.name}/tokens/{attempt}", case.tokens, vocab)
        with Margins() as margins:
            logits = run(model, ids)
            greedy, last, lead = continuation(model, ids, case.greedy)
        if margins.tie > TIE_MARGIN and margins.route > ROUTE_MARGIN and lead > GREEDY_MARGIN:
            break
    else:
        raise SystemExit(f"{case.name}: no prompt of {ATTEMPTS} keeps the margins")
    whole = run(model, ids + greedy) if greedy else logits
    for i, token in enumerate(greedy):
        assert int(whole[case.tokens - 1 + i].argmax()) == token, (case.name, "the cache changes the tokens")
    if greedy:
        assert gap(last[None], whole[-2][None]) < F64_GAP, (case.name, "the cache changes the logits")
    return ids, logits, greedy, last, margins, lead, attempt


def make(case):
    tensors = declare(case.config)
    weights = fill(case, tensors)
    model = load(case.config, weights)
    ids, logits, greedy, last, margins, lead, attempt = measure(case, model)
    positions = [p for p in POSITIONS if p < case.tokens - 1] + [case.tokens - 1]
    f64_gap = gap(logits, logits64(model, ids))
    assert f64_gap <= F64_GAP, (case.name, "float64 differs", f64_gap)

    bites = {}
    for label, change in case.bites.items():
        if callable(change):
            other = copy.deepcopy(model)
            change(other)
        else:
            other = load(merged(case.config, change), weights)
        bites[label] = gap(run(other, ids)[positions], logits[positions])
        assert bites[label] > BITE, (case.name, label, bites[label])

    size = logits.abs().max().item()
    assert 0.3 < size < 100, (case.name, "logits are not of order one", size)
    facts = {
        "name": case.name,
        "about": case.about,
        "note": case.note,
        "made_by": "golden/make.py",
        "versions": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0],
                     "transformers": None if is_onebitllm(case.config) else transformers.__version__},
        "f64_gap": float(f"{f64_gap:.3g}"),
        "tie_margin": None if margins.tie == float("inf") else float(f"{margins.tie:.3g}"),
        "route_margin": None if margins.route == float("inf") else float(f"{margins.route:.3g}"),
        "greedy_lead": None if not greedy else float(f"{lead:.3g}"),
        "bites": {label: float(f"{value:.3g}") for label, value in bites.items()},
        "checksum": checksum(weights),
        "config": case.config,
        "tokens": ids,
        "positions": positions,
        "greedy": greedy,
    }
    path = HERE / f"{case.name}.json"
    path.write_text(text(facts, tensors, logits[positions], last))
    kib = path.stat().st_size / 1024
    assert kib < 60, (case.name, kib)
    least = min(bites.items(), key=lambda item: item[1])
    print(f"{case.name:24} {kib:5.1f} KiB  f64 {f64_gap:.1e}  prompt {attempt}  max |logit| {size:.1f}  least bite {least}")


def text(facts, tensors, logits, last):
    """The file: one line for each fact, tensor and row of logits."""
    def row(values):
        return "[" + ",".join(f"{v:.9g}" for v in values.tolist()) + "]"

    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items()]
    lines.append('"tensors": [\n' + ",\n".join(json.dumps(t) for t in tensors) + "\n]")
    lines.append('"logits": [\n' + ",\n".join(row(r) for r in logits) + "\n]")
    lines.append('"greedy_logits": ' + ("null" if last is None else row(last)))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(names):
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    known = {case.name: case for case in CASES}
    for name in names or known:
        if name not in known:
            raise SystemExit(f"no case {name}; there are {', '.join(known)}")
        make(known[name])
    stray = {path.stem for path in HERE.glob("*.json")} - set(known)
    if stray:
        raise SystemExit(f"files of no case: {', '.join(sorted(stray))}")


if __name__ == "__main__":
    main(sys.argv[1:])
