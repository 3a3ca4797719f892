"""Module 4: aggregation and normalisers. What is left out, and what is graded."""

import math
import random

import torch
from grading import Check

BLANKS = {"grpo.py": ["sequence_weights", "weighted_sum", "overlong_penalty"]}


def lengths_of(rng: random.Random) -> tuple:
    """Lengths of three groups of three, with room for the longest: one answer of the
    first group is left out (0 tokens), and all of the second."""
    lengths = [rng.randrange(2, 10) for _ in range(9)]
    lengths[1], lengths[3:6] = 0, [0] * 3
    lengths[7] = max(lengths) + 1
    return torch.tensor(lengths), 3, max(lengths) + rng.randrange(3, 6)


def kinds(kind: str):
    """Cases of sequence_weights: two steps, asked for one kind."""

    def cases(rng: random.Random) -> list[tuple]:
        made = [lengths_of(rng) for _ in range(2)]
        return [(lengths, kind, size, most) for lengths, size, most in made]

    return cases


def all_kinds(rng: random.Random) -> list[tuple]:
    """Each kind on one step, and on a step of which nothing is left."""
    lengths, size, most = lengths_of(rng)
    steps = (lengths, torch.zeros_like(lengths))
    return [(step, kind, size, most) for kind in COUNTS for step in steps]


def of_the_kept(function):
    """sequence_weights without those of answers that are left out: they weigh nothing
    that there is, and may be anything."""
    return lambda lengths, *rest: function(lengths, *rest)[lengths > 0]


def of_answers(function):
    """The weight of a whole answer: of one token, times its tokens."""
    return lambda lengths, *rest: function(lengths, *rest) * lengths


# What a token of an answer is divided by. `n` is the answer's length, `group` has those
# of its group, `step` all groups, `most` is the room for an answer.


def answers(step: list[list[int]]) -> int:
    return sum(n > 0 for group in step for n in group)


def prompts(step: list[list[int]]) -> int:
    return sum(sum(group) > 0 for group in step)


def tokens(step: list[list[int]]) -> int:
    return sum(sum(group) for group in step)


def size(step: list[list[int]]) -> int:
    return sum(len(group) for group in step)


def longest(step: list[list[int]]) -> int:
    return max(max(group) for group in step)


COUNTS = {
    "sequence": lambda n, group, step, most: n * answers(step),
    "token": lambda n, group, step, most: tokens(step),
    "prompt": lambda n, group, step, most: sum(group) * prompts(step),
    "constant": lambda n, group, step, most: most * answers(step),
}


