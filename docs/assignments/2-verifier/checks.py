"""Module 2: a verifier and a task. What is left out, and what is graded."""

import hashlib
import random
import re
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

from grading import Check

BLANKS = {
    "reward.py": ["split_of", "Puzzle.stated", "Puzzle.verify"],
    "docs/assignments/2-verifier/pair.py": [
        f"Pair.{name}" for name in "parse right_pairs generate accepts think".split()
    ],
}

# Splits


def bucket(key: str, size: int = 8, cut: int = 8, order: int = 1) -> int:
    """The hash of a key as a number, byte by byte, modulo 100."""
    number = 0
    digest = hashlib.blake2b(key.encode(), digest_size=size).digest()[:cut]
    for byte in digest[::order]:
        number = number * 256 + byte
    return number % 100


def name_of(place: int, last: int = -1) -> str:
    """The split of a bucket; each begins where the one before ends."""
    ends = {"base": 60, "rl": 85, "label": 90}
    return next((name for name, end in ends.items() if place <= end + last), "test")


def split(key: str, last: int = -1, **how: int) -> str:
    return name_of(bucket(key, **how), last)


SPLITTERS = {
    "Python's hash() is another one in each process: a run that goes on would train on "
    "its test": lambda key: name_of(hash(key) % 100),
    "a bucket at an edge belongs to the next split: <, not <=": partial(split, last=0),
    "the bytes are read from the wrong end: big-endian": partial(split, order=-1),
    "a long digest that is cut is another hash: digest_size=8": partial(split, size=64),
    "64 bytes, not 8, are hashed: digest_size=8": partial(split, size=64, cut=64),
}


def keys_of(rng: random.Random) -> list[tuple]:
    """Keys in all kinds of buckets: 40 of any, and some of each at an edge."""
    edges, start = [0, 59, 60, 84, 85, 89, 90, 99], rng.randrange(10**6)
    keys = [f"chain {i}" for i in range(start, start + 3000)]
    met = [key for key in keys if bucket(key) in edges]
    return [(key,) for key in keys[:40] + met[:80]]


# The verifier


def stated(self, completion: str) -> str | None:
    """Puzzle.stated character by character: a thought perhaps, an answer, the end."""
    text, end = completion[:-1], completion[-1:]
    if text[:1] == "[":
        thought, closed, text = text[1:].partition("]")
        if not closed or "[" in thought:
            return None
    free = end == "\n" and not any(char in "[]\n" for char in text)
    return text if free and self.grammar.fullmatch(text) else None


def by(match: Callable, legal: Callable, clean: Callable = str) -> Callable:
    """Puzzle.stated by other ways to match the whole, and the answer."""

    def wrong(self, completion: str) -> str | None:
        found = match(self.completion, completion)
        answer = clean(found[2]) if found else ""
        return answer if found and legal(self.grammar, answer) else None

    return wrong


WHOLE = re.compile(r"(?:\[([^\[\]]*)\])?([^\[\]\n]+)\n")  # Puzzle.completion
full, start = re.Pattern.fullmatch, re.Pattern.match
STATERS = {
    "match() forgives what stands behind a good beginning; fullmatch": by(start, full),
    "search() finds an answer anywhere; fullmatch": by(re.Pattern.search, full),
    "the answer's own grammar is not asked": by(full, lambda *_: True),
    "the grammar must match all of the answer, not its beginning": by(full, start),
    "the answer is stripped: blanks are no legal form": by(full, full, str.strip),
    "that is the thought, not the answer": (
        lambda self, text: stated(self, text) and full(WHOLE, text)[1]
    ),
    "blanks are stripped, and a missing end is forgiven": (
        lambda self, text: stated(self, text.strip() + "\n")
    ),
}


def puzzle(grammar: str) -> SimpleNamespace:
    """What stated and verify know of a task: `self`."""
    return SimpleNamespace(completion=WHOLE, grammar=re.compile(grammar))


