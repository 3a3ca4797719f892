"""What more RL compute buys, and whether it can be predicted.

    python scaling.py --quick              the study `curve`: run, fit, forecast, plot
    python scaling.py fit curves.csv --x gpu_hours --y pass_rate --run run

Read last. A study is a list of configs of train.py and a few lines that turn finished
runs into a table and a figure. `fit` does the same for any CSV, from any trainer.

    R(C) = R_0 + (A - R_0) / (1 + (C_mid / C)^B)      ScaleRL arXiv:2510.13786, Eq. 1

C is RL compute, R_0 the pass rate before RL, A the pass rate at unlimited compute,
C_mid the compute of half the gain, and B says how sharply it comes: from 10 % to 90 %
of the gain takes a factor 81^(1/B) of compute.

Left out  a power law in 1 - pass rate across model sizes, other studies (yet)
"""

import argparse
import csv
import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import train

Array = np.ndarray

# --------------------------------------------------------------------------------------
# Fitting one sigmoid


@dataclass(frozen=True)
class Sigmoid:
    """A fitted curve: A, B, C_mid and R_0 of the formula above."""

    a: float
    b: float
    c_mid: float
    r0: float

    def __call__(self, compute: Array) -> Array:
        return self.r0 + (self.a - self.r0) * gain(compute, self.b, self.c_mid)


def gain(compute: Array, b: Array | float, c_mid: Array | float) -> Array:
    """Share of the gain reached: 1 / (1 + (C_mid / C)^B)."""
    return 1 / (1 + np.exp(b * (np.log(c_mid) - np.log(compute))))


def project(g: Array, score: Array, r0: float | None) -> tuple[Array, Array, Array]:
    """Best (A, R_0) for given shapes, and the squared error left.

    g (..., n) is the gain at each point. For fixed B and C_mid the curve is linear in A
    and R_0, R = R_0 (1 - g) + A g, so least squares is solved in closed form (variable
    projection). A is kept in [0, 1]; where that binds, R_0 is solved again.
    """
    h = 1 - g
    if r0 is None:
        gg, hh, gh = (g * g).sum(-1), (h * h).sum(-1), (g * h).sum(-1)
        gy, hy = (g * score).sum(-1), (h * score).sum(-1)
        det = np.maximum(gg * hh - gh * gh, 1e-12)
        a = np.clip((hh * gy - gh * hy) / det, 0, 1)
        start = (hy - a * gh) / np.maximum(hh, 1e-12)
    else:
        rest = ((score - r0 * h) * g).sum(-1)
        a = np.clip(rest / np.maximum((g * g).sum(-1), 1e-12), 0, 1)
        start = np.full_like(a, r0)
    error = (start[..., None] * h + a[..., None] * g - score) ** 2
    return a, start, error.sum(-1)


def fit_sigmoid(compute: Array, score: Array, r0: float | None = None) -> Sigmoid:
    """Least-squares sigmoid through points (n,), global and without starting values.

    A grid over B in 0.2-12 and C_mid from C_min / 3 to 10 C_max, refined four times
    around its best cell; A, and R_0 unless given, by `project`. ValueError for fewer
    than 4 points.
    """
    if len(compute) < 4:
        raise ValueError(
            f"a sigmoid needs at least 4 points to fit, got {len(compute)}"
        )
    b_range = (np.log(0.2), np.log(12.0))
    c_range = (np.log(compute.min() / 3), np.log(compute.max() * 10))
    limits = b_range, c_range
    for size in (40, 12, 12, 12, 12):
        bs, cs = np.linspace(*b_range, size), np.linspace(*c_range, size)
        g = gain(compute, np.exp(bs)[:, None, None], np.exp(cs)[None, :, None])
        a, start, error = project(g, score, r0)
        i, j = np.unravel_index(error.argmin(), error.shape)
        best = Sigmoid(a[i, j], np.exp(bs[i]), np.exp(cs[j]), start[i, j])
        b_range = zoom(bs, i, limits[0])
        c_range = zoom(cs, j, limits[1])
    return best


