"""Tasks: problems, verifiers, demonstrations, splits, environments."""

import ast
import itertools
import random
import re
import statistics
import time
import warnings
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import model
import reward
from reward import TASKS, Corpus, Problem

PUZZLES = [name for name, task in TASKS.items() if isinstance(task, reward.Puzzle)]
LEVELS = [(name, level) for name, task in TASKS.items() for level in task.levels]


@pytest.mark.parametrize("name, level", LEVELS)
def test_demonstrations_are_right_and_fit_the_cap(name, level):
    """A cap below the longest demonstration teaches the policy not to think."""
    task, rng = TASKS[name], random.Random(0)
    longest = prompt = 0
    for _ in range(300):
        problem = task.draw(level, "base", rng)
        demo = task.demonstrate(problem, Corpus(think_share=1.0), rng)
        # A good demonstrator solves every puzzle and map, not every game of chance.
        assert demo.right or name in ("guess", "tool", "count")
        longest = max(longest, sum(map(len, demo.segments)))
        prompt = max(prompt, len(problem.prompt))
        model.encode(problem.prompt + "".join(demo.segments))
    assert longest <= task.max_tokens(level) and prompt <= task.prompt_tokens(level)
    # Where lengths vary the longest is rare; elsewhere the cap is exact, but for sums
    # that need not carry into another digit.
    slack = {"add": 2, "guess": 0, "chain": 0, "knight": 0, "path": 0, "compose": 0}
    if name in slack:
        assert task.max_tokens(level) - slack[name] <= longest
        assert prompt == task.prompt_tokens(level)


@pytest.mark.parametrize("name, level", LEVELS)
def test_bad_demonstrations_fit_the_cap_too(name, level):
    """Noise and weak demonstrators write at most as much."""
    task, rng = TASKS[name], random.Random(1)
    for corpus in (Corpus(1.0, 0.5), Corpus(0.0, 0.5), Corpus(0.5, 0.0, 0.0, 1.0)):
        for _ in range(100):
            demo = task.demonstrate(task.generate(level, rng), corpus, rng)
            assert sum(map(len, demo.segments)) <= task.max_tokens(level)
            assert all(c not in model.ENV_ONLY for s in demo.segments[::2] for c in s)


@pytest.mark.parametrize("name", ["chain", "add"])
def test_noise_spoils_steps_and_is_noticed(name):
    """`right` must be the verifier's word, also where a demonstration went wrong."""
    task, rng = TASKS[name], random.Random(1)
    right = []
    for _ in range(1000):
        problem = task.draw(4, "base", rng)
        demo = task.demonstrate(problem, Corpus(think_share=1.0, noise=0.2), rng)
        right.append(task.verify(problem, demo.segments[0]))
        assert right[-1] == demo.right
    # A step goes wrong with probability 0.2 and then hits the right result by luck
    # (1 in 10 or 20), or is saved by later errors; 4 steps: about 0.82^4 = 0.45.
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


COUNT, KNIGHT = "N3,5,7=22:", "KA>B-;B>C=A;C>A+&B-:"
PATH, COMPOSE = "Pcb,ek,ac,kp,ae,bl;ap:", "FXRU,gjgb:"


