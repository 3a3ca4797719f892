"""Bases of growing cost under the same RL: how much of a budget should RL get?"""

import numpy as np

import scaling
from scaling import STUDIES, Arms, Array, Report, Study, load

COUNTS = (1500, 2500, 3500, 5000, 7000, 10_000, 14_000)
TOTALS = np.geomspace(7e11, 5e12, 12)  # FLOPs
ABOUT = """\n
Rates for a total are read between evaluations or, up to twice as far, from a run's own
sigmoid. Range: from the base dearer than every seed's best (0 %: it leaves none) to the
cheaper one. Out are totals where a seed's best is the cheapest known, or the dearest.

"""
bases = load(STUDIES / "bases.py")
compare = load(STUDIES / "compare.py")


def make_arms(quick: bool) -> dict[str, dict]:
    counts = (1500, 5000, 7000) if quick else COUNTS
    found = {f"{n} pretraining steps": {"pretrain_steps": n} for n in counts}
    return found | {"5000 pretraining steps": {}}


def rates_for(arms: Arms, total: float) -> Array:
    """Pass rate of every base and seed for one total of compute, (bases, seeds).

    NaN for bases that cost more, and for those whose RL was not run half as far.
    """
    seeds = min(map(len, arms.values()))
    left = {name: total - bases.cost_of(runs) for name, runs in arms.items()}
    return np.array(
        [[compare.rate_at(r, left[n]) for r in arms[n][:seeds]] for n in arms]
    )


def best_share(arms: Arms, total: float) -> tuple[float, float, float, float] | None:
    """(share of RL, its least and most, pass rate) of the best base for a total.

    The best base may lie anywhere between the neighbours of those that are best for a
    seed; so may the share. None if one of them is the cheapest known or the dearest.
    """
    rates = rates_for(arms, total)
    rates = np.where(np.isfinite(rates).all(1, keepdims=True), rates, -1.0)
    there = np.flatnonzero(rates[:, 0] >= 0)
    each, best = rates.argmax(0), int(rates.mean(1).argmax())
    if not len(there) or min(each) == there[0] or max(each) == len(arms) - 1:
        return None
    share = 1 - np.array([bases.cost_of(runs) for runs in arms.values()]) / total
    least, most = max(share[max(each) + 1], 0), share[min(each) - 1]
    return share[best], least, most, rates[best].mean()


def report(arms: Arms) -> Report:
    """The best share of RL over the budget, and the bases on which RL fails."""
    text, law = bases.cliff(arms)
    costs = [bases.cost_of(runs) for runs in arms.values()]
    found = {t: best for t in TOTALS if (best := best_share(arms, t))}
    rows = [
        [f"{t:.1e}", f"{share:.0%}", f"{low:.0%} to {high:.0%}", f"{rate:.3f}"]
        for t, (share, low, high, rate) in found.items()
    ]
    header = "total FLOPs | best share of RL | range | pass rate"
    text += ABOUT + scaling.table(header, rows)
    figure, (left, right) = scaling.panels(2)
    for i, (name, runs) in enumerate(arms.items()):
        grid, mean = compare.mean_curve(runs)
        left.plot(grid + costs[i], mean, color=f"C{i}", label=name)
    left.set(xscale="log", ylim=(0, 1.02), xlabel="FLOPs of pretraining and RL")
    left.set_ylabel("held-out pass rate")
    left.legend(fontsize=8)
    left.tick_params(axis="x", which="minor", labelsize=6)
    share, least, most, _ = np.array(list(found.values())).reshape(-1, 4).T
    right.plot(list(found), share, "o-")
    right.fill_between(list(found), least, most, alpha=0.2, lw=0)
    right.set(xscale="log", xlim=(6e11, 6e12), ylim=(0, 1), xlabel="total FLOPs")
    right.set_ylabel("best share of RL; shade: its range")
    verdict = "No total has a best base"
    if found:
        verdict = (
            f"A share of RL of {max(least):.0%} to {min(most):.0%} may be the best "
        )
        verdict += f"at all of {len(found)} totals"
    return f"{verdict}; {law}", text, figure


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
