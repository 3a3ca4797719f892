"""Every study's page and figure again from its runs, and README.md: all forecasts.

python scaling.py redraw
"""

import argparse
import json
from pathlib import Path

import numpy as np

from model import write_file
from scaling import (
    STUDIES,
    Result,
    find_study,
    forecast,
    load,
    pool_runs,
    read_results,
    table,
    write_report,
)
from train import BASE_FIELDS

rivals = load(STUDIES / "rivals.py")

ORDER = "curve depth luck tasks pretraining sizes split noise rewards interact "
ORDER = (ORDER + "alternatives recipes group reuse lag inference").split()
# Studies that were run after the wider band of rivals.widen was fixed, but for some
# runs that were done by then, whose forecasts had not been scored.
SINCE = "tasks sizes split alternatives recipes".split()
DONE = (
    "width 32/",
    "width 48/",
    "grpo/",
    "dr_grpo/",
    "without token weights/",
    "dapo/0",
)

ABOUT = """\
Each run by itself; means over runs. Bias: predicted less true pass rate. Interval
score: the width of the 90 % band, and 20 times the distance of each point outside;
smaller is better. Forecast: the sigmoid, moved by rho times its last error; where the
fitted points reach 2 C_mid, the mean of that and the power law in 1 - R, last third.
Last third: fitted to that part of the points only. The others' bands are made as the
forecast's, less the spread of likely fits, with the noise of the last third. Wider
band: the same forecast with the noise of the last third too, and a slope that may be
wrong by twice itself; fixed before most runs of `tasks`, `sizes`, `split`,
`alternatives` and `recipes` were made. How the forecast was chosen, and what the form
knew of these runs: [docs/scaling.md](../scaling.md)."""

LEVELS = """\
When will the next three levels be passed half of the time? C_d = c (d - d_0)^gamma, d_0
the deepest level that the base passes; from runs in which RL has passed four levels by
then. Off by a factor, up or down."""


def main(argv: list[str]) -> None:
    """The command: pages and figures of all studies in a folder, verdicts and forecasts
    beside them. ValueError if it holds no study."""
    what = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="scaling.py redraw", description=what)
    parser.add_argument("--studies", type=Path, default=STUDIES, help="their folder")
    folder = parser.parse_args(argv).studies
    runs, rows = {}, []
    for name in ORDER:
        if (folder / name / "runs.jsonl").exists():
            runs[name] = read_results(folder / name)
            verdict = write_report(find_study(name), runs[name], folder / name)
            rows.append([f"[`{name}`](docs/studies/{name}/{name}.md)", verdict])
    if not runs:
        raise ValueError(f"{folder} holds none of {', '.join(ORDER)}; run one first")
    museum = folder.parent / "museum"
    if (museum / "runs.jsonl").exists():
        verdict = write_report(find_study(str(museum)), read_results(museum), museum)
        rows.append(["[`museum`](docs/museum/museum.md)", verdict])
    # Relative links here, those of the main README in the printed rows.
    text = table("study | verdict", rows)
    print(text)
    text = text.replace("docs/studies/", "").replace("docs/museum", "../museum")
    text = "# Studies\n\n" + text + "\n\n"
    if missing := [f"`{name}`" for name in ORDER if name not in runs]:
        text += f"Not run yet: {', '.join(missing)}.\n\n"
    page = text + describe_forecasts(runs)
    write_file(folder / "README.md", page)
    print(f"\nwrote {folder}/README.md")


def each_once(studies: dict[str, list[Result]]) -> list[Result]:
    """The runs of all studies that had RL; some are shared."""
    runs = [r for results in studies.values() for r in results if len(r.rows) > 1]
    return list({json.dumps([r.config, r.apart]): r for r in runs}.values())


def base_of(result: Result) -> str:
    """What tells bases apart: all that pretraining depends on."""
    given = {name: result.config.get(name) for name in BASE_FIELDS}
    _, _, other = result.apart.rpartition("base ")
    return json.dumps(given | ({"seed": int(other)} if other.isdecimal() else {}))


