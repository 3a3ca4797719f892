"""Fits and forecasts: known curves come back, unknown ones are not made up."""

from pathlib import Path

import numpy as np
import pytest

import scaling
import train
from scaling import Curve, Sigmoid, fit_sigmoid, forecast

# Digitised from figure 1 of ScaleRL (arXiv:2510.13786), CC BY 4.0.
SCALERL = Path(__file__).parent / "data" / "scalerl_fig1_digitized.csv"
COMPUTE = np.geomspace(1, 100, 30)


def test_the_formula_by_hand():
    """R(2k) with A .645, B 1.7, C_mid 8k, R_0 .3 is .330; half the gain is at C_mid."""
    curve = Sigmoid(0.645, 1.7, 8000, 0.3)
    assert curve(np.array([2000.0]))[0] == pytest.approx(0.3298, abs=1e-4)
    assert curve(np.array([8000.0]))[0] == pytest.approx((0.645 + 0.3) / 2)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(
    "truth",
    [
        Sigmoid(0.61, 1.92, 10.0, 0.30),
        Sigmoid(0.95, 0.8, 5.0, 0.10),
        Sigmoid(0.80, 6.0, 30.0, 0.40),
    ],
)
def test_curves_without_noise_come_back(truth, free):
    """No starting values, no local minimum: a gentle, a usual and a steep curve."""
    fit = fit_sigmoid(COMPUTE, truth(COMPUTE), None if free else truth.r0)
    assert fit.a == pytest.approx(truth.a, abs=2e-3)
    assert fit.b == pytest.approx(truth.b, rel=0.02)
    assert fit.c_mid == pytest.approx(truth.c_mid, rel=0.02)
    assert fit.r0 == pytest.approx(truth.r0, abs=5e-3)


def test_the_published_curve():
    """ScaleRL's 8B run: the fit of its first 40k GPU-hours, and ten later points."""
    args = scaling.parse_args(
        f"fit {SCALERL} --x kgpu_hours --run run --only 8B_dense --start 1.5 "
        "--r0 0.4017".split()
    )
    (curve,) = scaling.read_curves(args)
    result = forecast(curve, 0.5, num_draws=50)
    assert result.fit.a == pytest.approx(0.631, abs=0.005)
    assert result.fit.b == pytest.approx(1.87, abs=0.1)
    assert result.fit.c_mid == pytest.approx(10.1, abs=0.5)
    assert len(curve.points(result.until)[0]) == 10
    bias, rmse = result.errors(result.fit)
    assert bias == pytest.approx(-0.012, abs=0.002) and rmse < 0.015
    assert result.identified()


def test_the_ceiling_is_not_made_up():
    """From points that end before C_mid nothing can be said about A, and it is said."""
    truth = Sigmoid(0.6, 2.0, 50.0, 0.2)
    x = np.geomspace(1, 60, 20)
    y = truth(x) + np.random.default_rng(0).normal(0, 0.01, 20)
    result = forecast(Curve("early", [(x, y)], 0.2), 0.5, num_draws=20)
    assert not result.identified()
    assert "NOT identified" in scaling.table([result], "FLOPs")


@pytest.mark.parametrize("shape", ["falling", "flat"])
def test_a_curve_that_gains_nothing(shape):
    """No crash, no gain promised."""
    y = np.linspace(0.4, 0.1 if shape == "falling" else 0.4, 30)
    result = forecast(Curve(shape, [(COMPUTE, y)], 0.4), 0.5, num_draws=20)
    assert result.fit.a <= 0.41
    scaling.table([result], "FLOPs")


def test_intervals_hold_the_truth():
    """Three simulated seeds: the intervals hold A, the band most later points."""
    truth, rng = Sigmoid(0.7, 1.5, 8.0, 0.2), np.random.default_rng(1)
    runs = [(COMPUTE, truth(COMPUTE) + rng.normal(0, 0.01, 30)) for _ in range(3)]
    result = forecast(Curve("seeds", runs, 0.2), 0.5)
    low, high = result.profile
    assert low <= 0.7 <= high < 1 and high - low < 0.1
    low, high = result.interval("a")
    assert low - 0.02 <= 0.7 <= high + 0.02
    assert result.coverage() >= 0.75


def test_profile_by_hand():
    """One parameter is left when the shape is known: chi^2 grows with (A - A_0)^2."""
    truth, rng = Sigmoid(0.7, 1.5, 2.0, 0.2), np.random.default_rng(2)
    widths = []
    for noise in (0.005, 0.02):
        y = truth(COMPUTE) + rng.normal(0, noise, 30)
        low, high = scaling.profile_a(COMPUTE, y, fit_sigmoid(COMPUTE, y, 0.2))
        widths.append(high - low)
    assert 2 < widths[1] / widths[0] < 8  # four times the noise


