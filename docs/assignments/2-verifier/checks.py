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
        "Pair.parse",
        "Pair.right_pairs",
        "Pair.generate",
        "Pair.accepts",
        "Pair.think",
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


def split(key: str) -> str:
    return name_of(bucket(key))


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


def by(match: Callable, legal: Callable, part: int = 2):
    """Puzzle.stated by other ways to match the whole, and the answer."""

    def wrong(self, completion: str) -> str | None:
        found = match(self.completion, completion)
        return found[part] if found and legal(self.grammar, found[2]) else None

    return wrong


def strips(self, completion: str) -> str | None:
    found = self.completion.fullmatch(completion)
    answer = found[2].strip() if found else ""
    return answer if self.grammar.fullmatch(answer) else None


WHOLE = re.compile(r"(?:\[([^\[\]]*)\])?([^\[\]\n]+)\n")  # Puzzle.completion


def puzzle(grammar: str) -> SimpleNamespace:
    """What stated and verify know of a task: `self`."""
    return SimpleNamespace(completion=WHOLE, grammar=re.compile(grammar))


def stating(way: Callable) -> Callable:
    return lambda grammar, text: way(puzzle(grammar), text)


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


def targets_of(rng: random.Random) -> list[tuple]:
    return [(prompt, rng.randrange(10**6)) for prompt in TARGETS]


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
    paid = [text for text in texts if pays(text)]
    robbed = [text for text in paid if text not in right]
    refused = [text for text in right if text not in paid]
    if robbed:
        wrong = f"{len(robbed)} of {len(texts)} strings are paid wrongly"
        return f"{wrong}, the first: {robbed[0][:30]}"
    if refused:
        wrong = f"{len(refused)} of {len(right)} right ones are refused"
        return f"{wrong}, the first: {refused[0][:30]}"
    return "only what is right is paid"


def anywhere(task, problem, text: str) -> bool:
    return problem.answer in text


def last_digit(task, problem, text: str) -> bool:
    return re.findall("[0-9]", text)[-1:] == [problem.answer]


def lenient(task, problem, text: str) -> bool:
    try:
        return int(text.rpartition("]")[2]) == int(problem.answer)
    except ValueError:
        return False


# The task

PairData = namedtuple("PairData", "numbers target")


class Plain:
    """Pair, written again: it knows a prompt by its numbers, the target being last."""

    form = re.compile("T([0-9,]+)=([0-9]+):")

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

    def numbers(self, level: int, rng: random.Random) -> list[int]:
        return rng.sample(range(1, 31), level)

    def generate(self, level: int, rng: random.Random) -> SimpleNamespace:
        numbers = self.numbers(level, rng)
        return self.parse(prompt_of(numbers, sum(rng.sample(numbers, 2))))

    def accepts(self, problem, answer: str) -> bool:
        numbers, target = problem.data
        right = [(numbers[i], numbers[j]) for i, j in self.pairs(numbers, target)]
        return answer in [f"{x}+{y}" for a, b in right for x, y in ((a, b), (b, a))]

    def think(self, problem, noise: float, rng: random.Random) -> tuple[str, str]:
        numbers, target = problem.data
        slips = [rng.random() < noise for _ in numbers]
        rests = [target - n for n in numbers]
        rests = [
            self.redrawn(rng) if s else r for s, r in zip(slips, rests, strict=True)
        ]
        thought, answer = self.walk(problem, rests)
        return thought, answer or self.guess(problem, rng)

    def walk(self, problem, rests: list[int]) -> tuple[str, str]:
        """Each number in turn, and who its partner would be; nobody: no answer."""
        (numbers, target), steps = problem.data, []
        for i, (n, rest) in enumerate(zip(numbers, rests, strict=False)):
            steps.append(f"{target}-{n}={rest}")
            if rest in self.others(numbers, i):
                return ";".join(steps), f"{n}+{rest}"
        return ";".join(steps), ""

    def redrawn(self, rng: random.Random) -> int:
        return rng.randint(1, 30)

    def others(self, numbers: tuple[int, ...], i: int) -> list[int]:
        return [n for j, n in enumerate(numbers) if j != i]

    def guess(self, problem, rng: random.Random) -> str:
        return "{}+{}".format(*rng.sample(problem.data.numbers, 2))


def but(**methods: Callable) -> type:
    """The plain task with some methods done wrong."""
    return type("Wrong", (Plain,), methods)


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


def prompts_alike(rng: random.Random) -> list[tuple]:
    """Two prompts: in another order; with another target; with other numbers, also such
    with the same sum, characters or digits."""
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


