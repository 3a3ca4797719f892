"""Module 3: from REINFORCE to GRPO. What is left out, and what is graded."""

import random

import torch
from grading import Check

BLANKS = {
    "grpo.py": [
        "live_groups",
        "group_advantages",
        "other_advantages",
        "token_logprobs",
    ]
}

Rewards = torch.Tensor  # (P, G)


def rewards_of(rng: random.Random) -> list[tuple]:
    """Groups of 0 and 1, of shares, one group flat."""
    cases = []
    for group in (4, 5):
        rows = [[float(rng.random() < 0.5) for _ in range(group)] for _ in range(3)]
        rows[0][:2] = [0.0, 1.0]
        rows[1] = [float(group == 4)] * group  # all right, or all wrong
        cases.append((torch.tensor(rows),))
    rows = [[rng.randrange(10) / 10 for _ in range(4)] for _ in range(3)]
    rows[0][:2] = [0.2, 0.9]
    return [*cases, (torch.tensor(rows),)]


def kinds(kind: str):
    """Cases of group_advantages: the same rewards, asked for one kind."""
    return lambda rng: [(rewards, kind) for (rewards,) in rewards_of(rng)]


def by_groups(rule):
    """group_advantages by a rule from one group's rewards to its advantages."""

    def advantages(rewards: Rewards, kind: str = "grpo") -> Rewards:
        return torch.tensor([rule(row) for row in rewards.tolist()])

    return advantages


def mean(row: list[float]) -> float:
    return sum(row) / len(row)


def std(row: list[float], less: int = 0) -> float:
    return (sum((x - mean(row)) ** 2 for x in row) / (len(row) - less)) ** 0.5


def is_flat(row: list[float]) -> bool:
    return max(row) == min(row)


def grpo(row: list[float]) -> list[float]:
    return [0.0 if is_flat(row) else (x - mean(row)) / (std(row) + 1e-6) for x in row]


def grpo_of_sample(row: list[float]) -> list[float]:
    return [
        0.0 if is_flat(row) else (x - mean(row)) / (std(row, 1) + 1e-6) for x in row
    ]


def dr_grpo(row: list[float]) -> list[float]:
    return [0.0 if is_flat(row) else x - mean(row) for x in row]


def rloo(row: list[float]) -> list[float]:
    n, total = len(row), sum(row)
    return [0.0 if is_flat(row) else x - (total - x) / (n - 1) for x in row]


def over_batch(rewards: Rewards, kind: str = "grpo") -> Rewards:
    return (rewards - rewards.mean()) / (rewards.std(correction=0) + 1e-6)


def batch_mean(rewards: Rewards, kind: str = "batch_mean") -> Rewards:
    return rewards - rewards.mean()


def by_columns(rewards: Rewards, kind: str = "grpo") -> Rewards:
    return (rewards - rewards.mean(0)) / (rewards.std(0, correction=0) + 1e-6)


def nan_when_flat(rewards: Rewards, kind: str = "grpo") -> Rewards:
    spread = rewards.std(1, correction=0, keepdim=True)
    return (rewards - rewards.mean(1, keepdim=True)) / spread


def live(rewards: Rewards) -> Rewards:
    return torch.tensor([not is_flat(row) for row in rewards.tolist()])


def logits_of(rng: random.Random) -> list[tuple]:
    """Logits (B, T, V) and tokens (B, T)."""
    made = torch.Generator().manual_seed(rng.randrange(10**6))
    logits = torch.randn(2, 5, 7, generator=made) * 2
    tokens = torch.randint(7, (2, 5), generator=made)
    packed = torch.randn(6, 7, generator=made)  # (M, V), read at `at`
    packed[:, 6] = -torch.inf
    at = torch.randint(6, (2, 5), generator=made)
    tokens[0, 1] = 6  # which no policy may write
    return [(logits, tokens), (packed, tokens, at)]


def chosen(
    logits: torch.Tensor,
    tokens: torch.Tensor,
    at: torch.Tensor | None = None,
    shift: int = 1,
) -> torch.Tensor:
    """log softmax of the logits `shift` places before each token, at the token."""
    if at is not None:
        logits = torch.stack([logits[row] for row in at])  # (B, T, V)
    found = torch.zeros(tokens.shape)
    for b, row in enumerate(tokens.tolist()):
        for t in range(shift, len(row)):
            scores = logits[b, t - shift].tolist()
            total = sum(2.718281828459045**x for x in scores)
            found[b, t] = scores[row[t]] - torch.tensor(total).log()
    return found.clamp(min=-1e9)