def zoom(grid: Array, i: int, limits: tuple[float, float]) -> tuple[float, float]:
    """The range of two cells either side of grid[i], within limits."""
    step = 2 * (grid[1] - grid[0])
    return max(grid[i] - step, limits[0]), min(grid[i] + step, limits[1])


def profile_a(compute: Array, score: Array, fit: Sigmoid) -> tuple[float, float]:
    """95 % interval of A: where the best fit with that A is not significantly worse.

    chi^2(A) = (SSE(A) - SSE) / s^2 <= 3.84 with s^2 = SSE / (n - 3). R_0 is held.
    """
    bs = np.geomspace(0.2, 12, 50)[:, None, None]
    cs = np.geomspace(compute.min() / 3, compute.max() * 10, 80)[None, :, None]
    g = gain(compute, bs, cs)  # (50, 80, n)
    base = score - fit.r0 * (1 - g)
    yy, gy, gg = (base * base).sum(-1), (base * g).sum(-1), (g * g).sum(-1)
    # The grid's own least error, so that interval and grid are equally coarse.
    levels = np.linspace(max(fit.r0, 0), 1, 401)
    errors = np.array([(yy - 2 * a * gy + a * a * gg).min() for a in levels])
    least = max(errors.min(), 1e-12)  # rounding can leave it below 0
    inside = levels[errors <= least * (1 + 3.84 / max(len(score) - 3, 1))]
    return float(inside.min()), float(inside.max())


# --------------------------------------------------------------------------------------
# Forecasts that a sigmoid has to beat


def last_value(compute: Array, score: Array) -> Callable[[Array], Array]:
    """Nothing more will be gained: the mean of the last three points."""
    level = score[np.argsort(compute)][-3:].mean()
    return lambda c: np.full(len(c), level)


def log_linear(compute: Array, score: Array) -> Callable[[Array], Array]:
    """The same gain for every tenfold: a straight line in log C, at most 1."""
    slope, start = np.polyfit(np.log(compute), score, 1)
    return lambda c: np.minimum(start + slope * np.log(c), 1.0)


def power_law(compute: Array, score: Array) -> Callable[[Array], Array]:
    """A - D / C^B, A at most 1: the pretraining form. B on a grid, A and D linear."""
    best = (np.inf, 0.0, 0.0, 1.0)
    x = compute / compute.max()
    for b in np.geomspace(0.05, 5, 60):
        design = np.stack([np.ones_like(x), -(x**-b)], 1)
        a, d = np.linalg.lstsq(design, score, rcond=None)[0]
        if a > 1:
            a, d = 1.0, ((1 - score) * x**-b).sum() / (x ** (-2 * b)).sum()
        error = ((design @ [a, d] - score) ** 2).sum()
        best = min(best, (error, a, d, b))
    _, a, d, b = best
    return lambda c: a - d * (c / compute.max()) ** -b


BASELINES = {"last value": last_value, "log-linear": log_linear, "power law": power_law}


# --------------------------------------------------------------------------------------
# Curves: one or several runs of one setting, fitted on a first part, predicted after it


@dataclass(frozen=True)
class Curve:
    """Points of each run, in order of compute; r0 None: fitted."""

    name: str
    runs: list[tuple[Array, Array]]  # (compute, score), each (n,)
    r0: float | None = None

    def points(self, low: float = 0.0, high: float = np.inf) -> tuple[Array, Array]:
        """All points with low < compute <= high, runs together."""
        x, y = (np.concatenate(column) for column in zip(*self.runs, strict=True))
        keep = (x > low) & (x <= high)
        return x[keep], y[keep]


