"""One curve: its forecast from a first part, and the levels that it is the mean of."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import scaling
from scaling import STUDIES, Arms, Report, Result, Study, load

compare = load(STUDIES / "compare.py")
rivals = load(STUDIES / "rivals.py")


def make_arms(quick: bool) -> dict[str, dict]:
    return {"reference": {}}


def report(arms: Arms) -> Report:
    """The mean over levels, forecast from parts; each level's own curve beside it."""
    runs = arms["reference"]
    whole = scaling.pool_runs("reference", runs)
    parts = [(0.5, "first half"), (0.25, "first quarter"), (0.1, "first tenth")]
    found = [
        scaling.forecast(replace(whole, name=word), share)
        for share, word in [*parts, (1.0, "all")]
    ]
    tables, ends = scaling.fit_table(found, "FLOPs"), []
    for part, (_, word) in zip(found, parts, strict=False):
        scores = rivals.scores(part)
        tables += f"\n\nAll that comes after the {word}, seeds together:\n\n"
        tables += rivals.score_table([scores])
        ends.append(f"{scores['forecast'].final:.3f} from the {word}")
    figure, (left, right) = scaling.panels(2)
    scaling.draw_curves(left, found[:1])
    left.axvline(found[0].until, color="gray", lw=0.8, ls=":")
    widths, text = draw_levels(right, runs)
    tables += text
    deep, everything = compare.rises(runs)
    verdict = (
        f"The ends are missed by {', by '.join(ends)}. From 10 to 90 % of its gain a "
        f"level that the base does not pass takes a factor of {min(widths):,.0f} to "
        f"{max(widths):,.0f} of compute, one after the other; the mean of these levels "
        f"{deep} by seed, of all levels {everything}"
    )
    return verdict, tables, figure


def draw_levels(axes: plt.Axes, runs: list[Result]) -> tuple[list[float], str]:
    """Each level's curve, the mean of seeds; how much compute its rise takes."""
    levels = list(runs[0].rows[0]["by_level"])
    grid = np.geomspace(*compare.shared_range(runs), 60)
    rows, widths, means, place = [], [], [], [1.1, 1.1]
    for i, level in enumerate(levels):
        rates, fits = [], []
        for r in runs:
            x = np.array([row["rl_flops"] for row in r.rows[1:]])
            y = np.array([row["by_level"][level]["pass_rate"] for row in r.rows])
            rates.append(np.interp(np.log(grid), np.log(x), y[1:]))
            fits.append(scaling.fit_sigmoid(x, y[1:], y[0]))
        means.append(np.mean(rates, 0))
        color = plt.colormaps["viridis"](0.9 * i / len(levels))
        axes.plot(grid, means[-1], color=color, lw=1.5)
        # Each label at the end where its line stands alone, below the one before.
        end = 0 if means[-1][0] > 0.5 else -1
        place[end] = min(means[-1][end], place[end] - 0.045)
        at = (grid[end] * (1.05 if end else 0.87), place[end])
        axes.annotate(level, at, color=color, fontsize=8)
        start = np.mean([fit.r0 for fit in fits])
        width = float(np.median([81 ** (1 / fit.b) for fit in fits]))
        middle = np.exp(np.mean([np.log(fit.c_mid) for fit in fits]))
        cells = [level, f"{start:.2f}", f"{means[-1][-1]:.2f}"]
        if start < 0.5:
            widths.append(width)
            cells += [f"{middle:.1e}", f"{width:,.0f}"]
        rows.append(cells + ["-"] * (5 - len(cells)))
    axes.plot(grid, np.mean(means, 0), "k--", lw=2, label="mean of the levels")
    axes.set(xscale="log", xlabel="RL compute (FLOPs)", ylim=(0, 1.02))
    axes.set_ylabel("held-out pass rate, each level by itself")
    axes.legend(fontsize=8, loc="upper left")
    header = f"level | base | at {grid[-1]:.1e} FLOPs | C_mid (FLOPs) | factor of C"
    text = "\n\nEach level by itself, means of seeds; the factor from 10 to 90 % by a "
    text += "sigmoid for each seed, their median:\n\n"
    return widths, text + scaling.table(header, rows)


STUDY = Study(
    question="Can the rest of a curve be forecast, and why is it smooth at all?",
    fixed="the main job",
    arms=make_arms,
    report=report,
    literature=(
        "ScaleRL fits 50k GPU-hours and shows agreement to 100k by eye. Refitted "
        "from the digitised figure (tests/data), a sigmoid through the first 40k "
        "predicts the rest 0.012 too low. EdgeBench (arXiv:2607.05155): a mean over "
        "134 tasks is a log-sigmoid (R^2 0.998) whose single tasks jump."
    ),
    seeds=5,
)
