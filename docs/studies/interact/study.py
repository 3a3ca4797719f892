"""Reward quality x algorithm x compute: does the best algorithm depend on them?"""

import numpy as np

import scaling
from scaling import STUDIES, Arms, Report, Study, load

changed = load(STUDIES / "changed.py")
compare = load(STUDIES / "compare.py")

REWARDS = {
    "gold": {},
    "30 % wrong": {"false_positive": 0.3, "false_negative": 0.3},
    "learned": {"reward": "learned"},
}
ALGORITHMS = {
    "default": {},
    "reinforce": {"recipe": "reinforce"},
    "imitation": {"loss": "reinforce", "change": (changed.imitate,)},
}
SHARES = (0.25, 1.0)  # of the RL compute that all runs have


def make_arms(quick: bool) -> dict[str, dict]:
    return {
        f"{reward}, {algorithm}": paid | choice
        for reward, paid in REWARDS.items()
        for algorithm, choice in ALGORITHMS.items()
        if not quick or "default" == algorithm
    }


def report(arms: Arms) -> Report:
    """A table for each compute, the test of an interaction, and the best of each."""
    rewards, algorithms = (
        list(dict.fromkeys(a.split(", ")[i] for a in arms)) for i in (0, 1)
    )
    whole = min(r.rows[-1]["rl_flops"] for runs in arms.values() for r in runs)
    text, words = "", []
    for share in SHARES:
        # (rewards, algorithms, seeds) pass rates at the same compute
        rates = np.array(
            [
                [compare.rates_at(arms[f"{r}, {a}"], share * whole) for a in algorithms]
                for r in rewards
            ]
        )
        means, sds = rates.mean(2), rates.std(2, ddof=1)
        rows = [
            [name, *(f"{m:.3f} ± {sd:.3f}" for m, sd in zip(*both, strict=True))]
            for name, *both in zip(rewards, means, sds, strict=True)
        ]
        best = [algorithms[i] for i in means.argmax(1)]
        # Under a reward that takes all to nothing no algorithm can be better.
        f = interaction(rates[[name != "learned" for name in rewards]])
        text += f"\n\nAt {share * whole:.1e} FLOPs of RL; F of reward x algorithm "
        text += f"{f:.1f} without the learned reward, above 2.8 by chance in one of ten"
        text += ":\n\n"
        text += scaling.table("paid by | " + " | ".join(algorithms), rows)
        pairs = (f"{b} on {r}" for b, r in zip(best, rewards, strict=True))
        words.append(f"at {share * whole:.1e} FLOPs {', '.join(pairs)} (F {f:.1f})")
    figure, axes = scaling.panels(len(rewards))
    for axis, reward in zip(axes, rewards, strict=True):
        for i, algorithm in enumerate(algorithms):
            runs = arms[f"{reward}, {algorithm}"]
            scaling.shade(axis, scaling.pool_runs("", runs).runs, f"C{i}")
            axis.plot(*compare.mean_curve(runs), color=f"C{i}", label=algorithm)
        axis.set(
            xscale="log", ylim=(0, 1.02), xlim=(3e9, 1e13), title=f"paid: {reward}"
        )
        axis.set(xlabel="RL compute (FLOPs)", ylabel="true pass rate")
        axis.legend(fontsize=8, loc="upper left")
    verdict = f"Highest means {'; '.join(words)}; {rates.shape[2]} seeds tell no two "
    verdict += "apart for sure, and show no interaction below F 2.8"
    return verdict, text.strip(), figure


def interaction(rates: np.ndarray) -> float:
    """F of the interaction in a two-way analysis of variance; rates (R, A, seeds)."""
    means, seeds = rates.mean(2), rates.shape[2]
    rest = means - means.mean(0) - means.mean(1, keepdims=True) + means.mean()
    degrees = (means.shape[0] - 1) * (means.shape[1] - 1)
    between = seeds * (rest**2).sum() / max(degrees, 1)
    within = ((rates - means[:, :, None]) ** 2).sum() / (means.size * (seeds - 1))
    return float(between / within)


STUDY = Study(
    question="Does the best algorithm depend on the reward, and on the compute?",
    fixed="the main job; pass rates are by the true verifier",
    arms=make_arms,
    report=report,
    least_seeds=2,
    literature="none that crosses the three.",
)
