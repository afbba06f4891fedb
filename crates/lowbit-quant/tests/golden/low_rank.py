"""Corrections of low rank by the papers' own ways, for the unit test of `src/solve/low_rank.rs`.

    python low_rank.py > low_rank.json

LoRC is the truncated singular value decomposition of the rounding error; EoRA takes the error into the eigenspace of the inputs, decomposes it
there, and comes back by the inverse, as its algorithm 1 says. Needs numpy.
"""

import json

import numpy as np

N, K, TOKENS, GROUP, HIGHEST = 20, 32, 96, 16, 7


def rtn(w):
    """Integers of three bits with integer zero points and a scale for every group, which the range of its weights and 0 gives."""
    out = np.empty_like(w)
    for start in range(0, K, GROUP):
        group = w[:, start : start + GROUP]
        low, high = np.minimum(group.min(1), 0), np.maximum(group.max(1), 0)
        scale = ((high - low) / HIGHEST)[:, None]
        zero = np.round(-low[:, None] / scale)
        out[:, start : start + GROUP] = (np.clip(np.round(group / scale) + zero, 0, HIGHEST) - zero) * scale
    return out


def lorc(error, rank):
    u, s, v = np.linalg.svd(error, full_matrices=False)
    return (u[:, :rank] * np.sqrt(s[:rank])) @ (np.sqrt(s[:rank])[:, None] * v[:rank])


def eora(error, x, rank):
    values, vectors = np.linalg.eigh(x.T @ x)
    into = vectors * np.sqrt(values)
    u, s, v = np.linalg.svd(error @ into, full_matrices=False)
    b, a = u[:, :rank] * s[:rank], v[:rank] @ np.linalg.inv(into)
    return b @ a


def main():
    rng = np.random.default_rng(11)
    w = rng.normal(0, 0.1, (N, K)).round(4)
    mix = rng.normal(0, 0.4, (K, K)) + np.eye(K)
    x = (rng.normal(0, 1, (TOKENS, K)) @ mix * np.linspace(0.3, 3, K)).round(3)
    error = w - rtn(w)
    cases = []
    for rank in (1, 3, 8):
        left = error - lorc(error, rank)
        lost = (error - eora(error, x, rank)) @ x.T
        cases.append({"rank": rank, "lorc": float((left**2).sum()), "eora": float((lost**2).sum())})
    lost = {"lorc": float((error**2).sum()), "eora": float(((error @ x.T) ** 2).sum())}
    flat = {"n": N, "k": K, "w": w.ravel().tolist(), "x": x.ravel().tolist()}
    print(json.dumps(flat | {"without": lost, "cases": cases}))


if __name__ == "__main__":
    main()
