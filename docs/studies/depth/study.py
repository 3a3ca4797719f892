"""The price of depth: RL compute until each level is passed, and the levels to come."""

import numpy as np

import scaling
from scaling import STUDIES, Arms, Report, Result, Study, load

changed = load(STUDIES / "changed.py")
compare = load(STUDIES / "compare.py")
rivals = load(STUDIES / "rivals.py")

FAR = {"levels": "1-20", "steps": 920, "evals": 48, "eval_problems": 400}
FAR |= {"pretrain_steps": 10_000}
OTHERS = [lambda t: compare.start_of(t) + 1, lambda t: compare.start_of(t) - 1]
OPEN = "all levels open"
PARTS = (0.25, 0.5)  # of the steps, after which the next levels are forecast


def make_arms(quick: bool) -> dict[str, dict]:
    if quick:
        return {"chain": {"levels": "1-12"}}
    all_open = {"change": (changed.all_levels,)}
    return {"chain": FAR, "chain to level 9": {}, OPEN: all_open}


def report(arms: Arms) -> Report:
    """When each level was passed, gamma, and how the next levels were forecast."""
    rows, words, scored = [], [], ""
    figure, (left, right) = scaling.panels(2)
    for i, (name, results) in enumerate(arms.items()):
        flops, steps = (compare.exponent(results, c) for c in ("rl_flops", "step"))
        for k, r in enumerate(results):
            times = scaling.pass_times(r.rows)
            draw(left, r, f"C{k + 3 * i}", f"{name}, seed {k}")
            if i == 0:
                draw_ahead(right, r, f"C{k}")
            passed = [n for n, c in times.items() if c > 0]
            cells = [f"{name}/{k}", compare.start_of(times), max(times, default=0)]
            each = f"{flops[2][k]:.2f}" if np.isfinite(flops[2][k]) else "-"
            rows.append([*cells, each, ", ".join(f"{times[n]:.1e}" for n in passed)])
        if i:
            continue
        if np.isnan(flops[0]):
            words.append(f"{name}: too few seeds passed four levels to tell gamma")
            continue
        words.append(f"{name}: gamma {flops[0]:.2f} ± {flops[1]:.2f} in FLOPs")
        words[-1] += f", {steps[0]:.2f} in steps"
        zero = compare.exponent(results, "step", lambda times: 0)[0]
        deeper, less = (compare.exponent(results, "rl_flops", f)[0] for f in OTHERS)
        scored += f"\n\n{name}: with depth counted from zero gamma is {zero:.2f} in "
        scored += f"steps; with d_0 one deeper {deeper:.2f} in FLOPs, one less deep "
        scored += f"{less:.2f}."
        for part in PARTS:
            table, inside, count = rivals.score_levels(results, part)
            scored += f"\n\n{name}, from {part:.0%} of the steps, the next three "
            scored += f"levels ({inside} of {count} in the 90 % band):\n\n{table}"
            words.append(f"{inside} of {count} levels from {part:.0%} in the band")
    if OPEN in arms:
        scored += f"\n\n{OPEN} from the first step on, beside the relay to level 9:\n\n"
        scored += compare.times_as_much(arms[OPEN], arms["chain to level 9"])
    header = "run | base passes | RL passes | gamma | RL FLOPs of each level passed"
    left.set(xscale="log", yscale="log", xlabel="levels beyond the base, d - d_0")
    left.set_xticks([1, 2, 4, 8, 16], labels=[1, 2, 4, 8, 16])
    left.minorticks_off()
    left.set_ylabel("RL FLOPs until the level is passed half of the time")
    right.set(xscale="log", xlabel="RL compute (FLOPs); dotted: half of the steps")
    right.set_ylabel("deepest level passed")
    right.yaxis.get_major_locator().set_params(integer=True)
    ends = [r.rows[-1]["rl_flops"] for r in next(iter(arms.values()))]
    right.set_xlim(max(ends) / 300, max(ends) * 3)
    left.legend(fontsize=7)
    verdict = "C_d = c (d - d_0)^gamma; " + "; ".join(words)
    return verdict, scaling.table(header, rows) + scored, figure


def draw(axes, r: Result, color: str, label: str) -> None:
    """Compute until each level, over its distance from the base."""
    times = scaling.pass_times(r.rows)
    start = compare.start_of(times)
    passed = [n for n, c in times.items() if c > 0 and n > start]
    costs = [times[n] for n in passed]
    axes.plot(np.array(passed) - start, costs, "o-", color=color, ms=4, label=label)


def draw_ahead(right, r: Result, color: str) -> None:
    """Levels over compute, and what the first half says of the next three."""
    times = {n: c for n, c in scaling.pass_times(r.rows).items() if c > 0}
    half = [row for row in r.rows if 2 * row["step"] <= r.rows[-1]["step"]]
    right.step(list(times.values()), list(times), where="post", color=color)
    right.axvline(half[-1]["rl_flops"], color=color, lw=0.8, ls=":")
    for n, (low, middle, high) in scaling.next_levels(scaling.pass_times(half)).items():
        gaps = [[middle - low], [high - middle]]
        right.errorbar(middle, n, xerr=gaps, fmt="s", color=color, ms=4, mfc="white")


STUDY = Study(
    question="What does each further level cost, and when will the next be passed?",
    fixed="levels 1 to 20, of which 1 to 4 are shown",
    arms=make_arms,
    report=report,
    literature=(
        "ScaleLogic (arXiv:2605.06638): steps to 90 % grow as depth^gamma, gamma from "
        "1.04 to 2.60 with the expressiveness of the task; a curriculum lowers it."
    ),
)
