"""Scores a model with EleutherAI's lm-eval, in float32 on the CPU, and writes a line a document.

    python run.py PREPARED MODEL OUT TASK... [--limit 200] [--batch-size 8] [--threads 2] [--share-prefix]

PREPARED is the folder that prepare.py wrote, MODEL a Hugging Face folder. A TASK is a name that prepare.py knows, or mmlu, then
`:N` for N few-shot examples and `@N` for N documents in place of the limit: `arc_challenge:5`, `gsm8k:5@20`. OUT gets
`TASK[-Nshot].jsonl` and `TASK[-Nshot].summary.json`; tasks whose summary is there are left out. For mmlu the limit counts rows
of the whole file, in its order.
With --share-prefix the tokens that two requests start with are computed once, through transformers' key-value cache, where
lm-eval computes each request whole: several times faster on a CPU, the same numbers up to rounding.
Needs lm_eval, transformers and torch, and no network.

A line: {"task", "index", "context_sha256", "requests": [{"context", "continuation", "logprob", "greedy", "tokens"}], "scores"};
for generated text the requests are {"context", "until", "text"}.
"""

import argparse
import copy
import hashlib
import itertools
import json
import os
import time

for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ[name] = "1"

import lm_eval
import torch
from lm_eval.api.metrics import mean_stderr
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import DynamicCache


class PrefixLM(HFLM):
    """HFLM that keeps the keys and values of what the next request's context starts with."""

    def _loglikelihood_tokens(self, requests, disable_tqdm=False, override_bs=None):
        answers = [None] * len(requests)
        order = sorted(range(len(requests)), key=lambda i: requests[i][1])
        cache, held = DynamicCache(), []
        for context, group in itertools.groupby(order, key=lambda i: requests[i][1]):
            group = list(group)
            same = 0
            while same < min(len(held), len(context) - 1) and held[same] == context[same]:
                same += 1
            if same == 0:
                cache = DynamicCache()
            elif same < len(held):
                cache.crop(same - len(held))
            first = self._logprobs(context[same:], cache, 1)[0, -1]
            held = context
            continuations = [requests[i][2] for i in group]
            longest = max(map(len, continuations))
            assert len(context) + longest <= self.max_length
            later = None
            if longest > 1:
                many = copy.deepcopy(cache)
                many.batch_repeat_interleave(len(group))
                # The padding follows the tokens, which do not look ahead.
                padded = [c[:-1] + [0] * (longest - len(c)) for c in continuations]
                later = self._logprobs(padded, many, longest - 1)
            for row, (i, tokens) in enumerate(zip(group, continuations)):
                steps = first[None] if later is None else torch.cat([first[None], later[row, : len(tokens) - 1]])
                picked = steps.gather(1, torch.tensor(tokens)[:, None]).sum()
                answers[i] = (float(picked), steps.argmax(dim=-1).tolist() == tokens)
        return answers

    def _logprobs(self, tokens, cache, keep):
        tokens = torch.tensor(tokens)
        if tokens.dim() == 1:
            tokens = tokens[None]
        with torch.no_grad():
            logits = self.model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=keep).logits
        return torch.log_softmax(logits, dim=-1)


def continuation_tokens(lm, context, continuation):
    if context:
        return len(lm._encode_pair(context, continuation)[1])
    tokens = lm.tok_encode(continuation, add_special_tokens=False)
    return len(tokens) - (tokens[0] == lm.prefix_token_id)


def request(lm, arguments, response):
    if isinstance(arguments[1], dict):
        until = arguments[1]["until"]
        return {"context": arguments[0], "until": until, "text": response}
    context, continuation = arguments
    return {
        "context": context,
        "continuation": continuation,
        "logprob": response[0],
        "greedy": response[1],
        "tokens": continuation_tokens(lm, context, continuation),
    }


def lines(lm, task, of_task, start):
    """The lines of one lm-eval task; a document is there once for each filter."""
    documents = {}
    for sample in of_task:
        index = start + sample["doc_id"]
        if index not in documents:
            requests = [request(lm, a, r[0]) for a, r in zip(sample["arguments"], sample["resps"])]
            digest = hashlib.sha256(requests[0]["context"].encode()).hexdigest()
            documents[index] = {"task": task, "index": index, "context_sha256": digest, "requests": requests, "scores": {}}
        for metric in sample["metrics"]:
            key = metric if sample["filter"] == "none" else f"{metric},{sample['filter']}"
            documents[index]["scores"][key] = float(sample[metric])
    return [documents[index] for index in sorted(documents)]


def run(lm, manager, prepared, name, shots, limit):
    """The lines and the aggregated metrics of one of our tasks."""
    parts = [(name, limit)]
    if name == "mmlu":
        with open(os.path.join(prepared, "mmlu.json"), encoding="utf-8") as file:
            parts, left = [], limit
            for subject, count in json.load(file):
                if left > 0:
                    parts.append((f"mmlu_{subject}", min(count, left)))
                    left -= count
    result = lm_eval.simple_evaluate(
        model=lm,
        tasks=[f"lowbit_{part}" for part, _ in parts],
        task_manager=manager,
        num_fewshot=shots,
        limit=limit if name != "mmlu" else None,
        samples={f"lowbit_{part}": list(range(count)) for part, count in parts} if name == "mmlu" else None,
        bootstrap_iters=0,
        log_samples=True,
    )
    documents = []
    for part, _ in parts:
        # Subjects are read whole but for the last, so rows before it are all counted.
        documents += lines(lm, name, result["samples"][f"lowbit_{part}"], len(documents))
    metrics = {}
    for key in documents[0]["scores"]:
        of_key = [document["scores"][key] for document in documents]
        value = sum(of_key) / len(of_key)
        told = result["results"][f"lowbit_{parts[0][0]}"].get(key if "," in key else f"{key},none")
        if len(parts) == 1 and told != value:
            metrics[key] = {"value": told, "stderr": None}
        else:
            metrics[key] = {"value": value, "stderr": mean_stderr(of_key) if len(of_key) > 1 else None}
    return documents, metrics


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("prepared", "model", "out"):
        parser.add_argument(name)
    parser.add_argument("task", nargs="+")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--share-prefix", action="store_true")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    os.makedirs(options.out, exist_ok=True)
    kind = PrefixLM if options.share_prefix else HFLM
    lm = kind(pretrained=options.model, dtype="float32", device="cpu", batch_size=options.batch_size)
    manager = TaskManager(include_path=os.path.join(options.prepared, "tasks"), include_defaults=False)
    for spec in options.task:
        name, _, limit = spec.partition("@")
        name, _, shots = name.partition(":")
        label = f"{name}-{shots}shot" if shots else name
        if os.path.exists(os.path.join(options.out, f"{label}.summary.json")):
            continue
        began = time.time()
        documents, metrics = run(
            lm, manager, options.prepared, name, int(shots) if shots else None, int(limit or options.limit)
        )
        seconds = round(time.time() - began, 1)
        with open(os.path.join(options.out, f"{label}.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(document) + "\n" for document in documents)
        summary = {
            "task": name,
            "shots": int(shots) if shots else None,
            "documents": len(documents),
            "metrics": metrics,
            "lm_eval": lm_eval.__version__,
            "share_prefix": options.share_prefix,
            "seconds": seconds,
        }
        with open(os.path.join(options.out, f"{label}.summary.json"), "w", encoding="utf-8") as file:
            json.dump(summary, file)
            file.write("\n")
        print(f"{label}: {len(documents)} documents, {seconds} s, {json.dumps(metrics)}", flush=True)


main()
