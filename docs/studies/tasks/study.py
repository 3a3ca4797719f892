"""One law for all? Each task by its own settings: which form fits, and forecasts."""

from collections import Counter

import numpy as np

import scaling
from scaling import STUDIES, Arms, Report, Result, Study, load

compare = load(STUDIES / "compare.py")
rivals = load(STUDIES / "rivals.py")

TASKS = "chain guess add tool compose grid path knight".split()


def make_arms(quick: bool) -> dict[str, dict]:
    """Settings are those of the task itself."""
    found: dict[str, dict] = {"chain": {}, "guess": {"task": "guess"}}
    for name in [] if quick else TASKS[2:]:
        found[name] = {"task": f"docs/tasks/{name}.py"}
    return found


def depth_of(runs: list[Result]) -> tuple[str, str, str]:
    """The deepest level that each seed's base passes and that it passes after RL, and
    gamma of C_d = c (d - d_0)^gamma if there are levels enough to fit it."""
    times = [scaling.pass_times(r.rows) for r in runs]
    starts = ", ".join(str(compare.start_of(t)) for t in times)
    ends = ", ".join(str(max(t, default=0)) for t in times)
    gamma, half, each = compare.exponent(runs, "rl_flops")
    count = np.isfinite(each).sum()
    told = f"{gamma:.2f} ± {half:.2f} ({count} seeds)"
    return starts, ends, "-" if np.isnan(gamma) else told


def report(arms: Arms) -> Report:
    """A, B and C_mid of each task, which form lies closest, how the end is forecast."""
    fits, rows, missed = compare.fit_arms(arms), [], []
    for name, runs in arms.items():
        f = fits[name]
        found = rivals.fit_all(f.curve.runs)
        first, second = sorted(found, key=found.get)[:2]
        lead = found[second][0] - found[first][0]
        off = []
        for x, y in f.curve.runs:
            half = scaling.forecast(scaling.Curve("", [(x, y)], f.fit.r0), 0.5)
            if scores := rivals.scores(half):
                off.append(scores["forecast"].final)
        missed.append(np.mean(off))
        gain = np.mean([r.final() - r.rows[0]["pass_rate"] for r in runs])
        cells = [name, f"{f.fit.r0:.2f}", compare.finals(runs), f"{gain:+.2f}"]
        cells += [f"{found['sigmoid'][1]:.3f}", first, f"{lead:.1f} ({second})"]
        b = np.array([f.bounds["b"][0], f.fit.b, f.bounds["b"][1]])
        cells += [compare.with_interval(b), f"{missed[-1]:.3f}"]
        rows.append([*cells, *depth_of(runs)])
    header = (
        "task | R_0 | end | gain | RMSE of the sigmoid | best by AICc | lead (second)"
    )
    header += " | B | end missed from half | base passes | then passed | gamma"
    text = scaling.table(header, rows)
    text += "\n\n" + scaling.fit_table(list(fits.values()), "FLOPs")
    figure, (axes,) = scaling.panels(1)
    scaling.draw_curves(axes, list(fits.values()))
    best = Counter(row[5] for row in rows).most_common()
    told = ", ".join(f"{form} on {count}" for form, count in best)
    verdict = f"Best by AICc, of {len(rows)} tasks: {told}; from half of the compute "
    verdict += f"the end is missed by {min(missed):.3f} to {max(missed):.3f}"
    return verdict, text, figure


STUDY = Study(
    question="Is there one law for all tasks?",
    fixed="each task by its own settings",
    arms=make_arms,
    report=report,
    literature=(
        "ScaleRL: sigmoids on mathematics and code, of other A, B and C_mid. Tan et "
        "al.: power laws in 1 - R. ScaleLogic (arXiv:2605.06638): gamma of steps to 90 "
        "%, counted from zero, 1.04 to 2.60 by the task."
    ),
)
