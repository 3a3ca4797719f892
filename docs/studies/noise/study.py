"""Verdicts that are wrong: is RL only slowed down by them, by J = TPR - FPR?"""

from random import Random

import numpy as np

import reward
from scaling import STUDIES, Study, load

changed = load(STUDIES / "changed.py")
compare = load(STUDIES / "compare.py")


def wrong(p: float, q: float) -> dict[str, float]:
    """Wrong answers pass with chance p, right ones fail with q: J = 1 - p - q."""
    return {"false_positive": p, "false_negative": q}


def make_arms(quick: bool) -> dict[str, dict]:
    if quick:
        return {"J = 1": {}, "J = 0.4": wrong(0.3, 0.3)}
    found = {"J = 1": {}}
    for j in (0.8, 0.6, 0.4, 0.2, 0.0, -0.2):
        found[f"J = {j:g}"] = wrong(round((1 - j) / 2, 2), round((1 - j) / 2, 2))
    found["J = 0.4, only false positives"] = wrong(0.6, 0.0)
    found["J = 0.4, only false negatives"] = wrong(0.0, 0.6)
    found["J = 0.4, by problem"] = wrong(0.3, 0.3) | {"change": (by_problem,)}
    keys = wrong(0.0, 0.54) | {"change": (wrong_keys,)}  # J = 0.46 - 0.54 / 9
    found["J = 0.4, wrong keys"] = keys
    constant = {"change": (changed.constant_rate,)}
    found["J = 1, constant rate"] = constant
    found["J = 0.4, constant rate"] = wrong(0.3, 0.3) | constant
    return found


def by_problem() -> None:
    """All verdicts on a problem are wrong together, or none (the same J)."""
    honest = reward.rewards

    def pay(kind: str, **given: object) -> np.ndarray:
        p = given["false_positive"]
        given |= {"false_positive": 0.0, "false_negative": 0.0}
        flipped = [Random(x.prompt).random() < p for x in given["problems"]]
        return np.where(flipped, 1 - honest(kind, **given), honest(kind, **given))

    reward.rewards = pay


def wrong_keys() -> None:
    """A share of problems has another digit for its key: that alone is paid."""

    def pay(kind: str, problems: list, texts: list[str], **given: object) -> np.ndarray:
        paid = []
        for problem, text in zip(problems, texts, strict=True):
            rng, key = Random(problem.prompt), problem.answer
            if rng.random() < given["false_negative"]:
                key = str((int(key) + rng.randrange(1, 10)) % 10)
            paid.append(float(problem.task.stated(text) == key))
        return np.array(paid)

    reward.rewards = pay


STUDY = Study(
    question="Does a noisy verifier only slow RL down, in proportion to J?",
    fixed="the main job; pass rates are by the true verifier",
    arms=make_arms,
    report=compare.compare_arms,
    literature=(
        "Rate or Fate (arXiv:2601.04411): the drift is proportional to J, learning "
        "turns into collapse at J = 0. Noisy Data is Destructive (2603.16140): truly "
        "wrong labels cost 8 to 10 % in mathematics."
    ),
)
