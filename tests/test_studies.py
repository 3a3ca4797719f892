"""Studies: what they run, how that is stopped and resumed, and what they report."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import model
import scaling
import train
from scaling import STUDIES, Result, Sigmoid, find_study, read_results

ROOT = Path(scaling.__file__).parent
NAMES = sorted(path.parent.name for path in STUDIES.glob("*/study.py"))
RUN = [name for name in NAMES if (STUDIES / name / "runs.jsonl").exists()]
COMPUTE = np.geomspace(1, 100, 30)
compare = scaling.load(STUDIES / "compare.py")
planner = scaling.load(STUDIES / "plan.py")
redraw = scaling.load(STUDIES / "redraw.py")

# A study of one's own, of runs of seconds: one base, two arms.
OWN = """
from scaling import STUDIES, Study, load
def change(word):
    print("changed by", word)
SLOW = {{**{small}, "lr": 1e-4, "change": (change, "hand")}}
STUDY = Study(
    question="Which rate?", fixed="hardly anything", literature="none.", seeds=1,
    arms=lambda quick: {{"slow": SLOW, "fast": {small}}},
    report=load(STUDIES / "compare.py").compare_arms,
    measure=lambda cfg: {{"rate": cfg.lr}},
)
"""


def own_study(folder: Path, **given: object) -> list[str]:
    """The command line of such a study, whose runs go to out/FOLDER."""
    small = dict(dim=16, pretrain_steps=3, steps=6, evals=6, eval_problems=4)
    small |= dict(eval_samples=1, prompts_per_step=2, group_size=2) | given
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.py").write_text(OWN.format(small=small))
    return [sys.executable, str(ROOT / "scaling.py"), str(folder)]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    """A command from within a folder."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def what_counts(out: Path) -> list:
    """All that a study is made of, less the seconds."""
    found = []
    for folder in sorted(path.parent for path in out.rglob("checkpoint.pt")):
        rows = [model.read_rows(folder, kind) for kind in ("rl", "eval")]
        rows = [{k: v for k, v in r.items() if k != "seconds"} for r in sum(rows, [])]
        weights = train.read_checkpoint(folder)["model"]
        found.append((rows, {name: w.tolist() for name, w in weights.items()}))
    return found


@pytest.mark.slow
def test_a_study_of_ones_own(tmp_path):
    """By path, into out/NAME. A run that fails is named, the others finish; the same
    command does the rest, then nothing. An arm may change the program."""
    command = own_study(tmp_path / "mine")
    out = tmp_path / "out" / "mine"
    *_, last = run([*command, "--dry-run"], tmp_path).stdout.splitlines()[:-1]
    fast = tmp_path / Path(last.split()[0])
    (fast / "metrics.jsonl").mkdir(parents=True)  # no run can write there
    done = run(command, tmp_path)
    assert done.returncode == 1 and "change-hand/0 done" in done.stdout, done.stderr
    failure = re.search(r"0 FAILED, exit status \d, .*Is a directory", done.stdout)
    assert failure and "missing: fast/0 (exit status" in done.stderr
    assert [r.name for r in read_results(out)] == ["slow/0"]
    assert not (out / "mine.md").exists()
    (fast / "metrics.jsonl").rmdir()
    done = run(command, tmp_path)
    assert done.returncode == 0 and "done; 1 of 1 runs" in done.stdout
    page = (out / "mine.md").read_text()
    assert page.startswith("# mine: Which rate?\n\n**Beside slow, fast: ")
    assert (out / "mine.png").exists()
    results = read_results(out)
    assert [r.measured["rate"] for r in results] == [1e-4, 7e-4]
    assert results[0].config["dim"] == 16 and len(results[0].rows) > 5
    assert [r.apart for r in results] == ["mine change hand", ""]
    (log,) = out.parent.glob("runs/*-mine-change-hand/0/log.txt")
    assert log.read_text().startswith("changed by hand\n")
    before = {path: path.stat().st_mtime for path in out.rglob("checkpoint.pt")}
    assert "runs, about" not in run(command, tmp_path).stdout
    assert before == {path: path.stat().st_mtime for path in out.rglob("checkpoint.pt")}


