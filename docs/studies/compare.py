"""Arms of a study beside the first of them: a higher ceiling, or only sooner there?

Studies load it: `compare = load(STUDIES / "compare.py")`, then `compare.compare_arms`
is a whole report.
"""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from scaling import (
    Arms,
    Array,
    Forecast,
    Report,
    Result,
    Sigmoid,
    draw_curves,
    fit_sigmoid,
    fit_table,
    forecast,
    panels,
    pass_times,
    pool_runs,
    refusal,
    student,
    table,
)
from train import Config, read_checkpoint

EXPLAINED = """\
Multiplier: how many times less RL compute than `{reference}` to the same pass rate
(90 % interval over paired seeds; - where one does not get there). Last three: the mean
of the last three evaluations, less that of `{reference}`, and its interval. What
changes, at 90 %: a ceiling if two are told and differ; else the last three, if no
ceiling is told, and the multiplier at the second pass rate (at the first, if one does
not get to the second). Up to one arm in five is called different where nothing is."""


def compare_arms(arms: Arms) -> Report:
    """Each arm beside the first: the report of many a study."""
    verdict, tables, fits = compare_tables(arms)
    figure, (axes,) = panels(1)
    draw_curves(axes, fits)
    return verdict, tables, figure


def compare_tables(arms: Arms) -> tuple[str, str, list[Forecast]]:
    """The verdict, the tables and a fit of each arm."""
    fits = fit_arms(arms)
    reference, base = next(iter(arms.items()))
    r0, top = fits[reference].fit.r0, np.mean([r.final() for r in base])
    targets = [round(float(r0 + q * (top - r0)), 2) for q in (0.25, 0.5, 0.9)]
    rows, changes = [], {}
    for name, runs in arms.items():
        spent = np.mean([r.rows[-1]["rl_flops"] for r in runs])
        cells = [name, finals(runs), f"{spent:.1e}"]
        if name == reference:
            rows.append([*cells, "1", "1", "1", "", ""])
            continue
        speeds = [multiplier(base, runs, target) for target in targets]
        end = difference(runs, base, last_three)
        speed = speeds[0] if np.isnan(speeds[1]).any() else speeds[1]
        change = what_changes(fits[name], fits[reference], speed, end)
        changes.setdefault(change, []).append(name)
        cells += [*map(with_interval, speeds), with_interval(end, "+.3f"), change]
        rows.append(cells)
    columns = "".join(f" | multiplier at {target}" for target in targets)
    header = f"arm | final pass rate, mean ± sd | RL FLOPs{columns}"
    tables = f"{EXPLAINED.format(reference=reference)}\n\n"
    tables += table(f"{header} | last three | what changes", rows)
    tables += f"\n\n{fit_table(list(fits.values()), 'FLOPs')}"
    words = "; ".join(f"{', '.join(names)}: {what}" for what, names in changes.items())
    verdict = f"{reference} ends at {top:.3f}"
    if len(arms) > 1:
        verdict = f"Beside {reference}, {words}. {permutation_test(arms)}"
    return verdict, tables, list(fits.values())


def fit_arms(arms: Arms) -> dict[str, Forecast]:
    """Every arm as one curve, all of it fitted."""
    return {name: forecast(pool_runs(name, runs), 1.0) for name, runs in arms.items()}


def finals(runs: list[Result]) -> str:
    """Mean and standard deviation over seeds of the pass rate at the end."""
    rates = [r.final() for r in runs]
    if len(rates) == 1:
        return f"{rates[0]:.3f}, one seed"
    return f"{np.mean(rates):.3f} ± {np.std(rates, ddof=1):.3f}"


def last_three(result: Result) -> float:
    """The mean of the last three evaluations: single ones dip."""
    return float(np.mean([row["pass_rate"] for row in result.rows[-3:]]))


def multiplier(base: list[Result], arm: list[Result], target: float) -> Array:
    """How many times less compute the arm needs than the base: (3,) low, middle, high.

    Geometric mean over paired seeds and its 90 % interval; NaN if a run does not get
    there, or for fewer than 3 seeds.
    """
    return np.exp(difference(base, arm, lambda r: np.log(compute_to_reach(r, target))))


def difference(
    one: list[Result], other: list[Result], value: Callable[[Result], float]
) -> Array:
    """A value of one arm's runs less that of the other's: (3,) low, mean, high.

    By paired seeds, which share a base, and their 90 % interval from Student's t; NaN
    if a value is, or for fewer than 3 seeds.
    """
    ours, theirs = (
        {r.name.rpartition("/")[2]: value(r) for r in runs} for runs in (one, other)
    )
    found = np.array([ours[seed] - theirs[seed] for seed in ours if seed in theirs])
    if len(found) < 3 or not np.isfinite(found).all():
        return np.full(3, np.nan)
    half = student(len(found) - 1) * found.std(ddof=1) / len(found) ** 0.5
    return found.mean() + half * np.array([-1, 0, 1])


def with_interval(found: Array, style: str = ".2f") -> str:
    """low, middle, high (3,) as `middle [low, high]`; - if it is not there."""
    low, middle, high = (f"{value:{style}}" for value in found)
    return "-" if np.isnan(found[1]) else f"{middle} [{low}, {high}]"