def drawing(pair: type) -> Callable:
    """What 200 problems of a level are like: the first thing that is wrong."""

    def fault(level: int, seed: int) -> str:
        task, rng, again = pair(), random.Random(seed), random.Random(seed)
        prompts = [task.generate(level, rng).prompt for _ in range(200)]
        if prompts[0] != task.generate(level, again).prompt:
            return "another problem from the same rng"
        problems = [Plain().parse(prompt) for prompt in prompts]
        lists = [[*problem.data.numbers] for problem in problems]
        if any(len(numbers) != level for numbers in lists):
            return "another number of numbers"
        if any(len(set(numbers)) < level for numbers in lists):
            return "a number twice"
        least, most = min(map(min, lists)), max(map(max, lists))
        if (least, most) != (1, 30):
            return f"numbers from {least} to {most}"
        if any(all(x == sorted(x)[::way] for x in lists) for way in (1, -1)):
            return "always sorted"
        pairs = [Plain().pairs(*problem.data) for problem in problems]
        met = {places[0] for places in pairs if len(places) == 1}
        of = level * (level - 1) // 2
        return f"{len(met)} of {of} pairs of places" if len(met) < of else "as asked"

    return fault


def levels_of(rng: random.Random) -> list[tuple]:
    return [(level, rng.randrange(10**6)) for level in (3, 4)]


def by_place(self: Plain, level: int, rng: random.Random) -> SimpleNamespace:
    numbers = rng.sample(range(1, 31), level)
    return self.parse(prompt_of(numbers, sum(numbers[:2])))


def other_rng(self: Plain, level: int, rng: random.Random) -> SimpleNamespace:
    return Plain.generate(self, level, random.Random())


def problems_of(rng: random.Random) -> list[tuple]:
    """Also such that half of the target is there, once and twice, and one that begins
    with more than the target."""
    n, more = rng.randrange(5, 15), rng.randrange(1, 5)
    lists = [
        [n, n + more, n - more],
        [n, 30, n, n + 1, n - 1],
        [30, n - more, n + more],
    ]
    prompts = [prompt_of(numbers, 2 * n) for numbers in lists]
    prompts += [Plain().generate(level, rng).prompt for level in (4, 6)]
    return [(prompt,) for prompt in prompts]


def with_noise(rng: random.Random) -> list[tuple]:
    prompts = [prompt for (prompt,) in problems_of(rng)]
    noisy = [(prompt, noise) for prompt in prompts[2:4] for noise in (0.5, 1.0)]
    return [(prompt, 0.0) for prompt in prompts] + noisy


def both(answer: str) -> list[int]:
    return [int(number) for number in answer.split("+")]


def any_numbers(self: Plain, problem, answer: str) -> bool:
    return sum(both(answer)) == problem.data.target


def any_sum(self: Plain, problem, answer: str) -> bool:
    return set(both(answer)) <= set(problem.data.numbers)


def one_twice(self: Plain, problem, answer: str) -> bool:
    return any_numbers(self, problem, answer) and any_sum(self, problem, answer)


def in_order(self: Plain, problem, answer: str) -> bool:
    numbers = problem.data.numbers
    pairs = [[numbers[i], numbers[j]] for i, j in self.pairs(*problem.data)]
    return both(answer) in pairs


def unequal(self: Plain, problem, answer: str) -> bool:
    return len(set(both(answer))) == 2 and Plain.accepts(self, problem, answer)


ANSWERS = [f"{a}+{b}" for a in range(1, 31) for b in range(1, 31)]


def accepting(pair: type) -> Callable:
    def paid(prompt: str) -> str:
        task, problem = pair(), Plain().parse(prompt)
        right = [text for text in ANSWERS if Plain().accepts(problem, text)]
        sides = [[*map(int, text.split("+"))] for text in right]
        seen = {(a, b): bool(task.accepts(problem, f"{a}+{b}")) for a, b in sides}
        if any(seen[a, b] != seen[b, a] for a, b in sides):
            return "one order is paid and the other is refused"
        return what_is_paid(lambda text: task.accepts(problem, text), right, ANSWERS)

    return paid