def test_baselines_by_hand():
    x, y = np.array([1.0, 10.0, 100.0]), np.array([0.1, 0.2, 0.3])
    later = np.array([1000.0, 1e9])
    assert scaling.last_value(x, y)(later) == pytest.approx([0.2, 0.2])
    assert scaling.log_linear(x, y)(later) == pytest.approx([0.4, 1.0])
    power = 0.8 - 0.5 * x**-0.5
    predicted = scaling.power_law(x, power)(np.array([10_000.0]))
    assert predicted == pytest.approx([0.795], abs=0.01)


def test_more_compute_than_fitted_is_not_seen():
    """Changing the later points must not change the fit."""
    y = Sigmoid(0.6, 2.0, 10.0, 0.2)(COMPUTE)
    other = np.where(COMPUTE > 50, 0.0, y)
    fits = [forecast(Curve("x", [(COMPUTE, v)], 0.2), 0.5, 2).fit for v in (y, other)]
    assert fits[0] == fits[1]


CSV = "compute,pass_rate,run\n1,0.1,a\n2,0.2,a\n4,0.3,a\n8,0.4,a\n16,0.45,a\n32,0.5,a\n"
BAD = [
    (CSV, ["--x", "flops"], "has no column 'flops'; it has compute, pass_rate, run"),
    (CSV, ["--run", "seed"], "has no column 'seed'"),
    (CSV, ["--run", "run", "--only", "b"], "no run 'b'; there are a"),
    (CSV, ["--fit-until", "2"], "--fit-until is a share"),
    (CSV, ["--start", "8"], "at least 4 points"),
    (CSV.replace("0.2", "high"), [], "line 3: compute and pass_rate must be numbers"),
    (CSV.replace("0.2", "20"), [], "line 3: compute must be above 0 and pass_rate"),
    ("compute,pass_rate\n", [], "has no rows"),
    ("", [], "has no rows"),
]


@pytest.mark.parametrize("text, flags, message", BAD)
def test_bad_tables_are_one_sentence(text, flags, message, tmp_path, capsys):
    path = tmp_path / "curves.csv"
    path.write_text(text)
    argv = ["fit", str(path), "--out", str(tmp_path / "out"), *flags]
    assert scaling.main(argv) == 2
    err = capsys.readouterr().err.strip()
    assert message in err and len(err.splitlines()) == 1


def test_what_is_not_there(tmp_path, capsys):
    assert scaling.main(["fit", str(tmp_path / "none.csv")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert scaling.main(["magic"]) == 2
    assert "there is no study 'magic'" in capsys.readouterr().err


def test_fit_prints_table_and_figure(tmp_path, capsys):
    path = tmp_path / "curves.csv"
    path.write_text(CSV)
    out = tmp_path / "out"
    assert scaling.main(["fit", str(path), "--out", str(out), "--run", "run"]) == 0
    said = capsys.readouterr().out
    assert "assumed: compute is compute" in said and "| a |" in said
    assert (out / "fit.png").stat().st_size > 10_000 and (out / "fit.md").exists()


def test_runs_of_a_study_are_not_run_again(tmp_path, capsys):
    """Two tiny runs in two processes, then the same call: nothing is left to do."""
    configs = [
        train.make_config(
            dim=16, hidden=16, pretrain_steps=3, steps=1, eval_problems=4, evals=1,
            eval_samples=1, prompts_per_step=2, group_size=2, seed=seed,
            out=str(tmp_path / str(seed)),
        )
        for seed in (0, 1)
    ]  # fmt: skip
    scaling.run_all(configs, workers=2)
    assert all(map(scaling.is_finished, configs))
    before = [(cfg.folder() / "checkpoint.pt").stat().st_mtime for cfg in configs]
    scaling.run_all(configs, workers=2)
    assert "2 runs, 2 of them finished already" in capsys.readouterr().out
    assert before == [(c.folder() / "checkpoint.pt").stat().st_mtime for c in configs]
    with pytest.raises(ValueError, match="another config"):
        scaling.is_finished(train.replace(configs[0], lr=0.5))


def test_a_failed_run_is_named(tmp_path):
    """The others finish; the error carries the last words of the one that failed."""
    cfg = train.make_config(out=str(tmp_path / "bad"), base=str(tmp_path / "nowhere"))
    with pytest.raises(RuntimeError, match="(?s)1 runs failed.*holds no checkpoint"):
        scaling.run_all([cfg], workers=1)
