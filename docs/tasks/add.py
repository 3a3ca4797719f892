"""A task of your own: addition, python train.py --task docs/tasks/add.py"""

from __future__ import annotations

import re
from random import Random
from typing import NamedTuple

from reward import Problem, Puzzle


class AddData(NamedTuple):
    a: int
    b: int


class Add(Puzzle):
    """Addition of two numbers; the level is their number of digits.

        Ac5b8a8+r4q6p6:[a8p6=14;b8q6+1=154;c5r4+1=1054]1054        588 + 466 = 1054

    A letter stands before each digit, so that finding it needs no counting. A thought
    goes from the last digit on, the order in which carries go (Lee et al.
    arXiv:2307.03381), and each step restates the sum so far behind its new digit.
    """

    name = "add"
    levels = [1, 2, 3, 4, 5, 6]
    form = re.compile(r"A((?:[a-f][0-9]){1,6})\+((?:[p-u][0-9]){1,6}):")
    grammar = re.compile(r"0|[1-9][0-9]*")
    tested_from = 3  # 4,095 problems of two digits
    # The likeliest sum, 10^n - 1 + 10^(n-1), splits in as many ways as there are
    # numbers.
    chance = {1: 1 / 10, **{n: 1 / (9 * 10 ** (n - 1)) for n in range(2, 7)}}
    defaults = dict(levels="2-3", think_share=0.4, pretrain_steps=2500, steps=80)

    def parse(self, prompt: str, match: re.Match[str]) -> Problem | None:
        """None if the letters are not in order or a number begins with 0."""
        a, b = (int(re.sub("[a-z]", "", text)) for text in match.groups())
        if prompt != self.pose(a, b):
            return None
        # The order of the two is no other problem: 588+466 in training rules out
        # 466+588 in the test.
        key = f"add {min(a, b)}+{max(a, b)}"
        level = len(str(max(a, b)))
        return Problem(self, level, prompt, key, AddData(a, b), str(a + b))

    def pose(self, a: int, b: int) -> str:
        """The prompt of a + b."""
        return f"A{self.spell(a, 'abcdef')}+{self.spell(b, 'pqrstu')}:"

    def spell(self, number: int, letters: str) -> str:
        """Digits with a letter before each, the first letter at the last digit."""
        digits = str(number)
        return "".join(letters[len(digits) - 1 - i] + d for i, d in enumerate(digits))

    def generate(self, level: int, rng: Random) -> Problem:
        low = 10 ** (level - 1) if level > 1 else 0
        a = rng.randrange(low, 10**level)
        b = rng.randrange(low, 10**level)
        return self.read(self.pose(a, b))

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Steps such as 'b8q6+1=154', last digits first: digits, carry, sum so far."""
        a, b = problem.data
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