@dataclass(frozen=True)
class Forecast:
    """What a fit on compute up to `until` says, and how far the later points lie."""

    curve: Curve
    until: float
    fit: Sigmoid
    profile: tuple[float, float]  # 95 % of A
    draws: list[Sigmoid]  # bootstrap fits
    noise: float  # standard deviation of the residuals

    def interval(self, name: str) -> tuple[float, float]:
        """90 % bootstrap interval of a parameter."""
        values = [getattr(draw, name) for draw in self.draws]
        return tuple(np.quantile(values, [0.05, 0.95]))

    def band(self, compute: Array) -> tuple[Array, Array]:
        """90 % band for new points: spread of the fits and of points about them."""
        rng = np.random.default_rng(0)
        fits = np.stack([draw(compute) for draw in self.draws])
        points = rng.normal(np.tile(fits, (20, 1)), self.noise)
        return tuple(np.quantile(points, [0.05, 0.95], axis=0).clip(0, 1))

    def identified(self) -> bool:
        """Do the data reach far enough past C_mid to say where the curve ends?"""
        return self.until >= 2 * self.fit.c_mid and self.profile[1] < 1

    def errors(self, predict: Callable[[Array], Array]) -> tuple[float, float]:
        """(bias, rmse) of a prediction on the points after `until`."""
        x, y = self.curve.points(self.until)
        miss = predict(x) - y
        return float(miss.mean()), float(np.sqrt((miss**2).mean()))

    def coverage(self) -> float:
        """Share of the later points inside the 90 % band."""
        x, y = self.curve.points(self.until)
        low, high = self.band(x)
        return float(((low <= y) & (y <= high)).mean())


