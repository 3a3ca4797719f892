"""Verifiers against programs that nobody here wrote; skipped where not installed.

pip install reasoning-gym networkx
python -m pytest docs/benchmarks/oracles.py
"""

import random
import re
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from reward import FOLDER, find_task, load  # noqa: E402


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
        assert task.think(problem, 0.0, rng)[1] == answer
        wrong = answer.translate(str.maketrans("+-", "-+"))
        assert not task.verify(problem, wrong + "\n")


def test_sums_against_reasoning_gym():
    """Its chains of two summands, posed to `add`."""
    module = pytest.importorskip("reasoning_gym.arithmetic.chain_sum")
    sizes = dict(min_terms=2, max_terms=2, min_digits=1, max_digits=6)
    items = module.ChainSumDataset(module.ChainSumConfig(size=300, seed=3, **sizes))
    task, used = find_task("add"), 0
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
    task, rng = find_task("path"), random.Random(4)
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


def test_expressions_against_python():
    """20,000 random strings: accepted if Python does, with its value."""
    parse = load(FOLDER / "count.py").parse_expression
    rng, accepted = random.Random(22), 0
    # What Python takes and we do not; '**' would take for ever, and is replaced.
    refused = r"[0-9]{5}|0[0-9]|//|(^|[-+*/(])[-+]|\(\)"
    for _ in range(20_000):
        text = "".join(rng.choices("1234567890+-*/()", k=rng.randint(1, 9)))
        found = parse(text)
        exact = re.sub("0*([0-9]+)", r"Fraction(\1)", text.replace("**", "@"))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = eval(exact, {"Fraction": Fraction})
        except (SyntaxError, TypeError, ZeroDivisionError):
            expected = None
        if found is None:
            assert expected is None or re.search(refused, text), text
        else:
            accepted += 1
            assert found == (expected, [int(n) for n in re.findall("[0-9]+", text)])
    assert accepted > 2000
