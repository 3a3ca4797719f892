"""What more RL compute buys, and whether it can be predicted.

    python scaling.py curve --quick         a study: run what is missing, fit, forecast
    python scaling.py fit curves.csv        the same fits for anybody's runs
    python scaling.py plan --target 0.9     what would it cost, by the fitted studies
    python scaling.py redraw                docs/studies again from its committed runs

Read last. From top to bottom: fits of one curve, their intervals, forecasts and their
scores, the runner, the studies, the planner, the command line.

    R(C) = R_0 + (A - R_0) / (1 + (C_mid / C)^B)      ScaleRL arXiv:2510.13786, Eq. 1

C is RL compute, R_0 the pass rate before RL, A the pass rate at unlimited compute,
C_mid the compute of half the gain, and B says how sharply it comes: from 10 % to 90 %
of the gain takes a factor 81^(1/B) of compute.

Shapes    n points, S shapes (pairs of B and C_mid), D data sets fitted at once
Papers    ScaleRL 2510.13786, Tan et al. 2509.25300, Kaplan et al. 2001.08361,
          Gneiting and Raftery (interval score), doi 10.1198/016214506000001437
"""

import argparse
import csv
import dataclasses
import functools
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import NormalDist

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import train

Array = np.ndarray

# --------------------------------------------------------------------------------------
# Fits of one curve


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

    def inverse(self, target: float) -> float:
        """Compute that reaches a pass rate; infinite for one at or above A."""
        share = (target - self.r0) / (self.a - self.r0) if self.a != self.r0 else 1.0
        if share <= 0:
            return 0.0
        if share >= 1:
            return np.inf
        return self.c_mid * (share / (1 - share)) ** (1 / self.b)


def gain(compute: Array, b: Array | float, c_mid: Array | float) -> Array:
    """Share of the gain reached: 1 / (1 + (C_mid / C)^B)."""
    power = np.clip(b * (np.log(c_mid) - np.log(compute)), -700, 700)
    return 1 / (1 + np.exp(power))


def project(
    g: Array,  # (S, n) gain of each shape at each point
    scores: Array,  # (D, n)
    weights: Array,  # (D, n)
    r0: Array | None,  # (D,), or None: fitted too
) -> tuple[Array, Array, Array]:
    """Best (A, R_0) of every data set for every shape, and the squared error: (D, S).

    For fixed B and C_mid the curve is linear in A and R_0, R = R_0 (1 - g) + A g, so
    weighted least squares is solved in closed form (variable projection). A is kept
    in [0, 1]; where that binds, R_0 is solved again and kept there too.
    """
    h, wy = 1 - g, weights * scores
    gg, gh, hh = weights @ (g * g).T, weights @ (g * h).T, weights @ (h * h).T
    gy, hy = wy @ g.T, wy @ h.T
    if r0 is None:
        det = np.maximum(gg * hh - gh * gh, 1e-12)
        a = np.clip((hh * gy - gh * hy) / det, 0, 1)
        start = np.clip((hy - a * gh) / np.maximum(hh, 1e-12), 0, 1)
    else:
        start = np.broadcast_to(r0[:, None], gg.shape)
        a = np.clip((gy - start * gh) / np.maximum(gg, 1e-12), 0, 1)
    error = (wy * scores).sum(1)[:, None] - 2 * (a * gy + start * hy)
    error = error + a * a * gg + 2 * a * start * gh + start * start * hh
    return a, start, np.maximum(error, 0)


def shape_grid(limits: Array, size: int) -> tuple[Array, Array]:
    """All pairs (B, C_mid), each (S,), evenly in logs; limits ((low, high), ...)."""
    bs, cs = (np.linspace(*limits[i], size) for i in (0, 1))
    b, c = np.meshgrid(np.exp(bs), np.exp(cs), indexing="ij")
    return b.ravel(), c.ravel()


def widest(compute: Array) -> Array:
    """The whole grid: log B of 0.2-12, log C_mid from C_min / 3 to 10 C_max."""
    c = np.log(compute.min() / 3), np.log(compute.max() * 10)
    return np.array([(np.log(0.2), np.log(12.0)), c])


def zoom(limits: Array, b: Array, c: Array, cells: float, size: int) -> Array:
    """The box around some shapes with `cells` to spare, within the limits."""
    step = cells * (limits[:, 1] - limits[:, 0]) / (size - 1)
    low = np.log([b.min(), c.min()]) - step
    high = np.log([b.max(), c.max()]) + step
    return np.stack([np.maximum(low, limits[:, 0]), np.minimum(high, limits[:, 1])], 1)


def fit_many(
    compute: Array,  # (n,)
    scores: Array,  # (D, n)
    weights: Array,  # (D, n)
    r0: Array | None,  # (D,)
) -> list[Sigmoid]:
    """Least-squares sigmoids, global and without starting values.

    A grid over B and C_mid, four times refined around the best cells of all data sets.
    """
    limits = widest(compute)
    for size in (40, 24, 24, 24, 24):
        b, c = shape_grid(limits, size)
        g = gain(compute, b[:, None], c[:, None])  # (S, n)
        a, start, error = project(g, scores, weights, r0)
        best = error.argmin(1)  # (D,)
        limits = zoom(limits, b[best], c[best], 2, size)
    rows = np.arange(len(best))
    columns = a[rows, best], b[best], c[best], start[rows, best]
    return [Sigmoid(*map(float, values)) for values in zip(*columns, strict=True)]


def fit_sigmoid(compute: Array, score: Array, r0: float | None = None) -> Sigmoid:
    """Least-squares sigmoid through points (n,); r0 None: fitted too.

    ValueError for fewer than 4 points.
    """
    if len(compute) < 4:
        raise ValueError(
            f"a sigmoid needs at least 4 points to fit, got {len(compute)}"
        )
    start = None if r0 is None else np.array([r0])
    return fit_many(compute, score[None], np.ones((1, len(score))), start)[0]


def fit_grid(compute: Array, score: Array, r0: float) -> Sigmoid:
    """ScaleRL's own procedure (their A.5), to compare with.

    A in steps of 0.005, C_mid at 100 evenly spaced values up to the largest compute;
    for each pair B alone by least squares (here: on a grid of 2 % steps).
    """
    best = (np.inf, 0.0, 0.0, 0.0)
    bs = np.geomspace(0.2, 12, 200)[:, None, None]
    levels = np.linspace(0, 1, 201)
    for c_mid in np.linspace(compute.max() / 400, compute.max(), 100):
        g = gain(compute, bs[:, 0], c_mid)  # (200, n)
        # squared error of R_0 + (A - R_0) g for all A at once, a parabola in A - R_0
        rise = (levels - r0)[None, :]
        y = score - r0
        gy, gg = (g @ y)[:, None], (g * g).sum(1)[:, None]
        error = y @ y - 2 * rise * gy + rise**2 * gg
        i, j = np.unravel_index(error.argmin(), error.shape)
        best = min(best, (error[i, j], levels[j], bs[i, 0, 0], c_mid))
    return Sigmoid(*map(float, best[1:]), r0)


# Baselines: from points to a function of compute.


def last_value(compute: Array, score: Array) -> Callable[[Array], Array]:
    """Nothing more will be gained: the mean of the last three points."""
    level = score[np.argsort(compute)][-3:].mean()
    return lambda c: np.full(len(c), level)


def log_linear(compute: Array, score: Array) -> Callable[[Array], Array]:
    """The same gain for every tenfold: a straight line in log C, at most 1."""
    slope, start = np.polyfit(np.log(compute), score, 1)
    return lambda c: np.minimum(start + slope * np.log(c), 1.0)


def power_law(compute: Array, score: Array) -> Callable[[Array], Array]:
    """A - D / C^B, A at most 1: the pretraining form."""
    law = fit_power_law(compute, 1 - score)
    return lambda c: 1 - law(c)


def failure_law(compute: Array, score: Array) -> Callable[[Array], Array]:
    """1 - R = E C^-k (Tan et al.): a power law without a floor, by least squares on R.

    k on a grid, E linear.
    """
    top, ks = compute.max(), np.linspace(-0.5, 3, 351)
    bases = (compute / top) ** -ks[:, None]  # (351, n)
    scales = bases @ (1 - score) / (bases * bases).sum(1)
    best = ((1 - score - scales[:, None] * bases) ** 2).sum(1).argmin()
    scale, k = scales[best], ks[best]
    return lambda c: 1 - scale * (c / top) ** -k


def saturation(compute: Array, score: Array) -> Callable[[Array], Array]:
    """A - D exp(-C / tau), A at most 1: progress in proportion to what is left."""
    taus = compute.max() * np.geomspace(0.02, 20, 200)
    best, a, d = best_line(np.exp(-compute / taus[:, None]), score)
    return lambda c: a - d * np.exp(-c / taus[best])


def best_line(bases: Array, score: Array) -> tuple[int, float, float]:
    """(s, A, D) of the least-squares A - D bases[s], A at most 1; bases (S, n)."""
    centered = bases - bases.mean(1, keepdims=True)
    d = -(centered @ score) / np.maximum((centered**2).sum(1), 1e-12)
    a = score.mean() + d * bases.mean(1)
    held = bases @ (1 - score) / np.maximum((bases**2).sum(1), 1e-12)
    a, d = np.minimum(a, 1), np.where(a > 1, held, d)
    best = ((a[:, None] - d[:, None] * bases - score) ** 2).sum(1).argmin()
    return int(best), float(a[best]), float(d[best])


@dataclass(frozen=True)
class PowerLaw:
    """L(x) = floor + scale * x^-exponent: loss against data, parameters or compute."""

    floor: float
    scale: float
    exponent: float

    def __str__(self) -> str:
        return f"{self.floor:.3f} + {self.scale:.3g} x^-{self.exponent:.2f}"

    def __call__(self, x: Array) -> Array:
        return self.floor + self.scale * np.asarray(x, float) ** -self.exponent


def fit_power_law(x: Array, loss: Array) -> PowerLaw:
    """The pretraining law with its irreducible term (Kaplan, Chinchilla).

    Variable projection again: the exponent on a grid of 0.02 to 5, refined, floor and
    scale linear, the floor at least 0.
    """
    unit = np.exp(np.log(x).mean())
    low, high = np.log(0.02), np.log(5.0)
    for _ in range(4):
        grid = np.linspace(low, high, 60)
        # 1 - loss = (1 - floor) - scale * basis, and a floor of 0 is a level of 1
        best, a, scale = best_line((x / unit) ** -np.exp(grid)[:, None], 1 - loss)
        step = 2 * (grid[1] - grid[0])
        low, high = grid[best] - step, grid[best] + step
    exponent = np.exp(grid[best])
    return PowerLaw(1 - a, float(scale * unit**exponent), float(exponent))


Forecaster = Callable[[Array, Array], Callable[[Array], Array]]


