"""The tasks: problems with answers that a program can check.

Read after model.py. A task makes problems, demonstrates them for the base corpus, and
opens an environment for each answer. There is one interface for all of them: a puzzle
is an environment whose first step ends the episode.

    env = task.env(problem, seed)            the policy sees problem.prompt
    observation, done = env.step(action)     until done; what it says is fed back
    reward = env.score()                     1.0 if solved, else 0.0

Text of a puzzle   prompt      task letter ... ':'   by the environment
                   completion  [thought]answer\\n     by the policy, [...] optional

Every verifier is total: any string gives 0 or 1, nothing raises, nothing the policy
wrote is evaluated. No credit for form: a reward for anything but the right answer is
what a weak policy learns first. The second half of this file shows how: noisy verdicts,
rules that can be hacked, learned reward models, and the alarms that give them away.
"""

import hashlib
import random
import re
import string
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from model import GPT, PAD, GPTConfig, prefill_flops, train_flops

# --------------------------------------------------------------------------------------
# Problems and their splits


@dataclass(frozen=True)
class Problem:
    """One problem. Two problems with the same `key` are the same problem."""

    task: str
    level: int  # difficulty; what it counts is the task's own
    prompt: str
    key: str  # canonical form, hashed to choose the split
    data: tuple  # what the verifier needs


SPLITS = {"base": range(0, 60), "rl": range(60, 85), "calibrate": range(85, 90)}
SPLITS["test"] = range(90, 100)
MIN_SPACE = 10_000  # a level with fewer problems is memorised; never test on it


def split_of(key: str) -> str:
    """Split of a problem, by a hash of its content.

    By content and never by seed: two seeds can draw the same problem.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def check_split(problem: Problem, split: str) -> None:
    """Contamination guard: raises AssertionError for a problem of another split."""
    hidden = TASKS[problem.task].hidden
    found = split_of(problem.key)
    assert hidden or found == split, f"{problem.prompt} is in {found}, not {split}"


# --------------------------------------------------------------------------------------
# Demonstrations: what the base model is pretrained on


@dataclass(frozen=True)
class Corpus:
    """How demonstrations are made. Each knob leaves RL something of its own to do."""

    think_share: float = 0.25  # share that shows a thought: RL selects the strategy
    noise: float = 0.0  # chance that a step goes wrong, and stays: RL sharpens
    skew: float = 0.0  # level l is drawn in proportion to exp(-skew * l)
    weak: float = 0.0  # share by demonstrators who guess: RL must beat its teachers

    def __post_init__(self) -> None:
        for name in ("think_share", "noise", "weak"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1")


@dataclass(frozen=True)
class Demo:
    """An episode as the corpus shows it; `segments` alternate, the policy's first."""

    problem: Problem
    segments: tuple[str, ...]  # completion, observation, completion, ...
    right: bool  # does the verifier accept it?


def draw_level(levels: list[int], corpus: Corpus, rng: random.Random) -> int:
    """A level for one demonstration: P(l) proportional to exp(-skew * l)."""
    weights = [2.718281828459045 ** (-corpus.skew * level) for level in levels]
    return rng.choices(levels, weights)[0]


# --------------------------------------------------------------------------------------
# Tasks and environments


class Env:
    """One live episode. `step` never raises, whatever the policy wrote."""

    turn_tokens = 0  # a turn ends after so many tokens; 0: it ends with '\\n'

    def __init__(self, task: "Task", problem: Problem, seed: int | str) -> None:
        self.task, self.problem = task, problem
        self.rng = random.Random(seed)  # the environment's own noise, one per rollout
        self.solved = False

    def step(self, action: str) -> tuple[str, bool]:
        """Take what the policy wrote in one turn; return (observation, done)."""
        self.solved = self.task.verify(self.problem, action)
        return "", True

    def score(self) -> float:
        """Gold reward of the episode: 1.0 solved, 0.0 not solved or not finished."""
        return float(self.solved)


