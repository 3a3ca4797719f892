"""How much of a result is luck? Every base under every seed of RL."""

import numpy as np

import scaling
from scaling import STUDIES, Arms, Report, Study, load, student

compare = load(STUDIES / "compare.py")

TARGET = 0.75  # pass rate to reach


def make_arms(quick: bool) -> dict[str, dict]:
    return {f"base {n}": {"base_seed": n} for n in range(2 if quick else 4)}


def report(arms: Arms) -> Report:
    """Ends and speeds of every pair, and how their variance splits."""
    ends = np.array([[r.final() for r in runs] for runs in arms.values()])
    costs = [[compare.compute_to_reach(r, TARGET) for r in a] for a in arms.values()]
    lasts = [[compare.last_three(r) for r in a] for a in arms.values()]
    what = {
        "pass rate at the end": ends,
        "mean of the last three evaluations": np.array(lasts),
        f"log of the compute to {TARGET}": np.log(np.array(costs)),
    }
    rows, words = [], []
    for name, values in what.items():
        parts = compare.split_variance(values)
        f, low, high = (parts.pop(key) for key in ("F", "low", "high"))
        sds = {part: variance**0.5 for part, variance in parts.items()}
        total = sum(parts.values())
        shares = [f"{sds[p]:.3f} ({parts[p] / total:.0%})" for p in parts]
        one, apart = total**0.5, student(4) * (2 * total / 3) ** 0.5
        rows.append(
            [name, f"{values.mean():.3f}", *shares, f"{one:.3f}", f"{apart:.3f}"]
        )
        share = f"{parts['base'] / total:.0%} [{low:.0%}, {high:.0%}]"
        words.append(f"{share} of the variance of the {name}")
        rows[-1] += [f"{f:.1f}", f"{low:.0%} to {high:.0%}"]
    header = "of a run | mean | sd by base | by seed of RL | by the rest | sd in all"
    text = "Two-way analysis of variance, base x seed of RL; F of the bases is above "
    text += "2.8 by chance in 10 % of such tables, the share of the base beside the "
    text += "rest has a 90 % interval. Told apart: how far two settings of three runs "
    text += "each, on bases of their own, must differ for that (90 %).\n\n"
    text += scaling.table(f"{header} | told apart | F | share of the base", rows)
    seeds = [r.name.rpartition("/")[2] for r in next(iter(arms.values()))]
    rows = []
    for (name, runs), rates in zip(arms.items(), ends, strict=True):
        start = np.mean([r.rows[0]["pass_rate"] for r in runs])
        rows.append([name, f"{start:.3f}", *(f"{rate:.3f}" for rate in rates)])
    header = "pass rate | before RL | " + " | ".join(f"RL seed {s}" for s in seeds)
    text += "\n\n" + scaling.table(header, rows)
    figure, (left, right) = scaling.panels(2)
    for i, (name, runs) in enumerate(arms.items()):
        for x, y in scaling.pool_runs(name, runs).runs:
            left.plot(x, y, color=f"C{i}", lw=1, label=name)
            name = "_" + name  # one label a base
        right.plot([i] * len(runs), [r.final() for r in runs], "o", color=f"C{i}")
        right.plot(i, runs[0].rows[0]["pass_rate"], "s", color=f"C{i}", mfc="white")
    left.set(xscale="log", xlabel="RL compute (FLOPs)", ylabel="held-out pass rate")
    left.legend(fontsize=8)
    right.set(xticks=range(len(arms)), xticklabels=list(arms), ylim=(0.3, 1))
    right.set_ylabel("pass rate: before RL (squares), at the end (dots)")
    verdict = f"The base decides {', '.join(words)} (90 % intervals)"
    return verdict, text, figure


STUDY = Study(
    question="How much of a result is the luck of pretraining, and how much RL's own?",
    fixed="the main job; bases differ by the seed of their pretraining only",
    arms=make_arms,
    report=report,
    literature=(
        "two training seeds differ by 8.6 points (marin #8955); Hochlehnert et al. "
        "(arXiv:2504.07086): many gains of RL lie within the spread of seeds."
    ),
    seeds=4,
    least_seeds=2,
)