def last_third(compute: Array) -> Array:
    """Indices of the third of the points with most compute, 4 at least."""
    return np.argsort(compute)[-max(len(compute) // 3, 4) :]


def late(make: Forecaster) -> Forecaster:
    """The same form fitted to the last third of the points.

    A form without the slow start of RL cannot fit it, and need not to look ahead.
    """

    def make_late(compute: Array, score: Array) -> Callable[[Array], Array]:
        last = last_third(compute)
        return make(compute[last], score[last])

    return make_late


BASELINES: dict[str, Forecaster] = {
    "last value": last_value,
    "log-linear": log_linear,
    "power law": power_law,
    "power law in 1 - R": failure_law,
    "exponential": saturation,
    "log-linear, last third": late(log_linear),
    "power law, last third": late(power_law),
    "power law in 1 - R, last third": late(failure_law),
}


# --------------------------------------------------------------------------------------
# Curves: one or several runs of one setting


@dataclass(frozen=True)
class Curve:
    """Points of each run, in order of compute; r0 None: fitted."""

    name: str
    runs: list[tuple[Array, Array]]  # (compute, score), each (n,)
    r0: float | None = None
    r0_error: float = 0.0  # standard deviation of r0, where it was measured

    def points(self, low: float = 0.0, high: float = np.inf) -> tuple[Array, Array]:
        """All points with low < compute <= high, runs together."""
        x, y = (np.concatenate(column) for column in zip(*self.runs, strict=True))
        keep = (x > low) & (x <= high)
        return x[keep], y[keep]

    def upto(self, high: float) -> "Curve":
        """The same curve without its points above `high`."""
        runs = [(x[x <= high], y[x <= high]) for x, y in self.runs]
        return replace(self, runs=[run for run in runs if len(run[0])])

    def end(self) -> float:
        """The largest compute of any run."""
        return max(x.max() for x, _ in self.runs)


# --------------------------------------------------------------------------------------
# Intervals: how far can A be from its best value before the fit is clearly worse?


def student(degrees: float) -> float:
    """The 95 % quantile of Student's t, by the Cornish-Fisher series in 1 / degrees."""
    z, v = 1.6449, max(degrees, 2.0)
    series = (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    return z + series + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)


def dependence(curve: Curve, fit: Sigmoid) -> float:
    """Lag-1 correlation of residuals within runs, corrected for its bias.

    Neighbouring evaluations of one run err together, and a seed that is better than
    the others is so all along. A fit of p parameters to runs of n points pulls the
    plain estimate down, by about (1 + p + 3 rho) / n.
    """
    top = bottom = 0.0
    for x, y in curve.runs:
        r = y - fit(x)
        top, bottom = top + (r[1:] * r[:-1]).sum(), bottom + (r * r).sum()
    count = np.mean([len(x) for x, _ in curve.runs])
    plain = top / bottom if bottom > 0 else 0.0
    parameters = 3 if curve.r0 is not None else 4
    missing = (1 + parameters / len(curve.runs)) / count
    return float(np.clip((plain + missing) / (1 - min(3 / count, 0.5)), 0, 0.9))


@dataclass(frozen=True)
class Profile:
    """What fits about as well as the best fit does."""

    bounds: dict[str, tuple[float, float]]  # 90 % of a, b and c_mid
    draws: list[Sigmoid]  # curves in proportion to their likelihood


def profile(curve: Curve, fit: Sigmoid, num_draws: int = 200) -> Profile:
    """Intervals: values whose best fit is not significantly worse than the best of all.

        SSE(A) - SSE <= t^2 * v,   v = s^2 (1 + rho) / (1 - rho),   s^2 = SSE / (n - p)

    The other parameters are free at each value. t is Student's for the number of
    independent points, n (1 - rho) / (1 + rho), less the p parameters. Draws take
    shapes in proportion to exp(-SSE / 2v), and A about its best value for the shape.
    """
    x, y = curve.points()
    n, p = len(x), 3 if curve.r0 is not None else 4
    rho = dependence(curve, fit)
    wide = (1 + rho) / (1 - rho)
    variance = max(wide * ((y - fit(x)) ** 2).sum() / max(n - p, 1), 1e-12)
    allowed = student(n / wide - p) ** 2 * variance
    weights = np.ones((1, n))
    start = None if curve.r0 is None else np.array([curve.r0])
    limits, size = widest(x), 60
    for _ in range(3):  # each time closer around the shapes that are not excluded
        b, c = shape_grid(limits, size)
        g = gain(x, b[:, None], c[:, None])
        a, r0, error = (v[0] for v in project(g, y[None], weights, start))
        extra = error - error.min()
        near = extra <= 2 * allowed
        limits = zoom(limits, b[near], c[near], 1, size)
    # How fast the error grows with A, R_0 following where it is fitted.
    h, follow = 1 - g, 0.0
    if start is None:
        follow = (g * h).sum(1) / np.maximum((h * h).sum(1), 1e-12)
    info = np.maximum((g * g).sum(1) - follow * (g * h).sum(1), 1e-12)
    rng, inside = np.random.default_rng(0), extra <= allowed
    reach = np.sqrt((allowed - extra[inside]) / info[inside])
    ends = np.clip([(a[inside] - reach).min(), (a[inside] + reach).max()], 0, 1)
    bounds = {"a": tuple(ends.tolist())}
    bounds |= {"b": (float(b[inside].min()), float(b[inside].max()))}
    bounds |= {"c_mid": (float(c[inside].min()), float(c[inside].max()))}
    chance = np.exp(-extra / (2 * variance))
    i = rng.choice(len(b), num_draws, p=chance / chance.sum())
    levels = np.clip(rng.normal(a[i], np.sqrt(variance / info[i])), 0, 1)
    starts = r0[i] - np.broadcast_to(follow, a.shape)[i] * (levels - a[i])
    if curve.r0_error:
        starts = starts + rng.normal(0, curve.r0_error, num_draws)
    columns = levels, b[i], c[i], starts
    draws = [Sigmoid(*map(float, row)) for row in zip(*columns, strict=True)]
    return Profile(bounds, draws)


def bootstrap(curve: Curve, fit: Sigmoid, num_draws: int) -> list[Sigmoid]:
    """Fits of resampled data: whole runs where there are 3, else blocks of residuals.

    R_0 is drawn with its own error. Residuals are stretched by sqrt(n / (n - p)): a
    fit lies closer to its points than the truth does.
    """
    rng = np.random.default_rng(0)
    x, y = curve.points()
    n, num_runs = len(x), len(curve.runs)
    r0 = None
    if curve.r0 is not None:
        r0 = rng.normal(curve.r0, curve.r0_error, num_draws)
    if num_runs >= 3:
        owner = np.repeat(np.arange(num_runs), [len(x) for x, _ in curve.runs])
        picks = rng.integers(num_runs, size=(num_draws, num_runs))
        counts = (picks[:, :, None] == np.arange(num_runs)).sum(1)  # (D, runs)
        return fit_many(x, np.tile(y, (num_draws, 1)), counts[:, owner] * 1.0, r0)
    block = max(round(2 * n ** (1 / 3)), 1)
    residuals = (y - fit(x)) * np.sqrt(n / max(n - 3, 1))
    starts = rng.integers(n, size=(num_draws, -(-n // block)))
    index = (starts[:, :, None] + np.arange(block)).reshape(num_draws, -1)[:, :n] % n
    signs = np.repeat(rng.choice([-1, 1], starts.shape), block, 1)[:, :n]
    scores = fit(x) + residuals[index] * signs
    return fit_many(x, scores, np.ones_like(scores), r0)


# --------------------------------------------------------------------------------------
# Forecasts: fitted on a first part, scored on the rest

# How wrong the slope at the end of the fitted part may be, as a share of it, and what
# share of the gain may come or go in each e-fold of compute after it: chosen so that
# 90 % bands hold about 90 % of the later points of simulated curves, sigmoids and
# others (tests/test_scaling.py). Published and own runs had no part in the choice.
SLOPE_DRIFT, GAIN_DRIFT = 0.5, 0.015


def drift(slope: float, rise: float, ratio: Array) -> Array:
    """Standard deviation of what a fitted form does not know, at C / until = ratio."""
    rate = np.hypot(SLOPE_DRIFT * slope, GAIN_DRIFT * rise)
    return rate * np.log(np.maximum(ratio, 1))


def fit_form(
    make: Forecaster, compute: Array, score: Array, until: float
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """A simpler form through points (n,), and the standard deviation of new ones.

    Both functions of compute. Noise is that of the last third alone: a line that misses
    the start may do well from there on.
    """
    predict, last = make(compute, score), last_third(compute)
    noise = np.sqrt(((predict(compute) - score)[last] ** 2).sum() / (len(last) - 2))
    ends = predict(until * np.array([0.95, 1.05]))
    slope = (ends[1] - ends[0]) / np.log(1.05 / 0.95)
    rise = ends[1] - score[np.argmin(compute)]
    return predict, lambda c: np.hypot(noise, drift(slope, rise, c / until))


@dataclass(frozen=True)
class Forecast:
    """What the points up to `until` say: where a curve ends, and what comes next.

    Where it ends is the sigmoid's A. What comes next is the sigmoid too, moved by what
    is left of its last error: rho times it, the best linear prediction of the next one
    where neighbours' errors have correlation rho (Goldberger, doi
    10.1080/01621459.1962.10480665), and here of all later ones. Points that reach 2
    C_mid also show the tail: then Tan et al.'s law through the last third of them has
    half of the weight, since a mean of two forecasts errs less than most single ones
    (Bates and Granger, doi 10.1057/jors.1969.103).
    """

    curve: Curve
    until: float
    fit: Sigmoid
    likely: Profile
    noise: float  # standard deviation of the residuals

    def outlook(self, compute: Array) -> tuple[Array, Array, Array]:
        """(low, predicted, high), each (n,): the 90 % band of new points, and a middle.

        The fit itself below `until`, the forecast from there on. In the band are the
        spread of likely fits, the noise about each, and drift.
        """
        beyond = compute >= self.until
        shift = beyond * self.carried
        middle = np.clip(self.fit(compute) + shift, 0, 1)
        fits = np.stack([draw(compute) for draw in self.likely.draws]) + shift
        rise, slope = self.fit.a - self.fit.r0, self.fit.slope(self.until)
        sd = np.hypot(self.noise, drift(slope, rise, compute / self.until))
        sd = np.broadcast_to(sd, fits.shape)
        if self.reach() >= 2 and rise > 0:
            law, law_sd = self.tail
            middle = np.where(beyond, (middle + law(compute)) / 2, middle)
            fits = np.concatenate([fits, np.where(beyond, law(compute), fits)])
            sd = np.concatenate([sd, np.where(beyond, law_sd(compute), sd)])
        low, high = spread(fits, sd)
        return low, np.clip(middle, low, high), high

    @functools.cached_property
    def carried(self) -> float:
        """What is added to the fit from `until` on: rho times the mean last error.

        Of the runs that go on to the second half of the fitted compute.
        """
        part = self.curve.upto(self.until)
        ends = [(x[-1], y[-1]) for x, y in part.runs if x[-1] > self.until / 2]
        last = [y - self.fit(x) for x, y in ends]
        return float(dependence(part, self.fit) * np.mean(last)) if last else 0.0

    @functools.cached_property
    def tail(self) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        """The law through the last third of the points, and its standard deviation.

        It knows no ceiling of its own, so it stops at the highest that A may have.
        """
        points, top = self.curve.points(0, self.until), self.interval("a")[1]
        law, sd = fit_form(late(failure_law), *points, self.until)
        return lambda c: np.clip(law(c), 0, top), sd

    def interval(self, name: str) -> tuple[float, float]:
        """90 % interval of a, b or c_mid, by profile."""
        return self.likely.bounds[name]

    def bootstrap_a(self) -> tuple[float, float]:
        """90 % interval of A by resampling: too narrow, see the tests; to compare."""
        draws = bootstrap(self.curve.upto(self.until), self.fit, 200)
        low, high = np.quantile([draw.a for draw in draws], [0.05, 0.95])
        return float(low), float(high)

    def reach(self) -> float:
        """How far the points go in units of C_mid, at its upper bound."""
        return self.until / self.interval("c_mid")[1]

    def refusal(self) -> str:
        """Why the data cannot say where the curve ends; empty if they can."""
        low, high = self.interval("a")
        if self.falls():
            return "it rises and then falls"
        if low <= self.fit.r0 or self.fit.a - self.fit.r0 <= self.noise:
            return "the curve is flat or falls: there is no gain to extrapolate"
        reach = self.reach()
        if reach < 2:
            return f"the fitted points may end at {reach:.1f} C_mid, 2 are needed"
        if high > 0.995:
            return "a ceiling of 1 fits as well"
        return ""

    def falls(self) -> bool:
        """Has a quarter of the best gain been lost again, 0.1 at least?

        By means of eighths of the points, in order of compute.
        """
        x, y = self.curve.points(0, self.until)
        parts = np.array_split(y[np.argsort(x)], min(8, len(y)))
        best, last = max(part.mean() for part in parts), parts[-1].mean()
        rise = best - self.fit.r0
        return rise > 0.1 and best - last > max(0.25 * rise, 0.1)


def spread(fits: Array, sd: Array) -> tuple[Array, Array]:
    """90 % quantiles of fits (D, n) with noise of sd (D, n) added, within 0 and 1."""
    shares = (np.arange(40) + 0.5) / 40
    z = np.array([NormalDist().inv_cdf(share) for share in shares])
    points = fits[:, None, :] + z[:, None] * sd[:, None, :]  # (D, 40, n)
    low, high = np.quantile(points.reshape(-1, fits.shape[1]), [0.05, 0.95], axis=0)
    return low.clip(0, 1), high.clip(0, 1)


def forecast(curve: Curve, until: float = 0.5, num_draws: int = 200) -> Forecast:
    """Fit the part of a curve up to `until` times its largest compute."""
    limit = until * curve.end()
    part = curve.upto(limit)
    x, y = part.points()
    fit = fit_sigmoid(x, y, curve.r0)
    noise = float(np.sqrt(((y - fit(x)) ** 2).sum() / max(len(x) - 3, 1)))
    return Forecast(curve, limit, fit, profile(part, fit, num_draws), noise)


@dataclass(frozen=True)
class Score:
    """One forecaster on the later points of one curve."""

    bias: float
    rmse: float
    final: float  # distance of the last point from its prediction
    covered: float  # share of points in the 90 % band
    interval: float  # interval score, smaller is better

    @staticmethod
    def of(predicted: Array, low: Array, high: Array, truth: Array) -> "Score":
        """All of (n,).

        Interval score (Gneiting and Raftery) at 90 %: the band's width, and 20 times
        the distance of each point that lies outside.
        """
        miss = predicted - truth
        outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
        rmse, inside = np.sqrt((miss**2).mean()), (outside == 0).mean()
        found = (
            miss.mean(),
            rmse,
            abs(miss[-1]),
            inside,
            (high - low + 20 * outside).mean(),
        )
        return Score(*map(float, found))


def scores(result: Forecast, after: float = 0.0) -> dict[str, Score]:
    """The forecast and every baseline on later points, those beyond `after` alone.

    Empty where there are none. A baseline's band is made as the forecast's, less the
    spread of fits: noise about its own fit and the drift of its own slope.
    """
    x, y = result.curve.points(max(result.until, after))
    if not len(x):
        return {}
    x, y = x[np.argsort(x)], y[np.argsort(x)]
    low, middle, high = result.outlook(x)
    found = {"forecast": Score.of(middle, low, high, y)}
    early = result.curve.points(0, result.until)
    forms: dict[str, Forecaster] = {"sigmoid": lambda *_: result.fit}
    forms["ScaleRL's grid"] = functools.partial(fit_grid, r0=result.fit.r0)
    for name, make in (forms | BASELINES).items():
        predict, sd = fit_form(make, *early, result.until)
        low, high = (np.clip(predict(x) + z * sd(x), 0, 1) for z in (-1.645, 1.645))
        found[name] = Score.of(predict(x), low, high, y)
    return found


def table(header: str, rows: list[list]) -> str:
    """A Markdown table; `header` has its cells between bars."""
    lines = [f"| {header} |", "|---" * len(header.split("|")) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def score_table(all_scores: list[dict[str, Score]]) -> str:
    """Over many curves: the median error of the last point, and means of the rest."""
    rows = []
    for name in next(filter(None, all_scores), {}):
        found = [dataclasses.astuple(s[name]) for s in all_scores if s]
        bias, rmse, _, covered, interval = np.mean(found, 0)
        final = np.median([s[name].final for s in all_scores if s])
        cells = f"{final:.3f}", f"{bias:+.3f}", f"{rmse:.3f}", f"{covered:.0%}"
        rows += [[name, *cells, f"{interval:.3f}"]]
    header = "forecaster | median error at the end | bias | RMSE"
    return table(f"{header} | points in the 90 % band | interval score", rows)


def against_best(all_scores: list[dict[str, Score]]) -> str:
    """The forecast's interval score less that of the best other, run by run."""
    if not all_scores:
        return ""
    points = {
        name: np.array([found[name].interval for found in all_scores])
        for name in all_scores[0]
    }
    ours = points.pop("forecast")
    best = min(points, key=lambda name: points[name].mean())
    less = ours - points[best]
    rng = np.random.default_rng(0)
    means = less[rng.integers(len(less), size=(2000, len(less)))].mean(1)
    low, high = np.quantile(means, [0.05, 0.95])
    return (
        f"The forecast's score less that of the best other ({best}): {less.mean():+.3f}"
        f"\n[{low:+.3f}, {high:+.3f}] (90 %, by bootstrap over runs)."
    )


def fit_table(forecasts: list[Forecast], unit: str) -> str:
    """The fits as Markdown; a ceiling that the data cannot give is not printed."""
    rows, notes = [], []
    for f in forecasts:
        cells = [f.curve.name, len(f.curve.points(0, f.until)[0]), f"{f.fit.r0:.3f}"]
        if why := f.refusal():
            cells += [f"at least {f.interval('a')[0]:.3f}", "-", "-", "-"]
            notes += [f"\n{f.curve.name}: the data cannot say where it ends: {why}."]
        else:
            for name, style in (("a", ".3f"), ("b", ".2f"), ("c_mid", ".3g")):
                low, high = (f"{end:{style}}" for end in f.interval(name))
                cells += [f"{getattr(f.fit, name):{style}} [{low}, {high}]"]
            cells.insert(4, "[{:.3f}, {:.3f}]".format(*f.bootstrap_a()))
        rows += [cells]
    header = f"curve | points | R_0 | A | A, bootstrap | B | C_mid ({unit})"
    text = "In brackets 90 % intervals: by profile, for A by bootstrap too.\n\n"
    return "\n".join([text + table(header, rows), *notes])


# --------------------------------------------------------------------------------------
# Figures


def panels(columns: int) -> tuple[plt.Figure, list[plt.Axes]]:
    width = 7.5 if columns == 1 else 11.5
    figure, axes = plt.subplots(1, columns, figsize=(width, 5), layout="constrained")
    return figure, list(np.atleast_1d(axes))


def draw_curves(axes: plt.Axes, forecasts: list[Forecast], unit: str = "FLOPs") -> None:
    """Filled points were fitted, open ones predicted; line solid, then dashed.

    The shade about points is the range of seeds, the one about a dashed line the 90 %
    band of new points. Where a curve rises and falls, dotted lines join the points of
    each run: no sigmoid describes it.
    """
    for i, f in enumerate(forecasts):
        color, (x, _) = f"C{i}", f.curve.points()
        for x_run, y in f.curve.runs:
            early = x_run <= f.until
            if f.falls():
                axes.plot(x_run, y, ":", color=color, lw=1)
            axes.plot(x_run[early], y[early], "o", color=color, ms=3, alpha=0.7)
            axes.plot(x_run[~early], y[~early], "o", color=color, ms=4, mfc="white")
        shade(axes, f.curve.runs, color)
        fitted = np.geomspace(x.min(), f.until, 200)
        line, heights = (":", np.nan * fitted) if f.falls() else ("-", f.fit(fitted))
        axes.plot(fitted, heights, line, color=color, label=f.curve.name)
        if f.until < x.max():
            later = np.geomspace(f.until, x.max() * 1.5, 100)
            low, middle, high = f.outlook(later)
            label = "forecast, 90 % band" if len(forecasts) == 1 else None
            axes.plot(later, middle, "--", color=color, label=label)
            axes.fill_between(later, low, high, color=color, alpha=0.15, lw=0)
    axes.set(xscale="log", ylim=(0, 1.02))
    axes.set(xlabel=f"RL compute ({unit})", ylabel="held-out pass rate")
    axes.legend(fontsize=8, loc="upper left")


def shade(axes: plt.Axes, runs: list[tuple[Array, Array]], color: str) -> None:
    """The range of runs, between the points of each, where all of them are."""
    low, high = max(x.min() for x, _ in runs), min(x.max() for x, _ in runs)
    if len(runs) > 1 and low < high:
        grid = np.geomspace(low, high, 100)
        rates = np.stack([np.interp(np.log(grid), np.log(x), y) for x, y in runs])
        style = dict(color=color, alpha=0.2, lw=0)
        axes.fill_between(grid, rates.min(0), rates.max(0), **style)


def save_figure(figure: plt.Figure, title: str, path: Path) -> None:
    figure.suptitle("\n".join(textwrap.wrap(title, 100)), fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


# --------------------------------------------------------------------------------------
# The runner: claims, processes, progress
#
# A run is claimed by an exclusive flock on `lock` in its folder. The training process
# inherits the locked file, so the claim lasts exactly as long as the one that trains,
# whoever else dies: the kernel lets go of it, also on a shared folder (NFS 4).

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None

KILLS_ALLOWED = 20  # of one run, by somebody's signal, before it counts as failed


def claim(folder: Path) -> int | None:
    """Lock a run's folder; the descriptor, or None where another worker has it.

    Windows has no flock: there every claim succeeds, so only one command may be at
    work on a study at a time (its own workers never share a run).
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
    return descriptor


def is_finished(cfg: train.Config) -> bool:
    """Has this run reached its end? ValueError for another config in its folder."""
    if not (cfg.folder() / "checkpoint.pt").exists():
        return False
    state = train.read_checkpoint(cfg.folder())
    theirs = state["config"] | {"out": cfg.out, "base": cfg.base}
    if theirs != dataclasses.asdict(cfg):
        raise ValueError(
            f"{cfg.folder()} holds a run of another config; delete it or choose --out"
        )
    over = state["step"] >= cfg.steps or state["phase"] == "stopped"
    return state["phase"] != "pretrain" and bool(state["levels"]) and over


def command(cfg: train.Config) -> list[str]:
    """The command line of a config, every field spelled out."""
    argv = [sys.executable, train.__file__]
    for f in fields(cfg):
        value = getattr(cfg, f.name)
        flag = f"--{f.name.replace('_', '-')}"
        if isinstance(f.default, bool):
            argv += [flag if value else f"--no-{flag[2:]}"]
        else:
            argv += [f"{flag}={value}"]
    return argv


def estimate(cfg: train.Config) -> float:
    """Seconds on one core of an x86 server, to a factor of about 2.

    Measured at 0.1M parameters: 1.3 ms a demonstration, 0.4 ms a sampled answer and 0.8
    ms each time one is trained on; larger models cost their size to the power 0.6.
    """
    size = (cfg.dim * cfg.dim * cfg.layers / 8192) ** 0.6
    demos = 0 if cfg.base else cfg.pretrain_steps * cfg.pretrain_batch
    answers = cfg.steps * cfg.prompts_per_step * cfg.group_size
    train_ms = 0.4 + 0.8 * cfg.updates
    looks = min(cfg.evals, cfg.steps) * (cfg.eval_samples + 1)
    looks += (2 if cfg.steps else 1) * 4 * cfg.eval_samples
    looks *= cfg.eval_problems
    return size * 1e-3 * (1.3 * demos + train_ms * answers + 0.4 * looks)


@dataclass
class Worker:
    """One invocation at work on a list of runs."""

    configs: list[train.Config]
    workers: int
    began: float = field(default_factory=time.time)
    running: dict = field(default_factory=dict)  # process: config
    done: list = field(default_factory=list)
    failed: dict = field(default_factory=dict)  # folder: reason
    kills: dict = field(default_factory=dict)  # folder: how often

    def work(self) -> None:
        """Until every run is finished, here or elsewhere, or has failed.

        A signal ends the running ones, who save first, and comes out as
        KeyboardInterrupt.
        """
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self.loop()
        except BaseException:
            for process in self.running:
                process.terminate()
            for process in self.running:
                process.wait()
            raise

    def loop(self) -> None:
        """Start runs as workers fall free, and report, until all are done."""
        waiting, spoke = list(self.configs), 0.0
        while waiting or self.running:
            free = self.workers - len(self.running)
            waiting = [cfg for cfg in waiting if not self.settled(cfg)]
            for cfg in list(waiting):
                if free and self.ready(cfg) and self.start(cfg):
                    waiting.remove(cfg)
                    free -= 1
            for process in [p for p in self.running if p.poll() is not None]:
                cfg = self.running.pop(process)
                if not self.finish(cfg, process.returncode):
                    waiting.append(cfg)
                spoke = 0.0
            for cfg in self.running.values():
                write_forecast(cfg)
            if time.time() - spoke > 30:
                print(self.progress(), flush=True)
                spoke = time.time()
            time.sleep(0.1 if self.running else 1.0)
        print(self.progress(), flush=True)

    def settled(self, cfg: train.Config) -> bool:
        """Finished, or failed since this invocation began; noted either way."""
        folder = cfg.folder()
        reason = folder / "failed.txt"
        if reason.exists() and reason.stat().st_mtime >= self.began:
            self.failed[folder] = reason.read_text()
        elif cfg.base and Path(cfg.base) in self.failed:
            self.failed[folder] = f"its base {cfg.base} failed"
        elif not busy(folder) and is_finished(cfg):
            self.done.append(cfg)
        else:
            return False
        return True

    def ready(self, cfg: train.Config) -> bool:
        """Is its base there?"""
        return not cfg.base or any(Path(cfg.base) == c.folder() for c in self.done)

    def start(self, cfg: train.Config) -> bool:
        """Claim a run and train it in a process of its own; False if it is taken."""
        lock = claim(cfg.folder())
        if lock is None:
            return False
        (cfg.folder() / "failed.txt").unlink(missing_ok=True)
        with open(cfg.folder() / "log.txt", "a") as log:
            keep = [lock] if fcntl is not None else []
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(
                command(cfg), stdout=log, stderr=log, pass_fds=keep, env=environment
            )
        os.close(lock)  # the process has it now
        self.running[process] = cfg
        return True

    def finish(self, cfg: train.Config, status: int) -> bool:
        """Note how a process ended; False for one that was killed: it goes on later."""
        folder = cfg.folder()
        if status == 0:
            self.done.append(cfg)
            return True
        if status < 0 or status in (130, 143):
            self.kills[folder] = self.kills.get(folder, 0) + 1
            if self.kills[folder] <= KILLS_ALLOWED:
                return False
        last = (folder / "log.txt").read_text()[-500:].strip()
        self.failed[folder] = f"exit status {status}: {last}"
        (folder / "failed.txt").write_text(self.failed[folder])
        print(f"FAILED {folder}: {last.splitlines()[-1] if last else status}")
        return True

    def progress(self) -> str:
        """Runs done, time left, compute spent."""
        now = time.time() - self.began
        spent = sum(sum(spent_flops(cfg)) for cfg in self.done)
        total = sum(map(estimate, self.configs))
        over = [*self.done, *(c for c in self.configs if c.folder() in self.failed)]
        left = total - sum(map(estimate, over))
        return (
            f"{now:6.0f} s  {len(self.done)} of {len(self.configs)} runs done, "
            f"{len(self.running)} running, {len(self.failed)} failed; about "
            f"{left / self.workers / 60:.0f} min left; {spent:.1e} FLOPs spent"
        )


def busy(folder: Path) -> bool:
    """Is somebody at work there, or has nobody begun?"""
    if not (folder / "checkpoint.pt").exists():
        return True
    lock = claim(folder)
    if lock is not None:
        os.close(lock)
    return lock is None


def spent_flops(cfg: train.Config) -> tuple[int, int]:
    """(pretraining, RL) FLOPs of a finished run; a borrowed base costs it nothing."""
    rows = train.read_rows(cfg.folder(), "eval")
    return 0 if cfg.base else rows[-1]["pretrain_flops"], rows[-1]["rl_flops"]


def write_forecast(cfg: train.Config) -> None:
    """Once half of a run's steps are done, put down what the rest will bring.

    So the forecast is on disk, with its time, before there is anything to check it by.
    """
    path, metrics = cfg.folder() / "forecast.json", cfg.folder() / "metrics.jsonl"
    if not cfg.steps or path.exists() or not metrics.exists():
        return
    with open(metrics, "rb") as file:
        file.seek(max(metrics.stat().st_size - 20_000, 0))
        tail = file.read().decode(errors="replace")
    steps = [int(text) for text in re.findall(r'"kind": "rl", "step": (\d+)', tail)]
    if not steps or not 0.5 <= steps[-1] / cfg.steps <= 0.6:
        return  # too early, or too late to be a forecast
    rows = train.read_rows(cfg.folder(), "eval")
    rows = [row for row in rows if row["step"] * 2 <= cfg.steps]
    if len(rows) < 6:
        return
    found = forecast(pooled("", [Result("", {}, rows)]), 1.0)
    ahead = found.until * np.geomspace(1, 4, 9)
    bands = zip(("low", "predicted", "high"), found.outlook(ahead), strict=True)
    record = {
        "written": time.strftime("%Y-%m-%d %H:%M:%S"),
        "after_step": steps[-1],
        "steps": cfg.steps,
        "fit": dataclasses.asdict(found.fit),
        "refusal": found.refusal(),
        "rl_flops": ahead.tolist(),
        **{name: np.round(rates, 4).tolist() for name, rates in bands},
    }
    write(path, json.dumps(record) + "\n")


# --------------------------------------------------------------------------------------
# What is kept of a run


@dataclass(frozen=True)
class Result:
    """A finished run as runs.jsonl holds it."""

    name: str
    config: dict  # the fields that differ from train.Config's defaults
    rows: list[dict]  # evaluations, the one before RL first
    extra: dict = field(default_factory=dict)  # loss of the base, AUC, forecast, ...

    def final(self) -> float:
        """Pass rate at the end, as measured with four times the samples."""
        return self.rows[-1]["pass_rate"]

    def is_gold(self) -> bool:
        """Was it paid by the true verifier?"""
        return not {"reward", "false_positive", "false_negative"} & set(self.config)


KEPT = "step pretrain_flops rl_flops pass_rate pass_rate_greedy problems samples "
KEPT += "answer_tokens think_share truncated kl_base reward"


@functools.cache
def base_loss(folder: Path) -> float:
    """Nats a token of the base in a run's folder, on 1,024 demonstrations.

    The same ones for every base of a seed, numbered from beyond any training; an easy
    problem among them may have been trained on.
    """
    state = train.read_checkpoint(folder)
    cfg = train.Config(**state["config"])
    model, loss, count = train.new_run(cfg).model, 0.0, 0
    model.load_state_dict(state["base"])
    device = model.embed.weight.device
    for step in range(-(-1024 // cfg.pretrain_batch)):
        demos = train.demo_batch(cfg, 10**9 + step)
        tokens, mask = (x.to(device) for x in demos[:2])
        with train.torch.no_grad():
            logp = train.grpo.token_logprobs(model(tokens), tokens)
        loss, count = loss - (logp * mask).sum().item(), count + mask.sum().item()
    return loss / count


def collect(cfg: train.Config, name: str) -> Result:
    """Read a finished run's folder."""
    default = train.Config()
    config = {
        key: value
        for key, value in dataclasses.asdict(cfg).items()
        if value != getattr(default, key) and key not in ("out", "base")
    }
    rows = []
    for row in train.read_rows(cfg.folder(), "eval"):
        kept = {key: row[key] for key in KEPT.split() if key in row}
        rows += [{k: v if isinstance(v, int) else round(v, 5) for k, v in kept.items()}]
    extra: dict = {key: row[key] for key in ("pass_at", "by_level", "seconds")}
    source = Path(cfg.base) if cfg.base else cfg.folder()
    extra["base_loss"] = round(base_loss(source), 5)
    for row in train.read_rows(cfg.folder(), "reward")[:1]:
        extra["auc"] = row["auc"]
    for file in ("forecast", "measure"):
        path = cfg.folder() / f"{file}.json"
        if path.exists():
            extra[file] = json.loads(path.read_text())
    return Result(name, config, rows, extra)


def pooled(name: str, results: list[Result]) -> Curve:
    """Runs of one setting as a curve, R_0 as measured and with its binomial error."""
    starts = [r.rows[0] for r in results]
    r0 = float(np.mean([row["pass_rate"] for row in starts]))
    trials = sum(row["problems"] * row["samples"] for row in starts)
    runs = []
    for r in results:
        columns = (
            [row[key] for row in r.rows[1:]] for key in ("rl_flops", "pass_rate")
        )
        runs.append(tuple(np.array(column, float) for column in columns))
    return Curve(name, runs, r0, (r0 * (1 - r0) / trials) ** 0.5)


# --------------------------------------------------------------------------------------
# Studies. A study is a question, a list of configs, and a few lines that turn finished
# runs into a table and a figure.

# The pace of RL in studies: slower than the main job, on worse demonstrations. A curve
# that jumps to 1.0 has no ceiling to measure.
PACE = dict(noise=0.1, pretrain_steps=3000, lr=3e-4, prompts_per_step=8, group_size=8)
PACE |= dict(steps=400, evals=24, eval_problems=256)
QUICK = dict(steps=120)


@dataclass(frozen=True)
class Lab:
    """Where a study runs, over how many seeds, and whether it is the short version."""

    out: Path
    seeds: int
    quick: bool

    def run(self, name: str, seed: int, **given: object) -> train.Config:
        """One RL run, on the base that all runs of its kind share.

        The base is the same for all seeds, so intervals speak of RL alone.
        """
        pace = {**PACE, **(QUICK if self.quick else {}), **given}
        cfg = train.make_config(**pace, seed=seed, out=str(self.out / name / str(seed)))
        return replace(cfg, base=self.base(cfg).out)

    def base(self, cfg: train.Config) -> train.Config:
        """The base of a run: a run of no RL steps, named by all that decides it."""
        given = {name: getattr(cfg, name) for name in train.BASE_FIELDS}
        given |= dict(seed=0, steps=0, eval_problems=cfg.eval_problems)
        text = json.dumps(given, sort_keys=True)
        key = hashlib.blake2b(text.encode(), digest_size=3).hexdigest()
        name = f"{cfg.task}-{cfg.dim}-{cfg.pretrain_steps}-{key}"
        return train.make_config(**given, out=str(self.out.parent / "bases" / name))

    def sweep(self, arms: dict[str, dict]) -> dict[str, train.Config]:
        """`ARM/SEED`: config. An arm without changes is the reference that studies
        share: its runs are those of `curve`."""
        configs, home = {}, replace(self, out=self.out.parent / "curve")
        for arm, given in arms.items():
            folder = re.sub(r"[^a-zA-Z0-9.]+", "-", arm).strip("-").lower()
            for seed in range(self.seeds):
                make = (self, folder) if given else (home, "reference")
                configs[f"{arm}/{seed}"] = make[0].run(make[1], seed, **given)
        return configs


@dataclass(frozen=True)
class Report:
    """What a study found."""

    verdict: str  # one sentence, with its uncertainty
    tables: str  # Markdown
    figure: plt.Figure


Arms = dict[str, list[Result]]  # name of a setting: its runs, a seed each


@dataclass(frozen=True)
class Study:
    """The question, the runs, what they say, and what was found at scale."""

    question: str
    fixed: str  # what all arms have alike
    arms: Callable[[bool], dict[str, dict]]  # of --quick: what differs from PACE
    conclude: Callable[[Arms], Report]
    literature: str
    seeds: int = 3


def arms_of(results: list[Result]) -> Arms:
    """Results by arm: the part of the name before the slash."""
    arms: Arms = {}
    for r in results:
        arms.setdefault(r.name.rpartition("/")[0], []).append(r)
    return arms


def fit_arms(arms: Arms) -> dict[str, Forecast]:
    """Every arm as one curve, all of it fitted."""
    return {name: forecast(pooled(name, runs), 1.0) for name, runs in arms.items()}


def finals(runs: list[Result]) -> str:
    """Mean and standard deviation over seeds of the pass rate at the end."""
    rates = [r.final() for r in runs]
    if len(rates) == 1:
        return f"{rates[0]:.3f}, one seed"
    return f"{np.mean(rates):.3f} ± {np.std(rates, ddof=1):.3f}"


def ceiling_sd(f: Forecast) -> float:
    """Standard error of A: by its profile or, where larger, by how its seeds end."""
    ends = [y[-1] for _, y in f.curve.runs]
    by_seeds = np.std(ends, ddof=1) / len(ends) ** 0.5 if len(ends) > 1 else 0.0
    return float(max(np.diff(f.interval("a"))[0] / 3.29, by_seeds))


def odds_of_a(one: Forecast, other: Forecast) -> float:
    """P(A of one > A of the other); NaN where one is not identified."""
    if one.refusal() or other.refusal():
        return float("nan")
    sds = ceiling_sd(one), ceiling_sd(other)
    z = (one.fit.a - other.fit.a) / max(np.hypot(*sds), 1e-6)
    return NormalDist().cdf(z)


def compute_to(result: Result, target: float) -> float:
    """RL compute at which a run reaches a pass rate, NaN if it does not.

    By its own sigmoid, and only where two of its evaluations reached the target too.
    """
    rates = sorted(row["pass_rate"] for row in result.rows[1:])
    if len(rates) < 4 or rates[-2] < target:
        return float("nan")
    x, y = pooled("", [result]).runs[0]
    found = fit_sigmoid(x, y, result.rows[0]["pass_rate"]).inverse(target)
    return found if 0 < found < 2 * x.max() else float("nan")


def multiplier(base: list[Result], arm: list[Result], target: float) -> Array:
    """How many times less compute the arm needs than the base: (3,) low, middle, high.

    Geometric mean over paired seeds and its 90 % interval from Student's t; NaN where
    a run does not get there, or for fewer than 3 seeds.
    """
    one, other = (
        {r.name.rpartition("/")[2]: compute_to(r, target) for r in runs}
        for runs in (base, arm)
    )
    logs = np.array([np.log(one[seed] / other[seed]) for seed in one if seed in other])
    if len(logs) < 3 or not np.isfinite(logs).all():
        return np.full(3, np.nan)
    half = student(len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    return np.exp(logs.mean() + half * np.array([-1, 0, 1]))


def change(arm: Forecast, reference: Forecast, speed: Array) -> str:
    """What an arm changes, in words: its ceiling, or else how soon it gets there.

    Two tests at 90 %: about one arm in six is called different where nothing is.
    """
    odds, (low, _, high) = odds_of_a(arm, reference), speed
    if arm.refusal().startswith("it rises and"):
        return "rises, then falls"
    if arm.refusal().startswith("the curve is flat"):
        return "gains nothing"
    if min(len(f.curve.runs) for f in (arm, reference)) < 3:
        return "too few seeds to tell"
    if odds < 0.05 or odds > 0.95:
        return "a higher ceiling" if odds > 0.5 else "a lower ceiling"
    if low > 1 or high < 1:
        return "faster" if low > 1 else "slower"
    return "no change seen" if np.isfinite(odds) else "cannot be told"


def comparison(arms: Arms) -> tuple[str, str, dict[str, Forecast]]:
    """Each arm beside the first, A or B: the verdict, the tables and the fits."""
    fits, (reference, base) = fit_arms(arms), next(iter(arms.items()))
    r0, top = fits[reference].fit.r0, np.mean([r.final() for r in base])
    targets = [round(float(r0 + q * (top - r0)), 2) for q in (0.25, 0.5, 0.9)]
    rows, words = [], {}
    for name, runs in arms.items():
        spent = np.mean([r.rows[-1]["rl_flops"] for r in runs])
        cells = [name, finals(runs), f"{spent:.1e}"]
        if name != reference:
            speeds = np.array([multiplier(base, runs, t) for t in targets])
            for low, middle, high in speeds:
                text = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
                cells += ["-" if np.isnan(middle) else text]
            odds = odds_of_a(fits[name], fits[reference])
            word = change(fits[name], fits[reference], speeds[1])
            words.setdefault(word, []).append(name)
            cells += ["-" if np.isnan(odds) else f"{odds:.2f}", word]
        rows += [cells + ["1"] * 3 + ["", ""] if name == reference else cells]
    text = (
        f"Multiplier: how many times less RL compute than `{reference}` to the same "
        "pass rate\n(90 % interval over paired seeds; - where one does not get there). "
        "P: its ceiling is\nhigher. What changes is decided by two tests at 90 %: one "
        "in six arms or so is called\ndifferent where nothing is.\n\n"
    )
    header = "arm | final pass rate, mean ± sd | RL FLOPs"
    header += "".join(f" | multiplier at {t}" for t in targets)
    text += table(header + " | P(A higher) | what changes", rows)
    text += "\n\n" + fit_table(list(fits.values()), "FLOPs")
    verdict = "; ".join(f"{', '.join(names)}: {word}" for word, names in words.items())
    return f"Beside {reference}, {verdict}. {apart(arms)}", text, fits


def apart(arms: Arms) -> str:
    """The range of arms at the end, and how often seeds alone would make it as wide.

    By 2,000 random exchanges of runs between the arms: a permutation test.
    """
    rates = {name: [r.final() for r in runs] for name, runs in arms.items()}
    best, worst = (pick(rates, key=lambda n: np.mean(rates[n])) for pick in (max, min))
    counts = np.array([len(v) for v in rates.values()])
    owner, pool = (
        np.repeat(np.arange(len(rates)), counts),
        np.concatenate([*rates.values()]),
    )
    rng = np.random.default_rng(0)
    shuffled = [pool, *(rng.permutation(pool) for _ in range(2000))]
    ranges = np.array([np.ptp(np.bincount(owner, y) / counts) for y in shuffled])
    chance = np.mean(ranges >= ranges[0] - 1e-9)
    low, high = (np.mean(rates[name]) for name in (worst, best))
    text = f"The ends span {low:.3f} ({worst}) to {high:.3f} ({best})"
    if max(counts) == 1:
        return text
    p = f"p = {chance:.2f}" if chance >= 0.005 else "p < 0.005"
    return f"{text}, as wide by chance with {p}"


def against_first(arms: Arms) -> Report:
    """The report of arms beside the first of them."""
    verdict, text, fits = comparison(arms)
    figure, (axes,) = panels(1)
    draw_curves(axes, list(fits.values()))
    return Report(verdict, text, figure)


def curve_report(arms: Arms) -> Report:
    """One curve, fitted on half and on a quarter of the compute, scored on the rest."""
    (name, runs), *_ = arms.items()
    whole = pooled(name, runs)
    parts = [(0.5, "first half"), (0.25, "first quarter"), (1.0, "all")]
    found = [forecast(replace(whole, name=word), share) for share, word in parts]
    half, quarter, _ = (scores(f) for f in found)
    single = [scores(forecast(pooled("", [r]), 0.5)) for r in runs]
    text = fit_table(found, "FLOPs")
    for title, rows in (
        ("Forecast of the second half, seeds together", [half]),
        ("The same, each seed by itself", single),
        ("From a quarter of the compute, seeds together", [quarter]),
    ):
        text += f"\n\n{title}:\n\n{score_table(rows)}"
    figure, both = panels(2)
    for axes, f in zip(both, found[:2], strict=True):
        draw_curves(axes, [f])
        axes.axvline(f.until, color="gray", lw=0.8, ls=":")
    later = [row for r in runs for row in r.rows if row["rl_flops"] > found[0].until]
    rates = np.array([row["pass_rate"] for row in later])
    trials = np.array([row["problems"] * row["samples"] for row in later])
    noise = np.sqrt((rates * (1 - rates) / trials).mean())
    ends = half["forecast"], scores(found[1], found[0].until)["forecast"]
    near, far = (f"{s.rmse:.3f} ({s.covered:.0%} in the 90 % band)" for s in ends)
    verdict = (
        f"The {len(whole.points(found[0].until)[0])} points of the second half are "
        f"forecast from the first with an RMSE of {near}, from a quarter with {far}; "
        f"evaluation noise alone is {noise:.3f}"
    )
    return Report(verdict, text, figure)


def recipe_arms(quick: bool) -> dict[str, dict]:
    names = "grpo dr_grpo cispo rloo reinforce scalerl".split()[:: 5 if quick else 1]
    return {"default": {}} | {name: dict(recipe=name) for name in names}


def group_arms(quick: bool) -> dict[str, dict]:
    sizes = (2, 32) if quick else (2, 4, 16, 32)
    made = [dict(prompts_per_step=64 // g, group_size=g) for g in sizes]
    names = [f"{64 // g} prompts x {g}" for g in sizes]
    return {"8 prompts x 8": {}} | dict(zip(names, made, strict=True))


def lag_arms(quick: bool) -> dict[str, dict]:
    arms: dict[str, dict] = {"lag 0": {}}
    for lag in (8,) if quick else (4, 16):
        arms[f"lag {lag}"] = dict(lag=lag)
        arms[f"lag {lag} corrected"] = dict(lag=lag, correction="token")
    return arms


def reward_arms(quick: bool) -> dict[str, dict]:
    """Verifiers that err, rules that can be hacked, reward models of growing data."""
    arms = {
        "gold": {},
        "10 % of verdicts wrong": dict(false_positive=0.1, false_negative=0.1),
        "30 % of verdicts wrong": dict(false_positive=0.3, false_negative=0.3),
        "reward model of 2048 labels": dict(reward="learned"),
        "reward model of 256 labels": dict(reward="learned", rm_answers=256),
        "rule: contains": dict(reward="contains"),
    }
    return dict(list(arms.items())[:: 5 if quick else 1])


def reward_report(arms: Arms) -> Report:
    """Ceilings and compute against the gold reward; proxy and gold over distance."""
    verdict, text, fits = comparison(arms)
    figure, (left, right) = panels(2)
    draw_curves(left, list(fits.values()))
    rows = []
    for i, (name, runs) in enumerate(arms.items()):
        best = np.mean([max(row["pass_rate"] for row in r.rows) for r in runs])
        last = [r.rows[-1] for r in runs]
        paid = np.mean([row.get("reward", row["pass_rate"]) for row in last])
        far = np.mean([max(row.get("kl_base", 0), 0) ** 0.5 for row in last])
        quality = [r.extra["auc"] for r in runs if "auc" in r.extra]
        auc = f"{np.mean(quality):.3f}" if quality else "-"
        rows += [[name, f"{best:.3f}", finals(runs), f"{paid:.3f}", f"{far:.2f}", auc]]
        for r in runs:
            away = [max(row.get("kl_base", 0), 0) ** 0.5 for row in r.rows]
            for key, line_style in (("pass_rate", "-"), ("reward", ":")):
                if key in r.rows[0]:
                    rates = [row[key] for row in r.rows]
                    right.plot(away, rates, line_style, color=f"C{i}", lw=1)
    right.set(xlabel="distance from the base, sqrt(KL) (KL in nats)", ylim=(0, 1.02))
    right.set(ylabel="solid: true pass rate; dotted: reward paid")
    header = "reward | gold at its best | gold at the end | paid at the end"
    text += "\n\n" + table(header + " | sqrt(KL) at the end | AUC", rows)
    return Report(verdict, text, figure)


def size_arms(quick: bool) -> dict[str, dict]:
    """Four models over a factor of 30 in parameters, the width alone changing."""
    arms: dict[str, dict] = {}
    for dim in (32, 64) if quick else (32, 64, 112, 192):
        given = dict(dim=dim, hidden=3 * dim, head_dim=dim // 4)
        arms[f"width {dim}"] = {} if dim == 64 else given
    return arms


def parameters(result: Result) -> int:
    """Weights of a run's model, which is built for that and thrown away."""
    config = train.Config(**result.config).gpt()
    return sum(w.numel() for w in train.GPT(config).parameters())


def loss_law(what: str, x: Array, losses: Array) -> str:
    """The base's loss as a power law of x, in words; nothing for fewer than 4 bases."""
    if len(x) < 4:
        return ""
    law = "no law is fitted, since it does not always fall"
    if (losses[1:] < losses[:-1]).all():
        law = str(fit_power_law(x.astype(float), losses))
    return f"\n\nLoss of the base over x {what}: {law}."


def size_report(arms: Arms) -> Report:
    """Ceiling and C_mid over parameters, beside the base's pretraining loss."""
    fits, rows = fit_arms(arms), []
    sizes = np.array([parameters(runs[0]) for runs in arms.values()])
    losses = np.array([runs[0].extra["base_loss"] for runs in arms.values()])
    for i, (name, runs) in enumerate(arms.items()):
        x, y = fits[name].curve.points()
        fall = 1 - failure_law(x, y)(x.max() * np.array([0.1, 1.0]))
        k = f"{np.log10(fall[0] / fall[1]):.2f}"
        start = f"{fits[name].fit.r0:.3f}"
        rows += [[name, f"{sizes[i]:,}", f"{losses[i]:.3f}", start, finals(runs), k]]
    header = "model | parameters | loss of the base | R_0 | final pass rate"
    text = table(header + " | k of Tan et al.", rows)
    text += "\n\n" + fit_table(list(fits.values()), "FLOPs")
    half = [scores(forecast(f.curve, 0.5)) for f in fits.values()]
    text += "\n\nForecast of the second half, all sizes:\n\n" + score_table(half)
    text += loss_law("parameters", sizes, losses)
    figure, (left, right) = panels(2)
    draw_curves(left, list(fits.values()))
    ends = [[r.final() for r in runs] for runs in arms.values()]
    low, mean, high = ([f(rates) for rates in ends] for f in (min, np.mean, max))
    starts = [f.fit.r0 for f in fits.values()]
    right.plot(sizes, starts, "s--", color="gray", label="base")
    right.plot(sizes, mean, "o-", label="after RL, range of seeds")
    right.fill_between(sizes, low, high, alpha=0.2, lw=0)
    right.set(xscale="log", xlabel="parameters", ylabel="held-out pass rate")
    right.set_ylim(0, 1.02)
    right.legend(fontsize=8)
    names = "sigmoid", "power law in 1 - R, last third"
    ours, tan = (np.mean([s[name].rmse for s in half]) for name in names)
    verdict = (
        f"{sizes[0]:,} to {sizes[-1]:,} parameters: {mean[0]:.2f} to "
        f"{mean[-1]:.2f} after RL; the second half is missed by {ours:.3f} "
        f"(sigmoid) and {tan:.3f} (late power law in 1 - R)"
    )
    return Report(verdict, text, figure)


def split_arms(quick: bool) -> dict[str, dict]:
    counts = (1000, 2000, 2500, 3000, 3750, 4500, 5500, 6500)[:: 3 if quick else 1]
    usual = PACE["pretrain_steps"]
    made = [{} if n == usual else dict(pretrain_steps=n) for n in counts]
    return {f"{n} pretraining steps": m for n, m in zip(counts, made, strict=True)}


# Of each base, cheapest first: its cost, the largest RL compute on it, a fit a seed.
Bases = list[tuple[float, float, list[Sigmoid]]]


def iso_compute(bases: Bases, total: float) -> Array:
    """Pass rate of every base and seed for one total budget, (bases, seeds).

    Read off each seed's own sigmoid. NaN where the base costs more than there is, or
    leaves RL more than twice what was measured: so far forecasts hold.
    """
    seeds = min(len(fits) for *_, fits in bases)
    rates = np.full((len(bases), seeds), np.nan)
    for i, (cost, end, fits) in enumerate(bases):
        if 0 < total - cost <= 2 * end:
            left = np.array([total - cost])
            rates[i] = [float(fit(left)[0]) for fit in fits[:seeds]]
    return rates


def best_split(bases: Bases, total: float) -> tuple[int, float, float] | None:
    """(base, low, high) for a total: the best base, and bounds on the best share of RL.

    The best by the mean of seeds. The best share lies between those of its neighbours,
    or of the neighbours of other seeds' best; NaN where there is no neighbour to
    compare. None where fewer than two bases can be compared.
    """
    rates = iso_compute(bases, total)
    there = np.flatnonzero(np.isfinite(rates[:, 0]))
    if len(there) < 2:
        return None
    share = [1 - cost / total for cost, *_ in bases]
    best = np.nanargmax(rates, 0)
    low = share[best.max() + 1] if best.max() < there[-1] else np.nan
    high = share[best.min() - 1] if best.min() > there[0] else np.nan
    return int(there[rates[there].mean(1).argmax()]), low, high


def share_text(low: float, high: float) -> str:
    """Bounds on the best share of RL in words."""
    if np.isnan(low):
        return "unknown" if np.isnan(high) else f"at most {high:.0%}"
    return f"at least {low:.0%}" if np.isnan(high) else f"{low:.0%} to {high:.0%}"


def split_report(arms: Arms) -> Report:
    """Pass rate over RL's share of a fixed total, and the bases where RL fails."""
    rows, failing, names = [], [], list(arms)
    figure, (left, right) = panels(2)
    cost = [float(runs[0].rows[0]["pretrain_flops"]) for runs in arms.values()]
    losses = [runs[0].extra["base_loss"] for runs in arms.values()]
    bases: Bases = []
    for i, (name, runs) in enumerate(arms.items()):
        before = np.mean([r.rows[0]["pass_rate"] for r in runs])
        rise = np.mean([r.final() for r in runs]) - before
        failing += [name] if rise < 0.1 else []
        cells = [name, f"{cost[i]:.2e}", f"{losses[i]:.3f}", f"{before:.3f}"]
        rows += [[*cells, finals(runs), f"{rise:+.3f}"]]
        curves = [pooled("", [r]) for r in runs]
        fits = [fit_sigmoid(*c.points(), c.r0) for c in curves]
        bases += [(cost[i], min(c.end() for c in curves), fits)]
        totals = [(x + cost[i], y) for x, y in pooled(name, runs).runs]
        shade(left, totals, f"C{i}")
        mean = np.mean([np.interp(totals[0][0], *t) for t in totals], 0)
        left.plot(totals[0][0], mean, "o-", ms=3, color=f"C{i}", label=name)
    text = table("base | pretraining FLOPs | its loss | R_0 | final | gain", rows)
    found, rows, verdict = [], [], "No best share lies between those tried"
    for total in np.geomspace(cost[0] * 1.2, cost[-1] + bases[-1][1], 12):
        if best := best_split(bases, total):
            top, low, high = best
            found += [total]
            rate = iso_compute(bases, total)[top].mean()
            shares = f"{1 - cost[top] / total:.0%}", share_text(low, high)
            rows += [[f"{total:.2e}", names[top], f"{rate:.3f}", *shares]]
            if low < high:  # neither is NaN
                verdict = f"Best share of RL at {total:.1e} FLOPs: {shares[1]}"
    header = "total FLOPs | best base | pass rate | its share of RL | best share"
    text += "\n\n" + table(header, rows)
    for i, total in enumerate(found[::2]):
        rates = iso_compute(bases, total)
        there = np.isfinite(rates[:, 0])
        share, rates = 1 - np.array(cost)[there] / total, rates[there]
        style, top = dict(color=plt.cm.viridis(i / 6)), rates.mean(1).argmax()
        label = f"{total:.1e} FLOPs"
        right.plot(share, rates.mean(1), "o-", **style, label=label)
        right.fill_between(share, rates.min(1), rates.max(1), **style, alpha=0.2)
        right.plot(share[top], rates.mean(1)[top], "*", **style, ms=16)
    right.set(xlabel="share of RL in the total", xlim=(0, 1), ylim=(0, 1.02))
    right.set(ylabel="pass rate at a fixed total, stars: best")
    right.legend(fontsize=8)
    left.set(xscale="log", xlabel="pretraining + RL compute (FLOPs)", ylim=(0, 1.02))
    left.set(ylabel="held-out pass rate")
    left.legend(fontsize=8)
    text += loss_law("pretraining FLOPs", np.array(cost), np.array(losses))
    text += "\n\n" + fit_table(list(fit_arms(arms).values()), "FLOPs")
    verdict += "; RL gains less than 0.1 on " + (", ".join(failing) or "none of these")
    return Report(verdict, text, figure)


def inference_arms(quick: bool) -> dict[str, dict]:
    return {"gold": {}, "random reward": dict(false_positive=0.5, false_negative=0.5)}


MEASURE, SAMPLES = 9, 64  # stream of random numbers; answers to each test problem


def measure(cfg: train.Config) -> None:
    """Sample 64 answers to each test problem, from a run's base and from its end.

    Writes measure.json, unless it is there: for each problem how many were right, and
    how many gave each wrong answer.
    """
    path = cfg.folder() / "measure.json"
    if path.exists():
        return
    state, run, found = train.read_checkpoint(cfg.folder()), train.new_run(cfg), {}
    problems, key = train.test_set(cfg), (cfg.seed, MEASURE, 0)
    for when, weights in (("base", state["base"]), ("after", state["model"])):
        run.model.load_state_dict(weights)
        batch, rewards = train.sample_and_score(run, problems, SAMPLES, key, False)
        wrong = []
        for p, row in enumerate(rewards.tolist()):
            texts = [batch.text(p * SAMPLES + s) for s, r in enumerate(row) if not r]
            answers = Counter(
                re.sub(r"\[[^\]]*\]?", "", text).strip() for text in texts
            )
            wrong.append(sorted(answers.values(), reverse=True))
        found[when] = {"right": [int(c) for c in rewards.sum(1)], "wrong": wrong}
    write(path, json.dumps(found) + "\n")


def pass_at(rows: dict, k: int) -> Array:
    """The unbiased pass@k of each problem."""
    return np.array([train.pass_at_k(SAMPLES, c, k) for c in rows["right"]])


def majority_at(rows: dict, k: int) -> Array:
    """Chance that the commonest of k answers is the right one, ties drawn by lot.

    For each problem, by 100 draws of k of its 64 answers without replacement.
    """
    rng, rates = np.random.default_rng(k), []
    for right, wrong in zip(rows["right"], rows["wrong"], strict=True):
        draws = rng.multivariate_hypergeometric([right, *wrong], k, 100)
        top = draws.max(1)
        rates += [((draws[:, 0] == top) / (draws == top[:, None]).sum(1)).mean()]
    return np.array(rates)


def exchange_rate(gold: list[Result], ks: Array, levels: Array) -> str:
    """What RL costs that makes one answer as good as a majority of k of the base's."""
    fit, config = forecast(pooled("gold", gold), 1.0), train.Config(**gold[0].config)
    base, after = (
        train.decode_flops(config.gpt(), 0, round(gold[0].rows[i]["answer_tokens"]))
        for i in (0, -1)
    )
    rows = []
    for k, level in zip(ks.tolist(), levels, strict=True):
        found = price(fit, 0, level) if level > fit.fit.r0 + 2 * fit.noise else None
        cells = ["-", "-"]
        if found and k * base > after:
            middle, low, high = found
            pays = f"{middle / (k * base - after):,.0f}"
            cells = [f"{middle:.1e} [{low:.1e}, {high:.1e}]", pays]
        rows += [[k, f"{level:.3f}", f"{k * base:.1e}", *cells]]
    text = (
        "\n\nSampling instead of RL: a majority of k answers of the base, and the RL "
        "after which one answer\nis as good (90 % interval; - within noise of it). "
        "From so many problems on it pays.\n\n"
    )
    header = "k | majority@k of the base | FLOPs of k answers | RL FLOPs to that pass "
    return text + table(header + "rate | problems", rows)


def inference_report(arms: Arms) -> Report:
    """pass@k and majority@k before and after RL, and a random-reward control."""
    ks, gold, curves, problems, rows = 2 ** np.arange(7), arms["gold"], {}, {}, []
    figure, both = panels(2)
    policies = [("base", gold[:1], "base")]
    policies += [(f"after RL, {arm}", runs, "after") for arm, runs in arms.items()]
    for axes, name, rate in zip(
        both, ("pass", "majority"), (pass_at, majority_at), strict=True
    ):
        for i, (label, runs, when) in enumerate(policies):
            found = [[rate(r.extra["measure"][when], k) for k in ks] for r in runs]
            problems[name, label] = np.mean(found, 0)  # (k, problems), over seeds
            rates = np.mean(found, 2)  # (seeds, k)
            curves[name, label] = rates.mean(0)
            rows += [[f"{name}@k, {label}", *(f"{v:.3f}" for v in rates.mean(0))]]
            axes.plot(ks, rates.mean(0), "o-", color=f"C{i}", label=label)
            low, high = rates.min(0), rates.max(0)
            axes.fill_between(ks, low, high, color=f"C{i}", alpha=0.2, lw=0)
        axes.set(xscale="log", xlabel="answers to a problem, k", ylim=(0, 1.02))
        axes.set(xticks=ks, xticklabels=ks, ylabel=f"{name}@k on held-out problems")
        axes.minorticks_off()
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, 0.9))
    text = table("policy | k = " + " | ".join(map(str, ks)), rows)
    text += exchange_rate(gold, ks, curves["majority", "base"])
    base, after = curves["pass", "base"], curves["pass", "after RL, gold"]
    gap = problems["pass", "after RL, gold"][-1] - problems["pass", "base"][-1]
    error = 1.645 * gap.std() / len(gap) ** 0.5
    verdict = f"pass@1 goes from {base[0]:.2f} to {after[0]:.2f}, pass@64 from "
    verdict += f"{base[-1]:.3f} to {after[-1]:.3f} ({gap.mean():+.3f} ± {error:.3f})"
    crossing = ks[base >= after]
    if gap.mean() + error < 0:
        verdict += f"; the base is level at k = {crossing[0]} and then ahead"
    else:
        verdict += "; the base is not shown to overtake up to k = 64"
    if "random reward" in arms:
        change = curves["pass", "after RL, random reward"][0] - base[0]
        verdict += f"; a random reward changes pass@1 by {change:+.2f}"
    return Report(verdict, text, figure)


STUDIES = {
    "curve": Study(
        "Does a sigmoid fitted on the first part of the compute forecast the rest?",
        "one setting, 64 answers a step",
        lambda quick: {"chain": {}},
        curve_report,
        "ScaleRL fits 50k GPU-hours and shows agreement to 100k by eye. Refitted "
        "from the digitised figure (tests/data), a sigmoid through the first 40k "
        "predicts the rest 0.012 too low.",
        5,
    ),
    "recipes": Study(
        "Which choice of loss moves the ceiling A and which only the efficiency?",
        "64 answers a step",
        recipe_arms,
        against_first,
        "ScaleRL: loss family and FP32 logits move A, aggregation and normalisation"
        " mostly B and C_mid; nine leave-one-out variants end within 0.02 of each "
        "other.",
    ),
    "sizes": Study(
        "How do ceiling and efficiency grow with parameters?",
        "equal data, not compute: 3000 pretraining steps",
        size_arms,
        size_report,
        "Tan et al.: larger models learn more per FLOP, 1 - R falls as a power law "
        "whose exponent saturates with size; their last decade flattens above that "
        "line.",
    ),
    "split": Study(
        "At a fixed total, how much should go to pretraining and how much to RL?",
        "64 answers a step; iso-compute read off the curves",
        split_arms,
        split_report,
        "Shen et al. (chess, 5M to 1B parameters): the best share of RL is 20 to 28"
        " %; the level after RL is set by the pretraining loss.",
    ),
    "group": Study(
        "At a fixed number of answers a step, how many to each prompt?",
        "64 answers a step",
        group_arms,
        against_first,
        "IsoCompute: small groups are best early and large ones later. ScaleRL: 8 "
        "to 32 answers at a fixed batch are second order.",
    ),
    "reward": Study(
        "What do wrong verdicts, learned and misspecified rewards cost?",
        "64 answers a step; pass rates are always by the true verifier",
        reward_arms,
        reward_report,
        "Gao et al.: gold reward peaks and falls over sqrt(KL) as the proxy goes on"
        " rising, later for larger reward models.",
    ),
    "inference": Study(
        "How many samples of the base equal how much RL, and is anything new learned?",
        "64 answers to each of 256 test problems, before and after",
        inference_arms,
        inference_report,
        "Yue et al.: RL wins at small k and the base overtakes at large k. Jones "
        "(Hex): ten times the training compute is worth fifteen times the test "
        "compute.",
    ),
    "lag": Study(
        "How stale may the policy that samples be?",
        "64 answers a step",
        lag_arms,
        against_first,
        "ScaleRL: a trainer up to 8 steps ahead costs nothing and saves time.",
    ),
}


# --------------------------------------------------------------------------------------
# From finished runs to a study's folder


def write(path: Path, text: str) -> None:
    """All of it or nothing, whoever else writes the same."""
    part = path.with_suffix(f".{os.getpid()}.tmp")
    part.write_text(text)
    os.replace(part, path)


def write_results(results: list[Result], folder: Path) -> None:
    """runs.jsonl: one line a run, all that tables and figures are made of."""
    lines = [json.dumps(dataclasses.asdict(r), separators=(",", ":")) for r in results]
    write(folder / "runs.jsonl", "\n".join(lines) + "\n")


def read_results(folder: Path) -> list[Result]:
    """The runs of a study."""
    lines = (folder / "runs.jsonl").read_text().splitlines()
    return [Result(**json.loads(line)) for line in lines]


CAPTION = """\
Filled points were fitted, open ones predicted; dotted lines join runs that rise and
fall. Shades: the range of seeds; about a dashed line the 90 % band of new points. All
seeds start from one base, so intervals and shades hold the noise of RL and evaluation,
not that of pretraining."""


def write_report(name: str, results: list[Result], folder: Path, lost: str = "") -> str:
    """NAME.md and NAME.png from results; returns the verdict."""
    study, arms = STUDIES[name], arms_of(results)
    report = study.conclude(arms)
    rl = sum(r.rows[-1]["rl_flops"] for r in results)
    bases = {r.rows[0]["pretrain_flops"] for r in results}
    parts = [
        f"# {name}: {study.question}",
        f"**{report.verdict}.**",
        *([f"Missing: {lost}."] if lost else []),
        f"![{name}]({name}.png)",
        CAPTION,
        f"Fixed: {max(r.rows[-1]['step'] for r in results)} RL steps, {study.fixed}. "
        f"{len(results)} runs, {max(map(len, arms.values()))} seeds an arm, {rl:.1e} "
        f"FLOPs of RL; bases: {len(bases)}, {sum(bases):.1e} FLOPs. `python scaling.py "
        f"{name}`.",
        report.tables,
        f"At scale: {study.literature}",
    ]
    write(folder / f"{name}.md", "\n\n".join(parts) + "\n")
    save_figure(report.figure, report.verdict, folder / f"{name}.png")
    return report.verdict


def run_study(name: str, args: argparse.Namespace) -> None:
    """Run what is missing of a study, and say what it found.

    RuntimeError, once all there is has been written, if runs are missing.
    """
    study, root = STUDIES[name], "out/quick" if args.quick else "out"
    lab = Lab(Path(args.out or f"{root}/{name}"), args.seeds or study.seeds, args.quick)
    configs = lab.sweep(study.arms(args.quick))
    mine = list(configs.values())[args.shard[0] :: args.shard[1]]
    jobs = [*{cfg.base: lab.base(cfg) for cfg in mine}.values(), *mine]
    if args.dry_run:
        return dry_run(jobs, args.workers)
    worker = Worker(jobs, args.workers)
    worker.work()
    lab.out.mkdir(parents=True, exist_ok=True)
    ready = {run: cfg for run, cfg in configs.items() if is_finished(cfg)}
    if name == "inference":
        for cfg in ready.values():
            measure(cfg)
    why = {
        run: worker.failed.get(cfg.folder(), "not run").splitlines()[-1]
        for run, cfg in configs.items()
        if run not in ready
    }
    lost = "; ".join(f"{run} ({reason})" for run, reason in why.items())
    results = [collect(cfg, run) for run, cfg in ready.items()]
    write_results(results, lab.out)
    if next(iter(configs)).rpartition("/")[0] in arms_of(results):
        print(f"\n{write_report(name, results, lab.out, lost)}")
        print(f"wrote {lab.out}/{name}.md, {name}.png and runs.jsonl")
    else:
        print(
            "no verdict yet: the first arm, which others are held against, is missing"
        )
    if any(cfg in mine for run, cfg in configs.items() if run in why):
        raise RuntimeError(f"missing: {lost}")
    if lost:
        print(f"missing, of other shards: {lost}")


def dry_run(jobs: list[train.Config], workers: int) -> None:
    """Print the runs and how long they would take."""
    left = 0.0
    for cfg in jobs:
        seconds = 0.0 if is_finished(cfg) else estimate(cfg)
        left += seconds
        state = f"about {seconds:.0f} s" if seconds else "finished"
        print(f"{str(cfg.folder()):60} {state}")
    print(f"{len(jobs)} runs, about {left / workers / 60:.0f} min left")


def stored(folder: Path, names: Iterable[str]) -> dict[str, list[Result]]:
    """Committed runs of those studies that are there. ValueError where none is."""
    there = [name for name in names if (folder / name / "runs.jsonl").exists()]
    if not there:
        raise ValueError(f"{folder} holds none of {', '.join(names)}; run one first")
    return {name: read_results(folder / name) for name in there}


def redraw(folder: Path) -> None:
    """Every study's table and figure again, and README.md: verdicts and forecasts."""
    studies, rows = stored(folder, STUDIES), []
    for name, results in studies.items():
        verdict = write_report(name, results, folder / name)
        rows += [[f"[`{name}`](docs/studies/{name}/{name}.md)", verdict]]
    # Relative links here, those of the main README in the printed rows.
    text = table("study | verdict", rows)
    print(text)
    text = "# Studies\n\n" + text.replace("docs/studies/", "") + "\n\n"
    write(folder / "README.md", text + forecasts_of(each_once(studies)))
    print(f"\nwrote {folder}/README.md")


def each_once(studies: dict[str, list[Result]]) -> list[Result]:
    """The runs of all studies; some are shared."""
    runs = (r for results in studies.values() for r in results)
    return list({json.dumps([r.config, r.rows[-1]]): r for r in runs}.values())


ABOUT_FORECASTS = """\
Each run by itself; means over runs. Bias: predicted less true pass rate. Interval
score: the width of the 90 % band, and 20 times the distance of each point outside;
smaller is better. Forecast: the sigmoid, moved by rho times its last error; where the
fitted points reach 2 C_mid, the mean of that and the power law in 1 - R, last third.
Last third: fitted to that part of the points alone. ScaleRL's grid: a sigmoid by their
search for A and C_mid. The others' bands are made as the forecast's, less the spread of
likely fits. How the forecast was chosen, and how far this flatters it:
[docs/scaling.md](../scaling.md)."""


def forecasts_of(results: list[Result]) -> str:
    """How well each run's end is known from its first parts, in Markdown."""
    text = [f"## Forecasts over all {len(results)} runs of all studies"]
    text += [ABOUT_FORECASTS]
    curves = [pooled(r.name, [r]) for r in results]
    for share, word in ((0.5, "half"), (0.25, "a quarter"), (0.1, "a tenth")):
        count = [len(c.points(0, share * c.end())[0]) for c in curves]
        kept = [i for i, points in enumerate(count) if points >= 5]
        found = [scores(forecast(curves[i], share, 100)) for i in kept]
        true = [s for i, s in zip(kept, found, strict=True) if results[i].is_gold()]
        text += [f"### Fitted on {word} of the compute, {len(found)} runs"]
        text += [score_table(found), against_best(found)]
        text += [f"The {len(true)} of them whose reward is the true verifier's:"]
        text += [score_table(true), against_best(true)]
    hits, filed = [], 0
    for r, curve in zip(results, curves, strict=True):
        record, (x, y) = r.extra.get("forecast"), curve.runs[0]
        if record and record["after_step"] <= 0.6 * record["steps"]:
            x, y = x[x > record["rl_flops"][0]], y[x > record["rl_flops"][0]]
            at = np.log(x), np.log(record["rl_flops"])
            low, high = (np.interp(*at, record[end]) for end in ("low", "high"))
            hits, filed = hits + list((low <= y) & (y <= high)), filed + 1
    if hits:
        text += ["### Written down at half of the steps, before the rest was run"]
        text += [
            f"{filed} runs, {len(hits)} later points, {np.mean(hits):.0%} of them in "
            "the 90 % band."
        ]
    return "\n\n".join(text) + "\n"


# --------------------------------------------------------------------------------------
# The planner


FAR = 4  # times the measured RL compute, beyond which no setting is called the best


def plan(folder: Path, target: float, budget: float) -> str:
    """What a target costs or a budget buys, by the fitted settings of the studies.

    Settings are those of `split` and `sizes`: a base and the RL on it, and compute
    counts both. ValueError where neither study is there.
    """
    settings: dict[str, tuple[str, list[Result]]] = {}  # by the last row: each once
    for results in stored(folder, ("split", "sizes")).values():
        for name, runs in arms_of(results).items():
            settings.setdefault(json.dumps(runs[0].rows[-1]), (name, runs))
    rows, style = [], ".2e" if target else ".3f"
    for name, runs in settings.values():
        fit = forecast(pooled(name, runs), 1.0)
        before = runs[0].rows[0]["pretrain_flops"]
        found = price(fit, before, target) if target else buys(fit, before, budget)
        if not found:
            continue
        middle, low, high = found
        total = middle if target else budget
        spent = [before + r.rows[-1]["rl_flops"] for r in runs]
        seconds = [r.extra["seconds"] for r in runs]
        minutes = total * np.sum(seconds) / np.sum(spent) / 60
        ahead = (total - before) / fit.until
        known = "inside" if ahead <= 1 else f"{ahead:,.1f} x beyond"
        if ahead > 1 and fit.refusal():
            known += f", and {fit.refusal()}"
        answer = f"{middle:{style}} [{low:{style}}, {high:{style}}]"
        cells = [name, answer, f"{1 - before / total:.0%}", f"{minutes:,.1f}", known]
        rows += [((ahead > FAR, middle if target else -middle), cells)]
    if not rows:
        return "No setting of the studies gets there: the data cannot say what would.\n"
    rows.sort()
    (far, _), best = rows[0]
    what = "total FLOPs" if target else "pass rate"
    header = f"setting | {what} [90 %] | share of RL | minutes on one core"
    text = table(f"{header} | measured range", [cells for _, cells in rows])
    if far:
        return f"{text}\n\nAll of this is further than {FAR} times what was measured.\n"
    return f"{text}\n\nBest: {best[0]}.\n"


def price(
    fit: Forecast, before: float, target: float
) -> tuple[float, float, float] | None:
    """Total compute to a pass rate with its 90 % interval; None where out of reach.

    The interval is where the band of new points crosses the target; what the base
    reaches costs the base alone.
    """
    if target <= fit.fit.r0:
        return before, before, before
    grid = np.geomspace(fit.until / 300, fit.until * 10, 600)
    low, middle, high = fit.outlook(grid)
    reached = [rates >= target for rates in (middle, high, low)]
    costs = [before + grid[r][0] if r.any() else np.inf for r in reached]
    return tuple(costs) if np.isfinite(costs[0]) else None


def buys(
    fit: Forecast, before: float, budget: float
) -> tuple[float, float, float] | None:
    """Pass rate from a total budget with its 90 % band; None if the base costs more."""
    if budget <= before:
        return None
    low, middle, high = fit.outlook(np.array([budget - before]))
    return float(middle[0]), float(low[0]), float(high[0])


# --------------------------------------------------------------------------------------
# Fitting a table of somebody's runs


def read_curves(args: argparse.Namespace) -> list[Curve]:
    """Curves of a CSV, one for each value of its run column and each y column.

    ValueError for a file or column that is not there, or a cell that is no number.
    """
    try:
        with open(args.csv, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ValueError(f"{args.csv} cannot be read: {error.strerror}") from error
    if not rows:
        raise ValueError(f"{args.csv} has no rows under its header")
    columns = args.y.split(",")
    for name in [args.x, *columns] + ([args.run] if args.run else []):
        if name not in rows[0]:
            have = ", ".join(map(str, rows[0]))
            raise ValueError(f"{args.csv} has no column {name!r}; it has {have}")
    if args.only and args.only not in {row[args.run] for row in rows if args.run}:
        have = ", ".join(dict.fromkeys(row[args.run] for row in rows if args.run))
        raise ValueError(f"no run {args.only!r}; there are {have}")
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number, row in enumerate(rows, 2):
        run = row[args.run] if args.run else Path(args.csv).stem
        for y in columns:
            if args.only in ("", run):
                groups.setdefault((run, y), []).append(read_point(args, row, y, number))
    curves: dict[str, list] = {}
    for (run, y), points in groups.items():
        name = y if args.pool else f"{run} {y}" if len(columns) > 1 else run
        x, score = np.array(sorted(points)).T
        early = (x >= args.start) & (x <= args.fit_until * x.max())
        if early.sum() < 4 and not args.pool:
            raise ValueError(
                f"{name} has {early.sum()} points to fit and needs at least 4: "
                "lower --start, raise --fit-until, or leave it out"
            )
        curves.setdefault(name, []).append((x[x >= args.start], score[x >= args.start]))
    return [Curve(name, runs, args.r0) for name, runs in curves.items()]


def read_point(
    args: argparse.Namespace, row: dict, y: str, line_number: int
) -> tuple[float, float]:
    """(compute, score) of one row; ValueError names the line."""
    where = f"{args.csv} line {line_number}"
    try:
        point = float(row[args.x]), float(row[y])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {args.x} and {y} must be numbers") from error
    if not (0 < point[0] < np.inf and 0 <= point[1] <= 1):
        raise ValueError(
            f"{where}: {args.x} must be above 0 and {y} between 0 and 1, got {point}"
        )
    return point


def fit_csv(args: argparse.Namespace) -> None:
    """The command `fit`: table, figure and forecast."""
    if not 0 < args.fit_until <= 1:
        raise ValueError(f"--fit-until is a share of the compute, got {args.fit_until}")
    forecasts = [forecast(curve, args.fit_until) for curve in read_curves(args)]
    start = "fitted too" if args.r0 is None else f"held at {args.r0}"
    together = "runs are seeds of one setting" if args.pool else "each run by itself"
    text = (
        f"Assumed: {args.x} is compute, {args.y} a pass rate; points from "
        f"{args.start:g} up to {args.fit_until:.0%} of\nthe largest compute are fitted"
        f", unweighted; {together}; R_0 is {start}.\n\n{fit_table(forecasts, args.x)}\n"
    )
    misses = []
    for f in forecasts:
        if not f.refusal():
            grid = fit_grid(*f.curve.points(0, f.until), f.fit.r0)
            text += f"\n{f.curve.name} by ScaleRL's own grid: A {grid.a:.3f}, "
            text += f"B {grid.b:.2f}, C_mid {grid.c_mid:.3g}.\n"
        if found := scores(f):
            count = len(f.curve.points(f.until)[0])
            text += (
                f"\n{f.curve.name}, {count} later points:\n\n{score_table([found])}\n"
            )
            misses += [f"{f.curve.name} by {found['forecast'].rmse:.3f}"]
    folder = Path(args.out or "out/fit")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fit.md").write_text(text)
    figure, (axes,) = panels(1)
    draw_curves(axes, forecasts, args.x)
    axes.set_ylabel(args.y)
    ends = [f"A of {f.curve.name} {f.fit.a:.3f}" for f in forecasts if not f.refusal()]
    title = "; ".join(ends) or "The data cannot say where any curve ends"
    if misses:
        title += ". Later points miss the forecast (RMSE): " + ", ".join(misses)
    save_figure(figure, title, folder / "fit.png")
    print(f"{text}\nwrote {folder}/fit.md and {folder}/fit.png")


# --------------------------------------------------------------------------------------
# The command line


def shard(text: str) -> tuple[int, int]:
    """`i/n`: the i-th of n parts, counted from 0. ValueError for anything else."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise ValueError(f"--shard must look like 0/4 (0 to 3 of 4), got {text!r}")
    return int(part), int(parts)


def parse_args(argv: list[str]) -> argparse.Namespace:
    """The command line. ValueError for a shard that is none."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join([*STUDIES, "plan", "redraw", "fit FILE"])
    parser.add_argument("study", nargs="?", default="curve", help=names)
    parser.add_argument("csv", nargs="?", default="", help="of fit: the table")
    out = "folder, default out/STUDY; bases and the shared reference go beside it"
    parser.add_argument("--out", default="", help=out)
    study = parser.add_argument_group("a study")
    study.add_argument("--workers", type=int, default=2, help="processes, default 2")
    study.add_argument("--seeds", type=int, default=0, help="default 5 curve, 3 else")
    study.add_argument("--quick", action="store_true", help="at most 10 minutes")
    study.add_argument("--shard", default="0/1", help="i/n: only this part of the runs")
    study.add_argument("--dry-run", action="store_true", help="list runs and times")
    planner = parser.add_argument_group("plan")
    planner.add_argument("--target", type=float, default=0.0, help="pass rate to reach")
    planner.add_argument("--budget", type=float, default=0.0, help="FLOPs to spend")
    planner.add_argument("--studies", default="docs/studies", help="fitted studies")
    fit = parser.add_argument_group("fit")
    fit.add_argument("--x", default="compute", help="column of compute")
    fit.add_argument("--y", default="pass_rate", help="columns of scores, 0 to 1")
    fit.add_argument("--run", default="", help="column that tells runs apart")
    fit.add_argument("--pool", action="store_true", help="runs are seeds of one curve")
    fit.add_argument("--only", default="", help="fit this run alone")
    fit.add_argument(
        "--start", type=float, default=0.0, help="leave out smaller compute"
    )
    fit.add_argument("--fit-until", type=float, default=0.5, help="share, default 0.5")
    fit.add_argument("--r0", type=float, help="pass rate at no compute, else fitted")
    args = parser.parse_args(argv)
    args.shard = shard(args.shard)
    return args


def dispatch(args: argparse.Namespace) -> None:
    """Run what the command line asked for. ValueError for a study there is none of."""
    if args.study == "fit":
        fit_csv(args)
    elif args.study == "redraw":
        redraw(Path(args.studies))
    elif args.study == "plan":
        if bool(args.target) == bool(args.budget):
            raise ValueError("give plan either --target or --budget")
        if args.target and not 0 < args.target < 1:
            raise ValueError(f"--target is a pass rate below 1, got {args.target}")
        print(plan(Path(args.studies), args.target, args.budget))
    elif args.study in STUDIES:
        if args.workers < 1 or args.seeds < 0:
            raise ValueError("--workers and --seeds must be at least 1")
        run_study(args.study, args)
    else:
        known = ", ".join([*STUDIES, "plan", "redraw", "fit"])
        raise ValueError(f"there is no study {args.study!r}; choose from {known}")


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 1 a run failed, 2 bad input, 130 stopped after saving."""
    try:
        dispatch(parse_args(argv))
    except KeyboardInterrupt:
        print("\nstopped; the runs have saved, the same command goes on with them")
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"scaling.py: {error}", file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
