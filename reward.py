"""Tasks: problems with answers that a program can check, and what RL is paid.

Read after model.py. A task makes problems, demonstrates them for the base corpus, and
opens an environment for each answer; a puzzle is an environment of one turn.

    env = task.env(problem, seed)            the policy sees problem.prompt
    observation, done = env.step(action)     until done; what it says is fed back
    verdict = env.score()                    1.0 if solved, else 0.0
    paid = rewards(cfg, batch, ...)          the verdicts, or something less true

Every verifier is total: any string gives 0 or 1, and nothing that the policy wrote is
executed. Form earns nothing: that is what a weak policy would learn first.

Shapes    N answers of at most T tokens; B rows of a batch; P problems, n samples each
Papers    interruption arXiv:2510.13786, noise 2510.00915, hacked judges 2210.10760
Left out  rewards for single steps, judges that compare pairs, ensembles of judges
"""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib.util
import math
import os
import re
import string
import sys
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model import BACKWARD, GPT, PAD, GPTConfig, Ledger, encode, forward_flops, pack

if TYPE_CHECKING:  # they import this file
    from rollout import Batch
    from train import Config


@dataclass(frozen=True)
class Problem:
    """One problem. Two problems with the same `key` are the same problem."""

    task: Task
    level: int  # difficulty; what it counts is the task's own
    prompt: str
    key: str  # canonical form, hashed to choose the split
    data: NamedTuple  # what the verifier needs, different for each task
    answer: str = ""  # the right one, if there is exactly one


SPLITS = {"base": 60, "rl": 85, "label": 90, "test": 100}  # where buckets end


