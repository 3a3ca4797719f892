"""The tasks: problems with answers that a program can check.

Read after model.py. A task makes problems, demonstrates them for the base corpus, and
opens an environment for each answer. There is one interface for all of them: a puzzle
is an environment of one turn.

    env = task.env(problem, seed)            the policy sees problem.prompt
    observation, done = env.step(action)     until done; what it says is fed back
    reward = env.score()                     1.0 if solved, else 0.0

    chain, add, count      arithmetic       knight, path, compose    deduction, planning
    tool, grid, guess      several turns: a calculator that fails, a map, a game

Text of a puzzle   prompt      task letter ... ':'   by the environment
                   completion  [thought]answer\\n     by the policy, [...] optional

Every verifier is total: any string gives 0 or 1, nothing raises, nothing the policy
wrote is evaluated. No credit for form: a reward for anything but the right answer is
what a weak policy learns first. The last quarter of this file shows how: noisy
verdicts, rules that can be hacked, learned reward models, and the alarms that give them
away.
"""

import hashlib
import itertools
import math
import operator
import re
import string
import sys
import textwrap
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random

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
    budget: int = 0  # tokens after which a puzzle's open thought is closed; 0: never


SPLITS = {"base": 60, "rl": 85, "calibrate": 90, "test": 100}  # where buckets end
MIN_SPACE = 10_000  # a level with fewer problems is memorised; never test on it


def split_of(key: str) -> str:
    """Split of a problem, by a hash of its content.

    By content and never by seed: two seeds can draw the same problem.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 100
    return next(name for name, end in SPLITS.items() if bucket < end)


def leaks(text: str) -> bool:
    """Does a text spell out a sum that `add` is tested on?

    Guard across tasks: a calculator's trace must not teach another task's test.
    """
    sums = re.findall(r"([0-9]{2,6})\+([0-9]{2,6})", text)
    return any(split_of(Add.key(int(a), int(b))) == "test" for a, b in sums)


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

    segments: tuple[str, ...]  # completion, observation, completion, ...
    right: bool  # does the verifier accept it?


def draw_level(levels: list[int], corpus: Corpus, rng: Random) -> int:
    """A level for one demonstration: P(l) proportional to exp(-skew * l)."""
    weights = [math.e ** (-corpus.skew * level) for level in levels]
    return rng.choices(levels, weights)[0]


# --------------------------------------------------------------------------------------
# Tasks and environments


class Env:
    """One live episode. `step` never raises, whatever the policy wrote."""

    turn_tokens = 0  # a turn ends after so many tokens; 0: it ends with '\n'

    def __init__(self, task: "Task", problem: Problem, seed: int | str) -> None:
        self.task, self.problem = task, problem
        self.rng = Random(seed)  # the environment's own noise, one per rollout
        self.turn_tokens, self.text = problem.budget or self.turn_tokens, ""
        self.solved = False
        self.turns = 0
        self.invalid = 0  # turns that were no legal action
        self.failed = False  # did the world go against the policy at least once?

    def step(self, action: str) -> tuple[str, bool]:
        """Take what the policy wrote in one turn; return (observation, done).

        A puzzle's only turn is cut after its budget: an open thought is closed, and the
        policy has to answer (forced interruption, ScaleRL arXiv:2510.13786).
        """
        self.turns += 1
        self.text += action
        if self.turn_tokens and action[-1:] != "\n":
            self.turn_tokens = 0
            said = "]" * (self.text.count("[") > self.text.count("]"))
            self.text += said
            return said, False
        self.solved = self.task.verify(self.problem, self.text)
        return "", True

    def score(self) -> float:
        """Gold reward of the episode: 1.0 solved, 0.0 not solved or not finished."""
        return float(self.solved)


def record(env: Env, act: Callable[[str], str]) -> Demo:
    """An episode in which `act` answers each observation, at first "", with a turn."""
    segments, said, done = [], "", False
    while not done:
        segments.append(act(said))
        said, done = env.step(segments[-1])
        if not done:
            segments.append(said)
    return Demo(tuple(segments), env.solved)


class Task:
    """A family of problems. Subclasses fill in the methods that raise."""

    name: str
    levels: list[int]  # all difficulties there are
    form: re.Pattern[str]  # what a prompt looks like
    hidden = False  # the answer is not in the prompt: nothing to memorise, no splits
    env_class: type[Env] = Env

    def env(self, problem: Problem, seed: int | str) -> Env:
        """Open an episode. `seed` keys the environment's noise, not the problem."""
        return self.env_class(self, problem, seed)

    def read(self, prompt: str) -> Problem:
        """The problem that a prompt states. ValueError where it states none."""
        match = self.form.fullmatch(prompt)
        problem = self.parse(prompt, match) if match else None
        if problem is None:
            example = self.generate(self.levels[0], Random(0)).prompt
            raise ValueError(f"{prompt!r} is no {self.name} problem, unlike {example}")
        return problem

    def posed(self, prompt: str, rng: Random) -> Problem:
        """As read, with whatever the prompt does not tell drawn at random."""
        return self.read(prompt)

    def parse(self, prompt: str, match: re.Match[str]) -> Problem | None:
        """The problem of a prompt that `form` matches; None where it makes no sense."""
        raise NotImplementedError

    def generate(self, level: int, rng: Random) -> Problem:
        """A random problem of a level, of any split."""
        raise NotImplementedError

    def shifted(self, level: int, rng: Random) -> Problem:
        """A problem of the level in a form that no training shows: see each task."""
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

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: Random) -> Demo:
        """One demonstration; the corpus's knobs decide how good it is."""
        raise NotImplementedError

    def max_tokens(self, level: int) -> int:
        """Tokens of the longest demonstration after the prompt, with observations."""
        raise NotImplementedError

    def prompt_tokens(self, level: int) -> int:
        """Tokens of the longest prompt."""
        return len(self.generate(level, Random(0)).prompt)

    def trace(self, problem: Problem) -> str:
        """What an environment will work out for whoever solves the problem."""
        return ""

    def draw(
        self, level: int, split: str, rng: Random, shifted: bool = False
    ) -> Problem:
        """A random problem of a level and split, or of the level's shifted form."""
        make = self.shifted if shifted else self.generate
        for _ in range(10_000):
            problem = make(level, rng)
            if not self.hidden and split_of(problem.key) != split:
                continue
            if split == "test" or not leaks(self.trace(problem)):
                return problem
        raise ValueError(
            f"level {level} of {self.name} has too few problems for a split {split}"
        )

    def test_problems(
        self, level: int, count: int, shifted: bool = False
    ) -> list[Problem]:
        """The first `count` held-out problems of a level, the same for everybody."""
        rng = Random(f"{'shift' if shifted else 'test'} {self.name} {level}")
        return [self.draw(level, "test", rng, shifted) for _ in range(count)]

    def test_levels(self, levels: list[int]) -> list[int]:
        """Those of `levels` with enough problems to test on."""
        return [n for n in levels if self.hidden or self.space(n) >= MIN_SPACE]

    def test_sets(self, levels: list[int]) -> dict[str, list[int]]:
        """Levels of the four fixed test sets of a run that trains on `levels`.

        id      those of the run with enough problems to hold some out
        easy    the run's levels below, or its lowest: what RL may forget
        hard    the next two above any trained
        shift   those of id, in a form that training never shows
        """
        tested = self.test_levels(levels)
        easy = [n for n in levels if n < min(tested)] or [min(levels)]
        hard = [n for n in self.levels if n > max(levels)][:2]
        return {"id": tested, "easy": easy, "hard": hard, "shift": tested}


