"""Sums of two numbers of any length."""

from __future__ import annotations

import re
from collections import namedtuple
from random import Random

from reward import Problem, Puzzle

AddData = namedtuple("AddData", "a b places")  # 588, 466, "beh"


class Add(Puzzle):
    """Addition of two numbers; the level is their number of digits.

        Ah5e8b8+w4t6q6:[b8q6=14;e8t6+1=154;h5w4+1=1054]1054        588 + 466 = 1054

    A letter stands before each digit, so that finding it needs no counting. A thought
    goes from the last digit on, the order in which carries go (Lee et al.
    arXiv:2307.03381), and each step restates the sum so far behind its new digit.
    """

    name = "add"
    levels = [1, 2, 3, 4, 5, 6, 7, 8]
    form = re.compile(r"A((?:[a-k][0-9]){1,9})\+((?:[p-z][0-9]){1,9}):")
    grammar = re.compile(r"0|[1-9][0-9]*")
    restated = "[a-z]"
    tested_from = 3  # 4,095 problems of two digits
    # The likeliest sum, 10^n - 1 + 10^(n-1), splits in as many ways as there are
    # numbers.
    chance = {1: 1 / 10, **{n: 1 / (9 * 10 ** (n - 1)) for n in range(2, 9)}}
    defaults = dict(levels="2-6", shown="2-3")
    partners = dict(zip("abcdefghijk", "pqrstuvwxyz", strict=True))

    def parse(self, prompt: str, match: re.Match[str]) -> Problem | None:
        """None if letters are not in order, no partners, or a number begins with 0."""
        a, b = (int(re.sub("[a-z]", "", text)) for text in match.groups())
        ours, theirs = (re.sub("[0-9]", "", text)[::-1] for text in match.groups())
        places = [first for first, second in self.partners.items() if second in theirs]
        places = max("".join(places), ours, key=len)
        if prompt != self.pose(a, b, places) or sorted(set(places)) != list(places):
            return None
        # The order of the two is no other problem: 588+466 in training rules out
        # 466+588 in the test. Nor are other letters.
        key = f"add {min(a, b)}+{max(a, b)}"
        return Problem(
            self, len(places), prompt, key, AddData(a, b, places), str(a + b)
        )

    def pose(self, a: int, b: int, places: str) -> str:
        """The prompt of a + b; `places` are the letters of a's digits, last first."""
        spelled = []
        for number, letters in ((a, places), (b, [self.partners[c] for c in places])):
            digits = str(number)[::-1]
            pairs = [x + y for x, y in zip(letters, digits, strict=False)]
            spelled.append("".join(reversed(pairs)))
        return f"A{spelled[0]}+{spelled[1]}:"

    def generate(self, level: int, rng: Random) -> Problem:
        low = 10 ** (level - 1) if level > 1 else 0
        a = rng.randrange(low, 10**level)
        b = rng.randrange(low, 10**level)
        places = sorted(rng.sample(list(self.partners), level))
        return self.read(self.pose(a, b, "".join(places)))

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Steps such as 'e8t6+1=154', last digits first: digits, carry, sum so far."""
        a, b, places = problem.data
        steps, result = [], "0"
        for i, place in enumerate(places):
            x, y = a // 10**i % 10, b // 10**i % 10
            step = f"{place}{x}{self.partners[place]}{y}" + f"+{result[0]}" * (i > 0)
            total = x + y + int(result[0])
            if rng.random() < noise:
                total = rng.randrange(20)
            result = f"{total:02d}{result[1:]}"
            steps.append(f"{step}={result}")
        return ";".join(steps), str(int(result))

    def guess(self, problem: Problem, rng: Random) -> str:
        return str(rng.randrange(2 * 10**problem.level))
