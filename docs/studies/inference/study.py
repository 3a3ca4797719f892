"""64 answers to each test problem, before and after RL, and thoughts that end early."""

import numpy as np

import scaling
from scaling import STUDIES, Arms, Array, Report, Study, load

answers = load(STUDIES / "answers.py")

KS = 2 ** np.arange(7)
DEEP = 7  # levels that no base passes begin here


def make_arms(quick: bool) -> dict[str, dict]:
    return {"gold": {}, "random reward": {"false_positive": 0.5, "false_negative": 0.5}}


def curves_of(runs: list, when: str) -> dict[str, Array]:
    """pass@k, reasoned pass@k and majority@k of deep problems, (seeds, 7) each."""
    found: dict[str, list] = {"pass@k": [], "reasoned pass@k": [], "majority@k": []}
    for r in runs:
        rows = answers.of_levels(r.measured[when], DEEP)
        found["pass@k"].append([answers.pass_at(rows, k).mean() for k in KS])
        steps = [answers.pass_at(rows, k, "reasoned").mean() for k in KS]
        found["reasoned pass@k"].append(steps)
        found["majority@k"].append([answers.majority_at(rows, k).mean() for k in KS])
    return {name: np.array(rates) for name, rates in found.items()}


def report(arms: Arms) -> Report:
    """What many samples of the base can do, and what thinking longer does."""
    policies = {"base": (arms["gold"], "base"), "after RL": (arms["gold"], "after")}
    policies["after a random reward"] = (arms["random reward"], "after")
    figure, (left, right) = scaling.panels(2)
    rows, first = [], {}
    for i, (label, (runs, when)) in enumerate(policies.items()):
        for name, rates in curves_of(runs, when).items():
            first[label, name] = rates.mean(0)
            rows.append([f"{label}: {name}", *(f"{v:.3f}" for v in rates.mean(0))])
            if name != "majority@k":
                line = "-" if "reasoned" in name else ":"
                text = label if line == "-" else None
                left.plot(KS, rates.mean(0), line, color=f"C{i}", label=text)
                low, high = rates.min(0), rates.max(0)
                left.fill_between(KS, low, high, color=f"C{i}", alpha=0.15, lw=0)
    table = scaling.table("policy | k = " + " | ".join(map(str, KS)), rows)
    text = f"Levels {DEEP} and deeper, means over seeds:\n\n{table}"
    text += "\n\nEvery step right in one of 64, each level by itself (each seed):\n\n"
    rows = [[p, *answers.by_level(*of, DEEP).values()] for p, of in policies.items()]
    levels = answers.by_level(*policies["base"], DEEP)
    text += scaling.table("policy | level " + " | level ".join(levels), rows)
    text += "\n\nThoughts closed early, levels from 5 on (mean tokens: pass rate):\n\n"
    rows = []
    for i, (label, (runs, when)) in enumerate(policies.items()):
        points = np.array([r.measured[when]["closed"] for r in runs])
        tokens, rates = points.mean(0).T
        right.plot(tokens, rates, "o-", color=f"C{i}", label=label)
        low, high = points[:, :, 1].min(0), points[:, :, 1].max(0)
        right.fill_between(tokens, low, high, color=f"C{i}", alpha=0.15, lw=0)
        cells = (f"{t:.0f}: {rate:.2f}" for t, rate in zip(tokens, rates, strict=True))
        rows.append([label, *cells])
    header = "policy | " + " | ".join(f"closed after {b}" for b in answers.BUDGETS)
    text += scaling.table(header, rows)
    left.set(xscale="log", xticks=KS, xticklabels=KS, ylim=(0, 1.02))
    left.set_xlabel("answers to a problem, k; solid: every step right, dotted: guesses")
    left.set_ylabel(f"pass@k, levels {DEEP} and deeper")
    left.minorticks_off()
    left.legend(fontsize=8, loc="center left")
    right.axhline(0.1, color="gray", lw=0.8, ls=":")
    right.set(xlabel="tokens of an answer, its thought closed early", ylim=(0, 1.02))
    right.set_ylabel("held-out pass rate, levels 5 and deeper")
    right.legend(fontsize=8)
    ends = [first[p, "reasoned pass@k"][-1] for p in ("base", "after RL")]
    plain = first["base", "pass@k"][-1], first["base", "majority@k"][-1]
    verdict = (
        f"On levels {DEEP} and deeper 64 answers of the base hold one with every step "
        f"right for {ends[0]:.2f} of the problems, after RL for {ends[1]:.2f}; guesses "
        f"included the base has {plain[0]:.2f}, by majority {plain[1]:.2f}"
    )
    return verdict, text, figure


STUDY = Study(
    question="Is anything new learned, and what is thinking longer worth?",
    fixed="64 answers to each of 288 test problems, before and after",
    arms=make_arms,
    report=report,
    measure=answers.many,
    literature=(
        "Yue et al. (arXiv:2504.13837): RL wins at small k and the base overtakes at "
        "large k. Zhang et al. (2512.07783): RL adds at the edge of what was learned. "
        "o1: accuracy rises with the tokens of thinking too."
    ),
)