class Puzzle(Task):
    """A task of one turn: `[thought]answer\\n`, scored by its answer alone."""

    completion = re.compile(r"(?:\[([^\[\]]*)\])?([^\[\]\n]+)\n")
    grammar: re.Pattern[str]  # what an answer may look like, ASCII only

    def stated(self, completion: str) -> str | None:
        """What a completion gives as its answer; None if its form is wrong."""
        match = self.completion.fullmatch(completion)
        return match[2] if match and self.grammar.fullmatch(match[2]) else None

    def verify(self, problem: Problem, completion: str) -> bool:
        answer = self.stated(completion)
        return answer is not None and self.accepts(problem, answer)

    def accepts(self, problem: Problem, answer: str) -> bool:
        """Is an answer of legal form right? Where several are, ask the problem."""
        return answer == problem.data[-1]

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: Random) -> Demo:
        """The weak guess; the others work it out, a share of them with the thought."""
        if rng.random() < corpus.weak:
            text = self.guess(problem, rng)
        elif rng.random() < corpus.think_share:
            thought, answer = self.think(problem, corpus.noise, rng)
            text = f"[{thought}]{answer}"
        else:
            _, text = self.think(problem, corpus.noise, rng)
        text += "\n"
        return Demo((text,), self.verify(problem, text))

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """(thought, answer). With probability `noise` a step's result is changed, at
        random: it may come out right all the same."""
        raise NotImplementedError

    def guess(self, problem: Problem, rng: Random) -> str:
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
    form = re.compile(r"C([0-9](?:[a-z][+-][0-9]){1,12}):")

    def parse(self, prompt: str, match: re.Match[str]) -> Problem:
        text = match[1]
        steps = re.findall(r"[+-][0-9]", text)
        value = (int(text[0]) + sum(map(int, steps))) % 10
        # Renamed in order of appearance: other letters are no other problem.
        named = zip(string.ascii_lowercase, steps, strict=False)
        key = f"chain {text[0]}" + "".join(map("".join, named))
        return Problem(self.name, len(steps), prompt, key, (text, str(value)))

    def generate(
        self, level: int, rng: Random, letters: str = string.ascii_lowercase
    ) -> Problem:
        text = str(rng.randrange(10))
        for letter in letters[:level]:
            text += letter + rng.choice("+-") + str(rng.randrange(10))
        return self.read(f"C{text}:")

    def shifted(self, level: int, rng: Random) -> Problem:
        """Letters from the end of the alphabet, which no demonstration shows."""
        return self.generate(level, rng, string.ascii_lowercase[-level:])

    def space(self, level: int) -> int:
        return 10 ** (level + 1) * 2**level

    def chance(self, level: int) -> float:
        return 0.1

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Steps such as '3a+5=8', apart by ';'; a wrong result is carried on."""
        text = problem.data[0]
        value, steps = int(text[0]), []
        for letter, change in re.findall(r"([a-z])([+-][0-9])", text):
            result = (value + int(change)) % 10
            if rng.random() < noise:
                result = rng.randrange(10)
            steps.append(f"{value}{letter}{change}={result}")
            value = result
        return ";".join(steps), str(value)

    def guess(self, problem: Problem, rng: Random) -> str:
        return str(rng.randrange(10))

    def max_tokens(self, level: int) -> int:
        return 7 * level + 3  # steps of 6, ';' between them, brackets, answer, end


class Add(Puzzle):
    """Addition of two numbers; the level is their number of digits.

        Ac5b8a8+r4q6p6:[a8p6=14;b8q6+1=154;c5r4+1=1054]1054        588 + 466 = 1054

    A letter stands before each digit, so that finding it needs no counting. A thought
    goes from the last digit on, the order in which carries go (Lee et al.
    arXiv:2307.03381), and each step restates the sum so far behind its new digit.
    """

    name = "add"
    levels = [1, 2, 3, 4, 5, 6]
    grammar = re.compile(r"0|[1-9][0-9]*")
    form = re.compile(r"A((?:[a-f][0-9]){1,6})\+((?:[p-u][0-9]){1,6}):")

    @staticmethod
    def key(a: int, b: int) -> str:
        return f"add {min(a, b)}+{max(a, b)}"

    @staticmethod
    def spell(number: int, letters: str) -> str:
        """Digits with a letter before each, the first letter at the last digit."""
        digits = str(number)
        return "".join(letters[len(digits) - 1 - i] + d for i, d in enumerate(digits))

    def parse(self, prompt: str, match: re.Match[str]) -> Problem | None:
        a, b = (int(re.sub("[a-z]", "", text)) for text in match.groups())
        if prompt != f"A{self.spell(a, 'abcdef')}+{self.spell(b, 'pqrstu')}:":
            return None
        level = len(str(max(a, b)))
        return Problem(self.name, level, prompt, self.key(a, b), (a, b, str(a + b)))

    def problem(self, a: int, b: int) -> Problem:
        """The problem a + b."""
        return self.read(f"A{self.spell(a, 'abcdef')}+{self.spell(b, 'pqrstu')}:")

    def generate(self, level: int, rng: Random) -> Problem:
        low = 10 ** (level - 1) if level > 1 else 0
        return self.problem(*(rng.randrange(low, 10**level) for _ in range(2)))

    def shifted(self, level: int, rng: Random) -> Problem:
        """The second number has a digit less than the first."""
        a = rng.randrange(10 ** (level - 1), 10**level)
        return self.problem(a, rng.randrange(10 ** (level - 1)))

    def space(self, level: int) -> int:
        numbers = 9 * 10 ** (level - 1) if level > 1 else 10
        return numbers * (numbers + 1) // 2

    def chance(self, level: int) -> float:
        # The likeliest sum, 10^n - 1 + 10^(n-1), splits in as many ways as there are
        # numbers.
        return 1 / (9 * 10 ** (level - 1) if level > 1 else 10)

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Steps such as 'b8q6+1=154', last digits first: digits, carry, sum so far."""
        a, b, _ = problem.data
        steps, result = [], "0"
        for i in range(problem.level):
            x, y = a // 10**i % 10, b // 10**i % 10
            step = f"{'abcdef'[i]}{x}{'pqrstu'[i]}{y}" + f"+{result[0]}" * (i > 0)
            total = x + y + int(result[0])
            if rng.random() < noise:
                total = rng.randrange(20)
            result = f"{total:02d}{result[1:]}"
            steps.append(f"{step}={result}")
        return ";".join(steps), str(int(result))

    def guess(self, problem: Problem, rng: Random) -> str:
        return str(rng.randrange(2 * 10**problem.level))

    def max_tokens(self, level: int) -> int:
        steps = 7 + sum(10 + i for i in range(1, level))
        return steps + 2 + level + 1 + 1  # brackets, answer, end


APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
LIMIT = 40  # characters of an expression; bounds the parser's recursion too


def parse_expression(text: str) -> tuple[Fraction, list[int]] | None:
    """Exact value and numbers of an expression over + - * / ( ); None if it is none.

        sum = product (('+' | '-') product)*      product = atom (('*' | '/') atom)*
        atom = number | '(' sum ')'               number = 0 | 1-9 and up to 3 digits

    By hand, since `eval` runs what it is given. No signs, no '**', no '//', no leading
    zeros. Never raises: the tokens are checked first and a division by 0 is None.
    """
    tokens = re.findall(r"[0-9]+|[-+*/()]", text)
    if len(text) > LIMIT or "".join(tokens) != text:
        return None
    rest, numbers = ["", *reversed(tokens)], []  # the next token last, "" the end

    def atom() -> Fraction:
        """Value of the next atom, its numbers noted; ValueError where there is none."""
        token = rest.pop()
        if token == "(":
            value = operations("+-")
            if rest.pop() != ")":
                raise ValueError
            return value
        if not re.fullmatch("0|[1-9][0-9]{0,3}", token):
            raise ValueError
        numbers.append(int(token))
        return Fraction(token)

    def operations(ops: str) -> Fraction:
        part = (lambda: operations("*/")) if ops == "+-" else atom
        value = part()
        while rest[-1] and rest[-1] in ops:
            value = APPLY[rest.pop()](value, part())
        return value

    try:
        value = operations("+-")
    except (ValueError, ZeroDivisionError):
        return None
    return (value, numbers) if rest == [""] else None


