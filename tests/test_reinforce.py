"""One step of RL in train.py: its gradient, its options, its bookkeeping, its guards.

No run is longer than a few steps; what a whole run promises is in test_train.py.
"""

import math

import numpy as np
import pytest
import test_train
import torch

import grpo
import model
import reward
import train
from rollout import rollout

TINY = {**test_train.TINY, "think_share": 0.25, "pretrain_steps": 20, "device": "cpu"}
REWARDS = [[1.0, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 1], [1, 1, 1, 1]]


def new_run(out, **changes):
    """A run at the first step of RL, with random weights."""
    run = train.new_run(train.make_config(**{**TINY, "out": str(out), **changes}))
    run.relay.recent = {2: [], 3: []}
    train.begin_rl(run)
    return run


def sampled(run, stale=0.5):
    """A batch from the run's policy, its log-probabilities then moved off by up to
    `stale`, and rewards that do not depend on the answers."""
    batch = rollout(run.model, train.draw_prompts(run), 4, 24, (0, 0))
    assert len(set(batch.lengths)) > 2 and any(batch.truncated)
    moved = stale * torch.sin(torch.arange(batch.logp.shape[1]))
    batch.logp -= moved * batch.mask
    return batch, torch.tensor(REWARDS)


def gradient(run, batch, advantages, micro_batch=64):
    """The gradient that `update` applies, without applying it, and its stats."""
    found = {}

    def keep(run, lr):
        found.update({n: p.grad.clone() for n, p in run.model.named_parameters()})
        run.optimizer.zero_grad(set_to_none=True)
        found["lr"] = torch.tensor(lr)
        return 0.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "apply_gradients", keep)
        patch.setattr(train, "MICRO_BATCH", micro_batch)
        stats = train.update(run, batch, advantages, train.pay(run, batch))
    run.lr = found.pop("lr").item()
    return torch.cat([g.flatten() for g in found.values()]), stats


def differ(a, b):
    return (a - b).abs().max() > 1e-5


OPTIONS = [dict(aggregation=kind) for kind in grpo.AGGREGATIONS]
OPTIONS += [dict(loss=kind) for kind in grpo.LOSSES]
OPTIONS += [dict(kl=kind, kl_coef=0.3) for kind in grpo.KLS]
OPTIONS += [dict(correction="sequence"), dict(truncated="mask", aggregation="sequence")]
OPTIONS += [dict(entropy_bonus=0.1, flat="keep")]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_micro_batches_do_not_change_the_gradient(options, tmp_path):
    """1, 2, 4 or all sequences at a time: a mean of means would fail; and the same
    metrics, which a sum over the last micro-batch alone would fail."""
    run = new_run(tmp_path, **options)
    batch, rewards = sampled(run)
    advantages = grpo.group_advantages(rewards)
    whole, stats = gradient(run, batch, advantages)
    assert whole.abs().max() > 1e-3
    for rows in (1, 2, 4):
        part, part_stats = gradient(run, batch, advantages, rows)
        torch.testing.assert_close(part, whole, rtol=0, atol=1e-6)
        assert part_stats == pytest.approx(stats, abs=1e-5)


CHOICES = {
    "advantage": grpo.BASELINES,
    "loss": grpo.LOSSES,
    "correction": grpo.CORRECTIONS,
    "aggregation": grpo.AGGREGATIONS,
    "kl": list(grpo.KLS)[1:],  # k1_raw changes the rewards: see the next test
    "flat": ("drop", "keep"),
    "truncated": ("zero", "mask"),
    "clip_low": (0.1, 0.2),
    "clip_high": (0.2, 0.28),
    "kl_coef": (0.0, 0.1, 0.2),
    "entropy_bonus": (0.0, 0.1),
}


@pytest.fixture
def limit(monkeypatch):
    """Ratios are limited to 1.3, so that a small policy meets the limit."""
    monkeypatch.setattr(grpo, "RATIO_MAX", 1.3)
    monkeypatch.setattr(grpo.importance_weights, "__defaults__", (1.3,))