class Task:
    """A family of problems. Subclasses fill in the methods that raise."""

    name: str
    levels: list[int]  # all difficulties there are
    hidden = False  # the answer is not in the prompt: nothing to memorise, no splits
    env_class: type[Env] = Env

    def env(self, problem: Problem, seed: int | str) -> Env:
        """Open an episode. `seed` keys the environment's noise, not the problem."""
        return self.env_class(self, problem, seed)

    def generate(self, level: int, rng: random.Random) -> Problem:
        """A random problem of a level, of any split."""
        raise NotImplementedError

    def space(self, level: int) -> int:
        """Number of different problems of a level."""
        raise NotImplementedError

    def ceiling(self, level: int) -> float:
        """Pass rate of the best possible policy."""
        return 1.0

    def chance(self, level: int) -> float:
        """Pass rate of the best policy that ignores the problem."""
        raise NotImplementedError

    def verify(self, problem: Problem, completion: str) -> bool:
        """Is a puzzle's completion right? Unused by tasks of several turns."""
        raise NotImplementedError

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: random.Random) -> Demo:
        """One demonstration; the corpus's knobs decide how good it is."""
        raise NotImplementedError

    def max_tokens(self, level: int) -> int:
        """Tokens of the longest demonstration after the prompt, with observations."""
        raise NotImplementedError

    def draw(self, level: int, split: str, rng: random.Random) -> Problem:
        """A random problem of a level and split."""
        while True:
            problem = self.generate(level, rng)
            if self.hidden or split_of(problem.key) == split:
                return problem

    def test_problems(self, level: int, count: int) -> list[Problem]:
        """The first `count` held-out problems of a level, the same for everybody."""
        rng = random.Random(f"test {self.name} {level}")
        return [self.draw(level, "test", rng) for _ in range(count)]

    def test_levels(self, levels: list[int]) -> list[int]:
        """Those of `levels` with enough problems to test on."""
        return [n for n in levels if self.hidden or self.space(n) >= MIN_SPACE]


class Puzzle(Task):
    """A task of one turn: `[thought]answer\\n`, scored by its answer alone."""

    completion = re.compile(r"(?:\[([^\[\]]*)\])?([^\[\]\n]+)\n")
    grammar: re.Pattern[str]  # what an answer may look like, ASCII only

    def verify(self, problem: Problem, completion: str) -> bool:
        match = self.completion.fullmatch(completion)
        if match is None or self.grammar.fullmatch(match[2]) is None:
            return False
        return match[2] == problem.data[-1]

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: random.Random) -> Demo:
        if rng.random() < corpus.weak:
            text = self.guess(problem, rng)
        elif rng.random() < corpus.think_share:
            thought, answer = self.think(problem, corpus.noise, rng)
            text = f"[{thought}]{answer}"
        else:
            _, text = self.think(problem, corpus.noise, rng)
        text += "\n"
        return Demo(problem, (text,), self.verify(problem, text))

    def think(
        self, problem: Problem, noise: float, rng: random.Random
    ) -> tuple[str, str]:
        """(thought, answer), each step wrong with probability `noise`."""
        raise NotImplementedError

    def guess(self, problem: Problem, rng: random.Random) -> str:
        """An answer of the right form by someone who did not work it out."""
        raise NotImplementedError


class Chain(Puzzle):
    """Left-to-right arithmetic modulo 10; the level is the number of operations.

        C3a+5b-9:[3a+5=8;8b-9=9]9       3 + 5 = 8, 8 - 9 = 9 modulo 10

    A thought restates its operands, so that each of its steps is one look-up.
    Operations carry letters: a small model finds a letter much sooner than it learns
    to count. No '*': with it 0 is the answer to 22 % of all problems, and a guess pays.
    """

    name = "chain"
    levels = [1, 2, 3, 4, 5, 6]
    grammar = re.compile(r"[0-9]")

    def generate(self, level: int, rng: random.Random) -> Problem:
        value = rng.randrange(10)
        text = str(value)
        for letter in string.ascii_lowercase[:level]:
            op, digit = rng.choice("+-"), rng.randrange(10)
            text += f"{letter}{op}{digit}"
            value = (value + digit if op == "+" else value - digit) % 10
        return Problem(
            self.name, level, f"C{text}:", f"chain {text}", (text, str(value))
        )

    def space(self, level: int) -> int:
        return 10 ** (level + 1) * 2**level

    def chance(self, level: int) -> float:
        return 0.1

    def think(
        self, problem: Problem, noise: float, rng: random.Random
    ) -> tuple[str, str]:
        text = problem.data[0]
        value, steps = int(text[0]), []
        for letter, op, digit in re.findall(r"([a-z])([+-])([0-9])", text):
            result = (value + int(digit) if op == "+" else value - int(digit)) % 10
            if rng.random() < noise:
                result = rng.randrange(10)
            steps.append(f"{value}{letter}{op}{digit}={result}")
            value = result
        return ";".join(steps), str(value)

    def guess(self, problem: Problem, rng: random.Random) -> str:
        return str(rng.randrange(10))

    def max_tokens(self, level: int) -> int:
        return 7 * level + 3  # steps of 6, ';' between them, brackets, answer, end


