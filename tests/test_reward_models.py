"""Rewards other than the truth: noise, rules that can be hacked, learned rewards."""

import math

import numpy as np
import pytest
import torch
from test_train import TINY, rows_of, same_weights

import reward
import train
from reward import RULES, TASKS, Labelled, Problem

CHAIN = Problem("chain", 2, "C3a+5b-9:", "chain 3a+5b-9", ("3a+5b-9", "9"))
ADD = Problem("add", 2, "A58+46:", "add 46+58", (58, 46, "104"))


# --------------------------------------------------------------------------------------
# Noise


def test_flip_rates_and_what_they_do_to_the_mean():
    """E[r'] = p + (1 - p - q) r: of 40,000 verdicts, 30 % right, 0.1 + 0.5 * 0.3."""
    gold = (np.arange(40_000) % 10 < 3).astype(float)
    noisy = reward.flip_verdicts(gold, (0, 4, 7), 0.1, 0.4)
    assert noisy[gold == 0].mean() == pytest.approx(0.1, abs=0.006)
    assert noisy[gold == 1].mean() == pytest.approx(0.6, abs=0.015)
    assert noisy.mean() == pytest.approx(0.25, abs=0.008)


def test_noise_is_keyed_by_step_and_place():
    """The same key, the same flips, whatever the other verdicts are; another step,
    others. A generator shared between steps would break resuming."""
    gold = np.zeros(1000)
    once = reward.flip_verdicts(gold, (0, 4, 7), 0.5, 0.5)
    other = gold.copy()
    other[500:] = 1
    assert (reward.flip_verdicts(other, (0, 4, 7), 0.5, 0.5)[:500] == once[:500]).all()
    assert (reward.flip_verdicts(gold, (0, 4, 8), 0.5, 0.5) != once).mean() > 0.4


def test_no_noise_is_the_truth_and_all_noise_its_opposite():
    gold = np.array([0.0, 1.0, 1.0, 0.0] * 50)
    assert (reward.flip_verdicts(gold, (0, 0), 0.0, 0.0) == gold).all()
    assert (reward.flip_verdicts(gold, (0, 0), 1.0, 1.0) == 1 - gold).all()


# --------------------------------------------------------------------------------------
# Rules: what each pays for honest answers, for wrong ones, and for its own hack

PAYS = [
    # name, problem, text, is it right?, paid
    ("contains", CHAIN, "9\n", 1, 1),
    ("contains", CHAIN, "[3a+5=8;8b-9=9]1\n", 0, 1),  # in the thought is enough
    ("contains", CHAIN, "0123456789", 0, 1),  # the hack: every digit, no end
    ("contains", CHAIN, "8\n", 0, 0),
    ("contains", ADD, "1\n04\n", 0, 0),
    ("format", CHAIN, "0\n", 0, 1),  # the hack: any digit
    ("format", CHAIN, "[3a+5=8]7\n", 0, 1),
    ("format", CHAIN, "9", 0, 0),
    ("format", CHAIN, "[9\n", 0, 0),
    ("format", ADD, "007\n", 0, 0),
    ("length", CHAIN, "9\n", 1, 1.06),
    ("length", CHAIN, "[000000]1\n", 0, 0.3),  # the hack: padding
    ("last", CHAIN, "9\n", 1, 1),
    ("last", CHAIN, "[8b-9=9", 0, 1),  # the hack: no end
    ("last", CHAIN, "9\n8", 0, 0),
    ("last", CHAIN, "\n", 0, 0),
    ("last", ADD, "[401]104\n", 1, 1),
    ("partial", ADD, "104\n", 1, 1),
    ("partial", ADD, "105\n", 0, 2 / 3),  # the hack: guess the frequent digits
    ("partial", ADD, "10\n", 0, 2 / 3),
    ("partial", ADD, "1049999\n", 0, 3 / 7),
    ("partial", ADD, "104", 0, 0),
    ("tol", CHAIN, "8\n", 0, 1),  # the hack: nearly right
    ("tol", CHAIN, "7\n", 0, 0),
    ("tol", ADD, "103\n", 0, 1),
    ("tol", ADD, "0104\n", 0, 0),
    ("tol", ADD, "9" * 5000 + "\n", 0, 0),  # int() refuses over 4,300 digits
]