def texts_of(rng: random.Random) -> list[tuple]:
    """Answers of two grammars, with all that people forgive or forget."""
    cases = []
    for grammar, good, bad in (("[0-9]", "7", "77"), (r"[1-9]\+[1-9]", "3+4", "3+0")):
        texts = [good, f"[3+4=7]{good}", f"[]{good}", f"[{bad}]{good}", f"[[1]]{good}"]
        texts += [f"[{good}{bad}", f"{good}]", f"[1]{good}[2]", f"[1][2]{good}", bad]
        texts += [f"{good}\n", f"{good}\n{bad}", f"{good} ", f" {good}", f"{good}x", ""]
        texts += [f"x{good}", "x", "[7]", f"[{rng.randrange(99)}]{good}", "٧", "\n"]
        cases += [(grammar, text + "\n") for text in texts]
        cases += [(grammar, good), (grammar, f"[1]{good}")]
    return cases


HOSTILE = """09 9_ +9 9.0 ٩ ９ 9~9 [1][2]9 [[1]]9 [1]9[2] [9 9] 9[9] 3+6 0x9 None nan
__import__('os') 9**9**9 <|pad|>""".split()
TWO = r"[1-9][0-9]?\+[1-9][0-9]?"  # Pair.grammar
TARGETS = {  # what an answer may look like, and the right ones
    "C3d+5k-9:": ("[0-9]", "9"),
    "C1a-5c+6:": ("[0-9]", "2"),
    "T12,7,30=37:": (TWO, "7+30", "30+7"),
}


def attack(verify: Callable) -> Callable:
    """Texts that are right, and hostile ones, for a verifier of two tasks. Their stated
    and accepts are ours; accepts may trust that what it is asked has legal form."""

    def facts(prompt: str, seed: int) -> str:
        grammar, *answers = TARGETS[prompt]
        answer, rng, task = answers[0], random.Random(seed), puzzle(grammar)

        def accepts(problem, given: str | None) -> bool:
            if given is None or not task.grammar.fullmatch(given):
                raise ValueError(f"accepts is asked of {given!r}, no legal answer")
            return given in answers

        task.stated, task.accepts = partial(stated, task), accepts
        only = answer if len(answers) == 1 else ""
        problem = SimpleNamespace(task=task, prompt=prompt, answer=only, right=answers)
        texts = [*answers, f"[1-2=3]{answer}", f"[]{answer}", f"[9]{answer}"]
        texts += [text.replace("9", answer) for text in HOSTILE]
        texts += [f"{answer} ", f" {answer}", f"{answer}\n", f"{answer}\n8", "", "\n"]
        texts += ["[" * 10_000 + answer, answer * 5000, f"[{answer}]8", "8", "7+7"]
        for _ in range(200):
            odd = "".join(rng.choices("0123456789[]+-=; \n\té\x00", k=rng.randrange(9)))
            texts.append(rng.choice([odd, answer + odd, odd + answer]))
        texts = [text + "\n" for text in texts] + [answer, f"[1-2=3]{answer}"]
        right = [text for text in texts if stated(task, text) in answers]
        return what_is_paid(lambda text: verify(task, problem, text), right, texts)

    return facts


def what_is_paid(pays: Callable, right: list[str], texts: list[str]) -> str:
    """In a few words, with the first text that is paid wrongly, or not paid."""
    paid = [text for text in texts if pays(text)]
    robbed = [text for text in paid if text not in right]
    refused = [text for text in right if text not in paid]
    for some, how in (robbed, "paid wrongly"), (refused, "right and not paid"):
        if some:
            count = f"{len(some)} of {len(texts)} strings are {how}"
            return f"{count}, the first: {some[0][:30]}"
    return "only what is right is paid"


def lenient(task, problem, text: str) -> bool:
    try:
        return int(text.rpartition("]")[2]) == int(problem.answer)
    except ValueError:
        return False


