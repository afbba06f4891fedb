"""The formula that fills every tensor of a golden checkpoint, shared with `src/seeded.rs`.

No weights are committed. A tensor is filled from the text `CASE/TENSOR NAME`:

    key    = FNV-1a, 64 bits, of the text's UTF-8 bytes
    z(i)   = output i of SplitMix64 seeded with key
    u(i)   = (z(i) >> 40) / 2^23 - 1, a multiple of 2^-23 in [-1, 1): exact in f32
    value  = offset + scale * u(i), each operation rounded to f32, then rounded to the tensor's type

A packed ternary tensor (dtype U8) holds four codes of 0, 1, 2 in a byte, code j from bits 16j..16j+16 of z(i).
"""

import numpy as np

FNV_OFFSET = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3
MASK = (1 << 64) - 1


def fnv1a(data):
    """FNV-1a, 64 bits, of bytes or of a text's UTF-8 bytes."""
    h = FNV_OFFSET
    for byte in data.encode("utf-8") if isinstance(data, str) else data:
        h = ((h ^ byte) * FNV_PRIME) & MASK
    return h


def splitmix64(seed, n):
    """The first n outputs of SplitMix64 seeded with `seed`, as uint64."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def unit(text, n):
    """n values in [-1, 1), float32."""
    top = (splitmix64(fnv1a(text), n) >> np.uint64(40)).astype(np.float32)
    return top * np.float32(2.0**-23) - np.float32(1.0)


def affine(text, n, scale, offset):
    """offset + scale * u, two roundings to float32."""
    return np.float32(offset) + np.float32(scale) * unit(text, n)


def packed_ternary(text, n):
    """n bytes of four 2-bit codes, each 0, 1 or 2."""
    z = splitmix64(fnv1a(text), n)
    out = np.zeros(n, dtype=np.uint64)
    for j in range(4):
        lane = (z >> np.uint64(16 * j)) & np.uint64(0xFFFF)
        out |= ((lane * np.uint64(3)) >> np.uint64(16)) << np.uint64(2 * j)
    return out.astype(np.uint8)


def tokens(text, n, vocab):
    """n token ids below vocab."""
    return [int(v) for v in splitmix64(fnv1a(text), n) % np.uint64(vocab)]
