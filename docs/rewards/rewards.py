"""Tables and pictures of this folder's README.md, from runs.jsonl.

python docs/rewards/rewards.py                     make tables and pictures again
python docs/rewards/rewards.py add out/format ...  take finished runs in first
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent / "tasks")]

from tasks import saved_config, take_in, write_tables  # noqa: E402

import grpo  # noqa: E402
import model  # noqa: E402
import scaling  # noqa: E402

EVAL = "step rl_flops reward pass_rate pass_rate_greedy problems samples answer_tokens "
EVAL += "think_share truncated kl_base"
RL = "step reward gold answer_tokens think_share truncated kl_base"
# Columns that the alarms read and old records lack, as they are where nothing is wrong.
HEALTHY = {"live_groups": 1.0, "grad_norm": 1.0, "mismatch": 0.0, "skipped": 0}


def record(folder: Path) -> dict:
    """A finished run as runs.jsonl holds it, named as its folder is."""

    def rows(kind: str, names: str) -> list[dict]:
        kept = []
        for row in model.read_rows(folder, kind):
            part = {name: row[name] for name in names.split() if name in row}
            kept.append({k: round(v, 5) if k != "step" else v for k, v in part.items()})
        return kept

    measured: dict = {"rl": rows("rl", RL)}
    for row in rows("reward", "auc"):
        measured["auc"] = row["auc"]
    return {
        "name": folder.name,
        "config": saved_config(folder),
        "rows": rows("eval", EVAL),
        "seconds": model.read_rows(folder, "eval")[-1]["seconds"],
        "measured": measured,
    }


def read_runs() -> dict[str, scaling.Result]:
    """Runs of runs.jsonl by name, in its order."""
    return {run.name: run for run in scaling.read_results(HERE)}


def first_alarms(rows: list[dict]) -> dict[str, int]:
    """Step at which each alarm of train.py first rings; silent ones are left out."""
    rows = [HEALTHY | row for row in rows]
    rang: dict[str, int] = {}
    for i, row in enumerate(rows):
        for name in grpo.alarms_ringing(rows[: i + 1]):
            rang.setdefault(name, row["step"])
    return rang


def hacking_table(runs: dict[str, scaling.Result], learned: bool) -> str:
    """A Markdown table, a row for each run: proxy, gold, and the alarms that rang.

    Gold is the held-out pass rate, the proxy what RL was paid, on the same answers.
    """
    table = []
    for name, run in runs.items():
        if (run.config.get("reward") == "learned") != learned:
            continue
        gold = [row["pass_rate"] for row in run.rows]
        paid = [row.get("reward", row["pass_rate"]) for row in run.rows]
        best = int(np.argmax(gold))
        rang = first_alarms(run.measured["rl"])
        row = [name, f"{paid[0]:.2f} to {paid[-1]:.2f}", f"{gold[0]:.2f}"]
        row += [f"{gold[best]:.2f} at {run.rows[best]['step']}", f"{gold[-1]:.2f}"]
        row += [", ".join(f"{alarm} {step}" for alarm, step in rang.items()) or "none"]
        table.append(row)
    what = "learned reward" if learned else "rule or noise"
    header = "proxy | gold: base | best | last | alarms, at step"
    return scaling.table(f"{what} | {header}", table)


def tables(runs: dict[str, scaling.Result]) -> list[str]:
    """The two tables of the page."""
    return [hacking_table(runs, learned) for learned in (False, True)]


def plot_hacking(run: scaling.Result, path: Path) -> None:
    """Proxy, gold and the alarms over the steps of one run, answer length below."""
    rows = run.rows
    steps = [row["step"] for row in rows]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(7, 6), sharex=True, height_ratios=[2, 1], layout="constrained"
    )
    for name, label, color in (
        ("reward", "proxy: what RL is paid", "C1"),
        ("pass_rate", "gold: share of right answers", "C0"),
    ):
        values = [row[name] for row in rows]
        top.plot(steps, values, "o-", color=color, label=label)
    alarms = first_alarms(run.measured["rl"])
    for i, (name, step) in enumerate(sorted(alarms.items(), key=lambda x: x[1])):
        top.axvline(step, color="gray", lw=0.8, ls=":")
        top.annotate(
            f" {name}",
            (step, 0.62 - 0.07 * i),
            xycoords=("data", "axes fraction"),
            fontsize=8,
            color="gray",
        )
    top.set(ylim=(0, 1.06), ylabel="held-out answers", title=f"RL paid by: {run.name}")
    top.legend(frameon=False, fontsize=9, loc="center right")
    bottom.plot(steps, [row["answer_tokens"] for row in rows], "o-", color="C2")
    bottom.set(xlabel="RL step (dotted: an alarm rings)", ylabel="tokens of an answer")
    bottom.set_ylim(0)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def distance_curve(run: scaling.Result) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(d, gold, proxy) at each evaluation of a run; d = sqrt(KL(policy || base))."""
    rows = run.rows
    names = ("kl_base", "pass_rate", "reward")
    kl, gold, proxy = (np.array([row[name] for row in rows]) for name in names)
    return np.sqrt(np.maximum(kl, 0)), gold, proxy  # an estimate of 0 can be below it


