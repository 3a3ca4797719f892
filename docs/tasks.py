"""The table of tasks: docs/tasks.md from docs/tasks.json.

    python docs/tasks.py                       write tasks.md again
    python docs/tasks.py out/tool-0 out/...    take finished runs into tasks.json first

A run of `grid` also plays with slips, one-shot and step by step: docs/grid.png.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import train  # noqa: E402
from reward import TASKS  # noqa: E402

SLIPS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)


def summary(folder: Path) -> dict:
    """What the table needs of a run's first and last evaluation."""
    config = json.loads((folder / "config.json").read_text())
    rows = train.read_rows(folder, "eval")
    if not rows or rows[-1]["step"] < config["steps"]:
        raise ValueError(f"{folder} is not finished")
    kept = "pass_rate pass_rate_greedy pass_at answer_tokens think_share by_level"
    kept += " by_task sets problems samples"
    names = ("task", "seed", "levels", "pretrain_steps", "steps")
    return {
        **{name: config[name] for name in names},
        "minutes": round(rows[-1]["seconds"] / 60, 1),
        "base": {name: rows[0][name] for name in kept.split() if name in rows[0]},
        "trained": {name: rows[-1][name] for name in kept.split() if name in rows[-1]},
    }


def play(run: train.Run, slip: float, problems: list) -> tuple[float, float]:
    """(step by step, one shot) success on maps whose moves slip this often.

    One shot: the moves that the same policy makes where nothing slips, written down
    and then executed blindly on the slippery map.
    """
    task, samples = TASKS["grid"], 4
    slippery = [task.slippery(problem, slip) for problem in problems]
    key = (run.cfg.seed, train.INTERACT, 0)
    _, closed = train.sample_and_score(run, slippery, samples, key, False)
    batch, _ = train.sample_and_score(run, problems, samples, key, False)
    solved = []
    for i in range(len(batch.envs)):
        start, end = batch.prompt_lengths[i], batch.lengths[i]
        written = batch.tokens[i, start:end][batch.mask[i, start:end] == 1].tolist()
        env, done = task.env(slippery[i // samples], f"one shot {slip} {i}"), False
        for move in train.decode(written):
            if not done:
                _, done = env.step(move)
        solved.append(env.score())
    return closed.mean().item(), float(np.mean(solved))


def slips(folder: Path) -> dict[str, list[float]]:
    """Success over the chance of a slip, of a run's base and its trained model."""
    run = train.finished_run(folder)
    rng = random.Random("slips")
    problems = [TASKS["grid"].draw(4, "test", rng) for _ in range(128)]
    found: dict[str, list[float]] = {"slip": list(SLIPS)}
    trained = {name: w.clone() for name, w in run.model.state_dict().items()}
    for name, weights in (("base", run.base), ("trained", trained)):
        run.model.load_state_dict(weights)
        both = [play(run, slip, problems) for slip in SLIPS]
        found[f"{name}, step by step"] = [a for a, _ in both]
        found[f"{name}, one shot"] = [b for _, b in both]
    return found


def draw_slips(found: dict[str, list[float]], path: Path) -> None:
    plt = train.plt
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, values in found.items():
        if name != "slip":
            color = "C0" if "trained" in name else "C7"
            style = "o-" if "step by step" in name else "s--"
            axes.plot(found["slip"], values, style, color=color, label=name)
    axes.set(xlabel="chance that a move slips (training: 0)", ylabel="success")
    axes.set(ylim=(0, 1.0), title="grid, maps of 4 x 4: what feedback is worth")
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def cells(runs: list[dict], *path: str) -> str:
    """'base to after', mean over seeds, of the value at `path`; '-' for none."""
    means = []
    for stage in ("base", "trained"):
        values = []
        for run in runs:
            value = run[stage]
            for name in path:
                value = value.get(name, {}) if isinstance(value, dict) else {}
            if not isinstance(value, dict):
                values.append(value)
        means.append(f"{np.mean(values):.2f}" if values else "-")
    return " to ".join(means) if means != ["-", "-"] else "-"


def by_task(data: dict) -> dict[str, list[dict]]:
    """Runs of each task, in the order of TASKS; mixtures last."""
    found: dict[str, list[dict]] = {name: [] for name in TASKS}
    for key in sorted(data["runs"]):
        found.setdefault(data["runs"][key]["task"], []).append(data["runs"][key])
    return {name: runs for name, runs in found.items() if runs}


def bounds(name: str, runs: list[dict]) -> str:
    """Chance and ceiling, mean over the tested levels of the task."""
    levels = [int(level) for level in runs[0]["trained"]["by_level"]]
    pair = (TASKS[name].chance, TASKS[name].ceiling)
    return " ".join(f"{np.mean([f(n) for n in levels]):.2g} |" for f in pair)


def table(data: dict) -> str:
    """The text of tasks.md."""
    groups = by_task(data)
    alone = {name: runs for name, runs in groups.items() if "," not in name}
    lines = ["# Nine tasks: what RL adds", ""]
    lines += ["`python docs/tasks.py` writes this file from `docs/tasks.json`. Base to"]
    lines += ["after RL, mean over seeds, on problems held out; one CPU thread."]
    lines += ["", "| task | sampled | greedy | pass@8 | tokens | chance | ceiling |"]
    lines[-1] += " minutes | seeds |"
    lines += ["|---" * 9 + "|"]
    for name, runs in alone.items():
        row = [cells(runs, "pass_rate"), cells(runs, "pass_rate_greedy")]
        row += [cells(runs, "pass_at", "8"), cells(runs, "answer_tokens")]
        row += [bounds(name, runs)[:-2]]
        row += [f"{np.mean([run['minutes'] for run in runs]):.1f}"]
        row += [" ".join(str(run["seed"]) for run in runs)]
        lines += [f"| {name} | " + " | ".join(row) + " |"]
    lines += ["", "Minutes count pretraining, RL and evaluations, on a core that other"]
    lines += ["jobs shared. Chance: the best policy that ignores the problem."]
    lines += ["", "## Seed by seed, sampled", "", "| task | seeds |", "|---|---|"]
    for name, runs in alone.items():
        lines += [f"| {name} | {'; '.join(cells([r], 'pass_rate') for r in runs)} |"]
    lines += ["", "## Test sets beside the usual one", ""]
    lines += ["| task | easy | hard | shift |", "|---|---|---|---|"]
    for name, runs in alone.items():
        row = [cells(runs, "sets", s, "pass_rate") for s in ("easy", "hard", "shift")]
        if set(row) != {"-"}:
            lines += [f"| {name} | " + " | ".join(row) + " |"]
    lines += ["", "`easy`: lower levels, which RL may forget. `hard`: the two levels"]
    lines += ["above any trained. `shift`: a form that no training shows:"]
    for name in alone:
        said = TASKS[name].shifted.__doc__ or ""
        lines += [f"- {name}: {' '.join(said.split()).rstrip('.').lower()}"]
    lines += ["", "## Levels", "", "| task | level | sampled |", "|---|---|---|"]
    for name, runs in alone.items():
        for level in runs[0]["trained"]["by_level"]:
            lines += [f"| {name} | {level} | {cells(runs, 'by_level', level)} |"]
        hard = runs[0]["trained"].get("sets", {}).get("hard", {}).get("by_level", {})
        for level in hard:
            row = cells(runs, "sets", "hard", "by_level", level)
            lines += [f"| {name} | {level}, never trained | {row} |"]
    lines += ["", "## Tasks of several turns", ""]
    lines += ["| task | turns | invalid turns | failed | recovery |", "|---" * 5 + "|"]
    for name, runs in alone.items():
        keys = ("turns", "invalid", "failed", "recovery")
        row = [cells(runs, "by_task", name, key) for key in keys]
        if name in ("tool", "grid", "guess") and set(row) != {"-"}:
            lines += [f"| {name} | " + " | ".join(row) + " |"]
        row = [cells(runs, "sets", "shift", "by_task", name, key) for key in keys]
        if name in ("tool", "grid", "guess") and set(row) != {"-"}:
            lines += [f"| {name}, shift | " + " | ".join(row) + " |"]
    lines += ["", "Failed: episodes in which the world went against the policy at"]
    lines += ["least once; recovery: how many of those still succeed."]
    for name, runs in groups.items():
        if "," in name:
            lines += ["", f"## One model for {name}", ""]
            lines += ["| task | sampled |", "|---|---|"]
            for task in runs[0]["trained"]["by_task"]:
                row = cells(runs, "by_task", task, "pass_rate")
                lines += [f"| {task} | {row} |"]
    if "slips" in data:
        lines += ["", "![Success over slips](grid.png)"]
    if data.get("notes"):
        lines += ["", "## Notes", ""] + [f"- {note}" for note in data["notes"]]
    return "\n".join(lines) + "\n"


def main(folders: list[str]) -> None:
    path = HERE / "tasks.json"
    data = json.loads(path.read_text()) if path.exists() else {"notes": [], "runs": {}}
    for folder in map(Path, folders):
        run = summary(folder)
        data["runs"][f"{run['task']}-{run['seed']}"] = run
        if run["task"] == "grid" and run["seed"] == 0:
            data["slips"] = slips(folder)
    path.write_text(json.dumps(data, indent=1) + "\n")
    if "slips" in data:
        draw_slips(data["slips"], HERE / "grid.png")
    (HERE / "tasks.md").write_text(table(data))
    print(table(data))


if __name__ == "__main__":
    main(sys.argv[1:])
