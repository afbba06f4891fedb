"""Distributions of the sampling stages, computed from their definitions with numpy in float64.

Nothing here is shared with the Rust code, and nothing is clever: softmax and sorts over everything, DRY by comparing
every pair of positions. Run from this folder: `python sampler.py` writes sampler.json. Needs numpy.
"""

import json

import numpy as np

VOCAB = 24
OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def penalties(logits, history, repeat=1.0, frequency=0.0, presence=0.0, last_n=64):
    window = history if last_n is None else history[len(history) - min(last_n, len(history)):]
    out = logits.copy()
    for token in set(window):
        out[token] = out[token] / repeat if out[token] > 0 else out[token] * repeat
        out[token] -= window.count(token) * frequency + presence
    return out


def dry(logits, history, multiplier, base=1.75, allowed_length=2, last_n=None, sequence_breakers=()):
    """Breakers are single tokens here; the test's vocabulary calls its tokens "A" to "X"."""
    window = history if last_n is None else history[len(history) - min(last_n, len(history)):]
    breakers = {ord(name) - ord("A") for name in sequence_breakers}
    out = logits.copy()
    for token in set(window) - breakers:
        longest = None
        for position in range(1, len(window)):
            if window[position] != token:
                continue
            length = 0
            while (
                length < position
                and window[position - 1 - length] == window[len(window) - 1 - length]
                and window[len(window) - 1 - length] not in breakers
            ):
                length += 1
            longest = length if longest is None else max(longest, length)
        if longest is not None and longest >= allowed_length:
            out[token] -= multiplier * base ** (longest - allowed_length)
    return out


def keep(logits, kept):
    out = np.full_like(logits, -np.inf)
    out[kept] = logits[kept]
    return out


def best_first(logits):
    return sorted(np.flatnonzero(np.isfinite(logits)), key=lambda i: (-logits[i], i))


def top_k(logits, k):
    return keep(logits, best_first(logits)[:k])


def top_p(logits, p):
    order = best_first(logits)
    mass = np.cumsum(softmax(logits)[order])
    return keep(logits, order[: int(np.searchsorted(mass, p)) + 1])


def min_p(logits, p):
    probabilities = softmax(logits)
    return keep(logits, np.flatnonzero(probabilities >= p * probabilities.max()))


def typical(logits, p):
    alive = np.flatnonzero(np.isfinite(logits))
    probabilities = softmax(logits)[alive]
    surprise = -np.log(probabilities)
    entropy = (probabilities * surprise).sum()
    order = np.argsort(np.abs(surprise - entropy), kind="stable")
    mass = np.cumsum(probabilities[order])
    return keep(logits, alive[order[: int(np.searchsorted(mass, p)) + 1]])


def top_n_sigma(logits, n):
    alive = logits[np.isfinite(logits)]
    return keep(logits, np.flatnonzero(logits >= alive.max() - n * alive.std()))


def xtc(logits, threshold):
    probabilities = softmax(logits)
    choices = [i for i in best_first(logits) if probabilities[i] >= threshold]
    return keep(logits, [i for i in best_first(logits) if i not in choices[:-1]])


def temperature(logits, t, dynamic_range=0.0, exponent=1.0):
    if dynamic_range > 0:
        probabilities = softmax(logits)
        probabilities = probabilities[probabilities > 0]
        share = -(probabilities * np.log(probabilities)).sum() / np.log(len(probabilities))
        low, high = max(0.0, t - dynamic_range), t + dynamic_range
        t = low + (high - low) * share**exponent
    return logits / t


def mirostat_first_step(logits, tau):
    probabilities = softmax(logits)
    kept = [i for i in best_first(logits) if -np.log2(probabilities[i]) <= 2 * tau]
    return keep(logits, kept or best_first(logits)[:1])


