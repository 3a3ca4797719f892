"""Bug hunt: a copy of this repository in which one line is wrong. Which?

    python docs/assignments/plant.py out/hunt --student NAME            the copy
    python docs/assignments/plant.py out/hunt --student NAME --grade    is it mended?

The student runs the copy, reads curves and logs, and mends the line. Graded is the
program, not its comments: 5 points if it is what it should be, 3 if the bug is gone and
something else differs, else 0. Ask for the evidence too: a diff with this repository
finds the line without it. The bugs are those of tests/planted_bugs.txt that a run of a
minute or two shows.
"""

import argparse
import ast
import random
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from planted_bugs import read_bugs  # noqa: E402

# What gives them away: mismatch above 0, a reward that falls, nothing live, answers
# that do not end, levels that never open, a gradient that grows.
SHOWN = """keys written one off
scores of cached attention are not scaled
positions turn the wrong way
temperature in the sampler only
temperature in the trainer only
the end token is masked
what the environment says is trained on
one draw for all samples of a group
sign of the loss
ratio carries no gradient
no baseline
mask forgotten
rewards grouped in the wrong order
prompts and padding in the loss
gradients add up over steps
old log-probabilities from the trainer""".split("\n")
FILES = ("model", "reward", "rollout", "grpo", "train", "scaling")


def bug_of(student: str) -> tuple[str, str, str, str, str]:
    """(file, what is wrong, a test, old text, new text): the student's own."""
    bugs = [bug for bug in read_bugs() if bug[1] in SHOWN]
    return random.Random(f"hunt {student}").choice(bugs)


HANDOUT = """\
# Bug hunt of STUDENT

One line of this copy is wrong. Find it from what the program does:

    python train.py --task guess        # a minute; README.md says what it should reach
    python train.py                     # two to four minutes
    python rollout.py                   # sampling beside a full pass
    python grpo.py                      # mean gradients beside the exact one

Look at the warnings a run prints, and in out/*/metrics.jsonl at reward, gold,
live_groups, identical, mismatch, ratio_max, entropy, truncated and grad_norm; the table
in README.md says what is healthy. Mend the line and change nothing else. Hand in the
folder and three sentences: what you saw, what it told you, and what you changed.
"""


def plant(out: Path, student: str) -> None:
    """Copy what git tracks, less the studies and the tests that would tell."""
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; choose another folder")
    command = ["git", "ls-files", "*.py", "README.md", "requirements.txt", "docs/*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        raise ValueError(f"{ROOT} is no git clone; plant bugs from one")
    for name in listed.stdout.splitlines():
        if not name.startswith(("tests/", "docs/studies", "docs/assignments")):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, out / name)
    file, _, _, old, new = bug_of(student)
    (out / file).write_text((ROOT / file).read_text().replace(old, new))
    (out / "HANDOUT.md").write_text(HANDOUT.replace("STUDENT", student))


def parts_of(text: str) -> set[str]:
    """All that a program is made of, less comments and layout."""
    return {ast.dump(node) for node in ast.walk(ast.parse(text))}


def grade(out: Path, student: str) -> tuple[int, str]:
    """Points, and a sentence. SyntaxError if a file is no Python."""
    file, what, _, old, new = bug_of(student)
    if not (out / "HANDOUT.md").read_text().startswith(f"# Bug hunt of {student}\n"):
        raise ValueError(f"{out} was not planted for {student}")
    changed = []
    for name in FILES:
        mine, right = (
            ast.dump(ast.parse((place / f"{name}.py").read_text()))
            for place in (out, ROOT)
        )
        changed += [f"{name}.py"] * (mine != right)
    if not changed:
        return 5, f"found: {what}, in {file}"
    source = (ROOT / file).read_text()
    bug = min(parts_of(source.replace(old, new)) - parts_of(source), key=len)
    handed_in = parts_of((out / file).read_text())
    if bug in handed_in:
        return 0, "the bug is still there"
    if len(handed_in & parts_of(source)) < 0.9 * len(parts_of(source)):
        return 0, f"most of {file} is gone, not only the bug"
    return 3, f"{what}, in {file}, is gone, but {', '.join(changed)} is not as it was"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--student", required=True, help="chooses the bug")
    parser.add_argument("--grade", action="store_true")
    args = parser.parse_args(argv)
    try:
        if not args.grade:
            plant(args.out, args.student)
            print(f"one line in {args.out} is wrong; run it, look, and mend it")
            return 0
        points, sentence = grade(args.out, args.student)
    except (ValueError, OSError, SyntaxError) as error:
        print(f"plant.py: {error}", file=sys.stderr)
        return 2
    print(f"{points} of 5 points: {sentence}")
    return int(points < 5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
