"""Module 2: a verifier and a task. What is left out, and what is graded."""

import hashlib
import random
import re
from collections import namedtuple
from collections.abc import Callable
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


def texts_of(rng: random.Random) -> list[tuple]:
    """Answers of two grammars, with all that people forgive or forget."""
    whole = re.compile(r"(?:\[([^\[\]]*)\])?([^\[\]\n]+)\n")  # Puzzle.completion
    cases = []
    for grammar, good, bad in (("[0-9]", "7", "77"), (r"[1-9]\+[1-9]", "3+4", "3+0")):
        task = SimpleNamespace(completion=whole, grammar=re.compile(grammar))
        texts = [good, f"[3+4=7]{good}", f"[]{good}", f"[{bad}]{good}", f"[[1]]{good}"]
        texts += [f"[{good}{bad}", f"{good}]", f"[1]{good}[2]", f"[1][2]{good}", bad]
        texts += [f"{good}\n", f"{good}\n{bad}", f"{good} ", f" {good}", f"{good}x", ""]
        texts += [f"x{good}", "x", "[7]", f"[{rng.randrange(99)}]{good}", "٧", "\n"]
        cases += [(task, text + "\n") for text in texts]
        cases += [(task, good), (task, f"[1]{good}")]
    return cases


HOSTILE = """09 9_ +9 9.0 ٩ ９ 9~9 [1][2]9 [[1]]9 [1]9[2] [9 9] 9[9] 3+6 0x9 None nan
__import__('os') 9**9**9 <|pad|>""".split()


def chains_of(rng: random.Random) -> list[tuple]:
    """Two problems of the chain with texts that are right, and hostile ones."""
    import reward  # of the student: not to be imported before their folder is known

    cases, task = [], reward.find_task("chain")
    for steps, answer in (("3d+5k-9", "9"), ("1a-5c+6", "2")):
        texts = [answer, f"[{steps}]{answer}", f"[]{answer}", f"[9]{answer}"]
        texts += [text.replace("9", answer) for text in HOSTILE]
        texts += [f"{answer} ", f" {answer}", f"{answer}\n", f"{answer}\n8", "", "\n"]
        texts += ["[" * 10_000 + answer, answer * 5000, f"[{answer}]8", "8"]
        for _ in range(300 + rng.randrange(50)):
            odd = "".join(rng.choices("0123456789[]+-=; \n\té\x00", k=rng.randrange(9)))
            texts.append(rng.choice([odd, answer + odd, odd + answer]))
        texts = [text + "\n" for text in texts] + [answer, f"[{steps}]{answer}"]
        problem = task.read(f"C{steps}:")
        right = [text for text in texts if stated(task, text) == answer]
        wrong = [text for text in texts if stated(task, text) != answer]
        cases.append((task, problem, right, wrong))
    return cases


def count_paid(pays: Callable, right: list[str], wrong: list[str]) -> dict:
    """What is paid, and the first of what should not be."""
    robbed = [text for text in wrong if pays(text)]
    paid = {"right": sum(bool(pays(text)) for text in right), "wrong": len(robbed)}
    return paid | {"first": robbed[0][:40] if robbed else "none"}


def attack(verify: Callable) -> Callable:
    def paid(task, problem, right: list[str], wrong: list[str]) -> dict:
        return count_paid(lambda text: verify(task, problem, text), right, wrong)

    return paid


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

    def generate(self, level: int, rng: random.Random) -> SimpleNamespace:
        numbers, places = rng.sample(range(1, 31), level), rng.sample(range(level), 2)
        return self.parse(prompt_of(numbers, sum(numbers[i] for i in places)))

    def draw(self, level: int, name: str, rng: random.Random) -> SimpleNamespace:
        problem = self.generate(level, rng)
        while split(problem.key) != name:
            problem = self.generate(level, rng)
        return problem

    def accepts(self, problem, answer: str) -> bool:
        numbers, target = problem.data
        right = [(numbers[i], numbers[j]) for i, j in self.pairs(numbers, target)]
        return answer in [f"{x}+{y}" for a, b in right for x, y in ((a, b), (b, a))]

    def demonstrate(self, problem, corpus, rng: random.Random) -> tuple:
        """((text,), right). Each number in turn, and who its partner would be."""
        numbers, target = problem.data
        steps, answer = [], f"{numbers[0]}+{numbers[1]}"
        for i, n in enumerate(numbers):
            slips = rng.random() < corpus.noise
            partner = rng.randint(1, 30) if slips else target - n
            steps.append(f"{target}-{n}={partner}")
            if partner in self.others(numbers, i):
                answer = f"{n}+{partner}"
                break
        text = f"[{';'.join(steps)}]{answer}\n"
        return (text,), self.accepts(problem, answer)

    def others(self, numbers: tuple[int, ...], i: int) -> list[int]:
        return [n for j, n in enumerate(numbers) if j != i]


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


def parsing(task: type) -> Callable:
    def level_and_data(prompt: str) -> list | str:
        problem = read(task(), prompt)
        return [problem.level, *problem.data] if problem else "refused"

    return level_and_data


