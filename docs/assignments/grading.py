"""What a check is, and how it is judged: points, or a sentence that says what is wrong.

A module's checks.py lists BLANKS, the functions that a starter lacks, and CHECKS. A
check knows a plain way to the right answer, and mistakes: each is a way that people
really go, with the sentence that they need. So the same list grades students and is
itself tested: every mistake must get its own sentence.
"""

import importlib
import json
import random
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
import torch

Cases = list[tuple]
PATIENCE = 20  # seconds for a check
GRADERS = ("grading.py", "checks.py", "grade.py")


@dataclass(frozen=True)
class Check:
    """One thing that is graded."""

    name: str  # grpo.group_advantages, model.Attention.attend_cached or answers.KEY
    what: str  # in a few words; of an answer: the question, {0} being its first number
    points: int
    cases: Callable[[random.Random], Cases]  # arguments of each call, by student
    truth: Callable  # the plain way
    mistakes: dict[str, Callable] = field(default_factory=dict)  # sentence: wrong way
    tolerance: float = 1e-4
    through: Callable | None = None  # of a function: what is compared, as its gradient


def flat(value: object) -> list[float]:
    """All numbers in a value, in order; text and None are numbers too."""
    if isinstance(value, torch.Tensor):
        return [float(x) for x in value.detach().flatten().double()]
    if isinstance(value, dict):
        return [x for key in sorted(value, key=str) for x in flat([key, value[key]])]
    if isinstance(value, list | tuple):
        return [x for part in value for x in flat(part)]
    if isinstance(value, np.ndarray):
        return flat(value.tolist())
    if isinstance(value, str) or value is None:
        return [float(len(str(value))), *map(float, map(ord, str(value)))]
    return [float(value)]


def alike(one: object, other: object, tolerance: float) -> bool:
    """Are two values of one shape, and each number as near as told, NaN to NaN?"""
    if isinstance(one, torch.Tensor) != isinstance(other, torch.Tensor):
        return False
    if isinstance(one, torch.Tensor) and one.shape != other.shape:
        return False
    a, b = flat(one), flat(other)
    near = [
        x == y or (x != x and y != y) or abs(x - y) <= tolerance * max(1.0, abs(y))
        for x, y in zip(a, b, strict=False)
        if abs(y) != float("inf")
    ]
    ends = [x == y for x, y in zip(a, b, strict=False) if abs(y) == float("inf")]
    return len(a) == len(b) and all(near) and all(ends)


def show(value: object) -> str:
    """A value on one line, cut short."""
    if isinstance(value, torch.Tensor):
        shape, value = tuple(value.shape), [round(x, 4) for x in flat(value)[:8]]
        return f"{value}{' ...' if len(value) == 8 else ''} of shape {shape}"
    text = f"{value:.4f}" if isinstance(value, float) else repr(value)
    return text if len(text) < 100 else text[:100] + " ..."


def judge(check: Check, function: Callable, rng: random.Random) -> str:
    """What is wrong with a function, in a sentence; empty if nothing is."""
    cases, through = check.cases(rng), check.through or (lambda way: way)
    function, expected = through(function), [through(check.truth)(*c) for c in cases]
    found = []
    for case in cases:
        try:
            found.append(function(*case))
        except NotImplementedError:
            return "not written yet"
        except TooLong as error:
            return str(error)
        except (Exception, SystemExit) as error:  # a student's code may do anything
            set_alarm(0)  # nothing may ring in what `said` calls
            return f"it raises {said(error)}"

    def same(others: list) -> bool:
        pairs = zip(others, found, strict=True)
        return all(alike(mine, other, check.tolerance) for other, mine in pairs)

    if same(expected):
        return ""
    for sentence, wrong in check.mistakes.items():
        if same([through(wrong)(*case) for case in cases]):
            return sentence
    if check.name.startswith("answers."):  # the right one is for the student to find
        if isinstance(found[0], str):
            return f"{found[0]!r} is text: answers are numbers without quotes"
        return f"{show(found[0])} is not right"
    numbers = [flat(value) for value in found]
    if all(x == 0 for part in numbers for x in part):
        return "it gives 0 whatever it is asked" if any(numbers) else "it gives nothing"
    if len(cases) > 1 and all(part == numbers[0] for part in numbers):
        return "it gives the same for all inputs: a constant is no solution"
    for case, mine, right in zip(cases, found, expected, strict=True):
        if not alike(mine, right, check.tolerance):
            asked = ", ".join(map(show, case))
            return f"{difference(mine, right, check.tolerance)}; asked {asked}"
    return "it is wrong"


