"""Assignments: starters fail, solutions pass, each mistake gets its own sentence."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import scaling

ROOT = Path(scaling.__file__).parent
HERE = ROOT / "docs" / "assignments"
sys.path.insert(0, str(HERE))

import grading  # noqa: E402

MODULES = {path.parent.name: scaling.load(path) for path in HERE.glob("*/checks.py")}
CHECKS = [(name, check) for name in sorted(MODULES) for check in MODULES[name].CHECKS]
IDS = [f"{name[0]}-{check.name}-{i}" for i, (name, check) in enumerate(CHECKS)]


def program(name: str, *words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(HERE / f"{name}.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def nothing_like(value: object, number: float) -> object:
    """A value of the same shape, made of one number."""
    if isinstance(value, torch.Tensor):
        return torch.full(value.shape, number).to(value.dtype)
    if isinstance(value, list | tuple):
        return type(value)(nothing_like(part, number) for part in value)
    return number


@pytest.mark.parametrize("check", [check for _, check in CHECKS], ids=IDS)
def test_mistakes_get_their_sentence(check):
    """For three students; zeros and constants fail, the plain way passes."""
    for student in "abc":

        def said(function, student=student):
            return grading.judge(check, function, random.Random(student))

        assert said(check.truth) == ""
        for sentence, wrong in check.mistakes.items():
            assert said(wrong) == sentence
        for number in (0.0, 0.37):
            assert said(lambda *case, n=number: nothing_like(check.truth(*case), n))
        assert said(lambda *_: None) and "raises" in said(lambda *_: 1 / 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_starter_fails_exactly_its_own_checks(name, tmp_path):
    """And the solution none. What a student writes elsewhere does not help."""
    for out, flags in (("starter", ()), ("solved", ("--solved",))):
        made = program("make", name[0], tmp_path / out, "--student", "ada", *flags)
        assert made.returncode == 0, made.stderr
    table = tmp_path / "grades.csv"
    words = (tmp_path / "starter", "--student", "ada", "--csv", table)
    done = program("grade", name[0], *words)
    assert done.returncode == 1 and "\n0 of " in done.stdout, done.stdout
    done = program("grade", name[0], tmp_path / "solved", *words[1:])
    assert done.returncode == 0, done.stdout
    for other in sorted(MODULES):
        wrong = program("grade", other[0], tmp_path / "starter").stdout.splitlines()
        missing = [line for line in wrong if "not written yet" in line]
        answers = [line for line in wrong if " answers." in line]
        assert other == name or len(missing) == len(answers), (other, wrong)
    most = sum(check.points for check in MODULES[name].CHECKS)
    rows = [f"ada,{name[0]},0,{most}", f"ada,{name[0]},{most},{most}"]
    assert table.read_text().splitlines() == ["student,module,points,of", *rows]