VERIFIERS = {
    "the right answer anywhere in the text is paid": lambda _, p, text: (
        p.answer in text
    ),
    "the last digit is paid, whatever stands around it": (
        lambda task, problem, text: re.findall("[0-9]", text)[-1:] == [problem.answer]
    ),
    "int() forgives: 09, +9, blanks, digits of other scripts": lenient,
    "form earns nothing: is it right?": lambda task, _, text: bool(stated(task, text)),
    "a task may have several right answers: ask accepts": (
        lambda task, problem, text: stated(task, text) == problem.answer
    ),
}

# The task

PairData = namedtuple("PairData", "numbers target")
UP = range(1, 31)


class Plain:
    """Pair, written again: it knows a prompt by its numbers, the target being last."""

    form = re.compile("T([0-9,]+)=([0-9]+):")
    redraws = UP

    def parse(self, prompt: str, match: object = None) -> SimpleNamespace | None:
        *numbers, target = map(int, re.findall("[0-9]+", prompt))
        if not self.pairs(numbers, target):
            return None
        data, key = PairData(tuple(numbers), target), self.key(numbers, target)
        return SimpleNamespace(prompt=prompt, level=len(numbers), key=key, data=data)

    def key(self, numbers: list[int], target: int) -> str:
        return f"{sorted(numbers)} {target}"

    def pairs(self, numbers: list[int], target: int) -> list[tuple[int, int]]:
        """Places (i, j) of two numbers that add to the target, i < j."""
        pairs = [(i, j) for j in range(len(numbers)) for i in range(j)]
        return [(i, j) for i, j in pairs if numbers[i] + numbers[j] == target]

    def generate(self, level: int, rng: random.Random) -> SimpleNamespace:
        numbers = self.numbers(level, rng)
        return self.parse(prompt_of(numbers, sum(self.two(numbers, rng))))

    def numbers(self, level: int, rng: random.Random) -> list[int]:
        return rng.sample(UP, level)

    def two(self, numbers: list[int], rng: random.Random) -> list[int]:
        return rng.sample(numbers, 2)

    def accepts(self, problem, answer: str) -> bool:
        return self.right(*problem.data, *map(int, answer.split("+")))

    def right(self, numbers: tuple[int, ...], target: int, a: int, b: int) -> bool:
        pairs = self.pairs(numbers, target) if a + b == target else []
        return {a, b} in [{numbers[i], numbers[j]} for i, j in pairs]

    def think(self, problem, noise: float, rng: random.Random) -> tuple[str, str]:
        numbers, target = problem.data
        results = [self.result(target - n, noise, rng) for n in numbers]
        thought, answer = self.walk(problem, results)
        return thought, answer or self.guess(problem, rng)

    def result(self, right: int, noise: float, rng: random.Random) -> int:
        return rng.choice(self.redraws) if rng.random() < noise else right

    def walk(self, problem, rests: list[int]) -> tuple[str, str]:
        """Each number in turn, and who its partner would be; nobody: no answer."""
        (numbers, target), steps = problem.data, []
        for i, (n, rest) in enumerate(zip(numbers, rests, strict=False)):
            steps.append(f"{target}-{n}={rest}")
            if rest in self.others(numbers, i):
                return ";".join(steps), f"{n}+{rest}"
        return ";".join(steps), ""

    def others(self, numbers: tuple[int, ...], i: int) -> list[int]:
        return [n for j, n in enumerate(numbers) if j != i]

    def guess(self, problem, rng: random.Random) -> str:
        return "{}+{}".format(*self.two(problem.data.numbers, rng))


def but(**methods: object) -> type:
    """The plain task with some methods done wrong."""
    return type("Wrong", (Plain,), methods)


def each(name: str, ways: dict[str, Callable]) -> dict[str, type]:
    """The same for each way to do one method, which is given without `self`."""
    return {said: but(**{name: staticmethod(way)}) for said, way in ways.items()}


