"""A layer by PB-LLM as its paper has it, for the unit test of `src/methods/pb_llm.rs`.

    python pb_llm.py > pb_llm.json

The tenth of the weights with the largest magnitude keeps 8 bits with one scale a row, the others become plus or minus the mean of their
magnitudes in the row; columns are rounded one after the other and later ones changed as in GPTQ. Needs numpy.
"""

import json

import numpy as np

N, K, TOKENS, SALIENT, DAMP = 24, 48, 160, 0.1, 0.01


def main():
    rng = np.random.default_rng(3)
    w = rng.normal(0, 0.1, (N, K)).round(4)
    x = (rng.normal(0, 1, (TOKENS, K)) @ (np.eye(K) + rng.normal(0, 0.2, (K, K)))).round(3)
    h = x.T @ x
    h += np.eye(K) * DAMP * np.diag(h).mean()
    upper = np.linalg.cholesky(np.linalg.inv(h)).T
    salient = np.abs(w) >= np.sort(np.abs(w).ravel())[-int(SALIENT * w.size)]
    alpha = np.where(salient, 0, np.abs(w)).sum(1) / (~salient).sum(1)
    eight = np.abs(np.where(salient, w, 0)).max(1) / 127
    now, made = w.copy(), np.empty_like(w)
    for j in range(K):
        signs = np.where(now[:, j] >= 0, alpha, -alpha)
        fine = np.clip(np.round(now[:, j] / eight), -127, 127) * eight
        made[:, j] = np.where(salient[:, j], fine, signs)
        error = (now[:, j] - made[:, j]) / upper[j, j]
        now[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
    lost = float((((w - made) @ x.T) ** 2).sum())
    signs = np.sign(w) * np.abs(w).mean(1, keepdims=True)
    plain = float((((w - signs) @ x.T) ** 2).sum())
    print(json.dumps({"n": N, "k": K, "w": w.ravel().tolist(), "x": x.ravel().tolist(), "lost": lost, "plain": plain}))


if __name__ == "__main__":
    main()
