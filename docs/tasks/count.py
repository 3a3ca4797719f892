"""A task of your own: Countdown, python train.py --task docs/tasks/count.py"""

from __future__ import annotations

import ast
import math
import re
from fractions import Fraction
from operator import add, mul, sub, truediv
from random import Random
from typing import NamedTuple

from reward import Problem, Puzzle


class CountData(NamedTuple):
    numbers: tuple[int, ...]
    target: int


def parse_expression(text: str) -> tuple[Fraction, list[int]] | None:
    """Exact value and numbers of an expression over + - * / ( ); None if it is none.
    Python's own grammar reads up to 40 characters; only the nodes named here are worked
    out, by us. Numbers have up to four digits and no leading zeros. Never raises."""
    tokens = re.findall(r"0(?![0-9])|[1-9][0-9]{0,3}(?![0-9])|[-+*/()]", text[:41])
    if len(text) > 40 or "".join(tokens) != text:
        return None
    apply = {ast.Add: add, ast.Sub: sub, ast.Mult: mul, ast.Div: truediv}

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant):
            return Fraction(node.value)
        if isinstance(node, ast.BinOp) and type(node.op) in apply:
            return apply[type(node.op)](value(node.left), value(node.right))
        raise SyntaxError

    numbers = [int(token) for token in tokens if token.isdecimal()]
    try:
        return value(ast.parse(text, mode="eval").body), numbers
    except (SyntaxError, ZeroDivisionError, RecursionError, MemoryError):
        return None


class Count(Puzzle):
    """Countdown: make the target from all the numbers; the level is how many.

        N12,7,25=30:[12+7=19,19+25=44;12+25=37,37-7=30]12+25-7

    Problems need only + and -, so that a small model has a chance; answers may use * /
    and brackets too. A thought is a search: tries apart by ';', of which the last hits.
    Failed tries stay in the corpus (Gandhi et al. arXiv:2404.03683).
    """

    name = "count"
    levels = [2, 3, 4, 5]
    form = re.compile(r"N([1-9][0-9]?(?:,[1-9][0-9]?){1,5})=([1-9][0-9]{0,3}):")
    grammar = re.compile(r"[0-9+*/()-]{1,40}")
    tested_from = 3
    # No answer suits many problems: its numbers have to be theirs.
    chance = {n: math.factorial(n) / 30**n for n in range(2, 6)}
    defaults = dict(levels="2-4", shown="2-3", steps=100)

    def parse(self, prompt: str, match: re.Match[str]) -> Problem:
        data = CountData(tuple(map(int, match[1].split(","))), int(match[2]))
        key = f"count {sorted(data.numbers)}={data.target}"
        return Problem(self, len(data.numbers), prompt, key, data)

    def generate(self, level: int, rng: Random) -> Problem:
        target = 0
        while target <= 0:
            numbers = [rng.randint(1, 30) for _ in range(level)]
            target = sum(rng.choice((1, -1)) * n for n in numbers)
        return self.read(f"N{','.join(map(str, numbers))}={target}:")

    def longest(self, level: int) -> tuple[int, int]:
        """A target of three digits is too rare to be measured: N30,30,30,30=120:"""
        return 3 * level + 5, super().longest(level)[1]

    def accepts(self, problem: Problem, answer: str) -> bool:
        value, numbers = parse_expression(answer) or (None, [])
        same = sorted(numbers) == sorted(problem.data.numbers)
        return same and value == problem.data.target

    def signed(self, problem: Problem) -> list[list[int]]:
        """All ways to add and subtract the numbers with a positive sum, + first."""
        ways = [[]]
        for n in problem.data.numbers:
            ways = [[*way, term] for way in ways for term in (n, -n)]
        return [sorted(way, key=lambda term: term < 0) for way in ways if sum(way) > 0]

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Up to three tries that miss, then one that hits; the last is the answer."""
        ways, target = self.signed(problem), problem.data.target
        rng.shuffle(ways)
        hit = [way for way in ways if sum(way) == target][:1]
        tries = [way for way in ways if sum(way) != target][: rng.randrange(4)]
        lines = []
        for way in tries + hit or ways[:1]:  # if a product is needed nothing hits
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
        return ";".join(lines), "".join(f"{term:+d}" for term in way)[1:]

    def guess(self, problem: Problem, rng: Random) -> str:
        way = rng.choice(self.signed(problem))
        return "".join(f"{term:+d}" for term in way)[1:]
