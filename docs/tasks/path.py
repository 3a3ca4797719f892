"""A task of your own: planning, python train.py --task docs/tasks/path.py"""

from __future__ import annotations

import re
import string
from random import Random
from typing import NamedTuple

from reward import Problem, Puzzle


class PathData(NamedTuple):
    edges: tuple[str, ...]  # 'ae': from a to e
    start: str
    goal: str


class Path(Puzzle):
    """A way through a star of arms that start at one node (Bachmann and Nagarajan).

        Pcb,ek,ac,kp,ae,bl;ap:[pkea]aekp           edges, then start and goal

    The level sets arms and their length. Forwards the first step is a guess among the
    arms; backwards from the goal there is one way at each step, and a thought goes it.
    """

    name = "path"
    levels = [1, 2, 3, 4, 5]
    form = re.compile(r"P((?:[A-Za-z]{2},){1,25}[A-Za-z]{2});([A-Za-z])([A-Za-z]):")
    grammar = re.compile(r"[A-Za-z]{2,26}")
    tested_from = 2  # 360 problems of level 1
    chance = {1: 1 / 3, 2: 1 / 3, 3: 1 / 4, 4: 1 / 4, 5: 1 / 5}  # a random arm
    defaults = dict(levels="1-4", shown="1-2", think_share=0.75, stretch=0.0)
    defaults |= dict(pretrain_steps=10_000, pretrain_lr=2e-3, steps=40, lr=1e-3)
    shapes = {1: (3, 2), 2: (3, 3), 3: (4, 3), 4: (4, 4), 5: (5, 5)}  # arms, length

    def parse(self, prompt: str, match: re.Match[str]) -> Problem:
        """Level 0 if the numbers of arms and edges are those of no level."""
        edges = tuple(match[1].split(","))
        # Renamed in order of appearance: other letters are no other problem.
        names = dict.fromkeys(match[1].replace(",", "") + match[2] + match[3])
        table = {ord(c): string.ascii_letters[i] for i, c in enumerate(names)}
        key = "path " + prompt[1:].translate(table)
        arms = sum(edge[0] == match[2] for edge in edges)
        shape = (arms, len(edges) // max(arms, 1))
        level = next((n for n, s in self.shapes.items() if s == shape), 0)
        return Problem(self, level, prompt, key, PathData(edges, match[2], match[3]))

    def generate(self, level: int, rng: Random) -> Problem:
        """Of the fewest letters that do: a small model sees each more often."""
        arms, length = self.shapes[level]
        count = 1 + arms * length
        names = rng.sample(string.ascii_lowercase[:count], count)
        start, edges, node = names[0], [], ""
        for i, name in enumerate(names[1:]):
            edges.append((start if i % length == 0 else node) + name)
            node = name
        goal = names[length * rng.randint(1, arms)]
        rng.shuffle(edges)
        return self.read(f"P{','.join(edges)};{start}{goal}:")

    def accepts(self, problem: Problem, answer: str) -> bool:
        """Does it go from start to goal along edges, to no node twice?"""
        edges, start, goal = problem.data
        steps = {answer[i : i + 2] for i in range(len(answer) - 1)}
        right = answer[0] == start and answer[-1] == goal
        return right and len(set(answer)) == len(answer) and steps <= set(edges)

    def think(self, problem: Problem, noise: float, rng: Random) -> tuple[str, str]:
        """The way backwards, from the goal; the answer is the same, forwards."""
        edges, start, goal = problem.data
        before = {edge[1]: edge[0] for edge in edges}
        text, arms = goal, sum(edge[0] == start for edge in edges)
        while text[-1] != start and len(text) <= len(edges) // arms:
            step = before[text[-1]]
            text += rng.choice(edges)[0] if rng.random() < noise else step
        return text, text[::-1]

    def guess(self, problem: Problem, rng: Random) -> str:
        """Along the edges from a random arm on."""
        edges, text, goal = problem.data
        while text[-1] != goal and len(text) <= len(edges):
            ways = [edge[1] for edge in edges if edge[0] == text[-1]]
            if not ways:
                break
            text += rng.choice(ways)
        return text
