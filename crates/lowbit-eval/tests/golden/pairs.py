"""Figures of a comparison of logits, computed with numpy and scipy, for the golden test of tests/pairs.rs.

Writes pairs.json beside this file: the logits of two models for some tokens, and every figure. The definitions are the
documented ones; nothing is taken from the crate. Needs numpy and scipy.
"""

import json
from pathlib import Path

import numpy as np
from scipy.special import log_softmax, rel_entr
from scipy.stats import norm, sem

WINDOWS, TOKENS, VOCAB = 4, 7, 12


def standard_error(numbers):
    return float(sem(numbers, ddof=1))


def figures(reference, other, tokens):
    log_p = log_softmax(reference.astype(np.float64), axis=1)
    log_q = log_softmax(other.astype(np.float64), axis=1)
    rows = np.arange(len(tokens))
    losses = np.stack([-log_p[rows, tokens], -log_q[rows, tokens]])
    kl = rel_entr(np.exp(log_p), np.exp(log_q)).sum(axis=1)
    agree = (reference.argmax(axis=1) == other.argmax(axis=1)).astype(np.float64)
    difference = losses[1] - losses[0]
    by_tokens = standard_error(difference)
    by_windows = standard_error(difference.reshape(WINDOWS, TOKENS).mean(axis=1))
    error = max(by_tokens, by_windows)
    z = difference.mean() / error
    scored = [
        {"perplexity": np.exp(loss.mean()), "stderr": np.exp(loss.mean()) * standard_error(loss)}
        for loss in losses
    ]
    return {
        "reference": scored[0],
        "other": scored[1],
        "difference": {
            "ratio": scored[1]["perplexity"] / scored[0]["perplexity"],
            "ratio_stderr": scored[1]["perplexity"] / scored[0]["perplexity"] * error,
            "nats": difference.mean(),
            "stderr_tokens": by_tokens,
            "stderr_windows": by_windows,
            "z": z,
            "p": 2 * norm.sf(abs(z)),
        },
        "kl": {
            "mean": kl.mean(),
            "stderr": standard_error(kl),
            "median": np.median(kl),
            "p99": np.percentile(kl, 99),
            "max": kl.max(),
        },
        "top1_agreement": agree.mean(),
        "top1_stderr": standard_error(agree),
        "mean_abs_delta_log_p": np.abs(difference).mean(),
        "scored_tokens": len(tokens),
    }


if __name__ == "__main__":
    random = np.random.default_rng(20)
    count = WINDOWS * TOKENS
    reference = (4 * random.standard_normal((count, VOCAB))).round(3).astype(np.float32)
    noise = random.standard_normal((count, VOCAB)) * np.repeat([0.2, 0.5, 1.0, 2.0], TOKENS)[:, None]
    other = (reference + noise).round(3).astype(np.float32)
    tokens = random.integers(0, VOCAB, count)
    golden = {
        "windows": WINDOWS,
        "vocab": VOCAB,
        "tokens": tokens.tolist(),
        "reference": [round(float(logit), 3) for logit in reference.ravel()],
        "other": [round(float(logit), 3) for logit in other.ravel()],
        "figures": figures(reference, other, tokens),
    }
    path = Path(__file__).with_name("pairs.json")
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