@pytest.mark.parametrize(
    "prompt, answer, verdict",
    [
        (COUNT, "3*5+7", True),
        (COUNT, "7+(5*3)", True),  # another right answer
        (COUNT, "3+5+7", False),  # 15
        (COUNT, "15+7", False),  # not the numbers given
        (COUNT, "3*5+7+3-3", False),  # one of them three times
        (COUNT, "22", False),
        (COUNT, "+3*5+7", False),
        (COUNT, "3*5+07", False),
        (COUNT, "3*5+7.0", False),
        (COUNT, "3**5+7", False),
        (COUNT, "3*5+7=22", False),
        ("N2,3=8:", "2**3", False),
        ("N2,7=3:", "7//2", False),
        ("N1,5=1:", "1.5", False),
        ("N9,9,9=9:", "9**9**9", False),
        ("N9,9=1:", "9/9", True),
        ("N5,5=1:", "5/(5-5)", False),
        ("N3,5=108:", "3+5+1e2", False),
        ("N3,5=108:", "3+5+0x64", False),
        ("N3,5=8:", "3+5#", False),
        ("N3,5=8:", "((((3+5))))", True),
        ("N3,5=8:", "(" * 20 + "3+5" + ")" * 20, False),  # beyond 40 characters
        ("N3,5=8:", "__import__('os') or 3+5", False),
        (KNIGHT, "A-B+C-", True),  # by hand: see the test below
        (KNIGHT, "A+B-C-", False),
        (KNIGHT, "B+A-C-", False),  # order of the names
        (KNIGHT, "A-B+", False),
        (KNIGHT, "A-B+C-C-", False),
        (KNIGHT, "-+-", False),
        (PATH, "aekp", True),
        (PATH, "ap", False),
        (PATH, "ekp", False),
        (PATH, "aek", False),
        (PATH, "acbl", False),  # the other arm
        (PATH, "aeaekp", False),
        (PATH, "a,e,k,p", False),
        (COMPOSE, "ggjb", True),
        (COMPOSE, "GGJB", False),
        (COMPOSE, "ggjb ", False),
        (COMPOSE, "gjgb", False),
    ],
)
def test_answers(prompt, answer, verdict):
    """Worked out by hand, with the tricks that fooled published verifiers."""
    task = next(t for t in TASKS.values() if t.form.fullmatch(prompt))
    assert task.verify(task.read(prompt), answer + "\n") is verdict
    assert task.verify(task.read(prompt), f"[what you like]{answer}\n") is verdict


def test_knights_by_hand():
    """A+: B is a knave, so C and A differ: C is a knave who says A+&B-, which is true.
    A-: B is a knight, so C and A are of a kind: C is a knave, and A+&B- is false."""
    task = TASKS["knight"]
    assert task.solutions(task.read(KNIGHT)) == [{"A": "-", "B": "+", "C": "-"}]


def truth(claim, world):
    """A second reading of the claims, by cases."""
    if claim[1] in "=~":
        return (world[claim[0]] is world[claim[2]]) is (claim[1] == "=")
    parts = [
        world[x] is (sign == "+")
        for x, sign in zip(
            *[iter(claim.replace("&", "").replace("|", ""))] * 2, strict=True
        )
    ]
    return min(parts) if "&" in claim else max(parts)


@pytest.mark.parametrize("level", [3, 4, 5])
def test_every_knight_puzzle_has_one_solution(level):
    """Among all 2^n worlds, by brute force; the demonstration names it."""
    task, rng = TASKS["knight"], random.Random(20)
    for _ in range(60):
        problem = task.generate(level, rng)
        names, claims = problem.data
        good = []
        for signs in itertools.product([True, False], repeat=level):
            world = dict(zip(names, signs, strict=True))
            pairs = zip(names, claims, strict=True)
            if all(world[who] is truth(claim, world) for who, claim in pairs):
                good.append("".join(n + "-+"[world[n]] for n in names))
        assert len(good) == 1
        assert task.verify(problem, good[0] + "\n")
        assert task.think(problem, 0.0, rng)[1] == good[0]
        wrong = good[0].translate(str.maketrans("+-", "-+"))
        assert not task.verify(problem, wrong + "\n")


@pytest.mark.parametrize("level", [3, 4, 5])
def test_number_of_knight_puzzles(level):
    """Every form of every claim, counted where one of the two worlds is left."""
    total = 0
    for before in itertools.product(*[range(i + 1) for i in range(level - 1)]):
        worlds = []
        for first in (1, -1):
            signs = [first]
            for i, other in enumerate(before):  # i: alone, less: compared with it
                signs.append(signs[i] * (1 if other == i else signs[other]))
            worlds.append(signs)
        for x, y in itertools.combinations(range(level - 1), 2):
            values = [(w[x], w[y], w[-1]) for w in worlds]
            for a, b in itertools.product((1, -1), repeat=2):
                for op in (min, max):
                    ok = [(op(u * a, v * b) == z) for u, v, z in values]
                    total += sum(ok) == 1
            for kind in (1, -1):
                ok = [(u * v * kind == z) for u, v, z in values]
                total += sum(ok) == 1
    assert total * 2 ** (level - 1) == TASKS["knight"].spaces[level]


