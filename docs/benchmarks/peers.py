"""The same loss and gradient as TRL and verl, on the same inputs, by their own code.

    python -m pytest docs/benchmarks/peers.py

Skipped where they are not installed; the versions and numbers of the last run are in
docs/algorithms.md.
"""

import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

import grpo  # noqa: E402

LENGTHS = [5, 2, 6, 1, 4, 3, 6, 6]  # two groups of four
MAX_TOKENS = 6


def inputs():
    """Log-probabilities off by enough to be clipped both ways, in float64."""
    torch.manual_seed(0)
    old = torch.randn(8, 6, dtype=torch.float64) - 2
    logp = (old + 0.7 * torch.randn_like(old)).requires_grad_()
    ref = old + 0.3 * torch.randn_like(old)
    mask = (torch.arange(6) < torch.tensor(LENGTHS)[:, None]).double()
    return logp, old, ref, mask, torch.randn(8, dtype=torch.float64)


def ours(kind, aggregation, kl_coef=0.0):
    logp, old, ref, mask, advantages = inputs()
    lengths = torch.tensor(LENGTHS)
    weights = grpo.sequence_weights(lengths, aggregation, 4, MAX_TOKENS)
    with mock.patch.object(grpo, "RATIO_MAX", 1.5):
        loss, _, cut = grpo.policy_loss(logp, old, advantages, mask, weights, kind)
    if kl_coef:
        k3 = grpo.kl_estimate(logp, ref, "k3")
        loss = loss + kl_coef * grpo.weighted_sum(k3, mask, weights)
    loss.backward()
    assert cut.any(), "nothing is clipped: these inputs would prove nothing"
    return loss.item(), logp.grad


def agree(mine, theirs, grad, name):
    print(f"{name:32} {theirs:+.10f}  off by {abs(mine[0] - theirs):.1e}", end="")
    print(f", gradient by {(mine[1] - grad).abs().max():.1e}")
    assert mine[0] == pytest.approx(theirs, abs=1e-7)
    torch.testing.assert_close(mine[1], grad, rtol=0, atol=1e-7)


TRL = [
    ("clip", "sequence", "grpo", {}),
    ("clip", "sequence", "grpo", {"beta": 0.3}),
    ("clip", "token", "dapo", {}),
    ("clip", "constant", "dr_grpo", {}),
    ("cispo", "token", "cispo", {}),
    ("gspo", "sequence", "grpo", {"importance_sampling_level": "sequence"}),
]


@pytest.mark.parametrize("kind, aggregation, loss_type, changes", TRL)
def test_losses_of_trl(kind, aggregation, loss_type, changes):
    pytest.importorskip("trl")
    from trl import GRPOTrainer

    logp, old, ref, mask, advantages = inputs()
    trainer = mock.MagicMock(
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        beta=0.0,
        loss_type=loss_type,
        epsilon_low=0.2,
        epsilon_high=1.5 if kind == "cispo" else 0.28,
        use_vllm=False,
        current_gradient_accumulation_steps=1,
        max_completion_length=MAX_TOKENS,
        _entropy_bonus_enabled=False,
    )
    trainer.configure_mock(**changes)
    trainer.args.delta, trainer.args.use_bias_correction_kl = None, False
    trainer.accelerator.gather = lambda x: x
    trainer.args.steps_per_generation = trainer.accelerator.num_processes = 1
    scored = logp, torch.zeros_like(logp), None
    trainer._get_per_token_logps_and_entropies.return_value = scored
    batch = dict(prompt_ids=torch.zeros(8, 1), prompt_mask=torch.ones(8, 1))
    batch |= dict(completion_ids=torch.zeros(8, 6), completion_mask=mask)
    batch |= dict(advantages=advantages, old_per_token_logps=old)
    batch |= dict(ref_per_token_logps=ref, num_items_in_batch=mask.sum())
    loss = GRPOTrainer._compute_loss(trainer, None, batch)
    loss.backward()
    mine = ours(kind, aggregation, changes.get("beta", 0.0))
    agree(mine, loss.item(), logp.grad, f"trl {loss_type} {kind} {changes}")


VERL = [
    ("dual_clip", "token", "vanilla", "token-mean"),
    ("dual_clip", "sequence", "vanilla", "seq-mean-token-mean"),
    ("dual_clip", "constant", "vanilla", "seq-mean-token-sum-norm"),
    ("gspo", "sequence", "gspo", "seq-mean-token-mean"),
    ("cispo", "token", "cispo", "token-mean"),
]


def verl():
    pytest.importorskip("verl")
    return pytest.importorskip("verl.trainer.ppo.core_algos")


@pytest.mark.parametrize("kind, aggregation, name, mode", VERL)
def test_losses_of_verl(kind, aggregation, name, mode):
    """verl's CISPO also has a lower bound; at 1 - 1 = 0 it never acts."""
    core = verl()
    from verl.workers.config import ActorConfig

    high, low = (0.5, 1.0) if kind == "cispo" else (0.28, 0.2)
    sizes = dict(strategy="fsdp", rollout_n=4, ppo_micro_batch_size_per_gpu=8)
    config = ActorConfig(
        **sizes, clip_ratio_low=low, clip_ratio_high=high, clip_ratio_c=1.5
    )
    config.global_batch_info["loss_scale_factor"] = MAX_TOKENS
    logp, old, _, mask, advantages = inputs()
    theirs, _ = core.get_policy_loss_fn(name)(
        old, logp, advantages[:, None].expand_as(old), mask, mode, config
    )
    theirs.backward()
    mine = ours(kind, aggregation)
    agree(mine, theirs.item(), logp.grad, f"verl {name} {mode}")


@pytest.mark.parametrize("kind", ["dr_grpo", "rloo"])
def test_advantages_of_verl(kind):
    core = verl()
    rewards = torch.tensor([[1.0, 0, 0, 0.5], [0, 1, 1, 1]], dtype=torch.float64)
    per_token = torch.zeros(8, 2, dtype=torch.float64)
    per_token[:, 1] = rewards.flatten()
    index, ones = np.array([0] * 4 + [1] * 4), torch.ones(8, 2)
    if kind == "rloo":
        found, _ = core.compute_rloo_outcome_advantage(per_token, ones, index)
    else:
        found, _ = core.compute_grpo_outcome_advantage(
            per_token, ones, index, norm_adv_by_std_in_grpo=False
        )
    mine = grpo.group_advantages(rewards, kind).flatten()
    torch.testing.assert_close(found[:, 1].double(), mine, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_kl_of_verl(kind):
    core = verl()
    logp, _, ref, _, _ = inputs()
    theirs = core.kl_penalty(logp, ref, kind)
    torch.testing.assert_close(grpo.kl_estimate(logp, ref, kind), theirs)