def chain(logits, history, params):
    """The default order, with default settings for what `params` leaves out."""
    p = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, **params}
    for token, bias in p.get("logit_bias", {}).items():
        logits[int(token)] = -np.inf if bias == -100 else logits[int(token)] + bias
    logits = penalties(logits, history, **p.get("penalties", {}))
    if "dry" in p:
        logits = dry(logits, history, **p["dry"])
    if "mirostat" not in p:
        if p.get("top_n_sigma", 0) > 0:
            logits = top_n_sigma(logits, p["top_n_sigma"])
        if p["top_k"] > 0:
            logits = top_k(logits, p["top_k"])
        if p.get("typical_p", 1) < 1:
            logits = typical(logits, p["typical_p"])
        if p["top_p"] < 1:
            logits = top_p(logits, p["top_p"])
        if p["min_p"] > 0:
            logits = min_p(logits, p["min_p"])
        if "xtc" in p:
            assert p["xtc"]["probability"] == 1.0
            logits = xtc(logits, p["xtc"]["threshold"])
    dynamic = p.get("dynamic_temperature", {})
    logits = temperature(logits, p["temperature"], dynamic.get("range", 0.0), dynamic.get("exponent", 1.0))
    if "mirostat" in p:
        logits = mirostat_first_step(logits, p["mirostat"]["tau"])
    return softmax(logits)


PARAMS = [
    OFF,
    {},
    {**OFF, "temperature": 0.5},
    {**OFF, "temperature": 2.0},
    {**OFF, "dynamic_temperature": {"range": 0.6, "exponent": 1.5}},
    {**OFF, "dynamic_temperature": {"range": 2.0}, "top_k": 7},
    {**OFF, "top_k": 5},
    {**OFF, "top_p": 0.6},
    {**OFF, "min_p": 0.1},
    {**OFF, "typical_p": 0.4},
    {**OFF, "typical_p": 0.9, "top_k": 12},
    {**OFF, "top_n_sigma": 1.2},
    {**OFF, "xtc": {"probability": 1.0, "threshold": 0.05}},
    {**OFF, "xtc": {"probability": 1.0, "threshold": 0.3}},
    {**OFF, "penalties": {"repeat": 1.3, "frequency": 0.2, "presence": -0.4, "last_n": 10}},
    {**OFF, "penalties": {"repeat": 0.7, "last_n": None}},
    {**OFF, "dry": {"multiplier": 0.8, "allowed_length": 1, "sequence_breakers": []}},
    {**OFF, "dry": {"multiplier": 1.5, "base": 1.2, "allowed_length": 0, "last_n": 20, "sequence_breakers": []}},
    {**OFF, "dry": {"multiplier": 0.8, "allowed_length": 1, "sequence_breakers": ["A"]}},
    {**OFF, "logit_bias": {"3": 1.5, "4": -100.0, "23": -0.25}},
    {**OFF, "mirostat": {"tau": 1.5, "eta": 0.1}},
    {"mirostat": {"tau": 2.0, "eta": 0.1}, "temperature": 1.3, "penalties": {"repeat": 1.5}},
    {
        "temperature": 0.9,
        "top_k": 15,
        "top_p": 0.9,
        "min_p": 0.02,
        "typical_p": 0.95,
        "top_n_sigma": 2.5,
        "xtc": {"probability": 1.0, "threshold": 0.2},
        "penalties": {"repeat": 1.1, "frequency": 0.1, "presence": 0.1},
        "dry": {"multiplier": 0.5, "allowed_length": 2, "sequence_breakers": ["A", "F"]},
        "logit_bias": {"2": -1.0},
    },
]


def cases():
    rng = np.random.default_rng(20240724)
    for params in PARAMS:
        for _ in range(3):
            # Three decimals: exact in the file, and no stage's border is met by rounding.
            logits = np.round(rng.normal(0.0, 2.5, VOCAB), 3)
            history = [int(token) for token in rng.integers(0, 4, 30)] + [5, 6, 1, 2, 3, 7, 5, 6, 1, 2]
            expected = chain(logits.astype(np.float32).astype(np.float64), history, params)
            yield {
                "params": params,
                "logits": logits.tolist(),
                "history": history,
                "expected": [[i, float(f"{p:.9g}")] for i, p in enumerate(expected) if p > 0],
            }


with open("sampler.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case) for case in cases()) + "\n]\n")
