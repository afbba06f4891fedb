"""Writes the local task files as data and YAML tasks for EleutherAI's lm-eval.

    python prepare.py DATA_DIR OUT_DIR

DATA_DIR is the folder with `tasks/` and `bias/` (its README describes them). OUT_DIR gets `data/*.jsonl`, the rows in the
shape of the official data sets, `tasks/lowbit_*.yaml`, which include the official task of the installed lm_eval and change
only where the rows come from, and `mmlu.json`, the subjects of the test file in order with their row counts.
Needs the package lm_eval, and no network. Afterwards: run.py.
"""

import gzip
import json
import os
import sys

import lm_eval

OFFICIAL = os.path.join(os.path.dirname(lm_eval.__file__), "tasks")


def rows(path):
    opened = gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8")
    with opened as lines:
        return [json.loads(line) for line in lines]


def hellaswag(row):
    # `query` is kept as it is in the file: the context, cleaned, with its second part not capitalized.
    return {"query": row["query"], "choices": row["endings"], "label": str(row["label"])}


def winogrande(row):
    return {**row, "answer": str(row["answer"])}


def lettered(row):
    labels = [chr(ord("A") + i) for i in range(len(row["choices"]))]
    return {"choices": {"text": row["choices"], "label": labels}, "answerKey": labels[row["answer"]]}


def arc(row):
    return {"question": row["question"], **lettered(row)}


def openbookqa(row):
    return {"question_stem": row["question"], **lettered(row)}


def boolq(row):
    # SuperGLUE puts the title before the passage.
    return {"question": row["question"], "passage": f"{row['title']} -- {row['passage']}", "label": int(row["answer"])}


def truthfulqa(row):
    true, false = row["correct_answers"], row["incorrect_answers"]
    return {
        "question": row["question"],
        "mc1_targets": {"choices": [row["best_answer"]] + false, "labels": [1] + [0] * len(false)},
        "mc2_targets": {"choices": true + false, "labels": [1] * len(true) + [0] * len(false)},
    }


def sst2(row):
    return {"sentence": row["text"], "label": row["label"]}


def same(row):
    return row


# Our task: the official YAML, the shape of a row, and the file of each split.
TASKS = {
    "lambada_openai": ("lambada/lambada_openai.yaml", same, {"test": "tasks/lambada_openai_test.even.jsonl.gz"}),
    "hellaswag": ("hellaswag/hellaswag.yaml", hellaswag, {"validation": "tasks/hellaswag_val.even.jsonl.gz"}),
    "winogrande": ("winogrande/default.yaml", winogrande, {"validation": "tasks/winogrande_val.even.jsonl"}),
    "piqa": ("piqa/piqa.yaml", same, {"validation": "tasks/piqa_valid.even.jsonl"}),
    "arc_easy": (
        "arc/arc_easy.yaml",
        arc,
        {"train": "tasks/arc_easy_train.jsonl.gz", "test": "tasks/arc_easy_test.even.jsonl.gz"},
    ),
    "arc_challenge": (
        "arc/arc_challenge.yaml",
        arc,
        {"train": "tasks/arc_challenge_train.jsonl.gz", "test": "tasks/arc_challenge_test.even.jsonl"},
    ),
    "openbookqa": ("openbookqa/openbookqa.yaml", openbookqa, {"test": "tasks/openbookqa_test.jsonl"}),
    "boolq": ("super_glue/boolq/default.yaml", boolq, {"validation": "tasks/boolq_dev.even.jsonl.gz"}),
    "truthfulqa_mc1": ("truthfulqa/truthfulqa_mc1.yaml", truthfulqa, {"validation": "tasks/truthfulqa.even.jsonl"}),
    "truthfulqa_mc2": ("truthfulqa/truthfulqa_mc2.yaml", truthfulqa, {"validation": "tasks/truthfulqa.even.jsonl"}),
    "crows_pairs_english": ("crows_pairs/crows_pairs_english.yaml", same, {"test": "bias/crows_pairs.even.jsonl"}),
    "sst2": ("glue/sst2/default.yaml", sst2, {"validation": "tasks/sentence_polarity.even.jsonl.gz"}),
    "gsm8k": (
        "gsm8k/gsm8k.yaml",
        same,
        {"train": "tasks/gsm8k_train.jsonl.gz", "test": "tasks/gsm8k_test.even.jsonl.gz"},
    ),
}


def write_task(out, name, official, splits, extra=None):
    """`splits` are the rows of each split. JSON is YAML, so values are written with json.dumps."""
    files = {}
    for split, of_split in splits.items():
        files[split] = os.path.join(out, "data", f"{name}.{split}.jsonl")
        with open(files[split], "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in of_split)
    config = {
        "include": os.path.join(OFFICIAL, official),
        "task": f"lowbit_{name}",
        "tag": "lowbit_agreement",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
        "training_split": "train" if "train" in splits else None,
        "validation_split": "validation" if "validation" in splits else None,
        "test_split": "test" if "test" in splits else None,
        **(extra or {}),
    }
    with open(os.path.join(out, "tasks", f"lowbit_{name}.yaml"), "w", encoding="utf-8") as file:
        file.writelines(f"{key}: {json.dumps(value)}\n" for key, value in config.items())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    data, out = sys.argv[1], os.path.abspath(sys.argv[2])
    os.makedirs(os.path.join(out, "data"), exist_ok=True)
    os.makedirs(os.path.join(out, "tasks"), exist_ok=True)

    for name, (official, shape, files) in TASKS.items():
        splits = {split: [shape(row) for row in rows(os.path.join(data, file))] for split, file in files.items()}
        # The rows of hellaswag are processed already.
        write_task(out, name, official, splits, {"process_docs": None} if name == "hellaswag" else None)

    # A task a subject, as the official ones are: the few-shot examples are those of the subject.
    test, dev = {}, {}
    for held, file in ((test, "tasks/mmlu_test.even.jsonl.gz"), (dev, "tasks/mmlu_dev.jsonl")):
        for row in rows(os.path.join(data, file)):
            held.setdefault(row["subject"], []).append(row)
    for subject, of_subject in test.items():
        write_task(
            out,
            f"mmlu_{subject}",
            f"mmlu/default/mmlu_{subject}.yaml",
            {"test": of_subject, "dev": dev[subject]},
        )
    with open(os.path.join(out, "mmlu.json"), "w", encoding="utf-8") as file:
        json.dump([[subject, len(of_subject)] for subject, of_subject in test.items()], file)


main()
