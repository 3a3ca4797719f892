"""A task of your own: composition, python train.py --task docs/tasks/compose.py"""

from __future__ import annotations

import re
from random import Random
from typing import NamedTuple

from reward import Problem, Puzzle


class ComposeData(NamedTuple):
    names: str  # of the functions, the first to apply first
    text: str


class Compose(Puzzle):
    """Functions of four letters one after the other; the level is their number.

        FXRU,gjgb:[Xjggb,Rbggj,Uggjb]ggjb        swap the first two, reverse, rotate

    After Yuan et al. arXiv:2509.25123: with the functions known, does RL on short
    compositions carry over to longer ones, and to a pair never seen together?
    """

    name = "compose"
    levels = [1, 2, 3, 4, 5, 6]
    form = re.compile(r"F([RUSXDI]{1,8}),([a-j]{4}):")
    grammar = re.compile(r"[a-j]{4}")
    # Of 'aaaa', the likeliest: 1/10 for each letter that D has left different.
    chance = {1: 0.00025, 2: 0.000625, 3: 0.0014, 4: 0.0025, 5: 0.0037, 6: 0.0051}
    defaults = dict(levels="1-6", shown="1-3", noise=0.2, steps=100)
    letters = "abcdefghij"
    held_out = "UX"
    functions = {
        "R": lambda s: s[::-1],  # reverse
        "U": lambda s: s[1:] + s[:1],  # rotate
        "S": lambda s: s[3:] + s[1:3] + s[:1],  # swap the ends
        "X": lambda s: s[1::-1] + s[2:],  # swap the first two
        "D": lambda s: s[:1] + s[:3],  # double the first, drop the last
        "I": lambda s: s.translate(str.maketrans("abcdefghij", "bcdefghija")),
    }

    def parse(self, prompt: str, match: re.Match[str]) -> Problem:
        names, text = match.groups()
        value = text
        for name in names:
            value = self.functions[name](value)
        key = f"compose {names},{text}"
        data = ComposeData(names, text)
        return Problem(self, len(names), prompt, key, data, value)

    def generate(self, level: int, rng: Random) -> Problem:
        """Of any functions, but never with the pair that is held out."""
        names = self.held_out
        while self.held_out in names:
            names = "".join(rng.choices("RUSXDI", k=level))
        return self.pose(names, rng)

    def pose(self, names: str, rng: Random) -> Problem:
        return self.read(f"F{names},{''.join(rng.choices(self.letters, k=4))}:")

    def shifted(self, level: int, rng: Random) -> Problem:
        """With the pair of functions that no training shows; two at least."""
        names = self.generate(max(level, 2), rng).data.names
        place = rng.randrange(len(names) - 1)
        return self.pose(names[:place] + self.held_out + names[place + 2 :], rng)

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Each function with its result, apart by ','; noise redraws a letter of it."""
        names, value = problem.data
        steps = []
        for name in names:
            value = self.functions[name](value)
            if rng.random() < noise:
                place = rng.randrange(4)
                value = value[:place] + rng.choice(self.letters) + value[place + 1 :]
            steps.append(name + value)
        return ",".join(steps), value

    def guess(self, problem: Problem, rng: Random) -> str:
        return "".join(rng.sample(problem.data.text, 4))