@pytest.mark.parametrize("field", CHOICES)
def test_every_choice_changes_the_gradient(field, tmp_path, limit):
    """No dead options: on answers of unequal length, off policy, no two agree."""
    found, common = [], {"kl": dict(kl_coef=0.5)}
    common["loss"] = dict(clip_low=0.02, clip_high=0.03)
    for choice in CHOICES[field]:
        run = new_run(tmp_path, **{**common.get(field, {}), field: choice})
        run.base = {n: 1.3 * w for n, w in run.base.items()}
        batch, rewards = sampled(run, stale=0.5)
        advantages = grpo.group_advantages(rewards, run.cfg.advantage)
        found.append(gradient(run, batch, advantages)[0])
    for i, a in enumerate(found):
        for j, b in enumerate(found[:i]):
            assert differ(a, b), f"{CHOICES[field][i]} is {CHOICES[field][j]}"


def parity(cfg, batch, *_):
    """A reward with contrast for a policy that knows nothing."""
    return np.array([batch.tokens[i, n - 1] % 2 for i, n in enumerate(batch.lengths)])


def a_few_steps(monkeypatch, out, steps=4, **options):
    """Weights after some steps of `reinforce`, nothing evaluated."""
    monkeypatch.setattr(train.reward, "rewards", parity)
    monkeypatch.setattr(train, "evaluate", lambda run, samples: None)
    run = new_run(out, lr=1e-2, steps=steps, **options)
    out.mkdir()
    train.reinforce(run)
    return torch.cat([w.detach().flatten() for w in run.model.parameters()])


