"""The tasks: problems with answers that a program can check.

Read after model.py. A task makes problems, demonstrates them for the base corpus, and
opens an environment for each answer. There is one interface for all of them: a puzzle
is an environment whose first step ends the episode.

    env = task.env(problem, seed)            the policy sees problem.prompt
    observation, done = env.step(action)     until done; what it says is fed back
    reward = env.score()                     1.0 if solved, else 0.0

Text of a puzzle   prompt      task letter ... ':'   by the environment
                   completion  [thought]answer\\n     by the policy, [...] optional

Every verifier is total: any string gives 0 or 1, nothing raises, nothing the policy
wrote is evaluated. No credit for form: a reward for anything but the right answer is
what a weak policy learns first.
"""

import hashlib
import random
import re
import string
import sys
from dataclasses import dataclass, replace

# --------------------------------------------------------------------------------------
# Problems and their splits


@dataclass(frozen=True)
class Problem:
    """One problem. Two problems with the same `key` are the same problem."""

    task: str
    level: int  # difficulty; what it counts is the task's own
    prompt: str
    key: str  # canonical form, hashed to choose the split
    data: tuple  # what the verifier needs


SPLITS = {"base": range(0, 60), "rl": range(60, 85), "calibrate": range(85, 90)}
SPLITS["test"] = range(90, 100)
MIN_SPACE = 10_000  # a level with fewer problems is memorised; never test on it


def split_of(key: str) -> str:
    """Split of a problem, by a hash of its content.

    By content and never by seed: two seeds can draw the same problem.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def check_split(problem: Problem, split: str) -> None:
    """Contamination guard: raises AssertionError for a problem of another split."""
    hidden = TASKS[problem.task].hidden
    found = split_of(problem.key)
    assert hidden or found == split, f"{problem.prompt} is in {found}, not {split}"


# --------------------------------------------------------------------------------------
# Demonstrations: what the base model is pretrained on


@dataclass(frozen=True)
class Corpus:
    """How demonstrations are made. Each knob leaves RL something of its own to do."""

    think_share: float = 0.25  # share that shows a thought: RL selects the strategy
    noise: float = 0.0  # chance that a step goes wrong, and stays: RL sharpens
    skew: float = 0.0  # level l is drawn in proportion to exp(-skew * l)
    weak: float = 0.0  # share by demonstrators who guess: RL must beat its teachers

    def __post_init__(self) -> None:
        for name in ("think_share", "noise", "weak"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1")


@dataclass(frozen=True)
class Demo:
    """An episode as the corpus shows it; `segments` alternate, the policy's first."""

    problem: Problem
    segments: tuple[str, ...]  # completion, observation, completion, ...
    right: bool  # does the verifier accept it?


def draw_level(levels: list[int], corpus: Corpus, rng: random.Random) -> int:
    """A level for one demonstration: P(l) proportional to exp(-skew * l)."""
    weights = [2.718281828459045 ** (-corpus.skew * level) for level in levels]
    return rng.choices(levels, weights)[0]


# --------------------------------------------------------------------------------------
# Tasks and environments


class Env:
    """One live episode. `step` never raises, whatever the policy wrote."""

    turn_tokens = 0  # a turn ends after so many tokens; 0: it ends with '\\n'

    def __init__(self, task: "Task", problem: Problem, seed: int | str) -> None:
        self.task, self.problem = task, problem
        self.rng = random.Random(seed)  # the environment's own noise, one per rollout
        self.solved = False

    def step(self, action: str) -> tuple[str, bool]:
        """Take what the policy wrote in one turn; return (observation, done)."""
        self.solved = self.task.verify(self.problem, action)
        return "", True

    def score(self) -> float:
        """Gold reward of the episode: 1.0 solved, 0.0 not solved or not finished."""
        return float(self.solved)


