#!/usr/bin/env python3
"""Makes hf_*.json: two small tokenizer.json files and the ids that the `tokenizers` package gives for some texts.

    pip install tokenizers==0.23.*
    python make_hf.py FOLDER

hf_byte_level.json is byte-level BPE as GPT-2's; hf_byte_fallback.json is BPE over the spelling of SentencePiece
with byte tokens, as Llama 2's. Both are trained on the lines below. hf_ids.json has for each tokenizer and text the
ids with the post-processor's tokens (`full`), without (`plain`), with control tokens taken as text (`as_text`), and
the decoded text of `plain`, control tokens shown.
"""

import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LINES = [
    "Once upon a time, there was a little girl named Lily.",
    "She liked to play with her toys in the big garden near the old house.",
    "The quick brown fox jumps over the lazy dog; the dog sleeps on.",
    "In 1984 there were 365 days and 24 hours a day, and 3.14 is not pi.",
    "def add(a, b):\n    return a + b\n\nprint(add(1, 2))",
    "Die schöne Müllerin fährt über die Brücke, à bientôt, mañana.",
    "It's what they'd said: we're there, I'll go, you've been.",
]

TEXTS = [
    "",
    "a",
    " ",
    "  ",
    "Once upon a time, there was a little girl named Lily.",
    " leading space",
    "trailing space ",
    "two  spaces   three",
    "\n",
    "\n\nline\n  indented\r\n\ttab",
    "def add(a, b):\n    return a + b",
    "1234567890 3.14",
    "It's they'd WE'RE i'll",
    "schöne Müllerin fährt",
    "naïve café façade",
    "e\u0301 combining",
    "漢字かな交じり文",
    "Привет, мир",
    "مرحبا",
    "🙂👩‍👩‍👧 emoji",
    "\u00a0no-break\u3000ideographic",
    "▁ literal underscore",
    "a▁b",
    "Ġ literal",
    "<s>",
    "<|end|>",
    "hello<|end|>",
    "hello <|end|> world<s>there",
    "<tool>call</tool>",
    "x<tool> y",
    "<0x41>",
    "\x00\x7f\u0080",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!?.,;:()[]{}<>|",
]

SPECIAL = ["<unk>", "<s>", "<|end|>", "<|pad|>"]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return tokenizer


def byte_fallback():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)
    ])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL + bytes_, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    # The trainer takes the byte tokens for special ones; in Llama's file they are in the vocabulary only.
    file = json.loads(tokenizer.to_str())
    file["added_tokens"] = [token for token in file["added_tokens"] if token["content"] not in bytes_]
    tokenizer = Tokenizer.from_str(json.dumps(file))
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", bos)]
    )
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return tokenizer


def main():
    folder = pathlib.Path(sys.argv[1])
    ids = {}
    for name, tokenizer in [("byte_level", byte_level()), ("byte_fallback", byte_fallback())]:
        path = folder / f"hf_{name}.json"
        path.write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
        tokenizer = Tokenizer.from_file(str(path))
        as_text = Tokenizer.from_file(str(path))
        as_text.encode_special_tokens = True
        rows = []
        for text in TEXTS:
            plain = tokenizer.encode(text, add_special_tokens=False).ids
            decoded = tokenizer.decode(plain, skip_special_tokens=False)
            rows.append({
                "text": text,
                "plain": plain,
                "full": tokenizer.encode(text).ids,
                "as_text": as_text.encode(text, add_special_tokens=False).ids,
                "decoded": decoded,
            })
        ids[name] = rows
    rows = ",\n".join(
        f'"{name}": [\n' + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]"
        for name, rows in ids.items()
    )
    (folder / "hf_ids.json").write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    main()
