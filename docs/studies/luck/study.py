"""How much of a result is luck? Every base under every seed of RL."""

from scaling import STUDIES, Study, load

compare = load(STUDIES / "compare.py")


def make_arms(quick: bool) -> dict[str, dict]:
    return {f"base {n}": {"base_seed": n} for n in range(2 if quick else 4)}


STUDY = Study(
    question="How much of a result is the luck of pretraining, and how much RL's own?",
    fixed="the main job; bases differ by the seed of their pretraining only",
    arms=make_arms,
    report=compare.compare_arms,
    literature="none.",
    seeds=4,
)
