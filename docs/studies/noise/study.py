"""Verdicts that are wrong: is RL only slowed down by them, by J = TPR - FPR?"""

import matplotlib.pyplot as plt
import numpy as np

import scaling
from model import read_rows
from scaling import STUDIES, Arms, Report, Study, load
from train import Config

changed = load(STUDIES / "changed.py")
compare = load(STUDIES / "compare.py")

TARGETS = (0.6, 0.7, 0.8)  # pass rates to reach


def wrong(p: float, q: float) -> dict[str, float]:
    """Wrong answers pass with chance p, right ones fail with q: J = 1 - p - q."""
    return {"false_positive": p, "false_negative": q}


def make_arms(quick: bool) -> dict[str, dict]:
    if quick:
        return {"J = 1": {}, "J = 0.4": wrong(0.3, 0.3)}
    found = {"J = 1": {}}
    for j in (0.8, 0.6, 0.4, 0.2):
        found[f"J = {j:g}"] = wrong(round((1 - j) / 2, 2), round((1 - j) / 2, 2))
    found["J = 0.4, only false positives"] = wrong(0.6, 0.0)
    found["J = 0.4, only false negatives"] = wrong(0.0, 0.6)
    flips = wrong(0.3, 0.3) | {"change": (changed.flip_by_problem,)}
    keys = wrong(0.0, 0.54) | {"change": (changed.wrong_keys,)}  # J = 0.46 - 0.54 / 9
    found |= {"J = 0.4, by problem": flips, "J = 0.4, wrong keys": keys}
    found["J = 1, constant rate"] = {"change": (changed.constant_rate,)}
    found["J = 0.4, constant rate"] = wrong(0.3, 0.3) | found["J = 1, constant rate"]
    found["judge of 2048 labels"] = {"reward": "learned"}
    found["J = 0"], found["J = -0.2"] = wrong(0.5, 0.5), wrong(0.6, 0.6)
    return found


def judge_quality(cfg: Config) -> dict[str, float]:
    """The AUC of a learned reward on held-out labels, as the run logged it."""
    rows = read_rows(cfg.folder, "reward")
    return {"auc": rows[0]["auc"]} if rows else {}


def report(arms: Arms) -> Report:
    """How fast each arm is beside gold verdicts, where it ends, and that over J."""
    rows, places, gold, ends = [], [], arms["J = 1"], {}
    figure, (left, right) = scaling.panels(2)
    for i, (name, runs) in enumerate(arms.items()):
        config = runs[0].config
        chances = [config.get(f"false_{x}", 0.0) for x in ("positive", "negative")]
        # A wrong answer meets the wrong key by chance.
        j = 1 - sum(chances) - chances[1] / 9 * ("keys" in name)
        color = plt.colormaps["tab20"](i)
        rates = [r.final() for r in runs]
        ends[name] = np.mean(rates)
        if "auc" in runs[0].measured:
            name += f", AUC {np.mean([r.measured['auc'] for r in runs]):.2f}"
        else:
            places.append(round(j, 2))  # arms of the same J stand beside each other
            place = j + 0.02 * (places.count(places[-1]) - 1)
            right.plot([place] * len(rates), rates, "_-", color=color, ms=8)
        best = np.mean([max(row["pass_rate"] for row in r.rows) for r in runs])
        cells = [name, f"{best:.3f}", compare.finals(runs)]
        for target in TARGETS:
            speed = compare.multiplier(gold, runs, target)
            cells.append(compare.with_interval(speed))
        rows.append(cells)
        grid, mean = compare.mean_curve(runs)
        left.plot(grid, mean, "-:"[i > 9], color=color, label=name)
    start = np.mean([r.rows[0]["pass_rate"] for r in gold])
    right.axhline(start, color="gray", ls="--", lw=1)
    right.set(xlabel="J = TPR - FPR", ylabel="end of each seed; dashed: the base")
    left.set(xscale="log", xlabel="RL compute (FLOPs)", ylabel="true pass rate")
    figure.legend(fontsize=8, loc="outside lower center", ncol=5)
    columns = "".join(f" | speed to {target}" for target in TARGETS)
    header = f"verdicts | best | at the end{columns}"
    plain = [
        f"{ends[n]:.2f} at {n}" for n in ends if n.startswith("J") and "," not in n
    ]
    same = [f"{n[9:]} {ends[n]:.2f}" for n in ends if n.startswith("J = 0.4,")]
    verdict = f"Ends: {', '.join(plain)}"
    if same:
        verdict += f"; at J = 0.4 also {', '.join(same)}"
    return verdict, scaling.table(header, rows), figure


STUDY = Study(
    question="Does a noisy verifier only slow RL down, in proportion to J?",
    fixed="the main job; pass rates are by the true verifier",
    arms=make_arms,
    report=report,
    measure=judge_quality,
    literature=(
        "Rate or Fate (arXiv:2601.04411): the drift is proportional to J, learning "
        "turns into collapse at J = 0. Noisy Data is Destructive (2603.16140): truly "
        "wrong labels cost 8 to 10 % in mathematics."
    ),
)
