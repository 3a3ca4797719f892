"""Rewards other than the truth, at work in a run: what is paid, logged and charged."""

import pytest
import torch
from test_train import TINY, rows_of, same_weights

import train
from reward import TASKS


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--reward", "nice"], "reward must be one of gold, contains"),
        (
            ["--reward", "contains", "--task", "guess"],
            "does not suit guess, only chain",
        ),
        (["--reward", "learned", "--task", "guess"], "needs problems to hold out"),
        (["--reward", "format", "--false-positive", "0.1"], "a rule of its own"),
        (["--false-negative", "1.5"], "false_negative must be between 0 and 1"),
    ],
)
def test_bad_rewards_are_one_sentence(argv, message, capsys):
    assert train.main(argv) == 2
    err = capsys.readouterr().err.strip()
    assert message in err and len(err.splitlines()) == 1


LEARNED = dict(reward="learned", rm_answers=1024, rm_steps=26, rm_models=2, rm_refit=2)


def tiny(out, **changes):
    return train.make_config(**{**TINY, "out": str(out), **changes})


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A short run paid by two reward models, fitted again once."""
    return train.train(tiny(tmp_path_factory.mktemp("rm") / "run", **LEARNED))


def test_gold_and_proxy_are_both_logged(learned):
    rows = rows_of(learned.folder)
    rl = [row for row in rows if row["kind"] == "rl"]
    assert all({"reward", "gold", "kl_base"} <= row.keys() for row in rl)
    assert any(abs(row["reward"] - row["gold"]) > 0.01 for row in rl)
    assert (
        abs(rl[0]["kl_base"]) < 1e-5 < abs(rl[-1]["kl_base"])
    )  # the first sample is the base's
    evals = [row for row in rows if row["kind"] == "eval"]
    assert all({"reward", "kl_base", "pass_rate"} <= row.keys() for row in evals)
    fits = [row for row in rows if row["kind"] == "reward"]
    assert [row["labelled"] for row in fits] == [1024, 2048]
    assert "auc_before" in fits[1] and "auc" in fits[0] and "ece" in fits[0]


def test_reward_compute_is_in_the_ledger(learned):
    """Labelled answers, two judges' training and scoring; a verifier costs nothing."""
    train_steps = 2 * 2 * 26 * 64
    least = train_steps * 3 * train.prefill_flops(learned.model.config, 7)
    assert learned.ledger.flops["reward"] > least
    totals = learned.ledger.totals()["rl_flops"]
    assert totals > learned.ledger.flops["reward"]
    assert learned.ledger.flops["logprob"] > 0  # the distance to the base


def test_a_noisy_verdict_is_the_proxy(tmp_path):
    """Every verdict turned round: reward and gold add up to 1, in rl and eval rows."""
    train.train(tiny(tmp_path, false_positive=1.0, false_negative=1.0))
    for row in rows_of(tmp_path):
        if row["kind"] == "rl":
            assert row["reward"] + row["gold"] == pytest.approx(1)
        elif row["kind"] == "eval":
            assert row["reward"] + row["pass_rate"] == pytest.approx(1)


def test_scoring_is_charged_once_for_each_judge(learned):
    """Two judges read every answer, prompt included; an evaluation's share is its."""
    problem = TASKS["chain"].draw(3, "rl", train.random.Random(0))
    batch = train.rollout(learned.model, [problem], 4, 10, (0, 0))
    once = sum(train.prefill_flops(learned.model.config, n) for n in batch.lengths)
    for phase in ("reward", "evaluation"):
        before = dict(learned.ledger.flops)
        train.pay(learned, batch, train.grade(batch, 4), phase)
        assert learned.ledger.flops == {**before, phase: before[phase] + 2 * once}


def test_a_verifier_is_free(tmp_path):
    run = train.train(tiny(tmp_path, reward="contains"))
    assert run.ledger.flops["reward"] == 0
    rl = [row for row in rows_of(tmp_path) if row["kind"] == "rl"]
    assert all(row["reward"] >= row["gold"] for row in rl)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=SLOW), 2, pytest.param(3, marks=SLOW)]
)
def test_a_run_with_judges_resumes_bit_for_bit(learned, tmp_path, monkeypatch, step):
    """Before, at and after the refit: judges, their data and the audit are saved."""

    def stop_at(run, stop, saved):
        if (run.phase, run.step) == ("rl", step):
            stop.note(train.signal.SIGTERM, None)
        return save_sometimes(run, stop, saved)

    save_sometimes = train.save_sometimes
    monkeypatch.setattr(train, "save_sometimes", stop_at)
    with pytest.raises(SystemExit):
        train.train(tiny(tmp_path / "out", **LEARNED))
    monkeypatch.undo()
    resumed = train.train(train.parse_config(["--resume", str(tmp_path / "out")]))
    assert same_weights(learned, resumed)
    assert rows_of(learned.folder) == rows_of(tmp_path / "out")


def test_a_large_kl_penalty_keeps_the_base(tmp_path):
    """The same rule for 20 steps: with a penalty the policy stays nearer the base."""
    common = dict(reward="contains", steps=20, lr=1e-2, kl="k1_raw")
    far, near = (
        train.train(tiny(tmp_path / str(c), **common, kl_coef=c)) for c in (0.0, 1.0)
    )
    far, near = (rows_of(run.folder)[-1]["kl_base"] for run in (far, near))
    assert abs(near) < far / 2


def test_kl_to_base_by_hand(tmp_path):
    """Two policies that differ in one row of the tied head: log pi - log base of each
    answer, by the textbook sum."""
    run = train.new_run(tiny(tmp_path))
    train.begin_rl(run)
    with torch.no_grad():
        run.model.embed.weight[3] += 0.5
    problem = TASKS["chain"].draw(1, "rl", train.random.Random(0))
    batch = train.rollout(run.model, [problem], 4, 6, (0, 0))
    kl = train.kl_to_base(run, batch, 4)
    base = train.GPT(run.model.config)
    base.load_state_dict(run.base)
    for i in range(4):
        total = 0.0
        for t in range(batch.prompt_lengths[i], batch.lengths[i]):
            seen, token = batch.tokens[i : i + 1, :t], batch.tokens[i, t]
            pair = [m(seen)[0, -1].log_softmax(-1)[token] for m in (run.model, base)]
            total += (pair[0] - pair[1]).item()
        assert kl[0, i].item() == pytest.approx(total, abs=1e-4)
    assert run.ledger.tokens["logprob"] == sum(batch.lengths)