@pytest.mark.slow
def test_stopped_and_killed_at_random_moments(tmp_path):
    """By kill -9, of the runner and its runs or of it alone, or by a signal. The same
    command goes on, with runs that outlived it too; the end is as if nothing was."""
    given = dict(pretrain_steps=60, steps=8, evals=4)
    calm = own_study(tmp_path / "calm" / "mine", **given)
    assert run(calm, tmp_path / "calm").returncode == 0
    shot = own_study(tmp_path / "shot" / "mine", **given)
    rng, stops, status = np.random.default_rng(0), [], None
    while status != 0:
        process = subprocess.Popen(shot, cwd=tmp_path / "shot", start_new_session=True)
        try:
            status = process.wait(rng.uniform(3, 10) if len(stops) < 10 else None)
        except subprocess.TimeoutExpired:
            kind = rng.choice([signal.SIGKILL, *model.SIGNALS])
            together = kind == signal.SIGKILL and rng.random() < 0.5
            (os.killpg if together else os.kill)(process.pid, kind)
            stops.append(process.wait())
            assert stops[-1] in (128 + kind, -kind)  # -kind: before it had begun
    assert what_counts(tmp_path / "calm") == what_counts(tmp_path / "shot")
    assert len(stops) > 3, stops


NUM_BASES = {"sizes": 4, "split": 6, "group": 4, "pretraining": 8, "tasks": 4}
NO_REFERENCE = ("depth", "pretraining")


def test_studies_share_runs_and_bases(tmp_path, capsys, monkeypatch):
    """By settings, whatever an arm is called; and every seed has a base of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scaling, "known_runs", lambda study, jobs: {})
    for name in NAMES:
        assert scaling.main([name, "--seeds", "2", "--quick", "--dry-run"]) == 0
        *runs, _ = capsys.readouterr().out.splitlines()
        places = [line.split()[0].removeprefix("out/quick/") for line in runs]
        assert len(set(places)) == len(places)
        assert name in NO_REFERENCE or places.count("runs/reference/1") == 1
        num_bases = len([place for place in places if place.startswith("bases/")])
        assert num_bases == NUM_BASES.get(name, 2)


def test_a_run_on_record_is_not_made_again(tmp_path):
    """If its config and its change are the same, under whatever name."""
    study = find_study("noise")
    jobs = scaling.plan_runs(study, tmp_path, tmp_path, 1, False)
    kept = {}
    for name, job in jobs.items():
        kept[name] = Result("x/0", scaling.given(job.cfg), [{}], apart=job.apart)
    lines = [json.dumps(vars(kept[f"J = {j}/0"])) for j in ("0.4, constant rate", "1")]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines))
    mine = replace(study, measure=dict, folder=tmp_path)
    found = scaling.known_runs(mine, jobs)
    assert sorted(found) == ["J = 0.4, constant rate/0", "J = 1/0"]
    assert found["J = 1/0"].name == "J = 1/0"


def test_when_levels_are_passed_by_hand():
    """Half-way between two evaluations; 0 for the base's; then 8 d^2, told exactly."""
    rates = {"1": [0.6, 0.9, 0.9], "2": [0.3, 0.4, 0.6], "3": [0.0, 0.1, 0.2]}
    rows = []
    for i in range(3):
        levels = {n: {"pass_rate": r[i]} for n, r in rates.items()}
        rows.append({"rl_flops": 10.0 * i, "by_level": levels})
    assert scaling.pass_times(rows) == pytest.approx({1: 0.0, 2: 15.0})
    times = {4: 0.0} | {4 + d: 8.0 * d**2 for d in range(1, 5)}
    found = scaling.next_levels(times)
    assert list(found) == [9, 10, 11]
    assert found[10] == pytest.approx([8 * 36] * 3)
    assert scaling.next_levels({4: 0.0, 5: 8.0, 6: 32.0, 7: 72.0}) == {}
    # steps of log C off by +-0.1: sd of a step s, of the slope s / sqrt(sum dx^2)
    times = {0: 0.0} | {2**i: np.exp(i + e) for i, e in enumerate((0, 0.1, 0.1, 0.2))}
    dx, dy = np.log(2), np.array([1.1, 1.0, 1.1])
    for ahead, x in ((1, np.log(9 / 8)), (3, np.log(11 / 8))):
        s = dy.std(ddof=1) * np.sqrt(ahead + x**2 / (3 * dx**2))
        half = scaling.student(2) * s
        middle = 3.2 + dy.mean() / dx * x + np.array([-half, 0, half])
        assert scaling.next_levels(times)[8 + ahead] == pytest.approx(np.exp(middle))


