"""Do the tests see a bug? Plant one at a time in a copy of the source, and look.

    python tests/planted_bugs.py                the bugs of planted_bugs.txt
    python tests/planted_bugs.py --check        only: is each old text there, once?
    python tests/planted_bugs.py --random 20    and as many random changes of each file

Most of the bugs were really made: in TRL, verl, OpenRLHF, prime-rl, open-instruct or
nanochat, where training often went on and learned, only worse.
"""

import argparse
import functools
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from mutants import random_bugs

ROOT = Path(__file__).parent.parent
FORK = multiprocessing.get_context("fork")
# The fast tests that should see a bug of a file, the likeliest first.
TESTS = {
    "model.py": "test_model test_rollout test_device test_reinforce test_train",
    "train.py": "test_reinforce test_reinforce_rewards test_train",
    "rollout.py": "test_rollout test_device test_reinforce",
    "reward.py": "test_reward test_reward_models test_reinforce_rewards",
    "docs/tasks": "test_reward",
    "scaling.py": "test_scaling test_studies",
    "grpo.py": "test_grpo test_reinforce",
    "docs/studies/rivals.py": "test_scaling test_studies",
    "docs/studies": "test_studies",
}
Bug = tuple[str, str, str, str, str]  # file, what is wrong, test, old text, new text


def read_bugs() -> list[Bug]:
    """The bugs of planted_bugs.txt; a \\n in an old or new text is a new line."""
    bugs = []
    for block in (ROOT / "tests/planted_bugs.txt").read_text().strip().split("\n\n"):
        bug = re.fullmatch(r"(\S+) \| (.*) \| (\w+)\n- (.*)\n\+ (.*)", block)
        assert bug, block
        bugs.append(tuple(text.replace("\\n", "\n") for text in bug.groups()))
    return bugs


def place_of(file: str) -> str:
    """The entry of TESTS for a file."""
    return next(name for name in TESTS if file.startswith(name))


def start_tests(folder: Path, names: str, chosen: str) -> None:
    """Run tests (the chosen ones) in a copy, to the first failure: the exit status."""
    import pytest

    out = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(folder)
    options = [*"-x -q -p no:cacheprovider --tb=no -k".split(), chosen]
    os._exit(pytest.main(options + [f"tests/{name}.py" for name in names.split()]))


def failing_test(folder: Path, names: str, seconds: float, chosen: str = "") -> str:
    """The first that fails in a fork of this process, or '' if all pass or none is."""
    child = FORK.Process(target=start_tests, args=(folder, names, chosen))
    child.start()
    child.join(seconds)
    if child.exitcode is None:
        child.kill()
        return "ran too long"
    log = (folder / "log").read_text(errors="replace")
    found = re.search(r"(?:FAILED|ERROR) tests/\w+\.py(?:::)?(\S*)", log)
    passed = child.exitcode in (0, 5)  # 5: there is none of that name
    return "" if passed else found and found[1] or "does not import"


@functools.cache
def time_of(folder: Path, tests: str) -> float:
    """Seconds that they may take. AssertionError if one fails without any bug."""
    began = time.monotonic()
    wrong = failing_test(folder, tests, 900)
    assert not wrong, f"{wrong} fails without any bug"
    return 3 * (time.monotonic() - began) + 20


def plant(folder: Path, file: str, bugs: list[Bug]) -> float:
    """Share of these bugs that the tests see; each is printed with its test."""
    path, tests = folder / file, TESTS[place_of(file)]
    source, caught, seconds = path.read_text(), 0, time_of(folder, tests)
    for _, what, likely, old, new in bugs:
        path.write_text(source.replace(old, new) if old else new)
        test = likely and failing_test(folder, tests, seconds, likely)
        test = test or failing_test(folder, tests, seconds)
        caught += bool(test)
        print(f"{file} | {what}\n     {test or 'NOT CAUGHT'}", flush=True)
    path.write_text(source)
    print(f"{file}: {caught} of {len(bugs)} caught", flush=True)
    return caught / max(len(bugs), 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--random", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", help="only this one")
    args = parser.parse_args()
    bugs = read_bugs()
    paths = {file: ROOT / file for file, *_ in bugs}
    sources = {file: p.read_text() if p.exists() else "" for file, p in paths.items()}
    gone = [bug for bug in bugs if sources[bug[0]].count(bug[3]) != 1]
    for file, what, _, old, _ in gone:
        print(f"{file} | {what}\n     {sources[file].count(old)} times {old!r}")
    if args.check or gone:
        return int(bool(gone))
    sys.dont_write_bytecode = True
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT / "tests"]
    import matplotlib.pyplot  # noqa: F401  imported once, for all forks
    import tiktoken  # noqa: F401
    import torch

    torch.set_num_threads(1)
    planted, drawn = [], []
    with tempfile.TemporaryDirectory() as work:
        skip = shutil.ignore_patterns(".*", "__pycache__", "out", "*.png")
        folder = Path(shutil.copytree(ROOT, Path(work) / "copy", ignore=skip))
        for file in [args.file] if args.file else sources:
            planted.append(plant(folder, file, [bug for bug in bugs if bug[0] == file]))
            if args.random and "/" not in file:
                changes = random_bugs(sources[file], file, args.random, args.seed)
                drawn.append(plant(folder, file, changes))
    # A fifth of random changes changes nothing; chance falls below this once in 50.
    few = min(drawn, default=1) < 0.3 or sum(drawn) < 0.65 * len(drawn)
    return int(few or min(planted) < 1)


if __name__ == "__main__":
    sys.exit(main())