def test_knight_answers_are_spread_evenly():
    """No world is likelier than 1 in 2^n: a constant guess gains nothing."""
    task, rng = TASKS["knight"], random.Random(21)
    answers = Counter(
        task.think(task.generate(3, rng), 0.0, rng)[1] for _ in range(4000)
    )
    assert len(answers) == 8 and max(answers.values()) / 4000 < task.chance(3) + 0.02


def test_expressions_against_python():
    """100,000 random strings: accepted where ast and Fraction do, with their value."""

    def oracle(node):
        ops = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
        if isinstance(node, ast.BinOp) and type(node.op) in ops:
            a, b = oracle(node.left), oracle(node.right)
            return {
                "+": lambda: a + b,
                "-": lambda: a - b,
                "*": lambda: a * b,
                "/": lambda: a / b,
            }[ops[type(node.op)]]()
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return Fraction(node.value)
        raise SyntaxError

    rng, accepted = random.Random(22), 0
    for _ in range(20_000):
        text = "".join(rng.choices("1234567890+-*/()", k=rng.randint(1, 9)))
        found = reward.parse_expression(text)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = oracle(ast.parse(text, mode="eval").body)
        except (SyntaxError, ZeroDivisionError):
            expected = None
        if found is None:
            # Python takes what we do not: numbers of 5 digits and more.
            assert expected is None or re.search("[0-9]{5}|0[0-9]", text), text
        else:
            accepted += 1
            assert found[0] == expected, text
            assert found[1] == [int(n) for n in re.findall("[0-9]+", text)]
    assert accepted > 2000


@pytest.mark.parametrize("level", [1, 2, 3])
def test_paths_are_unique(level):
    """Every way from the start, followed to its end: one of them meets the goal."""
    task, rng = TASKS["path"], random.Random(23)
    arms, length = task.shapes[level]
    for _ in range(100):
        problem = task.generate(level, rng)
        edges, start, goal = problem.data
        ways = [start]
        while any(e[0] == w[-1] for w in ways for e in edges):
            ways = [w + e[1] for w in ways for e in edges if e[0] == w[-1]]
        assert len(ways) == arms and {len(w) for w in ways} == {length + 1}
        verdicts = [task.verify(problem, w + "\n") for w in ways]
        assert verdicts == [w[-1] == goal for w in ways] and sum(verdicts) == 1


def test_functions_by_hand():
    found = {n: f("abcj") for n, f in TASKS["compose"].functions.items()}
    assert found == {
        "R": "jcba",
        "U": "bcja",
        "S": "jbca",
        "X": "bacj",
        "D": "aabc",
        "I": "bcda",
    }


def test_the_held_out_pair_is_held_out():
    """UX in every shifted problem and in no other."""
    task, rng = TASKS["compose"], random.Random(24)
    assert not any("UX" in task.generate(4, rng).data[0] for _ in range(2000))
    assert all("UX" in task.shifted(4, rng).data[0] for _ in range(200))
    # 6^3 = 216 strings of three, less 6 UX. and 6 .UX
    assert task.space(3) == 204 * 10**4


def test_count_needs_a_search():
    """Targets are positive, the last try of a thought hits, its sums are right."""
    task, rng = TASKS["count"], random.Random(25)
    for _ in range(200):
        problem = task.generate(3, rng)
        thought, answer = task.think(problem, 0.0, rng)
        assert task.accepts(problem, answer)
        assert int(thought.split("=")[-1]) == problem.data[1] > 0
        for a, op, b, c in re.findall("([0-9]+)([+-])([0-9]+)=([0-9]+)", thought):
            assert int(c) == int(a) + (int(b) if op == "+" else -int(b))


def play_tool(prompt, seed, *actions):
    task = TASKS["tool"]
    env = task.env(task.read(prompt), seed)
    return env, [env.step(action) for action in actions]