def test_a_stopped_run_ends_before_its_end(tmp_path):
    """What the runner does on a signal: no process trains on behind it."""
    cfg = train.make_config(pretrain_steps=30, steps=1, out=str(tmp_path))
    stop = threading.Event()
    stop.set()
    assert "exit status" in scaling.train_run(scaling.Job(cfg), None, stop)
    assert not scaling.is_finished(cfg)


def test_shards_share_out_the_runs(tmp_path, capsys, monkeypatch):
    """Every run is in exactly one part, and every part has bases of its own."""
    monkeypatch.setattr(scaling, "known_runs", lambda study, jobs: {})
    seen = []
    for part in range(3):
        argv = f"curve --dry-run --out {tmp_path}/curve --shard {part}/3"
        assert scaling.main(argv.split()) == 0
        lines = capsys.readouterr().out.splitlines()[:-1]
        seen += [Path(line.split()[0]).relative_to(tmp_path) for line in lines]
    assert len(seen) == len(set(seen)) == 10
    assert len([path for path in seen if path.parts[0] == "runs"]) == 5
    monkeypatch.setattr(scaling, "run_all", lambda *_: {})
    assert scaling.main(["curve", "--shard", "0/3", "--out", f"{tmp_path}/curve"]) == 0
    assert "5 of 5 runs are still to come" in capsys.readouterr().out


def test_a_forecast_is_filed_at_half_of_the_steps(tmp_path):
    """Not before, not twice, not too late, and from nothing later than the half."""
    cfg = train.make_config(steps=40, evals=20, out=str(tmp_path))
    curve, path = Sigmoid(0.8, 2.0, 8.0, 0.2), tmp_path / "forecast.json"
    start = dict(kind="eval", step=0, rl_flops=0, pass_rate=0.2, by_level={})
    start |= dict(problems=256, samples=8)
    lines = [start]
    for step, rate in enumerate(curve(np.arange(1.0, 41)), 1):
        lines.append(dict(kind="rl", step=step))
        lines.append(start | dict(step=step, rl_flops=step, pass_rate=rate))

    def file_after(step: int, more: str = "") -> dict:
        path.unlink(missing_ok=True)
        kept = [json.dumps(line) for line in lines if line["step"] <= step]
        (tmp_path / "metrics.jsonl").write_text("\n".join([*kept, more]))
        scaling.file_forecast(cfg)
        return json.loads(path.read_text()) if path.exists() else {}

    assert not file_after(19) and not file_after(40)
    record, late = file_after(20, '{"kind": "r'), file_after(24)
    assert (record["after_step"], late["after_step"], record["steps"]) == (20, 24, 40)
    assert record["rl_flops"][0] == 20 and record["predicted"] == late["predicted"]
    later = curve(np.array(record["rl_flops"]))
    assert (record["low"] <= later).all() and (later <= record["high"]).all()
    scaling.file_forecast(cfg)
    assert json.loads(path.read_text()) == late


