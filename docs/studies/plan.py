"""What a target costs or a budget buys, by the fitted settings of studies.

python scaling.py plan --target 0.9
python scaling.py plan --budget 1e12
"""

import argparse
from pathlib import Path

import numpy as np

from scaling import (
    REFUSALS,
    STUDIES,
    Array,
    Forecast,
    Result,
    arms_of,
    forecast,
    load,
    pool_runs,
    read_results,
    refusal,
    table,
)

compare = load(STUDIES / "compare.py")

FAR = 4  # times the measured RL compute, beyond which no setting is called the best


def main(argv: list[str]) -> None:
    """The command `plan`."""
    what = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="scaling.py plan", description=what)
    parser.add_argument("--target", type=float, default=0.0, help="pass rate to reach")
    parser.add_argument("--budget", type=float, default=0.0, help="FLOPs to spend")
    parser.add_argument("--studies", type=Path, default=STUDIES, help="fitted studies")
    args = parser.parse_args(argv)
    print(plan(args.studies, args.target, args.budget))


def plan(folder: Path, target: float, budget: float) -> str:
    """What a target costs, or what a budget buys if there is no target, in Markdown.

    A setting is a base and the RL on it, and compute counts both. ValueError if neither
    study is there, or for both or none of the two numbers.
    """
    if bool(target) == bool(budget):
        raise ValueError("give plan either --target or --budget")
    if budget and not 0 < budget < float("inf"):
        raise ValueError(f"--budget is a number of FLOPs above 0, got {budget}")
    if target and not 0 < target < 1:
        raise ValueError(f"--target is a pass rate below 1, got {target}")
    rows = []
    for name, runs in settings_of(folder).items():
        fit = forecast(pool_runs(name, runs), 1.0)
        before = runs[0].rows[0]["pretrain_flops"]
        if target:
            answer = cost_of_target(fit, before, target)
        else:
            answer = rate_for_budget(fit, before, budget)
        if answer is not None:
            middle = answer[1]
            total = middle if target else budget
            ahead = (total - before) / fit.until
            cells = [name, compare.with_interval(answer, ".2e" if target else ".3f")]
            cells += [f"{1 - before / total:.0%}", f"{minutes_of(runs, total):,.1f}"]
            cells += [measured_range(fit, ahead)]
            rows.append((ahead > FAR, middle if target else -middle, cells))
    if not rows:
        return "No setting of the studies gets there: the data cannot say what would.\n"
    rows.sort()
    far, _, best = rows[0]
    what = "total FLOPs" if target else "pass rate"
    header = f"setting | {what} [90 %] | share of RL | minutes on one core"
    text = table(f"{header} | measured range", [cells for *_, cells in rows])
    if far:
        return f"{text}\n\nAll of this is further than {FAR} times what was measured.\n"
    overlap = "Settings whose intervals overlap are not told apart."
    return f"{text}\n\nBest: {best[0]}, by its middle. {overlap}\n"


def settings_of(folder: Path) -> dict[str, list[Result]]:
    """Runs of each setting of split, sizes and curve; what two have counts once."""
    settings: dict[str, list[Result]] = {}
    seen = set()
    for study in ("split", "sizes", "curve"):
        if (folder / study / "runs.jsonl").exists():
            for name, runs in arms_of(read_results(folder / study)).items():
                spent = runs[0].rows[-1]["rl_flops"]
                if spent not in seen:
                    settings[name] = runs
                seen.add(spent)
    if not settings:
        raise ValueError(f"{folder} holds none of split, sizes, curve; run one first")
    return settings


def cost_of_target(fit: Forecast, before: float, target: float) -> Array | None:
    """Total compute to a pass rate, (3,) low, middle, high; None if out of reach.

    The interval is where the band for new points crosses the target; what the base
    reaches costs only the base.
    """
    if target <= fit.fit.r0:
        return np.full(3, before)
    grid = np.geomspace(fit.until / 300, fit.until * 10, 600)
    low, middle, high = fit.outlook(grid)
    reached = [rates >= target for rates in (high, middle, low)]
    costs = [before + grid[r][0] if r.any() else np.inf for r in reached]
    return np.array(costs) if np.isfinite(costs[1]) else None


def rate_for_budget(fit: Forecast, before: float, budget: float) -> Array | None:
    """Pass rate from a budget, (3,) low, middle, high; None if the base costs more."""
    if budget <= before:
        return None
    return np.ravel(fit.outlook(np.array([budget - before])))


def minutes_of(runs: list[Result], total: float) -> float:
    """Minutes that so much compute takes, at the pace of these runs."""
    spent = sum(r.rows[0]["pretrain_flops"] + r.rows[-1]["rl_flops"] for r in runs)
    return total * sum(r.seconds for r in runs) / spent / 60


def measured_range(fit: Forecast, ahead: float) -> str:
    """How far a compute lies beyond the measured one, and what is not known there."""
    if ahead <= 1:
        return "inside"
    text = f"{ahead:,.1f} x beyond"
    if why := refusal(fit):
        text += f", and {REFUSALS[why].format(reach=fit.reach())}"
    return text
