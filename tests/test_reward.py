"""Tasks: problems, verifiers, demonstrations, splits, environments."""

import ast
import random
import re
import runpy
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

import model
import reward
import train
from reward import TASKS, Corpus, find_task, of_level, split_of

ROOT = Path(reward.__file__).parent
FILES = {path.stem for path in ROOT.glob("docs/tasks/*.py")} - {"tasks"}
ALL = TASKS | {name: find_task(name) for name in sorted(FILES)}
LEVELS = [(name, level) for name, task in ALL.items() for level in task.levels]
EXACT = ("chain", "knight", "path", "compose", "guess", "reverse", "grid")


def show(problem, corpus, rng):
    """A demonstration, and if the verifier accepts it when it is written again."""
    demo = problem.task.demonstrate(problem, corpus, rng)
    env = problem.task.env(problem, 0)
    for turn in demo[::2]:
        env.step(turn)
    return demo, env.solved


@pytest.mark.parametrize("name, level", LEVELS)
def test_demonstrations_are_right_and_fit_the_cap(name, level):
    """`max_new` is a quarter above the longest measured: a cap below a demonstration
    teaches the policy not to think. Good, noisy and weak ones; other draws than those
    that were measured."""
    task, rng = ALL[name], random.Random(0)
    prompt, rest = task.longest(level)
    good, spoilt = Corpus(think_share=1.0), Corpus(1.0, noise=0.5)
    for corpus in (good, spoilt, Corpus(0.0, noise=0.5), Corpus(0.5, weak=1.0)):
        for _ in range(200):
            problem = task.generate(level, rng)
            demo, right = show(problem, corpus, rng)
            # A good demonstrator solves every puzzle and map, not every game of chance.
            assert corpus != good or right or name in ("guess", "tool", "count")
            size = sum(map(len, demo))
            assert size <= (rest if name in EXACT else rest + rest // 4)
            # A longer prompt than measured would not fit the context: the run ends.
            assert len(problem.prompt) <= prompt
            model.encode(problem.prompt + "".join(demo))
            written = "".join(demo[::2])
            assert not isinstance(task, reward.Puzzle) or task.stated(written)
            assert not set(written) & set(model.ENV_ONLY)


def test_lengths_by_hand():
    """A run's context and room for answers follow from these."""
    longest = {name: task.longest for name, task in ALL.items()}
    assert longest["chain"](3) == (12, 24)  # C3a+5b-9c+1: and [3a+5=8;8b-9=9;9c+1=0]0
    assert longest["knight"](3) == (20, 60)  # KA>B-;B>C=A;C>A+&B-:
    assert longest["guess"](2) == (4, 7)  # Gp4: and h>l<j>k
    # N30,30,30,30=120: is too rare to be measured.
    assert longest["count"](4) == (17, 121)
    # 16 turns of u{13k}, the last without an answer
    assert longest["grid"](4) == (18, 91)


@pytest.mark.parametrize("name", ["chain", "add"])
def test_noise_spoils_steps_and_is_noticed(name):
    """A demonstration that went wrong is none that the verifier accepts."""
    task, rng = ALL[name], random.Random(1)
    problems = [task.draw(4, "base", rng) for _ in range(1000)]
    spoilt = Corpus(think_share=1.0, noise=0.2)
    right = [show(problem, spoilt, rng)[1] for problem in problems]
    # A step goes wrong with probability 0.2 and then hits the right result by luck
    # (1 in 10 or 20), or is saved by later errors; 4 steps: about 0.82^4 = 0.45.
    assert 0.35 < statistics.mean(right) < 0.6


CHAIN, ADD = "C3a+5b-9:", "Aa5+p8:"
COUNT, KNIGHT = "N3,5,7=22:", "KA>B-;B>C=A;C>A+&B-:"
PATH, COMPOSE = "Pcb,ek,ac,kp,ae,bl;ap:", "FXRU,gjgb:"


def verify(prompt, text):
    task = next(task for task in ALL.values() if task.form.fullmatch(prompt))
    return task.verify(task.read(prompt), text)


RIGHT = {CHAIN: ["9", "[3a+5=8;8b-9=9]9", "[anything but brackets]9", "[]9"]}
RIGHT |= {"Rabc:": ["[c,cb,cba]cba"], ADD: ["13", "[31]13"]}
WRONG = {
    # Arabic-Indic nine; a right answer before the end, behind it or not in its place
    CHAIN: ["8", "09", "9 ", "9\n", "9\n9", "[1][2]9", "[[1]]9", "[1]9[2]", "[9", "9]"]
    + ["", "٩"],
    "Rabc:": ["abc"],
    ADD: ["+13", "013", "1_3", "13.0", "0xd", "5+8", "9**9**9", "__import__('os')"]
    + ["[" * 10_000 + "13"],
}


def test_verdicts():
    """One rule for every puzzle: [thought]answer, ended, canonical, and right."""
    for prompt, texts in RIGHT.items():
        for text in texts:
            assert verify(prompt, text + "\n") is True, text
            assert verify(prompt, text) is False, text  # not ended
    for prompt, texts in WRONG.items():
        for text in texts:
            assert verify(prompt, text + "\n") is False, text


ANSWERS = {  # right and wrong
    COUNT: ("3*5+7 7+(5*3)", "3+5+7 15+7 3*5+7+3-3 22"),  # each number once
    "N9,9=1:": ("9/9", ""),
    "N3,5=8:": ("((((3+5))))", "(" * 20 + "3+5" + ")" * 20),  # beyond 40 characters
    KNIGHT: ("A-B+C-", "A+B-C- B+A-C- A-B+ A-B+C-C- -+-"),  # by hand: see below
    PATH: ("aekp", "ap ekp aek acbl a,e,k,p"),  # acbl is the other arm
    "Pab,ba,ac;ac:": ("ac", "abac"),  # to a node twice
    COMPOSE: ("ggjb", "GGJB gjgb"),
}


def test_answers():
    """Worked out by hand, with the tricks that fooled published verifiers."""
    for prompt, (right, wrong) in ANSWERS.items():
        for answer in right.split() + wrong.split():
            verdict = answer in right.split()
            assert verify(prompt, answer + "\n") is verdict, answer
            assert verify(prompt, f"[what you like]{answer}\n") is verdict, answer


def test_an_open_thought_is_closed_once():
    """After its budget; then the policy answers, at any length. A closed thought is not
    closed again: what follows would have no legal form."""
    problem = reward.interrupted(TASKS["chain"].read(CHAIN), 4)
    for written, said, rest in (("[3a+", "]", "9\n"), ("[3]9", "", "\n")):
        env = problem.task.env(problem, 0)
        assert env.turn_tokens == 4
        assert env.step(written) == (said, False) and env.turn_tokens == 0
        assert env.step(rest) == ("", True) and env.score() == 1.0


def test_knights_by_hand():
    """A+: B is a knave, so C and A differ: C is a knave who says A+&B-, which is true.
    A-: B is a knight, so C and A are of a kind: C is a knave, and A+&B- is false."""
    task = find_task("knight")
    thought, answer = task.think(task.read(KNIGHT), 0.0, random.Random(0))
    assert thought == "A+(B-)B-(C=A+)C-(A++&B--)!A-(B-)B+(C=A-)C-(A-+&B+-)"
    assert answer == "A-B+C-"
    world = {"A": "+", "B": "+"}
    assert not task.holds("A+&B-", world) and task.holds("A+|B-", world)


NO_EXPRESSIONS = (
    "00 07 10000 +1 1+-1 2**3 9**9**9 7//2 1_0 1e2 0x1 1.0 1j a 1,2 (1,) () 1(2) "
    "(1)(2) 1/0 1/(2-2) ² ٣ 1# 3+5=8 \x00 \ud800 __import__('os')"
)


def test_expressions_by_hand():
    """Nothing but + - * / ( ) and plain numbers; whatever else there is gives None."""
    read = reward.load(ROOT / "docs/tasks/count.py").parse_expression
    assert read("(3*5+7)-(22/11)*4+(((9)))") == (23, [3, 5, 7, 22, 11, 4, 9])
    assert read("1/3") == (Fraction(1, 3), [1, 3])
    assert read("(" * 19 + "9999" + ")" * 17) is None
    assert read("(" * 18 + "9999" + ")" * 18) == (9999, [9999])
    assert read("(" * 20 + "1" + ")" * 20) is None  # 41 characters
    odd = ["", " 1", "1 ", "1\n", "(\n1)", "(" * 10_000, "9" * 5000]
    for text in [*NO_EXPRESSIONS.split(), *odd]:
        assert read(text) is None, text


def test_functions_by_hand():
    """And UX, the pair held out, in every shifted problem and in no other."""
    task, rng = ALL["compose"], random.Random(24)
    found = {name: f("abcj") for name, f in task.functions.items()}
    assert [found[name] for name in "RUS"] == ["jcba", "bcja", "jbca"]
    assert [found[name] for name in "XDI"] == ["bacj", "aabc", "bcda"]
    assert not any("UX" in task.generate(4, rng).data.names for _ in range(2000))
    assert all("UX" in task.shifted(4, rng).data.names for _ in range(200))


def test_tool_by_hand():
    """590 - 52 with a calculator that works, then one that never does."""
    task = find_task("tool")
    problem = task.read("T59*9+52:")
    env = task.env(replace(problem, data=problem.data._replace(failure=0.0)), 0)
    turns = ["c59*9\n", "c531+52\n", "c5-9\n", "c05+1\n", "=583\n"]
    said = [env.step(turn) for turn in turns]
    texts = ["{531}", "{583}", "{-4}", "{?}", ""]
    assert said == [(text, text == "") for text in texts]
    assert (env.score(), env.turns, env.invalid, env.failed) == (1.0, 5, 1, False)
    env = task.env(replace(problem, data=problem.data._replace(failure=1.0)), 0)
    said = [env.step("c59*9\n") for _ in range(6)]
    assert said == [("{E}", False)] * 5 + [("", True)]  # the budget is six turns
    assert env.failed and env.score() == 0.0


@pytest.mark.parametrize("level, ceiling", [(1, 0.98976), (2, 0.91296), (3, 0.68256)])
def test_trying_again_is_the_best_that_callers_can_do(level, ceiling):
    """P(Binomial(5, 0.6) >= level), worked out by hand, and as simulated."""
    task, rng = find_task("tool"), random.Random(26)
    retry = Corpus(think_share=1.0)
    problems = [task.generate(level, rng) for _ in range(3000)]
    right = [show(problem, retry, rng)[1] for problem in problems]
    assert abs(statistics.mean(right) - ceiling) < 0.025


def test_giving_up_is_common_among_the_demonstrators_of_tool():
    """A failed call is recovered from in the share that shows how, not otherwise."""
    task, rng = find_task("tool"), random.Random(27)
    for share, low, high in ((0.0, 0.0, 0.1), (1.0, 0.9, 1.0)):
        problems = [task.generate(1, rng) for _ in range(1000)]
        demos = [show(problem, Corpus(share), rng) for problem in problems]
        hit = [right for demo, right in demos if "{E}" in demo]
        assert 300 < len(hit) < 500 and low <= statistics.mean(hit) <= high


def test_grid_by_hand():
    """Key at 01, door at 00, wall at 11 of a 3 x 3 map; start at 21.

    d k .
    . # .
    . @ .
    """
    task = find_task("grid")
    problem = task.read("M3@21k01d00#11:")
    assert problem.data.turns == 5 + 4  # l u u r, then l; and four more
    env = task.env(problem, 0)
    moves = {"u": "{21}", "l": "{20}"}  # a wall, a move
    assert [env.step(m) for m in moves] == [(said, False) for said in moves.values()]
    assert [env.step(m)[0] for m in "uxu"] == ["{10}", "{10}", "{00}"]  # x is no move
    assert env.step("r") == ("{01k}", False) and env.step("l") == ("", True)
    assert env.score() == 1.0 and env.invalid == 1 and not env.failed


NONSENSE = {
    "grid": "M3@21k01d01#11: M3@21k01d33#11: M4@00k33d32#01#10:",  # no map, no way
    "add": "Ac5a8b8+r4q6p6: Ab0a8+q1p1:",  # letters out of order, a zero in front
    "knight": "KA>B-;B>C=A: KA>B-;B>A+;A>A=B:",  # nobody named C, two named A
    "tool": "T12-34:",  # calls take no signs
}


@pytest.mark.parametrize("name", NONSENSE)
def test_prompts_that_make_no_sense_are_refused(name):
    for prompt in NONSENSE[name].split():
        assert ALL[name].form.fullmatch(prompt)
        with pytest.raises(ValueError, match=f"no {name} problem"):
            ALL[name].read(prompt)


def test_a_map_and_its_mirror_image_are_one_problem():
    """Turned by a quarter, mirrored, and walls in another order: one key."""
    read = find_task("grid").read
    key = read("M4@21k01d00#11#32:").key
    assert read("M4@21k01d00#32#11:").key == key
    assert read("M4@22k02d03#12#31:").key == key  # columns mirrored
    assert read("M4@11k31d30#21#02:").key == key  # rows mirrored
    assert read("M4@12k10d00#11#23:").key == key  # rows for columns
    assert read("M4@21k01d10#11#32:").key != key


def test_moves_slip_as_often_as_asked():
    """Three in four slips go another way than meant: 0.4 * 0.75."""
    task, rng = find_task("grid"), random.Random(28)
    failed = []
    for seed in range(2000):
        env = task.env(task.slippery(task.generate(4, rng), 0.4), seed)
        env.step("u")
        failed.append(env.failed)
    assert abs(statistics.mean(failed) - 0.3) < 0.03
    assert task.shifted(4, rng).data.slip == 0.2
    assert task.generate(4, rng).data.slip == 0


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
    """Play a task with odd strings; mean score and seconds, and what chance pays."""
    task, rng = ALL[name], random.Random(29)
    alphabet = "0123456789[]()+-*/=;,\n" * 2 + model.CHARS + "é\x00٣"
    problems = [task.generate(level, rng) for level in task.levels[:3] for _ in "abc"]
    pool = [*strings(rng, alphabet, 2000)]
    scores, spent, done, turns = [], 0.0, True, 0
    while turns < count or not done:
        if done:
            problem = problems[turns % len(problems)]
            env = task.env(problem, turns)
            assert env.score() == 0.0  # unfinished episodes score nothing
        text = pool[rng.randrange(len(pool))]
        if env.turn_tokens and rng.random() < 0.9:
            text = rng.choice(alphabet)
        elif turns % 3 == 0:  # a right answer, with something odd behind it
            text = problem.answer + (text or "x")
        began = time.perf_counter()
        said, done = env.step(text if env.turn_tokens else text + "\n")
        spent += time.perf_counter() - began
        turns += 1
        # Only an environment can write these: nobody can fake what it said.
        assert re.fullmatch(r"|[<>]|\{[^{}]{1,15}\}", said)
        if done:
            scores.append(env.score())
    assert set(scores) <= {0.0, 1.0}
    chance = max(of_level(task.chance, level) for level in task.levels[:3])
    return statistics.mean(scores), spent / turns, chance


MANY = pytest.param(100_000, 50e-6, marks=pytest.mark.slow)


@pytest.mark.parametrize("count, seconds", [(2000, 1e-3), MANY])
@pytest.mark.parametrize("name", sorted(ALL))
def test_hostile_strings(name, count, seconds):
    """No exception, no reward beyond chance, no long thinking."""
    score, spent, chance = attack(name, count)
    assert score <= chance and spent < seconds


@pytest.mark.parametrize("name", ["model", "rollout", "reward", "grpo", "train"])
def test_nothing_is_evaluated(name):
    """No eval, exec, compile, pickle or sympy: the policy's text is data. reward.py has
    importlib, for the file that the command names."""
    source = (ROOT / f"{name}.py").read_text()
    banned = {"eval", "exec", "compile", "__import__"}
    modules = {"sympy", "marshal", "shelve", "subprocess", "ctypes"}
    modules |= {"importlib"} if name != "reward" else {"pickle"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in banned
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = getattr(node.func.value, "id", "")
            files = "open close write replace fsync truncate listdir"
            if node.func.attr not in f"{files} sysconf getpid cpu_count".split():
                assert owner not in ("pickle", "builtins", "os")
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name.split(".")[0] for alias in node.names}
            names |= {(getattr(node, "module", None) or "").split(".")[0]}
            assert not names & modules


def test_chain_against_python():
    """And its answers are spread: with '*' 0 would be that of every fifth problem."""
    rng, counts = random.Random(4), Counter()
    for _ in range(3000):
        problem = TASKS["chain"].generate(5, rng)
        terms = re.findall("[+-]?[0-9]", problem.prompt)
        assert len(terms) == 6
        assert sum(map(int, terms)) % 10 == int(problem.answer)
        counts[problem.answer] += 1
    assert max(counts.values()) / 3000 < TASKS["chain"].chance + 0.02


@pytest.mark.parametrize("name", sorted(set(ALL) - {"guess", "chain"}))
def test_small_levels_are_not_tested_on(name):
    """Of 3,000 draws from 4,095 problems 2,127 differ: few enough to learn by heart."""
    task, rng = ALL[name], random.Random(40)
    for level in task.levels[: task.levels.index(task.tested_from) + 1]:
        found = len({task.generate(level, rng).key for _ in range(3000)})
        assert (found > 2300) == (level >= task.tested_from), (level, found)
    cfg = train.make_config(task=name)
    vars(cfg)["level_list"] = task.levels[: task.levels.index(level) + 1]
    assert {problem.level for problem in reward.test_set(cfg)} == {level}


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_prompt_says_it_all(name):
    """Reading a prompt gives the problem back; another task's prompt is refused."""
    task, rng = ALL[name], random.Random(30)
    for level in task.levels:
        problem = task.generate(level, rng)
        again = task.read(problem.prompt)
        assert (again.key, again.level) == (problem.key, level)
        assert name == "guess" or again == problem
    for other in sorted(set(ALL) - {name}):
        with pytest.raises(ValueError, match=f"no {name} problem"):
            task.read(ALL[other].generate(ALL[other].levels[0], rng).prompt)
    for text in ("", ":", problem.prompt[:-1], problem.prompt * 2, "é"):
        with pytest.raises(ValueError, match=f"no {name} problem"):
            task.read(text)


@pytest.mark.parametrize("name", sorted(ALL))
def test_test_problems(name):
    """Held out, the same each time, the first of more; a shifted form is another."""
    task = ALL[name]
    usual = task.test_problems(task.tested_from, 32)
    assert usual == task.test_problems(task.tested_from, 64)[:32]
    shifted = []
    if name in ("tool", "grid", "compose"):
        draw = runpy.run_path(ROOT / "docs/tasks/tasks.py")["shifted_problems"]
        shifted = draw(task, task.tested_from, 32)
        # A fourth function or a failing tool: the prompt may be one that is usual.
        assert {p.data for p in usual}.isdisjoint(p.data for p in shifted)
    drawn = {"test": [*usual, *shifted]}
    for split in reward.SPLITS:
        drawn.setdefault(split, [])
        for i in range(99):
            drawn[split].append(task.draw(task.levels[1], split, random.Random(i)))
    for split, problems in drawn.items():
        found = {split_of(problem.key) for problem in problems}
        assert task.hidden or found == {split}  # a leak would be learned by heart


def test_renamed_is_the_same_problem():
    """Other letters, names or nodes must not smuggle a test problem into training."""
    pairs = [
        ("chain", "C3a+5b-9:", "C3x+5y-9:"),
        ("knight", "KA>B-;B>C=A;C>A+&B-:", "KP>Q-;Q>R=P;R>P+&Q-:"),
        ("path", "Pcb,ek,ac,kp,ae,bl;ap:", "PCB,EK,AC,KP,AE,BL;AP:"),
        ("count", "N3,5,7=15:", "N7,3,5=15:"),
        ("add", "Ac5b8a8+r4q6p6:", "Ac4b6a6+r5q8p8:"),  # 588 + 466
    ]
    for name, a, b in pairs:
        assert ALL[name].read(a).key == ALL[name].read(b).key
    read = ALL["path"].read
    assert read("Pcb,ek,ac,kp,ae,bl;ap:").key != read("Pcb,ek,ac,kp,ae,bl;al:").key


def test_split_sizes():
    """Base, RL, labels and test get 60, 25, 5 and 10 percent of all problems."""
    counts = Counter(split_of(f"add {i}") for i in range(10_000))
    shares = {"base": 0.60, "rl": 0.25, "label": 0.05, "test": 0.10}
    assert all(abs(counts[n] / 10_000 - shares[n]) < 0.02 for n in shares)


def test_teachers_of_the_corpus():
    """The base imitates the share of thoughts, so the corpus has to have it; the weak
    are right no more often than chance."""
    rng, task = random.Random(7), TASKS["chain"]
    problems = [task.generate(3, rng) for _ in range(4000)]
    demos = [task.demonstrate(problem, Corpus(0.3), rng) for problem in problems]
    shown = [demo[0][0] == "[" for demo in demos]
    assert abs(statistics.mean(shown) - 0.3) < 0.025
    right = [show(problem, Corpus(weak=1.0), rng)[1] for problem in problems]
    assert abs(statistics.mean(right) - 0.1) < 0.025
    games = [TASKS["guess"].generate(2, rng) for _ in right]
    # Who shows a thought guesses what is still possible.
    right = [show(game, Corpus(1.0), rng)[1] for game in games]
    assert 0.5 < statistics.mean(right) < 0.7


def test_demonstrations_show_shallow_levels_in_stretched_places():
    """Levels 1 to 4 alike; places in order, somewhere in 0 .. 110, to the far end."""
    cfg = train.make_config(think_share=0.0, pretrain_batch=4000)
    columns, lengths = reward.demo_batch(cfg, 0)
    counts = Counter(lengths)  # C3a+5b-9:9\n is of 11
    assert set(counts) == {8, 11, 14, 17} and min(counts.values()) > 900
    room, ends = cfg.gpt.context, []
    for places, n in zip(columns["positions"].tolist(), lengths, strict=True):
        assert 0 <= places[0] and sorted(set(places[:n])) == places[:n]
        ends.append(places[n - 1])
    assert room * 0.9 < max(ends) < room and min(ends) < 20
    columns, _ = reward.demo_batch(replace(cfg, stretch=0.0, pretrain_batch=2), 0)
    assert columns["positions"][0, :8].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_the_relay_by_hand():
    """Weights p (1 - p) + 0.02; a level opens when 20 groups of the edge pass 0.75."""
    relay = reward.Relay([1, 2, 4], [1, 2], 0.75, {1: [1.0], 2: []})
    rng = random.Random(0)
    counts = Counter(relay.draw(rng) for _ in range(4000))  # 0.02 to 0.25 + 0.02
    assert abs(counts[1] / 4000 - 0.02 / 0.29) < 0.015
    relay.follow([2] * 20, [0.74] * 20)
    assert max(relay.recent) == 2, "not passed"
    relay.recent[2] = []
    relay.follow([2] * 19 + [1], [0.75] * 19 + [0.0])
    assert max(relay.recent) == 2, "19 are too few"
    assert relay.recent[1] == [1.0, 0.0]
    relay.follow([2], [0.75])  # enough
    assert relay.recent[4] == []
    relay.follow([4] * 30, [5.0] * 30)  # a rule may pay more than 1
    assert relay.recent[4] == [1.0] * 20, "the deepest there is"
    changed = reward.load(ROOT / "docs/studies/changed.py")
    assert changed.OpenRelay([1, 2, 4], [1]).first == [1, 2, 4], "all at once"


def test_the_table_of_levels_by_hand():
    """The base, then after RL. A game has no steps to be reasoned."""
    rows = []
    for p in (0.25, 0.5):
        level = {"pass_rate": p, "pass_rate_greedy": p + 0.1, "pass_at": {"8": 2 * p}}
        rows.append({"by_level": {"3": level}, "pass_at": {"4": 0.7, "8": 1.0}})
    line = reward.level_table(*rows, TASKS["guess"]).split("\n")[1]
    assert line.split() == "3 0.25 to 0.50 0.35 to 0.60 0.50 to 1.00".split()


def test_reasoned_is_more_than_right():
    """Every result right; what chain restates is free. A guess was not reasoned."""
    problem = TASKS["chain"].read("C3d+5k-9:")
    cases = {"[3d+5=8;8k-9=9]9\n": True, "[3a-5=8;8a-0=9]9\n": True, "9\n": False}
    cases |= {"[3d+5=9;9k-0=9]9\n": False, "[8k-9=9]9\n": False}
    for text, expected in cases.items():
        assert problem.task.verify(problem, text), "all are right"
        assert problem.task.reasoned(problem, text) == expected, text
    for text in ("[3d+5=8;8k-9=9]8\n", "[3d+5=8;8k-9=9]9a+5\n"):
        assert not problem.task.reasoned(problem, text)
    assert ALL["add"].reasoned(ALL["add"].read("Ab3+q4:"), "[c3q4=07]7\n")


def game(number, level=2):
    """A game of guess in which this number is hidden."""
    problem = TASKS["guess"].generate(level, random.Random(0))
    data = problem.data._replace(number=number)
    return problem.task.env(replace(problem, data=data), 0)


def play(level, number, policy):
    """One game; policy maps (low, high) to the next number."""
    env, done = game(number, level), False
    low, high = 0, env.problem.data.size - 1
    while not done:
        guess = policy(low, high)
        said, done = env.step(TASKS["guess"].symbols[guess])
        low, high = (guess + 1, high) if said == ">" else (low, guess - 1)
        assert done or said in "<>"
    return env.score()


@pytest.mark.parametrize("level, n", [(1, 8), (2, 16), (3, 32)])
def test_what_bisection_and_a_scan_reach_in_guess(level, n):
    """(2^turns - 1) / n and turns / n exactly, over every hidden number."""
    halves = [play(level, number, lambda a, b: (a + b) // 2) for number in range(n)]
    assert statistics.mean(halves) == TASKS["guess"].ceiling[level]
    scan = [play(level, number, lambda a, b: a) for number in range(n)]
    assert statistics.mean(scan) == TASKS["guess"].chance[level] == (level + 2) / n


def test_guess_by_hand():
    """Hidden d: '<' after p, '>' after a, and only d itself solves. What is no number
    wastes a turn, and after four it is over."""
    env = game(3)
    said = [env.step(symbol) for symbol in "pad"]
    assert said == [("<", False), (">", False), ("", True)] and env.score() == 1.0
    env = game(3)
    assert [env.step(text)[1] for text in ("z", "\n", "dd", "")] == [False] * 3 + [True]
    assert env.score() == 0.0 and env.invalid == 4
    # Drawn at random, 512 hidden numbers would move the ceiling by a point or two.
    problems = TASKS["guess"].test_problems(2, 512)
    assert Counter(p.data.number for p in problems) == {i: 32 for i in range(16)}


# --------------------------------------------------------------------------------------
# A task of one's own


def test_a_task_is_found_by_name_or_path():
    """The same object each time: problems compare their tasks."""
    assert find_task("chain") is TASKS["chain"]
    path = str(ROOT / "docs/tasks/path.py")
    assert find_task(path) is find_task("path") and find_task(path).name == "path"
    assert isinstance(find_task(path), reward.Puzzle)


TWO = "from reward import Puzzle\nclass A(Puzzle): pass\nclass B(Puzzle): pass\n"


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("chian", None, "no task 'chian'; choose from chain, guess, .* ending in .py"),
        ("nowhere.py", None, "no task .*nowhere.py'; choose"),
        ("../tasks/grid", None, "no task"),  # a name is not a path
        ("none.py", "from reward import Chain, Puzzle\n", "none.py defines 0 tasks"),
        ("two.py", TWO, "two.py defines 2 tasks"),
        ("one.py", TWO.split("class B")[0], "one.py lacks name, levels, form, chance"),
    ],
)
def test_a_task_that_cannot_be_found(name, text, message, tmp_path):
    """One sentence each; a class that the file only imports is not its own."""
    if text is not None:
        (tmp_path / name).write_text(text)
    where = str(tmp_path / name) if name.endswith(".py") else name
    with pytest.raises(ValueError, match=message):
        find_task(where)


def test_the_program_prints_a_task_by_path():
    """`python reward.py` is a second copy of reward; a file's task must be of the one
    that looks for it."""
    command = [sys.executable, "reward.py", "docs/tasks/reverse.py", "chian"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "  level 7  " in done.stdout
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("task", ALL.values(), ids=ALL)
def test_what_a_task_says_of_itself(task):
    """Chance and ceiling are known at every level, and a default run has a test."""
    for level in task.levels:
        assert 0 < of_level(task.chance, level) < of_level(task.ceiling, level) <= 1
    assert reward.choose_levels(task, task.defaults["levels"])[-1] >= task.tested_from
    assert reward.choose_levels(task, f"{task.tested_from}") == [task.tested_from]


def test_pass_rates_by_hand():
    """pass@2 of a problem with one right answer in two is 1; its pass rate a half."""
    right = torch.tensor([[1.0, 0], [0, 0]])
    found = reward.pass_rates(right, right[:, 1:], right[:, :1])
    assert [found[x] for x in ("pass_rate", "pass_rate_greedy")] == [0.25, 0.0]
    assert found["pass_at"] == {1: 0.25, 2: 0.5}
    assert found["reasoned_at"] == {1: 0.5}


def test_pass_at_k_and_its_interval_by_hand():
    """Of 16 with 3 right, 4 hold one at 0.607; 8 of 10: 0.490 to 0.943 in textbooks."""
    for n, c, k, chance in ((4, 1, 2, 0.5), (16, 3, 4, 0.607143), (5, 3, 3, 1.0)):
        assert reward.pass_at_k(n, c, k) == pytest.approx(chance, abs=1e-6)
    assert reward.wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert reward.wilson(0.0, 10)[0] == pytest.approx(0, abs=1e-12)
