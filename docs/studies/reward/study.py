"""Verifiers that err, a rule that can be hacked, reward models of growing data."""

import numpy as np

import scaling
from model import read_rows
from scaling import STUDIES, Arms, Report, Study, load
from train import Config

compare = load(STUDIES / "compare.py")


def make_arms(quick: bool) -> dict[str, dict]:
    found = {
        "gold": {},
        "10 % of verdicts wrong": {"false_positive": 0.1, "false_negative": 0.1},
        "30 % of verdicts wrong": {"false_positive": 0.3, "false_negative": 0.3},
        "reward model of 2048 labels": {"reward": "learned"},
        "reward model of 256 labels": {"reward": "learned", "rm_answers": 256},
        "rule: contains": {"reward": "contains"},
    }
    if quick:
        return {name: found[name] for name in ("gold", "rule: contains")}
    return found


def judge_quality(cfg: Config) -> dict[str, float]:
    """The AUC of a learned reward on held-out labels, as the run logged it."""
    rows = read_rows(cfg.folder(), "reward")
    return {"auc": rows[0]["auc"]} if rows else {}


def report(arms: Arms) -> Report:
    """Ceilings and compute against the gold reward; proxy and gold over distance."""
    verdict, tables, fits = compare.compare_tables(arms)
    figure, (left, right) = scaling.panels(2)
    scaling.draw_curves(left, fits)
    rows = []
    for i, (name, runs) in enumerate(arms.items()):
        best = np.mean([max(row["pass_rate"] for row in r.rows) for r in runs])
        last = [r.rows[-1] for r in runs]
        paid = np.mean([row.get("reward", row["pass_rate"]) for row in last])
        far = np.mean([distance(row) for row in last])
        quality = [r.measured["auc"] for r in runs if "auc" in r.measured]
        auc = f"{np.mean(quality):.3f}" if quality else "-"
        ends = compare.finals(runs)
        rows.append([name, f"{best:.3f}", ends, f"{paid:.3f}", f"{far:.2f}", auc])
        for r in runs:
            away = [distance(row) for row in r.rows]
            for key, style in (("pass_rate", "-"), ("reward", ":")):
                if key in r.rows[0]:
                    rates = [row[key] for row in r.rows]
                    right.plot(away, rates, style, color=f"C{i}", lw=1)
    right.set(xlabel="distance from the base, sqrt(KL) (KL in nats)", ylim=(0, 1.02))
    right.set(ylabel="solid: true pass rate; dotted: reward paid")
    header = "reward | gold at its best | gold at the end | paid at the end"
    tables += "\n\n" + scaling.table(header + " | sqrt(KL) at the end | AUC", rows)
    return verdict, tables, figure


def distance(row: dict) -> float:
    """sqrt(KL) to the base, in which the reward falls in Gao et al.'s law."""
    return max(row.get("kl_base", 0), 0) ** 0.5


STUDY = Study(
    question="What do wrong verdicts, learned and misspecified rewards cost?",
    fixed="64 answers a step; pass rates are always by the true verifier",
    arms=make_arms,
    report=report,
    measure=judge_quality,
    literature=(
        "Gao et al.: gold reward peaks and falls over sqrt(KL) as the proxy goes on "
        "rising, later for larger reward models."
    ),
)
