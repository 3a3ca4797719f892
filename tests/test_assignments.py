"""Assignments: starters fail, solutions pass, each mistake gets its own sentence."""

import random
import subprocess
import sys
from dataclasses import replace
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


def test_no_loop_catches_the_alarm(monkeypatch, tmp_path):
    """Nor does one that catches everything; and the file is imported once."""
    monkeypatch.setattr(grading, "PATIENCE", 0.1)
    monkeypatch.syspath_prepend(tmp_path)
    loop = "import time\nwhile True:\n try: time.sleep(9)\n except: pass"
    (tmp_path / "slow.py").write_text(f"open('{tmp_path}/log', 'a').write('.')\n{loop}")
    check = replace(CHECKS[0][1], name="slow.f")
    (_, _, said), again = grading.grade([check, check], tmp_path, "ada")
    assert said == again[2] == "slow.py does not import: it ran longer than 0.1 s"
    assert (tmp_path / "log").read_text() == "."


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="copies what git tracks")
def test_the_hunt_by_hand(tmp_path):
    """Another student's copy is no hunt of mine; nor is a file emptied."""
    hunt, out = scaling.load(HERE / "plant.py"), tmp_path / "hunt"
    hunt.plant(out, "ada")
    with pytest.raises(ValueError, match="not planted for bob"):
        hunt.grade(out, "bob")
    file = hunt.bug_of("ada")[0]
    wrong, right = ((place / file).read_text() for place in (out, ROOT))
    for text, points in ((wrong, 0), ("", 0), (right + "x = 1\n", 3), (right, 5)):
        (out / file).write_text(text)
        assert hunt.grade(out, "ada")[0] == points


def test_the_contest_by_hand():
    """After half, three quarters and all of 8; what came beyond is not seen."""
    truth_of = scaling.load(HERE / "contest.py").truth_of
    rows = [dict(pretrain_flops=2, rl_flops=x, pass_rate=x / 10) for x in (0, 2, 4, 9)]
    assert truth_of(rows, 8.0) == pytest.approx([0.2, 0.4, 0.4])


ALL = """
import sys
from pathlib import Path
here, folder = map(Path, sys.argv[1:])
sys.path.insert(0, str(here))
import grading
import runpy
found = {}
for path in sorted(here.glob("*/checks.py")):
    found[path.parent.name] = runpy.run_path(str(path))["CHECKS"]
theirs = [str(folder / "docs/assignments" / name) for name in found]
sys.path[:1] = [str(folder), *theirs]
for name, checks in found.items():
    rows = grading.grade(checks, folder, "ada")
    print(name, *(c.name for c, points, _ in rows if not points), sep=",")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_starter_fails_exactly_its_own_checks(name, tmp_path):
    """And the solution none."""
    for out, flags in (("starter", ()), ("solved", ("--solved",))):
        made = program("make", name[0], tmp_path / out, "--student", "ada", *flags)
        assert made.returncode == 0, made.stderr
    table = tmp_path / "grades.csv"
    words = (tmp_path / "starter", "--student", "ada", "--csv", table)
    done = program("grade", name[0], *words)
    assert done.returncode == 1 and "\n0 of " in done.stdout, done.stdout
    done = program("grade", name[0], tmp_path / "solved", *words[1:])
    assert done.returncode == 0, done.stdout
    most = sum(check.points for check in MODULES[name].CHECKS)
    rows = [f"ada,{name[0]},0,{most}", f"ada,{name[0]},{most},{most}"]
    assert table.read_text().splitlines() == ["student,module,points,of", *rows]
    command = [sys.executable, "-c", ALL, str(HERE), str(tmp_path / "starter")]
    done = subprocess.run(command, capture_output=True, text=True)
    failed = dict(line.split(",", 1) for line in done.stdout.split() if "," in line)
    assert set(failed) | {line for line in done.stdout.split()} >= set(MODULES)
    wrong = failed.pop(name).split(",")
    assert sorted(wrong) == sorted(check.name for check in MODULES[name].CHECKS)
    others = {check for names in failed.values() for check in names.split(",")}
    absent = ("answers.", "pair.", "attack.")  # files that a starter lacks
    assert all(check.startswith(absent) for check in others), others
