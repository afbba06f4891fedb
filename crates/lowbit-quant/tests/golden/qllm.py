"""A layer with outlier channels split and similar ones merged, as QLLM has it, for the unit test of `src/transform/reassemble.rs`.

    python qllm.py > qllm.json

For every number of channels more (1, 2, 4, … up to an eighth of them) the smallest threshold that needs no more is taken, outliers above it become
equal parts below it, and as many pairs of an even and an odd channel that change the outputs least become one. Inputs are rounded to 4 bits a
token and weights to 4 bits in groups of 16. Given are the errors of the outputs as they are and of the best threshold. Needs numpy.
"""

import json

import numpy as np

N, K, TOKENS, GROUP, HIGHEST = 24, 64, 96, 16, 15


def rtn(w):
    out = np.empty_like(w)
    for start in range(0, K, GROUP):
        group = w[:, start : start + GROUP]
        low, high = np.minimum(group.min(1), 0), np.maximum(group.max(1), 0)
        scale = ((high - low) / HIGHEST)[:, None]
        zero = np.round(-low[:, None] / scale)
        scale = scale.astype(np.float16).astype(np.float64)
        out[:, start : start + GROUP] = (np.clip(np.round(group / scale) + zero, 0, HIGHEST) - zero) * scale
    return out


def four_bits(x):
    step = np.abs(x).max(1, keepdims=True) / 7
    return np.round(x / step) * step


def parts_below(largest, more):
    """Parts of every channel under the smallest threshold that makes at most `more` channels more."""
    thresholds = sorted({size / t for size in largest for t in range(1, more + 3)})
    for threshold in thresholds:
        parts = np.maximum(np.ceil(largest / threshold - 1e-9), 1).astype(int)
        if (parts - 1).sum() <= more:
            return parts
    raise ValueError("the largest magnitude is a threshold")


def reassemble(w, x, more):
    parts = parts_below(np.abs(x).max(0), more)
    pairs, free = [], [bool(p == 1) for p in parts]
    while len(pairs) < (parts - 1).sum():
        wanted = []
        for a in range(0, K, 2):
            others = [b for b in range(1, K, 2) if free[b]]
            if free[a] and others:
                cost = lambda b: ((x[:, a] - x[:, b]) ** 2).sum() * ((w[:, a] - w[:, b]) ** 2).sum()
                b = min(others, key=cost)
                wanted.append((cost(b), a, b))
        for _, a, b in sorted(wanted):
            if free[b] and len(pairs) < (parts - 1).sum():
                free[a] = free[b] = False
                pairs.append((a, b))
    columns, inputs = [], []
    for i in range(K):
        if free[i] or parts[i] > 1:
            columns += [w[:, i]] * parts[i]
            inputs += [x[:, i] / parts[i]] * parts[i]
    for a, b in pairs:
        columns.append(w[:, a] + w[:, b])
        inputs.append((x[:, a] + x[:, b]) / 2)
    return np.stack(columns, 1), np.stack(inputs, 1)


def main():
    rng = np.random.default_rng(29)
    w = rng.normal(0, 0.1, (N, K)).round(4)
    x = rng.normal(0, 1, (TOKENS, K))
    x[:, 5] *= 14
    x[:, 40] *= 6
    for a, b in ((2, 9), (12, 31), (20, 47), (6, 55), (30, 3)):
        x[:, b] = x[:, a] + rng.normal(0, 0.3, TOKENS)
    x = x.round(3)
    exact = x @ w.T
    lost = lambda w, x: float(((four_bits(x) @ rtn(w).T - exact) ** 2).sum())
    errors = {more: lost(*reassemble(w, x, more)) for more in (1, 2, 4, 8)}
    print(json.dumps({"n": N, "k": K, "w": w.ravel().tolist(), "x": x.ravel().tolist(), "plain": lost(w, x), "errors": errors}))


if __name__ == "__main__":
    main()
