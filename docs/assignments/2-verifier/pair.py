"""Your task: python train.py --task docs/assignments/2-verifier/pair.py"""

from __future__ import annotations

import re
from random import Random
from typing import NamedTuple

from reward import Problem, Puzzle


class PairData(NamedTuple):
    numbers: tuple[int, ...]
    target: int


class Pair(Puzzle):
    """Which two numbers add to the target? The level is how many there are.

        T12,7,30=37:[37-12=25;37-7=30]7+30

    A thought goes through the numbers and looks up what is missing.
    """

    name = "pair"
    levels = [3, 4, 5, 6]
    form = re.compile(r"T([1-9][0-9]?(?:,[1-9][0-9]?){2,5})=([1-9][0-9]{0,2}):")
    grammar = re.compile(r"[1-9][0-9]?\+[1-9][0-9]?")
    tested_from = 3
    # 15+16 at level 6: both are there once in 29, and the target once in 15, or by luck
    chance = 0.003
    defaults = dict(levels="3-6", shown="3-4")

    def parse(self, prompt: str, match: re.Match[str]) -> Problem | None:
        """None if no two of the numbers add to the target. The level is how many
        numbers there are; `answer` stays empty, as two are right. The order of the
        numbers is no other problem, so it must not change the key."""
        numbers = tuple(map(int, match[1].split(",")))
        data = PairData(numbers, int(match[2]))
        if not self.right_pairs(data):
            return None
        key = f"pair {sorted(numbers)}={data.target}"
        return Problem(self, len(numbers), prompt, key, data)

    def right_pairs(self, data: PairData) -> list[tuple[int, int]]:
        """All right pairs, in both orders; parse and accepts can use it. A number is
        never paired with itself, but two equal numbers at two places are a pair."""
        return [
            (a, b)
            for i, a in enumerate(data.numbers)
            for j, b in enumerate(data.numbers)
            if i != j and a + b == data.target
        ]

    def generate(self, level: int, rng: Random) -> Problem:
        """Different numbers from 1 to 30; the target is the sum of any two of them."""
        numbers = rng.sample(range(1, 31), level)
        target = sum(rng.sample(numbers, 2))
        return self.read(f"T{','.join(map(str, numbers))}={target}:")

    def accepts(self, problem: Problem, answer: str) -> bool:
        """Is an answer of legal form two of the numbers, in either order, with the
        right sum? A number counts as often as it is there."""
        a, b = answer.split("+")
        return (int(a), int(b)) in self.right_pairs(problem.data)

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Steps such as '37-12=25', apart by ';': the target less each number in turn,
        until a result is another of the numbers, earlier or later in the list (a result
        may be negative: 9-17=-8). With chance `noise` a result is redrawn from 1 to 30,
        written in the step and used as if it were right. The answer is the number, '+',
        the result; if nothing is found, a guess."""
        numbers, target = problem.data
        steps = []
        for i, n in enumerate(numbers):
            rest = target - n
            if rng.random() < noise:
                rest = rng.randint(1, 30)
            steps.append(f"{target}-{n}={rest}")
            if rest in numbers[:i] + numbers[i + 1 :]:
                return ";".join(steps), f"{n}+{rest}"
        return ";".join(steps), self.guess(problem, rng)

    def guess(self, problem: Problem, rng: Random) -> str:
        a, b = rng.sample(problem.data.numbers, 2)
        return f"{a}+{b}"