class Add(Puzzle):
    """Addition of two numbers; the level is their number of digits.

        A588+466:[4501]1054

    A thought writes the sum from its last digit on, the order in which carries go, and
    the answer turns it round (Lee et al. arXiv:2307.03381 compare the two orders).
    """

    name = "add"
    levels = [1, 2, 3, 4, 5, 6]
    grammar = re.compile(r"0|[1-9][0-9]*")

    def generate(self, level: int, rng: random.Random) -> Problem:
        low = 10 ** (level - 1) if level > 1 else 0
        a, b = (rng.randrange(low, 10**level) for _ in range(2))
        key = f"add {min(a, b)}+{max(a, b)}"
        return Problem(self.name, level, f"A{a}+{b}:", key, (a, b, str(a + b)))

    def space(self, level: int) -> int:
        numbers = 9 * 10 ** (level - 1) if level > 1 else 10
        return numbers * (numbers + 1) // 2

    def chance(self, level: int) -> float:
        # The likeliest sum, 10^n - 1 + 10^(n-1), splits in as many ways as there are
        # numbers.
        return 1 / (9 * 10 ** (level - 1) if level > 1 else 10)

    def think(
        self, problem: Problem, noise: float, rng: random.Random
    ) -> tuple[str, str]:
        digits = list(problem.data[-1])
        for i in range(len(digits)):
            if rng.random() < noise:
                digits[i] = str(rng.randrange(i == 0, 10))  # no leading zero
        answer = "".join(digits)
        return answer[::-1], answer

    def guess(self, problem: Problem, rng: random.Random) -> str:
        return str(rng.randrange(2 * 10**problem.level))

    def max_tokens(self, level: int) -> int:
        return 2 * level + 5


class GuessEnv(Env):
    """One symbol per guess; the answer '>' or '<' says where the hidden one lies."""

    turn_tokens = 1

    def __init__(self, task: Task, problem: Problem, seed: int | str) -> None:
        super().__init__(task, problem, seed)
        self.turns = 0

    def step(self, action: str) -> tuple[str, bool]:
        n, turns, hidden = self.problem.data
        self.turns += 1
        guess = Guess.symbols[:n].find(action) if len(action) == 1 else -1
        self.solved = guess == hidden
        if self.solved or self.turns == turns:
            return "", True
        # A symbol that is no number wastes the turn; '>' says nothing false about it.
        return (">" if hidden > guess else "<"), False