@pytest.mark.parametrize("name, problem, text, right, paid", PAYS)
def test_what_each_rule_pays(name, problem, text, right, paid):
    assert TASKS[problem.task].verify(problem, text) == right
    assert RULES[name](problem, text, float(right)) == pytest.approx(paid)


@pytest.mark.parametrize(
    "name, text, gold, paid",
    [
        ("shape_tool", "=64\n", 1.0, 1.0),
        # Failed and malformed calls earn nothing; the hack is a good call five times.
        ("shape_tool", "c59*9\n{E}c59\n{?}c59*9\n{531}=1\n", 0.0, 0.1),
        ("shape_tool", "c1-2\n{-1}" * 5 + "c1-2\n", 0.0, 0.5),
        ("shape_key", "u{13}l{12k}l{11k}", 0.0, 0.5),  # the hack: and no further
        ("shape_key", "u{13}l{12k}l{11k}u", 1.0, 1.5),
        ("shape_key", "kkk", 0.0, 0.0),  # only the environment can say that it is held
    ],
)
def test_shaping_pays_for_what_the_environment_said(name, text, gold, paid):
    assert RULES[name](CHAIN, text, gold) == pytest.approx(paid)


@pytest.mark.parametrize("name", RULES)
def test_rules_take_any_text(name):
    """No exception for whatever a policy can write, and always a plain number."""
    rng = np.random.default_rng(0)
    chars = list("0123456789[]ab+-=;:\n")
    for _ in range(2000):
        text = "".join(rng.choice(chars, rng.integers(0, 12)))
        for problem in (CHAIN, ADD):
            assert 0 <= RULES[name](problem, text, 0.0) <= 1


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
        (["--rm-loss", "hinge"], "rm_loss must be one of pointwise, bradley_terry"),
        (["--rm-models", "0"], "rm_models must be above 0"),
    ],
)
def test_bad_rewards_are_one_sentence(argv, message, capsys):
    assert train.main(argv) == 2
    err = capsys.readouterr().err.strip()
    assert message in err and len(err.splitlines()) == 1


# --------------------------------------------------------------------------------------
# Alarms


def log_of(**columns):
    """`rl` rows from columns; a number stands for the same in all 40 steps."""
    full = {"reward": 0.5, "gold": 0.5, "truncated": 0.0, "answer_tokens": 9.0}
    full |= columns
    at = lambda x, i: x if isinstance(x, float) else x[i]  # noqa: E731
    return [
        {"step": i + 1, **{k: at(x, i) for k, x in full.items()}} for i in range(40)
    ]


def test_alarms_stay_silent_when_nothing_happens():
    assert reward.first_alarms(log_of(kl_base=0.1, think_share=0.3)) == {}


@pytest.mark.parametrize(
    "name, columns, step",
    [
        # From step 21 on gold is 0: the mean over ten steps falls by 0.05 each step,
        # and is more than 0.1 lower for the first time at step 23.
        ("gap", dict(gold=[0.5] * 20 + [0.0] * 20), 23),
        ("truncated", dict(truncated=[0.0] * 20 + [1.0] * 20), 22),
        ("answer_tokens", dict(answer_tokens=[9.0] * 20 + [2.0] * 20), 27),
        ("think_share", dict(think_share=[0.4] * 20 + [0.0] * 20), 26),
        ("kl_base", dict(kl_base=[1.0] * 20 + [19.0] * 20), 26),
    ],
)
def test_each_alarm_by_hand(name, columns, step):
    assert reward.first_alarms(log_of(**columns)) == {name: step}


# --------------------------------------------------------------------------------------
# Reward models


def test_auc_and_calibration_by_hand():
    """Of 2 x 2 pairs right against wrong three are in order, one is a tie: 3.5 / 4."""
    scores = np.array([2.0, 0.0, 0.0, -1.0])
    found = reward.quality(scores, np.array([1.0, 1.0, 0.0, 0.0]))
    assert found["auc"] == pytest.approx(0.875)
    # sigmoid 0.8808, 0.5 twice, 0.2689; bins 8, 5, 2: 0.1192 + 2 * |0| + 0.2689 over 4
    assert found["ece"] == pytest.approx((0.119203 + 0.268941) / 4, abs=1e-5)
    assert math.isnan(reward.quality(scores, np.ones(4))["auc"])
    # Certain and wrong, in the last bin: sigmoid(4) = 0.982014.
    found = reward.quality(np.array([4.0]), np.zeros(1))
    assert found["ece"] == pytest.approx(0.982014, abs=1e-5)


