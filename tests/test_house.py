"""What the house promises about itself: sizes, reading order, explanations, shapes."""

import ast
import io
import re
import sys
import tokenize
import types
from collections import Counter
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
TREE = {name: ast.parse(text) for name, text in TEXT.items()}
PATHS = {str(ROOT / f"{name}.py"): name for name in ORDER}
# What stands above the mark of a file is the first evening; here: lines above it.
MARK = "\n# ---- second evening"
ABOVE = {name: text.split(MARK)[0].count("\n") + 1 for name, text in TEXT.items()}
SHARE_ABOVE = 0.85  # of the functions that a short main job enters


def test_the_house_is_small():
    """New things are paid for by old ones, in the six files and in the tests."""
    sizes = {name: text.count("\n") for name, text in TEXT.items()}
    assert sum(sizes.values()) <= 4800 and max(sizes.values()) <= 1200, sizes
    assert sum(ABOVE.values()) <= 1950, ABOVE
    assert all(text.count(MARK) == 1 for text in TEXT.values())
    paths = (ROOT / "tests").rglob("*.py")
    assert sum(path.read_text().count("\n") for path in paths) <= 5000


def test_lines_are_not_saved_by_density():
    """Nor by words that a student reads twice. A function fits on a screen (three do
    not), a, b = x, y is two thoughts, f(*args, **options) hides what is which."""
    hard = re.findall(r"^.{89,}|\b(?:lest|alone)\b", "\n".join(TEXT.values()), re.M)
    long, pairs, stars = [], [], []
    for file, node in [(n, x) for n in ORDER for x in ast.walk(TREE[n])]:
        place = (file, getattr(node, "lineno", 0))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 45:
            long.append(place)
        if isinstance(node, ast.Assign):
            both = (node.targets[0], node.value)
            pairs += [place] * all(isinstance(x, ast.Tuple) for x in both)
        if isinstance(node, ast.Call):
            stars += [place for x in node.args if isinstance(x, ast.Starred)]
            stars += [place for x in node.keywords if x.arg is None]
    for found, most in ((hard, 0), (long, 3), (pairs, 55), (stars, 25)):
        assert len(found) <= most, str(found)


def comments(name: str) -> dict[int, str]:
    """{line: '# text'} of a file."""
    tokens = tokenize.generate_tokens(io.StringIO(TEXT[name]).readline)
    return {t.start[0]: t.string for t in tokens if t.type == tokenize.COMMENT}


@pytest.mark.parametrize("name", ORDER)
def test_a_quarter_of_a_file_explains_the_rest(name):
    """Lines of docstrings and comments over lines of code."""
    texts = {i: x.strip() for i, x in enumerate(TEXT[name].split("\n"), 1)}
    explained = {i for i in comments(name) if texts[i][0] == "#"}
    for node in ast.walk(TREE[name]):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            explained |= set(range(node.lineno, node.end_lineno + 1))  # a docstring
    code = {i for i, text in texts.items() if text} - explained
    assert len(explained) / len(code) >= 0.25, (len(explained), len(code))


@pytest.mark.parametrize("name", ORDER)
def test_headers_say_shapes_papers_and_what_is_left_out(name):
    """And the reading order. Letters in shape comments are declared in the header."""
    header = ast.get_docstring(TREE[name])
    found = re.findall(r"^(Shapes|Papers|Left out)  +\S", header, re.M)
    assert found == ["Shapes", "Papers", "Left out"]
    before = ORDER[ORDER.index(name) - 1]
    assert name == "model" or f"after {before}.py" in " ".join(header.split())
    letters, shapes = re.compile(r"\b[A-Z]\b"), " ".join(shape_comments(name).values())
    declared = letters.findall(header.split("\nPapers")[0])
    assert set(letters.findall(shapes)) <= set(declared)


def test_planted_bugs_still_apply():
    """Old texts are in their files exactly once, tests exist, a file has eight bugs."""
    bugs = planted_bugs.read_bugs()
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for file, what, test, old, _ in bugs:
        assert (ROOT / file).read_text().count(old) == 1, (file, what, old)
        assert f"def {test}(" in tests, (what, test)
    counts = Counter(file for file, *_ in bugs)
    assert min(counts[f"{name}.py"] for name in ORDER) >= 8, counts


SMALL = dict(pretrain_steps=60, pretrain_lr=1e-2, think_share=0.0, steps=3, levels="3")
SMALL |= dict(prompts_per_step=4, group_size=4, evals=2, eval_problems=8)
SMALL |= dict(eval_samples=2, threads=1, device="cpu")


def test_the_main_job_is_told_on_the_first_evening(tmp_path):
    """Most functions that it enters stand above the marks (not counted: inner ones)."""
    entered: set[tuple[str, int, str]] = set()

    def note(frame: types.FrameType, event: str, _: object) -> None:
        code, file = frame.f_code, PATHS.get(frame.f_code.co_filename)
        if event == "call" and file and not code.co_flags & 0x10:  # no inner one
            entered.add((file, code.co_firstlineno, code.co_name))

    cfg = train.make_config(out=str(tmp_path), **SMALL)
    sys.setprofile(note)
    try:
        run = train.train(cfg)
    finally:
        sys.setprofile(None)
    assert any(row["grad_norm"] > 0 for row in run.rows["rl"]), "no update"
    below = sorted(part for part in entered if part[1] > ABOVE[part[0]])
    share = 1 - len(below) / len(entered)
    assert share >= SHARE_ABOVE, f"{share:.3f} of {len(entered)}, not {below}"


