"""Published choices of the loss, beside ours."""

from scaling import STUDIES, Study, load

compare = load(STUDIES / "compare.py")


def make_arms(quick: bool) -> dict[str, dict]:
    """The default, which is the reference of all studies, and a paper's choice each."""
    names = ["grpo", "dr_grpo", "cispo", "rloo", "reinforce", "scalerl"]
    if quick:
        names = ["grpo", "scalerl"]
    return {"default": {}} | {name: {"recipe": name} for name in names}


STUDY = Study(
    question="Which choice of loss moves the ceiling A and which only the efficiency?",
    fixed="64 answers a step",
    arms=make_arms,
    report=compare.compare_arms,
    literature=(
        "ScaleRL: loss family and FP32 logits move A, aggregation and normalisation "
        "mostly B and C_mid; nine leave-one-out variants end within 0.02 of each other."
    ),
)
