"""Published choices of the loss beside ours, and ours with one part changed."""

from dataclasses import replace

import scaling
from scaling import STUDIES, Arms, Report, Study, load

changed = load(STUDIES / "changed.py")
compare = load(STUDIES / "compare.py")

TARGETS = (0.61, 0.73)  # a quarter and a half of the default's gain
PAPERS = "grpo dr_grpo dapo cispo gspo rloo reinforce maxrl scalerl".split()


def make_arms(quick: bool) -> dict[str, dict]:
    """The reference of all studies, a paper's choice each, and leave-one-out. Without
    the relay there is no drawing by contrast either; without wrong answers no baseline
    and no std."""
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


def in_steps(arms: Arms) -> str:
    """The multipliers again, with steps for compute: what a step costs is left out."""
    counted = {
        name: [
            replace(r, rows=[row | {"rl_flops": row["step"]} for row in r.rows])
            for r in runs
        ]
        for name, runs in arms.items()
    }
    base, rows = counted.pop("default"), []
    for name, runs in counted.items():
        found = [compare.multiplier(base, runs, target) for target in TARGETS]
        rows.append([name, *map(compare.with_interval, found)])
    header = "".join(f" | multiplier of steps at {target}" for target in TARGETS)
    return "Counted in steps:\n\n" + scaling.table("arm" + header, rows)


def report(arms: Arms) -> Report:
    """Choices of papers beside the default, and the default with one part changed."""
    less = {name: runs for name, runs in arms.items() if name.startswith("without")}
    kinds = {"papers": {n: arms[n] for n in arms if n not in less}}
    if less:
        kinds["one part changed"] = {"default": arms["default"]} | less
    figure, panels = scaling.panels(len(kinds))
    verdicts, text = [], ""
    for axes, (kind, part) in zip(panels, kinds.items(), strict=True):
        verdict, tables, _ = compare.compare_tables(part)
        changes, _, ends = verdict.partition(". ")
        verdicts.append(f"{kind}: {changes[0].lower()}{changes[1:]}")
        text += f"\n\n## {kind}\n\n{ends}.\n\n{tables}\n\n{in_steps(part)}"
        for i, (name, runs) in enumerate(part.items()):
            x, mean = compare.mean_curve(runs)
            axes.plot(x, mean, color=f"C{i}", lw=1 + 2 * (i == 0), label=name)
        axes.set(title=kind, xscale="log", ylim=(0, 1.02), xlabel="RL compute (FLOPs)")
        axes.set_ylabel("held-out pass rate, mean of seeds")
        axes.legend(fontsize=8, loc="lower left")
    return ". ".join(verdicts), text.strip(), figure


STUDY = Study(
    question="Which choice of loss moves the ceiling A and which only the efficiency?",
    fixed="256 answers a step",
    arms=make_arms,
    report=report,
    literature=(
        "ScaleRL: loss family and FP32 logits move A, aggregation and normalisation "
        "mostly B and C_mid; nine leave-one-out variants end within 0.02 of each other."
    ),
)