class Count(Puzzle):
    """Countdown: make the target from all the numbers; the level is how many.

        N12,7,25=30:[12+7=19,19+25=44;12+25=37,37-7=30]12+25-7

    Problems need + and - alone, so that a small model has a chance; answers may use
    * / and brackets too. A thought is a search (Gandhi et al. arXiv:2404.03683): tries
    apart by ';', the last of them hits. It stays in the corpus with its failed tries.
    """

    name = "count"
    levels = [2, 3, 4, 5]
    grammar = re.compile(r"[0-9+*/()-]{1,40}")
    form = re.compile(r"N([1-9][0-9]?(?:,[1-9][0-9]?){1,5})=([1-9][0-9]{0,3}):")
    largest, tries = 30, 4

    def parse(self, prompt: str, match: re.Match[str]) -> Problem:
        numbers, target = tuple(map(int, match[1].split(","))), int(match[2])
        key = f"count {sorted(numbers)}={target}"
        return Problem(self.name, len(numbers), prompt, key, (numbers, target))

    def problem(self, numbers: list[int], target: int) -> Problem:
        return self.read(f"N{','.join(map(str, numbers))}={target}:")

    def generate(self, level: int, rng: Random) -> Problem:
        while True:
            numbers = [rng.randint(1, self.largest) for _ in range(level)]
            target = sum(rng.choice((1, -1)) * n for n in numbers)
            if target > 0:
                return self.problem(numbers, target)

    def shifted(self, level: int, rng: Random) -> Problem:
        """A product is needed: the first two numbers are multiplied, the rest added."""
        numbers = [rng.randint(2, self.largest) for _ in range(level)]
        target = numbers[0] * numbers[1] + sum(numbers[2:])
        return self.problem(rng.sample(numbers, level), target)

    def space(self, level: int) -> int:
        """At least: a >= b >= c ... makes a + b + c and a + b - c, a - b + c too."""
        sets = math.comb(self.largest - 1 + level, level)
        return sets + 2 * math.comb(self.largest, level) * (level > 2)

    def chance(self, level: int) -> float:
        # No answer suits many problems: its numbers have to be theirs.
        return math.factorial(level) / self.largest**level

    def accepts(self, problem: Problem, answer: str) -> bool:
        numbers, target = problem.data
        found = parse_expression(answer)
        if found is None:
            return False
        return found[0] == target and sorted(found[1]) == sorted(numbers)

    def signed(self, problem: Problem) -> list[list[int]]:
        """All ways to add and subtract the numbers with a positive sum, + first."""
        numbers = problem.data[0]
        ways = []
        for signs in itertools.product((1, -1), repeat=len(numbers)):
            terms = [s * n for s, n in zip(signs, numbers, strict=True)]
            if sum(terms) > 0:
                ways.append(sorted(terms, key=lambda term: term < 0))
        return ways

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Up to three tries that miss, then one that hits; the last is the answer."""
        ways, target = self.signed(problem), problem.data[1]
        rng.shuffle(ways)
        hit = [way for way in ways if sum(way) == target][:1]
        tries = [way for way in ways if sum(way) != target][: self.tries - 1]
        tries = tries[: rng.randrange(self.tries)] + hit
        lines = []
        for way in tries or ways[:1]:  # a product may be needed: then nothing hits
            value, steps = way[0], []
            for term in way[1:]:
                result = value + term
                if rng.random() < noise:
                    result = max(0, result + rng.choice((-10, -1, 1, 10)))
                steps.append(f"{value}{term:+d}={result}")
                value = result
            lines.append(",".join(steps))
            if value == target:
                break
        return ";".join(lines), self.spell(way)

    def spell(self, way: list[int]) -> str:
        return str(way[0]) + "".join(f"{term:+d}" for term in way[1:])

    def guess(self, problem: Problem, rng: Random) -> str:
        return self.spell(rng.choice(self.signed(problem)))

    def prompt_tokens(self, level: int) -> int:
        return 3 * level + 5

    def max_tokens(self, level: int) -> int:
        # Steps 30+30=60, then 60+30=90, then 90+30=120 ...; a mistake adds a digit
        steps = sum(8 + 2 * (i > 2) + (i == 2) for i in range(1, level)) + level - 2
        tries = min(self.tries, 2 ** (level - 1))  # ways with a positive sum
        return tries * (steps + 1) + 1 + 3 * level - 1 + 1


class Knight(Puzzle):
    """Knights always tell the truth, knaves never; the level is the number of persons.

        KA>B-;B>C=A;C>A+&B-:[A+(B-)B-(C=A+)C-(A++&B--)!A-(B-)...C-(A-+&B+-)]A-B+C-

    A says B is a knave (-); B says C and A are of a kind ('~': they are not); the last
    joins two claims by & or |, or compares two persons. Each speaks of the next, so
    two worlds are left, one for each nature of A, and the last statement rules one out.
    A thought tries A+, goes along, and after a contradiction ('!') tries A-; statements
    are restated with what is known of the persons in them.
    """

    name = "knight"
    levels = [3, 4, 5, 6, 7]
    grammar = re.compile(r"(?:[A-Z][+-]){2,10}")
    form = re.compile(r"K((?:[A-Z]>[^;:]{2,5};){1,8}[A-Z]>[^;:]{3,5}):")
    claim = re.compile(
        r"([A-Z])([+-])|([A-Z])([=~])([A-Z])|([A-Z])([+-])([&|])([A-Z])([+-])"
    )
    spaces = {3: 40, 4: 688, 5: 11_328, 6: 190_848}  # counted by a test

    def holds(self, claim: str, world: dict[str, str]) -> bool:
        """Is a claim true in a world, which maps each name to + or -?"""
        if len(claim) == 2:
            return world[claim[0]] == claim[1]
        if len(claim) == 3:
            return (world[claim[0]] == world[claim[2]]) == (claim[1] == "=")
        both = world[claim[0]] == claim[1], world[claim[3]] == claim[4]
        return all(both) if claim[2] == "&" else any(both)

    def consistent(self, claims: tuple[str, ...], world: dict[str, str]) -> bool:
        """Does every knight tell the truth and no knave?"""
        pairs = zip(world, claims, strict=True)
        return all((world[who] == "+") == self.holds(c, world) for who, c in pairs)

    def parse(self, prompt: str, match: re.Match[str]) -> Problem | None:
        """None for a malformed claim, an unknown person, or one who speaks twice."""
        parts = match[1].split(";")
        names, claims = [p[0] for p in parts], tuple(p[2:] for p in parts)
        legal = all(self.claim.fullmatch(claim) for claim in claims)
        mentioned = {c for claim in claims for c in claim if c.isupper()}
        if not legal or not mentioned <= set(names) or len(set(names)) < len(names):
            return None
        table = str.maketrans("".join(names), string.ascii_uppercase[: len(names)])
        key = "knight " + match[1].translate(table)
        data = ("".join(names), claims)
        return Problem(self.name, len(names), prompt, key, data)

    def generate(
        self, level: int, rng: Random, names: str = string.ascii_uppercase
    ) -> Problem:
        """Statements at random until exactly one of the two worlds is left."""
        names = names[:level]
        while True:
            parts = []
            for i in range(level - 1):
                # The next person alone, or compared with one of those before.
                other = rng.randrange(i + 1)
                if other == i:
                    claim = names[i + 1] + rng.choice("+-")
                else:
                    claim = names[i + 1] + rng.choice("=~") + names[other]
                parts.append(f"{names[i]}>{claim}")
            x, y = sorted(rng.sample(names[:-1], 2))
            op = rng.choice("&&&&||||=~")
            if op in "=~":
                claim = x + op + y
            else:
                claim = x + rng.choice("+-") + op + y + rng.choice("+-")
            problem = self.read(f"K{';'.join(parts)};{names[-1]}>{claim}:")
            if len(self.solutions(problem)) == 1:
                return problem

    def solutions(self, problem: Problem) -> list[dict[str, str]]:
        """The worlds, one for each nature of the first, in which nobody contradicts."""
        tries = (self.along(problem, first) for first in "+-")
        return [w for w in tries if self.consistent(problem.data[1], w)]

    def along(self, problem: Problem, first: str) -> dict[str, str]:
        """What follows for the others if the first speaker is `first`."""
        names, claims = problem.data
        world = {names[0]: first}
        for who, claim, after in zip(names, claims, names[1:], strict=False):
            world[after] = "+"
            if self.holds(claim, world) != (world[who] == "+"):
                world[after] = "-"
        return world

    def shifted(self, level: int, rng: Random) -> Problem:
        """Persons of other names."""
        return self.generate(level, rng, "PQRSTUVW")

    def space(self, level: int) -> int:
        return self.spaces.get(level, 10**6)

    def chance(self, level: int) -> float:
        return 0.5**level

    def accepts(self, problem: Problem, answer: str) -> bool:
        names, claims = problem.data
        if answer[::2] != names:
            return False
        return self.consistent(claims, dict(zip(names, answer[1::2], strict=True)))

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """The first is tried as a knight, then, if the last claim contradicts, as a
        knave, and that stands."""
        names, claims = problem.data
        text = ""
        for first in "+-":
            world = {names[0]: first}
            text += names[0] + first
            for who, claim, after in zip(names, claims, names[1:], strict=False):
                text += f"({claim}{world[claim[2]] if len(claim) == 3 else ''})"
                world[after] = "+"
                if self.holds(claim, world) != (world[who] == "+"):
                    world[after] = "-"
                if rng.random() < noise:
                    world[after] = rng.choice("+-")
                text += after + world[after]
            known = [c + world[c] if c.isupper() else c for c in claims[-1]]
            text += f"({''.join(known)})"
            agrees = self.holds(claims[-1], world) == (world[names[-1]] == "+")
            if agrees or first == "-":
                break
            text += "!"
        return text, "".join(who + world[who] for who in names)

    def guess(self, problem: Problem, rng: Random) -> str:
        return "".join(who + rng.choice("+-") for who in problem.data[0])

    def prompt_tokens(self, level: int) -> int:
        return 6 * level + 2

    def max_tokens(self, level: int) -> int:
        # Try: first person, 'B-' in brackets once, 'C=A+' after, 'A-+&B+-' at the end.
        one = 2 + (4 + 2) + (level - 2) * (6 + 2) + 9
        return 2 * one + 1 + 2 + 2 * level + 1


class Path(Puzzle):
    """A way through a star of arms that start at one node (Bachmann and Nagarajan).

        Pcb,ek,ac,kp,ae,bl;ap:[pkea]aekp           edges, then start and goal

    The level sets arms and their length. Forwards the first step is a guess among the
    arms; backwards from the goal there is one way at each step, and a thought goes it.
    """

    name = "path"
    levels = [1, 2, 3, 4, 5]
    grammar = re.compile(r"[A-Za-z]{2,26}")
    form = re.compile(r"P((?:[A-Za-z]{2},){1,25}[A-Za-z]{2});([A-Za-z])([A-Za-z]):")
    shapes = {1: (3, 2), 2: (3, 3), 3: (4, 3), 4: (4, 4), 5: (5, 5)}  # arms, length

    def parse(self, prompt: str, match: re.Match[str]) -> Problem:
        """Level 0 where the numbers of arms and edges are those of no level."""
        edges = tuple(match[1].split(","))
        # Renamed in order of appearance: other letters are no other problem.
        names = dict.fromkeys(match[1].replace(",", "") + match[2] + match[3])
        table = {ord(c): string.ascii_letters[i] for i, c in enumerate(names)}
        key = "path " + prompt[1:].translate(table)
        arms = sum(edge[0] == match[2] for edge in edges)
        shape = (arms, len(edges) // max(arms, 1))
        level = next((n for n, s in self.shapes.items() if s == shape), 0)
        return Problem(self.name, level, prompt, key, (edges, match[2], match[3]))

    def generate(
        self, level: int, rng: Random, letters: str = string.ascii_lowercase
    ) -> Problem:
        """Of the fewest letters that do: a small model sees each more often."""
        arms, length = self.shapes[level]
        count = 1 + arms * length
        names = rng.sample(letters[:count], count)
        start, edges, node = names[0], [], ""
        for i, name in enumerate(names[1:]):
            edges.append((start if i % length == 0 else node) + name)
            node = name
        goal = names[length * rng.randint(1, arms)]
        rng.shuffle(edges)
        return self.read(f"P{','.join(edges)};{start}{goal}:")

    def shifted(self, level: int, rng: Random) -> Problem:
        """Capital letters."""
        return self.generate(level, rng, string.ascii_uppercase)

    def space(self, level: int) -> int:
        arms, length = self.shapes[level]
        return math.factorial(arms * length) // math.factorial(arms - 1)

    def chance(self, level: int) -> float:
        """Of a policy that follows the edges from a random arm on."""
        return 1 / self.shapes[level][0]

    def accepts(self, problem: Problem, answer: str) -> bool:
        edges, start, goal = problem.data
        steps = {answer[i : i + 2] for i in range(len(answer) - 1)}
        right = answer[0] == start and answer[-1] == goal
        return right and len(set(answer)) == len(answer) and steps <= set(edges)

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        edges, start, goal = problem.data
        before = {edge[1]: edge[0] for edge in edges}
        text, arms = goal, sum(edge[0] == start for edge in edges)
        while text[-1] != start and len(text) <= len(edges) // arms:
            step = before[text[-1]]
            text += rng.choice(edges)[0] if rng.random() < noise else step
        return text, text[::-1]

    def guess(self, problem: Problem, rng: Random) -> str:
        edges, text, goal = problem.data
        while text[-1] != goal and len(text) <= len(edges):
            ways = [edge[1] for edge in edges if edge[0] == text[-1]]
            if not ways:
                break
            text += rng.choice(ways)
        return text

    def max_tokens(self, level: int) -> int:
        return 2 * (self.shapes[level][1] + 1) + 3


class Compose(Puzzle):
    """Functions of four letters one after the other; the level is their number.

        FXRU,gjgb:[Xjggb,Rbggj,Uggjb]ggjb        swap the first two, reverse, rotate

    After Yuan et al. arXiv:2509.25123: with the functions known, does RL on short
    compositions carry over to longer ones, and to a pair never seen together?
    """

    name = "compose"
    levels = [1, 2, 3, 4, 5, 6]
    grammar = re.compile(r"[a-j]{4}")
    form = re.compile(r"F([RUSXDI]{1,8}),([a-j]{4}):")
    letters, held_out = "abcdefghij", "UX"
    functions = {
        "R": lambda s: s[::-1],  # reverse
        "U": lambda s: s[1:] + s[:1],  # rotate
        "S": lambda s: s[3:] + s[1:3] + s[:1],  # swap the ends
        "X": lambda s: s[1::-1] + s[2:],  # swap the first two
        "D": lambda s: s[:1] + s[:3],  # double the first, drop the last
        "I": lambda s: s.translate(str.maketrans("abcdefghij", "bcdefghija")),
    }

    def parse(self, prompt: str, match: re.Match[str]) -> Problem:
        names, text = match[1], match[2]
        value = text
        for name in names:
            value = self.functions[name](value)
        key = f"compose {names},{text}"
        return Problem(self.name, len(names), prompt, key, (names, text, value))

    def generate(self, level: int, rng: Random) -> Problem:
        names = self.held_out
        while self.held_out in names:
            names = "".join(rng.choices("RUSXDI", k=level))
        return self.read(f"F{names},{''.join(rng.choices(self.letters, k=4))}:")

    def shifted(self, level: int, rng: Random) -> Problem:
        """With the pair of functions that no training shows; two at least."""
        names = self.generate(max(level, 2), rng).data[0]
        place = rng.randrange(len(names) - 1)
        names = names[:place] + self.held_out + names[place + 2 :]
        return self.read(f"F{names},{''.join(rng.choices(self.letters, k=4))}:")

    def space(self, level: int) -> int:
        # Strings of 6 functions without the pair: s(n) = 6 s(n-1) - s(n-2).
        before, now = 0, 1
        for _ in range(level):
            before, now = now, 6 * now - before
        return now * 10**4

    def chance(self, level: int) -> float:
        """Of 'aaaa', the likeliest: 1/10 for each letter that D has left different; as
        if the pair held out were drawn too."""
        states = Counter({"abcd": 1})
        for _ in range(level):
            step: Counter[str] = Counter()
            for state, ways in states.items():
                for name in "RUSXD":
                    step[self.functions[name](state)] += ways
                step[state] += ways
            states = step
        total = sum(ways / 10 ** len(set(state)) for state, ways in states.items())
        return total / 6**level

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Each function with its result, apart by ','; noise redraws a letter of it."""
        names, value, _ = problem.data
        steps = []
        for name in names:
            value = self.functions[name](value)
            if rng.random() < noise:
                place = rng.randrange(4)
                value = value[:place] + rng.choice(self.letters) + value[place + 1 :]
            steps.append(name + value)
        return ",".join(steps), value

    def guess(self, problem: Problem, rng: Random) -> str:
        return "".join(rng.sample(problem.data[1], 4))

    def max_tokens(self, level: int) -> int:
        return 6 * level + 6


