#!/usr/bin/env python3
"""Makes llama2c_ids.json: ids of some texts by the vocabulary of stories260K, and its SHA-256.

    python make_llama2c_ids.py PATH/tok512.bin > llama2c_ids.json

Nothing but the format and the rule are used: BOS, the characters of " " + text as their tokens or else their bytes
as <0xAB>, and then, as long as any two neighbours together are a token, the pair with the highest score is merged
(of equals the leftmost).
"""

import hashlib
import json
import struct
import sys

TEXTS = [
    "",
    " ",
    "a",
    "Once upon a time, there was a little girl named Lily.",
    "She liked to play with her toys in the park.",
    " leading and trailing ",
    "two  spaces\n\nand lines\n",
    "\"What's that?\" asked Tom. He didn't know!",
    "Zyxqwvu 1234567890",
    "naïve 漢字 🙂",
    "aaaaaaaaaaaaaaaa",
    "<s></s><0x41>",
]


def read(data):
    tokens, at = [], 4
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at)
        tokens.append((data[at + 8 : at + 8 + length], score))
        at += 8 + length
    return tokens


def encode(tokens, text):
    # The tokens with a meaning of their own and the bytes are not found by their spelling.
    known = {piece: (id, score) for id, (piece, score) in reversed(list(enumerate(tokens))) if id >= 259}
    ids = []
    for character in " " + text if text else "":
        spelt = character.encode()
        ids.extend([known[spelt][0]] if spelt in known else [byte + 3 for byte in spelt])
    while True:
        best = None
        for place, (left, right) in enumerate(zip(ids, ids[1:])):
            if left < 259 or right < 259:
                continue
            found = known.get(tokens[left][0] + tokens[right][0])
            if found and (best is None or found[1] > best[0]):
                best = (found[1], place, found[0])
        if best is None:
            return [1] + ids
        ids[best[1] : best[1] + 2] = [best[2]]


def main():
    data = open(sys.argv[1], "rb").read()
    tokens = read(data)
    rows = [json.dumps({"text": text, "ids": encode(tokens, text)}, ensure_ascii=False) for text in TEXTS]
    print('{"sha256": "%s",\n"texts": [\n%s\n]}' % (hashlib.sha256(data).hexdigest(), ",\n".join(rows)))


if __name__ == "__main__":
    main()
