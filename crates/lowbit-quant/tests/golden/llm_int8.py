"""A product by LLM.int8() as its paper has it, for the unit test of `src/methods/llm_int8.rs`.

    python llm_int8.py > llm_int8.json

Vector-wise: 8 bits with one scale for each output of the weights and each token of the activations. Features in which any activation reaches
6 are multiplied in half precision instead, with weights as they come back from 8 bits. Needs numpy.
"""

import json

import numpy as np

N, K, TOKENS, ALPHA = 24, 96, 12, 6.0


def absmax(rows):
    scale = np.abs(rows).max(1, keepdims=True) / 127
    return np.round(rows / scale), scale


def main():
    rng = np.random.default_rng(5)
    w = rng.normal(0, 0.05, (N, K)).round(4)
    x = rng.normal(0, 1, (TOKENS, K)).round(3)
    for feature, size in ((7, 30.0), (50, -12.0)):
        x[:, feature] = (size + rng.normal(0, 1, TOKENS)).round(3)
    codes, scales = absmax(w)
    exact = x @ w.T
    outliers = (np.abs(x) >= ALPHA).any(0)

    def product(apart):
        q, s = absmax(x[:, ~apart])
        large = x[:, apart].astype(np.float16).astype(np.float64) @ (codes * scales).astype(np.float16).astype(np.float64)[:, apart].T
        return (q @ codes[:, ~apart].T) * s * scales.T + large

    lost = lambda made: float(((made - exact) ** 2).sum())
    numbers = {"n": N, "k": K, "w": w.ravel().tolist(), "x": x.ravel().tolist()}
    print(json.dumps(numbers | {"plain": lost(product(np.zeros(K, bool))), "apart": lost(product(outliers))}))


if __name__ == "__main__":
    main()