class ToolEnv(Env):
    """A calculator: `c12+34\\n` calls it, `=46\\n` answers and ends the episode."""

    budget = 6  # turns
    call = re.compile(r"c(0|[1-9][0-9]{0,4})([+*-])(0|[1-9][0-9]{0,4})\n")
    answer = re.compile(r"=(0|[1-9][0-9]{0,5})\n")

    def step(self, action: str) -> tuple[str, bool]:
        """A call returns its result, {46}, or fails, {E}; {?} is for what is neither
        call nor answer. After `budget` turns the episode is over."""
        _, value, rate = self.problem.data
        self.turns += 1
        answer = self.answer.fullmatch(action)
        self.solved = bool(answer) and int(answer[1]) == value
        call = self.call.fullmatch(action)
        self.invalid += not answer and not call
        if answer or self.turns == self.budget:
            return "", True
        if call is None:
            return "{?}", False
        if self.rng.random() < rate:
            self.failed = True
            return "{E}", False
        return f"{{{calculate(int(call[1]), call[2], int(call[3]))}}}", False


def calculate(a: int, op: str, b: int) -> int:
    return a + b if op == "+" else a - b if op == "-" else a * b


class Tool(Task):
    """Arithmetic with a calculator that fails; the level is the number of operations.

        T59*9+52:c59*9\\n{E}c59*9\\n{531}c531+52\\n{583}=583\\n     from left to right

    A call fails ({E}) four times in ten, {?} means it was malformed, and there are six
    turns. Most demonstrators answer at once by guess, or give up at the first failure;
    few try again. The best policy does, and succeeds where 5 calls hold enough good
    ones: P(Binomial(5, 0.6) >= level).
    """

    name = "tool"
    levels = [1, 2, 3]
    env_class = ToolEnv
    form = re.compile(r"T([1-9][0-9])((?:[+-][1-9][0-9]|\*[2-9]){1,3}):")
    failure = 0.4

    def steps(self, text: str) -> list[tuple[int, str, int]]:
        """The calls that solve an expression."""
        value, calls = int(text[:2]), []
        for op, number in re.findall(r"([+*-])([0-9]+)", text[2:]):
            calls.append((value, op, int(number)))
            value = calculate(*calls[-1])
        return calls

    def parse(self, prompt: str, match: re.Match[str]) -> Problem | None:
        text = prompt[1:-1]
        calls = self.steps(text)
        value = calculate(*calls[-1])
        if min([value, *(a for a, _, _ in calls)]) < 0:
            return None
        key, data = f"tool {text}", (text, value, self.failure)
        return Problem(self.name, len(calls), prompt, key, data)

    def generate(self, level: int, rng: Random) -> Problem:
        """A subtraction that would go below 0 becomes an addition."""
        value = rng.randrange(10, 100)
        text = str(value)
        for _ in range(level):
            op = rng.choice("+-*")
            number = rng.randrange(2, 10) if op == "*" else rng.randrange(10, 100)
            if op == "-" and number > value:
                op = "+"
            text += f"{op}{number}"
            value = calculate(value, op, number)
        return self.read(f"T{text}:")

    def shifted(self, level: int, rng: Random) -> Problem:
        """The calculator fails six times in ten."""
        problem = self.generate(level, rng)
        return replace(problem, data=(*problem.data[:2], 0.6))

    def trace(self, problem: Problem) -> str:
        calls = self.steps(problem.data[0])
        return ";".join(f"{a}{op}{b}" for a, op, b in calls)

    def space(self, level: int) -> int:
        """At least: one operation of 90 first numbers, 90 sums, 8 products."""
        return 90 * 98 * 98 ** (level - 1) + 4095 * (level == 1)

    def ceiling(self, level: int) -> float:
        calls, good = ToolEnv.budget - 1, 1 - self.failure
        return sum(
            math.comb(calls, n) * good**n * self.failure ** (calls - n)
            for n in range(level, calls + 1)
        )

    def chance(self, level: int) -> float:
        # The likeliest result is that of 1 problem in 116, measured at level 1.
        return 0.009

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: Random) -> Demo:
        """Weak: answers at once. Else gives up at a failure, or, in the share that
        shows a thought, calls again."""
        direct = rng.random() < corpus.weak
        retries = rng.random() < corpus.think_share
        env = self.env(problem, rng.getrandbits(32))
        calls = self.steps(problem.data[0])
        about = int(problem.data[1] * rng.uniform(0.8, 1.2))

        def act(said: str) -> str:
            """The next call, the failed one again, or an answer: right or guessed."""
            if said not in ("", "{E}"):
                calls.pop(0)
            if not calls:
                return f"={problem.data[1]}\n"
            last = env.turns == env.budget - 1
            if direct or last or (said == "{E}" and not retries):
                return f"={about}\n"
            a, op, b = calls[0]
            return f"c{a}{op}{b}\n"

        return record(env, act)

    def prompt_tokens(self, level: int) -> int:
        return 4 + 3 * level

    def max_tokens(self, level: int) -> int:
        # Call i has 7 + i tokens and an answer of 5 + i; the others fail at the last.
        good = sum(12 + 2 * i for i in range(level))
        bad = (ToolEnv.budget - 1 - level) * (6 + level + 3)
        return good + bad + level + 4