def showing(pair: type) -> Callable:
    """A thought without noise, word for word; of 200 noisy ones what is wrong first."""

    def facts(prompt: str, noise: float) -> str:
        task, problem, result = pair(), Plain().parse(prompt), r"-([0-9]+)=(-?[0-9]+)"
        numbers, target = problem.data
        made = [task.think(problem, noise, random.Random(i)) for i in range(200)]
        if noise == 0:
            return "[{}]{}".format(*made[0])
        found = [re.findall(result, thought) for thought, _ in made]
        slips = [[int(n) + int(rest) != target for n, rest in row] for row in found]
        if noise < 1:
            changes = [row[0] != row[1] for row in slips if len(row) > 1]
            often = 0.25 < sum(changes) / max(len(changes), 1) < 0.75
            return "as asked" if often else "all steps slip, or none"
        if not any(map(any, slips)):
            return "no step's result is redrawn"
        rests = [[int(rest) for _, rest in row] for row in found]
        least, most = min(sum(rests, [])), max(sum(rests, []))
        if (least, most) != (1, 30):
            return f"results from {least} to {most}"
        walks = [Plain().walk(problem, row) for row in rests]
        if any(len(r) < len(numbers) for r, (_, hit) in zip(rests, walks) if not hit):
            return "an end without a hit"
        if any(one[0] != other[0] for one, other in zip(made, walks)):
            return "a hit that is passed over"
        if any(hit not in ("", answer) for (_, answer), (_, hit) in zip(made, walks)):
            return "another answer than the last step's"
        legal = all(re.fullmatch(TWO, answer) for _, answer in made)
        return "as asked" if legal else "an answer of no legal form"

    return facts


def unwritten(self: Plain, problem, noise: float, rng: random.Random) -> tuple:
    thought, answer = Plain.think(self, problem, 0.0, rng)
    return thought, self.guess(problem, rng) if rng.random() < noise else answer


def unbelieved(self: Plain, problem, noise: float, rng: random.Random) -> tuple:
    def slip(match: re.Match) -> str:
        return f"={rng.randint(1, 30)}" if rng.random() < noise else match[0]

    thought, answer = Plain.think(self, problem, 0.0, rng)
    return re.sub("=-?[0-9]+", slip, thought), answer


def at_once(self: Plain, problem, noise: float, rng: random.Random) -> tuple:
    return Plain.think(self, problem, float(rng.random() < noise), rng)


def positive(self: Plain, problem, noise: float, rng: random.Random) -> tuple:
    thought, answer = Plain.think(self, problem, noise, rng)
    return re.sub("[0-9]+-[0-9]+=-[0-9]+;?", "", thought), answer


# What an attack says


def one_attack(rng: random.Random) -> list[tuple]:
    return [(rng.randrange(20, 60),)]


def share_unseen(n: int) -> float:
    """The share s that survives n tries with chance 0.05: (1 - s)^n = 0.05."""
    return 1 - 0.05 ** (1 / n)


