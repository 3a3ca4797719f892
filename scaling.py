"""What more RL compute buys, and whether it can be predicted.

    python scaling.py curve --quick         a study: run what is missing, fit, forecast
    python scaling.py fit curves.csv        the same fits for anybody's runs
    python scaling.py plan --target 0.9     what it would cost, by the fitted studies

Read after train.py, last: a fit, a forecast and its band; then the fit's intervals,
figures, the runner of studies. Studies, rivals, fits of anybody's runs: docs/studies.

    R(C) = R_0 + (A - R_0) / (1 + (C_mid / C)^B)      ScaleRL arXiv:2510.13786, Eq. 1

C is RL compute, R_0 the pass rate before RL, A the pass rate at unlimited compute,
C_mid the compute of half the gain, and B says how sharply it comes: from 10 % to 90 %
of the gain takes a factor 81^(1/B) of compute.

Shapes    n points, S shapes (pairs of B and C_mid), D likely curves
Papers    ScaleRL 2510.13786, Tan et al. 2509.25300, Kaplan et al. 2001.08361,
          Gneiting and Raftery (interval score), doi 10.1198/016214506000001437
Left out  weights of points, laws of two variables, a scheduler for many machines
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist

if __name__ == "__main__":  # Ctrl-C: no traceback, while torch is imported too
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from model import SIGNALS, own, read_rows, write_file
from reward import expected_flops, load
from train import BASE_FIELDS, Config, make_config, read_checkpoint

Array = np.ndarray
Bounds = dict[str, tuple[float, float]]  # 90 % intervals of a, b and c_mid
# 40 equally likely values of the normal distribution.
NORMAL = np.array([[NormalDist().inv_cdf((i + 0.5) / 40)] for i in range(40)])

# ---- A fit of one curve --------------------------------------------------------------


@dataclass(frozen=True)
class Sigmoid:
    """A fitted curve: A, B, C_mid and R_0 of the formula above."""

    a: float
    b: float
    c_mid: float
    r0: float

    def __call__(self, compute: Array) -> Array:
        return self.r0 + (self.a - self.r0) * gain(compute, self.b, self.c_mid)

    def slope(self, compute: float) -> float:
        """Pass rate gained per e-fold of compute: (A - R_0) B g (1 - g)."""
        g = gain(compute, self.b, self.c_mid)
        return float((self.a - self.r0) * self.b * g * (1 - g))


def gain(compute: Array, b: Array | float, c_mid: Array | float) -> Array:
    """Share of the gain reached: 1 / (1 + (C_mid / C)^B)."""
    power = np.clip(b * (np.log(c_mid) - np.log(compute)), -700, 700)
    return 1 / (1 + np.exp(power))


def fit_sigmoid(compute: Array, score: Array, r0: float | None = None) -> Sigmoid:
    """Least-squares sigmoid through points (n,), global, without starting values.

    A grid over B and C_mid (`search`), refined four times around its best cell; in each
    cell A is solved for, and R_0 too if it is None. ValueError for fewer than 4 points.
    """
    if len(compute) < 4:
        raise ValueError(f"a sigmoid needs at least 4 points, got {len(compute)}")
    sizes = (40, 24, 24, 24, 24)
    b, c, _, a, start, error = search(compute, score, r0, sizes, spare=2, allowed=0)
    best = error.argmin()
    return Sigmoid(float(a[best]), float(b[best]), float(c[best]), float(start[best]))


@dataclass(frozen=True)
class Curve:
    """One or several runs of a setting: points in order of compute; r0 None: fitted."""

    name: str
    runs: list[tuple[Array, Array]]  # (compute, score), each (n,)
    r0: float | None = None
    r0_error: float = 0.0  # standard deviation of r0 if it was measured

    def points(self) -> tuple[Array, Array]:
        """The points of all runs together."""
        x, y = (np.concatenate(column) for column in zip(*self.runs, strict=True))
        return x, y

    def upto(self, high: float) -> Curve:
        """The same curve without its points above `high`."""
        runs = [(x[x <= high], y[x <= high]) for x, y in self.runs]
        return replace(self, runs=[run for run in runs if len(run[0])])


# ---- A forecast: fitted on a first part ----------------------------------------------


def form_error(slope: float, rise: float, ratio: Array) -> Array:
    """Standard deviation of what a fitted form does not know, at C / until = ratio.

    The slope at the end of the fitted part may be wrong by half of itself, and 0.015 of
    the gain may come or go in each e-fold after it: so 90 % bands hold about 90 % of
    the later points of simulated curves (tests/test_scaling.py), of real ones fewer.
    """
    return np.hypot(0.5 * slope, 0.015 * rise) * np.log(np.maximum(ratio, 1))


@dataclass(frozen=True)
class Forecast:
    """What the points up to `until` say: where a curve ends, and what comes next.

    It ends at the sigmoid's A. What comes next is the sigmoid moved by rho times its
    last error: the best linear prediction of the next point if neighbours' errors have
    correlation rho (Goldberger, doi 10.1080/01621459.1962.10480665). Points that reach
    twice C_mid's upper bound show the tail: Tan et al.'s law through the last third of
    them then has half of the weight (Bates and Granger, doi 10.1057/jors.1969.103).
    """

    curve: Curve
    until: float
    fit: Sigmoid
    noise: float  # standard deviation of the residuals
    bounds: Bounds
    carried: float  # rho times the mean last error of runs that go on beyond until / 2
    draws: Sigmoid  # D likely curves: each of its fields is a column (D, 1)

    def outlook(self, compute: Array) -> tuple[Array, Array, Array]:
        """(low, middle, high), (n,) each: the 90 % band for new points, the forecast.

        Below `until` the middle is the fit. The band: quantiles of likely fits (half of
        them the law, if the tail shows) with noise, and with form_error beyond `until`.
        """
        shift = (compute >= self.until) * self.carried
        middle = np.clip(self.fit(compute) + shift, 0, 1)
        rise = self.fit.a - self.fit.r0
        form = form_error(self.fit.slope(self.until), rise, compute / self.until)
        fits = self.draws(compute) + shift  # (D, n)
        points = fits[:, None] + NORMAL * np.hypot(self.noise, form)  # (D, 40, n)
        if self.reach() >= 2 and rise > 0:
            middle, points = mix_tail(self, compute, middle, points)
        low, high = np.quantile(points, [0.05, 0.95], axis=(0, 1)).clip(0, 1)
        return low, np.clip(middle, low, high), high

    def reach(self) -> float:
        """How far the points go in units of C_mid, at its upper bound."""
        return self.until / self.bounds["c_mid"][1]


def forecast(curve: Curve, share: float = 0.5, num_draws: int = 200) -> Forecast:
    """Fit the part of a curve up to `share` of its largest compute. 90 % intervals, and
    curves drawn by their likelihood, are `profile`'s (second evening)."""
    until = share * float(curve.points()[0].max())
    part = curve.upto(until)
    x, y = part.points()
    p = 3 if curve.r0 is not None else 4
    fit = fit_sigmoid(x, y, curve.r0)
    noise = float(np.sqrt(((y - fit(x)) ** 2).sum() / max(len(x) - p, 1)))
    bounds, draws = profile(part, fit, num_draws)
    last = [y[-1] - fit(x[-1]) for x, y in part.runs if x[-1] > until / 2]
    carried = float(dependence(part, fit) * np.mean(last)) if last else 0.0
    return Forecast(curve, until, fit, noise, bounds, carried, draws)