def prompts_alike(rng: random.Random) -> list[tuple]:
    """Two prompts: in another order; with another target; with other numbers."""
    cases = [("T5,5,6=11:", "T5,6,6=11:")]
    for level in (3, 4, 6):
        numbers = [*range(2, 2 + level)]
        rng.shuffle(numbers)
        first, last = sum(numbers[:2]), sum(numbers[-2:]) + 20
        more = [*numbers[:-1], numbers[-1] + 20]
        pairs = [(numbers[::-1], first), (more, first)]
        cases += [(prompt_of(numbers, first), prompt_of(*other)) for other in pairs]
        cases.append((prompt_of(more, last), prompt_of(more, first)))
    return cases


def same_key(task: type) -> Callable:
    return lambda one, other: read(task(), one).key == read(task(), other).key


def drawing(pair: type) -> Callable:
    """What 80 problems of a level are like, 20 of each split."""

    def facts(level: int, seed: int) -> dict:
        task, lengths, places, fits = pair(), set(), set(), []
        for name in ("base", "rl", "label", "test"):
            first, rng = (random.Random(f"{seed} {name}") for _ in range(2))
            problems = [task.draw(level, name, rng) for _ in range(20)]
            fits += [split(problem.key) == name for problem in problems]
            again = task.draw(level, name, first).prompt == problems[0].prompt
            for problem in problems:
                *numbers, target = map(int, re.findall("[0-9]+", problem.prompt))
                lengths.add(len(numbers))
                pairs = Plain().pairs(numbers, target)
                places.update(pairs if len(pairs) == 1 else [])
        found = {"numbers": sorted(lengths), "pairs of places": len(places)}
        return found | {"drawn again": again, "in its split": all(fits)}

    return facts


def levels_of(rng: random.Random) -> list[tuple]:
    return [(level, rng.randrange(10**6)) for level in (3, 4)]


def by_place(self: Plain, level: int, rng: random.Random) -> SimpleNamespace:
    numbers = rng.sample(range(1, 31), level)
    return self.parse(prompt_of(numbers, sum(numbers[:2])))


def other_rng(self: Plain, level: int, rng: random.Random) -> SimpleNamespace:
    return Plain.generate(self, level, random.Random())


def one_more(self: Plain, level: int, rng: random.Random) -> SimpleNamespace:
    return Plain.generate(self, level + 1, rng)


def problems_of(rng: random.Random) -> list[tuple]:
    """Also such that half of the target is there, once and twice."""
    n, more = rng.randrange(5, 15), rng.randrange(1, 5)
    lists = [[n, n + more, n - more], [n, 30, n, n + 1, n - 1]]
    problems = [Plain().parse(prompt_of(numbers, 2 * n)) for numbers in lists]
    problems += [Plain().generate(level, rng) for level in (4, 6)]
    return [(problem,) for problem in problems]


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


ANSWERS = [f"{a}+{b}" for a in range(1, 31) for b in range(1, 31)]


def accepting(pair: type) -> Callable:
    def paid(problem: SimpleNamespace) -> dict:
        task = pair()
        right = [text for text in ANSWERS if Plain().accepts(problem, text)]
        wrong = [text for text in ANSWERS if text not in right]
        return count_paid(lambda text: task.accepts(problem, text), right, wrong)

    return paid


def showing(pair: type) -> Callable:
    """A good demonstration, word for word; do noisy ones go wrong?"""

    def facts(problem: SimpleNamespace) -> dict:
        task = pair()
        problem = read(task, problem.prompt)

        def show(noise: float, seed: int) -> tuple:
            corpus = SimpleNamespace(think_share=1.0, noise=noise, weak=0.0)
            return task.demonstrate(problem, corpus, random.Random(seed))

        (text,), right = show(0.0, 0)
        spoilt = any(show(1.0, seed)[0] != (text,) for seed in range(9))
        return {"text": text, "right": right, "noise spoils": spoilt}

    return facts


def without_noise(self: Plain, problem, corpus, rng: random.Random) -> tuple:
    return Plain.demonstrate(self, problem, SimpleNamespace(noise=0.0), rng)


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
        },
    ),
    Check(
        "reward.Puzzle.verify",
        "700 strings of an attacker of the chain, none of them paid",
        3,
        chains_of,
        lambda task, problem, text: stated(task, text) == problem.answer,
        {
            "the right answer anywhere in the text is paid": anywhere,
            "the last digit is paid, whatever stands around it": last_digit,
            "int() forgives: 09, +9, blanks, digits of other scripts": lenient,
            "form earns nothing: is the answer right?": (
                lambda task, problem, text: stated(task, text) is not None
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
        },
        through=same_key,
    ),
    Check(
        "pair.Pair",
        "generate: level, split, any two places, the same again from the same rng",
        2,
        levels_of,
        Plain,
        {
            "the target is always the sum of the same two places: a policy learns the "
            "places": but(generate=by_place),
            "draw from the rng that is given, or it is never the same again": but(
                generate=other_rng
            ),
            "a level has as many numbers as it says": but(generate=one_more),
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
        },
        through=accepting,
    ),
    Check(
        "pair.Pair",
        "think: the thought, word for word; accepted; noise spoils some",
        1,
        problems_of,
        Plain,
        {
            "a number is its own partner: look among the others": but(
                others=lambda self, numbers, i: [*numbers]
            ),
            "noise spoils nothing": but(demonstrate=without_noise),
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
        },
        tolerance=5e-4,
    ),
]
