"""Tasks: problems, verifiers, demonstrations, splits, environments."""

import ast
import random
import re
import statistics
from collections import Counter
from pathlib import Path

import pytest

import model
import reward
from reward import TASKS, Corpus, Problem

PUZZLES = ["chain", "add"]
LEVELS = [(name, level) for name, task in TASKS.items() for level in task.levels]


@pytest.mark.parametrize("name, level", LEVELS)
def test_demonstrations_are_right_and_fit_the_cap(name, level):
    """A cap below the longest demonstration teaches the policy not to think."""
    task, rng = TASKS[name], random.Random(0)
    longest = 0
    for _ in range(300):
        problem = task.draw(level, "base", rng)
        demo = task.demonstrate(problem, Corpus(think_share=1.0), rng)
        assert demo.right or name == "guess"
        longest = max(longest, sum(map(len, demo.segments)))
        model.encode(problem.prompt + "".join(demo.segments))
    slack = 1 if name == "add" else 0  # a sum need not carry into another digit
    assert task.max_tokens(level) - 2 * slack <= longest <= task.max_tokens(level)


@pytest.mark.parametrize("name", PUZZLES)
def test_noise_spoils_steps_and_is_noticed(name):
    """`right` must be the verifier's word, also where a demonstration went wrong."""
    task, rng = TASKS[name], random.Random(1)
    right = []
    for _ in range(1000):
        problem = task.draw(4, "base", rng)
        demo = task.demonstrate(problem, Corpus(think_share=1.0, noise=0.2), rng)
        right.append(task.verify(problem, demo.segments[0]))
        assert right[-1] == demo.right
    # A step goes wrong with probability 0.2 and then hits the right digit by luck
    # (0.1), or is saved by later errors; 4 steps: about 0.82^4 = 0.45.
    assert 0.35 < statistics.mean(right) < 0.6


@pytest.mark.parametrize(
    "name, prompt, answer, text, verdict",
    [
        ("chain", "C3a+5b-9:", "9", "9\n", True),
        ("chain", "C3a+5b-9:", "9", "[3a+5=8;8b-9=9]9\n", True),
        ("chain", "C3a+5b-9:", "9", "[anything but brackets]9\n", True),
        ("chain", "C3a+5b-9:", "9", "[]9\n", True),
        ("chain", "C3a+5b-9:", "9", "8\n", False),
        ("chain", "C3a+5b-9:", "9", "9", False),  # not ended
        ("chain", "C3a+5b-9:", "9", "09\n", False),
        ("chain", "C3a+5b-9:", "9", "9 \n", False),
        ("chain", "C3a+5b-9:", "9", "9\n\n", False),
        ("chain", "C3a+5b-9:", "9", "9\n9\n", False),
        ("chain", "C3a+5b-9:", "9", "[1][2]9\n", False),
        ("chain", "C3a+5b-9:", "9", "[[1]]9\n", False),
        ("chain", "C3a+5b-9:", "9", "[1]9[2]\n", False),
        ("chain", "C3a+5b-9:", "9", "[9\n", False),
        ("chain", "C3a+5b-9:", "9", "9]\n", False),
        ("chain", "C3a+5b-9:", "9", "\n", False),
        ("chain", "C3a+5b-9:", "9", "", False),
        ("chain", "C3a+5b-9:", "9", "٩\n", False),  # Arabic-Indic nine
        ("add", "A5+8:", "13", "13\n", True),
        ("add", "A5+8:", "13", "[31]13\n", True),
        ("add", "A5+8:", "13", "+13\n", False),
        ("add", "A5+8:", "13", "013\n", False),
        ("add", "A5+8:", "13", "1_3\n", False),
        ("add", "A5+8:", "13", "13.0\n", False),
        ("add", "A5+8:", "13", "0xd\n", False),
        ("add", "A5+8:", "13", "5+8\n", False),
        ("add", "A5+8:", "13", "9**9**9\n", False),
        ("add", "A5+8:", "13", "__import__('os')\n", False),
        ("add", "A5+8:", "13", "[" * 10_000 + "13\n", False),
    ],
)
def test_verdicts(name, prompt, answer, text, verdict):
    """One rule for every puzzle: [thought]answer, ended, canonical, and right."""
    problem = Problem(name, 2, prompt, "", (answer,))
    assert TASKS[name].verify(problem, text) is verdict


