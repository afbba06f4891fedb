"""Quantizes a folder of floats by llm-compressor, with the calibration windows that `lowbit quantize` takes.

    python llm_compressor.py FOLDER TEXT.jsonl.gz OUT [--method gptq|awq] [--duo] [--bits 4] [--group 64]
        [--samples 32] [--length 512]

Group scales with zero points, the head left alone; OUT is a compressed-tensors folder, which lowbit reads. GPTQ has
static act-order and a damping of 0.01. AWQ has scales from inputs alone, as lowbit's, or from inputs and weights with
`--duo`. See README.md.
"""

import argparse
import gzip
import hashlib
import json
import pathlib
import struct
import sys

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "lowbit-io/tests/golden"))
from samples import starts  # noqa: E402


def windows(tokenizer, text, samples, length):
    """What `lowbit quantize --calib TEXT --samples N --length L` cuts, and the hash that its provenance has."""
    with gzip.open(text, "rt", encoding="utf-8") as lines:
        documents = [json.loads(line)["text"] for line in lines]
    ids = [i for d in documents for i in tokenizer(d, add_special_tokens=False)["input_ids"]]
    cut = [ids[start : start + length] for start in starts(len(ids), samples, length, 0)]
    sha256 = hashlib.sha256()
    for window in cut:
        sha256.update(struct.pack(f"<Q{len(window)}I", len(window), *window))
    return cut, sha256.hexdigest()


def recipe(method, bits, group, duo):
    """What llm-compressor does, with layers rounded to the same grid."""
    weights = {"num_bits": bits, "type": "int", "symmetric": False, "strategy": "group", "group_size": group}
    where = {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}, "ignore": ["lm_head"]}
    if method == "gptq":
        return GPTQModifier(dampening_frac=0.01, block_size=128, actorder="static", **where)
    return [AWQModifier(duo_scaling=duo), QuantizationModifier(**where)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("text")
    parser.add_argument("out")
    parser.add_argument("--method", choices=["gptq", "awq"], default="gptq")
    parser.add_argument("--duo", action="store_true")
    for name, default in [("bits", 4), ("group", 64), ("samples", 32), ("length", 512)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        # AWQ pins memory for a GPU whether there is one or not.
        IntermediatesCache.pin_memory = lambda *_: None
    tokenizer = AutoTokenizer.from_pretrained(given.folder)
    cut, sha256 = windows(tokenizer, given.text, given.samples, given.length)
    print("tokens_sha256", sha256)
    model = AutoModelForCausalLM.from_pretrained(given.folder, dtype=torch.float32)
    data = Dataset.from_dict({"input_ids": cut, "attention_mask": [[1] * given.length] * given.samples})
    oneshot(
        model=model,
        dataset=data,
        recipe=recipe(given.method, given.bits, given.group, given.duo),
        max_seq_length=given.length,
        num_calibration_samples=given.samples,
    )
    model.save_pretrained(given.out, save_compressed=True)
    tokenizer.save_pretrained(given.out)


if __name__ == "__main__":
    main()
