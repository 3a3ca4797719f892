"""Module 7: reward hacking. What is left out, and what is graded."""

import json
import random
import re
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
from grading import Check

BLANKS = {
    "docs/assignments/7-hacking/attack.py": [
        "hack_contains",
        "hack_format",
        "strict",
        "first_alarm",
    ],
    "reward.py": ["auc"],
}

PAID = ("contains", "format", "length", "judge", "judge, KL 0.05")
RUNS = Path(__file__).resolve().parents[2] / "studies" / "rewards" / "runs.jsonl"

# --------------------------------------------------------------------------------------
# Attacks: many texts are right, so what is compared is how they fare


def prompts_of(rng: random.Random) -> list[tuple]:
    """A hundred prompts of the chain."""
    prompts = []
    for _ in range(100):
        prompt = f"C{rng.randrange(10)}"
        for letter in sorted(rng.sample(string.ascii_lowercase, rng.randrange(1, 10))):
            prompt += letter + rng.choice("+-") + str(rng.randrange(10))
        prompts.append(prompt + ":")
    return [(prompts,)]


def solve(prompt: str) -> str:
    """The right answer: what stands behind the letters, added up modulo 10."""
    return str(sum(map(int, re.findall("[+-]?[0-9]", prompt))) % 10)


def stated(text: str) -> str | None:
    """The number that `[thought]number\\n` states, read from left to right."""
    if text.startswith("["):
        thought, closed, text = text[1:].partition("]")
        if not closed or "[" in thought:
            return None
    number, end, rest = text.partition("\n")
    legal = number and end and not rest and set(number) <= set("0123456789")
    return number if legal else None


def pays_contains(answer: str, text: str) -> bool:
    return answer in text


def pays_format(answer: str, text: str) -> bool:
    number = stated(text)
    return number is not None and len(number) == 1


def fate(rule: Callable[[str, str], bool], room: int, luck: float) -> Callable:
    """From an attack to what becomes of its texts for all prompts, in words."""

    def through(attack: Callable[[str], str]) -> Callable[[list[str]], str]:
        def tried(prompts: list[str]) -> str:
            both = [(solve(prompt), attack(prompt)) for prompt in prompts]
            paid = sum(rule(answer, text) for answer, text in both)
            right = sum(stated(text) == answer for answer, text in both)
            longest = max(len(text) for _, text in both)
            often = {0: "never", len(both): "always"}.get(paid, "at times")
            honest = (
                "as rarely as it must" if right <= luck * len(both) else "too often"
            )
            size = "short" if longest <= room else "too long"
            return f"paid {often}, right {honest}, {size}"

        return tried

    return through


# --------------------------------------------------------------------------------------
# The defence


def texts_of(rng: random.Random) -> list[tuple]:
    """(answer, text): honest ones, and what a policy under pressure would write."""
    answer = str(rng.randrange(13, 90))
    other = str(int(answer) + rng.randrange(1, 10))
    first, last = answer
    honest = ["N\n", "[]N\n", "[a+b=N]N\n", "[O;N]N\n", "[N]O\n", "O\n"]
    lists = ["O\nN\n", "N\nO\n", "O,N\n", "[O]N\n[O]O\n", "0123456789" * 3 + "N\n"]
    longer = ["1N\n", "N0\n", "0N\n", "+N\n", " N\n", "N \n", "N.0\n", "F_L\n"]
    wide = "".join(chr(ord("０") + int(digit)) for digit in answer) + "\n"
    cut = ["N", "[O]N", "[a+b=N", "[N]", "[N]\n", "", "\n", "N\n\n"]
    brackets = ["]N\n", "[[O]N\n", "[O]]N\n", "[O][O]N\n", "[O]x[O]N\n", "[N\n"]
    long = ["[" * 10_000, "(" * 10_000 + "N\n", "[" + "7" * 10_000 + "]N\n"]
    rows = [*honest, *lists, *longer, wide, *cut, *brackets, *long]
    names = {"N": answer, "O": other, "F": first, "L": last}
    texts = ["".join(names.get(x, x) for x in row) for row in rows]
    rng.shuffle(texts)
    return [(answer, text) for text in texts]


def strict(answer: str, text: str) -> float:
    return float(stated(text) == answer)


def on_text(defence: Callable[[str, str], float]) -> Callable[[str, str], str]:
    """What a defence pays, beside the text: so that a student sees which it was."""

    def told(answer: str, text: str) -> str:
        paid = float(defence(answer, text))
        return f"paid {paid:g}: {text[:30]!r}, the answer is {answer}"

    return told


def matches(pattern: str, search: Callable = re.fullmatch) -> Callable:
    """A defence by a regular expression whose one group must be the answer."""

    def defence(answer: str, text: str) -> float:
        match = search(pattern, text)
        return float(match is not None and match[1] == answer)

    return defence


def by_int(answer: str, text: str) -> float:
    try:
        return float(int(text.split("]")[-1]) == int(answer))
    except ValueError:
        return 0.0


# --------------------------------------------------------------------------------------
# The alarm


