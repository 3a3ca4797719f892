"""Models over a factor of 30 in parameters, trained on equal data."""

import numpy as np

import scaling
from model import GPT
from scaling import STUDIES, Arms, Report, Result, Study, load
from train import Config

bases = load(STUDIES / "bases.py")
compare = load(STUDIES / "compare.py")
rivals = load(STUDIES / "rivals.py")


def make_arms(quick: bool) -> dict[str, dict]:
    """Only the width changes."""
    widths = (32, 64) if quick else (32, 48, 64, 112, 192)
    return {f"width {dim}": {} if dim == 64 else {"dim": dim} for dim in widths}


def count_parameters(result: Result) -> int:
    """Weights of a run's model, which is built for that and thrown away."""
    model = GPT(Config(**result.config).gpt())
    return sum(w.numel() for w in model.parameters())


def report(arms: Arms) -> Report:
    """Ceiling and C_mid over parameters, beside the base's pretraining loss."""
    fits, rows = compare.fit_arms(arms), []
    sizes = np.array([count_parameters(runs[0]) for runs in arms.values()])
    losses = np.array([runs[0].measured["base_loss"] for runs in arms.values()])
    for i, (name, runs) in enumerate(arms.items()):
        x, y = fits[name].curve.points()
        fall = 1 - scaling.failure_law(x, y)(x.max() * np.array([0.1, 1.0]))
        k = f"{np.log10(fall[0] / fall[1]):.2f}"
        start = f"{fits[name].fit.r0:.3f}"
        cells = [name, f"{sizes[i]:,}", f"{losses[i]:.3f}", start]
        rows.append([*cells, compare.finals(runs), k])
    header = "model | parameters | loss of the base | R_0 | final pass rate"
    text = scaling.table(header + " | k of Tan et al.", rows)
    text += "\n\n" + scaling.fit_table(list(fits.values()), "FLOPs")
    half = [rivals.scores(scaling.forecast(f.curve, 0.5)) for f in fits.values()]
    text += "\n\nForecast of the second half, all sizes:\n\n"
    text += rivals.score_table(half)
    text += bases.loss_law("parameters", sizes, losses)
    figure, (left, right) = scaling.panels(2)
    scaling.draw_curves(left, list(fits.values()))
    ends = [[r.final() for r in runs] for runs in arms.values()]
    low, mean, high = ([f(rates) for rates in ends] for f in (min, np.mean, max))
    starts = [f.fit.r0 for f in fits.values()]
    right.plot(sizes, starts, "s--", color="gray", label="base")
    right.plot(sizes, mean, "o-", label="after RL, range of seeds")
    right.fill_between(sizes, low, high, alpha=0.2, lw=0)
    right.set(xscale="log", xlabel="parameters", ylabel="held-out pass rate")
    right.set_ylim(0, 1.02)
    right.legend(fontsize=8)
    names = "sigmoid", "power law in 1 - R, last third"
    ours, tan = (np.mean([s[name].rmse for s in half]) for name in names)
    verdict = (
        f"{sizes[0]:,} to {sizes[-1]:,} parameters: {mean[0]:.2f} to "
        f"{mean[-1]:.2f} after RL; the second half is missed by {ours:.3f} "
        f"(sigmoid) and {tan:.3f} (late power law in 1 - R)"
    )
    return verdict, text, figure


STUDY = Study(
    question="How do ceiling and efficiency grow with parameters?",
    fixed="equal data, not compute: 5000 pretraining steps",
    arms=make_arms,
    report=report,
    measure=bases.base_loss,
    literature=(
        "Tan et al.: larger models learn more per FLOP, 1 - R falls as a power law "
        "whose exponent saturates with size; their last decade flattens above that "
        "line."
    ),
)