def test_tool_by_hand():
    """590 - 52 with a calculator that works, then one that never does."""
    task = TASKS["tool"]
    problem = task.read("T59*9+52:")
    sound = replace(problem, data=(*problem.data[:2], 0.0))
    env = task.env(sound, 0)
    turns = ["c59*9\n", "c531+52\n", "c5-9\n", "c05+1\n", "=583\n"]
    said = [env.step(turn) for turn in turns]
    texts = ["{531}", "{583}", "{-4}", "{?}", ""]
    assert said == [(text, text == "") for text in texts]
    assert (env.score(), env.turns, env.invalid, env.failed) == (1.0, 5, 1, False)
    env = task.env(replace(problem, data=(*problem.data[:2], 1.0)), 0)
    said = [env.step("c59*9\n") for _ in range(6)]
    assert said == [("{E}", False)] * 5 + [("", True)]  # the budget is six turns
    assert env.failed and env.score() == 0.0


@pytest.mark.parametrize("level, ceiling", [(1, 0.98976), (2, 0.91296), (3, 0.68256)])
def test_trying_again_reaches_the_ceiling_of_tool(level, ceiling):
    """P(Binomial(5, 0.6) >= level), worked out by hand, and as simulated."""
    task, rng = TASKS["tool"], random.Random(26)
    assert task.ceiling(level) == pytest.approx(ceiling, abs=1e-9)
    retry = Corpus(think_share=1.0)
    right = [
        task.demonstrate(task.generate(level, rng), retry, rng).right
        for _ in range(3000)
    ]
    assert abs(statistics.mean(right) - ceiling) < 0.025


def test_giving_up_is_common_among_the_demonstrators_of_tool():
    """A failed call is recovered from in the share that shows how, not otherwise."""
    task, rng = TASKS["tool"], random.Random(27)
    for share, low, high in ((0.0, 0.0, 0.1), (1.0, 0.9, 1.0)):
        demos = [
            task.demonstrate(task.generate(1, rng), Corpus(share), rng)
            for _ in range(1000)
        ]
        hit = [demo.right for demo in demos if "{E}" in demo.segments]
        assert 300 < len(hit) < 500 and low <= statistics.mean(hit) <= high


def test_grid_by_hand():
    """Key at 01, door at 00, wall at 11 of a 3 x 3 map; start at 21.

    d k .
    . # .
    . @ .
    """
    task = TASKS["grid"]
    problem = task.read("M3@21k01d00#11:")
    assert problem.data[6] == 5 + 4  # l u u r, then l; and four more
    env = task.env(problem, 0)
    moves = {"u": "{21}", "x": "{21}", "l": "{20}"}  # a wall, no move, a move
    assert [env.step(m) for m in moves] == [(said, False) for said in moves.values()]
    said = [env.step(m)[0] for m in "uu"]
    assert said == ["{10}", "{00}"]  # the door, but without the key
    assert env.step("r") == ("{01k}", False) and env.step("l") == ("", True)
    assert env.score() == 1.0 and env.invalid == 1 and not env.failed


def test_maps_that_cannot_be_solved_are_refused():
    for prompt in ("M3@21k01d01#11:", "M3@21k01d33#11:", "M4@00k33d32#01#10:"):
        with pytest.raises(ValueError, match="no grid problem"):
            TASKS["grid"].read(prompt)


def test_a_map_and_its_mirror_image_are_one_problem():
    """Turned by a quarter, mirrored, and walls in another order: one key."""
    read = TASKS["grid"].read
    key = read("M4@21k01d00#11#32:").key
    assert read("M4@21k01d00#32#11:").key == key
    assert read("M4@22k02d03#12#31:").key == key  # columns mirrored
    assert read("M4@11k31d30#21#02:").key == key  # rows mirrored
    assert read("M4@12k10d00#11#23:").key == key  # rows for columns
    assert read("M4@21k01d10#11#32:").key != key