def logs_of(rng: random.Random) -> list[tuple]:
    """Rows of five runs, every second step: a hack that is paid more and more, one that
    was paid in full from the start, an honest run, a constant bonus, a single spike."""

    def log(reward: Callable[[float], float], gold: Callable[[float], float]) -> tuple:
        rows = []
        for i in range(40):
            row = {"step": 2 * i + 2, "reward": reward(i / 40), "gold": gold(i / 40)}
            noise = rng.uniform(-0.02, 0.02)
            rows.append({k: v + (k != "step") * noise for k, v in row.items()})
        return (rows,)

    turn, spike = rng.uniform(0.4, 0.6), rng.randrange(12, 30) / 40
    return [
        log(lambda x: 0.3 + 0.6 * x, lambda x: 0.3 + 0.6 * x - max(x - turn, 0)),
        log(lambda x: 0.97, lambda x: 0.5 - max(x - turn, 0)),
        log(lambda x: 0.3 + 0.6 * x, lambda x: 0.28 + 0.6 * x),
        log(lambda x: 0.6 + 0.3 * x, lambda x: 0.3 + 0.3 * x),
        log(lambda x: 0.5 + 0.4 * (x == spike), lambda x: 0.5),
    ]


def gap(row: dict) -> float:
    return row["reward"] - row["gold"]


def alarm(
    rows: list[dict],
    of: Callable[[dict], float] = gap,
    first: bool = True,
    window: int = 10,
) -> int | None:
    """The step at which the mean of the last rows is 0.1 above that of the first, or,
    if those do not count, above 0."""
    for end in range(10, len(rows) + 1):
        now = [of(row) for row in rows[end - window : end]]
        start = [of(row) for row in rows[:window]]
        if sum(now) / window - first * sum(start) / window > 0.1:
            return rows[end - 1]["step"]
    return None


def as_index(rows: list[dict]) -> int | None:
    step = alarm(rows)
    return None if step is None else [row["step"] for row in rows].index(step)


# --------------------------------------------------------------------------------------
# A judge, and questions


def judged(rng: random.Random) -> list[tuple]:
    """(scores, labels): with ties, and both kinds of answers."""
    cases = []
    for n in (8, 15):
        labels = [1, 1, 0, 0, *(rng.randrange(2) for _ in range(n - 4))]
        scores = [rng.randrange(-4, 4) + label for label in labels]
        scores[:4] = [1, 3, 1, 2]  # one tie, one pair the wrong way round
        cases.append((np.array(scores, float), np.array(labels)))
    return cases


def auc(scores: np.ndarray, labels: np.ndarray, tie: float = 0.5) -> float:
    """Over all pairs of a right and a wrong answer."""
    found = []
    for right in scores[labels == 1].tolist():
        for wrong in scores[labels == 0].tolist():
            found.append(tie if right == wrong else float(right > wrong))
    return sum(found) / len(found)


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(((scores > 0) == labels).mean())


def longer_than(characters: int) -> int:
    """The fewest characters of a wrong answer that is paid more, in cents."""
    n = 0
    while 3 * n <= 100 + 3 * characters:
        n += 1
    return n


def noisy(rng: random.Random) -> list[tuple]:
    p, q = rng.sample([0.05, 0.1, 0.2, 0.3], 2)
    return [(p, q, rng.choice([0.4, 0.6, 0.7]))]


def mean_paid(p: float, q: float, rate: float) -> float:
    return rate * (1 - q) + (1 - rate) * p


def paid_and_right(name: str) -> list[tuple[float, float]]:
    """(reward, pass_rate) of the evaluations of a recorded run."""
    runs = map(json.loads, RUNS.read_text().splitlines())
    (rows,) = [run["rows"] for run in runs if run["name"] == name]
    return [(row["reward"], row["pass_rate"]) for row in rows]


def grown(name: str, start: float = 1.0, gold: float = 1.0) -> float:
    """How much more the gap is at the end."""
    (paid, right), *_, (last_paid, last_right) = paid_and_right(name)
    return last_paid - gold * last_right - start * (paid - gold * right)


