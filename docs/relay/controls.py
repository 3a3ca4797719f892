"""What is RL's own part? The main job again, each time with one thing taken away.

    python docs/relay/controls.py run fixed-levels 0    one run: a control and a seed
    python docs/relay/controls.py                         the table and the figure

A control is a function that changes the program before `train` runs; what it says of
itself is the table's first column. Runs go to out/relay, and records to runs.jsonl.
"""

import string
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE.parent / "tasks")]

from tasks import rounded, take_in, write_tables  # noqa: E402

import model  # noqa: E402
import reward  # noqa: E402
import scaling  # noqa: E402
import train  # noqa: E402

changed = scaling.load(scaling.STUDIES / "changed.py")

MORE_DEMONSTRATIONS = 14_000  # pretraining steps that cost what pretraining and RL do
KEPT = "step rl_flops pretrain_flops pass_rate pass_rate_greedy by_level".split()


def relay() -> dict:
    """Nothing is taken away."""
    return {}


def fixed_levels() -> dict:
    """RL draws levels 1 to 9 alike, from its first step on."""
    changed.all_levels()
    return {}


def true_positions() -> dict:
    """Pretraining does not stretch positions."""
    return {"stretch": 0.0}


def letters_in_order() -> dict:
    """Operations carry a, b, c ... and not letters drawn at random."""

    def generate(self: reward.Chain, level: int, rng: reward.Random) -> reward.Problem:
        text = str(rng.randrange(10))
        for letter in string.ascii_lowercase[:level]:
            text += letter + rng.choice("+-") + str(rng.randrange(10))
        return self.read(f"C{text}:")

    reward.Chain.generate = generate
    return {}


def more_demonstrations() -> dict:
    """No RL: its FLOPs go into more demonstrations of levels 1 to 4."""
    return {"pretrain_steps": MORE_DEMONSTRATIONS, "steps": 0}


def expert_iteration() -> dict:
    """Imitation of its own right answers (weight 1, the wrong ones 0), same relay."""
    changed.imitate()
    return {"loss": "reinforce"}


def long_run() -> dict:
    """Four times the steps, levels up to 16, a base trained twice as long; no control,
    a table of its own."""
    return {"levels": "1-16", "steps": 920, "evals": 20, "pretrain_steps": 10_000}


def large() -> dict:
    """README's model for a GPU, with 45 times the parameters; a table of its own."""
    return {"dim": 256, "layers": 6, "heads": 8, "kv_heads": 4}


CONTROLS: dict[str, Callable[[], dict]] = {
    function.__name__.replace("_", " "): function
    for function in (
        relay,
        fixed_levels,
        true_positions,
        letters_in_order,
        more_demonstrations,
        expert_iteration,
        long_run,
        large,
    )
}
# These begin at the base of the relay's run with the same seed.
SAME_BASE = ("fixed levels", "expert iteration")
NO_CONTROL = ("long run", "large")


def run(name: str, seed: int) -> None:
    """Train one control and take its evaluations in."""
    out = ROOT / "out" / "relay"
    folder = out / f"{name.replace(' ', '-')}-{seed}"
    changes = CONTROLS[name]() | {"seed": seed, "out": str(folder)}
    if name in SAME_BASE:
        changes["base"] = str(out / f"relay-{seed}")
    train.train(train.make_config(**changes))
    rows = model.read_rows(folder, "eval")
    record = {
        "name": f"{name}/{seed}",
        "config": {key: x for key, x in changes.items() if key not in ("out", "base")},
        "rows": [{key: row[key] for key in KEPT} for row in rows],
        "seconds": rows[-1]["seconds"],
    }
    take_in(HERE / "runs.jsonl", [rounded(record)])


def at_levels(
    run: scaling.Result, levels: list[str], key: str, most: str = ""
) -> float:
    """Mean over levels of a rate at the end of a run."""
    found = [run.rows[-1]["by_level"][level][key] for level in levels]
    return float(np.mean([x[most] if most else x for x in found]))


def read_runs() -> dict[str, list[scaling.Result]]:
    """Runs of each control that has some, a seed each."""
    runs: dict[str, list[scaling.Result]] = {name: [] for name in CONTROLS}
    for result in scaling.read_results(HERE):
        runs[result.name.split("/")[0]].append(result)
    return {name: group for name, group in runs.items() if group}


def span(rates: list[float]) -> str:
    """Mean over seeds, lowest and highest."""
    if len(rates) == 1:
        return f"{rates[0]:.2f}"
    return f"{np.mean(rates):.2f} ({min(rates):.2f} to {max(rates):.2f})"


