"""A layer by SpQR as its paper has it (algorithm 1), for the unit test of `src/methods/spqr.rs`.

    python spqr.py > spqr.json

Groups of 16 with three bits; when the sweep reaches a group, its outliers are the weights without which the group loses so much less that they
are above a threshold, here the one that leaves one weight of fifty; the group is fitted to the others, outliers stay as they are, and later columns are changed
as in GPTQ. Scales and zero points are not rounded a second time. Needs numpy.
"""

import json

import numpy as np

N, K, TOKENS, GROUP, HIGHEST, OUTLIERS, DAMP = 24, 64, 200, 16, 7, 0.02, 0.01


def fit(group):
    low, high = min(group.min(initial=0), 0), max(group.max(initial=0), 0)
    scale = (high - low) / HIGHEST or 1.0
    return scale, np.round(-low / scale)


def rounded(w, scale, zero):
    return (np.clip(np.round(w / scale) + zero, 0, HIGHEST) - zero) * scale


def gains(group, curvature):
    """What a group loses less without each of its weights."""
    lost = lambda w, d: (((w - rounded(w, *fit(w))) ** 2) * d).sum()
    whole = lost(group, curvature)
    return np.array([whole - lost(np.delete(group, i), np.delete(curvature, i)) for i in range(len(group))])


def sweep(w, upper, threshold):
    now, made, kept = w.copy(), np.empty_like(w), 0
    curvature = 1 / np.diag(upper) ** 2
    for start in range(0, K, GROUP):
        columns = slice(start, start + GROUP)
        outlier = np.array([gains(row, curvature[columns]) > threshold for row in now[:, columns]])
        kept += outlier.sum()
        fits = [fit(row[~out]) for row, out in zip(now[:, columns], outlier)]
        for j in range(start, start + GROUP):
            near = np.array([rounded(now[n, j], *fits[n]) for n in range(N)])
            made[:, j] = np.where(outlier[:, j - start], now[:, j], near)
            error = (now[:, j] - made[:, j]) / upper[j, j]
            now[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
    return made, kept


def main():
    rng = np.random.default_rng(9)
    w = rng.normal(0, 0.1, (N, K))
    w[rng.random((N, K)) < 0.015] *= 6
    w = w.round(4)
    x = (rng.normal(0, 1, (TOKENS, K)) @ (np.eye(K) + rng.normal(0, 0.2, (K, K)))).round(3)
    h = x.T @ x
    h += np.eye(K) * DAMP * np.diag(h).mean()
    upper = np.linalg.cholesky(np.linalg.inv(h)).T
    low, high = 0.0, 1e6
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sweep(w, upper, middle)[1] > OUTLIERS * w.size else (low, middle)
    made, kept = sweep(w, upper, high)
    lost = lambda made: float((((w - made) @ x.T) ** 2).sum())
    plain = lost(sweep(w, upper, np.inf)[0])
    numbers = {"n": N, "k": K, "w": w.ravel().tolist(), "x": x.ravel().tolist()}
    print(json.dumps(numbers | {"outliers": int(kept) / w.size, "lost": lost(made), "plain": plain}))


if __name__ == "__main__":
    main()