@pytest.mark.parametrize("name", sorted(TASKS))
def test_random_text_scores_no_more_than_chance(name):
    """Any string gives 0 or 1, and one without knowledge no more than chance."""
    task, rng = TASKS[name], random.Random(2)
    alphabet = "0123456789[]\n" * 3 + model.CHARS + "é\x00٣"
    level = task.levels[1]
    scores = []
    for _ in range(5000):
        env = task.env(task.generate(level, rng), 0)
        done = False
        while not done:
            size = env.turn_tokens or rng.randrange(8)
            text = "".join(rng.choices(alphabet, k=size))
            said, done = env.step(text if env.turn_tokens else text + "\n")
            assert set(said) <= set(model.ENV_ONLY)
        scores.append(env.score())
    assert set(scores) <= {0.0, 1.0}
    assert statistics.mean(scores) <= task.chance(level)


def test_nothing_is_evaluated():
    """No eval, exec, compile, pickle or sympy: the policy's text is data."""
    source = Path(reward.__file__).read_text()
    names = {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
    assert not names & {"eval", "exec", "compile", "__import__"}
    assert not any(
        word in source for word in ("import pickle", "sympy", "literal_eval")
    )


def test_answers_of_chain_are_spread_evenly():
    """With '*' among the operations 0 would be the answer to every fifth problem."""
    rng = random.Random(3)
    counts = Counter(TASKS["chain"].generate(3, rng).data[-1] for _ in range(5000))
    assert max(counts.values()) / 5000 < TASKS["chain"].chance(3) + 0.02


def test_chain_value_against_python():
    rng = random.Random(4)
    for _ in range(300):
        text, value = TASKS["chain"].generate(5, rng).data
        terms = re.findall("[+-]?[0-9]", text)
        total = sum(map(int, terms))
        assert len(terms) == 6
        assert total % 10 == int(value)


def test_splits_are_by_content_and_disjoint():
    """Two seeds may draw the same problem: it must land in the same split."""
    for name in PUZZLES:
        keys = {}
        for split in reward.SPLITS:
            rng = random.Random(split)
            drawn = {TASKS[name].draw(3, split, rng).key for _ in range(2000)}
            for key in drawn:
                assert keys.setdefault(key, split) == split, f"{key} in two splits"


def test_split_sizes():
    """Base, RL, calibration and test get 60, 25, 5 and 10 percent of all problems."""
    counts = Counter(
        reward.split_of(f"add {i}+{j}") for i in range(100) for j in range(100)
    )
    shares = {"base": 0.60, "rl": 0.25, "calibrate": 0.05, "test": 0.10}
    for split, share in shares.items():
        assert abs(counts[split] / 10_000 - share) < 0.02


def test_a_planted_leak_is_caught():
    """A test problem among the training prompts must not pass the guard."""
    leak = TASKS["chain"].draw(3, "test", random.Random(5))
    reward.check_split(leak, "test")
    with pytest.raises(AssertionError, match="is in test, not rl"):
        reward.check_split(leak, "rl")


def test_order_of_summands_is_one_problem():
    """588+466 in training must rule out 466+588 in the test."""
    task = TASKS["add"]
    seen = {}
    rng = random.Random(6)
    for _ in range(2000):
        problem = task.generate(1, rng)
        pair = frozenset(problem.data[:2])
        assert seen.setdefault(pair, problem.key) == problem.key


def test_small_levels_are_not_tested_on():
    """chain with 2 operations has 4,000 problems: a model memorises them."""
    assert TASKS["chain"].space(2) == 4_000
    assert TASKS["chain"].test_levels([1, 2, 3, 4]) == [3, 4]
    assert TASKS["add"].space(2) == 4_095
    assert TASKS["add"].test_levels([1, 2, 3]) == [3]


def test_share_of_thoughts():
    """The base imitates this share, so the corpus has to have it."""
    rng, task = random.Random(7), TASKS["chain"]
    corpus = Corpus(think_share=0.3)
    shown = [
        task.demonstrate(task.generate(2, rng), corpus, rng).segments[0][0] == "["
        for _ in range(4000)
    ]
    assert abs(statistics.mean(shown) - 0.3) < 0.025


def test_level_skew():
    """exp(-skew * level): with skew ln 2 each level is half as frequent as the last."""
    rng = random.Random(8)
    corpus = Corpus(skew=0.6931472)
    counts = Counter(reward.draw_level([1, 2, 3], corpus, rng) for _ in range(7000))
    for level, share in ((1, 4 / 7), (2, 2 / 7), (3, 1 / 7)):
        assert abs(counts[level] / 7000 - share) < 0.02


def test_weak_demonstrators_guess():
    """All weak: right no more often than chance."""
    rng, task = random.Random(9), TASKS["chain"]
    right = [
        task.demonstrate(task.generate(3, rng), Corpus(weak=1.0), rng).right
        for _ in range(2000)
    ]
    assert abs(statistics.mean(right) - 0.1) < 0.03


def play(task, level, hidden, policy):
    """One episode of guess; policy maps (low, high) to the next number."""
    n, turns = task.size(level)
    env = task.env(Problem("guess", level, "", "", (n, turns, hidden)), 0)
    low, high, done = 0, n - 1, False
    while not done:
        guess = policy(low, high)
        said, done = env.step(task.symbols[guess])
        low, high = (guess + 1, high) if said == ">" else (low, guess - 1)
        assert done or said in "<>"
    return env.score()


@pytest.mark.parametrize("level, ceiling", [(1, 7 / 8), (2, 15 / 16), (3, 31 / 32)])
def test_bisection_reaches_the_ceiling_of_guess(level, ceiling):
    """(2^turns - 1) / n exactly, over every hidden number."""
    task = TASKS["guess"]
    n, _ = task.size(level)
    scores = [play(task, level, h, lambda a, b: (a + b) // 2) for h in range(n)]
    assert statistics.mean(scores) == ceiling == task.ceiling(level)


def test_linear_scan_reaches_chance_of_guess():
    """The corpus's linear demonstrator finds 4 of 16 numbers."""
    task = TASKS["guess"]
    assert (
        statistics.mean(play(task, 2, h, lambda a, b: a) for h in range(16)) == 4 / 16
    )


def test_a_wasted_guess_costs_a_turn():
    """No symbol outside the range helps, and a win needs the number itself."""
    task = TASKS["guess"]
    env = task.env(Problem("guess", 2, "", "", (16, 4, 3)), 0)
    assert [env.step(text)[1] for text in ("z", "\n", "dd", "")] == [False] * 3 + [True]
    assert env.score() == 0.0


def test_unfinished_episodes_score_nothing():
    for name, task in TASKS.items():
        problem = task.generate(task.levels[0], random.Random(0))
        assert task.env(problem, 0).score() == 0.0, name


def test_guess_is_tested_on_every_number():
    """Drawn at random, 512 hidden numbers would move the ceiling by a point or two."""
    problems = TASKS["guess"].test_problems(2, 512)
    assert Counter(p.data[2] for p in problems) == {i: 32 for i in range(16)}


def test_a_larger_number_is_no_win():
    """Hidden d: '<' after p, '>' after a, and only d itself solves."""
    task = TASKS["guess"]
    env = task.env(Problem("guess", 2, "", "", (16, 4, 3)), 0)
    assert [env.step(symbol) for symbol in "pad"] == [
        ("<", False),
        (">", False),
        ("", True),
    ]
    assert env.score() == 1.0