def made_up(arm: str, curve: Sigmoid, cost: float = 2e11, noise: float = 0.0) -> list:
    """Three seeds of an arm that never ran: points of a sigmoid, with noise."""
    results = []
    for seed in range(3):
        rng, x = np.random.default_rng(seed), 1e10 * COMPUTE
        rates = (curve(x) + rng.normal(0, noise, 30)).clip(0, 1)
        start = dict(step=0, pretrain_flops=cost, problems=256, samples=8)
        rows = [start | dict(rl_flops=0, pass_rate=curve.r0)]
        for compute, rate in zip(x, rates, strict=True):
            rows.append(start | dict(rl_flops=compute, pass_rate=rate))
        results.append(Result(f"{arm}/{seed}", {}, rows, seconds=100.0))
    return results


def test_what_an_arm_changes():
    """Its ceiling if that is certain, else its speed, and its end if no ceiling is."""
    truth = Sigmoid(0.8, 2.0, 5e10, 0.2)
    for curve, change in (
        (Sigmoid(0.9, 2.0, 5e10, 0.2), "a higher ceiling"),
        (Sigmoid(0.6, 2.0, 5e10, 0.2), "a lower ceiling"),
        (Sigmoid(0.8, 2.0, 4e10, 0.2), "faster"),
        (Sigmoid(0.8, 2.0, 8e10, 0.2), "slower"),
        (Sigmoid(0.8, 2.0, 5e10, 0.2), "no change seen"),
        (Sigmoid(0.2, 2.0, 5e10, 0.2), "gains nothing"),
        (Sigmoid(0.8, 2.0, 9e11, 0.2), "slower and ends lower"),
        (Sigmoid(0.8, 2.0, 2e12, 0.2), "ends lower"),
    ):
        arms = {"old": made_up("old", truth, noise=0.01)}
        arms["new"] = made_up("new", curve, noise=0.0101)
        verdict, tables, _ = compare.compare_arms(arms)
        assert verdict.startswith(f"Beside old, new: {change}.") and "| old |" in tables
    verdict, _, _ = compare.compare_arms({k: v[:2] for k, v in arms.items()})
    assert "too few seeds to tell" in verdict


def test_the_range_of_arms_by_hand():
    """Two arms of two: of 6 ways to share out 1, 1, 0, 0 two are as far apart."""
    rates = {"low": 0.25, "high": 0.75}
    arms = {n: [Result(f"{n}/0", {}, [{"pass_rate": r}])] * 2 for n, r in rates.items()}
    text = compare.permutation_test(arms)
    assert text.startswith("The ends span 0.250 (low) to 0.750 (high), as wide by")
    assert float(text.split()[-1]) == pytest.approx(1 / 3, abs=0.03)


def test_compute_multipliers_by_hand():
    """Twice the C_mid, half the efficiency, at every target and for every seed."""
    fast = made_up("fast", Sigmoid(0.8, 2.0, 5e10, 0.2))
    slow = made_up("slow", Sigmoid(0.8, 2.0, 10e10, 0.2))
    found = compare.multiplier(fast, slow, 0.5)
    assert found == pytest.approx([0.5, 0.5, 0.5], rel=1e-3)
    assert np.isnan(compare.multiplier(fast, slow, 0.9)).all()
    # a fit that would reach 0.6 soon after the end of the points does not count
    short = Result("short/0", {}, slow[0].rows[:17])
    assert np.isnan(compare.compute_to_reach(short, 0.6))
    reached = compare.compute_to_reach(short, 0.45)
    assert reached == pytest.approx(10e10 * (5 / 7) ** 0.5, rel=1e-3)
    end = short.rows[-1]["rl_flops"]  # up to twice as far by the run's own sigmoid
    further = Sigmoid(0.8, 2.0, 10e10, 0.2)(1.9 * end)
    assert compare.rate_at(short, 1.9 * end) == pytest.approx(further, abs=1e-3)
    # one seed at 0.4, two at 0.5 times: mean and sd of logs, t of 2 degrees 2.92
    slow[0] = made_up("slow", Sigmoid(0.8, 2.0, 12.5e10, 0.2))[0]
    half = 2.92 * np.log(0.5 / 0.4) / 3  # sd is ln(1.25) / sqrt(3), over sqrt(3)
    middle = (0.4 * 0.5 * 0.5) ** (1 / 3)
    found = compare.multiplier(fast, slow, 0.5)
    assert found == pytest.approx(middle * np.exp([-half, 0, half]), rel=0.02)


