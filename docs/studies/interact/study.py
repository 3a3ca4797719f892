"""Reward quality x algorithm x compute: does the best algorithm depend on them?"""

from scaling import STUDIES, Study, load

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


def make_arms(quick: bool) -> dict[str, dict]:
    return {
        f"{reward}, {algorithm}": paid | choice
        for reward, paid in REWARDS.items()
        for algorithm, choice in ALGORITHMS.items()
        if not quick or "default" == algorithm
    }


STUDY = Study(
    question="Does the best algorithm depend on the reward, and on the compute?",
    fixed="the main job; pass rates are by the true verifier",
    arms=make_arms,
    report=compare.compare_arms,
    literature="none that crosses the three.",
)
