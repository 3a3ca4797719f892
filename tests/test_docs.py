"""Promises of the README and of the pages: commands, links, numbers, layout."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

import grpo
import model
import reward
import rollout
import scaling
import train

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
FIT = scaling.load(DOCS / "studies" / "fit.py")
rivals = scaling.load(scaling.STUDIES / "rivals.py")
FILES = ("model", "reward", "rollout", "grpo", "train", "scaling")
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """Python commands of a page, in blocks, tables, lines; $X as the page sets it."""
    text = page.read_text()
    for name, value in re.findall(r'^ +(\w+)="(.*)"$', text, re.M):
        text = text.replace(f"${name}", value)
    found = re.findall(r"^(?: {4})?(?:\$ )?(python \S.*?)(?:  +#.*)?$", text, re.M)
    found += re.findall(r"`(python [^`]+)`", text)
    return [command for command in found if "..." not in command]


# What pages invent, and something that there is.
STANDS_FOR = {"NAME": "dapo", "path/to/rates": "curve"}
STANDS_FOR |= {"soft": "clip", "brief": "length"}


@pytest.mark.parametrize("command", sorted({c for p in PAGES for c in commands(p)}))
def test_commands_of_the_pages_parse(command, monkeypatch):
    """A flag that was renamed must not survive on a page."""
    monkeypatch.chdir(ROOT)
    file, *words = [STANDS_FOR.get(word, word) for word in shlex.split(command)[1:]]
    assert file == "-m" or (ROOT / file).exists()
    if file == "train.py" and not {"--resume", "--interact"} & set(words):
        train.parse_config(words)
    if file == "scaling.py" and words[0] == "fit":
        args = FIT.parse_args(words[1:])
        if all(map(os.path.exists, args.files)):
            FIT.read_curves(args)
    elif file == "scaling.py" and words[0] not in ("plan", "redraw"):
        scaling.find_study(scaling.parse_args(words).study)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_pages_lead_somewhere(page):
    """Pictures, pages and files that a page names are there."""
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert "://" in link or (page.parent / link).exists(), link


def test_layout_and_reading_order():
    """No file that the README does not name; sizes in it may be off by a tenth."""
    assert len(README.splitlines()) <= 200
    allowed = {f"{name}.py" for name in FILES} | {"README.md", "requirements.txt"}
    files = {path.name for path in ROOT.iterdir() if path.is_file()}
    assert files - {".gitignore", ".git"} == allowed | {"LICENSE"}
    rows = re.findall(r"\| `(\w+)\.py` \| (\d+) \|", README)
    for file, (name, lines) in zip(FILES, rows, strict=True):
        actual = (ROOT / f"{name}.py").read_text().count("\n")
        assert name == file and abs(actual - int(lines)) <= actual // 10, actual


def said_by(*words: str) -> str:
    """What a Python program prints; an error is a failure, a warning too."""
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_importing_runs_nothing():
    """No output, no file, no thread setting from an import."""
    code = "import torch; n = torch.get_num_threads()\n"
    code += f"import {', '.join(FILES)}\nassert torch.get_num_threads() == n"
    assert said_by("-c", code) == ""


@pytest.mark.parametrize("name", FILES[:4])
def test_every_file_shows_its_concept(name):
    lines = said_by(f"{name}.py").splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= 88


def test_the_forecasts_in_the_readme(monkeypatch):
    """Of the published curve, what the command beside them prints; of our runs, median
    errors at the end from half and from a tenth, and the bands' coverage."""
    (command,) = [c for c in commands(ROOT / "README.md") if "--only 8B_dense" in c]
    monkeypatch.chdir(ROOT)
    (curve,) = FIT.read_curves(FIT.parse_args(shlex.split(command)[3:]))
    found = scaling.forecast(curve, 0.5)
    fit, score = found.fit, rivals.scores(found)["forecast"]
    later, (low, high) = (curve.points()[0] > found.until).sum(), found.bounds["a"]
    text = f"A {fit.a:.3f} [{low:.3f}, {high:.3f}], B {fit.b:.2f}, C_mid "
    text += f"{fit.c_mid:.1f}k GPU-hours; the {later} later points are forecast to "
    text += f"{score.rmse:.3f} (RMSE), {score.covered * later:.0f} in the band"
    assert text in " ".join(README.split())
    cells = r"\| forecast \| (\S+) \| \S+ \| \S+ \| (\S+)% \|"
    _, half, *_, tenth, _ = re.findall(cells, (DOCS / "studies/README.md").read_text())
    text = f"missed by {half[0]} from half of the compute, by {tenth[0]} from a tenth "
    text += f"(medians); {half[1]} and {tenth[1]} % of the later points lie"
    assert text in " ".join(README.split())


