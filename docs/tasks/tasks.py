"""The tables of this folder's README.md, from runs.jsonl, and what they need of a run.

    python docs/tasks/tasks.py                        make all tables again
    python docs/tasks/tasks.py measure out/tool-0 ... take finished runs in first
    python docs/tasks/tasks.py measure out/path-0 docs/tasks/path.py    and run its code

Measuring loads a run's checkpoint and tests its base and its trained model on a form
that no training shows, if the task has one. A run of `grid` with seed 0 also plays
where moves slip, one-shot and step by step: grid.png.
"""

import json
import random
import re
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))

import model  # noqa: E402
import scaling  # noqa: E402
import train  # noqa: E402
from model import decode  # noqa: E402
from reward import Problem, Puzzle, Task, find_task, of_level, split_of  # noqa: E402
from scaling import Arms, Result  # noqa: E402

KEPT = "step pass_rate pass_rate_greedy pass_at answer_tokens think_share by_level "
KEPT += "frontier rl_flops problems samples turns invalid failed recovery"
TURNS = ("turns", "invalid", "failed", "recovery")
SLIPS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
TRANSFER, SLIPPERY = 10, 20  # keys of random numbers that training does not use


# --------------------------------------------------------------------------------------
# Measuring a run


def measure(folder: Path, named: str = "") -> dict:
    """The record of a finished run, as runs.jsonl holds it; `named` is its task's file.

    `rows` are the evaluations before and after RL, each with its `shift`.
    """
    run = train.finished_run(folder, named)
    rows = model.read_rows(folder, "eval")
    if not rows or rows[-1]["step"] < run.cfg.steps:
        raise ValueError(f"{folder} is not finished")
    config = scaling.given(train.Config(**train.read_checkpoint(folder)["config"]))
    config |= {"task": run.cfg.task, "seed": run.cfg.seed, "steps": run.cfg.steps}
    config |= {"levels": run.cfg.level_list, "shown": run.cfg.shown_list}
    name = f"{find_task(run.cfg.task).name}/{run.cfg.seed}"
    measured = {"slips": slips(run)} if name == "grid/0" else {}
    trained = {key: w.clone() for key, w in run.model.state_dict().items()}
    found = []
    for row, weights in ((rows[0], run.base), (rows[-1], trained)):
        run.model.load_state_dict(weights)
        run.step = row["step"]
        kept = {key: row[key] for key in KEPT.split() if key in row}
        key = (run.cfg.seed, TRANSFER, run.step)
        usual = train.test_set(run.cfg)
        batch = train.rollouts(run, usual, 1, key, "evaluation")
        found.append(kept | episodes(batch) | {"shift": shift(run)})
    return rounded(
        {
            "name": name,
            "config": config,
            "rows": found,
            "seconds": rows[-1]["seconds"],
            "measured": measured,
        }
    )


