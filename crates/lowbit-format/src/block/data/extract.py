"""Writes the grids of the IQ formats from the `gguf` Python package (pip install gguf numpy).

A grid is a fact of the file format: entry `i` says which D weights the index `i` stands for. A weight is stored as the
number of its level, low bits first, in 2 bits (IQ1, IQ2) or 4 bits (IQ3); `grid.rs` knows the levels.
"""

import pathlib

from gguf import quants

here = pathlib.Path(__file__).parent
for name in ["IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"]:
    packed = bytes.fromhex(getattr(quants, name).grid_hex.decode())
    (here / f"{name.lower()}.grid").write_bytes(packed)
    print(name, len(packed), "bytes")