OPTIONS = [{"truncated": "penalty"}, {"truncated": "interrupt"}, {"lag": 1}]
OPTIONS += [{"updates": 2}, {"flat": "resample"}, {"kl": "k1_raw", "kl_coef": 0.5}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_around_the_loss_change_the_weights(options, tmp_path, monkeypatch):
    plain = a_few_steps(monkeypatch, tmp_path / "plain")
    other = a_few_steps(monkeypatch, tmp_path / "other", **options)
    assert differ(plain, other)


def test_lag_zero_is_on_policy_bit_for_bit(tmp_path, monkeypatch):
    """Also where the machinery runs: a lag longer than the run keeps the first weights,
    so one step of it is the on-policy step."""
    plain = a_few_steps(monkeypatch, tmp_path / "plain", steps=1)
    assert plain.equal(a_few_steps(monkeypatch, tmp_path / "zero", steps=1, lag=0))
    assert plain.equal(a_few_steps(monkeypatch, tmp_path / "late", steps=1, lag=8))


def test_what_rl_remembers_survives_a_stop(tmp_path, monkeypatch):
    """Old weights of the sampler, the relay, the reference: all in the checkpoint."""
    options = dict(steps=4, lag=2, kl_coef=0.1, levels="2-4")
    monkeypatch.setattr(train.Relay, "RECENT", 2)
    monkeypatch.setattr(train.Relay, "PASSED", 0.0)  # a level opens at every step
    whole = a_few_steps(monkeypatch, tmp_path / "whole", **options)

    def stop_at_two(run):
        if run.step == 2:
            train.save(run)
            raise SystemExit

    plain = train.save_sometimes
    monkeypatch.setattr(train, "save_sometimes", stop_at_two)
    with pytest.raises(SystemExit):
        a_few_steps(monkeypatch, tmp_path / "part", **options)
    monkeypatch.setattr(train, "save_sometimes", plain)
    state = train.read_checkpoint(tmp_path / "part")
    assert len(state["past"]) == 2 and len(state["recent"]) == 3
    run = train.open_run(train.Config(**state["config"]))
    train.reinforce(run)
    weights = torch.cat([w.detach().flatten() for w in run.model.parameters()])
    assert weights.equal(whole) and len(run.rows["rl"]) == 4


def test_flat_groups_leave_no_trace(tmp_path):
    """All rewards the same: no gradient, no step; Adam's momentum would move on."""
    for flat in ("drop", "keep"):
        run = new_run(tmp_path, flat=flat)
        batch, _ = sampled(run)
        before = {n: w.clone() for n, w in run.model.state_dict().items()}
        paid = train.pay(run, batch)
        stats = train.update(run, batch, torch.zeros(4, 4), paid)
        assert stats["grad_norm"] == 0 and stats["ratio_max"] == 1
        after = run.model.state_dict()
        assert all(torch.equal(before[n], w) for n, w in after.items())


def test_a_kept_flat_group_counts(tmp_path):
    """Token mean: flat groups add tokens to the denominator (sum 5 over 10 kept and 20
    flat tokens is 5/10 dropped, 5/30 kept), and nothing else."""
    found = {}
    for flat in ("drop", "keep"):
        run = new_run(tmp_path, flat=flat)
        batch, rewards = sampled(run)
        found[flat], _ = gradient(run, batch, grpo.group_advantages(rewards))
        tokens = batch.mask.sum(1).view(4, 4).sum(1)
    share = (tokens[:3].sum() / tokens.sum()).item()
    torch.testing.assert_close(found["keep"], share * found["drop"])


def test_masked_truncated_answers_do_not_exist(tmp_path):
    """Left out of loss and denominator: changing their tokens changes nothing."""
    run = new_run(tmp_path, truncated="mask")
    batch, rewards = sampled(run)
    advantages = grpo.group_advantages(rewards)
    before, _ = gradient(run, batch, advantages)
    cut = torch.tensor(batch.truncated)
    batch.logp[cut] -= 3.0
    after, _ = gradient(run, batch, advantages)
    assert torch.equal(before, after)
    batch.truncated = [True] * 16
    nothing, stats = gradient(run, batch, advantages)
    assert nothing.abs().sum() == 0


def test_old_logprobs_are_the_samplers(tmp_path):
    """On policy the ratio is 1 because two code paths agree, not by construction: moved
    old log-probabilities must show."""
    run = new_run(tmp_path)
    batch, rewards = sampled(run, stale=0.0)
    advantages = grpo.group_advantages(rewards)
    _, stats = gradient(run, batch, advantages)
    assert stats["mismatch"] < 1e-5 and abs(stats["ratio_max"] - 1) < 1e-5
    batch.logp[0, batch.lengths[0] - 1] -= 0.5
    _, stats = gradient(run, batch, advantages)
    assert stats["mismatch"] == pytest.approx(math.exp(0.5) - 1, abs=1e-4)
    assert stats["ratio_max"] == pytest.approx(math.exp(0.5), abs=1e-4)
    assert stats["clip_share"] == pytest.approx(1 / batch.mask[:12].sum().item())


def test_the_second_update_sees_new_weights(tmp_path):
    """Old log-probabilities stay those of the sampler: ratio 1, then no longer 1."""
    run = new_run(tmp_path, updates=2, lr=1e-2)
    batch, rewards = sampled(run, stale=0.0)
    paid = train.pay(run, batch)
    stats = train.update(run, batch, grpo.group_advantages(rewards), paid)
    assert stats["mismatch"] < 1e-5 and stats["ratio_max"] > 1.01


def columns_of(run, batch, rewards):
    """What the loss gets of all answers of a batch."""
    advantages, everybody = grpo.group_advantages(rewards), torch.arange(16)
    return train.loss_columns(run, batch, advantages, train.pay(run, batch), everybody)


def test_correction_compares_with_the_policy_of_now(tmp_path, limit):
    """Old becomes the present policy, and the weight is exp(old - sampler)."""
    run = new_run(tmp_path, correction="token")
    batch, rewards = sampled(run)
    columns = columns_of(run, batch, rewards)
    exact = grpo.token_logprobs(run.model(batch.tokens), batch.tokens)
    own = batch.mask > 0
    torch.testing.assert_close(columns["old_logp"][own], exact[own], rtol=0, atol=1e-5)
    ratio = (exact - batch.logp).exp().clamp(max=1.3)
    got = columns["correction"]
    torch.testing.assert_close(got[own], ratio[own], rtol=0, atol=1e-4)
    _, stats = gradient(run, batch, grpo.group_advantages(rewards))
    assert abs(stats["ratio_max"] - 1) < 1e-5 and stats["mismatch"] > 0.3
    assert run.ledger.tokens["logprob"] == 2 * sum(batch.lengths)


def test_the_reference_is_the_base(tmp_path):
    """KL 0 at first, then that to the old weights; what is masked spoils nothing."""
    run = new_run(tmp_path, kl="k3_loss", kl_coef=0.1)
    batch, rewards = sampled(run, stale=0.0)
    advantages = grpo.group_advantages(rewards)
    _, stats = gradient(run, batch, advantages)
    assert abs(stats["kl"]) < 1e-9
    with torch.no_grad():
        run.model.embed.weight.mul_(1.5)
    before = run.model.embed.weight.clone()
    _, stats = gradient(run, batch, advantages)
    assert stats["kl"] > 1e-3 and torch.equal(run.model.embed.weight, before)
    columns = columns_of(run, batch, rewards)
    columns["base_logp"][batch.mask == 0] = 500.0
    tree = model.pack(batch.lengths, batch.tokens, batch.mask)
    grpo.micro_loss(run.model(tree), tree.places, columns, run.cfg)[0].backward()
    assert run.model.embed.weight.grad.isfinite().all()


def test_kl_in_the_reward_reaches_earlier_tokens(tmp_path):
    """A_t = A - coef * (KL at t and after it), each estimated by k1."""
    run = new_run(tmp_path, kl="k1_reward", kl_coef=0.5)
    batch, rewards = sampled(run)
    run.base = {n: 1.3 * w for n, w in run.base.items()}
    columns = columns_of(run, batch, rewards)
    start, end = batch.prompt_lengths[0], batch.lengths[0]
    k1 = (batch.logp - columns["base_logp"])[0, start:end]
    got = columns["advantage"][0, start:end]
    assert k1.abs().max() > 0.01
    advantage = grpo.group_advantages(rewards)[0, 0]
    for t in range(end - start):
        expected = (advantage - 0.5 * k1[t:].sum()).item()
        assert got[t].item() == pytest.approx(expected, abs=1e-5)


def test_the_sampler_is_lag_steps_behind(tmp_path, monkeypatch):
    """Step s samples with weights of step s - 2, or the first; training has its own."""
    run = new_run(tmp_path, lag=2)
    seen = []
    see = lambda run, *_, **__: seen.append(mark(run.model)) or batch  # noqa: E731
    monkeypatch.setattr(train, "rollouts", see)
    batch = sampled(run)[0]

    def mark(model):
        return model.embed.weight[0, 0].item()

    for step in range(5):
        with torch.no_grad():
            run.model.embed.weight[0, 0] = step
        train.sample(run, train.draw_prompts(run))
        assert mark(run.model) == step
    assert seen == [0, 0, 0, 1, 2]


def pay_of(rewards):
    """Pay of answers that were given these rewards (P, G)."""
    paid = torch.tensor(rewards).flatten()
    nothing = torch.zeros(len(paid), 1)
    return train.Pay(paid, 0 * paid, nothing, nothing)


def test_resample_fills_the_batch(tmp_path, monkeypatch):
    """Flat groups make way for new prompts, and are charged; live ones stay."""
    run = new_run(tmp_path, flat="resample")
    later = iter([pay_of([REWARDS[0], REWARDS[3]]), pay_of(REWARDS[:1])])
    monkeypatch.setattr(train, "pay", lambda run, batch, first: next(later))
    batch = train.sample(run, train.draw_prompts(run))
    spent = run.ledger.tokens["decode"]
    first = pay_of([REWARDS[3], REWARDS[1], REWARDS[3], REWARDS[2]])
    full, paid = train.resample(run, batch, first)
    rewards = paid.rewards.view(4, 4)
    assert rewards.tolist() == [REWARDS[1], REWARDS[2], REWARDS[0], REWARDS[0]]
    assert full.envs[:8] == batch.envs[4:8] + batch.envs[12:]
    keys = {env.problem.key for env in full.envs}
    assert len(keys) == 4 and run.ledger.tokens["decode"] > spent
    monkeypatch.undo()
    _, stats = gradient(run, full, grpo.group_advantages(rewards))
    assert stats["mismatch"] < 1e-5


def test_soft_overlong_penalty_of_a_batch(tmp_path):
    """Counted from the prompt's end; the last fifth of the room costs up to 1."""
    run = new_run(tmp_path, truncated="penalty")
    batch, _ = sampled(run)
    room = run.cfg.max_new
    prompt = max(batch.prompt_lengths)
    batch.tokens = torch.zeros(16, prompt + room, dtype=torch.long)
    batch.prompt_lengths = [prompt] * 16
    batch.lengths = [prompt + room] * 8 + [prompt + room - room // 5] * 8
    assert train.pay(run, batch).penalties.tolist() == [1.0] * 8 + [0.0] * 8


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_skipped(bad, tmp_path):
    run = new_run(tmp_path)
    run.model.embed.weight.sum().backward()
    train.apply_gradients(run, 1e-3)
    before = run.model.embed.weight.detach().clone()
    moment = run.optimizer.state[run.model.embed.weight]["exp_avg"].clone()
    for _ in range(2):
        (run.model.norm.weight[0] * bad + run.model.embed.weight.sum()).backward()
        assert not math.isfinite(train.apply_gradients(run, 1e-3))
    assert run.skipped == 2 and torch.equal(run.model.embed.weight, before)
    assert torch.equal(run.optimizer.state[run.model.embed.weight]["exp_avg"], moment)
    with pytest.raises(FloatingPointError, match="rl step 0: the third gradient"):
        (run.model.embed.weight.sum() * bad).backward()
        train.apply_gradients(run, 1e-3)


def test_the_norm_is_clipped_and_reported(tmp_path):
    """Gradient (3, 4): norm 5 is reported, (0.6, 0.8) is applied."""
    run = new_run(tmp_path)
    run.optimizer = torch.optim.SGD(run.model.parameters(), lr=1.0)
    weight = run.model.norm.weight
    before = weight.detach().clone()
    (3 * weight[0] + 4 * weight[1]).backward()
    assert train.apply_gradients(run, 1.0) == pytest.approx(5.0)
    moved = (before - weight.detach())[:2].tolist()
    assert moved == pytest.approx([0.6, 0.8], abs=1e-5)
    assert weight.grad is None, "a gradient left over would be added to the next"


def test_adam_by_hand(tmp_path):
    """First step at g = 1e-10 is 0.0099 lr (epsilon 1e-8), at g = 1 lr: no decay."""
    run = new_run(tmp_path)
    weight = run.model.blocks[0].attn.qk_norm
    weight.grad = torch.ones_like(weight)
    weight.grad[0, 0] = 1e-10
    run.optimizer.param_groups[0]["lr"] = 0.1
    run.optimizer.step()
    moved = (1 - weight.detach()[0, :2]).tolist()
    assert moved == pytest.approx([0.00099010, 0.1], rel=1e-3)


def test_warm_up_starts_above_zero(tmp_path):
    """lr / 5 at the first of five steps; then it falls as 1 / sqrt(1 + step / 100)."""
    rates = []
    for step in (0, 4, 100, 300):
        run = new_run(tmp_path, lr=1e-3)
        batch, rewards = sampled(run)
        run.step = step
        gradient(run, batch, grpo.group_advantages(rewards))
        rates.append(run.lr)
    assert rates == pytest.approx([2e-4, 1e-3 / 1.04**0.5, 1e-3 / 2**0.5, 5e-4])


def test_recipes_fill_what_the_user_left_open():
    configs = {name: train.make_config(recipe=name) for name in grpo.RECIPES}
    for name, cfg in configs.items():
        for field, value in grpo.RECIPES[name].items():
            assert getattr(cfg, field) == value
    assert len({repr(train.replace(cfg, recipe="")) for cfg in configs.values()}) == 9
    assert train.Config(levels="1-9").gpt.context == 30 + 66 + 16  # see max_new
    cfg = train.parse_config(["--recipe", "dapo", "--flat", "keep", "--task", "guess"])
    assert (cfg.flat, cfg.truncated, cfg.steps) == ("keep", "penalty", 500)


def test_stats_of_a_step(tmp_path):
    """Rewards of all samples, truncated ones included; tokens of the policy alone."""
    run = new_run(tmp_path)
    batch, rewards = sampled(run, stale=0.0)
    stats = train.batch_stats(run, batch, pay_of(REWARDS))
    assert stats["reward"] == 10 / 16 and stats["live_groups"] == 0.75
    assert stats["truncated"] == sum(batch.truncated) / 16
    assert stats["answer_tokens"] == batch.mask.sum().item() / 16
    assert abs(stats["kl_base"]) < 1e-4, "the policy is its base"
    mean = (batch.logp.sum() / batch.mask.sum()).item()
    assert stats["entropy"] == pytest.approx(-mean)
    batch.tokens[:4] = batch.tokens[0].clone()  # all four; then three of four
    batch.tokens[4:7] = batch.tokens[4].clone()
    assert train.batch_stats(run, batch, pay_of(REWARDS))["identical"] == 0.25


def test_ledger_by_hand(tmp_path):
    """Each prompt once but its last token; each later token at its own context."""
    run = new_run(tmp_path)
    c, ledger = run.model.config, run.ledger
    problem = reward.find_task("chain").generate(1, train.random.Random(0))
    batch = train.rollouts(run, [problem], 2, (0, 0), max_new=6)
    assert ledger.tokens["prefill"] == 5  # 'C3a+5' of 'C3a+5:'
    written = [n - 6 for n in batch.lengths]
    assert ledger.tokens["decode"] == sum(written)
    spent = sum(model.forward_flops(c, 5 + n, 5) for n in written)
    assert ledger.flops["decode"] == spent
    ledger.charge("pretrain", c, [9, 9], train=True)
    assert ledger.flops["pretrain"] == 6 * model.forward_flops(c, 9)


FINE = dict.fromkeys("reward gold live_groups entropy think_share".split(), 0.5)
FINE |= dict.fromkeys("identical truncated skipped mismatch".split(), 0)
FINE |= {"grad_norm": 0.3, "answer_tokens": 10.0, "kl_base": 0.1, "passed": 0.9}


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(live_groups=0.0), "at reward 0 no answer is right"),
        (dict(identical=1.0), "all samples of every group are identical"),
        (dict(truncated=1.0), "many answers run out of tokens"),
        (dict(grad_norm=0.0), "the gradient is exactly 0"),
        (dict(mismatch=0.01), "the ratio of the first update is off 1"),
        (dict(skipped=2), "not finite"),
        (dict(mismatch=None, reward=None, grad_norm=None), "is off 1 by nan"),
        (dict(entropy=0.02), "entropy fell"),
        (dict(answer_tokens=2.0), "answers shrank"),
        (dict(think_share=0.1), "half of the thoughts are gone"),
        (dict(truncated=0.3), "run out of tokens"),
        (dict(gold=0.2), "the reward is hacked"),
        (dict(passed=0.4), "a level that was passed has sunk"),
    ],
)
def test_guards_name_the_likely_cause(changes, words):
    """Silent on a healthy run; each fault has its sentence, and it names a cause."""
    healthy = [dict(FINE) for _ in range(20)]
    assert grpo.alarms_ringing(healthy) == {}
    assert grpo.alarms_ringing([{**FINE, "mismatch": 0.5}] * 3, lag=8) == {}
    faulty = healthy + [{**FINE, **changes} for _ in range(10)]
    assert words in " ".join(grpo.alarms_ringing(faulty).values())
    enough = {**FINE, **changes, "reward": 0.9, "gold": 0.9}
    if "entropy" in changes or "answer_tokens" in changes:
        fine = grpo.alarms_ringing(healthy + [enough] * 10)
        assert fine == {}, "sure and right is fine"


