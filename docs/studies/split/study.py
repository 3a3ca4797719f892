"""Bases of growing cost under the same RL: how much of a budget should RL get?"""

import matplotlib.pyplot as plt
import numpy as np

import scaling
from scaling import STUDIES, Arms, Array, Report, Study, load

bases = load(STUDIES / "bases.py")
compare = load(STUDIES / "compare.py")


def make_arms(quick: bool) -> dict[str, dict]:
    counts = (1500, 2500, 3500, 5000, 7000, 10_000, 14_000)
    if quick:
        counts = (1500, 5000, 7000)
    found = {f"{n} pretraining steps": {"pretrain_steps": n} for n in counts}
    return found | {"5000 pretraining steps": {}}


def rates_for(arms: Arms, total: float) -> Array:
    """Pass rate of every base and seed for one total of compute, (bases, seeds)."""
    seeds = min(map(len, arms.values()))
    rates = [
        compare.rates_at(a[:seeds], total - bases.cost_of(a)) for a in arms.values()
    ]
    return np.array(rates)


def best_share(arms: Arms, total: float) -> tuple[float, float, float, float] | None:
    """(share of RL, its range over seeds, mean pass rate) of the best base for a total.

    None unless the best lies between two other bases, for each seed by itself too.
    """
    rates = rates_for(arms, total)
    rates = np.where(np.isfinite(rates).all(1, keepdims=True), rates, -1.0)
    there = np.flatnonzero(rates[:, 0] >= 0)
    if len(there) < 3:
        return None
    each, best = rates.argmax(0), int(rates.mean(1).argmax())
    if min(each) == there[0] or max(each) == there[-1]:
        return None
    share = 1 - np.array([bases.cost_of(runs) for runs in arms.values()]) / total
    return share[best], share[each.max()], share[each.min()], rates[best].mean()


def report(arms: Arms) -> Report:
    """The best share of RL over the budget, and the bases on which RL fails."""
    rows, law = bases.cliff(arms)
    header = "base | pretraining FLOPs | its loss | level 5 | p_0 | after a tenth of RL"
    text = scaling.table(header + " | a third | all | gain", rows)
    text += f"\n\nOver all runs, p_0 being that of level 5, the first not shown: {law}."
    costs = [bases.cost_of(runs) for runs in arms.values()]
    most = max(costs) + max(r.rows[-1]["rl_flops"] for a in arms.values() for r in a)
    totals = np.geomspace(min(costs) * 1.2, most, 40)
    found = {t: best for t in totals if (best := best_share(arms, t))}
    rows = [
        [f"{t:.1e}", f"{share:.0%}", f"{low:.0%} to {high:.0%}", f"{rate:.3f}"]
        for t, (share, low, high, rate) in list(found.items())[::3]
    ]
    header = "total FLOPs | best share of RL | of each seed by itself | pass rate"
    text += "\n\n" + scaling.table(header, rows)
    figure, (left, right) = scaling.panels(2)
    colors = plt.colormaps["viridis"](np.linspace(0, 0.9, len(arms)))
    for (name, runs), cost, color in zip(arms.items(), costs, colors, strict=True):
        grid, mean = compare.mean_curve(runs)
        left.plot(grid + cost, mean, color=color, label=name)
    left.set(xscale="log", ylim=(0, 1.02), xlabel="FLOPs of pretraining and RL")
    left.set_ylabel("held-out pass rate")
    left.legend(fontsize=8)
    at = list(found)
    right.plot(at, [found[t][0] for t in at], "o-")
    right.fill_between(at, *np.array([found[t][1:3] for t in at]).T, alpha=0.2, lw=0)
    right.set(xscale="log", ylim=(0, 1), xlabel="total FLOPs")
    right.set_ylabel("best share of RL; shade: of each seed by itself")
    verdict = "No best share lies between those tried"
    if found:
        shares = [found[t][0] for t in (at[0], at[-1])]
        verdict = (
            f"The best share of RL goes from {shares[0]:.0%} at {at[0]:.1e} FLOPs "
        )
        verdict += f"to {shares[1]:.0%} at {at[-1]:.1e}; {law}"
    return verdict, text, figure


STUDY = Study(
    question="How much of a fixed total of compute should go to RL?",
    fixed="the same RL on every base",
    arms=make_arms,
    report=report,
    measure=bases.base_loss,
    literature=(
        "Shen et al. (chess, arXiv:2607.16097): the level after RL follows the loss of "
        "the base, best share of RL 20 to 28 %, rising with the budget from 5 to 32 %. "
        "The base barrier: queries grow as 1 / p_0."
    ),
)