def forecast(curve: Curve, fit_until: float, num_draws: int = 200) -> Forecast:
    """Fit the part of a curve up to fit_until * its largest compute.

    Intervals by bootstrap: over runs where there are 3 or more, else over blocks of
    residuals, since neighbouring evaluations of one run err together.
    """
    until = fit_until * max(x.max() for x, _ in curve.runs)
    x, y = curve.points(0, until)
    fit = fit_sigmoid(x, y, curve.r0)
    rng, draws = np.random.default_rng(0), []
    residuals = y - fit(x)
    for _ in range(num_draws):
        if len(curve.runs) >= 3:
            pick = rng.integers(len(curve.runs), size=len(curve.runs))
            new = Curve(curve.name, [curve.runs[i] for i in pick]).points(0, until)
        else:
            block = max(round(len(x) ** (1 / 3)), 1)
            starts = rng.integers(len(x) - block + 1, size=-(-len(x) // block))
            index = np.concatenate([np.arange(s, s + block) for s in starts])[: len(x)]
            new = x, fit(x) + residuals[index]
        draws.append(fit_sigmoid(*new, curve.r0))
    noise = float(np.sqrt((residuals**2).sum() / max(len(x) - 3, 1)))
    return Forecast(curve, until, fit, profile_a(x, y, fit), draws, noise)


def table(forecasts: list[Forecast], unit: str) -> str:
    """The fits and their forecast errors as Markdown."""
    lines = [f"Compute in {unit}. In brackets: 90 % bootstrap intervals.", ""]
    lines += ["| curve | points fitted | R_0 | A | A, 95 % profile | B | C_mid |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for f in forecasts:
        x, _ = f.curve.points(0, f.until)
        cells = [f.curve.name, f"{len(x)}", f"{f.fit.r0:.3f}"]
        for name, digits in (("a", ".3f"), ("b", ".2f"), ("c_mid", ".3g")):
            low, high = f.interval(name)
            value = getattr(f.fit, name)
            cells += [f"{value:{digits}} [{low:{digits}}, {high:{digits}}]"]
        cells.insert(4, f"{f.profile[0]:.3f} to {f.profile[1]:.3f}")
        lines += ["| " + " | ".join(cells) + " |"]
    for f in forecasts:
        if not f.identified():
            lines += [
                "",
                f"{f.curve.name}: A is NOT identified. The fitted points end at "
                f"{f.until / f.fit.c_mid:.1f} C_mid (2 are needed) or its profile "
                f"reaches 1: read A as at least {f.profile[0]:.2f}.",
            ]
    lines += ["", "Forecast of the points after the fitted part:", ""]
    lines += ["| curve | later points | forecast | bias | RMSE | in the 90 % band |"]
    lines += ["|---|---|---|---|---|---|"]
    for f in forecasts:
        x, y = f.curve.points(f.until)
        if not len(x):
            lines += [f"| {f.curve.name} | 0 | none to compare with | | | |"]
            continue
        fitted = f.curve.points(0, f.until)
        rows = [("sigmoid", f.fit, f"{f.coverage():.0%}")]
        rows += [(name, make(*fitted), "") for name, make in BASELINES.items()]
        for name, predict, covered in rows:
            bias, rmse = f.errors(predict)
            lines += [
                f"| {f.curve.name} | {len(x)} | {name} | {bias:+.4f} | {rmse:.4f} "
                f"| {covered} |"
            ]
    return "\n".join(lines) + "\n"


def plot(forecasts: list[Forecast], path: Path, unit: str, ylabel: str) -> None:
    """Filled points were fitted, open ones predicted; line solid, then dashed."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    top = 0.0
    for i, f in enumerate(forecasts):
        color = f"C{i}"
        for x, y in f.curve.runs:
            early = x <= f.until
            axes.plot(x[early], y[early], "o", color=color, ms=4)
            axes.plot(x[~early], y[~early], "o", color=color, ms=4, mfc="white")
        x, y = f.curve.points()
        fitted = np.geomspace(x.min(), f.until, 200)
        later = np.geomspace(f.until, max(x.max(), f.until) * 2, 100)
        axes.plot(fitted, f.fit(fitted), "-", color=color)
        axes.plot(later, f.fit(later), "--", color=color)
        axes.fill_between(later, *f.band(later), color=color, alpha=0.15, lw=0)
        end = "" if f.identified() else ", A not identified"
        axes.annotate(
            f"{f.curve.name}\nA {f.fit.a:.3f}{end}",
            (later[-1], f.fit(later)[-1]),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
            color=color,
            va="center",
        )
        top = max(top, y.max(), f.band(later)[1].max())
    until = forecasts[0].until
    if len({f.until for f in forecasts}) == 1:
        axes.axvline(until, color="gray", lw=0.8, ls=":")
    axes.set(xscale="log", xlabel=f"RL compute ({unit})", ylabel=ylabel)
    axes.set_ylim(0, min(1.06, top * 1.15))
    axes.set_xlim(right=axes.get_xlim()[1] * 2)  # room for the labels
    misses = [
        f"{f.curve.name} by {f.errors(f.fit)[1]:.3f}"
        for f in forecasts
        if len(f.curve.points(f.until)[0])
    ]
    if misses:
        verdict = "The later points miss the forecast (RMSE): " + ", ".join(misses)
        axes.set_title(verdict, fontsize=10)
    handles = [
        plt.Line2D([], [], marker="o", color="gray", ls="-", label="fitted"),
        plt.Line2D(
            [],
            [],
            marker="o",
            mfc="white",
            color="gray",
            ls="--",
            label="predicted, with 90 % band",
        ),
    ]
    axes.legend(handles=handles, loc="upper left", fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def conclude(
    forecasts: list[Forecast], folder: Path, name: str, unit: str, ylabel: str
) -> None:
    """Write the table and the figure, and print where they are."""
    text = table(forecasts, unit)
    (folder / f"{name}.md").write_text(text)
    plot(forecasts, folder / f"{name}.png", unit, ylabel)
    print(f"\n{text}\nwrote {folder / name}.md and {folder / name}.png")


# --------------------------------------------------------------------------------------
# Running a study


def is_finished(cfg: train.Config) -> bool:
    """Has this run reached its last step? ValueError for another config."""
    if not (cfg.folder() / "checkpoint.pt").exists():
        return False
    state = train.read_checkpoint(cfg.folder())
    if state["config"] != dataclasses.asdict(cfg):
        raise ValueError(
            f"{cfg.folder()} holds a run of another config; delete it or choose --out"
        )
    return state["phase"] == "rl" and state["step"] >= cfg.steps


def command(cfg: train.Config) -> list[str]:
    """The command line of a config, every field spelled out."""
    argv = [sys.executable, train.__file__]
    for f in fields(cfg):
        argv += [f"--{f.name.replace('_', '-')}={getattr(cfg, f.name)}"]
    return argv


def run_all(configs: list[train.Config], workers: int) -> None:
    """Run every config that is not finished, `workers` processes at a time.

    Each is `python train.py` with one thread: two of them beat one with two threads.
    RuntimeError with the last words of the first that fails, once the others are done.
    """
    waiting = [cfg for cfg in configs if not is_finished(cfg)]
    print(
        f"{len(configs)} runs, {len(configs) - len(waiting)} of them finished already"
    )
    running: dict[subprocess.Popen, train.Config] = {}
    failed, began = [], time.monotonic()
    # A terminated sweep lets its runs save, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                cfg = waiting.pop(0)
                cfg.folder().mkdir(parents=True, exist_ok=True)
                with open(cfg.folder().with_suffix(".log"), "w") as log:
                    process = subprocess.Popen(command(cfg), stdout=log, stderr=log)
                running[process] = cfg
            for process in [p for p in running if p.poll() is not None]:
                cfg = running.pop(process)
                seconds = time.monotonic() - began
                if process.returncode:
                    failed.append(cfg)
                    print(f"{seconds:5.0f} s  {cfg.folder()} FAILED")
                else:
                    rows = train.read_rows(cfg.folder(), "eval")
                    rates = [rows[i]["pass_rate"] for i in (0, -1)]
                    print(
                        f"{seconds:5.0f} s  {cfg.folder()} done, pass rate "
                        f"{rates[0]:.3f} to {rates[1]:.3f}; {len(waiting)} waiting",
                        flush=True,
                    )
            time.sleep(0.2)
    except KeyboardInterrupt:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        raise
    if failed:
        log = failed[0].folder().with_suffix(".log")
        raise RuntimeError(
            f"{len(failed)} runs failed; the first said, in {log}:\n"
            + log.read_text()[-500:]
        )


def study_curve(out: Path, seeds: int, quick: bool, workers: int) -> None:
    """Does a sigmoid fitted on the first half of the compute forecast the rest?

    RL runs of several seeds from one base, so the intervals speak of RL alone. At half
    the main job's learning rate: a curve that jumps leaves nothing to forecast.
    """
    common = dict(lr=5e-4, evals=24)
    steps = 120 if quick else 300
    first = train.make_config(**common, steps=0, out=str(out / "base"))
    run_all([first], workers)
    configs = [
        train.make_config(
            **common,
            steps=steps,
            seed=seed,
            base=first.out,
            out=str(out / f"seed-{seed}"),
        )
        for seed in range(seeds)
    ]
    run_all(configs, workers)
    runs, starts = [], []
    for cfg in configs:
        rows = train.read_rows(cfg.folder(), "eval")
        starts.append(rows[0]["pass_rate"])
        points = [(row["rl_flops"], row["pass_rate"]) for row in rows[1:]]
        runs.append(
            tuple(np.array(column, dtype=float) for column in zip(*points, strict=True))
        )
    curve = Curve(f"{configs[0].task}, {seeds} seeds", runs, float(np.mean(starts)))
    conclude([forecast(curve, 0.5)], out, "curve", "FLOPs", "held-out pass rate")


STUDIES = {"curve": study_curve}


# --------------------------------------------------------------------------------------
# Fitting a table of somebody's runs


def read_curves(args: argparse.Namespace) -> list[Curve]:
    """Curves of a CSV, one for each value of its run column.

    ValueError for a file or column that is not there, or a cell that is no number.
    """
    try:
        with open(args.csv, newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ValueError(f"{args.csv} cannot be read: {error.strerror}") from error
    if not rows:
        raise ValueError(f"{args.csv} has no rows under its header")
    needed = [args.x, args.y] + ([args.run] if args.run else [])
    for name in needed:
        if name not in rows[0]:
            have = ", ".join(map(str, rows[0]))
            raise ValueError(f"{args.csv} has no column {name!r}; it has {have}")
    groups: dict[str, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows, 2):
        try:
            point = float(row[args.x]), float(row[args.y])
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{args.csv} line {number}: {args.x} and {args.y} must be numbers"
            ) from error
        if not (0 < point[0] < np.inf and 0 <= point[1] <= 1):
            raise ValueError(
                f"{args.csv} line {number}: {args.x} must be above 0 and {args.y} "
                f"between 0 and 1, got {point}"
            )
        groups.setdefault(row[args.run] if args.run else Path(args.csv).stem, [])
        groups[row[args.run] if args.run else Path(args.csv).stem].append(point)
    if args.only and args.only not in groups:
        raise ValueError(f"no run {args.only!r}; there are {', '.join(groups)}")
    curves = []
    for name, points in groups.items():
        if args.only in ("", name):
            x, y = np.array(sorted(points)).T
            keep = x >= args.start
            curves.append(Curve(name, [(x[keep], y[keep])], args.r0))
    return curves


def fit_csv(args: argparse.Namespace) -> None:
    """The command `fit`."""
    if not 0 < args.fit_until <= 1:
        raise ValueError(f"--fit-until is a share of the compute, got {args.fit_until}")
    forecasts = [forecast(curve, args.fit_until) for curve in read_curves(args)]
    start = "fitted too" if args.r0 is None else f"held at {args.r0}"
    print(
        f"assumed: {args.x} is compute, {args.y} a pass rate; points from "
        f"{args.start:g} up to {args.fit_until:.0%} of each run's largest compute are "
        f"fitted, unweighted; R_0 is {start}"
    )
    folder = Path(args.out or "out/fit")
    folder.mkdir(parents=True, exist_ok=True)
    conclude(forecasts, folder, "fit", args.x, args.y)


def parse_args(argv: list[str]) -> argparse.Namespace:
    """The command line: a study by name, or `fit FILE`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", nargs="?", default="curve", help="curve, or fit FILE")
    parser.add_argument("csv", nargs="?", default="", help="of fit: the table")
    parser.add_argument("--out", default="", help="folder; default out/STUDY")
    study = parser.add_argument_group("a study")
    study.add_argument("--workers", type=int, default=2, help="processes, default 2")
    study.add_argument("--seeds", type=int, default=0, help="default 3 quick, 5 else")
    study.add_argument("--quick", action="store_true", help="at most 10 minutes")
    fit = parser.add_argument_group("fit")
    fit.add_argument("--x", default="compute", help="column of compute")
    fit.add_argument("--y", default="pass_rate", help="column of the score, 0 to 1")
    fit.add_argument("--run", default="", help="column that tells runs apart")
    fit.add_argument("--only", default="", help="fit this run alone")
    fit.add_argument(
        "--start", type=float, default=0.0, help="leave out smaller compute"
    )
    fit.add_argument("--fit-until", type=float, default=0.5, help="share, default 0.5")
    fit.add_argument("--r0", type=float, help="pass rate at no compute, else fitted")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 1 a run failed, 2 bad input, 130 stopped after saving."""
    args = parse_args(argv)
    try:
        if args.study == "fit":
            fit_csv(args)
        elif args.study in STUDIES:
            seeds = args.seeds or (3 if args.quick else 5)
            if args.workers < 1 or seeds < 1:
                raise ValueError("--workers and --seeds must be at least 1")
            out = Path(args.out or f"out/{args.study}")
            STUDIES[args.study](out, seeds, args.quick, args.workers)
        else:
            known = ", ".join([*STUDIES, "fit"])
            raise ValueError(f"there is no study {args.study!r}; choose from {known}")
    except KeyboardInterrupt:
        print("\nstopped; the runs have saved, the same command goes on with them")
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"scaling.py: {error}", file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