TOLD = re.split("^## ", (DOCS / "scaling.md").read_text(), flags=re.M)[1:]
TOLD.append("museum " + (DOCS / "museum/README.md").read_text())


@pytest.mark.parametrize("section", TOLD, ids=lambda section: section.split()[0])
def test_numbers_of_the_findings(section):
    """Every decimal of a section is one of its page, or of pages of studies."""
    name, number = section.split()[0], r"\d+\.\d+(?:e[+-]\d+)?"
    numbers = set(re.findall(number, section)) - {"0.02"}
    pages = [*DOCS.rglob(f"{name}/{name}.md")] or [*DOCS.rglob("studies/**/*.md")]
    there = set(re.findall(number, "".join(page.read_text() for page in pages)))
    assert numbers and numbers <= there, numbers - there


@pytest.mark.parametrize("program", ["tasks/tasks", "relay/controls"])
def test_tables_are_what_the_runs_say(program, tmp_path):
    """A page's tables are not edited by hand: its program makes the same ones again."""
    made = runpy.run_path(str(DOCS / f"{program}.py"))
    page, copy = (DOCS / program).with_name("README.md"), tmp_path / "README.md"
    text = page.read_text()
    copy.write_text(text)
    tables = made["tables"](made["read_runs"]())
    made["write_tables"](copy, tables)
    assert copy.read_text() == text and "".join(tables).count("\n") > 10
    assert "relay" not in program or tables[0] in README


def test_a_finished_run_can_be_taken_in(tmp_path):
    """docs/tasks measures base and trained model, in a shifted form too."""
    small = dict(pretrain_steps=2, steps=1, evals=1, eval_problems=4, levels="3")
    small |= dict(prompts_per_step=2, group_size=2, eval_samples=2)
    run = train.train(train.make_config(out=str(tmp_path / "run"), **small))
    found = runpy.run_path(str(DOCS / "tasks" / "tasks.py"))["measure"](run.folder)
    assert scaling.Result(**json.loads(json.dumps(found))).name == "chain/0"
    for step, row in enumerate(found["rows"]):
        assert row["step"] == step and row["shift"] == {} and "3" in row["by_level"]
    assert found["config"]["levels"] == [3] and found["seconds"] > 0


BLOCKS = re.findall("```python\n(.*?)```", (DOCS / "your_own.md").read_text(), re.S)


def test_a_loss_of_your_own():
    """The name and the branch of docs/your_own.md: slope 1 at r = 1, less beyond."""
    names, branch = BLOCKS[0].split("\n\n", 1)
    text = (ROOT / "grpo.py").read_text()
    text = re.sub(r"^LOSSES = .*$", names, text, flags=re.M)
    next_branch = '    elif kind == "cispo":\n'
    own = types.ModuleType("own")
    exec(text.replace(next_branch, branch + next_branch), vars(own))
    logp = torch.tensor([[0.0, 1.0]], requires_grad=True)
    ones, old = torch.ones(1), torch.zeros(1, 2)
    loss, *_ = own.policy_loss(logp, old, ones, torch.ones(1, 2), ones, "soft")
    loss.backward()
    assert logp.grad[0, 0] == -1
    # By hand: r = e, sigmoid(e - 1) = 0.84791, 4 e 0.84791 (1 - 0.84791) = 1.40220.
    assert logp.grad[0, 1].item() == pytest.approx(-1.40220, abs=1e-5)


def test_a_rule_of_your_own():
    own = vars(reward) | {"RULES": dict(reward.RULES)}
    exec(BLOCKS[1], own)
    assert own["RULES"]["brief"](None, "9\n", 1.0) == 0.99


def test_a_model_of_your_own(problems):
    """Sampling from it equals a full pass: it can be trained."""
    own = dict(vars(model))
    exec(BLOCKS[2], own)
    net = own["SquaredGPT"](model.GPTConfig(dim=32, head_dim=8, hidden=48))
    batch = rollout.rollout(net, problems, 2, 30, key=(0,))
    full = grpo.token_logprobs(net(batch.tokens), batch.tokens)
    torch.testing.assert_close(full * batch.mask, batch.logp * batch.mask)


def test_a_study_of_your_own(tmp_path):
    (tmp_path / "study.py").write_text(BLOCKS[3])
    assert len(scaling.find_study(str(tmp_path)).arms(True)) == 2
