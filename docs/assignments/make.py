"""A starter of a module: this repository with some bodies left out.

    python docs/assignments/make.py 3 out/starter [--student NAME] [--solved]

The starter is made from the real source, so it cannot drift from the solution: of the
functions in the module's BLANKS it keeps the signature and the docstring. Questions
with the student's own numbers stand in QUESTIONS.md, their answers go to answers.json.
With --solved nothing is left out and the answers stand there.
"""

import argparse
import ast
import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

from scaling import load  # noqa: E402


def folder_of(module: str) -> Path:
    """The folder of a module by its number. ValueError: there is none."""
    found = sorted(HERE.glob(f"{module}-*/checks.py"))
    if len(found) != 1:
        known = ", ".join(sorted(p.parent.name for p in HERE.glob("*/checks.py")))
        raise ValueError(f"there is no module {module!r}; choose from {known}")
    return found[0].parent


def blank(source: str, names: list[str], why: str) -> str:
    """A file without the bodies of some functions, `f` or `Class.f`."""
    lines = source.split("\n")
    places = {}
    for node in ast.parse(source).body:
        inner = node.body if isinstance(node, ast.ClassDef) else []
        for part in [node, *inner]:
            if isinstance(part, ast.FunctionDef):
                prefix = "" if part is node else f"{node.name}."
                places[prefix + part.name] = part
    for name in sorted(names, key=lambda name: -places[name].lineno):
        function = places[name]
        first = function.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(
            first.value, ast.Constant
        )
        start = first.end_lineno if documented else first.lineno - 1
        indent = " " * first.col_offset
        lines[start : function.end_lineno] = [
            f'{indent}raise NotImplementedError("{why}")'
        ]
    return "\n".join(lines)


def tracked() -> list[str]:
    """The files of this repository. ValueError without git."""
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        raise ValueError(f"{ROOT} is no git clone; make starters from one")
    return listed.stdout.splitlines()


def mend_links(folder: Path) -> None:
    """Pages keep the words of a link to what the starter does not have."""
    for path in folder.rglob("*.md"):

        def words(link: re.Match[str], place: Path = path.parent) -> str:
            there = "://" in link[2] or (place / link[2].partition("#")[0]).exists()
            return link[0] if there else link[1]

        text = re.sub(r"!?\[([^]]*)\]\(([^)\s]+)\)", words, path.read_text())
        path.write_text(text)


def make(module: str, out: Path, student: str, solved: bool = False) -> None:
    """Write the starter, or the solution. ValueError if there is something already."""
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; choose another folder")
    folder = folder_of(module)
    given = load(folder / "checks.py")
    files = tracked()
    for name in files:
        if name.startswith((".ci", "docs/assignments", "docs/relay")):
            continue  # neither what grades nor what tells
        if name.startswith("tests") and not name.startswith("tests/data"):
            continue
        runs = name == "docs/studies/rewards/runs.jsonl"  # module 7 reads them
        if name.startswith("docs/studies") and not (runs or name.endswith(".py")):
            continue
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, out / name)
    for file in given.BLANKS:  # a file of the module's own, perhaps
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, out / file)
    for file, names in ({} if solved else given.BLANKS).items():
        text = blank((ROOT / file).read_text(), names, f"assignment {module}")
        (out / file).write_text(text)
    shutil.copyfile(folder / "README.md", out / "HANDOUT.md")
    mend_links(out)
    marker = {"module": module, "student": student}
    (out / "starter.json").write_text(json.dumps(marker) + "\n")
    questions, answers = [], {}
    for number, check in enumerate(given.CHECKS):
        if check.name.startswith("answers."):
            rng = random.Random(f"{student} {check.name} {number}")
            key = check.name.removeprefix("answers.")
            (case,) = check.cases(rng)
            questions.append(f"**{key}** ({check.points}): {check.what.format(*case)}")
            answers[key] = check.truth(*case) if solved else None
    if questions:
        how = "Answers go to answers.json, as numbers and not as text."
        text = "\n\n".join([f"# Questions of {student}", how, *questions])
        (out / "QUESTIONS.md").write_text(text + "\n")
        (out / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", help="1 to 7")
    parser.add_argument("out", type=Path, help="an empty folder")
    parser.add_argument("--student", default="nobody", help="keys the numbers")
    parser.add_argument("--solved", action="store_true", help="the solution instead")
    args = parser.parse_args(argv)
    try:
        make(args.module, args.out, args.student, args.solved)
    except (ValueError, OSError) as error:
        print(f"make.py: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.out}; read {args.out}/HANDOUT.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