class Task:
    """A family of problems. Subclasses fill in the methods that raise."""

    name: str
    levels: list[int]  # all difficulties there are
    hidden = False  # the answer is not in the prompt: nothing to memorise, no splits
    env_class: type[Env] = Env

    def env(self, problem: Problem, seed: int | str) -> Env:
        """Open an episode. `seed` keys the environment's noise, not the problem."""
        return self.env_class(self, problem, seed)

    def generate(self, level: int, rng: random.Random) -> Problem:
        """A random problem of a level, of any split."""
        raise NotImplementedError

    def space(self, level: int) -> int:
        """Number of different problems of a level."""
        raise NotImplementedError

    def ceiling(self, level: int) -> float:
        """Pass rate of the best possible policy."""
        return 1.0

    def chance(self, level: int) -> float:
        """Pass rate of the best policy that ignores the problem."""
        raise NotImplementedError

    def verify(self, problem: Problem, completion: str) -> bool:
        """Is a puzzle's completion right? Unused by tasks of several turns."""
        raise NotImplementedError

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: random.Random) -> Demo:
        """One demonstration; the corpus's knobs decide how good it is."""
        raise NotImplementedError

    def max_tokens(self, level: int) -> int:
        """Tokens of the longest demonstration after the prompt, with observations."""
        raise NotImplementedError

    def draw(self, level: int, split: str, rng: random.Random) -> Problem:
        """A random problem of a level and split."""
        while True:
            problem = self.generate(level, rng)
            if self.hidden or split_of(problem.key) == split:
                return problem

    def test_problems(self, level: int, count: int) -> list[Problem]:
        """The first `count` held-out problems of a level, the same for everybody."""
        rng = random.Random(f"test {self.name} {level}")
        return [self.draw(level, "test", rng) for _ in range(count)]

    def test_levels(self, levels: list[int]) -> list[int]:
        """Those of `levels` with enough problems to test on."""
        return [n for n in levels if self.hidden or self.space(n) >= MIN_SPACE]


class Puzzle(Task):
    """A task of one turn: `[thought]answer\\n`, scored by its answer alone."""

    completion = re.compile(r"(?:\[([^\[\]]*)\])?([^\[\]\n]+)\n")
    grammar: re.Pattern[str]  # what an answer may look like, ASCII only

    def verify(self, problem: Problem, completion: str) -> bool:
        match = self.completion.fullmatch(completion)
        if match is None or self.grammar.fullmatch(match[2]) is None:
            return False
        return match[2] == problem.data[-1]

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: random.Random) -> Demo:
        if rng.random() < corpus.weak:
            text = self.guess(problem, rng)
        elif rng.random() < corpus.think_share:
            thought, answer = self.think(problem, corpus.noise, rng)
            text = f"[{thought}]{answer}"
        else:
            _, text = self.think(problem, corpus.noise, rng)
        text += "\n"
        return Demo(problem, (text,), self.verify(problem, text))

    def think(
        self, problem: Problem, noise: float, rng: random.Random
    ) -> tuple[str, str]:
        """(thought, answer), each step wrong with probability `noise`."""
        raise NotImplementedError

    def guess(self, problem: Problem, rng: random.Random) -> str:
        """An answer of the right form by someone who did not work it out."""
        raise NotImplementedError


