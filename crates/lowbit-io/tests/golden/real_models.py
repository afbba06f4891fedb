#!/usr/bin/env python3
"""Writes real_models.json: what the Python `gguf` package (PyPI) reads from the three catalogue models.

Usage: real_models.py MODELS_DIR > real_models.json    (needs: pip install gguf numpy)
For every tensor its name, type, shape (outermost first), offset and length; for one tensor of each type the values
of some rows as `gguf.quants.dequantize` gives them.
"""
import json
import os
import sys

import gguf
import numpy as np

out = {}
for file in ["smollm2.gguf", "gemma3-270m.gguf", "qwen2.5-coder-0.5b.gguf"]:
    reader = gguf.GGUFReader(os.path.join(sys.argv[1], file))
    tensors, rows, seen = [], [], set()
    for t in reader.tensors:
        dims = [int(d) for d in reversed(t.shape)]
        tensors.append([t.name, t.tensor_type.name, dims, int(t.data_offset), int(t.n_bytes)])
        if t.tensor_type in seen or len(dims) != 2:
            continue
        seen.add(t.tensor_type)
        for row in (0, dims[0] // 2, dims[0] - 1):
            raw = t.data.reshape(dims[0], -1)[row : row + 1]
            values = gguf.quants.dequantize(raw, t.tensor_type).astype(np.float32).reshape(-1)
            # Every 37th value keeps the file small and meets all lanes of a block.
            rows.append([t.name, row, [int(v) for v in values[::37].view(np.uint32)]])
    fields = {k: str(f.contents()) for k, f in reader.fields.items() if f.types[0] in (
        gguf.GGUFValueType.UINT32, gguf.GGUFValueType.STRING) and not k.startswith("GGUF.") and len(str(f.contents())) < 80}
    counts = {k: len(f.data) for k, f in reader.fields.items() if f.types[0] == gguf.GGUFValueType.ARRAY}
    out[file] = {"tensors": tensors, "rows": rows, "fields": fields, "arrays": counts}
json.dump(out, sys.stdout, separators=(",", ":"))
print()