Runs = list[scaling.Result]  # that differ in their seed


def overoptimization(d: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    """(a, b) of gain = d (a - b ln d) by least squares; points of d = 0 are left out.

    Gold reward over its start against the distance d = sqrt(KL(policy || base)) of RL
    (Gao et al. arXiv:2210.10760). It peaks at d = exp(a / b - 1) with gain b d.
    """
    d, gain = d[d > 0], gain[d > 0]
    columns = np.stack([d, -d * np.log(d)], 1)
    a, b = np.linalg.lstsq(columns, gain, rcond=None)[0]
    return float(a), float(b)


def draw_overoptimization(axis: plt.Axes, label: str, runs: Runs) -> None:
    """Runs that differ in their seed, and one curve of Gao et al. through their gold.

    Fitted up to where gold first falls below 0.1: a pass rate cannot fall for ever, as
    the curve does. gain = gold - gold of the base.
    """
    ds, gains = [], []
    color = axis.plot([], [])[0].get_color()
    for run in runs:
        d, gold, proxy = distance_curve(run)
        axis.plot(d, gold, "o", color=color, ms=4)
        axis.plot(d, proxy, "^--", color=color, ms=3, alpha=0.4)
        alive = np.arange(len(d)) <= np.argmax([*(gold < 0.1), True])
        ds.append(d[alive])
        gains.append(gold[alive] - gold[0])
    d, gain = np.concatenate(ds), np.concatenate(gains)
    a, b = overoptimization(d, gain)
    error = gain[d > 0] - d[d > 0] * (a - b * np.log(d[d > 0]))
    fitted = 1 - error.var() / gain[d > 0].var()
    x = np.linspace(1e-3, d.max(), 200)
    text = f"{label}: d ({a:.2f} - {b:.2f} ln d), R2 {fitted:.2f}"
    axis.plot(x, gold[0] + x * (a - b * np.log(x)), color=color, label=text)


def plot_overoptimization(
    groups: dict[str, Runs], defences: dict[str, scaling.Result], path: Path
) -> None:
    """Gold over the distance from the base: left what a learned reward does, right what
    helps against it."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.6), sharey=True, layout="constrained"
    )
    for label, runs in groups.items():
        draw_overoptimization(left, label, runs)
    for label, run in defences.items():
        d, gold, _ = distance_curve(run)
        (line,) = right.plot(d, gold, "o-", ms=4, label=label)
        right.plot(d[-1], gold[-1], "s", color=line.get_color(), ms=9, mfc="none")
    left.set(title="dots: gold, with its fit; triangles: proxy")
    left.set(ylabel="held-out pass rate, or mean reward")
    right.set(title="defences; a square marks where a run ends")
    for axis in (left, right):
        axis.set(
            ylim=(0, 1.05), xlabel="d = sqrt(KL) from the base (nats of an answer)"
        )
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(argv: list[str]) -> None:
    if argv:
        if argv[0] != "add":
            raise ValueError(f"the only command is add, got {argv[0]!r}")
        take_in(HERE / "runs.jsonl", [record(Path(folder)) for folder in argv[1:]])
    runs = read_runs()
    made = tables(runs)
    write_tables(HERE / "README.md", made)
    print("\n\n".join(made))
    plot_hacking(runs["contains"], HERE / "hacking.png")
    seeds = [runs["learned-1"], runs["learned-2"]]
    names = {"none": "learned-1", "KL penalty 0.05": "kl05-1"}
    names |= {"KL penalty 0.2": "kl20-0"}
    defences = {label: runs[name] for label, name in names.items()}
    plot_overoptimization({"2 seeds": seeds}, defences, HERE / "reward_model.png")


if __name__ == "__main__":
    main(sys.argv[1:])