def describe_forecasts(studies: dict[str, list[Result]]) -> str:
    """How well each run's end is known from its first parts, in Markdown."""
    before = {name: studies[name] for name in studies if name not in SINCE}
    results = each_once(before | studies)
    num_before = len(each_once(before))
    title = f"## Forecasts over all {len(results)} runs of all studies"
    parts = [title, ABOUT]
    curves = [pool_runs(r.name, [r]) for r in results]
    computes = [curve.points()[0] for curve in curves]
    for share, word in ((0.5, "half"), (0.25, "a quarter"), (0.1, "a tenth")):
        count = [(x <= share * x.max()).sum() for x in computes]
        kept = [i for i, points in enumerate(count) if points >= 5]
        found = [rivals.scores(forecast(curves[i], share, 100)) for i in kept]
        bases = [base_of(results[i]) for i in kept]
        places = [i for i, k in enumerate(kept) if is_gold(results[k])]
        since = [i for i in places if kept[i] >= num_before]
        since = [i for i in since if not results[kept[i]].name.startswith(DONE)]
        everything = list(range(len(found)))
        for picked, ours, title in (
            (everything, "forecast", f"### Fitted on {word} of the compute, {{}} runs"),
            (places, "forecast", "The {} of them whose reward is the true verifier's:"),
            (since, rivals.WIDER, "The {} of these made after that band was fixed:"),
        ):
            if picked:
                told, theirs = [found[i] for i in picked], [bases[i] for i in picked]
                parts += [title.format(len(picked)), rivals.score_table(told)]
                parts += [against_best(told, theirs, ours)]
    parts += ["### Levels to come", LEVELS]
    gold = [r for r in results if is_gold(r)]
    for part, word in ((0.5, "half"), (0.25, "a quarter"), (0.1, "a tenth")):
        told, inside, count = rivals.score_levels(gold, part)
        if count:
            parts += [f"After {word} of the steps: {count} levels that were passed"]
            parts[-1] += f" later, {inside / count:.0%} of them in the 90 % band."
            parts += [told]
    return "\n\n".join(parts + describe_filed(results)) + "\n"


def is_gold(result: Result) -> bool:
    """True if the run was paid by the true verifier, and not by a teacher."""
    paid = {"reward", "false_positive", "false_negative"} & set(result.config)
    return not paid and "distil" not in result.apart


def against_best(
    all_scores: list[dict[str, rivals.Score]], bases: list[str], ours: str = "forecast"
) -> str:
    """Our interval score less that of the best other, run by run.

    Runs on one base are alike: the bootstrap draws bases, each with all of its runs.
    """
    points = {
        name: np.array([found[name].interval for found in all_scores])
        for name in all_scores[0]
    }
    others = [name for name in points if name not in ("forecast", rivals.WIDER)]
    best = min(others, key=lambda name: points[name].mean())
    less = points[ours] - points[best]
    _, owner = np.unique(bases, return_inverse=True)
    sums, counts = np.bincount(owner, less), np.bincount(owner)
    drawn = np.random.default_rng(0).integers(len(sums), size=(2000, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.05, 0.95])
    text = f"{ours.capitalize()}: its score less that of the best other ({best}): "
    text += f"{less.mean():+.3f}\n[{low:+.3f}, {high:+.3f}] "
    return text + f"(90 %, by bootstrap over {len(sums)} bases)."


def describe_filed(results: list[Result]) -> list[str]:
    """How many later points fell into the bands of the forecasts filed at half."""
    hits, filed = [], 0
    for r in results:
        record, (x, y) = r.forecast, pool_runs(r.name, [r]).points()
        if record and record["after_step"] <= 0.6 * record["steps"]:
            later = x > record["rl_flops"][0]
            at = np.log(x[later]), np.log(record["rl_flops"])
            low, high = (np.interp(*at, record[end]) for end in ("low", "high"))
            hits += list((low <= y[later]) & (y[later] <= high))
            filed += 1
    if not hits:
        return []
    return [
        "### Written down at half of the steps, before the rest was run",
        f"{filed} runs, {len(hits)} later points, {np.mean(hits):.0%} of them in "
        "the 90 % band.",
    ]
