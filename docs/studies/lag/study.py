"""A sampler that is some steps behind, with and without a correction for it."""

from scaling import STUDIES, Study, load

compare = load(STUDIES / "compare.py")


def make_arms(quick: bool) -> dict[str, dict]:
    found: dict[str, dict] = {"lag 0": {}}
    for lag in (8,) if quick else (4, 16):
        found[f"lag {lag}"] = {"lag": lag}
        found[f"lag {lag} corrected"] = {"lag": lag, "correction": "token"}
    return found


STUDY = Study(
    question="How stale may the policy that samples be?",
    fixed="256 answers a step",
    arms=make_arms,
    report=compare.compare_arms,
    literature="ScaleRL: a trainer up to 8 steps ahead costs nothing and saves time.",
)