def first_alarms(cfg: Config) -> dict[str, int]:
    """The step at which each alarm of a finished run first rang."""
    alarms = read_checkpoint(cfg.folder)["alarms"]
    return {name: ring[0] for name, ring in alarms.items()}


def alarms_of(runs: list[Result]) -> str:
    """The step at which each alarm rang in each run, as the study measured them."""
    rang = [r.measured["alarms"] for r in runs]
    told = []
    for alarm in sorted({name for steps in rang for name in steps}):
        told.append(f"{alarm} {', '.join(str(s.get(alarm, '-')) for s in rang)}")
    return "; ".join(told) or "none"


def compute_to_reach(result: Result, target: float) -> float:
    """RL compute at which a run reaches a pass rate, NaN if it does not.

    By its own sigmoid, and only if two of its evaluations reached the target too.
    """
    rates = sorted(row["pass_rate"] for row in result.rows[1:])
    if len(rates) < 4 or rates[-2] < target:
        return np.nan
    fit = fit_of(result)
    if not fit.r0 < target < fit.a:
        return np.nan
    found = fit.c_mid * ((target - fit.r0) / (fit.a - target)) ** (1 / fit.b)
    return found if found < 2 * result.rows[-1]["rl_flops"] else np.nan


def fit_of(result: Result) -> Sigmoid:
    """A run's own sigmoid, through all of its points, from its measured R_0."""
    x = np.array([row["rl_flops"] for row in result.rows[1:]], float)
    y = np.array([row["pass_rate"] for row in result.rows[1:]])
    return fit_sigmoid(x, y, result.rows[0]["pass_rate"])


def mean_curve(runs: list[Result]) -> tuple[Array, Array]:
    """(compute, mean pass rate of the runs) where all of them were measured."""
    curves = pool_runs("", runs).runs
    grid = np.geomspace(*shared_range(runs), 60)
    rates = [np.interp(np.log(grid), np.log(x), y) for x, y in curves]
    return grid, np.mean(rates, 0)


def rates_at(runs: list[Result], compute: float) -> list[float]:
    """Each run's pass rate at an RL compute, between its evaluations; NaN beyond."""
    found = []
    for r in runs:
        x = np.array([row["rl_flops"] for row in r.rows], float)
        y = [row["pass_rate"] for row in r.rows]
        x[0] = x[1] / 10  # before RL: some place on a log axis
        at = np.log(max(compute, x[0]))
        there = 0 < compute <= x[-1] * (1 + 1e-9)
        found.append(float(np.interp(at, np.log(x), y)) if there else np.nan)
    return found


def rate_at(run: Result, compute: float) -> float:
    """Pass rate at an RL compute: measured or, up to twice as far, by its sigmoid."""
    end = run.rows[-1]["rl_flops"]
    if not end < compute <= 2 * end:
        return rates_at([run], compute)[0]
    return float(fit_of(run)(np.array([compute]))[0])


def odds_of_a(one: Forecast, other: Forecast) -> float:
    """P(A of one > A of the other); NaN if the data cannot tell one of them."""
    if refusal(one) or refusal(other):
        return np.nan
    sd = max(np.hypot(ceiling_sd(one), ceiling_sd(other)), 1e-6)
    return NormalDist().cdf((one.fit.a - other.fit.a) / sd)


def ceiling_sd(f: Forecast) -> float:
    """Standard error of A: by its profile or, if larger, by how its seeds end."""
    ends = [y[-1] for _, y in f.curve.runs]
    by_seeds = np.std(ends, ddof=1) / len(ends) ** 0.5 if len(ends) > 1 else 0.0
    return float(max(np.diff(f.bounds["a"])[0] / 3.29, by_seeds))


def what_changes(arm: Forecast, reference: Forecast, speed: Array, end: Array) -> str:
    """In words: a ceiling that differs; else the end, if no ceiling is told, and the
    speed. Both (3,) are low, middle, high of the arm beside the reference.

    Two tests at 90 %: up to one arm in five is called different when nothing is.
    """
    odds = odds_of_a(arm, reference)
    if refusal(arm) in ("falls", "flat"):
        return "gains nothing" if refusal(arm) == "flat" else "rises, then falls"
    if min(len(f.curve.runs) for f in (arm, reference)) < 3:
        return "too few seeds to tell"
    if odds < 0.05 or odds > 0.95:
        return "a higher ceiling" if odds > 0.5 else "a lower ceiling"
    found = []
    if speed[0] > 1 or speed[2] < 1:
        found.append("faster" if speed[0] > 1 else "slower")
    if np.isnan(odds) and (end[0] > 0 or end[2] < 0):
        found.append("ends higher" if end[0] > 0 else "ends lower")
    return " and ".join(found) or "no change seen"