class TooLong(BaseException):
    """No Exception: a loop of the student's may catch all of those."""


def ring(_: int, frame: FrameType) -> None:
    """What the alarm does to a student's line."""
    if frame.f_code.co_filename != __file__:
        raise TooLong(f"it ran longer than {PATIENCE} s")


def set_alarm(seconds: float) -> None:
    """Ring after so long, and then all the time: a loop may catch everything, but not
    while it is in its handler. 0: no more. Windows has no alarm."""
    if hasattr(signal, "SIGALRM"):
        signal.setitimer(signal.ITIMER_REAL, seconds, min(seconds, 2e-5))


def said(error: BaseException) -> str:
    """An error in a line, with the last line of the student's that it came through."""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).name not in GRADERS and Path(frame.filename).exists():
            if "-packages" not in frame.filename:
                place = f" ({Path(frame.filename).name}, line {frame.lineno})"
    return f"{type(error).__name__}{place}: {str(error)[:200]}"


def difference(mine: object, right: object, tolerance: float) -> str:
    """Where two values differ first."""
    if not (isinstance(mine, torch.Tensor) and isinstance(right, torch.Tensor)):
        return f"{show(right)} was expected, {show(mine)} came"
    if mine.shape != right.shape:
        return f"shape {(*right.shape,)} was expected, {(*mine.shape,)} came"
    for number, (one, other) in enumerate(zip(flat(mine), flat(right), strict=True)):
        if not alike(one, other, tolerance):
            place = [int(i) for i in np.unravel_index(number, right.shape or (1,))]
            return f"at {place} {other:.4f} was expected, {one:.4f} came"
    return f"{right.dtype} was expected, {mine.dtype} came"


def find(name: str, folder: Path) -> Callable:
    """The student's function; an answer of answers.json is one too, of anything."""
    module, *path = name.split(".")
    if module == "answers":
        file = folder / "answers.json"
        try:
            given = json.loads(file.read_text()) if file.exists() else {}
        except ValueError as error:
            raise ValueError(f"answers.json is no JSON: {error}") from error
        if not isinstance(given, dict):
            raise ValueError("answers.json must hold the names with a number each")

        def answer(*_: object) -> object:
            if given.get(path[0]) is None:
                raise NotImplementedError
            return given[path[0]]

        return answer
    found = importlib.import_module(module)
    for part in path:
        found = getattr(found, part)
    return found


def grade(checks: list[Check], folder: Path, student: str) -> list[tuple]:
    """(check, points, what is wrong) for each check of a student's folder, which is
    first on sys.path."""
    rows, slow = [], {}
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, ring)
    for number, check in enumerate(checks):
        rng = random.Random(f"{student} {check.name} {number}")
        file = check.name.split(".")[0]
        try:
            set_alarm(PATIENCE)
            wrong = slow.get(file) or judge(check, find(check.name, folder), rng)
        except TooLong as error:
            wrong = slow[file] = f"{file}.py does not import: {error}"
        except (Exception, SystemExit) as error:  # a file that does not import
            set_alarm(0)
            wrong = said(error)
        finally:
            set_alarm(0)
        rows.append((check, 0 if wrong else check.points, wrong))
    return rows
