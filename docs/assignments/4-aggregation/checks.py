"""Module 4: aggregation and normalisers. What is left out, and what is graded."""

import math
import random
from types import SimpleNamespace

import torch
from grading import Check

BLANKS = {
    "grpo.py": ["sequence_weights", "other_counts", "weighted_sum", "overlong_penalty"]
}


def step_of(rng: random.Random, top: int = 10) -> tuple:
    """Lengths of three groups of three, and the room: an answer of the first group is
    left out (0 tokens), and all of the second."""
    lengths = [rng.randrange(top - 8, top) for _ in range(9)]
    lengths[1], lengths[3:6] = 0, [0] * 3
    lengths[7] = max(lengths) + 1
    return torch.tensor(lengths), max(lengths) + rng.randrange(3, 6)


def all_kinds(rng: random.Random) -> list[tuple]:
    """Each kind on one step, and on a step of which nothing is left."""
    lengths, most = step_of(rng)
    steps = (lengths, 0 * lengths)
    return [(step, kind, 3, most) for kind in COUNTS for step in steps]


def of_the_kept(function):
    """sequence_weights but for answers that are left out: theirs may be anything."""
    return lambda lengths, *rest: function(lengths, *rest)[lengths > 0]


def of_answers(function):
    """The weight of a whole answer: of one token, times its tokens."""
    return lambda lengths, *rest: function(lengths, *rest) * lengths


# What a token is divided by. Left-out answers are in `places`, not in `answers`.
COUNTS = {
    "sequence": lambda at: at.own * at.answers,
    "token": lambda at: at.tokens,
    "prompt": lambda at: at.in_group * at.prompts,
    "constant": lambda at: at.room * at.answers,
}