MOVES = {"u": (-1, 0), "d": (1, 0), "l": (0, -1), "r": (0, 1)}
Cell = tuple[int, int]  # row, column


def distances(size: int, walls: tuple[Cell, ...], goal: Cell) -> dict[Cell, int]:
    """Steps to `goal` from every cell that reaches it, by breadth-first search."""
    found, edge = {goal: 0}, [goal]
    while edge:
        row, column = edge.pop(0)
        for down, right in MOVES.values():
            cell = row + down, column + right
            inside = 0 <= cell[0] < size and 0 <= cell[1] < size
            if inside and cell not in walls and cell not in found:
                found[cell] = found[row, column] + 1
                edge.append(cell)
    return found


class GridEnv(Env):
    """One move a turn; it says where the policy stands, and k once it has the key."""

    turn_tokens = 1

    def __init__(self, task: Task, problem: Problem, seed: int | str) -> None:
        super().__init__(task, problem, seed)
        self.cell, self.has_key = problem.data[1], False

    def step(self, action: str) -> tuple[str, bool]:
        """A move may slip; into a wall, off the map or not legal it goes nowhere."""
        size, _, key, door, walls, slip, budget = self.problem.data
        self.turns += 1
        self.invalid += action not in MOVES
        if action in MOVES and slip and self.rng.random() < slip:
            other = self.rng.choice("udlr")
            self.failed |= other != action
            action = other
        down, right = MOVES.get(action, (0, 0))
        row, column = self.cell[0] + down, self.cell[1] + right
        if 0 <= row < size and 0 <= column < size and (row, column) not in walls:
            self.cell = row, column
        self.has_key |= self.cell == key
        self.solved = self.has_key and self.cell == door
        if self.solved or self.turns == budget:
            return "", True
        return f"{{{self.cell[0]}{self.cell[1]}{'k' * self.has_key}}}", False


