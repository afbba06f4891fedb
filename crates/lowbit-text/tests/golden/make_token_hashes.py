#!/usr/bin/env python3
"""Makes token_hashes.tsv: for every text under the data directory and every model, the number of tokens and a
hash of their ids, by llama.cpp's own tokenizer.

    pip install xllamacpp
    python make_token_hashes.py DATA_DIR MODELS_DIR > token_hashes.tsv

xllamacpp carries llama.cpp and opens its server on the loopback; its /tokenize gives the ids. A text is a file
(.gz unpacked), or a line of a .jsonl file (split at line feeds only; the lines' ids are hashed one after the
other, each followed by 0xFFFFFFFF). Texts that are not valid UTF-8 are left out. Hash: the first
16 hex digits of SHA-256 over the ids as little-endian u32.

Gemma has every run of line feeds up to 31 as a user-defined token, which llama.cpp cuts out before anything else, in
time quadratic in their number. So a Gemma text goes to the server in parts of some kilobytes, each ending with a
whole run of line feeds: the ids are the same, as no other token holds a line feed. Other texts go in one piece.
"""

import gzip
import hashlib
import http.client
import json
import os
import pathlib
import struct
import sys

MODELS = ["smollm2", "gemma3-270m", "qwen2.5-coder-0.5b"]
SUFFIXES = {".txt", ".raw", ".jsonl", ".json", ".tsv", ".bpe"}


def texts(root):
    for path in sorted(root.rglob("*")):
        name = path.name.removesuffix(".gz")
        if not path.is_file() or pathlib.Path(name).suffix not in SUFFIXES:
            continue
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            continue
        lines = text.split("\n") if name.endswith(".jsonl") else [text]
        yield path.relative_to(root).as_posix(), name.endswith(".jsonl"), lines


def tokenize(connection, text):
    body = json.dumps({"content": text, "add_special": False, "parse_special": False})
    connection.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
    return json.load(connection.getresponse())["tokens"]


def parts_between_lines(text, size=8192):
    start = 0
    while start < len(text):
        end = start + size
        while 0 < end < len(text) and not (text[end - 1] == "\n" and text[end] != "\n"):
            end += 1
        yield text[start:end]
        start = end


def serve(model):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = 256
    params.n_parallel = 1
    params.warmup = False
    return xllamacpp.Server(params)


def main():
    data, models = map(pathlib.Path, sys.argv[1:3])
    only = sys.argv[3:] or MODELS
    print("# model\tfile\ttokens\tsha256[:16]; made by make_token_hashes.py")
    for name in only:
        server = serve(models / f"{name}.gguf")
        connection = http.client.HTTPConnection(server.listening_address.removeprefix("http://"))
        for path, by_line, parts in texts(data):
            count, hasher = 0, hashlib.sha256()
            for part in parts:
                cut = parts_between_lines(part) if name.startswith("gemma") else [part]
                ids = [id for piece in cut for id in tokenize(connection, piece)]
                count += len(ids)
                hasher.update(struct.pack(f"<{len(ids)}I", *ids))
                if by_line:
                    hasher.update(b"\xff\xff\xff\xff")
            print(f"{name}\t{path}\t{count}\t{hasher.hexdigest()[:16]}", flush=True)
    # The server has no way to stop; its thread would keep the program alive.
    os._exit(0)


if __name__ == "__main__":
    main()
