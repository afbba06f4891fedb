"""Compares two files of scores, document by document.

    python compare.py A.jsonl B.jsonl [--tolerance 0.001]

Both have the lines that run.py describes; A and B can also be two folders, whose files of the same name are compared. For each
task it prints: the documents found in both files, on how many of them all the contexts and continuations are the same strings,
the mean of the main metric in A and in B over these documents, on how many documents it differs by more than the tolerance,
and the mean and the largest difference of the log-likelihood, in nats a token, over the requests with the same strings and
number of tokens. For generated text: on how many documents the text is the same. Needs nothing but Python.
"""

import argparse
import json
import os

MAIN = ("acc", "pct_stereotype", "exact_match,strict-match", "exact_match")


def read(path):
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return {(row["task"], row["index"]): row for row in rows}


def strings(row):
    return [(r["context"], r.get("continuation")) for r in row["requests"]]


def compare(task, pairs, tolerance):
    same = sum(strings(a) == strings(b) for a, b in pairs)
    text = f"{task}: {len(pairs)} documents, prompts equal on {same}"

    first, second = pairs[0][0]["scores"], pairs[0][1]["scores"]
    shared = [m for m in MAIN + tuple(first) if m in first and m in second]
    if shared:
        values = [(a["scores"][shared[0]], b["scores"][shared[0]]) for a, b in pairs]
        of_a, of_b = (sum(v[side] for v in values) / len(values) for side in (0, 1))
        differ = sum(abs(a - b) > tolerance for a, b in values)
        text += f"; {shared[0]} {of_a:.4f} and {of_b:.4f}, differs on {differ}"

    apart, uneven, texts = [], 0, []
    for a, b in pairs:
        for ours, theirs in zip(a["requests"], b["requests"]):
            if (ours["context"], ours.get("continuation")) != (theirs["context"], theirs.get("continuation")):
                continue
            if "text" in ours:
                texts.append(ours["text"] == theirs["text"])
            elif ours["tokens"] != theirs["tokens"]:
                uneven += 1
            else:
                apart.append(abs(ours["logprob"] - theirs["logprob"]) / max(ours["tokens"], 1))
    if apart:
        text += f"; log-likelihood a token differs by {sum(apart) / len(apart):.2e}, at most {max(apart):.2e}"
    if uneven:
        text += f"; {uneven} requests with another number of tokens"
    if texts:
        text += f"; the same text on {sum(texts)}"
    print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    options = parser.parse_args()

    files = [(options.a, options.b)]
    if os.path.isdir(options.a):
        names = sorted(n for n in os.listdir(options.a) if n.endswith(".jsonl"))
        files = [(os.path.join(options.a, n), os.path.join(options.b, n)) for n in names]
        files = [pair for pair in files if os.path.exists(pair[1])]
    for one, other in files:
        of_one, of_other = read(one), read(other)
        tasks = {}
        for key in sorted(of_one.keys() & of_other.keys()):
            tasks.setdefault(key[0], []).append((of_one[key], of_other[key]))
        if not tasks:
            print(f"{os.path.basename(one)}: no document in both files")
        for task, pairs in tasks.items():
            label = os.path.splitext(os.path.basename(one))[0] if len(tasks) == 1 else task
            compare(label, pairs, options.tolerance)


main()
