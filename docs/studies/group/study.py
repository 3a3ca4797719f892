"""64 answers a step, shared out among few prompts or many."""

from scaling import STUDIES, Study, load

compare = load(STUDIES / "compare.py")


def make_arms(quick: bool) -> dict[str, dict]:
    found: dict[str, dict] = {"8 prompts x 8": {}}
    for size in (2, 32) if quick else (2, 4, 16, 32):
        count = 64 // size
        found[f"{count} prompts x {size}"] = {
            "prompts_per_step": count,
            "group_size": size,
        }
    return found


STUDY = Study(
    question="At a fixed number of answers a step, how many to each prompt?",
    fixed="64 answers a step",
    arms=make_arms,
    report=compare.compare_arms,
    literature=(
        "IsoCompute: small groups are best early and large ones later. ScaleRL: 8 to "
        "32 answers at a fixed batch are second order."
    ),
)