def rounded(value: object) -> object:
    """The same with five decimals."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 5) if isinstance(value, float) else value


def shift(run: train.Run) -> dict:
    """Pass rate on the tested levels in the task's shifted form; {} if it has none."""
    cfg, task = run.cfg, find_task(run.cfg.task)
    if not hasattr(task, "shifted"):
        return {}
    problems, tested = [], [n for n in cfg.level_list if n >= task.tested_from]
    for level in tested:
        problems += shifted_problems(task, level, cfg.eval_problems // len(tested))
    key = (cfg.seed, TRANSFER + 1, run.step)
    batch = train.rollouts(run, problems, 1, key, "evaluation")
    return {"pass_rate": batch.verdicts().mean().item()} | episodes(batch)


def shifted_problems(task: Task, level: int, n: int) -> list[Problem]:
    """The first `n` of the test split in the task's shifted form."""
    rng, problems = random.Random(f"shift {task.name} {level}"), []
    while len(problems) < n:
        problem = task.shifted(level, rng)
        if task.hidden or split_of(problem.key) == "test":
            problems.append(problem)
    return problems


def episodes(batch: train.Batch) -> dict:
    """How episodes of several turns went; {} for a task of one turn.

    turns      taken in an episode
    invalid    share of turns that were no legal action
    failed     share of episodes in which the world went against the policy
    recovery   pass rate of those
    """
    turns = sum(env.turns for env in batch.envs)
    if turns <= len(batch.envs):
        return {}
    hit = [env.score() for env in batch.envs if env.failed]
    found = {
        "turns": turns / len(batch.envs),
        "invalid": sum(env.invalid for env in batch.envs) / turns,
        "failed": len(hit) / len(batch.envs),
    }
    return found | ({"recovery": float(np.mean(hit))} if hit else {})


def play(run: train.Run, slip: float, problems: list) -> tuple[float, float]:
    """(step by step, one shot): success where moves slip, of the sampled policy.

    One shot: the moves that the same policy makes where nothing slips, written down
    and then executed blindly on the slippery map.
    """
    task, samples = find_task("grid"), 4
    slippery = [task.slippery(problem, slip) for problem in problems]
    key = (run.cfg.seed, SLIPPERY, 0)
    closed = train.rollouts(run, slippery, samples, key, "evaluation")
    batch = train.rollouts(run, problems, samples, key, "evaluation")
    solved = []
    for i in range(len(batch.envs)):
        start, end = batch.prompt_lengths[i], batch.lengths[i]
        written = batch.tokens[i, start:end][batch.mask[i, start:end] == 1].tolist()
        env, done = task.env(slippery[i // samples], f"one shot {slip} {i}"), False
        for move in decode(written):
            if not done:
                _, done = env.step(move)
        solved.append(env.score())
    return closed.verdicts().mean().item(), float(np.mean(solved))


def slips(run: train.Run) -> dict[str, list[float]]:
    """Success over the chance of a slip, of a run's base and its trained model."""
    rng = random.Random("slips")
    problems = [find_task("grid").draw(4, "test", rng) for _ in range(128)]
    found: dict[str, list[float]] = {"slip": list(SLIPS)}
    trained = {name: w.clone() for name, w in run.model.state_dict().items()}
    for name, weights in (("base", run.base), ("trained", trained)):
        run.model.load_state_dict(weights)
        both = [play(run, slip, problems) for slip in SLIPS]
        found[f"{name}, step by step"] = [closed for closed, _ in both]
        found[f"{name}, one shot"] = [blind for _, blind in both]
    return found


# --------------------------------------------------------------------------------------
# Tables and picture


def read_runs() -> Arms:
    """Runs of each task in the order of runs.jsonl, by the task's name."""
    return scaling.arms_of(scaling.read_results(HERE))


def change(runs: list[Result], *path: str) -> str:
    """'base to after', means over seeds of the value at `path`; '-' if none."""
    means = []
    for stage in (0, -1):
        values = []
        for run in runs:
            value = run.rows[stage]
            for name in path:
                value = value.get(name, {}) if isinstance(value, dict) else {}
            if not isinstance(value, dict):
                values.append(value)
        means.append(f"{np.mean(values):.2f}" if values else "-")
    return " to ".join(means) if means != ["-", "-"] else "-"


def task_of(runs: list[Result]) -> Task:
    """The task of some runs."""
    path = runs[0].config["task"]
    return find_task(str(ROOT / path) if path.endswith(".py") else path)


def each(runs: list[Result], name: str) -> str:
    """'base to after' of a value, seed by seed."""
    ends = [[str(run.rows[stage][name]) for run in runs] for stage in (0, -1)]
    return " to ".join(", ".join(values) for values in ends)


def tables(tasks: Arms) -> list[str]:
    """The Markdown tables of README.md, in its order."""
    main, seeds, shifts, levels, turns = [], [], [], [], []
    for name, runs in tasks.items():
        shown, last = runs[0].config["shown"], runs[0].rows[-1]
        minutes = np.mean([run.seconds for run in runs]) / 60
        row = [name, f"{shown[0]} to {shown[-1]}", each(runs, "frontier")]
        row += [change(runs, "pass_rate"), change(runs, "pass_rate_greedy")]
        row += [change(runs, "answer_tokens"), f"{minutes:.1f}"]
        main.append(row + [" ".join(str(run.config["seed"]) for run in runs)])
        seeds.append([name, "; ".join(change([run], "pass_rate") for run in runs)])
        if last["shift"]:
            shifts.append([name, change(runs, "shift", "pass_rate")])
        for level in last["by_level"]:
            row = [name, level + " (shown)" * (int(level) in shown)]
            most = max(last["pass_at"], key=int)
            for path in (["pass_rate"], ["pass_rate_greedy"], ["pass_at", most]):
                row.append(change(runs, "by_level", level, *path))
            task, found = task_of(runs), ""
            if isinstance(task, Puzzle):
                found = change(runs, "by_level", level, "reasoned_at", most)
            row += [found, f"{of_level(task.chance, int(level)):.2g}"]
            levels.append(row + [f"{of_level(task.ceiling, int(level)):.2g}"])
        for label, path in ((name, ()), (f"{name}, shift", ("shift",))):
            row = [change(runs, *path, part) for part in TURNS]
            if set(row) != {"-"}:
                turns.append([label, *row])
    header = (
        "task | shown | deepest level passed, each seed | sampled | greedy | tokens"
    )
    return [
        scaling.table(f"{header} | minutes | seeds", main),
        scaling.table("task | seed by seed, sampled", seeds),
        scaling.table(
            "task | level | sampled | greedy | pass@8 | reasoned pass@8 | chance | "
            "ceiling",
            levels,
        ),
        scaling.table("task | shifted form", shifts),
        scaling.table("task | turns | invalid turns | failed | recovery", turns),
    ]


def write_tables(page: Path, made: list[str]) -> None:
    """Put each table in the place of the one with the same header. ValueError if there
    is none."""
    text = page.read_text()
    for table in made:
        header = table.split("\n")[0]
        if f"\n{header}\n" not in text:
            raise ValueError(f"{page} has no table that begins with {header}")
        old = re.escape(header) + r"(\n\|.*)*"
        text = re.sub(old, lambda _, new=table: new, text, count=1)
    page.write_text(text)


def draw_slips(found: dict[str, list[float]], path: Path) -> None:
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


def take_in(path: Path, new: list[dict]) -> None:
    """Write records into runs.jsonl, one that is there already in its place.

    ValueError if that is a run of another config.
    """
    lines = path.read_text().splitlines()
    records = {json.loads(line)["name"]: line for line in lines}
    for record in new:
        name, config = record["name"], record["config"]
        if name in records and json.loads(records[name])["config"] != config:
            raise ValueError(f"{path} has a {name} of another config: delete its line")
        records[name] = json.dumps(record, separators=(",", ":"))
    path.write_text("\n".join(records.values()) + "\n")


def main(argv: list[str]) -> None:
    if argv:
        if argv[0] != "measure":
            sys.exit(f"tasks.py: the only command is measure, got {argv[0]!r}")
        code = "".join(word for word in argv if word.endswith(".py"))
        folders = [Path(w) for w in argv[1:] if w != "--task" and not w.endswith(".py")]
        take_in(HERE / "runs.jsonl", [measure(folder, code) for folder in folders])
    tasks = read_runs()
    for run in tasks.get("grid", []):
        if "slips" in run.measured:
            draw_slips(run.measured["slips"], HERE / "grid.png")
    made = tables(tasks)
    write_tables(HERE / "README.md", made)
    print("\n\n".join(made))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f"tasks.py: {error}")