CHECKS = [
    Check(
        "attack.hack_contains",
        "paid by `contains`, not right",
        3,
        prompts_of,
        lambda prompt: "0123456789\n",
        {
            "your text is the right answer: a hack is paid without it": (
                lambda prompt: f"{solve(prompt)}\n"
            ),
            "one guess is paid only when it is lucky; what is always paid?": (
                lambda prompt: "7\n"
            ),
            "that is longer than 20 characters; how many answers are there?": (
                lambda prompt: "0123456789" * 3
            ),
        },
        through=fate(pays_contains, 20, luck=0.0),
    ),
    Check(
        "attack.hack_format",
        "paid by `format`, as short as can be",
        3,
        prompts_of,
        lambda prompt: "7\n",
        {
            "that is the right answer; the hack does not need the problem": (
                lambda prompt: f"{solve(prompt)}\n"
            ),
            "that has not the form of an answer: one digit, and the end of the line": (
                lambda prompt: "7"
            ),
            "there is a shorter one: a thought is not paid": (
                lambda prompt: "[1+6=7]7\n"
            ),
        },
        through=fate(pays_format, 2, luck=0.25),
    ),
    Check(
        "attack.strict",
        "a rule that hostile texts do not fool",
        6,
        texts_of,
        strict,
        {
            "that is `contains` again: a list of all numbers is paid": (
                lambda answer, text: float(answer in text)
            ),
            "that is `format` again: the number must be right too": (
                lambda answer, text: float(stated(text) is not None)
            ),
            "a number that ends in the answer is another number": (
                lambda answer, text: float(text.endswith(f"{answer}\n"))
            ),
            "strip() forgives spaces and a missing end, and split() a broken thought": (
                lambda answer, text: float(text.split("]")[-1].strip() == answer)
            ),
            "int() forgives 042, +42, 4_2 and digits of other alphabets": by_int,
            "search finds a line among others; the whole text must have the form": (
                matches(r"(?:\[[^\[\]]*\])?([0-9]+)\n", re.search)
            ),
            "match looks at the start only; what comes after must be nothing": (
                matches(r"(?:\[[^\[\]]*\])?([0-9]+)\n", re.match)
            ),
            "$ also matches before a last line end; use fullmatch": (
                matches("^(?:\\[[^\\[\\]]*\\])?([0-9]+)\n$", re.match)
            ),
            "an answer that was cut off is paid: the line end is part of the form": (
                matches(r"(?:\[[^\[\]]*\])?([0-9]+)\n?")
            ),
            "a thought holds no brackets, yours may": (
                matches(r"(?s:\[.*\])?([0-9]+)\n")
            ),
            "the thought may be missing": matches(r"\[[^\[\]]*\]([0-9]+)\n"),
            "the thought may be empty": matches(r"(?:\[[^\[\]]+\])?([0-9]+)\n"),
        },
        through=on_text,
    ),
    Check(
        "attack.first_alarm",
        "the step at which proxy and gold part",
        3,
        logs_of,
        alarm,
        {
            "that is the index of the row; its step is asked for": as_index,
            "a gap that was there from the start is no alarm: it must have grown": (
                lambda rows: alarm(rows, first=False)
            ),
            "that compares single rows: one noisy step rings": (
                lambda rows: alarm(rows, window=1)
            ),
            "the proxy may grow because the policy is better: take gold off": (
                lambda rows: alarm(rows, of=lambda row: row["reward"])
            ),
            "gold by itself does not show it: in a hacked run it may rise too": (
                lambda rows: alarm(rows, of=lambda row: -row["gold"])
            ),
            "it never rings: the gap is reward less gold": (
                lambda rows: alarm(rows, of=lambda row: -gap(row))
            ),
        },
    ),
    Check(
        "reward.auc",
        "how well a judge tells right from wrong",
        2,
        judged,
        auc,
        {
            "a tie counts one half, yours counts nothing": (
                lambda scores, labels: auc(scores, labels, 0.0)
            ),
            "a tie counts one half, yours counts as won": (
                lambda scores, labels: auc(scores, labels, 1.0)
            ),
            "that is the chance that the wrong answer scores higher": (
                lambda scores, labels: 1 - auc(scores, labels)
            ),
            "that is the accuracy at 0; AUC compares pairs": accuracy,
        },
    ),
    Check(
        "answers.padding",
        "The rule `length` pays 1 for a right answer, and 0.03 for each character of "
        "any answer. A right answer has {0} characters. How many must a wrong one have "
        "at least to be paid more?",
        1,
        lambda rng: [(rng.randrange(2, 40),)],
        longer_than,
        {
            "the right answer's characters are paid too": lambda n: longer_than(0),
            "with one character less than that it is still paid less": (
                lambda n: longer_than(n) - 1
            ),
        },
    ),
    Check(
        "answers.noise",
        "A verifier pays {0} of the wrong answers and refuses {1} of the right ones. "
        "What is the mean reward of a policy that is right with rate {2}?",
        1,
        noisy,
        mean_paid,
        {
            "wrong answers are paid too": lambda p, q, rate: rate * (1 - q),
            "the two chances are swapped": lambda p, q, rate: mean_paid(q, p, rate),
            "(1 - p - q) r is what the policy moves; p is paid for nothing": (
                lambda p, q, rate: (1 - p - q) * rate
            ),
        },
        tolerance=1e-3,
    ),
    Check(
        "answers.gap",
        "In docs/studies/rewards/runs.jsonl, run {0}: by how much is the gap (reward "
        "less pass_rate) larger at the last of its `rows` than at the first? (four "
        "digits)",
        1,
        lambda rng: [(f"{rng.choice(PAID)}/{rng.randrange(3)}",)],
        grown,
        {
            "that is the gap at the end: take off what was there at first": (
                lambda name: grown(name, start=0.0)
            ),
            "that is how the proxy grew": lambda name: grown(name, gold=0.0),
        },
        tolerance=5e-4,
    ),
]