def by(count=None, group_of=lambda i, size, num: i // size, empty: float = 1.0):
    """sequence_weights by a rule from an answer to what its tokens are divided by; with
    none it is the rule of the kind that is asked. `empty` is 1 / 0."""

    def weights(lengths, kind, group_size, max_tokens):
        n, rule, found = lengths.tolist(), count or COUNTS[kind], []
        step = [n[i : i + group_size] for i in range(0, len(n), group_size)]
        for i in range(len(n)):
            group = step[group_of(i, group_size, len(step))]
            divisor = rule(n[i], group, step, max_tokens)
            found.append(1 / divisor if divisor else empty)
        return torch.tensor(found, dtype=torch.float64)

    return weights


def tokens_of(rng: random.Random) -> list[tuple]:
    """Values, mask and weights: one batch is clean, in the other masked cells hold NaN
    and inf."""
    cases = []
    for bad in ((1.5, -2.5), (math.nan, math.inf)):
        values = [[rng.uniform(-2, 2) for _ in range(5)] for _ in range(3)]
        mask = [[0.0, 0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0, 0.0], [0.0] * 5]
        values[0][:2] = values[1][3:] = values[2][1:3] = bad
        weights = [rng.uniform(0.1, 0.9) for _ in range(3)]
        cases.append((torch.tensor(values), torch.tensor(mask), torch.tensor(weights)))
    return cases


def plain_sum(values, mask, weights, divide: bool = False) -> torch.Tensor:
    total = 0.0
    for row, own, weight in zip(values, mask, weights, strict=True):
        kept = [x.item() for x, m in zip(row, own, strict=True) if m > 0]
        total += weight.item() * sum(kept) / (len(kept) or 1 if divide else 1)
    return torch.tensor(total)


def sum_of_each(values, mask, weights) -> torch.Tensor:
    one = [slice(i, i + 1) for i in range(len(values))]
    return torch.stack([plain_sum(values[i], mask[i], weights[i]) for i in one])


def answers_too_long(rng: random.Random) -> list[tuple]:
    """Lengths before, inside and beyond the buffer."""
    cases = []
    for _ in range(2):
        buffer = rng.choice([8, 10, 16])
        limit = 4 * buffer + rng.randrange(9)
        inside = limit - rng.randrange(1, buffer // 2)
        lengths = [3, limit - buffer, inside, limit - buffer + 1, limit, limit + 9]
        cases.append((torch.tensor(lengths), limit, buffer))
    return cases


def ramp(rule):
    """overlong_penalty by a rule of one length."""
    return lambda lengths, limit, buffer: torch.tensor(
        [float(rule(n, limit, buffer)) for n in lengths.tolist()], dtype=torch.float64
    )


def dapo(n: int, limit: int, buffer: int) -> float:
    if n <= limit - buffer:
        return 0.0
    return -1.0 if n > limit else (limit - buffer - n) / buffer


def one_step(rng: random.Random) -> list[tuple]:
    """Lengths and GRPO's advantages of one group, one answer right: of a question."""
    lengths = [rng.randrange(4, 16) for _ in range(3)] + [rng.randrange(30, 60)]
    advantages = [1.73, -0.58, -0.58, -0.58]
    rng.shuffle(lengths)
    return [(lengths, advantages)]


def share(lengths: list[int], advantages: list[float], longest_too: bool = True):
    """Of the longest, of all that pulls: tokens times |A|, or |A| for an answer."""
    pulls = [
        (n if longest_too else 1) * abs(a)
        for n, a in zip(lengths, advantages, strict=True)
    ]
    return pulls[lengths.index(max(lengths))] / sum(pulls)


PULL = (
    "Answers of {0} tokens to one prompt have the advantages {1}, ratios are 1, nothing "
    "else is in the step. A token pulls with its weight times |advantage|. Which share "
    "of all pull has the longest answer under `"
)

CHECKS = [
    Check(
        "grpo.sequence_weights",
        "sequence: mean over answers of the mean over tokens",
        3,
        kinds("sequence"),
        by(),
        {
            "your mean is over all tokens, not over those of each answer": by(
                COUNTS["token"]
            ),
            "answers of 0 tokens are left out, and you still count them": by(
                lambda n, group, step, most: n * size(step)
            ),
            "you divide by the padded length, not by the answer's own": by(
                lambda n, group, step, most: longest(step) * answers(step)
            ),
            "you sum the answers' means: their mean has the number of answers in it": by(
                lambda n, group, step, most: n
            ),
        },
        tolerance=1e-6,
        through=of_the_kept,
    ),
    Check(
        "grpo.sequence_weights",
        "token: mean over all tokens of the step",
        3,
        kinds("token"),
        by(),
        {
            "you average within each answer first; here all tokens weigh the same": by(
                COUNTS["sequence"]
            ),
            "the padding is counted: not every answer is as long as the longest": by(
                lambda n, group, step, most: longest(step) * answers(step)
            ),
            "you average within each group first: that is `prompt`": by(
                COUNTS["prompt"]
            ),
        },
        tolerance=1e-6,
        through=of_the_kept,
    ),
    Check(
        "grpo.sequence_weights",
        "prompt: mean over prompts of the mean over their tokens",
        4,
        kinds("prompt"),
        by(),
        {
            "within a prompt all tokens weigh the same; you take the mean of its "
            "answers' means": by(
                lambda n, group, step, most: n * answers([group]) * prompts(step)
            ),
            "prompts of which nothing is left are still counted": by(
                lambda n, group, step, most: sum(group) * len(step)
            ),
            "you divide by the number of answers: the mean is over prompts": by(
                lambda n, group, step, most: sum(group) * answers(step)
            ),
            "a group's answers stand together: its total must be repeated for each "
            "(repeat_interleave), not tiled": by(
                COUNTS["prompt"], lambda i, size, num: i % num
            ),
        },
        tolerance=1e-6,
        through=of_the_kept,
    ),
    Check(
        "grpo.sequence_weights",
        "constant: sum over tokens over a constant",
        3,
        kinds("constant"),
        by(),
        {
            "you divide by the longest answer of the batch, which changes from step to "
            "step: L is max_tokens": by(
                lambda n, group, step, most: longest(step) * answers(step)
            ),
            "answers of 0 tokens are left out, and you still count them": by(
                lambda n, group, step, most: most * size(step)
            ),
            "you divide by each answer's own length: that is `sequence`": by(
                COUNTS["sequence"]
            ),
            "L is there, the number of answers is missing": by(
                lambda n, group, step, most: most
            ),
        },
        tolerance=1e-6,
        through=of_the_kept,
    ),
    Check(
        "grpo.sequence_weights",
        "all four stay finite where nothing is left",
        2,
        all_kinds,
        by(),
        {
            "an answer or a step of 0 tokens gives 1 / 0, and 0 times that is NaN": by(
                empty=math.inf
            ),
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
            "you multiply by the mask: 0 times NaN is NaN, so one masked cell spoils the "
            "whole loss": lambda values, mask, weights: (
                (values * mask).sum(1) * weights
            ).sum(),
            "masked cells are in the sum": lambda values, mask, weights: (
                values.sum(1) * weights
            ).sum(),
            "you take a mean over tokens: the weights already divide": (
                lambda values, mask, weights: plain_sum(values, mask, weights, True)
            ),
            "the weights are not used": lambda values, mask, weights: plain_sum(
                values, mask, torch.ones_like(weights)
            ),
            "the sum over answers is missing: a loss is one number": sum_of_each,
        },
    ),
    Check(
        "grpo.overlong_penalty",
        "DAPO's price of length",
        1,
        answers_too_long,
        ramp(dapo),
        {
            "a penalty is 0 or less: the sign is turned": ramp(
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
        PULL + "token`? (three digits)",
        1,
        one_step,
        share,
        {
            "that is its share under `sequence`": lambda n, a: share(n, a, False),
            "that is its share of the tokens: they differ in |advantage|": lambda n, a: (
                share(n, [1] * len(n))
            ),
        },
        tolerance=2e-3,
    ),
    Check(
        "answers.share_sequence",
        PULL + "sequence`? (three digits)",
        1,
        one_step,
        lambda n, a: share(n, a, False),
        {
            "that is its share under `token`": share,
            "that is its share of the answers: they differ in |advantage|": (
                lambda n, a: 1 / len(n)
            ),
        },
        tolerance=2e-3,
    ),
]