def tables(runs: dict[str, list[scaling.Result]]) -> list[str]:
    """The Markdown tables of README.md: the main job by level, then all controls."""
    controls, deep = [], ["7", "8", "9"]
    for name, group in runs.items():
        if name in NO_CONTROL:
            continue
        line = [f"**{name}**: {CONTROLS[name].__doc__}"]
        for levels in (["4"], ["5", "6"], deep):
            line.append(span([at_levels(run, levels, "pass_rate") for run in group]))
        greedy = [at_levels(run, deep, "pass_rate_greedy") for run in group]
        reasoned = [at_levels(run, deep, "reasoned_at", "8") for run in group]
        controls.append([*line, f"{np.mean(greedy):.2f}", f"{np.mean(reasoned):.2f}"])
    made = [
        level_table(runs["relay"]),
        scaling.table(
            "what was taken away | level 4 | levels 5, 6 | levels 7 to 9 | greedy, 7 "
            "to 9 | reasoned pass@8, 7 to 9",
            controls,
        ),
    ]
    if "long run" in runs:
        made.append(long_table(runs["long run"]))
    if "large" in runs:
        made.append(level_table(runs["large"], "large, level"))
    return made


def level_table(runs: list[scaling.Result], what: str = "level") -> str:
    """Base and end of runs, level by level."""
    rows = []
    for level in runs[0].rows[-1]["by_level"]:
        row = [level]
        for key in ("pass_rate", "pass_rate_greedy"):
            for stage in (0, -1):
                ends = [run.rows[stage]["by_level"][level] for run in runs]
                row.append(span([end[key] for end in ends]))
        for key in ("pass_at", "reasoned_at"):
            for stage in (0, -1):
                ends = [run.rows[stage]["by_level"][level] for run in runs]
                row.append(f"{np.mean([end[key]['8'] for end in ends]):.2f}")
        rows.append([*row[:5], " to ".join(row[5:7]), " to ".join(row[7:])])
    header = f"{what} | base, sampled | after RL | base, greedy | after RL | pass@8"
    return scaling.table(header + " | reasoned pass@8", rows)


def long_table(runs: list[scaling.Result]) -> str:
    """End of the long runs by level, and how far below its best each level ends: the
    best is the highest mean of two evaluations in a row."""
    rows = []
    for level in runs[0].rows[-1]["by_level"]:
        curves = [
            [row["by_level"][level]["pass_rate"] for row in run.rows] for run in runs
        ]
        ends = [curve[-1] for curve in curves]
        best = [
            max((a + b) / 2 for a, b in zip(c, c[1:], strict=False)) for c in curves
        ]
        sunk = [max(b - end, 0.0) for b, end in zip(best, ends, strict=True)]
        greedy = [run.rows[-1]["by_level"][level]["pass_rate_greedy"] for run in runs]
        base = [curve[0] for curve in curves]
        row = [level, f"{np.mean(base):.2f}", span(ends), span(greedy)]
        rows.append([*row, ", ".join(f"{x:.2f}" for x in sunk)])
    return scaling.table(
        "level | base | after 920 steps | greedy | below its best, each seed", rows
    )


def draw(runs: dict[str, list[scaling.Result]], path: Path) -> None:
    """Levels 7 to 9 over all FLOPs spent, a line each seed."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    shown = [(name, group) for name, group in runs.items() if name not in NO_CONTROL]
    for i, (name, group) in enumerate(shown):
        for run in group:
            rates = [
                np.mean([row["by_level"][n]["pass_rate"] for n in "789"])
                for row in run.rows
            ]
            flops = [row["pretrain_flops"] + row["rl_flops"] for row in run.rows]
            label = name if run is group[0] else None
            axes.plot(flops, rates, "o-", ms=3, color=f"C{i}", label=label, alpha=0.8)
    axes.axhline(0.1, color="gray", lw=0.8, ls=":")
    axes.annotate("chance", (1, 0.11), xycoords=("axes fraction", "data"), ha="right")
    axes.set(xlabel="FLOPs of pretraining and RL", ylim=(0, 1))
    axes.set(ylabel="pass rate, levels 7 to 9", title="Three seeds each")
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(argv: list[str]) -> None:
    names = [name.replace(" ", "-") for name in CONTROLS]
    if argv and (len(argv) != 3 or argv[0] != "run" or argv[1] not in names):
        sys.exit(f"controls.py: run one of {', '.join(names)}, and a seed")
    if argv:
        run(argv[1].replace("-", " "), int(argv[2]))
        return
    runs = read_runs()
    made = tables(runs)
    write_tables(HERE / "README.md", made)
    draw(runs, HERE / "controls.png")
    print("\n\n".join(made))


if __name__ == "__main__":
    main(sys.argv[1:])
