"""Module 1: a sampler. What is left out, and what is graded."""

import math
import random
from types import SimpleNamespace

import torch
from grading import Check
from torch import Tensor

BLANKS = {
    "rollout.py": ["inverse_cdf"],
    "model.py": ["rotate", "Attention.attend_cached"],
}

ONE = 2**31  # as in rollout.py: random numbers are below it


def seeded(rng: random.Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.randrange(10**6))


# The sampler


def draws_of(rng: random.Random) -> list[tuple]:
    """Rows of log-probabilities, a random number a slot, and the row of each slot."""
    made, cases = seeded(rng), []
    for rows, slots in ((12, 12), (9, 6)):
        logprobs = (torch.randn(rows, 7, generator=made) * 2).log_softmax(-1)
        u = torch.randint(ONE, (slots,), generator=made)
        cases.append((logprobs, u, torch.randint(rows, (slots,), generator=made)))
    return cases


def edges_of(rng: random.Random) -> list[tuple]:
    """The least and the largest u; tokens of probability 0 at both ends and between;
    rows that sum to 0.9, as rounding does it, but so much that it shows."""
    cases = []
    for zeros in ((0, 1, 4, 6), (0, 5, 6)):
        weights = torch.rand(3, 7, generator=seeded(rng)) + 0.1
        weights[:, list(zeros)] = 0.0
        probs = 0.9 * weights / weights.sum(1, keepdim=True)
        u = [0, 0, ONE - 1, ONE - 1, *(rng.randrange(ONE) for _ in range(4))]
        row = [rng.randrange(3) for _ in u]
        cases.append((probs.log(), torch.tensor(u), torch.tensor(row)))
    return cases


def sampler(right: bool = True, scaled: bool = True, by_slot: bool = False):
    """inverse_cdf as a walk: add up a row until the sum is beyond u."""

    def walk(logprobs: Tensor, u: Tensor, row: Tensor) -> Tensor:
        found = []
        rows = range(len(u)) if by_slot else row.tolist()
        for number, r in zip(u.tolist(), rows, strict=True):
            parts = [int(math.exp(x) * ONE) for x in logprobs[r].tolist()]
            target = number * sum(parts) // ONE if scaled else number
            reached, token = 0, 0
            for part in parts:
                reached += part
                if reached > target or (reached == target and not right):
                    break
                token += 1
            found.append(token)
        return torch.tensor(found)

    return walk


def likeliest(logprobs: Tensor, u: Tensor, row: Tensor) -> Tensor:
    return logprobs.argmax(-1)[row]


