"""Makes `<label>.bin` (raw blocks) and `<label>.f32` (their weights, little-endian float32) for every block format.

    pip install gguf numpy && python make.py

Weights come from the `gguf` package where it can decode a format; the rest is decoded by the few lines of numpy below,
written from the public definition of each block. Blocks are four of random bytes, with scales made finite and of
moderate size where they are floats, then up to four that `gguf` itself quantizes from shaped weights (normal, ramp, one
outlier, zero) where it can.
"""

import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

here = pathlib.Path(__file__).parent
TENSOR_SCALE = np.float32(0.0371)  # also in tests/golden.rs


def bits(blocks, at, count, width):
    """`count` codes of `width` bits from byte `at`, low bits first."""
    bytes_ = blocks[:, at : at + count * width // 8]
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    codes = bytes_[:, :, None] >> shifts & np.uint8(2**width - 1)
    return codes.reshape(len(blocks), -1).astype(np.int32)


def half(blocks, at):
    return blocks[:, at : at + 2].copy().view(np.float16).astype(np.float32)


def q8_1(b):
    return half(b, 0) * b[:, 4:].view(np.int8).astype(np.float32)


def q8_k(b):
    return b[:, :4].copy().view(np.float32) * b[:, 4:260].view(np.int8).astype(np.float32)


def q1(b):
    d = half(b, 0)
    return np.where(bits(b, 2, (b.shape[1] - 2) * 8, 1) == 1, d, -d)


def q2(b):
    return (bits(b, 2, (b.shape[1] - 2) * 4, 2) - 1).astype(np.float32) * half(b, 0)


def i2_s(b):
    codes = b[:, None, :] >> np.array([6, 4, 2, 0], dtype=np.uint8)[None, :, None] & np.uint8(3)
    return (codes.reshape(len(b), 128).astype(np.int32) - 1).astype(np.float32) * TENSOR_SCALE


# label: (weights, bytes, where half-precision scales are, decoder)
OWN = {
    "q8_1": (32, 36, [0, 2], q8_1),
    "q8_k": (256, 292, [], q8_k),
    "q1_0": (128, 18, [0], q1),
    "q1_0_g32": (32, 6, [0], q1),
    "q2_0": (64, 18, [0], q2),
    "q2_0_g128": (128, 34, [0], q2),
    "i2_s": (128, 32, [], i2_s),
}

# Where the half-precision scales of a block are; the others have none, or one in a form of its own (IQ1_M).
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ1_S: [0], T.IQ1_M: [], T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0],
    T.IQ4_NL: [0], T.IQ4_XS: [0], T.TQ1_0: [52], T.TQ2_0: [64], T.MXFP4: [], T.NVFP4: [],
}  # fmt: skip


def random_blocks(rng, count, size, halves):
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in halves:
        # Signs of both kinds; the last block's scale is subnormal.
        scales = (rng.uniform(0.01, 2.0, count) * rng.choice([-1, 1], count)).astype(np.float16)
        scales[-1] = 3e-7
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(count, 2)
    return blocks


def shaped(rng, n):
    outlier = rng.normal(0, 0.02, n)
    outlier[n // 3] = 1.5
    rows = [rng.normal(0, 0.05, n), np.linspace(-0.3, 0.2, n), outlier, np.zeros(n)]
    return np.array(rows, dtype=np.float32)


def write(label, blocks, weights):
    assert weights.dtype == np.float32 and np.isfinite(weights).all(), label
    (here / f"{label}.bin").write_bytes(blocks.tobytes())
    (here / f"{label}.f32").write_bytes(weights.astype("<f4").tobytes())
    print(f"{label}: {len(blocks)} blocks of {blocks.shape[1]} bytes, {weights.size // len(blocks)} weights")


for seed, (qtype, halves) in enumerate(HALVES.items()):
    rng = np.random.default_rng(seed)
    n, size = gguf.GGML_QUANT_SIZES[qtype]
    blocks = random_blocks(rng, 4, size, halves)
    if qtype == T.IQ1_M:
        # The top nibbles of the last four words are a half-precision number, lowest nibble first.
        d = np.array([0.5, -1.25, 0.01, 3e-7], dtype=np.float16).view(np.uint16)
        for k in range(4):
            blocks[:, 49 + 2 * k] = blocks[:, 49 + 2 * k] & 15 | ((d >> (4 * k) & 15) << 4).astype(np.uint8)
    if qtype == T.MXFP4:
        blocks[:, 0] = [0, 1, 120, 250]
    if qtype == T.NVFP4:
        blocks[0, :4] = [0, 1, 7, 8]
        blocks[1, :4] = [126, 127, 128, 255]
    try:
        blocks = np.concatenate([blocks, gguf.quants.quantize(shaped(rng, n), qtype).reshape(-1, size)])
    except NotImplementedError:
        pass
    write(qtype.name.lower(), blocks, gguf.quants.dequantize(blocks.reshape(-1), qtype))

for seed, (label, (n, size, halves, decode)) in enumerate(OWN.items(), 100):
    rng = np.random.default_rng(seed)
    blocks = random_blocks(rng, 4, size, halves)
    if label == "q8_k":
        blocks[:, :4] = np.array([0.02, -1.5, 3e-5, 1e-40], dtype=np.float32).view(np.uint8).reshape(4, 4)
    if label == "i2_s":
        # Code 3 is never written.
        blocks = rng.integers(0, 3, (4, 32, 4), dtype=np.uint8) @ np.array([64, 16, 4, 1], dtype=np.uint8)
    weights = decode(blocks)
    assert weights.shape == (4, n)
    write(label, blocks, weights)
