"""The contest: say what a budget will buy, then spend it. Scored are both.

    python docs/assignments/contest.py forecast NAME --at 0.5,0.7,0.9 --low 0.3,0.5,0.7
        --high 0.7,0.9,1.0 [--budget 3e12] -- [flags of train.py]
    python docs/assignments/contest.py run NAME          train, score, a row

`--at`, `--low` and `--high` are three numbers each: the held-out pass rate that you
expect after half, three quarters and all of the budget, and your 90 % band. The budget
is FLOPs of pretraining and RL together; what a run does beyond it does not count. The
forecast is filed with a hash of itself and of the flags before anything is trained, and
a run is refused if it does not fit. The score is the interval score (Gneiting and
Raftery): the band's width, and 20 times the distance of each truth outside; smaller is
better. The table is contest.csv.
"""

import argparse
import csv
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

import model  # noqa: E402
import train  # noqa: E402
from scaling import STUDIES, load  # noqa: E402

rivals = load(STUDIES / "rivals.py")

NO_FLAGS = "(none: the main job, seed 0)"
SHARES = (0.5, 0.75, 1.0)  # of the budget
COLUMNS = "name hash budget pass_rate truth low at high interval_score".split()


def digest(entry: dict) -> str:
    """The hash of a filed forecast."""
    text = json.dumps(entry, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def three(text: str) -> list[float]:
    """Three pass rates. ValueError for anything else."""
    wrong = (
        f"--at, --low and --high take three pass rates, as 0.5,0.7,0.9, not {text!r}"
    )
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(wrong) from error
    if len(values) != 3 or not all(0 <= value <= 1 for value in values):
        raise ValueError(wrong)
    return values


def file_forecast(args: argparse.Namespace, flags: list[str]) -> str:
    """Write an entry down; returns its hash. ValueError if it is filed already."""
    low, at, high = (three(text) for text in (args.low, args.at, args.high))
    if not all(a <= b <= c for a, b, c in zip(low, at, high, strict=True)):
        raise ValueError("each of --at must lie in its band")
    if Path(args.name).name != args.name:
        raise ValueError(f"a name is one word without slashes, got {args.name!r}")
    train.parse_config([*flags, "--out", "out/x"])  # are these flags at all?
    if not 0 < args.budget < float("inf"):
        raise ValueError(f"--budget is a number of FLOPs, got {args.budget}")
    entry = {"name": args.name, "budget": args.budget, "flags": flags}
    entry |= {"low": low, "at": at, "high": high}
    path = folder_of(args) / "forecast.json"
    if path.exists():
        raise ValueError(
            f"{path} is filed; a forecast is not changed, take another name"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    model.write_file(path, json.dumps(entry | {"hash": digest(entry)}, indent=1) + "\n")
    return digest(entry)


def folder_of(args: argparse.Namespace) -> Path:
    """Where an entry and its run live."""
    return Path(args.out) / args.name


def truth_of(rows: list[dict], budget: float) -> list[float]:
    """Pass rate after each share of the budget, between evaluations; nothing counts
    that was spent beyond it, and a run that ends early stays where it ended."""
    total = np.array([row["pretrain_flops"] + row["rl_flops"] for row in rows], float)
    rates = np.array([row["pass_rate"] for row in rows])
    inside = total <= budget
    if not inside.any():
        return [0.0] * len(SHARES)
    found = []
    for share in SHARES:
        spent = share * budget
        rate = np.interp(spent, total[inside], rates[inside])
        found.append(float(rate) if spent >= total[0] else 0.0)
    return found


def run(args: argparse.Namespace) -> dict:
    """Train an entry, score it, add its row. ValueError if the forecast was changed."""
    folder, table = folder_of(args), Path(args.table)
    if not (folder / "forecast.json").exists():
        raise ValueError(f"{folder} has no forecast.json: file a forecast first")
    if not table.parent.is_dir():
        raise ValueError(f"--table: there is no folder {table.parent}")
    entry = json.loads((folder / "forecast.json").read_text())
    if entry.pop("hash", "") != digest(entry):
        raise ValueError(f"{folder}/forecast.json was changed after it was filed")
    given = [*entry["flags"], "--out", str(folder / "run")]
    train.train(train.parse_config(given))
    rows = model.read_rows(folder / "run", "eval")
    truth = np.array(truth_of(rows, entry["budget"]))
    low, at, high = (np.array(entry[name]) for name in ("low", "at", "high"))
    score = rivals.score_band(at, low, high, truth)
    row = {"name": entry["name"], "hash": digest(entry), "budget": entry["budget"]}
    row |= {"pass_rate": round(truth[-1], 3), "truth": words(truth)}
    row |= {name: words(entry[name]) for name in ("low", "at", "high")}
    row["interval_score"] = round(score.interval, 3)
    known = table.read_text() if table.exists() else ""
    with open(table, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not known:
            writer.writeheader()
        if row["hash"] not in known:  # an entry has one row
            writer.writerow(row)
    return row


def words(values: list[float] | np.ndarray) -> str:
    """Three numbers in a cell."""
    return " ".join(f"{value:.3f}" for value in values)


def main(argv: list[str]) -> int:
    own, _, flags = " ".join(argv).partition(" -- ")
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="flags of train.py come last, after --; none: the main job, seed 0",
    )
    text = "file a forecast, or train, score and add a row: about 5 minutes"
    parser.add_argument("what", choices=["forecast", "run"], help=text)
    parser.add_argument("name", help="of the entry")
    text = "the pass rates that you expect after half, three quarters and all of the "
    text += "budget, like 0.5,0.7,0.9"
    parser.add_argument("--at", default="", help=text)
    for name, end in (("low", "lower"), ("high", "upper")):
        text = f"the {end} ends of your 90 %% bands about these three"
        parser.add_argument(f"--{name}", default="", help=text)
    text = "FLOPs of pretraining and RL together, default 3e12"
    parser.add_argument("--budget", type=float, default=3e12, help=text)
    text = "folder of all entries, default out/contest: there is NAME/forecast.json, "
    text += "and NAME/run once it is trained"
    parser.add_argument("--out", default="out/contest", help=text)
    text = "of run: the CSV file that gets a row, default docs/assignments/contest.csv"
    parser.add_argument("--table", default=str(HERE / "contest.csv"), help=text)
    args = parser.parse_args(own.split())
    try:
        if args.what == "forecast":
            hashed = file_forecast(args, flags.split())
            print(f"filed as {hashed} with flags: {flags or NO_FLAGS}")
        else:
            row = run(args)
            print(f"interval score {row['interval_score']}, truth {row['truth']}")
    except (ValueError, OSError) as error:
        print(f"contest.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