def test_the_plan(tmp_path):
    """A target below a ceiling costs what its curve says; 0.99 is refused."""
    curve = Sigmoid(0.9, 1.3, 5e10, 0.2)
    (tmp_path / "split").mkdir()
    runs = made_up("cheap", curve, noise=0.01)
    runs += made_up("dear", curve, 4e11, noise=0.01)
    lines = [json.dumps(vars(r)) + "\n" for r in runs]
    (tmp_path / "split" / "runs.jsonl").write_text("".join(lines))
    cells = planner.plan(tmp_path, 0.7, 0).splitlines()[2].split("|")
    need = 5e10 * ((0.7 - 0.2) / (0.9 - 0.7)) ** (1 / 1.3) + 2e11
    assert float(cells[2].split()[0]) == pytest.approx(need, rel=0.05)
    assert "cannot say" in planner.plan(tmp_path, 0.99, 0)
    cells = planner.plan(tmp_path, 0, 3e11).splitlines()[2].split("|")
    bought = curve(np.array([1e11]))[0]  # after 2e11 for the base
    assert float(cells[2].split()[0]) == pytest.approx(bought, abs=0.01)
    assert cells[3].strip() == "33%"
    assert "further than 4 times what was measured" in planner.plan(tmp_path, 0, 1e15)


def test_sizes_were_told_from_the_smaller_ones():
    """sizes/told.json, committed before the larger ones were run, is from `tell`."""
    study = scaling.load(STUDIES / "sizes" / "study.py")
    arms = scaling.arms_of(read_results(STUDIES / "sizes"))
    rates = np.array([study.by_step(runs)[1] for runs in arms.values()])
    sizes = np.array([study.count_parameters(runs[0]) for runs in arms.values()])
    told = json.loads((STUDIES / "sizes" / "told.json").read_text())
    for size, name in zip(sizes[3:], ("width 112", "width 192"), strict=True):
        assert told[name] == pytest.approx(study.tell(sizes[:3], rates[:3], size), 1e-3)


def test_against_the_best_by_hand():
    """Less than b by 0.07, 0.10; 0.11 and 0.15 on one base: (2 * 0.26 + 0.1) / 5."""
    values = {"forecast": [0.2] * 4, redraw.rivals.WIDER: [0.1] * 4}
    values |= {"a": [0.5] * 4, "b": [0.27, 0.30, 0.31, 0.35]}
    runs = [{name: v[i] for name, v in values.items()} for i in range(4)]
    score = functools.partial(redraw.rivals.Score, 0, 0, 0, 1)
    found = [{k: score(v) for k, v in run.items()} for run in runs]
    text = "(b): -0.107\n[-0.124, -0.080] (90 %, by bootstrap over 3 bases)"
    assert text in redraw.against_best(found, list("xyzz"))
    wider = redraw.against_best(found, list("xyzz"), redraw.rivals.WIDER)
    assert "(b): -0.207\n[-0.224, -0.180]" in wider  # 0.1 less than above