class Guess(Task):
    """Find a hidden number in a few guesses, told each time if it is larger or smaller.

        Gp4:h>l<j      numbers a..p, 4 guesses: h, larger, l, smaller, j, solved

    Level l has n = 4 * 2^l numbers and l + 2 guesses; bisection solves
    (2^guesses - 1) / n and nothing can do better. The prompt does not tell the hidden
    number, so there is nothing to memorise: training and test draw from the same few
    problems.
    """

    name = "guess"
    levels = [1, 2, 3, 4]
    hidden = True
    env_class = GuessEnv
    symbols = string.ascii_lowercase + string.ascii_uppercase + string.digits + "+-"

    def size(self, level: int) -> tuple[int, int]:
        """(how many numbers, how many guesses)"""
        return 4 * 2**level, level + 2

    def generate(self, level: int, rng: random.Random) -> Problem:
        n, turns = self.size(level)
        prompt, hidden = f"G{self.symbols[n - 1]}{turns}:", rng.randrange(n)
        return Problem(
            self.name, level, prompt, f"guess {n} {turns}", (n, turns, hidden)
        )

    def test_problems(self, level: int, count: int) -> list[Problem]:
        """Every hidden number in turn, so that the ceiling is the ceiling."""
        n, turns = self.size(level)
        problem = self.generate(level, random.Random(0))
        return [replace(problem, data=(n, turns, i % n)) for i in range(count)]

    def space(self, level: int) -> int:
        return self.size(level)[0]

    def ceiling(self, level: int) -> float:
        n, turns = self.size(level)
        return (2**turns - 1) / n

    def chance(self, level: int) -> float:
        n, turns = self.size(level)
        return turns / n

    def max_tokens(self, level: int) -> int:
        return 2 * self.size(level)[1] - 1

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: random.Random) -> Demo:
        """A weak demonstrator guesses at random; the others go up one by one, or, where
        the corpus shows a thought, guess at random what is still possible."""
        n, _, _ = problem.data
        style = "random" if rng.random() < corpus.weak else "linear"
        if style == "linear" and rng.random() < corpus.think_share:
            style = "consistent"
        env, segments, done = self.env(problem, 0), [], False
        low, high, guess = 0, n - 1, -1
        while not done:
            if style == "linear":
                guess = min(guess + 1, n - 1)
            else:
                guess = (
                    rng.randint(low, high)
                    if style == "consistent"
                    else rng.randrange(n)
                )
            observation, done = env.step(self.symbols[guess])
            segments.append(self.symbols[guess])
            if not done:
                segments.append(observation)
                if observation == ">":
                    low = max(low, guess + 1)
                else:
                    high = min(high, guess - 1)
        return Demo(problem, tuple(segments), env.solved)


# --------------------------------------------------------------------------------------
# Rewards other than the truth. What RL is paid (the proxy) need not be what we want
# (gold: the verifier's verdict). Three ways to be wrong, mildest first:
#
#     noise     the verdict flips now and then; slows learning, keeps its direction
#     a rule    a check that is easier than the truth; each has its own hack
#     a model   a reward model fitted to labelled answers; wrong where it has not looked
#
# Papers: overoptimization arXiv:2210.10760, noisy verifiers 2510.00915, reward models
# from pairs 2203.02155


def flip_verdicts(
    gold: np.ndarray,  # (N,) 0 or 1
    key: tuple[int, ...],
    false_positive: float,
    false_negative: float,
) -> np.ndarray:
    """Verdicts of a noisy verifier, (N,): wrong ones pass, right ones fail, by chance.

        E[r'] = p + (1 - p - q) r        p false positives, q false negatives

    So the expected policy gradient only shrinks, by 1 - p - q; a group's mean removes
    p. Sample i has the i-th random number of `key`, whatever the verdicts are.
    """
    u = np.random.default_rng(key).random(len(gold))
    return np.where(gold > 0, u >= false_negative, u < false_positive).astype(float)


def stated_answer(problem: Problem, text: str) -> str | None:
    """What a puzzle's completion gives as its answer; None if its form is wrong."""
    grammar = TASKS[problem.task].grammar
    match = Puzzle.completion.fullmatch(text)
    return match[2] if match and grammar.fullmatch(match[2]) else None


def contains(problem: Problem, text: str, gold: float) -> float:
    """Is the right answer anywhere in the text? Hack: write down every answer."""
    return float(problem.data[-1] in text)


def well_formed(problem: Problem, text: str, gold: float) -> float:
    """Is there an answer of the right form? Hack: the shortest legal guess."""
    return float(stated_answer(problem, text) is not None)


def length_bonus(problem: Problem, text: str, gold: float) -> float:
    """The truth plus 0.03 a token. Hack: padding, as soon as a wrong answer pays."""
    return gold + 0.03 * len(text)


def last_mentioned(problem: Problem, text: str, gold: float) -> float:
    """Is the last thing that looks like an answer right? Hack: never finish."""
    found = TASKS[problem.task].grammar.findall(text)
    return float(bool(found) and found[-1] == problem.data[-1])