def split_of(key: str) -> str:
    """Split of a problem, by its content: two seeds can draw the same problem."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 100
    return next(name for name, end in SPLITS.items() if bucket < end)


class Env:
    """One live episode. `step` never raises, whatever the policy wrote."""

    turn_tokens = 0  # a turn ends after so many at the latest; 0: only with '\n'

    def __init__(self, problem: Problem, seed: int | str) -> None:
        self.problem = problem
        self.rng = Random(seed)  # the environment's own noise, one per sample
        self.solved = False
        self.turns = 0
        self.invalid = 0  # turns that were no legal action
        self.failed = False  # did the world go against the policy at least once?

    def step(self, action: str) -> tuple[str, bool]:
        """Take what the policy wrote in one turn; return (observation, done)."""
        self.turns += 1
        self.solved = self.problem.task.verify(self.problem, action)
        return "", True

    def score(self) -> float:
        """Verdict on the episode: 1.0 solved, 0.0 not solved or not finished."""
        return float(self.solved)


class Corpus(NamedTuple):
    """How demonstrations are made. Each knob leaves RL something of its own to do."""

    think_share: float = 0.65  # share that shows a thought: RL selects the strategy
    noise: float = 0.0  # chance that a step's result is redrawn, and stays: RL sharpens
    weak: float = 0.0  # share by demonstrators who guess: RL must beat its teachers


class Task:
    """A family of problems. A subclass gives the attributes, `env` or verify, and:

        parse(prompt, match)               the Problem of a prompt that `form` matches,
                                           None if it makes no sense
        generate(level, rng)               a random problem of a level, of any split
        demonstrate(problem, corpus, rng)  an episode as the corpus shows it: what the
                                           policy writes, what it is told, and so on

    A few have shifted(level, rng): a problem in a form that no training shows."""

    name: str
    levels: list[int]  # all difficulties there are
    form: re.Pattern[str]  # what a prompt looks like
    hidden = False  # the answer is not in the prompt: no splits, and `posed` draws it
    tested_from = 1  # lowest level with problems enough to be tested, not memorised
    chance: float | dict[int, float]  # pass rate of the best that ignores the problem
    ceiling: float | dict[int, float] = 1.0  # pass rate of the best possible policy
    defaults: dict[str, object] = {}  # fields of train.Config that it sets differently
    env: Callable[..., Env] = Env  # env(problem, seed) opens an episode; seed: of noise

    def read(self, prompt: str) -> Problem:
        """The problem that a prompt states. ValueError if it states none."""
        match = self.form.fullmatch(prompt)
        problem = self.parse(prompt, match) if match else None
        if problem is None:
            text = f"{prompt!r} is no {self.name} problem; their form is "
            raise ValueError(text + self.form.pattern)
        return problem

    def draw(self, level: int, split: str, rng: Random) -> Problem:
        """A random problem of a level and split."""
        for _ in range(10_000):
            problem = self.generate(level, rng)
            if self.hidden or split_of(problem.key) == split:
                return problem
        raise ValueError(f"too few problems in level {level} of {self.name}: {split}")

    def test_problems(self, level: int, n: int) -> list[Problem]:
        """`n` draws of held-out problems of a level, the same for everybody."""
        rng = Random(f"test {self.name} {level}")
        return [self.draw(level, "test", rng) for _ in range(n)]

    def reasoned(self, problem: Problem, text: str) -> bool:
        """Is all that was written right? Only puzzles show their steps."""
        return False

    @functools.cache  # noqa: B019 (tasks live as long as the program)
    def longest(self, level: int) -> tuple[int, int]:
        """Most tokens of a prompt, and of what follows, in 300 good demonstrations."""
        rng = Random(f"longest {self.name} {level}")
        problems = [self.generate(level, rng) for _ in range(300)]
        demos = [self.demonstrate(p, Corpus(think_share=1.0), rng) for p in problems]
        rest = max(sum(map(len, demo)) for demo in demos)
        return max(len(problem.prompt) for problem in problems), rest


class Puzzle(Task):
    """A task of one turn: `[thought]answer\\n`, of which only the answer is scored.
    Instead of demonstrate a subclass gives

        think(problem, noise, rng)   (thought, answer); each step's result is redrawn
                                     with probability `noise`, and may come out right
        guess(problem, rng)          an answer of legal form, not worked out
    """

    completion = re.compile(r"(?:\[([^\[\]]*)\])?([^\[\]\n]+)\n")
    restated = ""  # pattern of what a step restates, which helps to find the place
    grammar: re.Pattern[str]  # what an answer may look like, ASCII only

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: Random) -> list[str]:
        """Weak ones guess; the others work it out, a share of them with the thought."""
        if rng.random() < corpus.weak:
            text = self.guess(problem, rng)
        else:
            shown = rng.random() < corpus.think_share
            thought, text = self.think(problem, corpus.noise, rng)
            text = f"[{thought}]{text}" if shown else text
        return [text + "\n"]

    def verify(self, problem: Problem, completion: str) -> bool:
        """Is a completion ended, of the right form, and right?"""
        answer = self.stated(completion)
        return answer is not None and self.accepts(problem, answer)

    def stated(self, completion: str) -> str | None:
        """What a completion gives as its answer; None if its form is wrong."""
        match = self.completion.fullmatch(completion)
        return match[2] if match and self.grammar.fullmatch(match[2]) else None

    def reasoned(self, problem: Problem, completion: str) -> bool:
        """Is it right, and so is every step's result? A lucky guess is not. What a step
        only restates does not count: RL is not paid for it and lets it wander."""
        thought, answer = self.think(problem, 0.0, Random(0))
        flawless = f"[{thought}]{answer}\n"
        both = [re.sub(self.restated, "", text) for text in (completion, flawless)]
        return both[0] == both[1] and self.verify(problem, completion)

    def accepts(self, problem: Problem, answer: str) -> bool:
        """Is an answer of legal form right? Override it if several are."""
        return answer == problem.answer


ChainData = namedtuple("ChainData", "start steps")  # 3, ('a+5', 'b-9')


class Chain(Puzzle):
    """Left-to-right arithmetic modulo 10; the level is the number of operations.

        C3d+5k-9:[3d+5=8;8k-9=9]9       3 + 5 = 8, 8 - 9 = 9 modulo 10

    A thought restates its operands, so that a step is one look-up. Operations carry
    letters: a small model finds a letter long before it can count. Which letters is
    random: those of long chains are met in short ones too. No '*': 0 would be the
    answer to 18 % of long problems, and a guess would pay.
    """

    name = "chain"
    levels = list(range(1, 27))
    form = re.compile(r"C([0-9](?:[a-z][+-][0-9]){1,26}):")
    restated = "[a-z][+-][0-9]"
    grammar = re.compile(r"[0-9]")
    chance = 0.1
    defaults = dict(levels="1-9", shown="1-4")

    def parse(self, prompt: str, match: re.Match[str]) -> Problem:
        steps = tuple(re.findall("[a-z][+-][0-9]", prompt))
        data = ChainData(int(prompt[1]), steps)
        value = (data.start + sum(int(step[1:]) for step in steps)) % 10
        # Renamed in order of appearance: other letters are no other problem.
        renamed = [string.ascii_lowercase[i] + step[1:] for i, step in enumerate(steps)]
        key = f"chain {data.start}{''.join(renamed)}"
        return Problem(self, len(steps), prompt, key, data, str(value))

    def generate(self, level: int, rng: Random) -> Problem:
        text = str(rng.randrange(10))
        for letter in sorted(rng.sample(string.ascii_lowercase, level)):
            text += letter + rng.choice("+-") + str(rng.randrange(10))
        return self.read(f"C{text}:")

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Steps such as '3a+5=8', apart by ';'; a wrong result is carried on."""
        value, thought = problem.data.start, []
        for step in problem.data.steps:
            result = (value + int(step[1:])) % 10
            if rng.random() < noise:
                result = rng.randrange(10)
            thought.append(f"{value}{step}={result}")
            value = result
        return ";".join(thought), str(value)

    def guess(self, problem: Problem, rng: Random) -> str:
        return str(rng.randrange(10))