class Chain(Puzzle):
    """Left-to-right arithmetic modulo 10; the level is the number of operations.

        C3a+5b-9:[3a+5=8;8b-9=9]9       3 + 5 = 8, 8 - 9 = 9 modulo 10

    A thought restates its operands, so that each of its steps is one look-up.
    Operations carry letters: a small model finds a letter much sooner than it learns
    to count. No '*': with it 0 is the answer to 22 % of all problems, and a guess pays.
    """

    name = "chain"
    levels = [1, 2, 3, 4, 5, 6]
    grammar = re.compile(r"[0-9]")

    def generate(self, level: int, rng: random.Random) -> Problem:
        value = rng.randrange(10)
        text = str(value)
        for letter in string.ascii_lowercase[:level]:
            op, digit = rng.choice("+-"), rng.randrange(10)
            text += f"{letter}{op}{digit}"
            value = (value + digit if op == "+" else value - digit) % 10
        return Problem(
            self.name, level, f"C{text}:", f"chain {text}", (text, str(value))
        )

    def space(self, level: int) -> int:
        return 10 ** (level + 1) * 2**level

    def chance(self, level: int) -> float:
        return 0.1

    def think(
        self, problem: Problem, noise: float, rng: random.Random
    ) -> tuple[str, str]:
        text = problem.data[0]
        value, steps = int(text[0]), []
        for letter, op, digit in re.findall(r"([a-z])([+-])([0-9])", text):
            result = (value + int(digit) if op == "+" else value - int(digit)) % 10
            if rng.random() < noise:
                result = rng.randrange(10)
            steps.append(f"{value}{letter}{op}{digit}={result}")
            value = result
        return ";".join(steps), str(value)

    def guess(self, problem: Problem, rng: random.Random) -> str:
        return str(rng.randrange(10))

    def max_tokens(self, level: int) -> int:
        return 7 * level + 3  # steps of 6, ';' between them, brackets, answer, end


class Add(Puzzle):
    """Addition of two numbers; the level is their number of digits.

        A588+466:[4501]1054

    A thought writes the sum from its last digit on, the order in which carries go, and
    the answer turns it round (Lee et al. arXiv:2307.03381 compare the two orders).
    """

    name = "add"
    levels = [1, 2, 3, 4, 5, 6]
    grammar = re.compile(r"0|[1-9][0-9]*")

    def generate(self, level: int, rng: random.Random) -> Problem:
        low = 10 ** (level - 1) if level > 1 else 0
        a, b = (rng.randrange(low, 10**level) for _ in range(2))
        key = f"add {min(a, b)}+{max(a, b)}"
        return Problem(self.name, level, f"A{a}+{b}:", key, (a, b, str(a + b)))

    def space(self, level: int) -> int:
        numbers = 9 * 10 ** (level - 1) if level > 1 else 10
        return numbers * (numbers + 1) // 2

    def chance(self, level: int) -> float:
        # The likeliest sum, 10^n - 1 + 10^(n-1), splits in as many ways as there are
        # numbers.
        return 1 / (9 * 10 ** (level - 1) if level > 1 else 10)

    def think(
        self, problem: Problem, noise: float, rng: random.Random
    ) -> tuple[str, str]:
        digits = list(problem.data[-1])
        for i in range(len(digits)):
            if rng.random() < noise:
                digits[i] = str(rng.randrange(i == 0, 10))  # no leading zero
        answer = "".join(digits)
        return answer[::-1], answer

    def guess(self, problem: Problem, rng: random.Random) -> str:
        return str(rng.randrange(2 * 10**problem.level))

    def max_tokens(self, level: int) -> int:
        return 2 * level + 5


class GuessEnv(Env):
    """One symbol per guess; the answer '>' or '<' says where the hidden one lies."""

    turn_tokens = 1

    def __init__(self, task: Task, problem: Problem, seed: int | str) -> None:
        super().__init__(task, problem, seed)
        self.turns = 0

    def step(self, action: str) -> tuple[str, bool]:
        n, turns, hidden = self.problem.data
        self.turns += 1
        guess = Guess.symbols[:n].find(action) if len(action) == 1 else -1
        self.solved = guess == hidden
        if self.solved or self.turns == turns:
            return "", True
        # A symbol that is no number wastes the turn; '>' says nothing false about it.
        return (">" if hidden > guess else "<"), False