# ---- second evening ------------------------------------------------------------------
# When will the next levels be passed?


def pass_times(rows: list[dict]) -> dict[int, float]:
    """RL compute at which each level was first passed half of the time, by evaluations.

    By a straight line between two of them. What the base passes has 0; a level that was
    never passed is not there.
    """
    start = rows[0]["by_level"].items()
    times = {n: 0.0 for n, row in start if row["pass_rate"] >= 0.5}
    for before, after in pairwise(rows):
        for n, row in after["by_level"].items():
            low, high = before["by_level"][n]["pass_rate"], row["pass_rate"]
            if n not in times and high >= 0.5:
                part = (0.5 - low) / (high - low)
                rise = after["rl_flops"] - before["rl_flops"]
                times[n] = before["rl_flops"] + part * rise
    return {int(n): times[n] for n in sorted(times, key=int)}


def next_levels(times: dict[int, float]) -> dict[int, list[float]]:
    """{level: [low, middle, high]}: RL compute at which the next three will be passed.

        C_d = c (d - d_0)^gamma

    d_0 is the deepest level that the base passes, so what counts is the distance from
    it. The times so far are taken for a random walk in log C whose drift is gamma times
    the step in log (d - d_0): it goes on from the last level that was passed. The band
    holds 90 %, by Student's t. Empty with fewer than 4 levels passed by RL.
    """
    of_base = [n for n, c in times.items() if c == 0]
    start = max(of_base, default=min(times, default=1) - 1)
    passed = [n for n, c in times.items() if n > start]
    if len(passed) < 4:
        return {}
    x = np.log(np.array(passed) - start)
    y = np.log([times[n] for n in passed])
    dx = np.diff(x)
    dy = np.diff(y)
    gamma = dx @ dy / (dx @ dx)
    variance = ((dy - gamma * dx) ** 2).sum() / (len(dx) - 1)
    ahead = np.array([1, 2, 3])
    step = np.log(passed[-1] + ahead - start) - x[-1]
    middle = y[-1] + gamma * step
    error = (variance * (ahead + step**2 / (dx @ dx))) ** 0.5
    half = student(len(dx) - 1) * error
    bands = np.exp([middle - half, middle, middle + half]).T  # a row each level
    return dict(zip((passed[-1] + ahead).tolist(), bands.tolist(), strict=True))


# ---- The grid that a fit searches, and its interval: how far can A move until the fit
# is clearly worse?