def test_a_run_that_learns_nothing_says_so(tmp_path, monkeypatch, capsys):
    """A verifier that rejects everything: warned of while it runs and at its end."""
    monkeypatch.setattr(reward.Puzzle, "verify", lambda *args: False)
    small = dict(prompts_per_step=1, group_size=2, evals=1, pretrain_steps=101)
    run = train.train(new_run(tmp_path, steps=11, **small).cfg)
    assert [row["step"] for row in run.rows["pretrain"]] == [100, 101]
    said = capsys.readouterr()
    assert "WARNING at step 10: no group had any contrast" in said.out + said.err
    ending = said.out.split("held out")[1]
    assert "WARNING: no group had any contrast" in ending and "from step 10" in ending
    assert "WARNING: RL taught nothing measurable" in ending


def test_random_numbers_go_by_the_number_of_a_prompt(tmp_path):
    """Else the new prompts of resampling would get the draws of the ones before."""
    run = new_run(tmp_path)
    problems = train.draw_prompts(run)
    whole, part = train.sample(run, problems), train.sample(run, problems[2:], 2)
    assert part.lengths == whole.lengths[8:]
    for i, n in enumerate(part.lengths):
        assert part.tokens[i, :n].equal(whole.tokens[8 + i, :n])


def test_prompts_repeat_in_neighbours(tmp_path):
    run = new_run(tmp_path)
    batch = train.sample(run, train.draw_prompts(run))
    keys, problems = [e.problem.key for e in batch.envs], train.draw_prompts(run)
    assert keys[::4] == [p.key for p in problems]
    assert all(p.task.read(p.prompt) == p for p in problems)  # no answer in a prompt
    assert all(len(set(keys[i : i + 4])) == 1 for i in range(0, 16, 4))
    for env in batch.envs:
        env.solved = env is batch.envs[6]
    assert train.grade(run, batch).view(4, 4).nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("option", ["entropy_bonus", "k2_loss", "k3_loss"])
def test_a_bonus_raises_and_a_penalty_lowers(option, tmp_path):
    """A step against the gradient of a lone bonus raises the entropy, of a lone KL
    brings back the reference; both measured over the whole vocabulary."""
    entropy = option == "entropy_bonus"
    options = dict(entropy_bonus=1.0) if entropy else dict(kl=option, kl_coef=1.0)
    run = new_run(tmp_path, flat="keep", **options)
    run.model.embed.weight.data *= 2  # away from a uniform policy
    run.base = {n: 0.7 * w for n, w in run.model.state_dict().items()}
    batch, rewards = sampled(run, stale=0.0)
    got, _ = gradient(run, batch, 1e-9 * (rewards - 0.5))
    with torch.no_grad(), model.with_weights(run.model, run.base):
        ref = run.model(batch.tokens)[:, :-1].log_softmax(-1)
    logp = run.model(batch.tokens)[:, :-1].log_softmax(-1).clamp(min=-1e9)
    measure = (logp.exp() * (logp - (0 if entropy else ref))).sum(-1)
    (measure * batch.mask[:, 1:]).sum().backward()
    exact = torch.cat([p.grad.flatten() for p in run.model.parameters()])
    assert torch.cosine_similarity(got, exact, dim=0) > 0.1
