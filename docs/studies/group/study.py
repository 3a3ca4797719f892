"""256 answers a step, shared out among few prompts or many, on easy levels and hard."""

import scaling
from scaling import STUDIES, Arms, Report, Study, load

compare = load(STUDIES / "compare.py")

SIZES = (16, 2, 4, 64)


def make_arms(quick: bool) -> dict[str, dict]:
    """Hard is the relay, beyond what was shown; easy the levels that were."""
    found: dict[str, dict] = {}
    for name, levels in (("hard", {}), ("easy", {"levels": "1-4"})):
        for size in SIZES[:2] if quick else SIZES:
            shape = {"prompts_per_step": 256 // size, "group_size": size}
            arm = f"{name}: {256 // size} prompts x {size}"
            found[arm] = levels | (shape if size != 16 else {})
    return found


def report(arms: Arms) -> Report:
    """Hard and easy levels each by themselves."""
    kinds = list(dict.fromkeys(name.partition(":")[0] for name in arms))
    figure, panels = scaling.panels(len(kinds))
    verdicts, text = [], ""
    for axes, kind in zip(panels, kinds, strict=True):
        part = {n.partition(": ")[2]: a for n, a in arms.items() if n.startswith(kind)}
        verdict, tables, fits = compare.compare_tables(part)
        scaling.draw_curves(axes, fits)
        axes.set_title(kind, fontsize=9)
        axes.legend(fontsize=8, loc="lower right")
        verdicts.append(f"{kind}: {verdict[0].lower()}{verdict[1:]}")
        text += f"\n\n## {kind}\n\n{tables}"
    return ". ".join(verdicts), text.strip(), figure


STUDY = Study(
    question="At a fixed number of answers a step, how many to each prompt?",
    fixed="256 answers a step",
    arms=make_arms,
    report=report,
    literature=(
        "IsoCompute (arXiv:2603.12151): small groups are best early and large ones "
        "later, on hard problems less so. ScaleRL: 8 to 32 answers at a fixed batch "
        "are second order."
    ),
)
