"""Promises of the README and of the layout."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import scaling
import train

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FILES = ("model", "rollout", "reward", "grpo", "scaling", "train")
COMMANDS = sorted(set(re.findall(r"^(?:\$ )?(python \S.*?)(?:  +#.*)?$", README, re.M)))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_parse(command, tmp_path, monkeypatch):
    """A flag that was renamed must not survive in the README."""
    words = shlex.split(command)[1:]
    if words[0] == "train.py" and "--resume" not in words:
        train.parse_config(words[1:])
    elif words[0] == "scaling.py":
        args = scaling.parse_args(words[1:])
        assert args.study in (*scaling.STUDIES, "fit", "plan", "redraw")
        if args.csv:
            monkeypatch.chdir(ROOT)
            scaling.read_curves(args)
    else:
        assert words[0] == "-m" or (ROOT / words[0]).exists()


def test_the_readme_is_short_and_its_pictures_are_there():
    assert len(README.splitlines()) <= 200
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures and all((ROOT / name).exists() for name in pictures)


def test_the_layout_is_fixed():
    """No seventh module, and nothing beside the files that the README names."""
    allowed = {f"{name}.py" for name in FILES} | {"README.md", "requirements.txt"}
    files = {path.name for path in ROOT.iterdir() if path.is_file()}
    assert files - {".gitignore", ".git"} == allowed | {"LICENSE"}


def test_line_counts_of_the_readme():
    """The reading order gives sizes; they may be off by a tenth."""
    for name, lines in re.findall(r"\| `(\w+)\.py` \| (\d+) \|", README):
        actual = len((ROOT / f"{name}.py").read_text().splitlines())
        assert abs(actual - int(lines)) <= max(actual // 10, 10), (name, actual)


def test_importing_runs_nothing():
    """No output, no file, no thread setting from an import."""
    code = "import torch; n = torch.get_num_threads()\n"
    code += f"import {', '.join(FILES)}\nassert torch.get_num_threads() == n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


SHOWN = ["model", "reward", "grpo", pytest.param("rollout", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", SHOWN)
def test_every_file_shows_its_concept(name):
    done = subprocess.run(
        [sys.executable, f"{name}.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 5
    assert max(map(len, done.stdout.splitlines())) <= 88


STUDIES = [p.parent for p in sorted((ROOT / "docs" / "studies").glob("*/runs.jsonl"))]


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_studies_say_what_their_runs_say(folder, tmp_path):
    """Table and verdict are made again from the committed runs, word for word."""
    name = folder.name
    verdict = scaling.write_report(name, scaling.read_results(folder), tmp_path)
    kept = (folder / f"{name}.md").read_text()
    assert kept == (tmp_path / f"{name}.md").read_text()
    assert f"**{verdict}.**" in kept and (folder / f"{name}.png").exists()


@pytest.mark.parametrize("name", scaling.STUDIES)
def test_verdicts_of_the_readme(name):
    """What the README quotes of a study is what its committed runs say."""
    rows = re.findall(rf"\| \[`{name}`\]\([^)]*\) \| (.*) \|", README)
    path = ROOT / "docs" / "studies" / name / f"{name}.md"
    assert len(rows) <= path.exists()
    assert not rows or f"**{rows[0]}.**" in path.read_text()


def test_the_published_curve_in_the_readme(monkeypatch):
    """The numbers beside the command are what the command prints."""
    (command,) = [c for c in COMMANDS if "--only 8B_dense" in c]
    monkeypatch.chdir(ROOT)
    (curve,) = scaling.read_curves(scaling.parse_args(shlex.split(command)[2:]))
    found = scaling.forecast(curve, 0.5)
    fit, score = found.fit, scaling.scores(found)["forecast"]
    later = len(curve.points(found.until)[0])
    low, high = found.interval("a")
    text = f"A {fit.a:.3f} [{low:.3f}, {high:.3f}], B {fit.b:.2f}, "
    text += f"C_mid {fit.c_mid:.1f}k GPU-hours; the {later} later points are forecast "
    text += f"to {score.rmse:.3f} (RMSE), {score.covered * later:.0f} in "
    assert text + "the band" in " ".join(README.split())


def test_the_forecasts_in_the_readme():
    """Median errors at the end from half and from a tenth, and the bands' coverage."""
    page = (ROOT / "docs" / "studies" / "README.md").read_text()
    cells = r"\| forecast \| (\S+) \| \S+ \| \S+ \| (\S+)% \|"
    half, _, _, _, tenth, _ = re.findall(cells, page)
    assert half[1] == tenth[1]
    text = f"missed by {half[0]} from half of the compute, by {tenth[0]} from a tenth "
    text += f"(medians), and {half[1]} % of the later points"
    assert text in " ".join(README.split())


TOLD = re.split("^## ", (ROOT / "docs" / "scaling.md").read_text(), flags=re.M)[1:]


@pytest.mark.parametrize("section", TOLD, ids=lambda section: section.split()[0])
def test_numbers_of_the_findings(section):
    """Every decimal of a section is one of its study's page, or of ScaleRL's margin."""
    name, number = section.split()[0], r"\d+\.\d+(?:e[+-]\d+)?"
    numbers = set(re.findall(number, section)) - {"0.02"}
    folder = ROOT / "docs" / "studies"
    page = folder / ("README.md" if name == "forecasts" else f"{name}/{name}.md")
    assert numbers and numbers <= set(re.findall(number, page.read_text()))


@pytest.mark.slow
def test_forecasts_over_all_committed_runs():
    """The page of all studies is made again from the committed runs, word for word."""
    if STUDIES:
        page = (ROOT / "docs" / "studies" / "README.md").read_text()
        studies = scaling.stored(ROOT / "docs" / "studies", scaling.STUDIES)
        runs = scaling.each_once(studies)
        assert page.endswith(scaling.forecasts_of(runs))


def test_the_tables_of_rewards_are_what_the_logs_say():
    """Every row of docs/rewards.md is of a committed log, and every log has its row."""
    made = runpy.run_path(str(ROOT / "docs" / "rewards.py"))
    runs = sorted((ROOT / "docs" / "runs" / "rewards").iterdir())
    rows = made["hacking_table"](runs).splitlines()[2:]
    assert len(rows) == len(runs) > 10
    text = (ROOT / "docs" / "rewards.md").read_text()
    assert [row for row in rows if row not in text] == []
