"""Random changes of the six files: does any test see them? See planted_bugs.py.

A change is one operator, number, order of arguments or statement of a function; what
prints, draws or measures time is left out, and what shows a file's concept.
"""

import ast
import difflib
import random
import re
import textwrap

SHOWING = "main$|no_cache|show|plot|draw_|save_fig|panels|print|report|line|"
SHOWING += "interact|parse_(args|con)"
UNTESTED = "^(raise|assert|print|tqdm|['\"])|perf_counter|monotonic|[.]write"
SWAPS = """Gt:Lt Gt:GtE Lt:Gt Lt:LtE GtE:Gt LtE:Lt Eq:NotEq NotEq:Eq Is:IsNot IsNot:Is
In:NotIn NotIn:In Add:Sub Sub:Add Mult:Div Div:Mult FloorDiv:Mult Pow:Mult BitAnd:BitOr
BitOr:BitAnd And:Or Or:And"""


def changes_of(node: ast.AST) -> list[tuple[str, object]]:
    """(field, new value) of each change of one operator, number, order or statement."""
    found: list[tuple[str, object]] = []
    for pair in SWAPS.split():
        old, new = (getattr(ast, name) for name in pair.split(":"))
        if isinstance(getattr(node, "op", None), old):
            found.append(("op", new()))
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], old):
            found.append(("ops", [new(), *node.ops[1:]]))
    if isinstance(node, ast.UnaryOp):  # once more: --x, not not x
        found.append(("operand", ast.UnaryOp(node.op, node.operand)))
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        found += [("value", node.value + step) for step in (1, -1)]
    # Nothing changes where the order does not matter: max, torch.minimum.
    if isinstance(node, ast.Call) and len(node.args) >= 2:
        if not re.search("(max|min|imum)$", ast.unparse(node.func)):
            found.append(("args", [node.args[1], node.args[0], *node.args[2:]]))
    body = getattr(node, "body", []) if isinstance(node, ast.stmt) else []
    for i, part in enumerate(body):
        if isinstance(part, ast.Expr | ast.AugAssign | ast.Continue | ast.Break):
            if not re.search(UNTESTED, ast.unparse(part)):
                found.append(("body", [*body[:i], ast.Pass(), *body[i + 1 :]]))
    return found


def parts_of(node: ast.AST, inside: bool = False) -> list[ast.AST]:
    """The nodes inside of functions, without what random changes leave out."""
    if isinstance(node, ast.stmt) and re.search(
        UNTESTED, ast.unparse(node).split("\n")[0]
    ):
        return []
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.FunctionDef):
        if re.match(SHOWING, node.name):
            return []
        inside, children = True, node.body
    found = [part for child in children for part in parts_of(child, inside)]
    return [node, *found] if inside else found


def random_bugs(source: str, file: str, count: int, seed: int) -> list[tuple]:
    """Changes at random places; the new text is the whole file. The changed function
    loses its comments, and no other: the help of train.py is made of comments."""
    tree, lines = ast.parse(source), source.split("\n")
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    every = [(n, field, new) for n in parts_of(tree) for field, new in changes_of(n)]
    bugs = []
    for node, field, new in random.Random(seed).sample(every, min(count, len(every))):
        around = [f for f in functions if f.lineno <= node.lineno <= f.end_lineno]
        function = max(around, key=lambda f: f.lineno)
        before, old = ast.unparse(function), getattr(node, field)
        setattr(node, field, new)
        after = ast.unparse(function)
        setattr(node, field, old)
        first = min(part.lineno for part in (function, *function.decorator_list)) - 1
        changed = textwrap.indent(after, " " * function.col_offset).split("\n")
        text = "\n".join(lines[:first] + changed + lines[function.end_lineno :])
        shown = list(difflib.unified_diff(before.split("\n"), after.split("\n"), n=0))
        what = "\n".join([f"line {node.lineno}", *shown[3:]])
        bugs.append((file, what, "", "", text))
    return bugs
