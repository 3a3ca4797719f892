"""Verifiers against programs that nobody here wrote; skipped where not installed.

pip install reasoning-gym networkx
"""

import random
import re

import pytest
from test_reward import ALL

from reward import find_task


def test_knights_against_reasoning_gym():
    """The same only solution, found by its brute force."""
    module = pytest.importorskip("reasoning_gym.logic.knights_knaves")
    task, rng = find_task("knight"), random.Random(2)

    def translate(claim, names):
        if claim[1] in "=~":  # C~A: C is a knight if and only if A is a knave
            claim = f"{claim[0]}+{claim[1]}{claim[2]}{'-+'[claim[1] == '=']}"
        parts = [
            ("telling-truth" if sign == "+" else "lying", names.index(name))
            for name, sign in zip(claim[::3], claim[1::3], strict=True)
        ]
        op = {"=": "<=>", "~": "<=>", "&": "and", "|": "or"}.get(claim[2:3])
        return (op, *parts) if op else parts[0]

    for _ in range(200):
        problem = task.generate(rng.choice([3, 4, 5]), rng)
        names, claims = problem.data
        found = module.KnightsKnavesDataset.find_solution(
            tuple(translate(claim, names) for claim in claims)
        )
        assert len(found) == 1
        pairs = zip(names, found[0], strict=True)
        answer = "".join(name + ("+" if knight else "-") for name, knight in pairs)
        assert task.verify(problem, answer + "\n")


def test_sums_against_reasoning_gym():
    """Its chains of two summands, posed to `add`."""
    module = pytest.importorskip("reasoning_gym.arithmetic.chain_sum")
    sizes = dict(min_terms=2, max_terms=2, min_digits=1, max_digits=6)
    items = module.ChainSumDataset(module.ChainSumConfig(size=300, seed=3, **sizes))
    task, used = ALL["add"], 0
    for item in items:
        found = re.search(r"(\d+) \+ (\d+)", item["question"])
        if found:
            problem = task.read(task.pose(int(found[1]), int(found[2]), "abcdefg"))
            assert task.verify(problem, item["answer"] + "\n")
            assert not task.verify(problem, str(int(item["answer"]) + 1) + "\n")
            used += 1
    assert used > 80


def test_paths_against_networkx():
    """The only simple path from start to goal is the answer."""
    nx = pytest.importorskip("networkx")
    task, rng = ALL["path"], random.Random(4)
    for _ in range(200):
        problem = task.generate(rng.choice(task.levels), rng)
        edges, start, goal = problem.data
        graph = nx.DiGraph([tuple(edge) for edge in edges])
        (way,) = nx.all_simple_paths(graph, start, goal)
        assert task.verify(problem, "".join(way) + "\n")
        assert task.think(problem, 0.0, rng)[1] == "".join(way)


def test_maps_against_networkx():
    """Shortest way over (cell, has key): the turn budget is four more."""
    nx = pytest.importorskip("networkx")
    task, rng = find_task("grid"), random.Random(5)
    for _ in range(100):
        problem = task.generate(rng.choice(task.levels), rng)
        data = problem.data
        graph = nx.Graph()
        side = range(data.size)
        floor = {(r, c) for r in side for c in side} - set(data.walls)
        for r, c in floor:
            for cell in {(r + 1, c), (r, c + 1)} & floor:
                for held in (False, True):
                    graph.add_edge(((r, c), held), (cell, held))
        graph.add_edge((data.key, False), (data.key, True))
        ends = (data.start, False), (data.door, True)
        assert data.turns == nx.shortest_path_length(graph, *ends) - 1 + 4