def without_exp(logprobs: Tensor, u: Tensor, row: Tensor) -> Tensor:
    cdf = (logprobs * ONE).long().cumsum(-1)[row]
    return torch.searchsorted(cdf, (u * cdf[:, -1] // ONE)[:, None], right=True)[:, 0]


# Positions


def turns_of(rng: random.Random) -> list[tuple]:
    """x (2, 3, heads, D) at places of its own, the same for both rows or not."""
    made, cases = seeded(rng), []
    for rows, heads, half in ((1, 3, 4), (2, 2, 3)):
        angles = torch.rand(rows, 3, half, generator=made) * 6
        cos, sin = angles.cos().repeat(1, 1, 2), angles.sin()
        rope = torch.stack([cos, torch.cat([-sin, sin], -1)], 2)[:, :, :, None]
        cases.append((torch.randn(2, 3, heads, 2 * half, generator=made), rope))
    return cases


def turn(x: Tensor, rope: Tensor, sign: int = 1) -> Tensor:
    """rotate, pair by pair: (i, i + D/2) turned by its angle. As rope has the signs in
    it, the sine proper stands in its second half."""
    out, half = torch.zeros(x.shape), x.shape[-1] // 2
    cos, sin = rope[:, :, 0], rope[:, :, 1]  # (B or 1, T, 1, D)
    for i in range(half):
        one, other = x[..., i], x[..., i + half]
        c, s = cos[..., i], sin[..., i + half]
        out[..., i] = one * c - sign * other * s
        out[..., i + half] = other * c + one * s
    return out


def neighbours(x: Tensor, rope: Tensor) -> Tensor:
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return x * rope[:, :, 0] + swapped * rope[:, :, 1]


def backwards(x: Tensor, rope: Tensor) -> Tensor:
    return x * rope[:, :, 0] - x.roll(x.shape[-1] // 2, -1) * rope[:, :, 1]


# The cache


def caches_of(rng: random.Random) -> list[tuple]:
    """Three rows that are 5, 3 and 1 tokens long; what is not written yet holds what an
    older text has left there. As in a rollout, kv is a slice of a longer cache."""
    made, cases = seeded(rng), []
    for H, K, D in ((4, 2, 4), (6, 2, 6)):
        kv = torch.randn(2, 3, K, 8, D, generator=made)[:, :, :, :5] * 1.5
        bias = torch.zeros(3, K, 5)
        for b, length in enumerate((5, 3, 1)):
            bias[b, :, length:] = -torch.inf
        config = SimpleNamespace(heads=H, kv_heads=K, head_dim=D)
        q = torch.randn(3, H, D, generator=made) * 1.5
        layer = SimpleNamespace(config=config)
        cases.append((layer, q, kv, bias.view(3 * K, 1, 5)))
    return cases


def attention(power: float = -0.5, shared: bool = True, hides: str = "before"):
    """attend_cached by loops: over rows, query heads, places."""

    def attend(self: SimpleNamespace, q: Tensor, kv: Tensor, bias: Tensor) -> Tensor:
        H, K, D = self.config.heads, self.config.kv_heads, self.config.head_dim
        keys, values = kv.tolist()
        out = torch.zeros(len(q), 1, H * D)
        for b, heads in enumerate(q.tolist()):
            for h, query in enumerate(heads):
                k = h // (H // K) if shared else h % K
                hidden = [x < 0 for x in bias[b * K + k, 0].tolist()]
                weights = []
                for key in keys[b][k]:
                    products = [x * y for x, y in zip(query, key, strict=True)]
                    weights.append(math.exp(sum(products) * D**power))
                kept = [
                    0.0 if far and hides != "never" else w
                    for w, far in zip(weights, hidden, strict=True)
                ]
                total = sum(weights if hides == "after" else kept)
                for d in range(D):
                    terms = zip(kept, values[b][k], strict=True)
                    out[b, 0, h * D + d] = sum(w * v[d] for w, v in terms) / total
        return out

    return attend


def over_queries(self: SimpleNamespace, q: Tensor, kv: Tensor, bias: Tensor) -> Tensor:
    H, K, D = self.config.heads, self.config.kv_heads, self.config.head_dim
    keys, values = kv.flatten(1, 2)
    scores = q.reshape(-1, H // K, D) @ keys.transpose(1, 2) / D**0.5 + bias
    return (scores.softmax(1) @ values).reshape(len(q), 1, H * D)


# What it costs


def one_cache(rng: random.Random) -> list[tuple]:
    layers, kv_heads = rng.randrange(3, 9), rng.choice([2, 4])
    width, slots = rng.choice([16, 32, 64]), rng.choice([64, 96, 128])
    return [(slots, layers, 4 * kv_heads, kv_heads, width, rng.choice([80, 112, 144]))]


def cache_bytes(slots, layers, heads, kv_heads, width, places) -> int:
    return 2 * layers * slots * kv_heads * places * width * 2


def one_loop(rng: random.Random) -> list[tuple]:
    weights, each = rng.randrange(20, 60) * 1000, rng.choice([2048, 4096])
    return [(weights, each, rng.randrange(8, 16), rng.randrange(20, 40))]


def saved(weights: int, each: int, prompt: int, answer: int, extra: int = 0) -> float:
    """FLOPs of a loop that scores the whole text for each new token, over those of one
    that feeds each token once. The last token is fed in neither."""

    def score(n: int) -> int:
        return sum(2 * weights + each * t for t in range(1, n + 1))

    lengths = [prompt + j + extra for j in range(answer)]
    return sum(map(score, lengths)) / score(lengths[-1])


CHECKS = [
    Check(
        "rollout.inverse_cdf",
        "the token in whose stretch u lies",
        4,
        draws_of,
        sampler(),
        {
            "that is the likeliest token whatever u is: greedy, no sample": likeliest,
            "these are sums of log-probabilities: exp is missing": without_exp,
            "slot w reads row w; it must read row[w]": sampler(by_slot=True),
        },
    ),
    Check(
        "rollout.inverse_cdf",
        "at the edges: u = 0, the largest u, probability 0",
        3,
        edges_of,
        sampler(),
        {
            "u = 0 hits a first token of probability 0: the stretch must begin at u or "
            "before, and end beyond it (right=True)": sampler(right=False),
            "a row's sum is not exactly 1, so a large u falls behind its last token: "
            "scale u by the row's own total": sampler(scaled=False),
            "both: u is not scaled by the row's own total, and u = 0 hits a token of "
            "probability 0": sampler(right=False, scaled=False),
        },
    ),
    Check(
        "model.rotate",
        "pairs (i, i + D/2) turned by their angles",
        4,
        turns_of,
        turn,
        {
            "the signs are in rope already, you put them in twice": lambda x, rope: (
                turn(x, rope, -1)
            ),
            "you pair neighbours; here i goes with i + D/2": neighbours,
            "it turns the wrong way": backwards,
            "the sines must meet the other half, not x itself": lambda x, rope: (
                x * rope[:, :, 0] + x * rope[:, :, 1]
            ),
        },
    ),
    Check(
        "model.Attention.attend_cached",
        "one new token attends to what is in the cache",
        6,
        caches_of,
        attention(),
        {
            "1 / sqrt(D) is missing": attention(power=0.0),
            "you divide by D, not by its root": attention(power=-1.0),
            "bias is not used: the row attends to places that are not written yet": (
                attention(hides="never")
            ),
            "hidden places still count in the softmax's sum: add bias before it": (
                attention(hides="after")
            ),
            "query head h belongs to key-value head h // (H / K), yours to h % K": (
                attention(shared=False)
            ),
            "softmax runs over the queries; it must run over the places": over_queries,
        },
    ),
    Check(
        "answers.cache_bytes",
        "A cache has {0} slots, {1} layers, {2} query heads, {3} key-value heads of "
        "width {4} and {5} places, 2 bytes a number. How many bytes does it take?",
        1,
        one_cache,
        cache_bytes,
        {
            "only key-value heads are kept, not one for each query head": (
                lambda slots, layers, heads, *rest: cache_bytes(
                    slots, layers, heads, heads, *rest[1:]
                )
            ),
            "there are keys and values": lambda *case: cache_bytes(*case) // 2,
            "that is with 4 bytes a number": lambda *case: 2 * cache_bytes(*case),
            "that is one layer": lambda *case: cache_bytes(*case) // case[1],
        },
    ),
    Check(
        "answers.saved",
        "A token costs 2 N FLOPs and c for each token it attends to, itself included; "
        "N = {0}, c = {1}. After a prompt of {2} tokens {3} are sampled. Divide the "
        "FLOPs of a loop without a cache by those of one with it. (three decimals)",
        2,
        one_loop,
        saved,
        {
            "the last token is never fed: nobody asks what follows it": (
                lambda *case: saved(*case, extra=1)
            ),
            "attention is left out": lambda weights, each, *rest: saved(
                weights, 0, *rest
            ),
            "that is the share, not how many times": lambda *case: 1 / saved(*case),
        },
        tolerance=1e-3,
    ),
]