class Grid(Task):
    """Fetch the key, then reach the door; the level is the size of the map.

        M4@23k12d02#33#01:u{13}l{12k}l{11k}u{11k}...      row and column of everything

    '#' are walls, and a move into one or off the map is wasted. Turns: those of the
    shortest way and four more. Where moves slip (a test that training never shows) a
    plan made at the start fails, and what the map says after each move is needed.
    """

    name = "grid"
    levels = [3, 4, 5, 6]
    env_class = GridEnv
    form = re.compile(r"M([3-6])@([0-5]{2})k([0-5]{2})d([0-5]{2})((?:#[0-5]{2}){1,4}):")
    slack = 4

    def parse(self, prompt: str, match: re.Match[str]) -> Problem | None:
        """None where a cell is off the map or used twice, or no way to key and door is
        short enough for `max_tokens`."""
        size = int(match[1])
        cells = [(int(a), int(b)) for a, b in re.findall("([0-9])([0-9])", prompt[2:])]
        inside = all(max(cell) < size for cell in cells)
        if not inside or len(set(cells)) < len(cells):
            return None
        start, key, door, *walls = cells
        walls = tuple(walls)
        ways = distances(size, walls, key), distances(size, walls, door)
        if start not in ways[0] or key not in ways[1]:
            return None
        shortest = ways[0][start] + ways[1][key]
        if shortest > 4 * (size - 1):
            return None
        data = (size, start, key, door, walls, 0.0, shortest + self.slack)
        return Problem(self.name, size, prompt, self.key(size, cells), data)

    def key(self, size: int, cells: list[Cell]) -> str:
        """The least of the map's eight mirror images and turns."""
        forms, last = [], size - 1
        for _ in range(2):
            cells = [(column, row) for row, column in cells]
            for _ in range(4):
                cells = [(column, last - row) for row, column in cells]
                forms.append(f"{cells[:3]}{sorted(cells[3:])}")
        return f"grid {size} {min(forms)}"

    def generate(self, level: int, rng: Random) -> Problem:
        """Random maps with level - 2 walls, until one makes a problem."""
        while True:
            places = rng.sample(range(level * level), level + 1)
            cells = [f"{place // level}{place % level}" for place in places]
            marks = ["@", "k", "d"] + ["#"] * (level - 2)
            body = "".join(map("".join, zip(marks, cells, strict=True)))
            prompt = f"M{level}{body}:"
            problem = self.parse(prompt, self.form.fullmatch(prompt))
            if problem is not None:
                return problem

    def shifted(self, level: int, rng: Random) -> Problem:
        """One move in five goes in a random direction."""
        problem = self.generate(level, rng)
        return self.slippery(problem, 0.2)

    def slippery(self, problem: Problem, slip: float) -> Problem:
        return replace(problem, data=(*problem.data[:5], slip, problem.data[6]))

    def space(self, level: int) -> int:
        """At least: half of all maps, up to symmetry, can be solved."""
        maps = math.perm(level**2, 3) * math.comb(level**2 - 3, level - 2)
        return maps // 16

    def chance(self, level: int) -> float:
        # A random walk, measured on 600 maps of each size.
        return {3: 0.09, 4: 0.035, 5: 0.013}.get(level, 0.01)

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: Random) -> Demo:
        """Each move is random with probability `noise`, by the weak always, else on a
        shortest way."""
        size, _, key, door, walls, _, _ = problem.data
        to_key, to_door = (distances(size, walls, goal) for goal in (key, door))
        env = self.env(problem, rng.getrandbits(32))
        noise = 1.0 if rng.random() < corpus.weak else corpus.noise

        def act(said: str) -> str:
            if rng.random() < noise:
                return rng.choice("udlr")
            row, column = env.cell
            ways = to_door if env.has_key else to_key
            cells = {m: (row + a, column + b) for m, (a, b) in MOVES.items()}
            return min(cells, key=lambda move: ways.get(cells[move], 99))

        return record(env, act)

    def max_tokens(self, level: int) -> int:
        return 6 * (4 * (level - 1) + self.slack) - 5


class GuessEnv(Env):
    """One symbol per guess; the answer '>' or '<' says where the hidden one lies."""

    turn_tokens = 1

    def step(self, action: str) -> tuple[str, bool]:
        """A symbol that is no number wastes the turn: '>' says nothing false of it."""
        n, turns, hidden = self.problem.data
        self.turns += 1
        guess = Guess.symbols[:n].find(action) if len(action) == 1 else -1
        self.invalid += guess < 0
        self.solved = guess == hidden
        if self.solved or self.turns == turns:
            return "", True
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

    form = re.compile(r"G([a-zA-Z0-9+-])([1-9]):")

    def parse(self, prompt: str, match: re.Match[str]) -> Problem:
        """The hidden number is not in the prompt: 0, until somebody draws it."""
        n, turns = self.symbols.index(match[1]) + 1, int(match[2])
        key = f"guess {n} {turns}"
        return Problem(self.name, turns - 2, prompt, key, (n, turns, 0))

    def generate(self, level: int, rng: Random) -> Problem:
        n, turns = self.size(level)
        return self.posed(f"G{self.symbols[n - 1]}{turns}:", rng)

    def posed(self, prompt: str, rng: Random) -> Problem:
        n, turns, _ = self.read(prompt).data
        return replace(self.read(prompt), data=(n, turns, rng.randrange(n)))

    def shifted(self, level: int, rng: Random) -> Problem:
        """A quarter of the numbers less: a range that no training shows."""
        n, turns = self.size(level)
        n -= n // 4
        return self.posed(f"G{self.symbols[n - 1]}{turns}:", rng)

    def test_problems(
        self, level: int, count: int, shifted: bool = False
    ) -> list[Problem]:
        """Every hidden number in turn, so that the ceiling is the ceiling."""
        make = self.shifted if shifted else self.generate
        problem = make(level, Random(0))
        n, turns, _ = problem.data
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

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: Random) -> Demo:
        """A weak demonstrator guesses at random; the others go up one by one, or, where
        the corpus shows a thought, guess at random what is still possible."""
        n, _, _ = problem.data
        style = "random" if rng.random() < corpus.weak else "linear"
        if style == "linear" and rng.random() < corpus.think_share:
            style = "consistent"
        low, high, guess = 0, n - 1, -1

        def act(said: str) -> str:
            """`said` narrows what is possible; then comes this style's next guess."""
            nonlocal low, high, guess
            if said == ">":
                low = max(low, guess + 1)
            elif said == "<":
                high = min(high, guess - 1)
            if style == "linear":
                guess = min(guess + 1, n - 1)
            elif style == "consistent":
                guess = rng.randint(low, high)
            else:
                guess = rng.randrange(n)
            return self.symbols[guess]

        return record(self.env(problem, 0), act)


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


def contains(problem: Problem, text: str, gold: float) -> float:
    """Is the right answer anywhere in the text? Hack: write down every answer."""
    return float(problem.data[-1] in text)


def well_formed(problem: Problem, text: str, gold: float) -> float:
    """Is there an answer of the right form? Hack: the shortest legal guess."""
    return float(TASKS[problem.task].stated(text) is not None)


