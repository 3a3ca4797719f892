"""How good is a forecast? Simpler forms, and how all are scored on later points.

Studies load it: `rivals = load(STUDIES / "rivals.py")`. `scores` gives the forecast,
the plain sigmoid and every rival the same later points of a curve.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scaling import (
    Array,
    Forecast,
    Law,
    Result,
    failure_law,
    fit_sigmoid,
    last_third,
    law_error,
    next_levels,
    pass_times,
    table,
)

Form = Callable[[Array, Array], Law]  # from points, (n,) each


def fit_last_third(form: Form) -> Form:
    """The same form fitted to the last third: simple forms have no slow start."""
    return lambda x, y: form(x[last_third(x)], y[last_third(x)])


def last_value(compute: Array, score: Array) -> Law:
    """Nothing more will be gained: the mean of the last three points."""
    level = score[np.argsort(compute)][-3:].mean()
    return lambda c: np.full(len(c), level)


def log_linear(compute: Array, score: Array) -> Law:
    """The same gain for every tenfold: a straight line in log C, at most 1."""
    slope, start = np.polyfit(np.log(compute), score, 1)
    return lambda c: np.minimum(start + slope * np.log(c), 1.0)


def exponential(compute: Array, score: Array) -> Law:
    """A - D exp(-C / tau), A at most 1: progress in proportion to what is left."""
    taus = compute.max() * np.geomspace(0.02, 20, 200)
    best, a, d = best_line(np.exp(-compute / taus[:, None]), score)
    return lambda c: a - d * np.exp(-c / taus[best])


def power_law(compute: Array, score: Array) -> Law:
    """A - D / C^B, A at most 1: the pretraining form (Kaplan et al.)."""
    a, d, b = fit_power_law(compute, score)
    return lambda c: a - d * c**-b


def fit_power_law(x: Array, y: Array) -> tuple[float, float, float]:
    """(A, D, B) of y = A - D / x^B, A at most 1, by variable projection again.

    B is searched from 0.02 to 5 on a grid that is refined three times.
    """
    unit = np.exp(np.log(x).mean())
    ends = np.log([0.02, 5.0])
    for _ in range(4):
        grid = np.linspace(ends[0], ends[1], 60)
        best, a, d = best_line((x / unit) ** -np.exp(grid)[:, None], y)
        ends = grid[best] + 2 * (grid[1] - grid[0]) * np.array([-1, 1])
    b = float(np.exp(grid[best]))
    return a, float(d * unit**b), b


def best_line(bases: Array, score: Array) -> tuple[int, float, float]:
    """(s, A, D) of the least-squares A - D bases[s], A at most 1; bases (S, n)."""
    centered = bases - bases.mean(1, keepdims=True)
    d = -(centered @ score) / np.maximum((centered**2).sum(1), 1e-12)
    a = score.mean() + d * bases.mean(1)
    held = bases @ (1 - score) / np.maximum((bases**2).sum(1), 1e-12)
    d = np.where(a > 1, held, d)
    a = np.minimum(a, 1)
    best = ((a[:, None] - d[:, None] * bases - score) ** 2).sum(1).argmin()
    return int(best), float(a[best]), float(d[best])


RIVALS: dict[str, Form] = {
    "last value": last_value,
    "log-linear": log_linear,
    "exponential": exponential,
    "power law, last third": fit_last_third(power_law),
    "power law in 1 - R, last third": fit_last_third(failure_law),
}


WIDER = "forecast, wider band"


class Score(NamedTuple):
    """One forecaster on the later points of one curve."""

    bias: float  # predicted less true
    rmse: float
    final: float  # distance of each run's last point from its prediction, their mean
    covered: float  # share of points in the 90 % band
    interval: float  # interval score, smaller is better


def score_band(
    predicted: Array, low: Array, high: Array, truth: Array, last: Array | None = None
) -> Score:
    """The score of a forecast, all (n,); `last`: which points end a run, else the last.

    Interval score (Gneiting and Raftery) at 90 %: the band's width, and 20 times the
    distance of each point that lies outside.
    """
    miss = predicted - truth
    outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    return Score(
        bias=float(miss.mean()),
        rmse=float(np.sqrt((miss**2).mean())),
        final=float(abs(miss[-1:] if last is None else miss[last]).mean()),
        covered=float((outside == 0).mean()),
        interval=float((high - low + 20 * outside).mean()),
    )


def widen(f: Forecast, x: Array) -> tuple[Array, Array]:
    """(low, high), (n,) each: the forecast's band with two errors more, in quadrature.

    Residuals of the last third may be larger than those of all points, and the slope
    wrong by twice itself: a level that is about to rise leaves no trace in the mean.
    Fixed on the first 80 runs of the lab, whose points the forecast's own band missed.
    """
    low, middle, high = f.outlook(x)
    part_x, part_y = f.curve.upto(f.until).points()
    last = last_third(part_x)
    square = ((f.fit(part_x) - part_y)[last] ** 2).sum() / (len(last) - 2)
    late = max(square - f.noise**2, 0.0) ** 0.5
    sd = 1.645 * np.hypot(late, 2 * f.fit.slope(f.until) * np.log(x / f.until))
    low = middle - np.hypot(middle - low, sd)
    return np.maximum(low, 0), np.minimum(middle + np.hypot(high - middle, sd), 1)


def scores(f: Forecast) -> dict[str, Score]:
    """The forecast and every rival on later points.

    Empty if there are none. A rival's band is made as the forecast's, less the spread
    of fits: noise about its own fit, and the error of its form by its own slope.
    """
    x, y = f.curve.points()
    later = x > f.until
    if not later.any():
        return {}
    last = np.concatenate([run_x == run_x[-1] for run_x, _ in f.curve.runs])[later]
    x, y = x[later], y[later]
    low, middle, high = f.outlook(x)
    found = {"forecast": score_band(middle, low, high, y, last)}
    low, high = widen(f, x)
    found[WIDER] = score_band(middle, low, high, y, last)
    early_x, early_y = f.curve.upto(f.until).points()
    laws = {name: form(early_x, early_y) for name, form in RIVALS.items()}
    for name, law in ({"sigmoid": f.fit} | laws).items():
        sd = law_error(law, early_x, early_y, f.until, x)
        low, high = (np.clip(law(x) + z * sd, 0, 1) for z in (-1.645, 1.645))
        found[name] = score_band(law(x), low, high, y, last)
    return found


def score_table(all_scores: list[dict[str, Score]]) -> str:
    """Over many curves: the median of the errors at the end, and means of the rest."""
    rows = []
    found = [s for s in all_scores if s]
    for name in found[0] if found else []:
        bias, rmse, _, covered, interval = np.mean([s[name] for s in found], 0)
        final = np.median([s[name].final for s in found])
        cells = f"{final:.3f}", f"{bias:+.3f}", f"{rmse:.3f}", f"{covered:.0%}"
        rows.append([name, *cells, f"{interval:.3f}"])
    error = "median error at the end" if len(found) > 1 else "error at the ends"
    header = f"forecaster | {error} | bias | RMSE"
    return table(f"{header} | points in the 90 % band | interval score", rows)


# --------------------------------------------------------------------------------------
# Which form is closest?

# Each form and its parameters.
FORMS = {
    "sigmoid": (fit_sigmoid, 4),
    "exponential": (exponential, 3),
    "power law": (power_law, 3),
    "power law in 1 - R": (failure_law, 2),
    "log-linear": (log_linear, 2),
}


def fit_all(runs: list[tuple[Array, Array]]) -> dict[str, tuple[float, float]]:
    """(AICc summed over runs, mean RMSE) of each form through all points.

    AICc = n ln(SSE / n) + 2 k + 2 k (k + 1) / (n - k - 1), k with the noise: what a
    form gains by a parameter that fits noise only it loses again (Hurvich and Tsai).
    """
    found = {}
    for name, (form, count) in FORMS.items():
        squares = np.array([((form(x, y)(x) - y) ** 2).mean() for x, y in runs])
        n, k = np.array([len(x) for x, _ in runs]), count + 1
        price = 2 * k + 2 * k * (k + 1) / (n - k - 1)
        criterion = float((n * np.log(squares) + price).sum())
        found[name] = criterion, float(np.sqrt(squares).mean())
    return found


# --------------------------------------------------------------------------------------
# Levels to come


def level_rivals(times: dict[int, float], ahead: list[int]) -> dict[str, Array]:
    """log C of levels ahead by simpler laws, through the levels that RL has passed."""
    passed = [n for n, c in times.items() if c > 0]
    logs = np.log([times[n] for n in passed])
    power = np.polyfit(np.log(passed), logs, 1)
    fixed = np.polyfit(passed, logs, 1)
    wait = times[passed[-1]] - times[passed[-2]]
    last = [times[passed[-1]] + wait * (n - passed[-1]) for n in ahead]
    return {
        "C = c d^gamma": np.polyval(power, np.log(ahead)),
        "the same factor for each level": np.polyval(fixed, ahead),
        "the last wait for each level": np.log(last),
    }


def score_levels(results: list[Result], part: float) -> tuple[str, int, int]:
    """How the next levels were forecast after a part of the steps: a table, and how
    many of them were in the 90 % band, of how many that were passed in the end."""
    misses: dict[str, list[float]] = {}
    inside = 0
    for r in results:
        rows = [row for row in r.rows if row["step"] <= part * r.rows[-1]["step"]]
        times, truth = pass_times(rows), pass_times(r.rows)
        found = {n: band for n, band in next_levels(times).items() if n in truth}
        if not found:
            continue
        logs = np.log([truth[n] for n in found])
        ends = np.log(list(found.values()))  # (levels, 3)
        inside += int(((ends[:, 0] <= logs) & (logs <= ends[:, 2])).sum())
        both = {"forecast": ends[:, 1]} | level_rivals(times, list(found))
        for name, told in both.items():
            misses.setdefault(name, []).extend((logs - told).tolist())
    rows = []
    for name, off in misses.items():
        factors = np.exp(np.abs(off))
        cells = f"{np.median(factors):.2f}", f"{factors.max():.2f}"
        rows.append([name, len(off), *cells, f"{np.exp(np.mean(off)):.2f}"])
    header = "forecaster | levels | median factor off | largest | true / told, mean"
    return table(header, rows), inside, len(misses.get("forecast", []))
