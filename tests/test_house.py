"""What the house promises about itself: sizes, reading order, explanations, shapes."""

import ast
import io
import re
import sys
import tokenize
import types
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import planted_bugs
import pytest
import torch

import scaling
import train

ROOT = Path(__file__).parent.parent
ORDER = ("model", "reward", "rollout", "grpo", "train", "scaling")
TEXT = {name: (ROOT / f"{name}.py").read_text() for name in ORDER}
LINES = {name: text.splitlines() for name, text in TEXT.items()}
TREE = {name: ast.parse(text) for name, text in TEXT.items()}
PATHS = {str(ROOT / f"{name}.py"): name for name in ORDER}
MARK = "# ---- second evening"


def places(kind: type[ast.AST], wanted: Callable) -> list[str]:
    """FILE:LINE of nodes of a kind in the six files, as often as `wanted` says."""
    return [
        f"{name}.py:{node.lineno}"
        for name in ORDER
        for node in ast.walk(TREE[name])
        if isinstance(node, kind)
        for _ in range(wanted(node))
    ]


def told(parts: Iterable) -> str:
    """A failure's places, all of them: pytest shortens a list, not a text."""
    return "\n".join(sorted(map(str, parts)))


def mark(name: str) -> int:
    """Line number of a file's mark: what stands above is the first evening."""
    lines = [i for i, line in enumerate(LINES[name], 1) if line.startswith(MARK)]
    return lines[0] if len(lines) == 1 else 0


# --------------------------------------------------------------------------------------
# Sizes. A budget is never met by density, so density is counted too.


def test_the_six_files_are_an_evening_each():
    """New things are paid for by old ones."""
    sizes = {name: len(lines) for name, lines in LINES.items()}
    assert sum(sizes.values()) <= 4800 and max(sizes.values()) <= 1200, told(
        sizes.items()
    )


def test_the_first_evening_is_short():
    """One mark in each file; above the marks stands what is read first."""
    above = {name: mark(name) for name in ORDER}
    assert all(above.values()) and sum(above.values()) <= 1950, told(above.items())


def test_the_tests_are_shorter_than_two_houses():
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / "tests").rglob("*.py")
    }
    assert sum(sizes.values()) <= 5000, told(sizes.items())


def test_no_line_is_too_long():
    wide = [
        f"{name}.py:{number}"
        for name in ORDER
        for number, line in enumerate(LINES[name], 1)
        if len(line) > 88
    ]
    assert not wide, told(wide)


def test_no_function_is_longer_than_a_screen():
    def is_long(node: ast.FunctionDef) -> bool:
        return node.end_lineno - node.lineno + 1 > 45

    assert len(found := places(ast.FunctionDef, is_long)) <= 3, told(found)


def test_values_are_not_assigned_in_pairs_to_save_lines():
    """a, b = x, y reads as two thoughts on one line."""

    def is_joined(node: ast.Assign) -> bool:
        return isinstance(node.targets[0], ast.Tuple) and isinstance(
            node.value, ast.Tuple
        )

    assert len(found := places(ast.Assign, is_joined)) <= 55, told(found)


def test_arguments_are_named_where_they_are_given():
    """f(*args, **options) hides which argument is which."""

    def stars(node: ast.Call) -> int:
        starred = sum(isinstance(argument, ast.Starred) for argument in node.args)
        return starred + sum(keyword.arg is None for keyword in node.keywords)

    assert len(found := places(ast.Call, stars)) <= 25, told(found)


@pytest.mark.parametrize("name", ORDER)
def test_a_quarter_of_a_file_explains_the_rest(name):
    """Lines of docstrings and comments over lines of code."""
    explained = set()
    for node in ast.walk(TREE[name]):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                text = node.body[0]
                explained |= set(range(text.lineno, text.end_lineno + 1))
    for token in tokenize.generate_tokens(io.StringIO(TEXT[name]).readline):
        if token.type == tokenize.COMMENT and token.line.strip().startswith("#"):
            explained.add(token.start[0])
    blank = {i for i, line in enumerate(LINES[name], 1) if not line.strip()} - explained
    code = len(LINES[name]) - len(explained) - len(blank)
    assert len(explained) / code >= 0.25, (len(explained), code)


# --------------------------------------------------------------------------------------
# Order and words