class Guess(Task):
    """Find a hidden number in a few guesses, told each time if it is larger or smaller.

        Gp4:h>l<j      numbers a..p, 4 guesses: h, larger, l, smaller, j, solved

    Level l has n = 4 * 2^l numbers and l + 2 guesses; bisection solves
    (2^guesses - 1) / n and nothing can do better. The prompt does not tell the hidden
    number, so there is nothing to memorise: training and test draw from the same few
    problems.
    """

    name = "guess"
    levels = [1, 2, 3, 4]
    hidden = True
    env_class = GuessEnv
    symbols = string.ascii_lowercase + string.ascii_uppercase + string.digits + "+-"

    def size(self, level: int) -> tuple[int, int]:
        """(how many numbers, how many guesses)"""
        return 4 * 2**level, level + 2

    def generate(self, level: int, rng: random.Random) -> Problem:
        n, turns = self.size(level)
        prompt, hidden = f"G{self.symbols[n - 1]}{turns}:", rng.randrange(n)
        return Problem(
            self.name, level, prompt, f"guess {n} {turns}", (n, turns, hidden)
        )

    def test_problems(self, level: int, count: int) -> list[Problem]:
        """Every hidden number in turn, so that the ceiling is the ceiling."""
        n, turns = self.size(level)
        problem = self.generate(level, random.Random(0))
        return [replace(problem, data=(n, turns, i % n)) for i in range(count)]

    def space(self, level: int) -> int:
        return self.size(level)[0]

    def ceiling(self, level: int) -> float:
        n, turns = self.size(level)
        return (2**turns - 1) / n

    def chance(self, level: int) -> float:
        n, turns = self.size(level)
        return turns / n

    def max_tokens(self, level: int) -> int:
        return 2 * self.size(level)[1] - 1

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: random.Random) -> Demo:
        """A weak demonstrator guesses at random; the others go up one by one, or, where
        the corpus shows a thought, guess at random what is still possible."""
        n, _, _ = problem.data
        style = "random" if rng.random() < corpus.weak else "linear"
        if style == "linear" and rng.random() < corpus.think_share:
            style = "consistent"
        env, segments, done = self.env(problem, 0), [], False
        low, high, guess = 0, n - 1, -1
        while not done:
            if style == "linear":
                guess = min(guess + 1, n - 1)
            else:
                guess = (
                    rng.randint(low, high)
                    if style == "consistent"
                    else rng.randrange(n)
                )
            observation, done = env.step(self.symbols[guess])
            segments.append(self.symbols[guess])
            if not done:
                segments.append(observation)
                if observation == ">":
                    low = max(low, guess + 1)
                else:
                    high = min(high, guess - 1)
        return Demo(problem, tuple(segments), env.solved)


TASKS: dict[str, Task] = {task.name: task for task in (Chain(), Add(), Guess())}


def find_task(name: str) -> Task:
    """The task of a name. ValueError lists the tasks there are."""
    if name not in TASKS:
        raise ValueError(f"there is no task {name!r}; choose from {', '.join(TASKS)}")
    return TASKS[name]


def main(argv: list[str]) -> None:
    """Print problems, demonstrations and what the verifier says, task by task."""
    rng = random.Random(0)
    for task in [find_task(name) for name in argv] or TASKS.values():
        print(f"{task.name}: {type(task).__doc__.splitlines()[0]}")
        for level in task.levels:
            problem = task.draw(level, "base", rng)
            demo = task.demonstrate(problem, Corpus(think_share=1.0), rng)
            text = problem.prompt + "".join(demo.segments)
            rates = f"{task.chance(level):.3f} to {task.ceiling(level):.3f}"
            print(f"  level {level}, chance to ceiling {rates}\n    {text!r}")
        if isinstance(task, Puzzle):
            problem = task.draw(3, "base", rng)
            right = problem.data[-1]
            hostile = [
                "",
                "[]",
                "[1]2[3]4",
                f"{right} ",
                f"+{right}",
                f"0{right}",
                "9**9**9",
            ]
            for text in [right, *hostile]:
                score = float(task.verify(problem, text + "\n"))
                print(f"  {problem.prompt + text!r:40} scores {score:.0f}")
        print()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        print(f"reward.py: {error}", file=sys.stderr)
        sys.exit(2)