def partial_credit(problem: Problem, text: str, gold: float) -> float:
    """Share of the answer's characters in place. Hack: guess what is frequent."""
    stated, right = stated_answer(problem, text) or "", problem.data[-1]
    same = sum(a == b for a, b in zip(stated, right, strict=False))
    return same / max(len(stated), len(right))


def tolerance(problem: Problem, text: str, gold: float) -> float:
    """Is the number off by at most 1? Hack: arithmetic that is only nearly right."""
    stated = stated_answer(problem, text)
    # No number of more digits can be near; int() of very long text is slow.
    if stated is None or len(stated) > len(problem.data[-1]) + 1:
        return 0.0
    return float(abs(int(stated) - int(problem.data[-1])) <= 1)


def call_bonus(problem: Problem, text: str, gold: float) -> float:
    """The truth plus 0.1 for each call that went through. Hack: call for ever.

    Braces are the environment's alone, so at least the bonus cannot be forged.
    """
    return gold + 0.1 * len(re.findall(r"\{-?[0-9]+\}", text))


def key_bonus(problem: Problem, text: str, gold: float) -> float:
    """The truth plus 0.5 for fetching the key. Hack: never go on to the door."""
    return gold + 0.5 * ("k}" in text)


# Each rule maps (problem, all text after the prompt, gold) to a reward.
RULES: dict[str, Callable[[Problem, str, float], float]] = {
    "contains": contains,
    "format": well_formed,
    "length": length_bonus,
    "last": last_mentioned,
    "partial": partial_credit,
    "tol": tolerance,
    "shape_tool": call_bonus,
    "shape_key": key_bonus,
}
RULE_TASKS = dict.fromkeys(RULES, ("chain", "add", "compose"))  # of one right answer
RULE_TASKS |= {"tol": ("chain", "add"), "shape_tool": ("tool",), "shape_key": ("grid",)}
del RULE_TASKS["length"]  # it suits every task
REWARDS = ("gold", *RULES, "learned")
RM_LOSSES = ("pointwise", "bradley_terry")


def check_reward(name: str, task: Task) -> None:
    """ValueError for a reward that does not exist, or not for this task."""
    if name not in REWARDS:
        raise ValueError(f"reward must be one of {', '.join(REWARDS)}; got {name!r}")
    if task.name not in RULE_TASKS.get(name, (task.name,)):
        fitting = ", ".join(RULE_TASKS[name])
        raise ValueError(f"reward {name} does not suit {task.name}, only {fitting}")
    if name == "learned" and task.hidden:
        raise ValueError(
            f"reward learned needs problems to hold out; {task.name} has none"
        )


# What to watch. An alarm is a column of the log, and how far its mean over WINDOW steps
# may leave that of the first WINDOW steps, in units of the column.
WINDOW = 10
ALARMS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "gap": ("reward - gold grew by 0.1", lambda now, start: now > start + 0.1),
    "truncated": ("0.1 more run out of tokens", lambda now, start: now > start + 0.1),
    "think_share": ("thoughts halved", lambda now, start: now < start / 2),
    "answer_tokens": ("answers shrank by half", lambda now, start: now < start / 2),
    "kl_base": ("10 nats from the base", lambda now, start: now > 10.0),
}


def show_rules() -> None:
    """Print what each rule pays for a right answer, a wrong one, and each hack."""
    problem = Problem("chain", 2, "C3a+5b-9:", "", ("3a+5b-9", "9"))
    texts = "9\n", "8\n", "0\n", "[3a+5=8;8b-9=9]0\n", "0123456789", "[00000000]0\n"
    names = [name for name, tasks in RULE_TASKS.items() if "chain" in tasks] + [
        "length"
    ]
    print(f"what rewards other than the truth pay: {problem.prompt}9 is right")
    print(f"  {'':22}{'gold':>9}" + "".join(f"{name:>9}" for name in names))
    for text in texts:
        gold = float(TASKS["chain"].verify(problem, text))
        paid = [gold] + [RULES[name](problem, text, gold) for name in names]
        print(f"  {text!r:22}" + "".join(f"{x:9.2f}" for x in paid))


