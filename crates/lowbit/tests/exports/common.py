"""What both checks ask of lowbit."""

import json
import subprocess

TEXTS = [
    "Hello world 123",
    "The capital of France is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "  Don't   stop:\n\n\tnaïve 漢字かな 한글 👍🏽 x==y; ",
]


def lowbit(program, model, text, *more):
    args = ["run", model, text, "-n", "1", "--temp", "0", "--json", "--cache-type", "f32", *more]
    out = subprocess.run([program, *args, "--logprobs", "100"], check=True, capture_output=True)
    answer = json.loads(out.stdout)
    return answer["prompt_tokens"], {one["id"]: one["logprob"] for one in answer["logprobs"][0]["top"]}
