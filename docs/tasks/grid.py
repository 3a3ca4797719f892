"""A task in a file of its own: a map, a key and a door, python train.py --task grid"""

from __future__ import annotations

import re
from dataclasses import replace
from operator import add
from random import Random
from typing import NamedTuple

from reward import Corpus, Env, Problem, Task, record

MOVES = {"u": (-1, 0), "d": (1, 0), "l": (0, -1), "r": (0, 1)}
Cell = tuple[int, int]  # row, column


class GridData(NamedTuple):
    size: int
    start: Cell
    key: Cell
    door: Cell
    walls: tuple[Cell, ...]
    turns: int  # that an episode may take
    slip: float  # chance that a move goes elsewhere


class GridEnv(Env):
    """One move a turn; it says where the policy stands, and k once it has the key."""

    turn_tokens = 1

    def __init__(self, problem: Problem, seed: int | str) -> None:
        super().__init__(problem, seed)
        self.cell = problem.data.start
        self.has_key = False

    def step(self, action: str) -> tuple[str, bool]:
        """A move may slip. What is no move goes nowhere."""
        data = self.problem.data
        self.turns += 1
        self.invalid += action not in MOVES
        if action in MOVES and self.rng.random() < data.slip:
            other = self.rng.choice("udlr")
            self.failed |= other != action
            action = other
        self.cell = self.problem.task.move(data, self.cell, action)
        self.has_key |= self.cell == data.key
        self.solved = self.has_key and self.cell == data.door
        if self.solved or self.turns == data.turns:
            return "", True
        return f"{{{self.cell[0]}{self.cell[1]}{'k' * self.has_key}}}", False


class Grid(Task):
    """Fetch the key, then reach the door; the level is the size of the map.

        M4@23k12d02#33#01:u{13}l{12k}l{11k}u{11k}...      row and column of everything

    '#' are walls; a move into one or off the map is wasted. There are four turns more
    than on a shortest way. If moves slip (only in tests) a plan made at first fails.
    """

    name = "grid"
    levels = [3, 4, 5, 6]
    form = re.compile(r"M([3-6])@([0-5]{2})k([0-5]{2})d([0-5]{2})((?:#[0-5]{2}){1,4}):")
    tested_from = 4
    chance = {3: 0.09, 4: 0.035, 5: 0.013, 6: 0.01}  # a random walk, on 600 maps each
    defaults = dict(levels="3-6", shown="3-4", noise=0.5, lr=1e-3)
    defaults |= dict(pretrain_steps=3000, steps=60)
    env = GridEnv

    def parse(self, prompt: str, match: re.Match[str]) -> Problem | None:
        """None for a cell off the map or used twice, and if there is no way to key and
        door, or a longer one than any training shows."""
        size = int(match[1])
        cells = [(int(a), int(b)) for a, b in re.findall("([0-9])([0-9])", prompt[2:])]
        start, key, door, *walls = cells
        data = GridData(size, start, key, door, tuple(walls), 0, 0.0)
        way = self.distances(data, key).get(start, 99)
        way += self.distances(data, door).get(key, 99)
        twice = len(set(cells)) < len(cells)
        if twice or max(map(max, cells)) >= size or way > 4 * (size - 1):
            return None
        data = data._replace(turns=way + 4)
        return Problem(self, size, prompt, self.canonical(size, cells), data)

    def move(self, data: GridData, cell: Cell, name: str) -> Cell:
        """Where a move leads; into a wall or off the map it goes nowhere."""
        down, right = MOVES.get(name, (0, 0))
        row, column = cell[0] + down, cell[1] + right
        inside = 0 <= row < data.size and 0 <= column < data.size
        return (row, column) if inside and (row, column) not in data.walls else cell

    def distances(self, data: GridData, goal: Cell) -> dict[Cell, int]:
        """Steps to `goal` from every cell that reaches it, by breadth-first search."""
        found, edge = {goal: 0}, [goal]
        for cell in edge:
            for name in MOVES:
                after = self.move(data, cell, name)
                if after not in found:
                    found[after] = found[cell] + 1
                    edge.append(after)
        return found

    def canonical(self, size: int, cells: list[Cell]) -> str:
        """The least of the map's eight mirror images and turns."""
        forms = []
        for _ in range(2):
            cells = [(column, row) for row, column in cells]
            for _ in range(4):
                cells = [(column, size - 1 - row) for row, column in cells]
                forms.append(f"{cells[:3]}{sorted(cells[3:])}")
        return f"grid {size} {min(forms)}"

    def generate(self, level: int, rng: Random) -> Problem:
        """Random maps with level - 2 walls, until one makes a problem."""
        marks = "@kd" + "#" * (level - 2)
        problem = None
        while problem is None:
            places = rng.sample(range(level * level), len(marks))
            cells = [f"{place // level}{place % level}" for place in places]
            prompt = f"M{level}{''.join(map(add, marks, cells))}:"
            problem = self.parse(prompt, self.form.fullmatch(prompt))
        return problem

    def shifted(self, level: int, rng: Random) -> Problem:
        """One move in five goes in a random direction."""
        return self.slippery(self.generate(level, rng), 0.2)

    def slippery(self, problem: Problem, slip: float) -> Problem:
        return replace(problem, data=problem.data._replace(slip=slip))

    def longest(self, level: int) -> tuple[int, int]:
        """Long ways are rare: all turns that `parse` allows, of six tokens each."""
        return super().longest(level)[0], 6 * (4 * (level - 1) + 4) - 5

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: Random) -> list[str]:
        """A shortest way with a share `noise` of random moves; weak: only such."""
        data = problem.data
        ways = [self.distances(data, goal) for goal in (data.key, data.door)]
        env = self.env(problem, rng.getrandbits(32))
        noise = 1.0 if rng.random() < corpus.weak else corpus.noise

        def act(said: str) -> str:
            if rng.random() < noise:
                return rng.choice("udlr")
            left = ways[env.has_key]  # steps to the key, then to the door
            return min(MOVES, key=lambda name: left[self.move(data, env.cell, name)])

        return record(env, act)
