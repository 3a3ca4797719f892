"""Rewards other than the truth, at work in a run: what is paid, logged and charged."""

import random

import pytest
import torch
from test_train import rows_of, same_weights, tiny

import grpo
import model
import train
from model import forward_flops
from reward import TASKS
from rollout import rollout

LEARNED = dict(reward="learned", rm_answers=1024)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A short run paid by a judge, which is fitted in 26 steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "RM_STEPS", 26)
        yield train.train(tiny(tmp_path_factory.mktemp("rm") / "run", **LEARNED))


def test_what_is_paid_and_what_is_right_are_both_logged(learned):
    """Without both nobody sees the reward hacked; the first sample is the base's."""
    kinds = ("rl", "eval", "reward")
    rl, evals, (fit,) = (model.read_rows(learned.folder, kind) for kind in kinds)
    assert any(abs(row["reward"] - row["gold"]) > 0.01 for row in rl)
    assert ["kl_base" in row for row in rl] == [True] + [False] * 3  # every tenth
    assert all({"reward", "kl_base", "pass_rate"} <= row.keys() for row in evals)
    assert abs(rl[0]["kl_base"]) < 1e-5 < abs(evals[-1]["kl_base"])
    assert fit["labelled"] == 1024 and 0 <= fit["auc"] <= 1


def test_a_judge_is_charged_and_a_verifier_is_free(learned, tmp_path):
    """Labelled answers, training and scoring are part of RL compute; a rule is not. An
    answer is read once, prompt included; an evaluation's share is the evaluation's."""
    least = 26 * 64 * 3 * forward_flops(learned.model.config, 7)
    assert learned.ledger.flops["reward"] > least
    spent = sum(learned.ledger.flops[phase] for phase in model.PHASES[1:-1])
    assert learned.rows["eval"][-1]["rl_flops"] == spent
    problem = TASKS["chain"].draw(3, "rl", random.Random(0))
    batch = rollout(learned.model, [problem], 4, 10, (0, 0))
    once = sum(forward_flops(learned.model.config, n) for n in batch.lengths)
    for phase in ("reward", "evaluation"):
        before = dict(learned.ledger.flops)
        train.grade(learned, batch, phase)
        assert learned.ledger.flops == {**before, phase: before[phase] + once}
    run = train.train(tiny(tmp_path, reward="contains"))
    assert run.ledger.flops["reward"] == 0
    assert all(r["reward"] >= r["gold"] for r in model.read_rows(tmp_path, "rl"))


def test_a_noisy_verdict_is_paid_and_the_pass_rate_is_true(tmp_path):
    """Every verdict turned round: reward and gold add up to 1, in rl and eval rows."""
    train.train(tiny(tmp_path, false_positive=1.0, false_negative=1.0))
    for kind, truth in (("rl", "gold"), ("eval", "pass_rate")):
        for row in model.read_rows(tmp_path, kind):
            assert row["reward"] + row[truth] == pytest.approx(1)


def test_a_run_with_a_judge_resumes_bit_for_bit(learned, tmp_path, monkeypatch):
    """The judge is saved, not fitted again."""

    def stop_at(run):
        if (run.phase, run.step) == ("rl", 2):
            train.note(run, train.signal.SIGTERM, None)
        save_sometimes(run)

    save_sometimes = train.save_sometimes
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(train, "save_sometimes", stop_at)
        train.train(tiny(tmp_path / "out", **LEARNED))
    resumed = train.train(train.parse_config(["--resume", str(tmp_path / "out")]))
    assert same_weights(learned, resumed)
    assert rows_of(learned.folder) == rows_of(tmp_path / "out")


def test_a_large_kl_penalty_keeps_the_base(tmp_path):
    """The same rule for 20 steps: with a penalty the policy stays nearer the base."""
    common = dict(reward="contains", steps=20, lr=1e-2, kl="k1_raw")
    runs = [train.train(tiny(tmp_path / str(c), **common, kl_coef=c)) for c in (0, 1)]
    far, near = (rows_of(run.folder)[-1]["kl_base"] for run in runs)
    assert abs(near) < far / 2


def test_distance_from_the_base_by_hand():
    """Nats of a whole answer: summed over what the policy wrote, not over the rest."""
    logp = torch.tensor([[9.0, -1.0, -2.0], [0.0, -3.0, 9.0]])
    base = torch.tensor([[0.0, -1.5, -4.0], [0.0, -1.0, 0.0]])
    mask = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    assert grpo.kl_of_answers(logp, base, mask).tolist() == [2.5, -2.0]
