"""Rewards that are not the truth: rules, a judge, penalties, and which alarms ring."""

import numpy as np

import scaling
from model import read_rows
from scaling import STUDIES, Arms, Report, Result, Study, load
from train import Config

compare = load(STUDIES / "compare.py")


def make_arms(quick: bool) -> dict[str, dict]:
    found = {"gold": {}, "contains": {"reward": "contains"}}
    if quick:
        return found
    found |= {"format": {"reward": "format"}, "length": {"reward": "length"}}
    found["judge"] = learned = {"reward": "learned"}
    for coefficient in (0.05, 0.2):
        penalty = {"kl": "k1_raw", "kl_coef": coefficient}
        found[f"judge, KL {coefficient}"] = learned | penalty
    return found


def look(cfg: Config) -> dict:
    """First step of each alarm, the judge's AUC, an answer of the last stage, and what
    every step was paid beside what it was worth."""
    text = (cfg.folder / "samples.txt").read_text().rsplit("\nstep ", 1)[-1]
    found = {"alarms": compare.first_alarms(cfg)}
    steps = read_rows(cfg.folder, "rl")
    found["rl"] = [[row["step"], row["reward"], row["gold"]] for row in steps]
    found["answer"] = text.splitlines()[4].strip()  # of level 4
    for row in read_rows(cfg.folder, "reward"):
        found["auc"] = row["auc"]
    return found


def paid(row: dict) -> float:
    """What RL pays for the answers of an evaluation."""
    return row.get("reward", row["pass_rate"])


def away(row: dict) -> float:
    """sqrt(KL) to the base, Gao et al.'s distance."""
    return max(row["kl_base"], 0.0) ** 0.5


def report(arms: Arms) -> Report:
    """Proxy and gold of each reward over compute, gold over the distance, alarms."""
    rows, answers, words = [], [], []
    figure, (left, right) = scaling.panels(2)
    for i, (name, runs) in enumerate(arms.items()):
        draw(left, right, runs, name, f"C{i}")
        gold = np.array([[row["pass_rate"] for row in r.rows] for r in runs])
        pays = [np.mean([paid(r.rows[i]) for r in runs]) for i in (0, -1)]
        cells = [name, f"{pays[0]:.2f} to {pays[1]:.2f}"]
        cells += [f"{gold[:, 0].mean():.2f}", f"{gold.max(1).mean():.2f}"]
        cells.append(compare.finals(runs))
        far = np.mean([away(r.rows[-1]) for r in runs])
        quality = [r.measured["auc"] for r in runs if "auc" in r.measured]
        cells += [f"{far:.1f}", f"{np.mean(quality):.2f}" if quality else "-"]
        rows.append([*cells, compare.alarms_of(runs)])
        answers.append(f"    {name:16} {runs[0].measured['answer']}")
        best, end = gold.max(1).mean(), gold[:, -1].mean()
        if best - end > 0.1:
            words.append(f"{name} from {best:.2f} to {end:.2f}")
    header = "paid by | paid, base to end | gold: base | best | end | sqrt(KL) | AUC"
    text = scaling.table(header + " | alarms, at step of each seed", rows)
    text += "\n\nAn answer of the end, seed 0:\n\n" + "\n".join(answers)
    left.set(xscale="log", xlabel="RL compute (FLOPs)", ylim=(0, 1.05))
    left.set_ylabel("solid: true pass rate; dotted: what is paid")
    right.set(xlabel="distance from the base, sqrt(KL)", ylabel="true pass rate")
    left.legend(fontsize=8)
    return f"Gold falls from its best: {', '.join(words) or 'nowhere'}", text, figure


def draw(left, right, runs: list[Result], name: str, color: str) -> None:
    """Each seed's gold and proxy over compute, and gold over the distance."""
    for r in runs:
        x = [row["rl_flops"] for row in r.rows[1:]]
        gold = [row["pass_rate"] for row in r.rows]
        left.plot(x, gold[1:], color=color, lw=1, label=name)
        left.plot(x, [paid(row) for row in r.rows[1:]], ":", color=color, lw=1)
        right.plot([away(row) for row in r.rows], gold, color=color, lw=1)
        name = "_" + name  # one label for all seeds


STUDY = Study(
    question="What do rewards that are not the truth teach, and what gives them away?",
    fixed="the main job; the judge is fitted to 2048 answers of the base",
    arms=make_arms,
    report=report,
    measure=look,
    literature=(
        "Gao et al. (arXiv:2210.10760): gold peaks and falls over sqrt(KL) as the "
        "proxy goes on rising; a KL penalty acts as an early stop."
    ),
)