def prompt_of(numbers: list[int], target: int) -> str:
    return f"T{','.join(map(str, numbers))}={target}:"


def read(task, prompt: str):
    return task.parse(prompt, task.form.fullmatch(prompt))


def prompts_of(rng: random.Random) -> list[tuple]:
    """Of each level with an answer and without; the target twice a number that is there
    twice, or once."""
    prompts, n = [], rng.randrange(1, 15)
    for level in (3, 4, 5, 6):
        problem = Plain().generate(level, rng)
        prompts += [problem.prompt, prompt_of(problem.data.numbers, 100)]
    prompts += [prompt_of([n, second, 30], 2 * n) for second in (n, 40)]
    return [(prompt,) for prompt in prompts]


def parsing(pair: type) -> Callable:
    def level_and_data(prompt: str) -> list | str:
        problem = read(pair(), prompt)
        return [problem.level, *problem.data] if problem else f"{prompt} is refused"

    return level_and_data


PAIRS = {
    "a problem without an answer must be refused: None": lambda n, t: [(0, 1)],
    "a number and itself are no pair": lambda n, t: any(t - x in n for x in n),
    "two equal numbers at two places are a pair": (
        lambda n, t: any(t - x in {*n} - {x} for x in n)
    ),
}


def prompts_alike(rng: random.Random) -> list[tuple]:
    """Two prompts: with the same sum, characters, digits; in another order; with
    another target; with other numbers."""
    cases = [
        ("T5,5,6=11:", "T5,6,6=11:"),
        ("T1,5,9=10:", "T2,5,8=10:"),
        ("T1,23,4,6=10:", "T2,13,4,6=10:"),
        ("T1,2,34=3:", "T1,2,3,4=3:"),
        ("T2,3,6,9=15:", "T2,3,6,91=5:"),
    ]
    for level in (3, 4, 6):
        numbers = [*range(2, 2 + level)]
        rng.shuffle(numbers)
        first, last = sum(numbers[:2]), sum(numbers[-2:]) + 20
        more = [*numbers[:-1], numbers[-1] + 20]
        pairs = [(numbers[::-1], first), (more, first)]
        cases += [(prompt_of(numbers, first), prompt_of(*other)) for other in pairs]
        cases.append((prompt_of(more, last), prompt_of(more, first)))
    return cases


def same_key(pair: type) -> Callable:
    def problems(*prompts: str) -> str:
        keys = {read(pair(), prompt).key.encode() for prompt in prompts}
        return "one problem" if len(keys) == 1 else "two problems"

    return problems


KEYS = {
    "another order is another problem for you: one can be trained on and the other be "
    "in the test": lambda n, target: f"{n} {target}",
    "the key forgets the target": lambda n, target: str(sorted(n)),
    "a set forgets how often a number is there": lambda n, t: f"{sorted(set(n))} {t}",
    "other numbers can have the same sum": lambda n, t: f"{len(n)} {sum(n)} {t}",
    "sort numbers, not characters: 1,23 is not 2,13": (
        lambda n, target: "".join(sorted(prompt_of(n, target)))
    ),
    "without something between the numbers 1,2,34 is 1,2,3,4": (
        lambda n, target: "".join(map(str, sorted(n))) + f"={target}"
    ),
}