def unnormalized(
    logits: torch.Tensor, tokens: torch.Tensor, at: torch.Tensor | None = None
) -> torch.Tensor:
    if at is not None:
        logits = logits[at]
    raw = logits[:, :-1].gather(2, tokens[:, 1:, None])[:, :, 0].clamp(min=-1e9)
    return torch.nn.functional.pad(raw, (1, 0))


def one_group(rng: random.Random) -> list[tuple]:
    """The rewards of one group, with contrast: an answer's question."""
    right = rng.choice([1, 3, 5])  # of 8: other numbers than in the handout
    row = [1.0] * right + [0.0] * (8 - right)
    rng.shuffle(row)
    return [(row,)]


def one_rate(rng: random.Random) -> list[tuple]:
    return [(rng.randrange(5, 9) / 10, rng.choice([4, 5, 6]))]


def share_live(p: float, group: int) -> float:
    return 1 - p**group - (1 - p) ** group


CHECKS = [
    Check(
        "grpo.live_groups",
        "which groups teach anything",
        2,
        rewards_of,
        live,
        {
            "it is the other way round: a flat group is not live": lambda r: ~live(r),
            "all right is flat too, not only all wrong": lambda r: r.sum(1) > 0,
            "all wrong is flat too, not only all right": lambda r: r.amin(1) < 1,
        },
    ),
    Check(
        "grpo.group_advantages",
        "REINFORCE with the mean of the batch as its baseline",
        2,
        kinds("batch_mean"),
        batch_mean,
        {
            "no baseline is subtracted": lambda rewards, kind: rewards.clone(),
            "the baseline is the group's mean, not the batch's": by_groups(dr_grpo),
        },
    ),
    Check(
        "grpo.group_advantages",
        "RLOO: the baseline is the mean of the others",
        4,
        kinds("rloo"),
        by_groups(rloo),
        {
            "your mean holds the answer itself, so every advantage is (G - 1) / G of "
            "what it should be": by_groups(dr_grpo),
            "you divide by the std: RLOO does not": by_groups(grpo),
            "the mean of the others divides by G - 1, yours by G": by_groups(
                lambda row: [
                    0.0 if is_flat(row) else x - (sum(row) - x) / len(row) for x in row
                ]
            ),
        },
    ),
    Check(
        "grpo.group_advantages",
        "GRPO: less the group's mean, over its std",
        6,
        kinds("grpo"),
        by_groups(grpo),
        {
            "your std divides by G - 1; GRPO's divides by G (correction=0)": by_groups(
                grpo_of_sample
            ),
            "mean and std are over the whole batch, not over each group": over_batch,
            "mean and std run over the wrong dimension: a group is a row": by_columns,
            "a flat group is 0 / 0: it must get exact zeros": nan_when_flat,
            "you do not divide by the std": by_groups(dr_grpo),
            "you divide by the variance, not by its root": by_groups(
                lambda row: [
                    0.0 if is_flat(row) else (x - mean(row)) / (std(row) ** 2 + 1e-6)
                    for x in row
                ]
            ),
        },
    ),
    Check(
        "grpo.token_logprobs",
        "log-probability of each token under the logits before it",
        4,
        logits_of,
        chosen,
        {
            "logits at t predict the token at t + 1, yours are read at the token "
            "itself": lambda logits, tokens, at=None: chosen(logits, tokens, at, 0),
            "these are logits, not log-probabilities: log_softmax is missing": (
                unnormalized
            ),
            "column 0 is 0 and the shape stays (B, T): yours lacks that column": (
                lambda logits, tokens, at=None: chosen(logits, tokens, at)[:, 1:]
            ),
        },
    ),
    Check(
        "answers.advantage",
        "With rewards {0}, what is GRPO's advantage of a right answer? (four digits)",
        1,
        one_group,
        lambda row: max(grpo(row)),
        {"that is with G - 1 in the std": lambda row: max(grpo_of_sample(row))},
        tolerance=2e-3,
    ),
    Check(
        "answers.live_share",
        "A policy is right with chance {0}. What share of groups of {1} is live? "
        "(three digits)",
        1,
        one_rate,
        share_live,
        {
            "that is the share of flat groups": lambda p, g: 1 - share_live(p, g),
            "all right is flat too, not only all wrong": lambda p, g: 1 - (1 - p) ** g,
        },
        tolerance=2e-3,
    ),
]
