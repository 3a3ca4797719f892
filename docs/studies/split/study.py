"""Bases of growing cost under the same RL: pass rate over RL's share of a total."""

import matplotlib.pyplot as plt
import numpy as np

import scaling
from scaling import STUDIES, Arms, Array, Report, Sigmoid, Study, load

bases = load(STUDIES / "bases.py")
compare = load(STUDIES / "compare.py")

# Of each base, cheapest first: its cost, the largest RL compute on it, a fit a seed.
Bases = list[tuple[float, float, list[Sigmoid]]]


def make_arms(quick: bool) -> dict[str, dict]:
    counts = (1500, 2500, 3500, 5000, 7000, 10_000, 14_000)
    if quick:
        counts = (1500, 5000, 7000)
    found = {f"{n} pretraining steps": {"pretrain_steps": n} for n in counts}
    return found | {"5000 pretraining steps": {}}


def report(arms: Arms) -> Report:
    """Pass rate over RL's share of a fixed total, and the bases on which RL fails."""
    names = list(arms)
    fitted = measure_bases(arms)
    gains, failing = gain_table(arms)
    rows, found, verdict = [], [], "No best share lies between those tried"
    cheapest, (dearest, end, _) = fitted[0][0], fitted[-1]
    for total in np.geomspace(cheapest * 1.2, dearest + end, 12):
        if best := best_split(fitted, total):
            top, low, high = best
            found += [total]
            rate = iso_compute(fitted, total)[top].mean()
            shares = f"{1 - fitted[top][0] / total:.0%}", share_text(low, high)
            rows += [[f"{total:.2e}", names[top], f"{rate:.3f}", *shares]]
            if low < high:  # neither is NaN
                verdict = f"Best share of RL at {total:.1e} FLOPs: {shares[1]}"
    header = "total FLOPs | best base | pass rate | its share of RL | best share"
    text = gains + "\n\n" + scaling.table(header, rows)
    figure, (left, right) = scaling.panels(2)
    draw_totals(left, arms)
    draw_shares(right, fitted, found[::2])
    costs = np.array([cost for cost, *_ in fitted])
    losses = np.array([runs[0].measured["base_loss"] for runs in arms.values()])
    text += bases.loss_law("pretraining FLOPs", costs, losses)
    text += "\n\n" + scaling.fit_table(list(compare.fit_arms(arms).values()), "FLOPs")
    verdict += "; RL gains less than 0.1 on " + (", ".join(failing) or "none of these")
    return verdict, text, figure


def measure_bases(arms: Arms) -> Bases:
    """Cost, RL compute and fits of each base."""
    found: Bases = []
    for runs in arms.values():
        curves = [scaling.pool_runs("", [r]) for r in runs]
        fits = [scaling.fit_sigmoid(*c.points(), c.r0) for c in curves]
        cost = float(runs[0].rows[0]["pretrain_flops"])
        found += [(cost, min(c.end() for c in curves), fits)]
    return found


def iso_compute(fitted: Bases, total: float) -> Array:
    """Pass rate of every base and seed for one total budget, (bases, seeds).

    Read off each seed's own sigmoid. NaN if the base costs more than there is, or
    leaves RL more than twice what was measured: so far forecasts hold.
    """
    seeds = min(len(fits) for *_, fits in fitted)
    rates = np.full((len(fitted), seeds), np.nan)
    for i, (cost, end, fits) in enumerate(fitted):
        if 0 < total - cost <= 2 * end:
            left = np.array([total - cost])
            rates[i] = [float(fit(left)[0]) for fit in fits[:seeds]]
    return rates


def best_split(fitted: Bases, total: float) -> tuple[int, float, float] | None:
    """(base, low, high) for a total: the best base, and bounds on the best share of RL.

    The best by the mean of seeds. The best share lies between those of its neighbours,
    or of the neighbours of other seeds' best; NaN without a neighbour to compare. None
    if fewer than two bases can be compared.
    """
    rates = iso_compute(fitted, total)
    there = np.flatnonzero(np.isfinite(rates[:, 0]))
    if len(there) < 2:
        return None
    share = [1 - cost / total for cost, *_ in fitted]
    best = np.nanargmax(rates, 0)
    low = share[best.max() + 1] if best.max() < there[-1] else np.nan
    high = share[best.min() - 1] if best.min() > there[0] else np.nan
    return int(there[rates[there].mean(1).argmax()]), low, high


def share_text(low: float, high: float) -> str:
    """Bounds on the best share of RL in words."""
    if np.isnan(low):
        return "unknown" if np.isnan(high) else f"at most {high:.0%}"
    return f"at least {low:.0%}" if np.isnan(high) else f"{low:.0%} to {high:.0%}"


def gain_table(arms: Arms) -> tuple[str, list[str]]:
    """What RL adds to each base, and the names of those on which it adds nothing."""
    rows, failing = [], []
    for name, runs in arms.items():
        before = np.mean([r.rows[0]["pass_rate"] for r in runs])
        rise = np.mean([r.final() for r in runs]) - before
        failing += [name] if rise < 0.1 else []
        cost, loss = runs[0].rows[0]["pretrain_flops"], runs[0].measured["base_loss"]
        cells = [name, f"{cost:.2e}", f"{loss:.3f}", f"{before:.3f}"]
        rows += [[*cells, compare.finals(runs), f"{rise:+.3f}"]]
    header = "base | pretraining FLOPs | its loss | R_0 | final | gain"
    return scaling.table(header, rows), failing


def draw_totals(axes: plt.Axes, arms: Arms) -> None:
    """The curves of all bases over pretraining and RL together."""
    for i, (name, runs) in enumerate(arms.items()):
        cost = runs[0].rows[0]["pretrain_flops"]
        totals = [(x + cost, y) for x, y in scaling.pool_runs(name, runs).runs]
        scaling.shade(axes, totals, f"C{i}")
        mean = np.mean([np.interp(totals[0][0], *t) for t in totals], 0)
        axes.plot(totals[0][0], mean, "o-", ms=3, color=f"C{i}", label=name)
    axes.set(xscale="log", xlabel="pretraining + RL compute (FLOPs)", ylim=(0, 1.02))
    axes.set(ylabel="held-out pass rate")
    axes.legend(fontsize=8)


def draw_shares(axes: plt.Axes, fitted: Bases, totals: list[float]) -> None:
    """Pass rate over the share of RL, one line for each total."""
    costs = np.array([cost for cost, *_ in fitted])
    for i, total in enumerate(totals):
        rates = iso_compute(fitted, total)
        there = np.isfinite(rates[:, 0])
        share, rates = 1 - costs[there] / total, rates[there]
        color, top = plt.cm.viridis(i / 6), rates.mean(1).argmax()
        label = f"{total:.1e} FLOPs"
        axes.plot(share, rates.mean(1), "o-", color=color, label=label)
        axes.fill_between(share, rates.min(1), rates.max(1), color=color, alpha=0.2)
        axes.plot(share[top], rates.mean(1)[top], "*", color=color, ms=16)
    axes.set(xlabel="share of RL in the total", xlim=(0, 1), ylim=(0, 1.02))
    axes.set(ylabel="pass rate at a fixed total, stars: best")
    axes.legend(fontsize=8)


STUDY = Study(
    question="At a fixed total, how much should go to pretraining and how much to RL?",
    fixed="64 answers a step; iso-compute read off the curves",
    arms=make_arms,
    report=report,
    measure=bases.base_loss,
    literature=(
        "Shen et al. (chess, 5M to 1B parameters): the best share of RL is 20 to 28 %; "
        "the level after RL is set by the pretraining loss."
    ),
)
