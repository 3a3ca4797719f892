"""Published choices of the loss beside ours, and ours with one part left out."""

from scaling import STUDIES, Study, load

changed = load(STUDIES / "changed.py")
compare = load(STUDIES / "compare.py")

PAPERS = "grpo dr_grpo dapo cispo gspo rloo reinforce maxrl scalerl".split()


def make_arms(quick: bool) -> dict[str, dict]:
    """The reference of all studies, a paper's choice each, and leave-one-out."""
    if quick:
        return {"default": {}, "grpo": {"recipe": "grpo"}}
    return {
        "default": {},
        **{name: {"recipe": name} for name in PAPERS},
        "without the std": {"advantage": "dr_grpo"},
        "without dropping flat groups": {"flat": "keep"},
        "without token weights": {"aggregation": "sequence"},
        "without a falling rate": {"change": (changed.constant_rate,)},
        "without drawing by contrast": {"change": (changed.draw_evenly,)},
        "without the relay": {"change": (changed.all_levels,)},
        "without wrong answers": {"loss": "reinforce", "change": (changed.imitate,)},
    }


STUDY = Study(
    question="Which choice of loss moves the ceiling A and which only the efficiency?",
    fixed="256 answers a step",
    arms=make_arms,
    report=compare.compare_arms,
    literature=(
        "ScaleRL: loss family and FP32 logits move A, aggregation and normalisation "
        "mostly B and C_mid; nine leave-one-out variants end within 0.02 of each other."
    ),
)