def test_moves_slip_as_often_as_asked():
    """Three in four slips go another way than meant: 0.4 * 0.75."""
    task, rng = TASKS["grid"], random.Random(28)
    failed = []
    for seed in range(2000):
        env = task.env(task.slippery(task.generate(4, rng), 0.4), seed)
        env.step("u")
        failed.append(env.failed)
    assert abs(statistics.mean(failed) - 0.3) < 0.03
    assert task.shifted(4, rng).data[5] == 0.2 and task.generate(4, rng).data[5] == 0


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
            # Only an environment can write these: nobody can fake what it said.
            assert re.fullmatch(r"|[<>]|\{[^{}]*\}", said)
        scores.append(env.score())
    assert set(scores) <= {0.0, 1.0}
    assert statistics.mean(scores) <= task.chance(level)


def strings(rng, alphabet, count):
    """Random, nearly right, and hostile text."""
    hostile = ["9**9**9", "(" * 10_000, "[" * 10_000, "__import__('os')", "1e999"]
    hostile += ["٣", "５", "²", "\x00", "1_0", " 1", "1\n1", "", "\ud800", "-" * 5000]
    hostile += ["9" * 5000, "=" + "9" * 5000, "c1*" + "9" * 5000, "A+" * 5000]
    for i in range(count):
        if i % 10 == 0:
            yield rng.choice(hostile)
        else:
            yield "".join(rng.choices(alphabet, k=rng.randrange(24)))


def attack(name, count):
    """Feed a task's verifier strings; returns mean score and mean seconds of a call."""
    task, rng = TASKS[name], random.Random(29)
    alphabet = "0123456789[]()+-*/=;,\n" * 2 + model.CHARS + "é\x00٣"
    problems = [task.generate(level, rng) for level in task.levels[:3] for _ in "abc"]
    pool = [*strings(rng, alphabet, 2000)]
    scores, spent = [], 0.0
    for i in range(count):
        problem, text = problems[i % len(problems)], pool[rng.randrange(len(pool))]
        if i % 3 == 0:  # most of a right answer, with something odd inside
            text = str(problem.data[-1]) + (text or "x")
        env = task.env(problem, i)
        began = time.perf_counter()
        said, _ = env.step(text if env.turn_tokens else text + "\n")
        spent += time.perf_counter() - began
        scores.append(env.score())
        assert len(said) < 20
    assert set(scores) <= {0.0, 1.0}
    return statistics.mean(scores), spent / count


@pytest.mark.parametrize("name", sorted(TASKS))
def test_hostile_strings(name):
    """2,000 of them: no exception, no reward beyond chance, no long thinking."""
    score, seconds = attack(name, 2000)
    chance = max(TASKS[name].chance(level) for level in TASKS[name].levels[:3])
    assert score <= chance and seconds < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TASKS))
def test_many_hostile_strings(name):
    """100,000, in under 50 microseconds on average."""
    score, seconds = attack(name, 100_000)
    chance = max(TASKS[name].chance(level) for level in TASKS[name].levels[:3])
    print(f"{name}: {1e6 * seconds:.1f} microseconds a call, mean score {score:.4f}")
    assert score <= chance and seconds < 50e-6


@pytest.mark.parametrize("name", ["model", "rollout", "reward", "grpo", "train"])
def test_nothing_is_evaluated(name):
    """No eval, exec, compile, pickle or sympy: the policy's text is data."""
    source = (Path(reward.__file__).parent / f"{name}.py").read_text()
    banned = {"eval", "exec", "compile", "__import__"}
    modules = {"sympy", "marshal", "shelve", "subprocess", "ctypes", "importlib"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in banned
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = getattr(node.func.value, "id", "")
            assert owner not in ("pickle", "builtins", "os") or node.func.attr in (
                *("replace", "fsync", "truncate", "sysconf"),
            )
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name.split(".")[0] for alias in node.names}
            names |= {(getattr(node, "module", None) or "").split(".")[0]}
            assert not names & modules
            assert name != "reward" or "pickle" not in names


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


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"guess"}))
def test_splits_are_by_content_and_disjoint(name):
    """Two seeds may draw the same problem: it must land in the same split."""
    keys, task = {}, TASKS[name]
    for split in reward.SPLITS:
        rng = random.Random(split)
        drawn = {task.draw(task.levels[1], split, rng).key for _ in range(200)}
        for key in drawn:
            assert keys.setdefault(key, split) == split, f"{key} in two splits"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(TASKS) - {"guess"}))
