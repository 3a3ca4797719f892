"""The smallest task of your own: python train.py --task docs/tasks/reverse.py"""

from __future__ import annotations

import re
import string
from random import Random
from typing import NamedTuple

from reward import Problem, Puzzle


class ReverseData(NamedTuple):
    text: str


class Reverse(Puzzle):
    """A word backwards; the level is its length.  Rabc:[c,cb,cba]cba"""

    name = "reverse"
    levels = [2, 3, 4, 5, 6, 7]
    form = re.compile("R([a-z]{2,9}):")
    grammar = re.compile("[a-z]+")
    tested_from = 3  # 26 * 26 words of two letters are learned by heart
    chance = {n: 26.0**-n for n in range(2, 8)}
    # Half of the teachers only shuffle the letters. RL has to find out who is right.
    defaults = dict(levels="3-5", think_share=0.5, weak=0.5, pretrain_steps=2500)
    defaults |= dict(steps=150, lr=1.5e-3)

    def parse(self, prompt: str, match: re.Match[str]) -> Problem:
        data = ReverseData(match[1])
        key = f"reverse {data.text}"
        return Problem(self, len(data.text), prompt, key, data, data.text[::-1])

    def generate(self, level: int, rng: Random) -> Problem:
        return self.read(f"R{''.join(rng.choices(string.ascii_lowercase, k=level))}:")

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Letter by letter; nobody slips, so `noise` changes nothing."""
        steps = [problem.answer[: i + 1] for i in range(problem.level)]
        return ",".join(steps), problem.answer

    def guess(self, problem: Problem, rng: Random) -> str:
        return "".join(rng.sample(problem.data.text, problem.level))