def project(g: Array, score: Array, r0: float | None) -> tuple[Array, Array, Array]:
    """Best A and R_0 for every shape, and the squared error: (S,) each.

    `g` (S, n) is the gain of each shape at each point, `score` (n,). With B and C_mid
    fixed the curve is linear in A and R_0, R = R_0 (1 - g) + A g, so least squares has
    a closed form (variable projection). A is kept in [0, 1]; then R_0 is solved for
    that A and kept there too.
    """
    h = 1 - g
    gg = (g * g).sum(1)
    gh = (g * h).sum(1)
    hh = (h * h).sum(1)
    gy, hy = g @ score, h @ score
    if r0 is None:
        det = np.maximum(gg * hh - gh * gh, 1e-12)
        a = np.clip((hh * gy - gh * hy) / det, 0, 1)
        start = np.clip((hy - a * gh) / np.maximum(hh, 1e-12), 0, 1)
    else:
        start = np.full(len(g), r0)
        a = np.clip((gy - start * gh) / np.maximum(gg, 1e-12), 0, 1)
    error = score @ score - 2 * (a * gy + start * hy)
    error = error + a * a * gg + 2 * a * start * gh + start * start * hh
    return a, start, np.maximum(error, 0)


def search(
    x: Array, y: Array, r0: float | None, sizes: tuple, spare: float, allowed: float
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """B, C_mid, gain (S, n), A, R_0 and squared error of the shapes of a grid.

    B from 0.2 to 12 and C_mid from C_min / 3 to 10 C_max, evenly in logs; each further
    grid is a box around the shapes within `allowed` of the best, `spare` cells wider.
    """
    low, high = np.log([[0.2, x.min() / 3], [12, x.max() * 10]])
    for size in sizes:
        axes = np.exp(np.linspace(low, high, size)).T  # of B and of C_mid
        b, c = (v.ravel() for v in np.meshgrid(axes[0], axes[1], indexing="ij"))  # (S,)
        g = gain(x, b[:, None], c[:, None])
        a, start, error = project(g, y, r0)
        near = np.log([b, c])[:, error <= error.min() + allowed]
        step = spare * (high - low) / (size - 1)
        low = np.maximum(near.min(1) - step, low)
        high = np.minimum(near.max(1) + step, high)
    return b, c, g, a, start, error


def profile(curve: Curve, fit: Sigmoid, num_draws: int) -> tuple[Bounds, Sigmoid]:
    """Intervals: values whose best fit is not significantly worse than the best of all.

        SSE(A) - SSE <= t^2 * v,   v = s^2 (1 + rho) / (1 - rho),   s^2 = SSE / (n - p)

    The other parameters are free at each value. rho is the correlation of neighbouring
    residuals; t is Student's 95 % quantile for the number of independent points, n (1 -
    rho) / (1 + rho), less the p parameters: intervals hold 90 %. Also returned:
    curves drawn by their likelihood, shapes by exp(-SSE / 2v) and A about its best.
    """
    x, y = curve.points()
    p = 3 if curve.r0 is not None else 4
    rho = dependence(curve, fit)
    wide = (1 + rho) / (1 - rho)
    variance = max(wide * ((y - fit(x)) ** 2).sum() / max(len(x) - p, 1), 1e-12)
    allowed = student(len(x) / wide - p) ** 2 * variance
    sizes = (60, 60, 60)
    b, c, g, a, r0, error = search(x, y, curve.r0, sizes, spare=1, allowed=2 * allowed)
    extra = error - error.min()
    # How fast the error grows with A while R_0, if fitted, follows. Below, h = 1 - g.
    gh = (g * (1 - g)).sum(1)
    hh = np.maximum(((1 - g) ** 2).sum(1), 1e-12)
    follow = gh / hh if curve.r0 is None else 0 * gh
    info = np.maximum((g * g).sum(1) - follow * gh, 1e-12)
    inside = extra <= allowed
    half = np.sqrt((allowed - extra[inside]) / info[inside])
    ends = np.clip([a[inside] - half, a[inside] + half], 0, 1)
    values = {"a": ends, "b": b[inside], "c_mid": c[inside]}
    bounds = {name: (float(v.min()), float(v.max())) for name, v in values.items()}
    rng = np.random.default_rng(0)
    chance = np.exp(-extra / (2 * variance))
    i = rng.choice(len(b), (num_draws, 1), p=chance / chance.sum())
    tops = np.clip(rng.normal(a[i], np.sqrt(variance / info[i])), 0, 1)
    starts = r0[i] - follow[i] * (tops - a[i])
    starts += rng.normal(0, curve.r0_error, starts.shape)
    return bounds, Sigmoid(tops, b[i], c[i], starts)


def dependence(curve: Curve, fit: Sigmoid) -> float:
    """Correlation of neighbouring residuals within runs, corrected for its bias.

    Neighbouring evaluations err together, and a better seed is better all along. With p
    parameters and n points a run the plain estimate is about (1 + p + 3 rho) / n low.
    """
    residuals = [y - fit(x) for x, y in curve.runs]
    products = sum((r[1:] * r[:-1]).sum() for r in residuals)
    squares = sum((r * r).sum() for r in residuals)
    count = np.mean([len(x) for x, _ in curve.runs])
    plain = products / squares if squares > 0 else 0.0
    p = 3 if curve.r0 is not None else 4
    missing = (1 + p / len(curve.runs)) / count
    return float(np.clip((plain + missing) / (1 - min(3 / count, 0.5)), 0, 0.9))


def student(degrees: float) -> float:
    """The 95 % quantile of Student's t, by the Cornish-Fisher series in 1 / degrees."""
    z, v = 1.6449, max(degrees, 2.0)
    series = (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    return z + series + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)


def mix_tail(
    f: Forecast, compute: Array, middle: Array, points: Array
) -> tuple[Array, Array]:
    """Middle (n,) and points of a band (D, 40, n), beyond `until` half by Tan et al.'s
    law through the last third. It has no ceiling, so it stops at the highest that A
    may have."""
    x, y = f.curve.upto(f.until).points()
    late = last_third(x)
    law = failure_law(x[late], y[late])
    told = np.clip(law(compute), 0, f.bounds["a"][1])
    error = law_error(law, x, y, f.until, compute)
    beyond = compute >= f.until
    # The law once for each draw: half of what the band is made of.
    of_law = np.where(beyond, told + NORMAL * error, points)
    middle = np.where(beyond, (middle + told) / 2, middle)
    return middle, np.concatenate([points, of_law])


# Why the data may not say where a curve ends.
REFUSALS = {
    "falls": "it rises and then falls",
    "flat": "no gain is certain: it is flat or falls, or its runs differ as much",
    "early": "the fitted points may end at {reach:.1f} C_mid, 2 are needed",
    "open": "a ceiling of 1 fits as well",
}


def refusal(f: Forecast) -> str:
    """The key in REFUSALS of why no ceiling is told; empty if it is told.

    A curve falls if its last eighth has lost a quarter of the best gain, 0.1 at least.
    """
    x, y = f.curve.upto(f.until).points()
    eighths = np.array_split(y[np.argsort(x)], min(8, len(y)))
    best = max(part.mean() for part in eighths)
    rise = best - f.fit.r0
    low, high = f.bounds["a"]
    if rise > 0.1 and best - eighths[-1].mean() > max(0.25 * rise, 0.1):
        return "falls"
    if low <= f.fit.r0 or f.fit.a - f.fit.r0 <= f.noise:
        return "flat"
    if f.reach() < 2:
        return "early"
    return "open" if high > 0.995 else ""


# ---- The late law, and the error of any simple form. Rivals: docs/studies/rivals.py

Law = Callable[[Array], Array]  # pass rate, of compute


def failure_law(compute: Array, score: Array) -> Law:
    """1 - R = E C^-k (Tan et al.): a power law without a floor, k from a grid."""
    ks = np.linspace(-0.5, 3, 351)
    top = compute.max()
    bases = (compute / top) ** -ks[:, None]  # (351, n)
    scales = bases @ (1 - score) / (bases * bases).sum(1)
    best = ((1 - score - scales[:, None] * bases) ** 2).sum(1).argmin()
    return lambda c: 1 - scales[best] * (c / top) ** -ks[best]


def last_third(compute: Array) -> Array:
    """Indices of the third of the points with most compute, 4 at least."""
    return np.argsort(compute)[-max(len(compute) // 3, 4) :]


def law_error(law: Law, x: Array, y: Array, until: float, compute: Array) -> Array:
    """Standard deviation of new points about a law that was fitted to points (n,).

    Noise is that of the last third only: a line that misses the start may do well from
    there on.
    """
    last = last_third(x)
    noise = np.sqrt(((law(x) - y)[last] ** 2).sum() / (len(last) - 2))
    ends = law(until * np.array([0.95, 1.05]))
    slope = (ends[1] - ends[0]) / np.log(1.05 / 0.95)
    rise = ends[1] - y[np.argmin(x)]
    return np.hypot(noise, form_error(slope, rise, compute / until))


# ---- Tables and figures --------------------------------------------------------------


def table(header: str, rows: list[list]) -> str:
    """A Markdown table; `header` has its cells between bars."""
    lines = [f"| {header} |", "|---" * len(header.split("|")) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def fit_table(forecasts: list[Forecast], unit: str) -> str:
    """The fits as Markdown; a ceiling that the data cannot give is not printed."""
    rows, notes = [], []
    for f in forecasts:
        count = len(f.curve.upto(f.until).points()[0])
        cells = [f.curve.name, count, f"{f.fit.r0:.3f}"]
        if why := refusal(f):
            cells += [f"at least {f.bounds['a'][0]:.3f}", "-", "-"]
            text = REFUSALS[why].format(reach=f.reach())
            notes += [f"\n{f.curve.name}: the data cannot say where it ends: {text}."]
        else:
            for name, style in (("a", ".3f"), ("b", ".2f"), ("c_mid", ".3g")):
                low, high = (f"{end:{style}}" for end in f.bounds[name])
                cells += [f"{getattr(f.fit, name):{style}} [{low}, {high}]"]
        rows.append(cells)
    text = table(f"curve | points | R_0 | A | B | C_mid ({unit})", rows)
    return "\n".join([f"In brackets 90 % intervals: by profile.\n\n{text}", *notes])


def panels(columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of panels, side by side."""
    figure = Figure((7.5 if columns == 1 else 11.5, 5), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def draw_curves(axes: Axes, forecasts: list[Forecast], unit: str = "FLOPs") -> None:
    """Draw curves as CAPTION says; one that rises and falls is given no sigmoid."""
    for i, f in enumerate(forecasts):
        x, _ = f.curve.points()
        color = f"C{i}"
        falls = refusal(f) == "falls"
        for x_run, y in f.curve.runs:
            early = x_run <= f.until
            if falls:
                axes.plot(x_run, y, ":", color=color, lw=1)
            axes.plot(x_run[early], y[early], "o", color=color, ms=3, alpha=0.7)
            axes.plot(x_run[~early], y[~early], "o", color=color, ms=4, mfc="white")
        shade(axes, f.curve.runs, color)
        fitted = np.geomspace(x.min(), f.until, 200)
        heights = np.nan * fitted if falls else f.fit(fitted)
        line = ":" if falls else "-"
        axes.plot(fitted, heights, line, color=color, label=f.curve.name)
        if f.until < x.max():
            later = np.geomspace(f.until, x.max() * 1.5, 100)
            low, middle, high = f.outlook(later)
            label = "forecast, 90 % band" if len(forecasts) == 1 else None
            axes.plot(later, middle, "--", color=color, label=label)
            axes.fill_between(later, low, high, color=color, alpha=0.15, lw=0)
    axes.set(xscale="log", xlabel=f"RL compute ({unit})")
    axes.set(ylim=(0, 1.02), ylabel="held-out pass rate")
    if len(forecasts) <= 12:  # of more names none could be read
        axes.legend(fontsize=8, loc="upper left").set_in_layout(False)


def shade(axes: Axes, runs: list[tuple[Array, Array]], color: str) -> None:
    """The range of runs, between the points of each, over the compute all have."""
    low = max(x.min() for x, _ in runs)
    high = min(x.max() for x, _ in runs)
    if len(runs) > 1 and low < high:
        at = np.geomspace(low, high, 100)
        rates = np.stack([np.interp(np.log(at), np.log(x), y) for x, y in runs])
        axes.fill_between(at, rates.min(0), rates.max(0), color=color, alpha=0.2, lw=0)


def save_figure(figure: Figure, title: str, path: Path) -> None:
    """Write a figure with its title wrapped; no dollar sign in a name begins math."""
    lines = textwrap.wrap(title, 100, max_lines=8)
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)
    texts = [axis.label for a in figure.axes for axis in (a.xaxis, a.yaxis)]
    for legend in figure.findobj(Legend):
        texts += legend.get_texts()
    for text in texts:
        text.set_parse_math(False)
    figure.savefig(path, dpi=110)


# ---- The runner: a process a run. On several machines each takes its part with --shard
# and trains the bases of its own runs: no two of them ever write the same folder.

PATIENCE = 3600  # seconds in which a process must log something, or it is ended


def is_finished(cfg: Config) -> bool:
    """True if the run has reached its end. ValueError: another config in its folder."""
    if not (cfg.folder / "checkpoint.pt").exists():
        return False
    state = read_checkpoint(cfg.folder)
    if given(Config(**state["config"])) != given(cfg):
        raise ValueError(f"{cfg.folder} holds another config; delete it")
    return bool(state["recent"]) and state["step"] >= cfg.steps  # empty before RL


def estimate(cfg: Config) -> float:
    """Seconds on one core of an x86 server, to a factor of 2."""
    return expected_flops(cfg) / 2e10


def run_all(jobs: list[Job], workers: int) -> dict[str, str]:
    """Train all jobs, bases first among them; {folder: why} of those that failed.

    A signal stops the processes, which save first, and then this one.
    """
    for signum in SIGNALS:
        signal.signal(signum, leave)
    began = time.time()
    stop = threading.Event()
    pool = ThreadPoolExecutor(workers)
    runs: dict[str, Future[str]] = {}
    try:
        for job in jobs:
            # A base is taken up before the runs that wait for it: none waits in vain.
            base = runs.get(job.cfg.base)
            runs[job.cfg.out] = pool.submit(train_run, job, base, stop)
        names = {run: out for out, run in runs.items()}
        for number, run in enumerate(as_completed(names), 1):
            why = run.result()
            minutes = (time.time() - began) / number * (len(jobs) - number) / 60
            end = f"FAILED, {why}" if why else "done"
            count = f"{number} of {len(jobs)} runs, about {minutes:.0f} min left"
            print(f"{names[run]} {end}; {count}", flush=True)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return {out: run.result() for out, run in runs.items() if run.result()}


def leave(signum: int, frame: object) -> None:
    """End the command, by a signal."""
    os.write(2, b"\nstopping, runs save first; the same command goes on with them\n")
    raise SystemExit(128 + signum)


def is_owned(folder: Path) -> bool:
    """Is a process at work on a run? Perhaps one that outlived the command before."""
    try:
        with own(folder):
            return False
    except (ValueError, OSError) as error:
        return isinstance(error, ValueError)  # train.py will say what else is wrong


def is_mute(cfg: Config, since: float) -> bool:
    """True if a run has logged nothing for PATIENCE seconds since it was taken up."""
    rows = cfg.folder / "metrics.jsonl"
    heard = rows.stat().st_mtime if rows.is_file() else 0
    return time.time() - max(heard, since) > PATIENCE


def train_run(job: Job, base: Future[str] | None, stop: threading.Event) -> str:
    """Train a run in its own process, from wherever it stands; why it failed, or ""."""
    cfg = job.cfg
    if base and base.result():
        return f"its base {cfg.base} failed"
    began = time.time()
    while is_owned(cfg.folder):
        file_forecast(cfg)
        if stop.wait(0.5) or is_mute(cfg, began):
            return "another process is at work on it"
    changed = [STUDIES / "changed.py", *job.change]
    program = changed if job.change else [ROOT / "train.py"]
    flags = [f"--{n.replace('_', '-')}={value}" for n, value in asdict(cfg).items()]
    path = cfg.folder / "log.txt"
    with open(path, "a") as log:
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, *program, *flags]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=one_thread)
    while process.poll() is None:
        file_forecast(cfg)
        if stop.wait(0.5):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
        if stop.is_set() or is_mute(cfg, began):
            process.kill()
    last = path.read_text().strip().split("\n")[-1]
    return f"exit status {process.returncode}, {last}" if process.returncode else ""


def file_forecast(cfg: Config) -> None:
    """Once half of a run's steps are done, write down what the rest will bring.

    So the forecast is on disk, with its time, before there is anything to check it by.
    """
    path = cfg.folder / "forecast.json"
    if path.exists():
        return
    try:
        step = read_rows(cfg.folder, "rl")[-1]["step"]
        evals = read_rows(cfg.folder, "eval")
    except (OSError, IndexError):
        return  # no rows yet
    rows = [row for row in evals if 2 * row["step"] <= cfg.steps]
    if len(rows) < 6 or not 0.5 <= step / cfg.steps <= 0.6:
        return  # too early, or too late to be a forecast
    found = forecast(pool_runs("", [Result("", {}, rows)]), 1.0)
    ahead = found.until * np.geomspace(1, 4, 9)
    bands = np.round(found.outlook(ahead), 4).tolist()
    record = {"written": time.strftime("%Y-%m-%d %H:%M:%S"), "after_step": step}
    record |= {"steps": cfg.steps, "rl_flops": ahead.tolist()}
    record |= dict(zip(("low", "predicted", "high"), bands, strict=True))
    record["levels"] = next_levels(pass_times(rows))
    write_file(path, json.dumps(record) + "\n")


# ---- What is kept of a run -----------------------------------------------------------

KEPT = (
    "step pretrain_flops rl_flops pass_rate pass_rate_greedy problems samples "
    "answer_tokens think_share truncated kl_base reward by_level frontier"
).split()
KEPT_OF_LEVELS = "pass_rate pass_rate_greedy".split()  # more of the first and the last


@dataclass(frozen=True)
class Result:
    """A finished run, one line of runs.jsonl."""

    name: str  # ARM/SEED
    config: dict  # the fields that differ from Config's defaults
    rows: list[dict]  # evaluations, the one before RL first
    seconds: float = 0.0
    forecast: dict = field(default_factory=dict)  # filed at half of the steps
    measured: dict = field(default_factory=dict)  # by the study's `measure`
    apart: str = ""  # what its config does not say: see Job

    def final(self) -> float:
        """Pass rate at the end, as measured with four times the samples."""
        return self.rows[-1]["pass_rate"]


def collect(name: str, job: Job, study: Study) -> Result:
    """Read a finished run's folder, and measure what the study adds to it, once."""
    cfg = job.cfg
    evals = read_rows(cfg.folder, "eval")
    rows = [{key: row[key] for key in KEPT if key in row} for row in evals]
    for row in rows[1:-1]:
        levels = row["by_level"].items()
        row["by_level"] = {n: {k: of[k] for k in KEPT_OF_LEVELS} for n, of in levels}
    # Five digits behind the point, wherever a float stands.
    rows = json.loads(json.dumps(rows), parse_float=lambda text: round(float(text), 5))
    filed = cfg.folder / "forecast.json"
    measured = cfg.folder / f"measured-{study.name}.json"
    if study.measure and not measured.exists():
        write_file(measured, json.dumps(study.measure(cfg)) + "\n")
    known = [json.loads(f.read_text()) if f.exists() else {} for f in (filed, measured)]
    return Result(name, given(cfg), rows, evals[-1]["seconds"], *known, job.apart)


def given(cfg: Config) -> dict:
    """The fields of a config that differ from the defaults, less the folders."""
    default = asdict(Config()) | {"out": cfg.out, "base": cfg.base}
    return {k: v for k, v in asdict(cfg).items() if v != default[k]}


def read_results(folder: Path) -> list[Result]:
    """The runs of a study."""
    lines = (folder / "runs.jsonl").read_text().splitlines()
    return [Result(**json.loads(line)) for line in lines]


def pool_runs(name: str, results: list[Result]) -> Curve:
    """Runs of one setting as a curve, R_0 as measured and with its standard error."""
    starts = [r.rows[0] for r in results]
    r0 = float(np.mean([row["pass_rate"] for row in starts]))
    trials = sum(row["problems"] * row["samples"] for row in starts)
    error = (r0 * (1 - r0) / trials) ** 0.5
    if len(starts) > 1:  # every seed has a base of its own
        spread = np.std([row["pass_rate"] for row in starts], ddof=1)
        error = max(error, float(spread) / len(starts) ** 0.5)
    runs = []
    for r in results:
        points = [(row["rl_flops"], row["pass_rate"]) for row in r.rows[1:]]
        runs.append(tuple(np.array(points, float).T))
    return Curve(name, runs, r0, error)


# ---- Studies: a question, arms that answer it, and a report that turns finished runs
# into tables and a figure. Ours: docs/studies/NAME/study.py; yours may be anywhere.

ROOT = Path(__file__).parent
STUDIES = ROOT / "docs" / "studies"

# Studies run the main job, looked at more often: `python train.py`.
PACE = {"evals": 24}
QUICK = {"steps": 60, "evals": 16, "eval_problems": 144}

Arms = dict[str, list[Result]]  # name of a setting: its runs, a seed each
# The verdict, one sentence with its uncertainty; tables in Markdown; a figure.
Report = tuple[str, str, Figure]


@dataclass(frozen=True)
class Study:
    """The question, the runs, what they say, and what was found at scale."""

    question: str
    fixed: str  # what all arms share
    arms: Callable[[bool], dict[str, dict]]  # of --quick: what differs from PACE
    report: Callable[[Arms], Report]
    literature: str
    seeds: int = 3
    least_seeds: int = 1  # with fewer its report cannot be made
    measure: Callable[[Config], dict] | None = None  # of each finished run, once
    folder: Path = Path()  # that it lies in

    @property
    def name(self) -> str:
        return self.folder.name


def find_study(name: str) -> Study:
    """A study by its name in docs/studies, or by its path. ValueError: not there."""
    for path in (STUDIES / name / "study.py", Path(name) / "study.py", Path(name)):
        if path.suffix == ".py" and path.is_file():
            study = getattr(load(path), "STUDY", None)
            if study is None:
                raise ValueError(f"{path} defines no STUDY")
            return replace(study, folder=path.resolve().parent)
    known = ", ".join(sorted(path.parent.name for path in STUDIES.glob("*/study.py")))
    raise ValueError(f"there is no study {name!r}; choose from {known}, or give a path")


@dataclass(frozen=True)
class Job:
    """A run of a study."""

    cfg: Config
    base: Config | None = None  # the run that pretrains its base; None: this is one
    change: tuple = ()  # a file, its function that changes the program, arguments
    apart: str = ""  # what the config does not say: the change, or another base


def plan_runs(
    study: Study, out: Path, bases: Path, seeds: int, quick: bool
) -> dict[str, Job]:
    """Jobs by `ARM/SEED`. Folders are named by settings, so studies share runs.

    Settings are fields of Config and perhaps `base_seed`, if the base's seed is not to
    be that of RL, and `change`: (function, *arguments). It runs before training does,
    and changes the program.
    """
    jobs = {}
    for arm, settings in study.arms(quick).items():
        if taken := settings.keys() & {"seed", "out", "base"}:
            raise ValueError(f"arm {arm!r} sets {min(taken)}, which the runner does")
        if arm[:1] in "_" or "|" in arm:  # legends and tables would lose it
            raise ValueError(f"arm {arm!r}: a name may neither begin with _ nor hold |")
        fields = (QUICK if quick else PACE) | settings
        function, *values = fields.pop("change", [None])
        other_base = fields.pop("base_seed", None)
        words = [f"{name} {fields[name]}" for name in settings if name in fields]
        change: tuple = ()
        if function:
            file = Path(function.__code__.co_filename)
            change = (file, function.__name__, *map(str, values))
        for seed in range(seeds):
            base_seed = seed if other_base is None else other_base
            apart = [change[0].parent.name, *change[1:]] if change else []
            apart += [f"base {base_seed}"] if base_seed != seed else []
            folder = out / (to_file_name(" ".join(words + apart)) or "reference")
            cfg = make_config(**fields, seed=seed, out=str(folder / str(seed)))
            base = base_of(replace(cfg, seed=base_seed), bases)
            cfg = replace(cfg, base=base.out)
            jobs[f"{arm}/{seed}"] = Job(cfg, base, change, " ".join(apart))
    return jobs


def base_of(cfg: Config, folder: Path) -> Config:
    """The run that pretrains a run's base; its name says what is not the default."""
    given = {name: getattr(cfg, name) for name in BASE_FIELDS}
    given |= {"steps": 0, "eval_problems": cfg.eval_problems}
    usual = vars(Config())
    changed = [f"{n}-{v}" for n, v in given.items() if v != usual[n] or n == "seed"]
    return make_config(**given, out=str(folder / to_file_name("-".join(changed))))


def known_runs(study: Study, jobs: dict[str, Job]) -> dict[str, Result]:
    """Runs that need not be made again: they stand in the runs.jsonl of any study, or
    in this one's if it measures more than evaluations."""
    others = [] if study.measure else sorted(STUDIES.glob("*/runs.jsonl"))
    paths = [*others, *study.folder.glob("runs.jsonl")]
    every = [r for path in paths for r in read_results(path.parent)]
    known = {}
    for name, job in jobs.items():
        config = given(job.cfg)
        for r in every:
            if r.config == config and r.apart == job.apart:
                measured = r.measured if study.measure else {}
                known[name] = replace(r, name=name, measured=measured)
    return known


def to_file_name(text: str) -> str:
    """Letters and digits only, with dashes between them."""
    return re.sub(r"[^a-zA-Z0-9.]+", "-", text).strip("-").lower()


def run_study(study: Study, args: argparse.Namespace) -> None:
    """Run what is missing of a study; once all is there, say what it found.

    RuntimeError, once runs.jsonl has what there is, if a run failed.
    """
    out = Path(args.out or f"{'out/quick' if args.quick else 'out'}/{study.name}")
    part, parts = args.shard
    bases = out.parent / ("bases" if parts == 1 else f"bases-{part}-of-{parts}")
    seeds = args.seeds or study.seeds
    if seeds < study.least_seeds:
        raise ValueError(f"{study.name} needs --seeds {study.least_seeds} or more")
    jobs = plan_runs(study, out.parent / "runs", bases, seeds, args.quick)
    done = known_runs(study, jobs)
    left = [job for name, job in jobs.items() if name not in done]
    left = [job for job in left[part::parts] if not is_finished(job.cfg)]
    first = {job.base.out: Job(job.base) for job in left}
    todo = [job for job in first.values() if not is_finished(job.cfg)] + left
    if args.dry_run:
        for job in todo:
            print(f"{job.cfg.out:60} about {estimate(job.cfg):.0f} s")
        minutes = sum(estimate(job.cfg) for job in todo) / args.workers / 60
        print(f"{len(todo)} runs, about {minutes:.0f} min left")
        return
    failed = run_all(todo, args.workers)
    missing = []
    for name, job in jobs.items():
        if is_finished(job.cfg):
            done[name] = collect(name, job, study)
        elif name not in done:
            missing.append(f"{name} ({failed.get(job.cfg.out, 'not run')})")
    results = [done[name] for name in jobs if name in done]
    out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(r), separators=(",", ":")) + "\n" for r in results]
    write_file(out / "runs.jsonl", "".join(lines))
    if failed:
        raise RuntimeError(f"missing: {'; '.join(missing)}")
    if missing:
        print(f"{len(missing)} of {len(jobs)} runs are still to come from other shards")
    else:
        print(f"\n{write_report(study, results, out)}")
        print(f"wrote {out}/{study.name}.md, {study.name}.png and runs.jsonl")


CAPTION = """\
Where a fit is drawn, filled points were fitted, open ones predicted, and dotted lines
join runs that rise and fall. Shades: the range of seeds; about a dashed line the 90 %
band of new points."""


def write_report(study: Study, runs: list[Result], out: Path) -> str:
    """NAME.md and NAME.png from a study's runs; returns the verdict."""
    arms = arms_of(runs)
    verdict, tables, figure = study.report(arms)
    rl = sum(r.rows[-1]["rl_flops"] for r in runs)
    ours = study.folder.parent == STUDIES
    bases = {r.rows[0]["pretrain_flops"] for r in runs}
    steps = sorted({r.rows[-1]["step"] for r in runs})
    parts = [
        f"# {study.name}: {study.question}",
        f"**{verdict}.**",
        f"![{study.name}]({study.name}.png)",
        CAPTION,
        f"Fixed: {'/'.join(map(str, steps))} RL steps, {study.fixed}. "
        f"{len(runs)} runs, {max(map(len, arms.values()))} seeds an arm, {rl:.1e} "
        f"FLOPs of RL; bases: {len(bases)}, {sum(bases):.1e} FLOPs. `python scaling.py "
        f"{study.name if ours else os.path.relpath(study.folder)}`.",
        tables,
        f"At scale: {study.literature}",
    ]
    write_file(out / f"{study.name}.md", "\n\n".join(parts) + "\n")
    save_figure(figure, verdict, out / f"{study.name}.png")
    return verdict


def arms_of(results: list[Result]) -> Arms:
    """Results by arm: the part of the name before the slash."""
    arms: Arms = {}
    for r in results:
        arms.setdefault(r.name.rpartition("/")[0], []).append(r)
    return arms


# ---- The command line ----------------------------------------------------------------


def parse_args(argv: list[str]) -> argparse.Namespace:
    """The flags of a study; `shard` as two numbers, the i-th of n parts from 0.

    ValueError for a malformed --shard or a number out of range.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = "a name in docs/studies or a path; fit, plan, redraw have their own --help"
    parser.add_argument("study", nargs="?", default="curve", help=what)
    parser.add_argument("--out", default="", help="folder, default out/STUDY")
    parser.add_argument("--workers", type=int, default=2, help="processes, default 2")
    parser.add_argument("--seeds", type=int, default=0, help="default: the study's own")
    parser.add_argument("--quick", action="store_true", help="at most 10 minutes")
    parser.add_argument("--shard", default="0/1", help="i/n: this part of the runs")
    parser.add_argument("--dry-run", action="store_true", help="list runs and times")
    args = parser.parse_args(argv)
    part, _, parts = args.shard.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise ValueError(f"--shard must look like 0/4, up to 3/4, got {args.shard!r}")
    args.shard = (int(part), int(parts))
    if args.workers < 1 or args.seeds < 0:
        raise ValueError("--workers and --seeds must be at least 1")
    return args


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 1 a run failed, 2 bad input; 128 and a signal's number."""
    try:
        if argv and argv[0] in ("fit", "plan", "redraw"):
            load(STUDIES / f"{argv[0]}.py").main(argv[1:])
        else:
            args = parse_args(argv)
            run_study(find_study(args.study), args)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"scaling.py: {error}", file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    return 0


if __name__ == "__main__":
    # Studies import this file by its name: run that copy, or there would be two.
    from scaling import main

    sys.exit(main(sys.argv[1:]))