def drawing(pair: type) -> Callable:
    """What 200 problems of a level are like: the first thing that is wrong."""

    def first_fault(level: int, seed: int) -> str:
        task, rng, again = pair(), random.Random(seed), random.Random(seed)
        prompts = [task.generate(level, rng).prompt for _ in range(200)]
        data = [Plain().parse(prompt).data for prompt in prompts]
        lists = [numbers for numbers, _ in data]
        least, most = min(map(min, lists)), max(map(max, lists))
        pairs = [Plain().pairs(*one) for one in data]
        places = {found[0] for found in pairs if len(found) == 1}
        of = level * (level - 1) // 2
        faults = {
            "not the same": prompts[0] != task.generate(level, again).prompt,
            "another number of numbers": any(len(row) != level for row in lists),
            "a number twice": any(len(set(row)) < len(row) for row in lists),
            f"numbers from {least} to {most}": (least, most) != (1, 30),
            "only sorted ones": not any(x > y < z for x, y, z, *_ in lists),
            f"{len(places)} of {of} pairs of places": len(places) < of,
        }
        return f"level {level}: {[*filter(faults.get, faults), 'as asked'][0]}"

    return first_fault


NUMBERS = {
    "draw from the rng that is given": lambda n, rng: random.sample(UP, n),
    "a level has as many numbers as it says": lambda n, rng: rng.sample(UP, n + 1),
    "the numbers must differ": lambda n, rng: rng.choices(UP, k=n),
    "30 never occurs": lambda n, rng: rng.sample(range(1, 30), n),
    "the numbers are always sorted": lambda n, rng: sorted(rng.sample(UP, n)),
}


def problems_of(rng: random.Random) -> list[tuple]:
    """Also such that half of the target is there, once and twice, and one that begins
    with more than the target."""
    n, more = rng.randrange(5, 15), rng.randrange(1, 5)
    lists = [n, n + more, n - more], [n, 30, n, n + 1, n - 1], [30, n - more, n + more]
    prompts = [prompt_of(numbers, 2 * n) for numbers in lists]
    prompts += [Plain().generate(level, rng).prompt for level in (4, 6)]
    return [(prompt,) for prompt in prompts]


ANSWERS = [f"{a}+{b}" for a in UP for b in UP]


def accepting(pair: type) -> Callable:
    def paid(prompt: str) -> str:
        task, problem = pair(), Plain().parse(prompt)
        right = [text for text in ANSWERS if Plain().accepts(problem, text)]
        turned = ["+".join(text.split("+")[::-1]) for text in right]
        pays = {text: bool(task.accepts(problem, text)) for text in ANSWERS}
        if [pays[text] for text in right] != [pays[text] for text in turned]:
            return "one order is paid and the other is refused"
        return what_is_paid(pays.get, right, ANSWERS)

    return paid


ACCEPTERS = {
    "any two with the right sum are paid": lambda n, target, a, b: a + b == target,
    "a number counts as often as it is there: one is paid twice": (
        lambda n, target, a, b: a + b == target and {a, b} <= {*n}
    ),
    "the sum is not asked": lambda n, target, a, b: {a, b} <= {*n},
    "either order is right": lambda *x: x[2] <= x[3] and Plain().right(*x),
    "two equal numbers are a pair": lambda *x: x[2] != x[3] and Plain().right(*x),
    "nothing is paid: is text compared with numbers?": lambda *_: False,
}


def showing(pair: type) -> Callable:
    """A thought without noise, word for word; what is wrong with 200 noisy ones."""

    def facts(prompt: str, noise: float) -> str:
        task, problem = pair(), Plain().parse(prompt)
        numbers, target = problem.data
        if not noise:
            return "[{}]{}".format(*task.think(problem, noise, random.Random(0)))
        made = [task.think(problem, noise, random.Random(i)) for i in range(200)]
        right = ";".join(f"{target}-{n}={target - n}" for n in numbers)
        if all(right.startswith(thought) for thought, _ in made):
            return "no result is redrawn"
        found = [re.findall("=(-?[0-9]+)", thought) for thought, _ in made]
        results = sorted(int(rest) for rests in found for rest in rests) or [0]
        if (results[0], results[-1]) != (1, 30):
            return f"results from {results[0]} to {results[-1]}"
        for (thought, answer), rests in zip(made, found, strict=True):
            steps, hit = Plain().walk(problem, [*map(int, rests), *[0] * 6])
            if thought != steps:
                return "a result that is written and not believed"
            if answer != hit if hit else not re.fullmatch(TWO, str(answer)):
                return f"{answer!r} where {hit or 'a guess'} is due"
        return "as asked"

    return facts


