"""A task in a file of its own: knights and knaves, python train.py --task knight"""

from __future__ import annotations

import re
import string
from random import Random
from typing import NamedTuple

from reward import Problem, Puzzle


class KnightData(NamedTuple):
    names: str  # ABC
    claims: tuple[str, ...]  # ('B-', 'C=A', 'A+&B-')


class Knight(Puzzle):
    """Knights always tell the truth, knaves never; the level is the number of persons.

        KA>B-;B>C=A;C>A+&B-:[A+(B-)B-(C=A+)C-(A++&B--)!A-(B-)...C-(A-+&B+-)]A-B+C-

    A says B is a knave (-); B says C and A are of a kind ('~': they are not). Each
    speaks of the next, which leaves two worlds; the last joins two claims by & or |, or
    compares two persons, and rules one out. A thought tries A+ and, after '!', a
    contradiction, A-; it restates claims with what is known of the persons in them.
    """

    name = "knight"
    levels = [3, 4, 5, 6, 7, 8]
    claim = "(?:[A-Z][+-]|[A-Z][=~][A-Z]|[A-Z][+-][&|][A-Z][+-])"
    form = re.compile(f"K((?:[A-Z]>{claim};){{1,8}}[A-Z]>{claim}):")
    grammar = re.compile(r"(?:[A-Z][+-]){2,10}")
    tested_from = 5
    chance = {n: 0.5**n for n in range(3, 9)}
    defaults = dict(levels="4-7", shown="4-5", weak=0.4, stretch=0.0)
    # With names at random and stretched positions the base learned nothing.
    defaults |= dict(pretrain_steps=8000, steps=60, lr=1e-3)

    def parse(self, prompt: str, match: re.Match[str]) -> Problem | None:
        """None for an unknown person, or one who speaks twice."""
        parts = match[1].split(";")
        names = "".join(part[0] for part in parts)
        if sorted(set(filter(str.isupper, match[1]))) != sorted(names):
            return None
        # Renamed in the order of speaking: other names are no other problem.
        table = str.maketrans(names, string.ascii_uppercase[: len(names)])
        data = KnightData(names, tuple(part[2:] for part in parts))
        key = f"knight {match[1].translate(table)}"
        return Problem(self, len(names), prompt, key, data)

    def generate(self, level: int, rng: Random) -> Problem:
        """Statements at random until exactly one of the two worlds is left."""
        names = string.ascii_uppercase[:level]
        while True:
            text = "K"
            for i, who in enumerate(names[:-1]):
                # Only the next person, or compared with one of those before.
                other = rng.choice(names[: i + 1])
                claim = rng.choice("+-") if other == who else rng.choice("=~") + other
                text += f"{who}>{names[i + 1]}{claim};"
            x, y = sorted(rng.sample(names[:-1], 2))
            op = rng.choice("&&&&||||=~")
            if op in "&|":
                x += rng.choice("+-")
                y += rng.choice("+-")
            problem = self.read(f"{text}{names[-1]}>{x}{op}{y}:")
            agree = [self.follow(problem, first, 0.0, Random(0))[2] for first in "+-"]
            if sum(agree) == 1:
                return problem

    def follow(self, problem: Problem, first: str, noise: float, rng: Random) -> tuple:
        """What follows if the first speaker is `first`: (thought, nature of each name,
        does the last claim agree?)."""
        names, claims = problem.data
        world = {names[0]: first}
        text = names[0] + first
        for who, claim, after in zip(names, claims, names[1:], strict=False):
            text += f"({''.join(c + world.get(c, '') for c in claim)})"
            world[after] = "+"
            if self.holds(claim, world) != (world[who] == "+"):
                world[after] = "-"
            if rng.random() < noise:
                world[after] = rng.choice("+-")
            text += after + world[after]
        agrees = self.holds(claims[-1], world) == (world[names[-1]] == "+")
        text += f"({''.join(c + world.get(c, '') for c in claims[-1])})"
        return text, world, agrees

    def holds(self, claim: str, world: dict[str, str]) -> bool:
        """Is a claim true in a world, which maps each name to + or -?"""
        if claim[1] in "=~":
            return (world[claim[0]] == world[claim[2]]) == (claim[1] == "=")
        true = [world[claim[i]] == claim[i + 1] for i in range(0, len(claim), 3)]
        return any(true) if "|" in claim else all(true)

    def accepts(self, problem: Problem, answer: str) -> bool:
        """Does every knight of the answer tell the truth, and no knave?"""
        names, claims = problem.data
        if answer[::2] != names:
            return False
        world = dict(zip(names, answer[1::2], strict=True))
        pairs = zip(names, claims, strict=True)
        return all((world[who] == "+") == self.holds(c, world) for who, c in pairs)

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """Assume the first is a knight; on a contradiction start over with a knave."""
        text, world, agrees = self.follow(problem, "+", noise, rng)
        if not agrees:
            again, world, _ = self.follow(problem, "-", noise, rng)
            text += "!" + again
        return text, "".join(who + world[who] for who in problem.data.names)

    def guess(self, problem: Problem, rng: Random) -> str:
        return "".join(who + rng.choice("+-") for who in problem.data.names)