def test_the_demonstrators_own_nats_by_hand():
    """0.65 think; a step is right with 0.98 + 0.002, each wrong result has 0.002."""
    nats = scaling.load(STUDIES / "bases.py").nats_of
    chances = {"8": 0.35 * 0.982, "7": 0.35 * 0.018 / 9}
    chances |= {"[3d+5=8]8": 0.65 * 0.982, "[3d+5=7]7": 0.65 * 0.002}
    for written, chance in chances.items():
        assert nats(f"C3d+5:{written}\n", 0.65, 0.02) == pytest.approx(-np.log(chance))
    chance = 0.65 * 0.002 * 0.982  # wrong, then right from there
    text = "C3d+5k-9:[3d+5=7;7k-9=8]8\n"
    assert nats(text, 0.65, 0.02) == pytest.approx(-np.log(chance))


def test_majorities_by_hand():
    """Of two answers one is right: a tie, drawn by lot."""
    rows = {"right": [1, 2], "wrong": [[1], []]}
    majority = scaling.load(STUDIES / "answers.py").majority_at
    assert majority(rows, 2) == pytest.approx([0.5, 1.0])


def test_the_best_split_by_hand():
    """Three bases of cost 1, 2, 4: pass rates at one total, and between neighbours."""
    study = scaling.load(STUDIES / "split" / "study.py")

    def base(cost: float, *tops: float) -> list[Result]:
        """Runs that rise from 0 to a top along log C, from C = 1 to 10."""
        found = []
        for top in tops:
            rows = [dict(rl_flops=0, pass_rate=0.0, pretrain_flops=cost)]
            rows += [dict(rl_flops=x, pass_rate=top * np.log10(x)) for x in (1.0, 10.0)]
            found.append(Result("x/0", {}, rows))
        return found

    cheap, middle, dear = base(1, 0.5, 0.5), base(2, 0.9, 0.9), base(4, 0.95, 0.3)
    arms = {"a": cheap, "b": middle, "c": dear}
    rates = study.rates_for(arms, 5.0)
    expected = [0.5 * np.log10(4), 0.9 * np.log10(3), 0.0]
    assert rates[:, 0] == pytest.approx(expected)
    assert np.isnan(study.rates_for(arms, 25.0)[0]).all()  # not run half as far
    share, low, high, rate = study.best_share(arms, 6.0)
    assert (share, low, high) == pytest.approx((4 / 6, 2 / 6, 5 / 6))
    assert rate == pytest.approx(0.9 * np.log10(4))
    assert study.best_share(arms, 3.0) is None  # the cheapest is the best
    edge = {"0": base(0.5, 0.1, 0.1), "a": cheap, "b": middle}
    assert study.best_share(edge, 6.0) is None  # the dearest is the best
    steep = edge | {"a": base(1, 0.5, 0.99), "c": dear}
    share, low, high, _ = study.best_share(steep, 6.0)
    assert (share, low, high) == pytest.approx((4 / 6, 2 / 6, 5.5 / 6))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", RUN)
def test_studies_say_what_their_runs_say(name, tmp_path):
    """Page and verdict are made again from the committed runs, word for word. There is
    a page of the arms of --quick and the fewest seeds, too."""
    kept = (STUDIES / name / f"{name}.md").read_text()
    study, runs = find_study(name), read_results(STUDIES / name)
    verdict = scaling.write_report(study, runs, tmp_path)
    assert kept == (tmp_path / f"{name}.md").read_text() and f"**{verdict}.**" in kept
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    few = [f"{arm}/{i}" for arm in study.arms(True) for i in range(study.least_seeds)]
    runs = [r for r in runs if r.name in few]
    assert "nan" not in scaling.write_report(study, runs, tmp_path)


@pytest.mark.slow
def test_forecasts_over_all_committed_runs():
    """The page of all studies, word for word, has every study that was run."""
    runs = {n: read_results(STUDIES / n) for n in redraw.ORDER if n in RUN}
    page = (STUDIES / "README.md").read_text()
    assert page.endswith(redraw.describe_forecasts(runs))
    assert set(NAMES) == set(redraw.ORDER) and all(f"[`{n}`](" in page for n in RUN)
