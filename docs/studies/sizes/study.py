"""Models over a factor of 30 in parameters, the larger told from the smaller ones."""

import numpy as np

import scaling
from model import GPT
from scaling import STUDIES, Arms, Array, Report, Result, Study, load
from train import Config

bases = load(STUDIES / "bases.py")
compare = load(STUDIES / "compare.py")

KNOWN = 3  # sizes that the others are told from, the smallest


def make_arms(quick: bool) -> dict[str, dict]:
    """Only the width changes."""
    widths = (32, 64) if quick else (32, 48, 64, 112, 192)
    return {f"width {dim}": {} if dim == 64 else {"dim": dim} for dim in widths}


def count_parameters(result: Result) -> int:
    """Weights of a run's model, which is built for that and thrown away."""
    model = GPT(Config(**result.config).gpt)
    return sum(w.numel() for w in model.parameters())


def by_step(runs: list[Result]) -> tuple[Array, Array]:
    """(steps, mean pass rate of the runs), (n,) each; all sizes take the same steps."""
    rates = [[row["pass_rate"] for row in r.rows[1:]] for r in runs]
    return np.array([row["step"] for row in runs[0].rows[1:]]), np.mean(rates, 0)


def tell(sizes: Array, rates: Array, size: float) -> Array:
    """Pass rates (n,) of another size, from those of known sizes, (sizes, n).

    After each step logit(R) is a straight line in log N: the odds of failing are a
    power of N.
    """
    logits = np.log(rates / (1 - rates))
    slope, start = np.polyfit(np.log(sizes), logits, 1)
    return 1 / (1 + np.exp(-(start + slope * np.log(size))))


def report(arms: Arms) -> Report:
    """End and speed over parameters; curves of large models told from small ones."""
    fits, rows, told, words = compare.fit_arms(arms), [], [], []
    sizes = np.array([count_parameters(runs[0]) for runs in arms.values()])
    rates = np.array([by_step(runs)[1] for runs in arms.values()])
    steps, _ = by_step(next(iter(arms.values())))
    losses = np.mean([[r.measured["base_loss"] for r in a] for a in arms.values()], 1)
    least = min(r.rows[-1]["rl_flops"] for runs in arms.values() for r in runs)
    figure, (left, right) = scaling.panels(2)
    for i, (name, runs) in enumerate(arms.items()):
        cells = [name, f"{sizes[i]:,}", f"{losses[i]:.3f}", f"{fits[name].fit.r0:.3f}"]
        at_least = np.mean(compare.rates_at(runs, least))
        more = compare.difference(runs, arms["width 64"], compare.last_three)
        cells += [compare.finals(runs), compare.with_interval(more, "+.3f")]
        rows.append([*cells, f"{at_least:.3f}"])
        scaling.shade(left, scaling.pool_runs("", runs).runs, f"C{i}")
        x, mean = compare.mean_curve(runs)
        left.plot(x, mean, color=f"C{i}", label=f"{name}: {sizes[i]:,}")
        right.plot(steps, rates[i], color=f"C{i}")
        if i >= KNOWN:
            guess = tell(sizes[:KNOWN], rates[:KNOWN], sizes[i])
            same = rates[KNOWN - 1]
            off = [np.sqrt(((x - rates[i]) ** 2).mean()) for x in (guess, same)]
            ends = f"{guess[-1]:.3f}", f"{rates[i, -1]:.3f}"
            told.append([name, *ends, *(f"{x:.3f}" for x in off)])
            words.append(f"{name} is told to within {off[0]:.3f} (third: {off[1]:.3f})")
            right.plot(steps, guess, "--", color=f"C{i}", label=f"{name}, told")
    header = "model | parameters | loss of the base | R_0 | end | last three less 64's"
    text = scaling.table(f"{header} | after {least:.1e} FLOPs of RL", rows)
    header = "model | told end | run | RMSE told | RMSE of 'as the third size'"
    text += "\n\nTold from the three smallest, after each step:\n\n"
    text += scaling.table(header, told)
    text += "\n\n" + scaling.fit_table(list(fits.values()), "FLOPs")
    for axes, what in ((left, "RL compute (FLOPs)"), (right, "RL steps")):
        axes.set(xscale="log", xlabel=what, ylim=(0, 1.02))
        axes.set_ylabel("held-out pass rate")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    ends = [np.mean([r.final() for r in runs]) for runs in arms.values()]
    verdict = f"{sizes[0]:,} to {sizes[-1]:,} parameters end at "
    verdict += ", ".join(f"{end:.2f}" for end in ends)
    return "; ".join([verdict, *words]), text, figure


STUDY = Study(
    question="How do end and efficiency grow with parameters, and can that be told?",
    fixed="equal data, not compute: 5000 pretraining steps",
    arms=make_arms,
    report=report,
    measure=bases.base_loss,
    literature=(
        "Tan et al. (arXiv:2509.25300): larger models learn more per FLOP, 1 - R falls "
        "as a power law whose exponent saturates with size; fitted up to 32B it is "
        "extrapolated to 72B, with one offset fitted there."
    ),
)