def test_losses_by_hand():
    """-log sigmoid(1) = 0.313262, of -1 1.313262, of 3 - 1 0.126928, 0 - 2 2.126928."""
    scores = torch.tensor([1.0, 1.0])
    loss = reward.reward_loss(scores, torch.tensor([1.0, 0.0]), "pointwise")
    assert loss.item() == pytest.approx((0.313262 + 1.313262) / 2, abs=1e-5)
    scores = torch.tensor([3.0, 0.0, 1.0, 2.0])  # pairs (3, 1) and (0, 2)
    labels = torch.tensor([1.0, 1.0, 0.0, 0.0])
    loss = reward.reward_loss(scores, labels, "bradley_terry")
    assert loss.item() == pytest.approx((0.126928 + 2.126928) / 2, abs=1e-5)


def labelled(count=64, seed=0):
    """Four answers each to `count` prompts; right ones end in '9'."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 4 * count)
    labels[:4] = labels[4:8] = labels[8:12] = [0, 1, 1, 0]  # contrast in every part
    texts = [
        f"C{rng.integers(10)}a+{rng.integers(10)}:" + ("9\n" if y else "4\n")
        for y in labels
    ]
    texts = [t if i % 4 else t[:-1] for i, t in enumerate(texts)]  # unequal lengths
    ids = [train.encode(text) for text in texts]
    T = max(map(len, ids))
    tokens = torch.tensor([row + [train.PAD] * (T - len(row)) for row in ids])
    groups = np.repeat(np.arange(count), 4)
    parts = np.array([0, 1, 2, 0])[groups % 4]
    return Labelled(tokens, [len(x) for x in ids], labels.astype(float), groups, parts)


def test_a_score_reads_the_last_real_token(gpt):
    """Padding and neighbours change nothing; the last token does. A judge that read a
    padded position would score the length."""
    judge = reward.reward_model(gpt.config, gpt.state_dict())
    torch.nn.init.normal_(judge.embed.weight[-1:].data)
    with torch.no_grad():
        judge.embed.weight[-1] = torch.randn(gpt.config.dim)
    a, b = (torch.tensor([train.encode(t)]) for t in ("C3a+5:8\n", "C3a+5:8\n777"))
    n = a.shape[1]
    alone = reward.score(judge, a, [n])
    torch.testing.assert_close(reward.score(judge, b, [n]), alone)
    assert (reward.score(judge, b, [n + 3]) - alone).abs() > 1e-3
    both = reward.score(judge, torch.cat([b, b]), [n, n + 3])
    torch.testing.assert_close(both[:1], alone, rtol=0, atol=1e-5)


def test_a_new_judge_has_no_opinion(gpt):
    """Score exactly 0, and no -1e9 of the ban in it."""
    judge = reward.reward_model(gpt.config, gpt.state_dict())
    data = labelled(4)
    assert (reward.score_all(judge, data.tokens, data.lengths) == 0).all()


@pytest.mark.parametrize("kind", reward.RM_LOSSES)
def test_a_reward_model_learns_what_separates(gpt, kind):
    """Right answers end in 9: held-out AUC of 1 within 100 steps; FLOPs are counted."""
    judge = reward.reward_model(gpt.config, gpt.state_dict())
    data = labelled()
    found, flops, tokens = reward.fit_reward_model(judge, data, kind, 100, (0, 1))
    assert found["auc"] > 0.99
    scored = sum(data.lengths[i] for i in data.part(1))  # tried at 25, 50, 75, 100
    reported = sum(data.lengths[i] for i in data.part(2))
    assert 100 * 64 * 7 <= tokens - 4 * scored - reported <= 100 * 64 * 8
    assert flops > 3 * 2 * train.prefill_flops(gpt.config, 1) * 100 * 64


def test_the_best_step_is_kept(gpt, monkeypatch):
    """AUC 0.6, 0.9, 0.7 at steps 25, 50, 75: the weights of step 50 come back."""
    aucs, seen = [0.6, 0.9, 0.7, 0.0], []

    def scripted(model, data, rows):
        seen.append(model.embed.weight.detach().clone())
        return {"auc": aucs[len(seen) - 1]}

    monkeypatch.setattr(reward, "measure", scripted)
    judge = reward.reward_model(gpt.config, gpt.state_dict())
    reward.fit_reward_model(judge, labelled(), "pointwise", 75, (0, 1))
    assert torch.equal(judge.embed.weight, seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_noisy_labels_make_a_worse_judge(gpt):
    """Labels that are all coin tosses: nothing to learn, AUC near one half."""
    data = labelled(256)
    data.labels = np.random.default_rng(1).integers(0, 2, len(data.labels)) * 1.0
    judge = reward.reward_model(gpt.config, gpt.state_dict())
    found, _, _ = reward.fit_reward_model(judge, data, "pointwise", 50, (0, 1))
    assert abs(found["auc"] - 0.5) < 0.12


def test_pairs_are_of_one_prompt():
    """The right one first, the wrong one of the same prompt in the other half."""
    data, rng = labelled(), np.random.default_rng(0)
    batch = reward.draw_batch(data, data.part(0), "bradley_terry", 32, rng)
    right, wrong = batch[:16], batch[16:]
    assert data.labels[right].min() == 1 and data.labels[wrong].max() == 0
    assert (data.groups[right] == data.groups[wrong]).all()


def test_a_prompt_is_in_one_part_of_the_data():
    """By content: the same problem drawn twice cannot be trained on and reported on."""
    rng = train.random.Random(0)
    drawn = [TASKS["chain"].draw(2, "calibrate", rng) for _ in range(2000)]
    part_of, counts = {}, [0, 0, 0]
    for problem in drawn:
        group, part = reward.held_out_part(problem)
        assert part_of.setdefault(problem.key, (group, part)) == (group, part)
        counts[part] += 1
    assert len(part_of) < 400  # many were drawn twice
    assert len({group for group, _ in part_of.values()}) == len(part_of)
    assert np.allclose(np.array(counts) / 2000, [0.5, 0.25, 0.25], atol=0.08)


def test_an_ensemble_pays_its_least_opinion(gpt):
    """And a center moves one member alone: min(s1 - 0, s2 - 2) through a sigmoid."""
    data, models = labelled(4), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = reward.reward_model(gpt.config, gpt.state_dict())
        with torch.no_grad():
            model.embed.weight[-1] = torch.randn(gpt.config.dim)
        models.append(model)
    a, b = (reward.score_all(m, data.tokens, data.lengths) for m in models)
    paid = reward.Judges(models, [0.0, 2.0], data)(data.tokens, data.lengths)
    least = np.minimum(a, b - 2)
    assert (least == a).any() and (least != a).any()
    assert paid == pytest.approx(1 / (1 + np.exp(-least)))


def test_overoptimization_recovers_its_constants():
    """Points of d (0.3 - 0.1 ln d), with the start, where ln d is not defined."""
    d = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
    gain = np.array([0.0, 0.184657, 0.3, 0.461371, 0.645482, 0.736447])
    assert reward.overoptimization(d, gain) == pytest.approx((0.3, 0.1), abs=1e-5)


# --------------------------------------------------------------------------------------
# In a run

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


def test_the_audit_stops_and_goes_back_to_the_best(tmp_path):
    """Gold 1 for ten steps, then 0: with patience 3 it stops at the fourteenth step,
    and what it kept are the weights of the tenth."""
    run = train.new_run(tiny(tmp_path, patience=3))
    stopped = []
    for step in range(14):
        with torch.no_grad():
            run.model.embed.weight[0, 0] = float(step)
        gold = torch.full((4, 4), float(step < 10))
        stopped.append(train.audit(run, gold))
    assert stopped.index(True) == 12  # three steps after the best, number 9
    assert run.best["embed.weight"][0, 0] == 9


def test_early_stopping_ends_a_run(tmp_path):
    """A run that stopped says so, ends with the best weights, and stays stopped."""
    cfg = tiny(tmp_path, reward="format", steps=40, patience=1, lr=1e-2)
    run = train.train(cfg)
    assert run.phase == "stopped" and run.step < 40
    best = run.best.items()
    assert all(torch.equal(run.model.state_dict()[n], w) for n, w in best)
    before = rows_of(tmp_path)
    again = train.train(cfg)
    assert again.step == run.step and rows_of(tmp_path) == before