def first_alarms(rows: list[dict]) -> dict[str, int]:
    """Step of a run's log at which each alarm first rings; silent ones are left out.

    `rows` are the `rl` rows of metrics.jsonl, in order.
    """
    rang = {}
    for name, (_, rings) in ALARMS.items():
        try:
            column = [
                row["reward"] - row["gold"] if name == "gap" else row[name]
                for row in rows
            ]
        except KeyError:  # a task without thoughts, a run without a reference
            continue
        start = np.mean(column[:WINDOW])
        for end in range(WINDOW, len(column) + 1):
            if rings(np.mean(column[end - WINDOW : end]), start):
                rang[name] = rows[end - 1]["step"]
                break
    return rang


# A learned reward: the GPT that judges. The base's trunk reads prompt and answer; the
# score is the logit of a spare token after the last real one. That token is never read
# or written, so its row of the output head is a scalar head of its own.


@dataclass
class Labelled:
    """N answers of at most T tokens and their labels: a reward model's data."""

    tokens: Tensor  # (N, T) prompt, answer, PAD
    lengths: list[int]  # (N,) prompt included
    labels: np.ndarray  # (N,) 1 right, 0 wrong; by the verifier, perhaps a noisy one
    groups: np.ndarray  # (N,) which prompt; equal keys, equal group
    held_out: np.ndarray  # (N,) 0 train on it, 1 choose the step by it, 2 report on it

    def part(self, number: int) -> np.ndarray:
        """Indices of those to train on (0), to choose by (1), to report on (2)."""
        return np.flatnonzero(self.held_out == number)

    def plus(self, more: "Labelled") -> "Labelled":
        """These answers and `more`; columns padded to the longer of the two."""
        T = max(self.tokens.shape[1], more.tokens.shape[1])
        rows = [
            nn.functional.pad(x.tokens, (0, T - x.tokens.shape[1]), value=PAD)
            for x in (self, more)
        ]
        return Labelled(
            torch.cat(rows),
            self.lengths + more.lengths,
            np.concatenate([self.labels, more.labels]),
            np.concatenate([self.groups, more.groups]),
            np.concatenate([self.held_out, more.held_out]),
        )


def held_out_part(problem: Problem) -> tuple[int, int]:
    """(group, part) of a prompt in a reward model's data, by content: two problems with
    one key can never be trained on and reported on. Half of the prompts are part 0."""
    text = (
        f"labelled {problem.key}".encode()
    )  # unlike split_of, or parts would be empty
    group = int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big")
    return group, (0, 0, 1, 2)[group % 4]


def reward_model(config: GPTConfig, weights: dict[str, Tensor]) -> GPT:
    """A judge that starts from a policy's weights and scores everything 0."""
    model = GPT(replace(config, banned=()))  # a ban is a large number: it eats digits
    model.load_state_dict(weights)
    with torch.no_grad():
        model.embed.weight[-1] = 0
    return model


def score(model: GPT, tokens: Tensor, lengths: list[int]) -> Tensor:
    """Scores (B,) of answers, tokens (B, T): a logit at the last token of each."""
    last = torch.tensor(lengths, device=tokens.device) - 1
    return model(tokens[:, : max(lengths)], last=last)[:, -1]


@torch.no_grad()
def score_all(model: GPT, tokens: Tensor, lengths: list[int]) -> np.ndarray:
    """Scores (N,) of any number of answers, like lengths together."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    scores = np.zeros(len(lengths))
    for i in range(0, len(order), 128):
        rows = order[i : i + 128]
        part = score(model, tokens[rows], [lengths[r] for r in rows])
        scores[rows] = part.double().cpu().numpy()
    return scores


def reward_loss(scores: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Loss of a reward model on a batch (B,).

        pointwise       -log sigmoid(s) if right, -log sigmoid(-s) if wrong
        bradley_terry   -log sigmoid(s_right - s_wrong)

    For bradley_terry the batch is pairs of one prompt each: all right, then all wrong.
    """
    if kind == "pointwise":
        return nn.functional.binary_cross_entropy_with_logits(scores, labels)
    right, wrong = scores.chunk(2)
    return -nn.functional.logsigmoid(right - wrong).mean()