def length_bonus(problem: Problem, text: str, gold: float) -> float:
    """The truth plus 0.03 a token. Hack: padding, as soon as a wrong answer pays."""
    return gold + 0.03 * len(text)


def last_mentioned(problem: Problem, text: str, gold: float) -> float:
    """Is the last thing that looks like an answer right? Hack: never finish."""
    found = TASKS[problem.task].grammar.findall(text)
    return float(bool(found) and found[-1] == problem.data[-1])


def partial_credit(problem: Problem, text: str, gold: float) -> float:
    """Share of the answer's characters in place. Hack: guess what is frequent."""
    stated, right = TASKS[problem.task].stated(text) or "", problem.data[-1]
    same = sum(a == b for a, b in zip(stated, right, strict=False))
    return same / max(len(stated), len(right))


def tolerance(problem: Problem, text: str, gold: float) -> float:
    """Is the number off by at most 1? Hack: arithmetic that is only nearly right."""
    stated = TASKS[problem.task].stated(text)
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


# What to watch. An alarm is a column of the log, and whether it rings at a mean `now`,
# over WINDOW steps, when that of the first WINDOW steps was `start`.
WINDOW = 10
ALARMS: dict[str, Callable[[float, float], bool]] = {
    "gap": lambda now, start: now > start + 0.1,  # of reward - gold
    "truncated": lambda now, start: now > start + 0.1,
    "think_share": lambda now, start: now < start / 2,
    "answer_tokens": lambda now, start: now < start / 2,
    "kl_base": lambda now, start: now > 10.0,  # nats
}


def show_rules() -> None:
    """Print what each rule pays for a right answer, a wrong one, and each hack."""
    problem = Problem("chain", 2, "C3a+5b-9:", "", ("3a+5b-9", "9"))
    texts = "9\n", "8\n", "0\n", "[3a+5=8;8b-9=9]0\n", "0123456789", "[00000000]0\n"
    names = [name for name, tasks in RULE_TASKS.items() if "chain" in tasks]
    names.append("length")
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
    for name, rings in ALARMS.items():
        try:
            column = [
                row["reward"] - row["gold"] if name == "gap" else row[name]
                for row in rows
            ]
        except KeyError:  # a task without thoughts, a run that the verifier pays
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
    text = f"labelled {problem.key}".encode()
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


def by_length(lengths: list[int], rows: int) -> list[list[int]]:
    """Indices in micro-batches of at most `rows`, like lengths together."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [order[i : i + rows] for i in range(0, len(order), rows)]


@torch.no_grad()
def score_all(model: GPT, tokens: Tensor, lengths: list[int]) -> np.ndarray:
    """Scores (N,) of any number of answers, like lengths together."""
    scores = np.zeros(len(lengths))
    for rows in by_length(lengths, 128):
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

    AUC is NaN where there are no right or no wrong ones. Bradley-Terry fixes
    differences of scores alone, so its ece says little.
    """
    right, wrong = scores[labels > 0], scores[labels == 0]
    difference = right[:, None] - wrong
    ahead = (difference > 0) + 0.5 * (difference == 0)
    auc = ahead.mean() if ahead.size else np.nan
    p = 1 / (1 + np.exp(-scores))
    bins = np.minimum((10 * p).astype(int), 9)
    gaps = [abs((p - labels)[bins == b].sum()) for b in range(10)]
    return {"auc": float(auc), "ece": float(sum(gaps) / max(len(scores), 1))}


@dataclass
class Judges:
    """An ensemble of reward models. What pays is the least that any of them gives."""

    models: list[GPT]
    centers: list[float]  # the score that pays 0.5: 0, or for Bradley-Terry the mean
    data: Labelled

    def __call__(self, tokens: Tensor, lengths: list[int]) -> np.ndarray:
        """Rewards (N,) in 0..1: min over models of sigmoid(score - center)."""
        scores = [score_all(model, tokens, lengths) for model in self.models]
        least = np.min([s - c for s, c in zip(scores, self.centers, strict=True)], 0)
        return 1 / (1 + np.exp(-least))

    def state(self) -> dict:
        """Tensors and numbers alone, for a checkpoint."""
        data = dict(vars(self.data))
        for name in ("labels", "groups", "held_out"):
            data[name] = torch.from_numpy(data[name])
        weights = [model.state_dict() for model in self.models]
        return {"models": weights, "centers": self.centers, "data": data}

    @staticmethod
    def of(state: dict, config: GPTConfig) -> "Judges":
        """The inverse of state."""
        data = dict(state["data"])
        for name in ("labels", "groups", "held_out"):
            data[name] = data[name].cpu().numpy()
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


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *(Chain(), Add(), Count(), Knight(), Path(), Compose()),
        *(Tool(), Grid(), Guess()),
    )
}


def find_task(name: str) -> Task:
    """The task of a name. ValueError lists the tasks there are."""
    if name not in TASKS:
        raise ValueError(f"there is no task {name!r}; choose from {', '.join(TASKS)}")
    return TASKS[name]


HOSTILE = ["", "[]", "[1]2[3]4", "9**9**9", "__import__('os')", "(" * 10_000]


def show(task: Task, level: int, rng: Random) -> None:
    """Print a problem of a level and a good demonstration of it."""
    problem = task.draw(level, "base", rng)
    demo = task.demonstrate(problem, Corpus(think_share=1.0), rng)
    text = repr(problem.prompt + "".join(demo.segments))[1:-1]
    space = "" if task.hidden else f"{task.space(level):,} problems, "
    rates = f"chance {task.chance(level):.2g}, ceiling {task.ceiling(level):.3g}"
    print(f"  level {level}: {space}{rates}, {task.max_tokens(level)} tokens at most")
    for line in textwrap.wrap(text, 82, break_on_hyphens=False):
        print(f"    {line}")


def main(argv: list[str]) -> None:
    """Print problems, demonstrations and what the verifier says, task by task."""
    rng = Random(0)
    for task in [find_task(name) for name in argv] or TASKS.values():
        print(f"{task.name}: {type(task).__doc__.splitlines()[0]}")
        for level in task.levels if argv else task.levels[:2]:
            show(task, level, rng)
        if isinstance(task, Puzzle):
            problem = task.draw(task.levels[1], "base", rng)
            _, right = task.think(problem, 0.0, rng)
            print(f"  what the verifier says to answers of {problem.prompt}")
            wrong = [task.guess(problem, rng), f"{right} ", f"+{right}", f"0{right}"]
            verdicts = [
                f"{text[:16]!r} {task.verify(problem, text + chr(10)):d}"
                for text in [right, *wrong, *HOSTILE]
            ]
            for line in textwrap.wrap("   ".join(verdicts), 82):
                print(f"    {line}")
        print()
    if not argv:
        show_rules()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        print(f"reward.py: {error}", file=sys.stderr)
        sys.exit(2)