def by(count=None, empty: float = 1.0):
    """sequence_weights by a rule from an answer to what its tokens are divided by; with
    none it is the rule of the kind that is asked. `empty` is 1 / 0."""

    def weights(lengths, kind, group_size, room):
        n, found = lengths.tolist(), []
        groups = [n[i : i + group_size] for i in range(0, len(n), group_size)]
        for i, own in enumerate(n):
            group, tiled = groups[i // group_size], groups[i % len(groups)]
            at = SimpleNamespace(own=own, in_group=sum(group), tokens=sum(n), room=room)
            at.tiled = sum(tiled)
            at.answers, at.beside = (sum(x > 0 for x in part) for part in (n, group))
            at.prompts = sum(sum(part) > 0 for part in groups)
            at.places, at.groups, at.longest = len(n), len(groups), max(n)
            divisor = (count or COUNTS[kind])(at)
            found.append(1 / divisor if divisor else empty)
        return torch.tensor(found, dtype=torch.float64)

    return weights


def weights_check(kind: str, what: str, points: int, mistakes: dict) -> Check:
    """A check of one kind of sequence_weights, on two steps."""
    return Check(
        "grpo.sequence_weights",
        f"{kind}: {what}",
        points,
        lambda rng: [
            (n, kind, 3, most) for n, most in (step_of(rng), step_of(rng, 20))
        ],
        by(),
        {sentence: by(count) for sentence, count in mistakes.items()},
        tolerance=1e-6,
        through=of_the_kept,
    )


def tokens_of(rng: random.Random) -> list[tuple]:
    """Values, mask and weights: one batch is clean, in the other masked cells hold NaN
    and inf."""
    cases = []
    for bad in ([1.5, -2.5], [math.nan, math.inf]):
        values = torch.tensor([[rng.uniform(-2, 2) for _ in range(5)] for _ in "abc"])
        values[0, :2] = values[1, 3:] = values[2, 1:3] = torch.tensor(bad)
        mask = torch.tensor([[0.0, 0, 1, 1, 1], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
        weights = torch.tensor([rng.uniform(0.1, 0.9) for _ in "abc"])
        cases.append((values, mask, weights))
    return cases


def sums(values, mask, weights) -> list[float]:
    """Of each answer: its weight times its own tokens."""
    found = [0.0] * len(values)
    for b in range(len(values)):
        for t in range(len(values[b])):
            if mask[b, t] > 0:
                found[b] += (weights[b] * values[b, t]).item()
    return found


def plain_sum(values, mask, weights) -> torch.Tensor:
    return torch.tensor(sum(sums(values, mask, weights)))


def long_answers(rng: random.Random) -> list[tuple]:
    """Lengths before, inside and beyond the buffer."""
    buffer = rng.choice([8, 10, 16])
    limit = 4 * buffer + rng.randrange(9)
    inside = limit - rng.randrange(1, buffer // 2)
    lengths = [3, limit - buffer, limit - buffer + 1, inside, limit, limit + 9]
    return [(torch.tensor(lengths), limit, buffer)]


def ramp(rule):
    """overlong_penalty by a rule of one length."""
    return lambda lengths, limit, buffer: torch.tensor(
        [float(rule(n, limit, buffer)) for n in lengths.tolist()]
    )


def dapo(n: int, limit: int, buffer: int) -> float:
    if n <= limit - buffer:
        return 0.0
    return -1.0 if n > limit else (limit - buffer - n) / buffer


def one_group(rng: random.Random) -> list[tuple]:
    """Lengths and advantages of a group."""
    lengths = [rng.randrange(4, 16), rng.randrange(4, 16), rng.randrange(30, 60)]
    lengths.insert(rng.randrange(4), rng.randrange(4, 16))
    advantages = [rng.randrange(-90, 91) / 100 or 0.5 for _ in range(3)]
    return [(lengths, [*advantages, rng.choice([-1.2, 1.3])])]


def share(pulls: list[float], lengths: list[int]) -> float:
    return pulls[lengths.index(max(lengths))] / sum(pulls)


def share_token(n: list[int], advantages: list[float]) -> float:
    return share([x * abs(a) for x, a in zip(n, advantages, strict=True)], n)


def share_sequence(n: list[int], advantages: list[float]) -> float:
    return share([abs(a) for a in advantages], n)


PULL = (
    "A step has four answers to one prompt, of {0} tokens, with advantages {1}. A "
    "token pulls with its weight times |advantage|. What share of all pull do the "
    "tokens of the longest answer have under "
)

CHECKS = [
    weights_check(
        "sequence",
        "mean over answers of the mean over tokens",
        3,
        {
            "your mean is over all tokens, not over those of each answer": (
                COUNTS["token"]
            ),
            "answers of 0 tokens are left out, and you still count them": (
                lambda at: at.own * at.places
            ),
            "you divide by the padded length, not by the answer's own": (
                lambda at: at.longest * at.answers
            ),
            "you sum the answers' means: divide by the number of answers too": (
                lambda at: at.own
            ),
        },
    ),
    weights_check(
        "token",
        "mean over all tokens of the step",
        3,
        {
            "you average within each answer first: here all tokens weigh the same": (
                COUNTS["sequence"]
            ),
            "padding is counted: you divide by all cells, not by all tokens": (
                lambda at: at.longest * at.places
            ),
            "you average within each group first: that is `prompt`": COUNTS["prompt"],
        },
    ),
    weights_check(
        "prompt",
        "mean over prompts of the mean over their tokens",
        4,
        {
            "you take the mean of answers' means: in a prompt all tokens weigh the "
            "same": lambda at: at.own * at.beside * at.prompts,
            "prompts of which nothing is left are still counted": (
                lambda at: at.in_group * at.groups
            ),
            "you divide by the number of answers: the mean is over prompts": (
                lambda at: at.in_group * at.answers
            ),
            "a group's answers stand together: repeat its total for each of them "
            "(repeat_interleave), do not tile": lambda at: at.tiled * at.prompts,
        },
    ),
    weights_check(
        "constant",
        "sum over tokens over a constant",
        3,
        {
            "you divide by the longest answer of the batch, which changes from step "
            "to step: L is max_tokens": lambda at: at.longest * at.answers,
            "answers of 0 tokens are left out, and you still count them": (
                lambda at: at.room * at.places
            ),
            "you divide by each answer's own length: that is `sequence`": (
                COUNTS["sequence"]
            ),
            "L is there, the number of answers is missing": lambda at: at.room,
        },
    ),
    Check(
        "grpo.sequence_weights",
        "all four kinds, of whole answers: where nothing is left it is 0, not NaN",
        2,
        all_kinds,
        by(),
        {
            "0 tokens give 1 / 0, and 0 times that is NaN": by(empty=math.inf),
        },
        tolerance=1e-6,
        through=of_answers,
    ),
    Check(
        "grpo.weighted_sum",
        "weights times sums over own tokens, whatever masked cells hold",
        2,
        tokens_of,
        plain_sum,
        {
            "you multiply by the mask: 0 times NaN is NaN, and one masked cell spoils "
            "the whole loss": lambda values, mask, weights: (
                weights @ (values * mask).sum(1)
            ),
            "masked cells are in the sum": lambda values, mask, weights: (
                weights @ values.sum(1)
            ),
            "you take means over tokens: the weights already divide": (
                lambda values, mask, weights: plain_sum(
                    values, mask, weights / mask.sum(1).clamp(min=1)
                )
            ),
            "the weights are not used": lambda values, mask, weights: plain_sum(
                values, mask, torch.ones(len(weights))
            ),
            "the sum over answers is missing: a loss is one number": (
                lambda values, mask, weights: torch.tensor(sums(values, mask, weights))
            ),
        },
    ),
    Check(
        "grpo.overlong_penalty",
        "DAPO's price of length",
        1,
        long_answers,
        ramp(dapo),
        {
            "the sign is turned: a penalty is 0 or less": ramp(
                lambda n, limit, buffer: -dapo(n, limit, buffer)
            ),
            "short answers are paid: before the buffer it is 0": ramp(
                lambda n, limit, buffer: max(-1, (limit - buffer - n) / buffer)
            ),
            "beyond the limit it stays at -1": ramp(
                lambda n, limit, buffer: min(0, (limit - buffer - n) / buffer)
            ),
            "it begins at limit - buffer, yours at the limit": ramp(
                lambda n, limit, buffer: dapo(n, limit + buffer, buffer)
            ),
        },
    ),
    Check(
        "answers.share_token",
        PULL + "`token`? (three digits)",
        1,
        one_group,
        share_token,
        {
            "that is its share under `sequence`": share_sequence,
            "that is its share of the tokens, without their advantages": (
                lambda n, advantages: share(n, n)
            ),
        },
        tolerance=2e-3,
    ),
    Check(
        "answers.share_sequence",
        PULL + "`sequence`? (three digits)",
        1,
        one_group,
        share_sequence,
        {
            "that is its share under `token`": share_token,
            "the advantages differ, so it is not one of four": (
                lambda n, advantages: 1 / len(n)
            ),
        },
        tolerance=2e-3,
    ),
]
