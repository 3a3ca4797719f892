"""One curve: fitted on half and on a quarter of the compute, scored on the rest."""

from dataclasses import replace

import numpy as np

import scaling
from scaling import STUDIES, Arms, Report, Study, load

rivals = load(STUDIES / "rivals.py")


def make_arms(quick: bool) -> dict[str, dict]:
    return {"reference": {}}


def report(arms: Arms) -> Report:
    """RMSE of the later points from both parts, beside the noise of an evaluation."""
    (name, runs), *_ = arms.items()
    whole = scaling.pool_runs(name, runs)
    parts = [(0.5, "first half"), (0.25, "first quarter"), (1.0, "all")]
    half, quarter, all_of_it = [
        scaling.forecast(replace(whole, name=word), share) for share, word in parts
    ]
    tables = scaling.fit_table([half, quarter, all_of_it], "FLOPs")
    tables += "\n\nForecast of the second half, seeds together:\n\n"
    tables += rivals.score_table([rivals.scores(half)])
    figure, axes = scaling.panels(2)
    for axis, part in zip(axes, (half, quarter), strict=True):
        scaling.draw_curves(axis, [part])
        axis.axvline(part.until, color="gray", lw=0.8, ls=":")
    # Binomial noise of the evaluations in the second half.
    later = [row for r in runs for row in r.rows if row["rl_flops"] > half.until]
    rates = np.array([row["pass_rate"] for row in later])
    trials = np.array([row["problems"] * row["samples"] for row in later])
    noise = np.sqrt((rates * (1 - rates) / trials).mean())
    found = rivals.scores(half), rivals.scores(quarter, half.until)
    near, far = (
        f"{s['forecast'].rmse:.3f} ({s['forecast'].covered:.0%} in the 90 % band)"
        for s in found
    )
    verdict = (
        f"The {len(whole.points(half.until)[0])} points of the second half are "
        f"forecast from the first with an RMSE of {near}, from a quarter with {far}; "
        f"evaluation noise alone is {noise:.3f}"
    )
    return verdict, tables, figure


STUDY = Study(
    question=(
        "Does a sigmoid fitted on the first part of the compute forecast the rest?"
    ),
    fixed="one setting, 64 answers a step",
    arms=make_arms,
    report=report,
    literature=(
        "ScaleRL fits 50k GPU-hours and shows agreement to 100k by eye. Refitted "
        "from the digitised figure (tests/data), a sigmoid through the first 40k "
        "predicts the rest 0.012 too low."
    ),
    seeds=5,
)