CHECKS = [
    Check(
        "reward.split_of",
        "the split of a key, by its hash",
        3,
        keys_of,
        split,
        {
            "Python's hash() is another one in each process: a run that goes on would "
            "train on its test": lambda key: name_of(hash(key) % 100),
            "a bucket at an edge belongs to the next split: bucket < end": (
                lambda key: name_of(bucket(key), 0)
            ),
            "the bytes are read from the wrong end: big-endian": (
                lambda key: name_of(bucket(key, order=-1))
            ),
            "a long digest that is cut is another hash: digest_size=8": (
                lambda key: name_of(bucket(key, 64))
            ),
            "that is a hash of 64 bytes; asked for are 8: digest_size=8": (
                lambda key: name_of(bucket(key, 64, 64))
            ),
        },
    ),
    Check(
        "reward.Puzzle.stated",
        "the answer that a completion states, or None",
        4,
        texts_of,
        stated,
        {
            "match() reads a beginning: what stands behind it is forgiven; fullmatch": (
                by(re.Pattern.match, re.Pattern.fullmatch)
            ),
            "search() finds an answer anywhere in the text; fullmatch": (
                by(re.Pattern.search, re.Pattern.fullmatch)
            ),
            "the answer's own grammar is not asked": (
                by(re.Pattern.fullmatch, lambda *_: True)
            ),
            "the grammar must match all of the answer, not its beginning": (
                by(re.Pattern.fullmatch, re.Pattern.match)
            ),
            "that is the thought, not the answer": (
                by(re.Pattern.fullmatch, re.Pattern.fullmatch, 1)
            ),
            "blanks are stripped, and a missing end is forgiven": (
                lambda self, text: stated(self, text.strip() + "\n")
            ),
            "the answer is stripped: blanks around it are no legal form": strips,
        },
        through=stating,
    ),
    Check(
        "reward.Puzzle.verify",
        "700 strings of an attacker of two tasks, only the right ones paid",
        3,
        targets_of,
        lambda task, problem, text: stated(task, text) in problem.right,
        {
            "the right answer anywhere in the text is paid": anywhere,
            "the last digit is paid, whatever stands around it": last_digit,
            "int() forgives: 09, +9, blanks, digits of other scripts": lenient,
            "form earns nothing: is the answer right?": (
                lambda task, problem, text: stated(task, text) is not None
            ),
            "a task may have several right answers: ask accepts": (
                lambda task, problem, text: stated(task, text) == problem.answer
            ),
        },
        through=attack,
    ),
    Check(
        "pair.Pair",
        "parse: level, numbers and target; None without an answer",
        2,
        prompts_of,
        Plain,
        {
            "a problem without an answer must be refused: None": but(
                pairs=lambda self, numbers, target: [(0, 1)]
            ),
            "a number and itself are one number, not two": but(
                pairs=lambda self, numbers, target: any(
                    target - n in numbers for n in numbers
                )
            ),
            "two equal numbers in two places are two": but(
                pairs=lambda self, numbers, target: any(
                    target - n in {*numbers} - {n} for n in numbers
                )
            ),
        },
        through=parsing,
    ),
    Check(
        "pair.Pair",
        "parse: the same key for the same problem, and for no other",
        2,
        prompts_alike,
        Plain,
        {
            "another order is another problem for you: one can be trained on and the "
            "other be in the test": but(key=lambda self, *data: str(data)),
            "the key forgets the target": but(
                key=lambda self, n, target: str(sorted(n))
            ),
            "a set forgets how often a number is there": but(
                key=lambda self, n, target: f"{sorted(set(n))} {target}"
            ),
            "other numbers can have the same sum": but(
                key=lambda self, n, target: f"{len(n)} {sum(n)} {target}"
            ),
            "other numbers can have the same characters: sort numbers, not text": but(
                key=lambda self, n, target: "".join(sorted(prompt_of(n, target)))
            ),
            "without something between the numbers 1,2,34 is 1,2,3,4": but(
                key=lambda self, n, target: f"{sorted(n)}={target}".replace(", ", "")
            ),
        },
        through=same_key,
    ),
    Check(
        "pair.Pair",
        "generate: as many numbers as the level, different, the target of any two",
        2,
        levels_of,
        Plain,
        {
            "the target is always the sum of the same two places: a policy learns the "
            "places": but(
                generate=lambda self, level, rng: self.parse(
                    prompt_of(found := self.numbers(level, rng), sum(found[:2]))
                )
            ),
            "draw from the rng that is given, or it is never the same again": but(
                numbers=lambda self, level, rng: random.sample(range(1, 31), level)
            ),
            "a level has as many numbers as it says": but(
                numbers=lambda self, level, rng: rng.sample(range(1, 31), level + 1)
            ),
            "the numbers must differ, yours repeat": but(
                numbers=lambda self, level, rng: rng.choices(range(1, 31), k=level)
            ),
            "range(1, 30) ends at 29: 30 is to occur too": but(
                numbers=lambda self, level, rng: rng.sample(range(1, 30), level)
            ),
            "the numbers are always sorted: a policy learns the order": but(
                numbers=lambda *case: sorted(Plain.numbers(*case))
            ),
        },
        through=drawing,
    ),
    Check(
        "pair.Pair",
        "accepts: of 900 answers of legal form those that are right",
        2,
        problems_of,
        Plain,
        {
            "any numbers with the right sum are paid: they must be of the list": but(
                accepts=any_numbers
            ),
            "one number is paid twice: it counts as often as it is there": but(
                accepts=one_twice
            ),
            "the sum is not asked": but(accepts=any_sum),
            "either order is right": but(accepts=in_order),
            "two equal numbers at two places are a pair": but(accepts=unequal),
            "nothing is paid: is text compared with numbers?": but(
                accepts=lambda self, problem, answer: False
            ),
        },
        through=accepting,
    ),
    Check(
        "pair.Pair",
        "think: the thought, word for word; what noise does to it",
        1,
        with_noise,
        Plain,
        {
            "a number is its own partner: look among the others": but(
                others=lambda self, numbers, i: [*numbers]
            ),
            "a result may be negative, and its step is written too": but(
                think=positive
            ),
            "noise is to redraw the result that is written in a step": but(
                think=unwritten
            ),
            "a redrawn result is believed: whether to stop, and the answer, come from "
            "what is written": but(think=unbelieved),
            "the partner may also stand earlier in the list": but(
                others=lambda self, numbers, i: numbers[i + 1 :]
            ),
            "results are redrawn from 1 to 30, yours from 0": but(
                redrawn=lambda self, rng: rng.randint(0, 30)
            ),
            "each step slips on its own, with chance noise": but(think=at_once),
            "if nothing is found, the answer is a guess": but(guess=lambda *_: ""),
        },
        through=showing,
    ),
    Check(
        "answers.share_unseen",
        "{0} strings drawn at random were refused, as they should. What share of such "
        "strings may still be paid, with 95 % confidence? (four digits)",
        1,
        one_attack,
        share_unseen,
        {
            "(1 - s)^n is 0.05, not 0.95": lambda n: 1 - 0.95 ** (1 / n),
            "that is the share refused": lambda n: 0.05 ** (1 / n),
            "that is the rule of three; the exact share is asked": lambda n: 3 / n,
        },
        tolerance=5e-4,
    ),
]
