"""One curve: its forecast from a first part, and the levels that it is the mean of."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import scaling
from scaling import STUDIES, Arms, Report, Result, Study, load

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
    half, *_, all_of_it = found
    tables, ends = scaling.fit_table(found, "FLOPs"), []
    for part, (_, word) in zip(found, parts, strict=False):
        scores = rivals.scores(part)
        tables += f"\n\nAll that comes after the {word}, seeds together:\n\n"
        tables += rivals.score_table([scores])
        ends.append(f"{scores['forecast'].final:.3f} from the {word}")
    figure, (left, right) = scaling.panels(2)
    scaling.draw_curves(left, [half])
    left.axvline(half.until, color="gray", lw=0.8, ls=":")
    widths, text = draw_levels(right, runs)
    tables += text
    mean = 81 ** (1 / all_of_it.fit.b)
    verdict = (
        f"The end is missed by {', by '.join(ends)}. The mean takes a factor of "
        f"{mean:,.0f} of compute from 10 to 90 % of its gain; levels the base does "
        f"not pass take {min(widths):,.0f} to {max(widths):,.0f}, one after the other"
    )
    return verdict, tables, figure


def draw_levels(axes: plt.Axes, runs: list[Result]) -> tuple[list[float], str]:
    """Each level's curve, the mean of seeds; how much compute its rise takes."""
    levels = list(runs[0].rows[0]["by_level"])
    grid = np.geomspace(*shared_range(runs), 60)
    rows, widths, means = [], [], []
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
        axes.annotate(level, (grid[-1] * 1.05, means[-1][-1]), color=color, fontsize=8)
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
    header = "level | base | end | C_mid (FLOPs) | factor of compute from 10 to 90 %"
    text = "\n\nEach level by itself, a sigmoid for each seed (median of seeds):\n\n"
    return widths, text + scaling.table(header, rows)


def shared_range(runs: list[Result]) -> tuple[float, float]:
    """The compute that all runs have in common."""
    ends = [(r.rows[1]["rl_flops"], r.rows[-1]["rl_flops"]) for r in runs]
    return max(low for low, _ in ends), min(high for _, high in ends)


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
