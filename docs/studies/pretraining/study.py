"""Pretraining's own laws: loss above its known floor over compute, size and data."""

import re

import numpy as np

import scaling
from model import GPT
from scaling import STUDIES, Arms, Report, Study, load
from train import Config

bases = load(STUDIES / "bases.py")
rivals = load(STUDIES / "rivals.py")

WIDTHS = (16, 32, 64, 112)
COUNTS = (1250, 2500, 5000, 10_000)


def make_arms(quick: bool) -> dict[str, dict]:
    """Bases only, each with its own fall of the learning rate."""
    widths, counts = (WIDTHS[1:3], COUNTS[:2]) if quick else (WIDTHS, COUNTS)
    return {
        f"width {dim}, {count} steps": {"dim": dim, "pretrain_steps": count, "steps": 0}
        for dim in widths
        for count in counts
    }


def report(arms: Arms) -> Report:
    """Three panels: compute, parameters, data, each above the floor."""
    rows, points = [], []
    for name, runs in arms.items():
        dim, count = (int(n) for n in re.findall(r"\d+", name))
        loss = np.mean([r.measured["base_loss"] for r in runs])
        floor = np.mean([r.measured["floor"] for r in runs])
        flops = runs[0].rows[0]["pretrain_flops"]
        rate = np.mean([r.rows[0]["pass_rate"] for r in runs])
        size = sum(w.numel() for w in GPT(Config(dim=dim).gpt).parameters())
        points.append((flops, size, count, loss - floor))
        cells = [name, f"{flops:.1e}", f"{loss:.4f}", f"{loss - floor:.4f}"]
        rows.append([*cells, f"{rate:.3f}"])
    x, sizes, counts, above = np.array(points).T
    header = "base | FLOPs | loss (nats a token) | above the floor | pass rate"
    text = f"The demonstrators' own entropy is {floor:.4f} nats a token.\n\n"
    text += scaling.table(header, rows)
    # The lowest loss for each compute: no cheaper base is better.
    order = np.argsort(x)
    front = [i for i in order if above[i] < min(above[x < x[i]], default=np.inf)]
    logs = np.log(x[front]), np.log(above[front])
    slope, start = np.polyfit(*logs, 1)
    fitted = np.corrcoef(*logs)[0, 1] ** 2
    figure, (left, middle, right) = scaling.panels(3)
    left.plot(x, above, "o", ms=4)
    grid = np.geomspace(x.min(), x.max(), 50)
    left.plot(grid, np.exp(start + slope * np.log(grid)), "k--", lw=1)
    left.set(xlabel="FLOPs", ylabel="loss above the demonstrators' entropy (nats)")
    for i, count in enumerate(sorted(set(counts))):
        kept = counts == count
        middle.plot(
            sizes[kept], above[kept], "o-", color=f"C{i}", label=f"{count:.0f} steps"
        )
    middle.set(xlabel="parameters")
    for i, size in enumerate(sorted(set(sizes))):
        kept = sizes == size
        right.plot(counts[kept], above[kept], "o-", color=f"C{i}", label=f"{size:.0f}")
    right.set(xlabel="steps of 16 demonstrations")
    for axes in (left, middle, right):
        axes.set(xscale="log", yscale="log")
    right.set_xticks(COUNTS, map(str, COUNTS))
    right.minorticks_off()
    middle.legend(fontsize=8)
    right.legend(fontsize=8, title="parameters")
    verdict = f"On the frontier the loss above its floor falls as C^{slope:.2f} (R^2 "
    verdict += f"{fitted:.2f}) over a factor of {x[front].max() / x[front].min():.0f}, "
    verdict += f"from {above[front].max():.3f} to {above[front].min():.3f} nats a token"
    return verdict, text, figure


STUDY = Study(
    question="Does pretraining on demonstrations follow a power law?",
    fixed="16 demonstrations a step; the floor is the demonstrators' own entropy",
    arms=make_arms,
    report=report,
    measure=bases.base_loss,
    literature=(
        "Kaplan et al. (arXiv:2001.08361): loss falls as C^-0.050, N^-0.076, D^-0.095, "
        "over an unknown floor."
    ),
)
