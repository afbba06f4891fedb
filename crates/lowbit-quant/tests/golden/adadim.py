"""A layer by GPTQ with groups along either axis, as AdaDim has it, for the unit test of `src/solve/axis.rs`.

    python adadim.py > adadim.json

Columns with the largest inputs come first. Groups in rows have the scales of the weights as they were; groups in columns (per input channel) those
of the column when it is reached. The axis with the smaller error of the outputs is taken, for two layers: one with large input channels and one
with large output channels. Needs numpy.
"""

import json

import numpy as np

N, K, TOKENS, GROUP, HIGHEST, DAMP = 32, 48, 120, 16, 7, 0.01


def fit(group):
    """Scale and integer zero point of three bits from the range of a group and 0; scales are stored in half precision."""
    low, high = min(group.min(), 0), max(group.max(), 0)
    scale = (high - low) / HIGHEST
    return float(np.float16(scale)), min(round(-low / scale), HIGHEST)


def nearest(w, scale, zero):
    return (np.clip(np.round(w / scale + zero), 0, HIGHEST) - zero) * scale


def gptq(w, x, in_columns):
    h = x.T @ x
    order = np.argsort(-np.diag(h), kind="stable")
    h = h[order][:, order]
    h += np.eye(K) * DAMP * np.diag(h).mean()
    upper = np.linalg.cholesky(np.linalg.inv(h)).T
    now, made = w[:, order].copy(), np.empty_like(w)
    for j, column in enumerate(order):
        for n in range(N):
            start = n // GROUP * GROUP if in_columns else column // GROUP * GROUP
            if in_columns and n % GROUP:
                pass  # The fit of the panel that its first row made.
            elif in_columns:
                scale, zero = fit(now[start : start + GROUP, j])
            else:
                scale, zero = fit(w[n, start : start + GROUP])
            made[n, column] = nearest(now[n, j], scale, zero)
        error = (now[:, j] - made[:, column]) / upper[j, j]
        now[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
    return float((((w - made) @ x.T) ** 2).sum())


def main():
    rng = np.random.default_rng(23)
    layers = []
    for name in ("input", "output"):
        w = rng.normal(0, 0.1, (N, K))
        x = rng.normal(0, 1, (TOKENS, K)) @ (np.eye(K) + rng.normal(0, 0.1, (K, K)))
        if name == "input":
            w[:, ::9] *= 6
            x[:, ::9] /= 6
        else:
            w[::7] *= 6
        w, x = w.round(4), x.round(3)
        by_row, by_column = gptq(w, x, False), gptq(w, x, True)
        layers.append({"large": name, "w": w.ravel().tolist(), "x": x.ravel().tolist(), "rows": by_row, "columns": by_column})
    print(json.dumps({"n": N, "k": K, "layers": layers}))


if __name__ == "__main__":
    main()