def test_there_is_one_reading_order():
    """The README's table and the files' headers name the same order."""
    rows = re.findall(r"^\| `(\w+)\.py` \| \d", (ROOT / "README.md").read_text(), re.M)
    assert tuple(rows) == ORDER
    for before, name in zip(ORDER, ORDER[1:], strict=False):
        header = " ".join(ast.get_docstring(TREE[name]).split())
        assert f"Read after {before}.py" in header, name


@pytest.mark.parametrize("name", ORDER)
def test_headers_say_shapes_papers_and_what_is_left_out(name):
    """Single letters in shape comments are dimensions that the header declares."""
    header = ast.get_docstring(TREE[name])
    found = re.findall(r"^(Shapes|Papers|Left out)  +\S", header, re.M)
    assert found == ["Shapes", "Papers", "Left out"]
    declared = set(re.findall(r"\b[A-Z]\b", header.split("\nPapers")[0]))
    used = {
        letter
        for comment in shape_comments(name).values()
        for letter in re.findall(r"\b[A-Z]\b", comment)
    }
    assert used <= declared, used - declared


def test_words_that_a_student_reads_twice():
    words = re.compile(r"\b(lest|alone)\b")
    found = [
        f"{name}.py:{number}"
        for name in ORDER
        for number, line in enumerate(LINES[name], 1)
        if words.search(line)
    ]
    assert not found, told(found)


def test_planted_bugs_still_apply():
    """Each old text is in its file exactly once, and every file has eight bugs."""
    bugs, counts = planted_bugs.read_bugs(), Counter()
    for file, what, old, _ in bugs:
        assert (ROOT / file).read_text().count(old) == 1, (file, what, old)
        counts[file] += 1
    assert min(counts[f"{name}.py"] for name in ORDER) >= 8, counts


# --------------------------------------------------------------------------------------
# A short main job, watched

SHAPE = r"\([^()]*,[^()]*\)"