def permutation_test(arms: Arms) -> str:
    """The range of arms at the end, and how often chance would make it as wide.

    By 2,000 random exchanges of runs between the arms.
    """
    means = {name: np.mean([r.final() for r in runs]) for name, runs in arms.items()}
    best, worst = max(means, key=means.get), min(means, key=means.get)
    text = f"The ends span {means[worst]:.3f} ({worst}) to {means[best]:.3f} ({best})"
    counts = np.array([len(runs) for runs in arms.values()])
    if max(counts) == 1:
        return text
    owner = np.repeat(np.arange(len(arms)), counts)
    ends = np.array([r.final() for runs in arms.values() for r in runs])
    rng = np.random.default_rng(0)
    shuffled = [ends, *(rng.permutation(ends) for _ in range(2000))]
    ranges = np.array([np.ptp(np.bincount(owner, y) / counts) for y in shuffled])
    chance = np.mean(ranges >= ranges[0] - 1e-9)
    p = f"p = {chance:.2f}" if chance >= 0.005 else "p < 0.005"
    return f"{text}, as wide by chance with {p}"


def shared_range(runs: list[Result]) -> tuple[float, float]:
    """The compute that all runs have in common."""
    ends = [(r.rows[1]["rl_flops"], r.rows[-1]["rl_flops"]) for r in runs]
    return max(low for low, _ in ends), min(high for _, high in ends)


def rises(runs: list[Result]) -> list[str]:
    """Factors of compute, lowest to highest of seeds, in which the mean of levels rises
    from 10 to 90 % of its gain: of those that bases do not pass, and of all."""
    starts = [r.rows[0]["by_level"] for r in runs]
    levels = list(starts[0])
    deep = [n for n in levels if np.mean([s[n]["pass_rate"] for s in starts]) < 0.5]
    spans = []
    for kept in (deep, levels):
        found = []
        for r in runs:
            rates = [[row["by_level"][n]["pass_rate"] for n in kept] for row in r.rows]
            y = np.mean(rates, 1)
            x = np.array([row["rl_flops"] for row in r.rows[1:]])
            found.append(81 ** (1 / fit_sigmoid(x, y[1:], y[0]).b))
        spans.append(f"{min(found):,.0f} to {max(found):,.0f}")
    return spans


def split_variance(values: Array) -> dict[str, float]:
    """Variances of one run due to its base, its RL seed and the rest; values (B, S).

    Two-way analysis of variance, both factors random: a mean square of rows holds
    S times the variance of bases and one of the rest. `F` is that of the bases; it is
    its expectation times an F of chance, so it bounds their share: `low` to `high`.
    """
    num_bases, num_seeds = values.shape
    rows, columns = values.mean(1), values.mean(0)
    rest = values - rows[:, None] - columns + values.mean()
    noise = (rest**2).sum() / ((num_bases - 1) * (num_seeds - 1))
    of_bases = num_seeds * rows.var(ddof=1)
    of_seeds = num_bases * columns.var(ddof=1)
    rng, degrees = np.random.default_rng(0), (num_bases - 1) * (num_seeds - 1)
    chance = rng.f(num_bases - 1, degrees, 100_000)
    ratios = of_bases / noise / np.quantile(chance, [0.95, 0.05])
    low, high = np.maximum((ratios - 1) / (ratios - 1 + num_seeds), 0)
    return {
        "base": max((of_bases - noise) / num_seeds, 0.0),
        "seed of RL": max((of_seeds - noise) / num_bases, 0.0),
        "rest": noise,
        "F": of_bases / noise,
        "low": float(low),
        "high": float(high),
    }


def start_of(times: dict[int, float]) -> int:
    """The deepest level that the base passes."""
    return max((n for n, c in times.items() if c == 0), default=0)


def exponent(
    results: list[Result], column: str, first: Callable = start_of
) -> tuple[float, float, list[float]]:
    """(gamma, half of its 90 % interval over seeds, gamma of each seed or NaN).

    C_d = c (d - d_0)^gamma by least squares in logs, C in `column`: FLOPs or steps.
    d_0 is `first` of the times; only levels that RL has passed count.
    """
    found = []
    for r in results:
        times = pass_times([row | {"rl_flops": row[column]} for row in r.rows])
        start = first(times)
        passed = [n for n, c in times.items() if c > 0 and n > start]
        x = np.log(np.array(passed) - start)
        y = np.log([times[n] for n in passed])
        found.append(np.polyfit(x, y, 1)[0] if len(passed) >= 4 else np.nan)
    there = [gamma for gamma in found if np.isfinite(gamma)]
    if len(there) < 2:
        return np.nan, np.nan, found
    half = student(len(there) - 1) * np.std(there, ddof=1) / len(there) ** 0.5
    return float(np.mean(there)), float(half), found


def times_as_much(arm: list[Result], base: list[Result]) -> str:
    """A table: how many times the compute of `base` an arm took to each level."""
    rows: dict[int, list[str]] = {}
    for one, other in zip(arm, base, strict=True):
        ours, theirs = pass_times(one.rows), pass_times(other.rows)
        for n in sorted(n for n, c in theirs.items() if c > 0):
            told = f"{ours[n] / theirs[n]:.1f}" if n in ours else "not passed"
            rows.setdefault(n, []).append(told)
    cells = [[n, ", ".join(rows[n])] for n in sorted(rows)]
    return table("level | times the compute, each seed that had not passed it", cells)
