"""Loads a folder that `lowbit convert` wrote with the library it is for, and compares its next-token probabilities with lowbit's.

    python check.py LOWBIT MODEL FOLDER

LOWBIT is the program, MODEL what was converted, FOLDER what came of it: of floats or in the layout of compressed-tensors, which
transformers loads, or in that of GPTQ, which GPTQModel loads with its PyTorch kernel. lowbit reports its 100 most probable tokens; all
others count as one, so that the divergence is of this coarser distribution, at most that of the whole vocabulary. The largest
difference of the 100 log-probabilities is printed too. Fails above 1e-4 nats of either, or where a text has another number of tokens.

Activations are floats, but where the folder prescribes 8 bits: compressed-tensors and lowbit round them on grids of their own, which
moves SmolLM2 by up to 0.08 nats, so that only a divergence above 0.2 fails. GPTQModel rounds everything to half precision when it loads a
folder, so that only the divergence counts there, not single log-probabilities; it then computes in single precision here.
"""

import json
import os
import pathlib
import sys

# GPTQModel would compile every layer of its own, which takes minutes.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import TEXTS, divergence, lowbit

CHAT = "Name three colours."
MOST = 1e-4
MOST_INT8 = 0.2


def load(folder, quantization):
    if quantization.get("quant_method") == "gptq":
        from gptqmodel import BACKEND, GPTQModel

        return GPTQModel.load(folder, backend=BACKEND.GPTQ_TORCH, device="cpu", dtype=torch.float16).model.float()
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)


def main():
    program, source, folder = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    quantization = config.get("quantization_config", {})
    int8 = quantization.get("format") == "int-quantized"
    rounded = int8 or quantization.get("quant_method") == "gptq"
    model = load(folder, quantization).eval()
    failed = False
    prompts = [(text, tokenizer(text)["input_ids"], ["--raw"]) for text in TEXTS]
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": CHAT}]
        rendered = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        prompts.append((CHAT, tokenizer(rendered, add_special_tokens=False)["input_ids"], []))
    for text, ids, more in prompts:
        with torch.no_grad():
            theirs = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].double(), -1)
        count, ours = lowbit(program, source, text, *([] if int8 else ["--activations", "float"]), *more)
        theirs = {i: theirs[i].item() for i in ours}
        kl = divergence(ours, theirs)
        most = max(abs(p - theirs[i]) for i, p in ours.items())
        bad = count != len(ids) or not (abs(kl) < (MOST_INT8 if int8 else MOST) and (rounded or most < MOST))
        failed |= bad
        note = "  FAILED" if bad else ""
        print(f"{len(ids)} and {count} tokens, KL {kl:.2e}, largest difference {most:.2e}{note}  {text!r}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
