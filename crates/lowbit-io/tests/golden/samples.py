"""Places of calibration windows, for the golden test of src/texts/samples.rs.

Written from the rule in that file's comments, with numpy's PCG64 in place of the crate's. Prints the table of the test.
Needs numpy.
"""

import numpy as np

STREAM = 0x74657874
MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
MASK = (1 << 128) - 1


def generator(seed):
    """PCG64 as its author's `pcg_setseq_128_srandom` sets it up from a state and a stream."""
    increment = ((STREAM << 1) | 1) & MASK
    state = ((seed + increment) * MULTIPLIER + increment) & MASK
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": increment},
        "has_uint32": 0,
        "uinteger": 0,
    }
    return bits


def starts(tokens, count, length, seed):
    bits = generator(seed)
    room = tokens - length
    step = min(length, room // (count - 1)) if count > 1 else length
    places = room - (count - 1) * step + 1
    drawn = sorted(int(bits.random_raw()) * places >> 64 for _ in range(count))
    return [number + index * step for index, number in enumerate(drawn)]


if __name__ == "__main__":
    for case in [(100_000, 6, 2048, 0), (100_000, 6, 2048, 42), (303, 6, 100, 7)]:
        print(f"{case}: {starts(*case)}")
