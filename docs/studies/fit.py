"""The fits of scaling.py for anybody's runs: tables as CSV, or run folders of train.py.

    python scaling.py fit curves.csv                      one run: compute, pass_rate
    python scaling.py fit curves.csv --run name           a column tells runs apart
    python scaling.py fit curves.csv --x step --y a,b     a column for each run

A row at zero compute gives R_0. A blank cell is no point: runs may be evaluated at
different times. Of a run with many points means are fitted, see `thin`.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from model import read_rows
from scaling import (
    STUDIES,
    Array,
    Curve,
    draw_curves,
    fit_table,
    forecast,
    load,
    panels,
    refusal,
    save_figure,
)

rivals = load(STUDIES / "rivals.py")

MOST_POINTS = 400  # of a run; the search over shapes holds a number for each and shape


def parse_args(argv: list[str]) -> argparse.Namespace:
    """The flags of `fit`. ValueError for a number out of range."""
    what = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="scaling.py fit", description=what)
    parser.add_argument("files", nargs="+", help="CSV files or run folders")
    parser.add_argument("--out", default="out/fit", help="folder, default out/fit")
    parser.add_argument("--x", default="", help="default compute, of a run rl_flops")
    parser.add_argument("--y", default="pass_rate", help="columns of scores, 0 to 1")
    parser.add_argument("--percent", action="store_true", help="scores go up to 100")
    parser.add_argument("--run", default="", help="column that tells runs apart")
    parser.add_argument("--pool", action="store_true", help="runs are seeds of a curve")
    parser.add_argument("--only", default="", help="fit only this run")
    parser.add_argument("--start", type=float, default=0.0, help="lowest compute used")
    parser.add_argument("--fit-until", type=float, default=0.5, help="share, else half")
    parser.add_argument("--r0", type=float, help="pass rate at no compute, else fitted")
    args = parser.parse_args(argv)
    if not 0 < args.fit_until <= 1:
        raise ValueError(f"--fit-until is a share of the compute, got {args.fit_until}")
    if args.r0 is not None and not 0 <= args.r0 <= 1:
        raise ValueError(f"--r0 is a pass rate between 0 and 1, got {args.r0}")
    return args


def harmless(name: str) -> str:
    """A name as it may be shown: on one line, without control codes or bars."""
    text = "".join(c if c.isprintable() else "?" for c in name).replace("|", "/")
    return " " + text if text.startswith("_") else text  # no legend shows a leading _


def thin(x: Array, y: Array) -> tuple[Array, Array]:
    """At most MOST_POINTS points, in order of x: means over stretches of log x."""
    if len(x) <= MOST_POINTS:
        return x, y
    edges = np.geomspace(x[0], x[-1], MOST_POINTS + 1)[1:-1]
    parts = np.searchsorted(edges, x, side="right")
    counts = np.bincount(parts, minlength=MOST_POINTS)
    full = counts > 0
    x_mean, y_mean = (np.bincount(parts, v, MOST_POINTS) for v in (x, y))
    return x_mean[full] / counts[full], y_mean[full] / counts[full]


def read_curves(args: argparse.Namespace) -> list[Curve]:
    """One curve for each run and y column of the files; with --pool for each y column.

    Points at zero compute give R_0, unless --r0 does. ValueError for what is not there,
    or fewer than 4 points to fit.
    """
    found: dict[tuple[str, str], tuple[list, list]] = {}
    names = []
    for file in args.files:
        for (run, y), points in read_points(file, args).items():
            names.append(run)
            if args.only not in ("", run):
                continue
            x, score = np.array(sorted(points)).T
            if not args.run and len(set(x.tolist())) < len(x):
                print(f"{file}: a compute occurs twice; give --run if there are runs")
            keep = (x > 0) & (x >= args.start)
            early = keep & (x <= args.fit_until * x.max())
            if len(set(x[early].tolist())) < (1 if args.pool else 4):
                raise ValueError(
                    f"{file}: {harmless(run)} needs at least 4 points to fit, at as "
                    "many computes; lower --start or raise --fit-until"
                )
            name = f"{run} {y}" if "," in args.y else run
            key = ("", y) if args.pool else (file, harmless(name))
            runs, starts = found.setdefault(key, ([], []))
            runs.append(thin(x[keep], score[keep]))
            starts += [args.r0] if args.r0 is not None else score[x == 0].tolist()
    if not found:
        have = ", ".join(map(harmless, dict.fromkeys(names)))
        raise ValueError(f"no run {args.only!r}; there are {have}")
    return [
        Curve(name, runs, float(np.mean(starts)) if starts else None)
        for (_, name), (runs, starts) in found.items()
    ]


def read_table(file: str) -> list[dict]:
    """Rows of a CSV. ValueError names the file."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            return list(csv.DictReader(lines))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8; save it as such") from error
    except csv.Error as error:
        raise ValueError(f"{file} is no CSV: {error}") from error


