"""Tables and pictures of docs/rewards.md, from the logs in docs/runs/rewards.

python docs/rewards.py
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from reward import first_alarms, overoptimization  # noqa: E402
from train import read_rows  # noqa: E402


def hacking_table(folders: list[Path]) -> str:
    """A Markdown table, a row for each run: proxy, gold, and the alarms that rang.

    Gold is the held-out pass rate, the proxy what RL was paid, on the same answers.
    """
    lines = ["| run | proxy | gold: base | best | last | alarms, at step |"]
    lines.append("|---|---|---|---|---|---|")
    for folder in folders:
        rows = read_rows(folder, "eval")
        gold = [row["pass_rate"] for row in rows]
        paid = [row.get("reward", row["pass_rate"]) for row in rows]
        best = int(np.argmax(gold))
        rang = first_alarms(read_rows(folder, "rl"))
        cells = [folder.name, f"{paid[0]:.2f} to {paid[-1]:.2f}", f"{gold[0]:.2f}"]
        cells += [f"{gold[best]:.2f} at {rows[best]['step']}", f"{gold[-1]:.2f}"]
        cells += [", ".join(f"{name} {step}" for name, step in rang.items()) or "none"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot_hacking(folder: Path, path: Path) -> None:
    """Proxy, gold and the alarms over the steps of one run, answer length below."""
    rows = read_rows(folder, "eval")
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
    alarms = first_alarms(read_rows(folder, "rl"))
    for i, (name, step) in enumerate(sorted(alarms.items(), key=lambda x: x[1])):
        top.axvline(step, color="gray", lw=0.8, ls=":")
        place = dict(xycoords=("data", "axes fraction"), fontsize=8, color="gray")
        top.annotate(f" {name}", (step, 0.62 - 0.07 * i), **place)
    top.set(
        ylim=(0, 1.06), ylabel="held-out answers", title=f"RL paid by: {folder.name}"
    )
    top.legend(frameon=False, fontsize=9, loc="center right")
    bottom.plot(steps, [row["answer_tokens"] for row in rows], "o-", color="C2")
    bottom.set(xlabel="RL step (dotted: an alarm rings)", ylabel="tokens of an answer")
    bottom.set_ylim(0)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def distance_curve(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(d, gold, proxy) at each evaluation of a run; d = sqrt(KL(policy || base))."""
    rows = read_rows(folder, "eval")
    names = ("kl_base", "pass_rate", "reward")
    kl, gold, proxy = (np.array([row[name] for row in rows]) for name in names)
    return np.sqrt(np.maximum(kl, 0)), gold, proxy  # an estimate of 0 can be below it


def draw_overoptimization(axis: plt.Axes, label: str, folders: list[Path]) -> None:
    """Runs that differ in their seed, and one curve of Gao et al. through their gold.

    Fitted up to where gold first falls below 0.1: a pass rate cannot fall for ever, as
    the curve does. gain = gold - gold of the base.
    """
    ds, gains = [], []
    color = axis.plot([], [])[0].get_color()
    for folder in folders:
        d, gold, proxy = distance_curve(folder)
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
    groups: dict[str, list[Path]], defences: dict[str, Path], path: Path
) -> None:
    """Gold over the distance from the base: left what a learned reward does, right what
    helps against it."""
    size = dict(figsize=(11, 4.6), sharey=True, layout="constrained")
    figure, (left, right) = plt.subplots(1, 2, **size)
    for label, folders in groups.items():
        draw_overoptimization(left, label, folders)
    for label, folder in defences.items():
        d, gold, _ = distance_curve(folder)
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


def main() -> None:
    """Print the table of all runs and draw both pictures again."""
    runs = HERE / "runs" / "rewards"
    print(hacking_table(sorted(path for path in runs.iterdir() if path.is_dir())))
    plot_hacking(runs / "contains", HERE / "hacking.png")
    seeds = [runs / f"learned-{seed}" for seed in range(3)]
    names = {"none": "learned-0", "KL penalty 0.05": "kl05-0"}
    names |= {"KL penalty 0.2": "kl20-0", "stopped by an audit": "patience-0"}
    names |= {"labelled again every 5": "refit5-0", "ensemble of 3": "ensemble-0"}
    defences = {label: runs / name for label, name in names.items()}
    plot_overoptimization({"3 seeds": seeds}, defences, HERE / "reward_model.png")


if __name__ == "__main__":
    main()
