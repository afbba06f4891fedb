"""Loads a GGUF file that `lowbit convert --to gguf` wrote with llama.cpp, and compares its next-token probabilities with lowbit's.

    python check_gguf.py LOWBIT MODEL FILE.gguf

LOWBIT is the program, MODEL what was converted. llama.cpp comes inside the wheel `xllamacpp`, which is built for any CPU. Both report
their 100 most probable tokens; all others count as one. lowbit rounds activations as llama.cpp does (`--activations gguf`), and both
keep keys and values in single precision. Fails above 0.03 nats of divergence, or where a text has another number of tokens: llama.cpp's
rounding of activations to 8 bits alone moves SmolLM2, as it is shipped, by up to 0.01.
"""

import json
import sys

import xllamacpp

from common import TEXTS, divergence, lowbit

MOST = 3e-2
TOP = 100


def server(file):
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx = 512
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.warmup = False
    return xllamacpp.Server(params)


def theirs(running, text):
    asked = {"prompt": text, "n_predict": 1, "n_probs": TOP, "temperature": 0.0, "cache_prompt": False}
    answer = running.handle_completions(asked)
    answer = json.loads(answer) if isinstance(answer, str) else answer
    top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return answer["usage"]["prompt_tokens"], {one["id"]: one["logprob"] for one in top}


def main():
    program, source, file = sys.argv[1:]
    running = server(file)
    failed = False
    for text in TEXTS:
        count, ours = lowbit(program, source, text, "--raw", "--activations", "gguf")
        counted, other = theirs(running, text)
        kl = divergence(ours, other)
        bad = count != counted or not abs(kl) < MOST
        failed |= bad
        note = "  FAILED" if bad else ""
        print(f"{text[:30]!r:34} {count:4} tokens, {len(ours.keys() & other.keys()):3} in both, divergence {kl:9.2e}{note}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