SHAPE = r"\([^()]*,[^()]*\)"


def shape_comments(name: str) -> dict[int, str]:
    """{line: '(B, T)'} of the comments at line ends that state a shape."""
    pattern = re.compile(rf"# ({SHAPE}(?: or {SHAPE})*)")
    found = {line: pattern.match(text) for line, text in comments(name).items()}
    return {line: match[1] for line, match in found.items() if match}


def agrees(shape: list[int], comment: str, sizes: dict[str, int]) -> bool:
    """Is this the shape, or one of the shapes, of a comment? Letters get their sizes.

    Of words such as 'B or more' it only counts that there is a dimension.
    """
    for one in re.findall(SHAPE, comment):
        words = [word.strip() for word in one.strip("()").split(",") if word.strip()]
        both, known = list(zip(words, shape, strict=False)), dict(sizes)
        known |= {w: n for w, n in both if w.isupper() and w not in known}
        both = [(re.sub(r" (?=[A-Z]\b)", "*", w), n) for w, n in both]  # 2 B K
        sure = [x for x in both if set(re.findall(r"[A-Za-z_]\w*", x[0])) <= set(known)]
        if len(words) == len(shape) and all(eval(w, {}, known) == n for w, n in sure):
            sizes |= known
            return True
    return False


def stated_shapes(name: str) -> dict[int | str, list[tuple[str, int]]]:
    """(variable, line of its comment): of an assignment by its line, of arguments by
    the first line of their function, of fields by their class."""
    found: dict[int | str, list[tuple[str, int]]] = {}
    for node in ast.walk(TREE[name]):
        if isinstance(node, ast.ClassDef):
            fields = [x for x in node.body if isinstance(x, ast.AnnAssign)]
            found[node.name] = [(x.target.id, x.lineno) for x in fields]
        elif isinstance(node, ast.FunctionDef):
            first = min(x.lineno for x in (node, *node.decorator_list))
            found[first] = [(x.arg, x.lineno) for x in node.args.args]
        elif isinstance(node, ast.Assign) and node.lineno == node.end_lineno:
            names = [x for x in ast.walk(node.targets[0]) if isinstance(x, ast.Name)]
            found[node.lineno] = [(x.id, node.lineno) for x in names]
    return found


class Watch:
    """A trace function: do values have the shapes that comments state?"""

    def __init__(self) -> None:
        self.comments = {name: shape_comments(name) for name in ORDER}
        self.stated = {name: stated_shapes(name) for name in ORDER}
        self.entered: Counter[types.CodeType] = Counter()
        self.seen: set[tuple] = set()  # (file, line) of comments
        self.wrong: list[tuple] = []

    def check(self, name: str, key: int | str, values: dict, sizes: dict) -> None:
        """Compare what was stated under a key with values that have a shape."""
        for variable, line in self.stated[name].get(key, []):
            value, comment = values.get(variable), self.comments[name].get(line, "")
            is_list = type(value) is list and value and comment.endswith(",)")
            if comment and (is_list or isinstance(value, torch.Tensor | np.ndarray)):
                shape = [len(value)] if is_list else [*value.shape]
                self.seen.add((name, line))
                if not agrees(shape, comment, sizes):
                    self.wrong.append((name, line, comment, shape, sizes))

    def __call__(self, frame: types.FrameType, *_: object):
        """A function is entered: look at fields of arguments, then at each line."""
        code, sizes = frame.f_code, {}
        name, before = PATHS.get(code.co_filename), code.co_firstlineno
        self.entered[code] += 1
        if name is None or code.co_name[0] == "<" or self.entered[code] > 3:
            return None
        for value in [*frame.f_locals.values()]:
            if (home := type(value).__module__) in ORDER and hasattr(value, "__dict__"):
                self.check(home, type(value).__name__, vars(value), {})

        def step(frame: types.FrameType, *_: object):
            """A line begins: look at what the line before has assigned."""
            nonlocal before
            values = frame.f_locals
            sizes.update({k: v for k, v in values.items() if type(v) is int})
            known = sizes if before == code.co_firstlineno else dict(sizes)
            self.check(name, before, values, known)
            before = frame.f_lineno
            return step

        return step


def test_shape_comments_are_true(tmp_path, monkeypatch):
    """(B, T) at the end of a line is what stands there when the line has run."""
    monkeypatch.setattr(train, "RM_STEPS", 2)
    options = dict(reward="learned", rm_answers=320, false_positive=0.5, lag=1, steps=2)
    options |= dict(kl_coef=0.1, correction="token", entropy_bonus=0.01)
    cfg = train.make_config(out=str(tmp_path), **{**SMALL, **options})
    compute = np.arange(1.0, 21)
    curve = scaling.Curve("some", [(compute, compute / (compute + 5))])
    watch = Watch()
    sys.settrace(watch)
    try:
        train.train(cfg)
        scaling.forecast(curve, 0.5, num_draws=20).outlook(compute)
    finally:
        sys.settrace(None)
    assert not watch.wrong, str(watch.wrong)
    every = {(name, line) for name in ORDER for line in watch.comments[name]}
    assert len(watch.seen) >= 0.6 * len(every), str(every - watch.seen)