def shape_comments(name: str) -> dict[int, str]:
    """{line: '(B, T)'} of the comments at line ends that state a shape."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(TEXT[name]).readline):
        if token.type == tokenize.COMMENT and not token.line.strip().startswith("#"):
            if match := re.match(rf"# ({SHAPE}(?: or {SHAPE})*)", token.string):
                found[token.start[0]] = match[1]
    return found


def stated_shapes(name: str) -> dict[int | str, list[tuple[str, int, int]]]:
    """What shape comments speak of: (variable, first line, line of the comment).

    By the first line of a function, where the first line of an argument is 0; fields
    stand by the name of their class.
    """
    comments, found = shape_comments(name), {}
    for node in ast.walk(TREE[name]):
        if isinstance(node, ast.ClassDef):
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            found[node.name] = [(part.target.id, 0, part.end_lineno) for part in fields]
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            found[first] = [(arg.arg, 0, arg.end_lineno) for arg in node.args.args]
            for part in ast.walk(node):
                if isinstance(part, ast.Assign):
                    names = [n for n in ast.walk(part) if isinstance(n, ast.Name)]
                    stored = [n.id for n in names if isinstance(n.ctx, ast.Store)]
                    found[first] += [(n, part.lineno, part.end_lineno) for n in stored]
    kept = {key: [x for x in of if x[2] in comments] for key, of in found.items()}
    return {key: of for key, of in kept.items() if of}


def fits(word: str, length: int, sizes: dict[str, int]) -> bool:
    """Is a dimension as long as `word` says? Sizes of letters are learned here.

    Of words such as 'B or more' it only counts that there is a dimension.
    """
    if re.fullmatch("[A-Z]", word):
        return sizes.setdefault(word, length) == length
    if re.fullmatch(r"\w+( ?[-+*] ?\w+)*", word):
        if set(re.findall(r"[A-Za-z_]\w*", word)) <= set(sizes):
            return eval(word, {}, sizes) == length
    return True


def agrees(value: object, comment: str, sizes: dict[str, int]) -> bool:
    """Has a tensor, an array or a list the shape of a comment, or one of its shapes?"""
    shape = value.shape if hasattr(value, "shape") else [len(value)]
    if isinstance(value, list) and not comment.endswith(",)"):
        return True  # of what is in the list
    for one in re.findall(SHAPE, comment):
        words = [word.strip() for word in one.strip("()").split(",") if word.strip()]
        learned = dict(sizes)
        pairs = zip(words, shape, strict=False)
        if len(words) == len(shape) and all(fits(w, n, learned) for w, n in pairs):
            sizes |= learned
            return True
    return False


class Watch:
    """A trace function: which functions of the six files run, do their shapes agree?"""

    def __init__(self) -> None:
        self.entered: set[types.CodeType] = set()
        self.seen: set[str] = set()  # 'FILE:LINE' of comments
        self.wrong: dict[str, str] = {}
        self.comments = {name: shape_comments(name) for name in ORDER}
        self.stated = {name: stated_shapes(name) for name in ORDER}

    def check(self, name: str, line: int, value: object, sizes: dict) -> None:
        """Compare a value with the comment of a line; others have no shape."""
        if (
            isinstance(value, torch.Tensor | np.ndarray)
            or value
            and type(value) is list
        ):
            place, comment = f"{name}.py:{line}", self.comments[name][line]
            self.seen.add(place)
            if not agrees(value, comment, sizes):
                shape = tuple(getattr(value, "shape", [len(value)]))
                self.wrong[place] = f"{comment} is {shape}, {sizes}"

    def __call__(self, frame: types.FrameType, event: str, _: object):
        name = PATHS.get(frame.f_code.co_filename)
        if name is None:
            return None
        self.entered.add(frame.f_code)
        for value in [*frame.f_locals.values()]:
            home = PATHS.get(
                getattr(sys.modules[type(value).__module__], "__file__", "")
            )
            sizes: dict[str, int] = {}
            for field, _, line in self.stated.get(home, {}).get(
                type(value).__name__, []
            ):
                self.check(home, line, getattr(value, field), sizes)
        told, before, sizes = self.stated[name].get(frame.f_code.co_firstlineno), 0, {}
        for variable, first, line in told or []:
            if not first:
                self.check(name, line, frame.f_locals.get(variable), sizes)

        def step(frame: types.FrameType, event: str, _: object):
            """Check what the line before has assigned, when the next one begins."""
            nonlocal before
            for variable, first, line in told:
                over = event == "return" or not first <= frame.f_lineno <= line
                if first and first <= before <= line and over:
                    values = frame.f_locals
                    letters = {k: v for k, v in values.items() if type(v) is int}
                    self.check(name, line, values.get(variable), sizes | letters)
            before = frame.f_lineno
            return step

        return step if told else None


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """(Watch, code that a short main job entered): that job, then one with more."""
    small = dict(pretrain_steps=3, steps=2, evals=2, eval_problems=8, eval_samples=2)
    small |= dict(prompts_per_step=4, group_size=4, threads=1)
    out = tmp_path_factory.mktemp("watched")
    watch = Watch()
    table = str(ROOT / "tests" / "data" / "scalerl_fig1_digitized.csv")
    args = ["fit", table, "--x", "kgpu_hours", "--run", "run", "--only", "8B_dense"]
    (curve,) = scaling.read_curves(scaling.parse_args(args))
    main = train.make_config(out=str(out / "main"), **small)
    more = dict(reward="learned", rm_answers=320, false_positive=0.5, kl="k1_reward")
    more |= dict(kl_coef=0.1, lag=1, correction="token", entropy_bonus=0.01)
    other = train.make_config(out=str(out / "more"), **small, **more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "RM_STEPS", 2)
        try:
            sys.settrace(watch)
            train.train(main)
            found = scaling.forecast(curve, 0.5)
            found.outlook(curve.points()[0])
            entered = set(watch.entered)
            train.train(other)
        finally:
            sys.settrace(None)
    return watch, entered


def test_the_main_job_is_told_on_the_first_evening(watched):
    """At least 85 % of the functions that it enters stand above the marks."""
    above, below = [], []
    for code in watched[1]:
        name = PATHS[code.co_filename]
        if "<" not in code.co_qualname:  # what stands inside of another is its part
            part = above if code.co_firstlineno < mark(name) else below
            part.append(f"{name}.py:{code.co_firstlineno} {code.co_qualname}")
    assert len(above) >= 0.85 * len(above + below), told(below)


def test_shape_comments_are_true(watched):
    """(B, T) at the end of a line is what stands there when the line has run."""
    watch = watched[0]
    assert not watch.wrong, told(watch.wrong.items())
    every = {f"{name}.py:{line}" for name in ORDER for line in watch.comments[name]}
    assert len(watch.seen) >= 0.6 * len(every), told(every - watch.seen)