def test_ten_thousand_of_each_split_are_disjoint(name):
    task, found = TASKS[name], {}
    level = next(n for n in task.levels if task.space(n) >= reward.MIN_SPACE)
    for split in ("base", "rl", "test"):
        rng = random.Random(split)
        found[split] = {task.draw(level, split, rng).key for _ in range(10_000)}
    assert not found["base"] & found["rl"] and not found["test"] & found["base"]
    assert not found["test"] & found["rl"]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_prompt_says_it_all(name):
    """Reading a prompt gives the problem back; another task's prompt is refused."""
    task, rng = TASKS[name], random.Random(30)
    for level in task.levels:
        problem = task.generate(level, rng)
        again = task.read(problem.prompt)
        assert (again.key, again.level) == (problem.key, level)
        assert name == "guess" or again.data == problem.data
    for other in sorted(set(TASKS) - {name}):
        with pytest.raises(ValueError, match=f"no {name} problem"):
            task.read(TASKS[other].generate(TASKS[other].levels[0], rng).prompt)
    for text in ("", ":", problem.prompt[:-1], problem.prompt * 2, "é"):
        with pytest.raises(ValueError, match=f"no {name} problem"):
            task.read(text)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_test_sets(name):
    """Four fixed sets: held out, in their place, and the same each time."""
    task = TASKS[name]
    levels = {"grid": [3, 4], "guess": [2], "knight": [3, 4, 5], "tool": [1, 2]}
    levels = [n for n in levels.get(name, [1, 2, 3]) if n in task.levels]
    sets = task.test_sets(levels)
    assert set(sets) == {"id", "easy", "hard", "shift"}
    assert min(sets["hard"]) > max(levels) and set(sets["id"]) <= set(levels)
    assert max(sets["easy"]) <= min(sets["id"])
    usual = task.test_problems(sets["id"][0], 32)
    shifted = task.test_problems(sets["id"][0], 32, shifted=True)
    assert usual == task.test_problems(sets["id"][0], 64)[:32]
    for problem in [*usual, *shifted]:
        assert task.hidden or reward.split_of(problem.key) == "test"
    assert {p.data for p in usual}.isdisjoint(p.data for p in shifted)


def test_renamed_is_the_same_problem():
    """Other letters, names or nodes must not smuggle a test problem into training."""
    pairs = [
        ("chain", "C3a+5b-9:", "C3x+5y-9:"),
        ("knight", "KA>B-;B>C=A;C>A+&B-:", "KP>Q-;Q>R=P;R>P+&Q-:"),
        ("path", "Pcb,ek,ac,kp,ae,bl;ap:", "PCB,EK,AC,KP,AE,BL;AP:"),
        ("count", "N3,5,7=15:", "N7,3,5=15:"),
    ]
    for name, a, b in pairs:
        assert TASKS[name].read(a).key == TASKS[name].read(b).key
    read = TASKS["path"].read
    assert read("Pcb,ek,ac,kp,ae,bl;ap:").key != read("Pcb,ek,ac,kp,ae,bl;al:").key


def test_sums_of_another_task_do_not_leak():
    """A calculator must not recite the sums that `add` is tested on."""
    add, rng = TASKS["add"], random.Random(31)
    a, b, _ = add.draw(3, "test", rng).data
    c, d, _ = add.draw(3, "base", rng).data
    assert reward.leaks(f"T59*9+52:c{a}+{b}\n{{{a + b}}}")
    assert reward.leaks(f"x{b}+{a}=")
    assert not reward.leaks(f"T59*9+52:c{c}+{d}\n")
    assert not reward.leaks("C3a+5b-9:[3a+5=8;8b-9=9]9")
    task = TASKS["tool"]
    for _ in range(300):
        assert not reward.leaks(task.trace(task.draw(2, "rl", rng)))


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
    assert task.problem(588, 466).key == task.problem(466, 588).key
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
