"""Other uses of the same compute: imitation, distillation, more demonstrations."""

import numpy as np

import scaling
from scaling import STUDIES, Arms, Report, Study, load

answers = load(STUDIES / "answers.py")
changed = load(STUDIES / "changed.py")
compare = load(STUDIES / "compare.py")

GROUPS = {"4": (4, 4), "5 and 6": (5, 6), "7 to 9": (7, 9)}  # levels
IMITATE = {"loss": "reinforce", "change": (changed.imitate,)}
# The sampler stays the base: so far behind that it never moves.
OF_BASE = {"loss": "reinforce", "change": (changed.imitate_all_levels,), "lag": 230}
DISTIL = {"kl_coef": 1.0, "change": (changed.distil, "dim-112/0")}


def make_arms(quick: bool) -> dict[str, dict]:
    """Each in place of RL, but for the demonstrations for as much compute."""
    found = {"RL": {}, "expert iteration": IMITATE}
    if quick:
        return found
    coins = {"false_positive": 0.5, "false_negative": 0.5}
    return found | {
        "right ones of the base": OF_BASE,
        "random ones of the base": OF_BASE | coins,
        "distillation": DISTIL,
        "more demonstrations": {"pretrain_steps": 14_000, "steps": 0},
    }


def report(arms: Arms) -> Report:
    """Pass rate over all compute, and reasoned pass@64 by level."""
    rows = []
    figure, (left, right) = scaling.panels(2)
    for i, (name, runs) in enumerate(arms.items()):
        cost = runs[0].rows[0]["pretrain_flops"]
        spent = cost + np.mean([r.rows[-1]["rl_flops"] for r in runs])
        less = compare.difference(runs, arms["RL"], compare.last_three)
        cells = [name, f"{spent:.1e}", compare.finals(runs)]
        cells.append(compare.with_interval(less, "+.3f"))
        rates = []
        for low, high in GROUPS.values():
            for k, what in ((1, "right"), (64, "reasoned")):
                found = []
                for r in runs:
                    made = answers.of_levels(r.measured["after"], low, high)
                    found.append(answers.pass_at(made, k, what).mean())
                rates.append(np.mean(found))
        rows.append([*cells, *(f"{rate:.2f}" for rate in rates)])
        if len(runs[0].rows) > 1:
            grid, mean = compare.mean_curve(runs)
            left.plot(grid + cost, mean, color=f"C{i}", label=name)
            scaling.shade(
                left,
                [(x + cost, y) for x, y in scaling.pool_runs("", runs).runs],
                f"C{i}",
            )
        else:
            left.plot(
                cost,
                np.mean([r.final() for r in runs]),
                "*",
                ms=12,
                color=f"C{i}",
                label=name,
            )
        right.plot(range(len(rates)), rates, "o-", color=f"C{i}", label=name)
    header = "way | FLOPs | pass rate at the end | last three less RL's"
    labels = [
        f"{what}, level {g}" for g in GROUPS for what in ("pass@1", "reasoned pass@64")
    ]
    text = scaling.table(header + "".join(f" | {label}" for label in labels), rows)
    left.set(xscale="log", xlabel="FLOPs of pretraining and after", ylim=(0, 1.02))
    left.set_ylabel("held-out pass rate")
    left.legend(fontsize=8)
    right.set(xticks=range(len(labels)), ylim=(-0.02, 1.02), ylabel="at the end")
    right.set_xticklabels([label.replace(", ", "\n") for label in labels], fontsize=7)
    ends = {name: np.mean([r.final() for r in runs]) for name, runs in arms.items()}
    verdict = "At the end: " + ", ".join(
        f"{name} {end:.2f}" for name, end in ends.items()
    )
    return verdict, text, figure


STUDY = Study(
    question="What does RL buy that other uses of the same compute do not?",
    fixed="one base a seed; a teacher's own cost is not counted",
    arms=make_arms,
    report=report,
    measure=answers.many,
    literature=(
        "on-policy distillation took a tenth of RL's GPU hours (Qwen3, as told by "
        "Thinking Machines, 2025), and 9 to 30 times less compute than imitation of "
        "the teacher's answers; at large k distillation adds to pass@k, RL does not "
        "(Yue et al., arXiv:2504.13837)."
    ),
)
