"""Decodes every tensor of a GGUF file with the reference package, independently of lowbit.

`python decode_gguf.py MODEL.gguf OUT`: OUT gets the weights of all tensors as little-endian f32, in the order of their
names; standard output gets a line "NAME TYPE" for each. Needs gguf and numpy; the test that runs it skips without.
"""

import sys

import gguf
import numpy as np

reader = gguf.GGUFReader(sys.argv[1])
with open(sys.argv[2], "wb") as out:
    for tensor in sorted(reader.tensors, key=lambda tensor: tensor.name):
        weights = gguf.dequantize(tensor.data, tensor.tensor_type)
        out.write(np.ascontiguousarray(weights, dtype="<f4").tobytes())
        print(tensor.name, tensor.tensor_type.name)