def draw_batch(
    data: Labelled, rows: np.ndarray, kind: str, size: int, rng: np.random.Generator
) -> np.ndarray:
    """`size` of `rows` for one step: at random, or pairs, right ones first."""
    if kind == "pointwise":
        return rng.choice(rows, size)
    right, wrong = (rows[data.labels[rows] == label] for label in (1, 0))
    right = right[np.isin(data.groups[right], data.groups[wrong])]
    if not len(right):
        raise ValueError("no prompt has both a right and a wrong answer to compare")
    winners = rng.choice(right, size // 2)
    losers = [rng.choice(wrong[data.groups[wrong] == data.groups[i]]) for i in winners]
    return np.concatenate([winners, losers])


def fit_reward_model(
    model: GPT, data: Labelled, kind: str, steps: int, key: tuple[int, ...]
) -> tuple[dict[str, float], int, int]:
    """Train a judge in place; returns (held-out quality, FLOPs, tokens).

    Every 25 steps it is tried on answers held out by prompt, and the best is kept:
    small data is soon learned by heart. Prompts are resampled with `key` (a bootstrap),
    so that the members of an ensemble differ. Batches of 64, AdamW, 1e-3 falling to 0.
    """
    rng = np.random.default_rng(key)
    rows, choose, report = (data.part(number) for number in range(3))
    if any(len(np.unique(data.labels[part])) < 2 for part in (rows, choose, report)):
        raise ValueError("too few right or wrong answers to fit a reward model to")
    by_group = {g: rows[data.groups[rows] == g] for g in np.unique(data.groups[rows])}
    rows = np.concatenate([by_group[g] for g in rng.choice([*by_group], len(by_group))])
    labels = torch.tensor(data.labels, dtype=torch.float32, device=data.tokens.device)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0)
    trained, scored = [], []  # lengths of all that went through the model
    best, kept = -1.0, {}
    for step in range(1, steps + 1):
        batch = draw_batch(data, rows, kind, 64, rng)
        lengths = [data.lengths[i] for i in batch]
        scores = score(model, data.tokens[batch], lengths)
        reward_loss(scores, labels[batch], kind).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - (step - 1) / steps)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        trained += lengths
        if step % 25 == 0 or step == steps:
            auc = measure(model, data, choose)["auc"]
            scored += [data.lengths[i] for i in choose]
            if auc > best:
                best, kept = auc, {n: w.clone() for n, w in model.state_dict().items()}
    model.load_state_dict(kept)
    scored += [data.lengths[i] for i in report]
    flops = sum(train_flops(model.config, n) for n in trained)
    flops += sum(prefill_flops(model.config, n) for n in scored)
    return measure(model, data, report), flops, sum(trained) + sum(scored)


def measure(model: GPT, data: Labelled, rows: np.ndarray) -> dict[str, float]:
    """Quality of a judge on some rows of the data."""
    lengths = [data.lengths[i] for i in rows]
    return quality(score_all(model, data.tokens[rows], lengths), data.labels[rows])