def unbelieved(self: Plain, problem, noise: float, rng: random.Random) -> tuple:
    thought, answer = Plain.think(self, problem, 0.0, rng)
    redrawn = re.sub("=-?[0-9]+", lambda _: f"={rng.choice(UP)}", thought)
    return redrawn if noise else thought, answer


def positive(*case) -> tuple:
    thought, answer = Plain.think(*case)
    return re.sub("[0-9]+-[0-9]+=-[0-9]+;?", "", thought), answer


CHECKS = [
    Check(
        "reward.split_of", "a key's split, by its hash", 3, keys_of, split, SPLITTERS
    ),
    Check(
        "reward.Puzzle.stated",
        "the answer that a completion states, or None",
        4,
        texts_of,
        stated,
        STATERS,
        through=lambda way: lambda grammar, text: way(puzzle(grammar), text),
    ),
    Check(
        "reward.Puzzle.verify",
        "700 strings of an attacker of two tasks, only what is right is paid",
        3,
        lambda rng: [(prompt, rng.randrange(10**6)) for prompt in TARGETS],
        lambda task, problem, text: stated(task, text) in problem.right,
        VERIFIERS,
        through=attack,
    ),
    Check(
        "pair.Pair",
        "parse: level, numbers and target; None without an answer",
        2,
        prompts_of,
        Plain,
        each("pairs", PAIRS),
        through=parsing,
    ),
    Check(
        "pair.Pair",
        "parse: the same key for the same problem, and for no other",
        2,
        prompts_alike,
        Plain,
        each("key", KEYS),
        through=same_key,
    ),
    Check(
        "pair.Pair",
        "generate: different numbers, any two of them, the same from the same rng",
        2,
        lambda rng: [(level, rng.randrange(10**6)) for level in (3, 4)],
        Plain,
        each("numbers", NUMBERS)
        | {
            "the target is always the sum of the same two places: a policy learns the "
            "places": but(two=lambda self, numbers, rng: numbers[:2]),
        },
        through=drawing,
    ),
    Check(
        "pair.Pair",
        "accepts: of 900 answers of legal form those that are right",
        2,
        problems_of,
        Plain,
        each("right", ACCEPTERS),
        through=accepting,
    ),
    Check(
        "pair.Pair",
        "think: the thought, word for word; what noise does to it",
        1,
        lambda rng: [(*it, noise) for it in problems_of(rng) for noise in (0.0, 1.0)],
        Plain,
        {
            "a number is its own partner: look among the others": but(
                others=lambda self, numbers, i: numbers
            ),
            "a result may be negative: its step is written too": but(think=positive),
            "noise redraws the result that is written in a step": but(
                result=lambda self, right, noise, rng: right
            ),
            "a result that is written is used, right or not: stop if it is another of "
            "the numbers, earlier or later, else go on": but(think=unbelieved),
            "results are redrawn from 1 to 30, yours from 0": but(redraws=range(31)),
            "if nothing is found the answer is a guess": but(guess=lambda *_: ""),
        },
        through=showing,
    ),
    Check(
        "answers.share_unseen",
        "{0} strings drawn at random were refused, as they should. What share of such "
        "strings may still be paid, with 95 % confidence? (four digits)",
        1,
        lambda rng: [(rng.randrange(20, 60),)],
        lambda n: 1 - 0.05 ** (1 / n),  # (1 - s)^n = 0.05
        {
            "(1 - s)^n is 0.05, not 0.95": lambda n: 1 - 0.95 ** (1 / n),
            "that is the share refused": lambda n: 0.05 ** (1 / n),
            "that is the rule of three; the exact share is asked": lambda n: 3 / n,
        },
        tolerance=5e-4,
    ),
]
