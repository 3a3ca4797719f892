"""Ten classic bugs, planted and run: what each does, and what gives it away."""

from pathlib import Path

import numpy as np

import scaling
from model import read_rows
from scaling import STUDIES, Arms, Report, Study, load
from train import Config

bugs = load(Path(__file__).parent / "bugs.py")
compare = load(STUDIES / "compare.py")

TARGET = 0.75  # pass rate to reach
COLUMNS = "reward gold live_groups identical mismatch truncated entropy kl_base".split()


def make_arms(quick: bool) -> dict[str, dict]:
    found: dict[str, dict] = {"healthy": {}}
    if quick:
        return found | {"flat rewards": {"change": (bugs.flat_rewards,)}}
    for bug in (
        bugs.shared_seed,
        bugs.wrong_groups,
        bugs.mask_off_by_one,
        bugs.top_k_sampler,
        bugs.missing_end,
        bugs.stale_cache,
        bugs.flat_rewards,
        bugs.answer_leak,
    ):
        found[bug.__name__.replace("_", " ")] = {"change": (bug,)}
    penalty = {"kl": "k3_loss", "kl_coef": 1.0}
    found["KL in the loss"] = penalty | {"change": (bugs.kl_in_the_loss,)}
    found["length bias"] = {"aggregation": "sequence"}
    return found


def look(cfg: Config) -> dict:
    """First step of each alarm; columns of the log, first and last ten steps."""
    rows = read_rows(cfg.folder, "rl")
    found = {"alarms": compare.first_alarms(cfg)}
    for when, part in (("first", rows[:10]), ("last", rows[-10:])):
        means = {}
        for name in COLUMNS:
            values = [row[name] for row in part if row.get(name) is not None]
            means[name] = round(float(np.mean(values)), 4) if values else None
        found[when] = means
    return found


def report(arms: Arms) -> Report:
    """Each bug's curve beside the healthy one; the log's columns; the alarms."""
    rows, lost, slower = [], [], []
    healthy = np.mean([r.final() for r in arms["healthy"]])
    names = [name for name in arms if name != "healthy"]
    figure, _ = scaling.panels(1)
    figure.clear()
    figure.set_size_inches(12, 5.5)
    panels = figure.subplots(2, -(-len(names) // 2), sharex=True, sharey=True).flat
    for axes, name in zip(panels, names, strict=False):
        for runs, color in ((arms["healthy"], "gray"), (arms[name], "C3")):
            scaling.shade(axes, scaling.pool_runs("", runs).runs, color)
            axes.plot(*compare.mean_curve(runs), color=color)
        axes.set(xscale="log", ylim=(0, 1.02))
        axes.set_title(name, fontsize=9)
    figure.supxlabel("RL compute (FLOPs)", fontsize=9)
    figure.supylabel("held-out pass rate; gray: healthy", fontsize=9)
    for name, runs in arms.items():
        ends = [[r.measured["last"][c] for r in runs] for c in COLUMNS]
        cells = [f"{np.mean(v):.3g}" if None not in v else "-" for v in ends]
        speed = compare.multiplier(arms["healthy"], runs, TARGET)
        ends = [name, compare.finals(runs), compare.with_interval(speed)]
        rows.append([*ends, *cells, compare.alarms_of(runs)])
        if np.mean([r.final() for r in runs]) < healthy - 0.1:
            lost.append(name)
        elif speed[2] < 1:
            slower.append(name)
    header = f"bug | end | speed to {TARGET} | " + " | ".join(COLUMNS)
    header += " | alarms, at step of each seed"
    text = "Speed: how many times less RL compute than healthy (90 % interval). "
    text += "Columns of metrics.jsonl: means over the last ten steps and seeds.\n\n"
    quiet = [name for name in names if name not in lost + slower]
    verdict = f"End more than 0.1 below {healthy:.2f}: {', '.join(lost) or 'none'}"
    verdict += f"; slower: {', '.join(slower) or 'none'}"
    verdict += f"; no curve shows {', '.join(quiet) or 'none'}"
    return verdict, text + scaling.table(header, rows), figure


STUDY = Study(
    question="What do classic bugs of RL look like, and what gives them away?",
    fixed="the main job",
    arms=make_arms,
    report=report,
    measure=look,
    literature="each was made for real, in TRL, verl, OpenRLHF, prime-rl or nanochat.",
)
