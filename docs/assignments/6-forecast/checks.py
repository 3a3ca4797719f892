"""Module 6: pass@k, intervals, seeds, a forecast. What is left out, what is graded."""

import random
from collections.abc import Callable
from itertools import combinations

import numpy as np
from grading import Check

BLANKS = {
    "reward.py": ["pass_at_k", "wilson"],
    "scaling.py": ["gain", "pass_times", "project"],
}

Array = np.ndarray
Pair = tuple[float, float]


def plain(value: object) -> object:
    """Arrays as lists, and a dict as pairs in order of its keys: both are compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return [list(item) for item in sorted(value.items())]
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def listed(function: Callable) -> Callable:
    """A function whose value is made plain."""
    return lambda *case: plain(function(*case))


# --------------------------------------------------------------------------------------
# pass@k and Wilson's interval


def counts_of(rng: random.Random) -> list[tuple]:
    """(n, c, k): none right, all right, some, and so many that k must hit one."""
    n = rng.randrange(7, 11)
    some = [(n, rng.randrange(2, n - 3), k) for k in (1, 2, 4)]
    return [*some, (n, 0, 2), (n, n, 3), (n, n - 1, 3)]


def by_subsets(n: int, c: int, k: int, rule: Callable = any) -> float:
    """The share of all choices of k samples for which a rule holds."""
    found = [rule(choice) for choice in combinations([1] * c + [0] * (n - c), k)]
    return sum(found) / len(found)


def plug_in(n: int, c: int, k: int) -> float:
    return 1 - (1 - c / n) ** k


def rates_of(rng: random.Random) -> list[tuple]:
    """(rate, n): 0, 1, and between; the normal interval of the first goes below 0."""
    found = [(rng.randrange(1, n) / n, n) for n in (40, 300)]
    return [(rng.randrange(1, 3) / 10, 10), *found, (0.0, 20), (1.0, 20)]


def wilson(rate: float, n: int, z: float = 1.96) -> Pair:
    """Where (rate - p)^2 = z^2 p (1 - p) / n: a quadratic in p."""
    low, high = sorted(np.roots([1 + z**2 / n, -2 * rate - z**2 / n, rate**2]).real)
    return float(low), float(high)


def normal(rate: float, n: int) -> Pair:
    half = 1.96 * (rate * (1 - rate) / n) ** 0.5
    return rate - half, rate + half


def clipped(rate: float, n: int) -> Pair:
    low, high = normal(rate, n)
    return max(low, 0.0), min(high, 1.0)


def about_the_rate(rate: float, n: int) -> Pair:
    half = half_of(wilson(rate, n))
    return rate - half, rate + half


def half_of(ends: Pair) -> float:
    return (ends[1] - ends[0]) / 2


# --------------------------------------------------------------------------------------
# The sigmoid


def shapes_of(rng: random.Random) -> list[tuple]:
    """(compute, B, C_mid): one shape, and a column of three, as a fit asks for them."""
    compute = np.geomspace(1e9, 1e12, 6)
    b = np.array([[rng.uniform(0.5, 3)] for _ in range(3)])
    c_mid = np.array([[10 ** rng.uniform(10, 11.5)] for _ in range(3)])
    return [(compute, float(b[0, 0]), float(c_mid[0, 0])), (compute, b, c_mid)]


def gain(compute: Array, b: Array | float, c_mid: Array | float) -> list:
    return (1 / (1 + (c_mid / compute) ** b)).tolist()


def by_log10(compute: Array, b: Array | float, c_mid: Array | float) -> list:
    return (1 / (1 + np.exp(b * np.log10(c_mid / compute)))).tolist()


def by_quotient(compute: Array, b: Array | float, c_mid: Array | float) -> list:
    return (1 / (1 + (np.log10(c_mid) / np.log10(compute)) ** b)).tolist()


def points_of(rng: random.Random) -> list[tuple]:
    """(g, score, r0) of three shapes; through the second scores A would leave 1."""
    compute, b, c_mid = shapes_of(rng)[1]
    g = np.array(gain(compute, b, c_mid))
    noise = np.array([rng.uniform(-0.02, 0.02) for _ in compute])
    late = np.array(gain(compute, 1.0, 3e12))
    return [
        (g, 0.3 + 0.4 * g[0] + noise, 0.25),
        (np.stack([g[1], late, late**0.5]), 0.4 + 0.58 * g[1] + noise, 0.35),
    ]


def free(rng: random.Random) -> list[tuple]:
    """The same points, R_0 to be fitted too."""
    return [(g, score, None) for g, score, _ in points_of(rng)]


def lstsq(columns: list[Array], score: Array) -> list[float]:
    """The weights of least squares."""
    return np.linalg.lstsq(np.stack(columns, 1), score, rcond=None)[0].tolist()


def project(g: Array, score: Array, r0: float | None, less: str = "") -> list:
    """A, R_0 and error of each shape, one at a time, `less` something: the bounds of A,
    the second solution for R_0, or the sum (a mean then)."""
    rows = []
    for share in g:
        if r0 is None:
            a, start = lstsq([share, 1 - share], score)
        else:
            (a,), start = lstsq([share], score - r0 * (1 - share)), r0
        held = a if less == "bounds" else float(np.clip(a, 0, 1))
        if r0 is None and held != a and less != "second":
            (start,) = lstsq([1 - share], score - held * share)
        squares = (held * share + start * (1 - share) - score) ** 2
        rows.append((held, start, squares.mean() if less == "sum" else squares.sum()))
    return plain(np.array(rows).T)


def without_start(g: Array, score: Array, r0: float) -> list:
    """A fitted as if R_0 were 0, the error taken with it."""
    a = np.clip(g @ score / (g * g).sum(1), 0, 1)
    curves = a[:, None] * g + r0 * (1 - g)
    return plain([a, np.full(len(a), r0), ((curves - score) ** 2).sum(1)])


def slope_for_a(g: Array, score: Array, r0: float | None, line: bool = True) -> list:
    """A straight line in g, its slope taken for A; the error is that of the line, or of
    a curve that ends at the slope."""
    rows = []
    for share in g:
        if r0 is None:
            slope, start = np.polyfit(share, score, 1)
        else:
            slope, start = share @ (score - r0) / (share @ share), r0
        a = np.clip(slope, 0, 1)
        curve = a * share + start * (1 if line else 1 - share)
        rows.append((a, start, ((curve - score) ** 2).sum()))
    return plain(np.array(rows).T)


def turned(how: Callable) -> Callable:
    """project, but of its A, R_0 and error something else is returned."""
    return lambda g, score, r0: how(*project(g, score, r0))


SLIPS = {  # with R_0 held or fitted
    "A must be kept in [0, 1]": lambda g, y, r0: project(g, y, r0, "bounds"),
    "a line in g has the slope A - R_0: add R_0 to it, then clip": slope_for_a,
    "a line in g has the slope A - R_0, not A": (
        lambda g, y, r0: slope_for_a(g, y, r0, line=False)
    ),
    "your A is A - R_0: it is where the curve ends, not how far it rises": turned(
        lambda a, start, error: [np.subtract(a, start).tolist(), start, error]
    ),
    "the order is A, R_0, error: yours begins with R_0": turned(
        lambda a, start, error: [start, a, error]
    ),
    "the error is the sum of squares, not their mean": (
        lambda g, y, r0: project(g, y, r0, "sum")
    ),
    "the error is the sum of squares, not its root": turned(
        lambda a, start, error: [a, start, np.sqrt(error).tolist()]
    ),
}


# --------------------------------------------------------------------------------------
# When was a level passed?


def logs_of(rng: random.Random) -> list[tuple]:
    """Evaluations of five levels: the base passes 1; 3 falls back once; 5 stays low."""
    flops = [0, *sorted(rng.sample(range(10**10, 10**12), 5))]
    rates = {
        "1": [0.7, 0.8, 0.9, 0.9, 1.0, 1.0],
        "2": [0.3, 0.4, 0.6, 0.8, 0.9, 1.0],
        "3": [0.1, 0.3, 0.7, 0.4, 0.8, 0.9],
        "4": [0.1, 0.1, 0.1, 0.2, 0.3, 0.9],
        "5": [0.1, 0.1, 0.1, 0.1, 0.2, 0.4],
    }
    moved = {
        n: [round(rate + rng.uniform(-0.04, 0.04), 3) for rate in row]
        for n, row in rates.items()
    }
    rows = [
        {"rl_flops": c, "by_level": {n: {"pass_rate": moved[n][i]} for n in rates}}
        for i, c in enumerate(flops)
    ]
    return [(rows,)]


def pass_times(rows: list[dict], which: int = 0, way: str = "line") -> list:
    """[level, compute] of the first time that a half was reached, or of another; on the
    way between two evaluations a line in C, one in log C, or only the later one."""
    found = []
    flops = [row["rl_flops"] for row in rows]
    for n in rows[0]["by_level"]:
        rates = [row["by_level"][n]["pass_rate"] for row in rows]
        if rates[0] >= 0.5:
            found.append([int(n), 0.0])
            continue
        ends = [i for i in range(1, 6) if rates[i - 1] < 0.5 <= rates[i]]
        if ends:
            i = ends[which]
            share = (0.5 - rates[i - 1]) / (rates[i] - rates[i - 1])
            low, high = flops[i - 1], flops[i]  # of the second evaluation on: above 0
            ways = {"line": low + share * (high - low), "after": high}
            ways["log"] = low * (high / low) ** share
            found.append([int(n), ways[way]])
    return found


# --------------------------------------------------------------------------------------
# Questions


def band_of(rng: random.Random) -> list[tuple]:
    """Three (low, high, truth): one inside, one below, one above."""
    rows = []
    for side in rng.sample([0, -1, 1], 3):
        low = rng.randrange(40, 60)
        high = low + rng.randrange(10, 25)
        off = rng.randrange(2, 8)
        truth = {0: low + off, -1: low - off, 1: high + off}[side]
        rows.append((low / 100, high / 100, truth / 100))
    return [(rows,)]


def interval_score(rows: list[tuple], factor: float = 20) -> float:
    scores = []
    for low, high, truth in rows:
        outside = low - truth if truth < low else max(truth - high, 0)
        scores.append(high - low + factor * outside)
    return sum(scores) / len(scores)


def counted(rows: list[tuple]) -> float:
    """A point outside costs 20, however far it is."""
    outside = [not low <= truth <= high for low, high, truth in rows]
    return interval_score(rows, 0) + 20 * sum(outside) / len(rows)


def ends_of(rng: random.Random) -> list[tuple]:
    """Where three seeds end."""
    middle = rng.randrange(70, 85)
    row = [middle - rng.randrange(4, 10), middle, middle + rng.randrange(4, 10)]
    rng.shuffle(row)
    return [([x / 100 for x in row],)]


def spread(ends: list[float], less: int = 1) -> float:
    mean = sum(ends) / len(ends)
    return (sum((x - mean) ** 2 for x in ends) / (len(ends) - less)) ** 0.5


CHECKS = [
    Check(
        "reward.pass_at_k",
        "chance that k of n samples hold a right one",
        3,
        counts_of,
        by_subsets,
        {
            "1 - (1 - c/n)^k is biased: it draws the same sample twice": plug_in,
            "that is the chance that all k are right": (
                lambda n, c, k: by_subsets(n, c, k, all)
            ),
            "that is the chance that none is right": (
                lambda n, c, k: 1 - by_subsets(n, c, k)
            ),
            "chances do not add up: two right samples of one choice count once": (
                lambda n, c, k: min(1.0, k * c / n)
            ),
        },
    ),
    Check(
        "reward.wilson",
        "95 % interval of a rate",
        3,
        rates_of,
        wilson,
        {
            "that is the normal interval: at rate 0 its width is 0": normal,
            "that is the normal interval, clipped: at rate 0 its width is still 0": (
                clipped
            ),
            "the middle of Wilson's interval is not the rate: it is nearer to 1/2": (
                about_the_rate
            ),
            "z = 1.645 leaves out 10 %; for 95 % it is 1.96": (
                lambda rate, n: wilson(rate, n, 1.645)
            ),
        },
    ),
    Check(
        "scaling.gain",
        "share of the gain that is reached",
        2,
        shapes_of,
        gain,
        {
            "log10 is not ln: exp(B (ln C_mid - ln C)) is (C_mid / C)^B": by_log10,
            "log C_mid / log C is not the log of C_mid / C: divide first": by_quotient,
            "the ratio is upside down: the gain must grow with compute": (
                lambda compute, b, c_mid: gain(compute, -b, c_mid)
            ),
            "B is an exponent of the ratio, not a factor": (
                lambda compute, b, c_mid: (1 / (1 + b * c_mid / compute)).tolist()
            ),
        },
        through=listed,
    ),
    Check(
        "scaling.project",
        "best A of each shape, R_0 held",
        3,
        points_of,
        project,
        {
            "R_0 is held here, yours is fitted": lambda g, y, r0: project(g, y, None),
            "R_0 is held here, yours is fitted (and not solved again for a bound A)": (
                lambda g, y, r0: project(g, y, None, "second")
            ),
            "take R_0 (1 - g) off the scores before A is fitted": without_start,
            "R_0 is an array too, one number for each shape": turned(
                lambda a, start, error: [a, start[0], error]
            ),
            **SLIPS,
        },
        through=listed,
    ),
    Check(
        "scaling.project",
        "best A and R_0 of each shape",
        3,
        free,
        project,
        {
            "when A is held at its bound, R_0 must be solved again": (
                lambda g, y, r0: project(g, y, r0, "second")
            ),
            **SLIPS,
        },
        through=listed,
    ),
    Check(
        "scaling.pass_times",
        "compute at which each level was first passed",
        2,
        logs_of,
        pass_times,
        {
            "that is the evaluation after it: the line between two crosses a half "
            "before": lambda rows: pass_times(rows, way="after"),
            "between two evaluations the line is straight in C, not in log C": (
                lambda rows: pass_times(rows, way="log")
            ),
            "that is the last time; a level may fall back and be passed again": (
                lambda rows: pass_times(rows, which=-1)
            ),
            "a level that the base passes is there, at 0": (
                lambda rows: [pair for pair in pass_times(rows) if pair[1] > 0]
            ),
            "your levels are text: the keys must be int": (
                lambda rows: [[str(n), c] for n, c in pass_times(rows)]
            ),
        },
        through=listed,
    ),
    Check(
        "answers.pass_at_4",
        "Of n = {0} samples of a problem c = {1} are right. What is pass@k for k = "
        "{2}? (four digits)",
        1,
        lambda rng: [(16, rng.randrange(1, 7), 4)],
        by_subsets,
        {
            "that is 1 - (1 - c/n)^k, which is biased": plug_in,
            "that is the chance that none of the four is right": (
                lambda n, c, k: 1 - by_subsets(n, c, k)
            ),
        },
        tolerance=1e-3,
    ),
    Check(
        "answers.half_width",
        "{0} of {1} problems are solved, one sample each. What is half of the width of "
        "Wilson's 95 % interval? (four digits)",
        1,
        lambda rng: [(rng.randrange(1, 5), rng.choice([25, 40, 50]))],
        lambda c, n: half_of(wilson(c / n, n)),
        {
            "that is half of the normal interval": lambda c, n: half_of(
                normal(c / n, n)
            ),
            "that is the whole width": lambda c, n: 2 * half_of(wilson(c / n, n)),
        },
        tolerance=5e-4,
    ),
    Check(
        "answers.seed_error",
        "Three seeds end at {0}. What is the standard error of their mean? (four "
        "digits)",
        1,
        ends_of,
        lambda ends: spread(ends) / 3**0.5,
        {
            "your std divides by n = 3: the std of seeds divides by n - 1 = 2": (
                lambda ends: spread(ends, 0) / 3**0.5
            ),
            "that is the std of a seed; the mean of three errs less": spread,
            "the error of a mean is std / sqrt(n), not std / n": (
                lambda ends: spread(ends) / 3
            ),
        },
        tolerance=5e-4,
    ),
    Check(
        "answers.interval_score",
        "Three points of a forecast, each (low, high, truth), the bands of 90 %: {0}. "
        "What is the interval score, the mean over the points? (four digits)",
        1,
        band_of,
        interval_score,
        {
            "points outside cost nothing in yours": lambda rows: interval_score(
                rows, 0
            ),
            "that is with a factor of 10: it is 2 / 0.1, not 1 / 0.1": (
                lambda rows: interval_score(rows, 10)
            ),
            "that is with 2 / 0.05, the factor of 95 % bands": (
                lambda rows: interval_score(rows, 40)
            ),
            "it is the distance outside that costs, not the count of misses": counted,
            "that is the sum, not the mean": lambda rows: 3 * interval_score(rows),
        },
        tolerance=1e-3,
    ),
]