def quality(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How good scores (N,) are at telling right from wrong: AUC and calibration error.

        auc   P(s_right > s_wrong) + P(s_right = s_wrong) / 2
        ece   sum_b n_b / N |mean of sigmoid(s) - share right|   over ten equal bins b

    NaN where there are no right or no wrong ones. Bradley-Terry fixes differences of
    scores alone, so its ece says little.
    """
    right, wrong = scores[labels > 0], scores[labels == 0]
    difference = right[:, None] - wrong
    auc = (
        ((difference > 0) + 0.5 * (difference == 0)).mean()
        if difference.size
        else np.nan
    )
    p = 1 / (1 + np.exp(-scores))
    bins = np.minimum((10 * p).astype(int), 9)
    gaps = [abs((p - labels)[bins == b].sum()) for b in range(10)]
    return {"auc": float(auc), "ece": float(sum(gaps) / max(len(scores), 1))}


@dataclass
class Judges:
    """An ensemble of reward models. What pays is the least that any of them gives."""

    models: list[GPT]
    centers: list[float]  # score of an average answer; Bradley-Terry leaves it open
    data: Labelled

    def __call__(self, tokens: Tensor, lengths: list[int]) -> np.ndarray:
        """Rewards (N,) in 0..1: min over models of sigmoid(score - center)."""
        scores = [score_all(model, tokens, lengths) for model in self.models]
        least = np.min([s - c for s, c in zip(scores, self.centers, strict=True)], 0)
        return 1 / (1 + np.exp(-least))

    def state(self) -> dict:
        """Tensors and numbers alone, for a checkpoint."""
        data = {name: getattr(self.data, name) for name in ("tokens", "lengths")}
        for name in ("labels", "groups", "held_out"):
            data[name] = torch.from_numpy(getattr(self.data, name))
        weights = [model.state_dict() for model in self.models]
        return {"models": weights, "centers": self.centers, "data": data}

    @staticmethod
    def of(state: dict, config: GPTConfig) -> "Judges":
        """The inverse of state."""
        data = dict(state["data"])
        for name in ("labels", "groups", "held_out"):
            data[name] = data[name].numpy()
        models = [GPT(replace(config, banned=())) for _ in state["models"]]
        for model, weights in zip(models, state["models"], strict=True):
            model.to(data["tokens"].device).load_state_dict(weights)
        return Judges(models, state["centers"], Labelled(**data))


def fit_judges(
    models: list[GPT], data: Labelled, kind: str, steps: int, key: tuple[int, ...]
) -> tuple[Judges, dict[str, float], int, int]:
    """Train an ensemble in place, each member on its own bootstrap of the prompts.

    Returns (judges, mean held-out quality, FLOPs, tokens).
    """
    judges, found, flops, tokens = Judges(models, [], data), [], 0, 0
    for member, model in enumerate(models):
        measured, f, t = fit_reward_model(model, data, kind, steps, (*key, member))
        center = 0.0
        if kind == "bradley_terry":
            rows = data.part(1)
            lengths = [data.lengths[i] for i in rows]
            center = float(score_all(model, data.tokens[rows], lengths).mean())
        judges.centers.append(center)
        found.append(measured)
        flops, tokens = flops + f, tokens + t
    mean = {name: float(np.mean([m[name] for m in found])) for name in found[0]}
    return judges, mean, flops, tokens


def overoptimization(d: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    """(a, b) of gain = d (a - b ln d) by least squares; points of d = 0 are left out.

    Gold reward over its start against the distance d = sqrt(KL(policy || base)) of RL
    (Gao et al. arXiv:2210.10760). It peaks at d = exp(a / b - 1) with gain b d.
    """
    d, gain = d[d > 0], gain[d > 0]
    columns = np.stack([d, -d * np.log(d)], 1)
    a, b = np.linalg.lstsq(columns, gain, rcond=None)[0]
    return float(a), float(b)


TASKS: dict[str, Task] = {task.name: task for task in (Chain(), Add(), Guess())}


def find_task(name: str) -> Task:
    """The task of a name. ValueError lists the tasks there are."""
    if name not in TASKS:
        raise ValueError(f"there is no task {name!r}; choose from {', '.join(TASKS)}")
    return TASKS[name]


def main(argv: list[str]) -> None:
    """Print problems, demonstrations and what the verifier says, task by task."""
    rng = random.Random(0)
    for task in [find_task(name) for name in argv] or TASKS.values():
        print(f"{task.name}: {type(task).__doc__.splitlines()[0]}")
        for level in task.levels:
            problem = task.draw(level, "base", rng)
            demo = task.demonstrate(problem, Corpus(think_share=1.0), rng)
            text = problem.prompt + "".join(demo.segments)
            rates = f"{task.chance(level):.3f} to {task.ceiling(level):.3f}"
            print(f"  level {level}, chance to ceiling {rates}\n    {text!r}")
        if isinstance(task, Puzzle):
            problem = task.draw(3, "base", rng)
            right = problem.data[-1]
            hostile = [
                "",
                "[]",
                "[1]2[3]4",
                f"{right} ",
                f"+{right}",
                f"0{right}",
                "9**9**9",
            ]
            for text in [right, *hostile]:
                score = float(task.verify(problem, text + "\n"))
                print(f"  {problem.prompt + text!r:40} scores {score:.0f}")
        print()
    if not argv:
        show_rules()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        print(f"reward.py: {error}", file=sys.stderr)
        sys.exit(2)