def demo_batch(cfg: Config, step: int) -> tuple[dict[str, Tensor], list[int]]:
    """Demonstrations of a pretraining step: columns (B, T), namely tokens, mask (1 if a
    policy wrote it) and positions; and lengths (B,). `cfg` is a train.Config."""
    task = find_task(cfg.task)
    corpus = Corpus(cfg.think_share, cfg.noise, cfg.weak)
    rng = Random(f"{cfg.seed} pretrain {step}")
    rows, room = [], int(cfg.stretch * cfg.gpt.context)
    for _ in range(cfg.pretrain_batch):
        problem = task.draw(rng.choice(cfg.shown_list), "base", rng)
        tokens, mask = encode(problem.prompt), [0] * len(problem.prompt)
        for i, text in enumerate(task.demonstrate(problem, corpus, rng)):
            tokens += encode(text)
            mask += [1 - i % 2] * len(text)  # the 1st, 3rd, ... are the policy's
        # In order, but with gaps (randomised positions, arXiv:2305.16843): pretraining
        # so meets the distances of problems longer than any it shows.
        places = range(rng.randint(len(tokens), max(len(tokens), room)))
        positions = sorted(rng.sample(places, len(tokens)))
        rows.append(torch.tensor([tokens, mask, positions]).T)
    tokens, mask, positions = pad_sequence(rows, True, PAD).unbind(2)  # PAD in all
    columns = {"tokens": tokens, "mask": (mask == 1).float(), "positions": positions}
    return columns, [len(row) for row in rows]


@dataclass
class Relay:
    """Which levels RL draws. It begins with the levels shown; when the deepest open
    one, the edge, is passed, the next opens. So RL can come to levels that no
    demonstration showed (RLVE arXiv:2511.07317, ScaleLogic 2605.06638).
    """

    RECENT = 20  # groups of a level that are remembered
    PASSED = 0.75  # pass rate at which the next level opens

    levels: list[int] = field(default_factory=list)  # that may open, the easiest first
    first: list[int] = field(default_factory=list)  # open when RL begins
    mark: float = PASSED  # PASSED as a mean reward, which a noisy verifier shifts
    recent: dict[int, list[float]] = field(default_factory=dict)  # of open levels

    def draw(self, rng: Random) -> int:
        """An open level, in proportion to p (1 - p) + 0.02, p being its recent mean:
        most often where answers differ. Levels that were passed still come now and
        then, so that they are not forgotten."""
        means = [np.mean(rates or [0.5]) for rates in self.recent.values()]
        return rng.choices(list(self.recent), [p * (1 - p) + 0.02 for p in means])[0]

    def follow(self, levels: list[int], rates: list[float]) -> None:
        """Take in levels and mean rewards of a step's groups; perhaps open a level."""
        for level, rate in zip(levels, rates, strict=True):
            kept = [*self.recent[level], min(max(rate, 0.0), 1.0)]
            self.recent[level] = kept[-self.RECENT :]
        edge = max(self.recent)
        seen, deeper = self.recent[edge], [n for n in self.levels if n > edge]
        if deeper and len(seen) == self.RECENT and np.mean(seen) >= self.mark:
            self.recent[deeper[0]] = []


def rewards(cfg: Config, batch: Batch, key: tuple, judge: GPT | None) -> np.ndarray:
    """What RL is paid for each answer (N,). It need not be the truth:

        gold      the verdict; it flips by the config's two chances, keyed by `key`
        a rule    a check that is easier than the truth
        learned   a judge fitted to labelled answers

    Each has its own hack; a judge is wrong where it has not looked."""
    if cfg.reward == "learned":
        return 1 / (1 + np.exp(-judge_scores(judge, batch.tokens, batch.lengths)))
    verdicts = batch.verdicts().double().numpy()
    if cfg.reward in RULES:
        problems = [env.problem for env in batch.envs]
        texts = [batch.text(i) for i in range(len(problems))]
        return np.array(list(map(RULES[cfg.reward], problems, texts, verdicts)))
    if cfg.false_positive or cfg.false_negative:
        return flip_verdicts(verdicts, key, cfg.false_positive, cfg.false_negative)
    return verdicts


