"""What both checks ask of lowbit, and how they compare."""

import json
import math
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


def divergence(ours, theirs):
    """KL(ours || theirs) in nats of log-probabilities by token, of the tokens that both have; all others count as one."""
    both = ours.keys() & theirs.keys()
    kl = sum(math.exp(ours[i]) * (ours[i] - theirs[i]) for i in both)
    rest, rest_there = (1 - sum(math.exp(p[i]) for i in both) for p in (ours, theirs))
    if rest > 0 and rest_there > 0:
        kl += rest * math.log(rest / rest_there)
    return kl