def find_columns(header: list[str], name: str, file: str) -> dict[str, str]:
    """{column: run} of what is called `name`; run "" if the column is that of all.

    A tracker's export has one for each run, `RUN - NAME` (W&B); its __MIN and __MAX are
    left out. ValueError if there is none.
    """
    if name in header:
        return {name: ""}
    ending = f" - {name}"
    found = {c: c.removesuffix(ending) for c in header if c.endswith(ending)}
    if not found:
        have = ", ".join(map(harmless, header))
        raise ValueError(f"{file} has no column {name!r}; it has {have}")
    return found


def read_cell(row: dict, column: str, place: str, most: float) -> float:
    """A number from 0 to `most`. ValueError names line and column, and asks if it may
    be percent."""
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = np.nan
    if 0 <= value <= most:
        return value
    what = f"a number from 0 on, up to {most:g}"
    hint = "; if these are percent, add --percent" if most == 1 < value <= 100 else ""
    raise ValueError(f"{place}, column {column!r}: {what}, not {row[column]!r}{hint}")


def read_points(file: str, args: argparse.Namespace) -> dict[tuple[str, str], list]:
    """{(run, y): points} of a CSV or a run's folder; points are (compute, score).

    ValueError for a column that is not there or a cell out of range, with its line.
    """
    is_run = Path(file).is_dir()
    rows = read_rows(Path(file), "eval") if is_run else read_table(file)
    if not rows:
        raise ValueError(f"{file} has no rows under its header")
    header = [str(name) for name in rows[0]]
    x_name = args.x or ("rl_flops" if is_run else "compute")
    x_of = {run: c for c, run in find_columns(header, x_name, file).items()}
    if args.run:
        find_columns(header, args.run, file)
    columns = {}
    for y in args.y.split(","):
        columns |= {c: (run, y) for c, run in find_columns(header, y, file).items()}
    for column, (run, _) in columns.items():
        if not x_of.keys() & {run, ""}:
            raise ValueError(f"{file} has no {x_name!r} beside {column!r}; choose --x")
    points: dict[tuple[str, str], list] = {}
    stem = Path(file).stem
    by_path = is_run or [Path(name).stem for name in args.files].count(stem) > 1
    top = 100.0 if args.percent else 1.0
    for number, row in enumerate(rows, 2):
        place = f"{file} line {number}"
        whole = str(row[args.run]) if args.run else file if by_path else stem
        for column, (run, y) in columns.items():
            if row[column] == "":
                continue
            x = x_of[run if run in x_of else ""]
            compute = read_cell(row, x, place, 1e300)
            score = read_cell(row, column, place, top) / top
            points.setdefault((run or whole, y), []).append((compute, score))
    return points


def main(argv: list[str]) -> None:
    """The command: table, figure and forecast."""
    args = parse_args(argv)
    forecasts = [forecast(curve, args.fit_until) for curve in read_curves(args)]
    unit = args.x or ("rl_flops" if Path(args.files[0]).is_dir() else "compute")
    unit, scores_of = harmless(unit), harmless(args.y)
    start = "measured or fitted" if args.r0 is None else f"held at {args.r0}"
    together = "runs are seeds of one setting" if args.pool else "each run by itself"
    text = (
        f"Assumed: {unit} is compute, {scores_of} a pass rate; points from "
        f"{args.start:g} up to {args.fit_until:.0%} of\nthe largest compute are "
        f"fitted, unweighted; {together}; over {MOST_POINTS} points are averaged; R_0 "
        f"is {start}.\n\n{fit_table(forecasts, unit)}\n"
    )
    later = [rivals.scores(f) for f in forecasts]
    if any(later):
        text += f"\nLater points, mean over curves:\n\n{rivals.score_table(later)}\n"
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "fit.md"
    again = "replaced" if page.exists() else "wrote"
    page.write_text(text)
    figure, (axes,) = panels(1)
    draw_curves(axes, forecasts, unit)
    axes.set_ylabel(scores_of)
    ends = [f"A of {f.curve.name} {f.fit.a:.3f}" for f in forecasts if not refusal(f)]
    title = "; ".join(ends) or "The data cannot say where any curve ends"
    if len(ends) > 4:
        found = [f.fit.a for f in forecasts if not refusal(f)]
        title = f"A of {len(found)} curves: {min(found):.3f} to {max(found):.3f}"
    save_figure(figure, title, folder / "fit.png")
    print(f"{text}\n{again} {folder}/fit.md and {folder}/fit.png")