def test_set(cfg: Config) -> list[Problem]:
    """The held-out problems: the same for every seed, size and recipe of a task."""
    task = find_task(cfg.task)
    levels = [level for level in cfg.level_list if level >= task.tested_from]
    count = -(-cfg.eval_problems // len(levels))
    return [p for level in levels for p in task.test_problems(level, count)]


def expected_flops(cfg: Config) -> float:
    """FLOPs of a run, to tell its time, of texts as long as a demonstration of the
    middle level. Those of answers count half: what they share is worked out once."""
    task, config = find_task(cfg.task), cfg.gpt
    shown, tried = (
        sum(task.longest(levels[len(levels) // 2]))
        for levels in (cfg.shown_list, cfg.level_list)
    )
    demos = cfg.pretrain_steps * cfg.pretrain_batch
    answers = cfg.steps * cfg.prompts_per_step * cfg.group_size
    looks = cfg.eval_problems * (cfg.eval_samples * (cfg.evals + 8) + cfg.evals)
    passes = answers * (2 + BACKWARD) + looks  # an answer is written, then trained on
    pretraining = demos * (1 + BACKWARD) * forward_flops(config, shown)
    after = passes * forward_flops(config, tried) / 2
    return after if cfg.base else pretraining + after


def pass_rates(right: Tensor, greedy: Tensor, reasoned: Tensor) -> dict[str, object]:
    """What an evaluation says of P problems, by verdicts 1 or 0: of samples (P, n), of
    greedy answers (P, 1), and `reasoned` (P, n): every step written is right too, so
    that it was no lucky guess."""
    return {
        "pass_rate": right.mean().item(),
        "pass_rate_greedy": greedy.mean().item(),
        "pass_at": pass_at(right),
        "reasoned_at": pass_at(reasoned),
    }


def pass_at(right: Tensor) -> dict[int, float]:
    """pass@k for k = 1, 2, 4, 8, 16, as far as the verdicts (P, n) go."""
    n, correct = right.shape[1], right.sum(1).int().tolist()
    ks = [k for k in (1, 2, 4, 8, 16) if k <= n]
    return {k: float(np.mean([pass_at_k(n, c, k) for c in correct])) for k in ks}


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that k of n samples, c of them right, hold a right one (2107.03374):
    1 - C(n - c, k) / C(n, k), unbiased, unlike 1 - (1 - c/n)^k."""
    return 1.0 - math.prod(max(n - c - i, 0) / (n - i) for i in range(k))


def wilson(rate: float, n: int) -> tuple[float, float]:
    """95 % interval of a rate from n trials, taken as independent (Wilson's score)."""
    z = 1.96
    center = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5
    return center - half, center + half


def of_level(value: float | dict[int, float], level: int) -> float:
    """A task's chance or ceiling at a level: one number for all, or one each."""
    return value[level] if isinstance(value, dict) else value


def level_table(before: dict, after: dict, task: Task) -> str:
    """Two evaluations side by side, a line a level. It says if RL went beyond its base:
    pass@k rises with k by luck as well, but no number of lucky guesses writes a chain
    of right steps (`reasoned`). A level at 0 there in the base is one whose answers RL
    had to find."""
    most = max(after["pass_at"], key=int)
    columns = {"sampled": "pass_rate", "greedy": "pass_rate_greedy"}
    columns |= {f"pass@{most}": "pass_at"}
    if isinstance(task, Puzzle):
        columns[f"reasoned pass@{most}"] = "reasoned_at"
    lines = ["level" + "".join(f"{name:>18}" for name in columns)]
    for level, old in before["by_level"].items():
        new, line = after["by_level"][level], f"{level:>5}"
        for key in columns.values():
            at = key.endswith("_at")
            rates = [row[key][most] if at else row[key] for row in (old, new)]
            line += f"{rates[0]:10.2f} to {rates[1]:.2f}"
        lines.append(line)
    return "\n".join(lines)


# ---- second evening ------------------------------------------------------------------


@functools.cache
def choose_levels(task: Task, text: str, tested: bool = True) -> list[int]:
    """The levels that a text such as 1-6 or 2,4 names, all for "". ValueError if there
    is no such level, or not enough problems for a split or, if `tested`, a test."""
    levels: set[int] = set()
    for part in (text or ",".join(map(str, task.levels))).split(","):
        match = re.fullmatch("([0-9]+)(?:-([0-9]+))?", part)
        if not (match and int(match[1]) <= int(match[2] or match[1])):
            raise ValueError(f"levels must look like 1-6 or 2,4; got {text!r}")
        for level in range(int(match[1]), int(match[2] or match[1]) + 1):
            if level not in task.levels:
                there = f"{task.levels[0]}-{task.levels[-1]}"
                raise ValueError(f"{task.name} has levels {there}, not {level}")
            levels.add(level)
    for level in sorted(levels):
        for split in SPLITS:
            made = task.draw(level, split, Random(0)).level
            if made != level:
                raise ValueError(f"{task.name} makes a {made} if asked for {level}")
    if tested and max(levels) < task.tested_from:
        raise ValueError(f"too few problems in levels {text} to test; add a harder one")
    return sorted(levels)


def require_memory(cfg: Config, device: str) -> float:
    """Bytes that a run needs at its fullest moment, to a factor of 2: weights with
    gradient, two moments and the base; answers; the larger of cache and activations.
    ValueError if a device has less. `cfg` is a train.Config.
    """
    c, have = cfg.gpt, math.inf
    with torch.device("meta"):
        weights = sum(p.numel() for p in GPT(c).parameters()) * (5 + cfg.lag)
    looks = 4 * cfg.eval_problems * cfg.eval_samples
    answers = max(cfg.prompts_per_step * cfg.group_size, looks)
    cache = 2 * c.layers * c.kv_heads * c.head_dim * min(answers, 512)
    width = c.layers * (12 * c.dim + 3 * c.hidden + c.heads * c.context)
    passed = 64 * (width + 4 * c.vocab_size)  # train.MICRO_BATCH sequences
    needed = 4.0 * (weights + c.context * (8 * answers + max(cache, passed)))
    if device.startswith("cuda"):
        have = torch.cuda.get_device_properties(device).total_memory
    elif hasattr(os, "sysconf"):  # not on Windows
        have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > have:
        raise ValueError(
            f"this run needs about {needed / 1e9:,.0f} GB of memory, {device} has "
            f"{have / 1e9:,.0f}; lower --dim, --layers, --eval-problems, --lag or such"
        )
    return needed


def plot_levels(rows: list[dict], cfg: Config) -> None:
    """Draw curve.png of evaluations: pass rate of each level over RL compute, and the
    deepest one passed (with one level: tokens).

    The base is drawn at the left edge, since a log axis has no place for 0.
    """
    levels = list(rows[-1]["by_level"])
    flops = [rows[1]["rl_flops"] / 2] + [row["rl_flops"] for row in rows[1:]]
    figure = Figure(figsize=(7, 6.5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for i, level in enumerate(levels):
        color = colormaps["plasma"](0.85 * i / max(len(levels) - 1, 1))
        rates = [row["by_level"][level]["pass_rate"] for row in rows]
        style = "--" if int(level) in cfg.shown_list else "-"
        top.plot(flops, rates, style, color=color)
        # Its name stands at the middle of its rise.
        place = np.argmax(np.array(rates) >= (min(rates) + max(rates)) / 2)
        top.annotate(level, (flops[place], rates[place]), color=color, weight="bold")
    chance = find_task(cfg.task).chance
    chance = np.mean([of_level(chance, int(n)) for n in levels])
    top.axhline(chance, color="gray", lw=0.8, ls=":")
    where = {"xycoords": ("axes fraction", "data"), "fontsize": 8, "color": "gray"}
    top.annotate(f"chance {chance:.2g}", (0.9, chance + 0.01), **where)
    top.set(ylim=(0, 1.03), ylabel="held-out pass rate of a level", xscale="log")
    top.set_title(f"{cfg.task}, seed {cfg.seed} (dashed: levels demonstrated)")
    several = len(levels) > 1
    depths = [row["frontier" if several else "answer_tokens"] for row in rows]
    bottom.plot(flops, depths, "o-", color="C2")
    words = "deepest level passed\nhalf of the time" if several else "tokens"
    bottom.set(xlabel="RL compute (FLOPs); left edge: the base", ylabel=words)
    bottom.set_ylim(0, 1.1 * max([1, *depths]))
    figure.savefig(cfg.folder / "curve.png", dpi=130)


# ---- Rewards other than the truth: verdicts that flip, rules, a judge ----------------


def flip_verdicts(verdicts: np.ndarray, key: tuple, p: float, q: float) -> np.ndarray:
    """Verdicts (N,) of a noisy verifier: wrong ones pass with probability p, right ones
    fail with q. Answer i has the i-th random number of `key`, whatever its verdict.

        E[r'] = p + (1 - p - q) r      gradients only shrink; a group's mean removes p
    """
    u = np.random.default_rng(key).random(len(verdicts))
    return np.where(verdicts > 0, u >= q, u < p).astype(float)


# A rule maps a problem, all text after its prompt and the verdict to a reward.
RULES: dict[str, Callable[[Problem, str, float], float]] = {
    # Is the right answer anywhere in the text? Hack: write down every answer.
    "contains": lambda problem, text, verdict: float(problem.answer in text),
    # Has the answer the right form? Hack: the shortest legal guess.
    "format": lambda problem, text, verdict: float(bool(problem.task.stated(text))),
    # The truth plus 0.03 a token. Hack: padding, which pays wrong answers too.
    "length": lambda problem, text, verdict: verdict + 0.03 * len(text),
}
REWARDS = ("gold", *RULES, "learned")


def check_reward(name: str, task: Task) -> None:
    """ValueError for a reward that does not exist, or does not suit a task."""
    if name not in REWARDS:
        raise ValueError(f"reward must be one of {', '.join(REWARDS)}; got {name!r}")
    one_answer = task.generate(task.levels[0], Random(0)).answer != ""
    needs = {
        "contains": ("problems with one right answer", one_answer),
        "format": ("answers of one turn", isinstance(task, Puzzle)),
        "learned": ("problems to hold out", not task.hidden),
    }
    what, given = needs.get(name, ("", True))
    if not given:
        raise ValueError(f"reward {name} needs {what}; {task.name} has none")


def held_out_part(problem: Problem) -> int:
    """The part of a judge's data that a prompt belongs to, by content, so that none is
    in two: 0 to train on, half of the prompts, 1 to choose the step by, 2 to report."""
    text = f"labelled {problem.key}".encode()
    return (0, 0, 1, 2)[hashlib.blake2b(text, digest_size=6).digest()[-1] % 4]


def new_judge(config: GPTConfig, weights: dict[str, Tensor]) -> GPT:
    """The GPT that judges, with a policy's weights at first; it scores everything 0. A
    score is the logit of a spare token after the last real one. That token is never
    read or written, so its row of the output head is a scalar head of its own."""
    judge = GPT(replace(config, banned=()))  # a ban is a large number: it eats digits
    judge.load_state_dict(weights)
    with torch.no_grad():
        judge.embed.weight[-1] = 0
    return judge


def score_answers(judge: GPT, tokens: Tensor, lengths: list[int]) -> Tensor:
    """Scores (B,) of answers, tokens (B, T): a logit at the last token of each."""
    packed = pack(lengths, tokens)
    ends = packed.places[torch.arange(len(lengths)), torch.tensor(lengths) - 1]  # (B,)
    return judge(packed)[ends, -1]


@torch.no_grad()
def judge_scores(judge: GPT, tokens: Tensor, lengths: list[int]) -> np.ndarray:
    """Scores (N,) of any number of answers, 128 at a time."""
    scores = np.zeros(len(lengths))
    for i in range(0, len(lengths), 128):
        part = score_answers(judge, tokens[i : i + 128], lengths[i : i + 128])
        scores[i : i + 128] = part.cpu().double().numpy()
    return scores


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """P(s_right > s_wrong) + P(s_right = s_wrong) / 2: how well scores (N,) tell right
    answers from wrong ones. Both kinds have to be there."""
    difference = scores[labels > 0][:, None] - scores[labels == 0]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def fit_judge(
    judge: GPT, batch: Batch, labels: np.ndarray, key: tuple, steps: int, ledger: Ledger
) -> float:
    """Train a judge in place on answers and their labels (N,), 1 right, 0 wrong, by the
    verifier, perhaps a noisy one; returns its AUC on prompts held out.

        loss   -log sigmoid(s) if the answer is right, -log sigmoid(-s) if it is wrong

    Every 25 steps it is tried on other prompts, and the best is kept: small data is
    soon learned by heart. Batches of 64, AdamW, a rate that falls from 1e-3 to 0.
    """
    rng = np.random.default_rng(key)
    parts = np.array([held_out_part(env.problem) for env in batch.envs])
    if any(len(np.unique(labels[parts == part])) < 2 for part in range(3)):
        raise ValueError(
            "too few right or wrong answers to fit a reward model to: pretrain longer, "
            "or give more --rm-answers"
        )

    def auc_of_part(part: int) -> float:
        """How well the judge tells right from wrong in a part of the data."""
        rows = np.flatnonzero(parts == part)
        lengths = [batch.lengths[i] for i in rows]
        ledger.charge("reward", judge.config, lengths)
        return auc(judge_scores(judge, batch.tokens[rows], lengths), labels[rows])

    train_rows = np.flatnonzero(parts == 0)
    loss = torch.nn.BCEWithLogitsLoss()
    targets = torch.tensor(labels, dtype=torch.float32, device=batch.tokens.device)
    optimizer = torch.optim.AdamW(judge.parameters(), betas=(0.9, 0.95), weight_decay=0)
    best, kept = -1.0, {}
    for step in range(1, steps + 1):
        rows = rng.choice(train_rows, 64)
        lengths = [batch.lengths[i] for i in rows]
        ledger.charge("reward", judge.config, lengths, train=True)
        scores = score_answers(judge, batch.tokens[rows], lengths)
        loss(scores, targets[rows]).backward()
        torch.nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - (step - 1) / steps)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 25 == 0 or step == steps:
            found = auc_of_part(1)
            if found > best:
                best = found
                kept = {name: w.clone() for name, w in judge.state_dict().items()}
    judge.load_state_dict(kept)
    return auc_of_part(2)


# ---- A puzzle in two turns: a thought that is interrupted ----------------------------


class InterruptedEnv(Env):
    """After `budget` tokens an open thought is closed, and the policy has to answer."""

    def __init__(self, problem: Problem, seed: int | str, budget: int) -> None:
        super().__init__(problem, seed)
        self.turn_tokens = budget
        self.text = ""  # of both turns

    def step(self, action: str) -> tuple[str, bool]:
        self.text += action
        if not self.turn_tokens or action[-1:] == "\n":
            return super().step(self.text)
        self.turn_tokens = 0
        said = "]" * (self.text.count("[") > self.text.count("]"))
        self.text += said
        return said, False


def interrupted(problem: Problem, budget: int) -> Problem:
    """The same problem of a task without an environment of its own, interrupted after
    so many tokens."""
    task = copy.copy(problem.task)
    task.env = functools.partial(InterruptedEnv, budget=budget)
    return replace(problem, task=task)


# ---- The other task: a game of several turns -----------------------------------------

GuessData = namedtuple("GuessData", "size guesses number")  # 16, 4, the hidden one


def record(env: Env, act: Callable[[str], str]) -> list[str]:
    """An episode in which `act` answers each observation, at first "", with a turn."""
    segments, said, done = [], "", False
    while not done:
        action = act(said)
        said, done = env.step(action)
        segments += [action, said]
    return segments[:-1]  # the world's last word is ""


class GuessEnv(Env):
    """One symbol per guess; the answer '>' or '<' says where the hidden one lies."""

    turn_tokens = 1

    def step(self, action: str) -> tuple[str, bool]:
        """A symbol that is no number wastes the turn: '>' says nothing false of it."""
        size, guesses, number = self.problem.data
        self.turns += 1
        guess = Guess.symbols[:size].find(action) if len(action) == 1 else -1
        self.invalid += guess < 0
        self.solved = guess == number
        if self.solved or self.turns == guesses:
            return "", True
        return (">" if number > guess else "<"), False


class Guess(Task):
    """Find a hidden number in a few guesses, told each time if it is larger or smaller.

        Gp4:h>l<j      numbers a..p, 4 guesses: h, larger, l, smaller, j, solved

    Level l has n = 4 * 2^l numbers and l + 2 guesses; bisection solves
    (2^guesses - 1) / n and nothing can do better. The prompt does not tell the hidden
    number: training and test draw from the same few problems.
    """

    name = "guess"
    levels = [1, 2, 3, 4]
    form = re.compile(r"G([a-zA-Z0-9+-])([1-9]):")
    hidden = True
    chance = {1: 3 / 8, 2: 4 / 16, 3: 5 / 32, 4: 6 / 64}
    ceiling = {1: 7 / 8, 2: 15 / 16, 3: 31 / 32, 4: 63 / 64}
    defaults = dict(levels="2", think_share=0.2, weak=0.5, steps=500, lr=5e-3)
    defaults.update(pretrain_steps=300, pretrain_batch=32, pretrain_lr=3e-3)
    # Without a bonus for entropy play mostly freezes near 11 of the 16 numbers.
    defaults.update(entropy_bonus=0.03, prompts_per_step=32)
    env = GuessEnv
    symbols = string.ascii_lowercase + string.ascii_uppercase + string.digits + "+-"

    def parse(self, prompt: str, match: re.Match[str]) -> Problem:
        """The hidden number is not in the prompt: 0, until somebody draws it."""
        data = GuessData(self.symbols.index(match[1]) + 1, int(match[2]), 0)
        key = f"guess {data.size} {data.guesses}"
        return Problem(self, data.guesses - 2, prompt, key, data)

    def generate(self, level: int, rng: Random) -> Problem:
        return self.posed(f"G{self.symbols[4 * 2**level - 1]}{level + 2}:", rng)

    def posed(self, prompt: str, rng: Random) -> Problem:
        """Like `read`, with a hidden number."""
        problem = self.read(prompt)
        data = problem.data._replace(number=rng.randrange(problem.data.size))
        return replace(problem, data=data)

    def test_problems(self, level: int, n: int) -> list[Problem]:
        """Every hidden number in turn, so that the ceiling is the ceiling."""
        problem = self.generate(level, Random(0))
        games = [problem.data._replace(number=i % problem.data.size) for i in range(n)]
        return [replace(problem, data=data) for data in games]

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: Random) -> list[str]:
        """A weak demonstrator guesses at random; the others go up one by one, or, if
        the corpus shows a thought, guess at random what is still possible."""
        low = guess = 0
        high = problem.data.size - 1
        weak = rng.random() < corpus.weak
        by_chance = weak or rng.random() < corpus.think_share

        def act(said: str) -> str:
            """The next guess, after what was said of the one before."""
            nonlocal low, high, guess
            if said == ">" and not weak:
                low = guess + 1
            elif said == "<" and not weak:
                high = guess - 1
            guess = rng.randint(low, high) if by_chance else low
            return self.symbols[guess]

        return record(self.env(problem, 0), act)


# These by name. So are the files of docs/tasks, which are read when they are asked for.
TASKS = {t.name: t for t in (Chain(), Guess())}
FOLDER = Path(__file__).parent / "docs" / "tasks"


@functools.cache
def find_task(name: str) -> Task:
    """The task of a name, or that of a file, whose code is run. ValueError if none."""
    if name in TASKS:
        return TASKS[name]
    path = FOLDER / f"{name}.py" if name.isidentifier() else Path(name)
    if path.suffix != ".py" or not path.is_file():
        others = sorted({file.stem for file in FOLDER.glob("*.py")} - {"tasks"})
        choices = ", ".join([*TASKS, *others, "or a path ending in .py"])
        raise ValueError(f"no task {name!r}; choose from {choices}")
    return load_task(path.resolve())


def load(path: Path) -> ModuleType:
    """A Python file as a module of its own; its code is run."""
    name = str(path).replace(".", "_")  # a dot would mean a package, to pickle too
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@functools.cache
def load_task(path: Path) -> Task:
    """The task that a file defines; its code is run once. ValueError if not one."""
    module = load(path)
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    own = [
        c for c in classes if issubclass(c, Task) and c.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise ValueError(f"{path} defines {len(own)} tasks; it must define one")
    needed = "name levels form chance parse generate demonstrate".split()
    if lacking := [part for part in needed if not hasattr(own[0], part)]:
        raise ValueError(f"the task of {path} lacks {', '.join(lacking)}")
    return own[0]()


def show_task(task: Task) -> None:
    """Print demonstrations of seven levels; what each rule pays a puzzle's answers."""
    print(f"\n{task.name}: {type(task).__doc__.splitlines()[0]}")
    rng = Random(0)
    for level in task.levels[:7]:
        problem = task.draw(level, "base", rng)
        demo = task.demonstrate(problem, Corpus(think_share=1.0), rng)
        shown = repr(problem.prompt + "".join(demo))
        for i in range(0, len(shown), 77):
            print(" " * 11 if i else f"  level {level}  ", shown[i : i + 77], sep="")
    if not isinstance(task, Puzzle):
        return
    print(f"  {problem.prompt:50.50}" + "".join(f"{x:>9}" for x in ["gold", *RULES]))
    thought, right = task.think(problem, 0.0, rng)
    wrong = f"[{thought}]{task.guess(problem, rng)}"
    for text in (right, f"0{right}", wrong, thought, "(" * 10_000):
        gold = float(task.verify(problem, f"{text}\n"))
        paid = [rule(problem, f"{text}\n", gold) for rule in RULES.values()]
        print(f"    {text:48.48}" + "".join(f"{x:9.2f}" for x in [gold, *paid]))


def main(argv: list[str]) -> int:
    """python reward.py [TASK or PATH ...]. Exit status: 0 done, 2 no such task."""
    try:
        for name in argv or TASKS:
            show_task(find_task(name))
    except ValueError as error:
        print(f"reward.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    # A task's file imports `reward`; under this name it would be loaded a second time.
    from reward import main

    sys.exit(main(sys.argv[1:]))
