#!/usr/bin/env python3
"""Quantizes models by every general method at 4, 3 and 2 bits and compares each result with its source.

    bench/methods/table.py --text wiki.test.raw --calib c4.jsonl.gz [--lowbit target/release/lowbit] [--only MODEL]

Writes a row for each into bench/record/methods.csv as it goes, and leaves out rows that are there already, so that it can be
stopped and started. Needs Python's own library alone. A row takes half a minute to four minutes on two cores.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time

# Samples of calibration, of 512 tokens each.
MODELS = {"smollm2": 32, "qwen2.5-coder-0.5b": 16}
# SmolLM2's rows of 576 weights are no whole groups of 128.
GROUPS = {"smollm2": (64, 32), "qwen2.5-coder-0.5b": (64, 32, 128)}
METHODS = ["rtn", "mse", "hqq", "awq", "gptq"]
CALIBRATED = {"awq", "gptq"}
WINDOWS = {"llama.cpp": 8, "paper": 4}
COLUMNS = ["model", "bits", "group", "method", "format", "bits_per_weight", "nmse", "perplexity", "perplexity_stderr",
           "source_perplexity", "kl", "kl_stderr", "top1", "paper_perplexity", "paper_perplexity_stderr",
           "cpu_seconds", "peak_mb"]


def measured(command):
    """What a command printed as JSON, its processor seconds and its peak memory in MB."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE)
        said = child.stderr.read().decode(errors="replace")
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            sys.exit(f"failed: {' '.join(command)}\n{said}")
        out.seek(0)
        return json.load(out), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def perplexity(args, model, preset):
    command = [args.lowbit, "perplexity", model, "--text", args.text, "--preset", preset,
               "--chunks", str(WINDOWS[preset]), "--json"]
    return measured(command)[0]


def row(args, model, bits, group, method, out):
    form = f"int{bits}-{'fzero' if method == 'hqq' else 'asym'}-g{group}"
    quantize = [args.lowbit, "quantize", model, "--method", method, "--format", form, "--verify", "none", "--json", "-o", out]
    if method in CALIBRATED:
        quantize += ["--calib", args.calib, "--samples", str(MODELS[model]), "--length", "512"]
    report, seconds, peak = measured(quantize)
    compare = [args.lowbit, "compare", model, out, "--text", args.text, "--chunks", str(WINDOWS["llama.cpp"]), "--json"]
    compared = measured(compare)[0]
    paper = perplexity(args, out, "paper")
    return [model, bits, group, method, form, f"{report['quantized_bits_per_weight']:.3f}", f"{report['nmse']:.5f}",
            f"{compared['other']['perplexity']:.2f}", f"{compared['other']['stderr']:.2f}",
            f"{compared['reference']['perplexity']:.2f}", f"{compared['kl']['mean']:.4f}", f"{compared['kl']['stderr']:.4f}",
            f"{compared['top1_agreement']:.4f}", f"{paper['perplexity']:.2f}", f"{paper['stderr']:.2f}",
            f"{seconds:.1f}", f"{peak:.0f}"]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--text", required=True, help="WikiText-2 test, raw")
    options.add_argument("--calib", required=True, help="text for awq and gptq, other than --text")
    options.add_argument("--lowbit", default="target/release/lowbit")
    options.add_argument("--record", default="bench/record/methods.csv")
    options.add_argument("--only", choices=list(MODELS), help="one model")
    options.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="some methods")
    args = options.parse_args()
    done = set()
    if os.path.exists(args.record):
        with open(args.record, newline="") as record:
            done = {(r["model"], int(r["bits"] or 0), int(r["group"] or 0), r["method"]) for r in csv.DictReader(record)}
    else:
        with open(args.record, "w", newline="") as record:
            csv.writer(record, lineterminator="\n").writerow(COLUMNS)

    def write(values):
        with open(args.record, "a", newline="") as record:
            csv.writer(record, lineterminator="\n").writerow(values)

    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "quantized.lowbit")
        for model in [args.only] if args.only else MODELS:
            if (model, 0, 0, "source") not in done:
                short, long = (perplexity(args, model, preset) for preset in WINDOWS)
                write([model, 0, 0, "source", "", "", "", f"{short['perplexity']:.2f}", f"{short['stderr']:.2f}", "", "", "", "",
                       f"{long['perplexity']:.2f}", f"{long['stderr']:.2f}", "", ""])
            cells = [(b, g, m) for g in GROUPS[model] for b in (4, 3, 2) for m in args.methods]
            left = [cell for cell in cells if (model, *cell) not in done]
            for i, cell in enumerate(left):
                start = time.monotonic()
                write(row(args, model, *cell, out))
                took = time.monotonic() - start
                print(f"{model} {cell}: {took:.0f} s, {i + 1} of {len(left)}", file=sys.stderr, flush=True)
                os.remove(out)


if __name__ == "__main__":
    main()
