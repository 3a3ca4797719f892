"""Policy gradients: values and gradients by hand, and exact ones by enumeration.

The hand numbers are on purpose not symmetric: rewards [1, 0, 0, 1] would hide a wrong
sign or order, and ratios of 1 a wrong clip.
"""

import itertools

import pytest
import torch

import grpo
from grpo import (
    group_advantages,
    policy_loss,
    sequence_weights,
    token_entropy,
    token_logprobs,
)


@pytest.mark.parametrize(
    "kind, rewards, expected",
    [
        ("dr_grpo", [1, 0, 0, 0], [0.75, -0.25, -0.25, -0.25]),
        ("grpo", [1, 0, 0, 0], [1.732051, -0.577350, -0.577350, -0.577350]),
        ("grpo", [1, 0, 0, 1], [1.0, -1.0, -1.0, 1.0]),
        ("dr_grpo", [1, 0, 0, 1], [0.5, -0.5, -0.5, 0.5]),
    ],
)
def test_advantages_by_hand(kind, rewards, expected):
    """The std divides by G, not G - 1: that would give 1.5 for the first."""
    got = group_advantages(torch.tensor([rewards], dtype=torch.float64), kind)
    expected = torch.tensor([expected], dtype=torch.float64)
    torch.testing.assert_close(got, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("kind", grpo.BASELINES)
def test_groups_do_not_mix(kind):
    """Contrast in one group alone: the other, whatever its level, gets exact zeros."""
    rewards = torch.tensor([[0.1, 0.1, 0.1], [0.0, 1.0, 0.0], [0.7, 0.7, 0.7]])
    got = group_advantages(rewards, kind)
    assert got[0].tolist() == got[2].tolist() == [0.0, 0.0, 0.0]
    assert got[1, 1] > 0 > got[1, 0]
    assert grpo.live_groups(rewards).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("dr_grpo", [[0.75, -0.25, -0.25, -0.25], [0.25, 0.25, 0.25, -0.75]]),
        ("grpo", [[1.732051, *[-0.57735] * 3], [*[0.57735] * 3, -1.732051]]),
    ],
)
def test_an_easy_and_a_hard_prompt(kind, expected):
    """Each answer is compared with its own group; one mean for all would be 0.5."""
    rewards = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.float64)
    got = group_advantages(rewards, kind)
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(got, expected, rtol=0, atol=5e-6)


def test_one_answer_is_no_group():
    with pytest.raises(ValueError, match="G >= 2"):
        group_advantages(torch.ones(4, 1))


def loss_of(ratios, advantage, kind="clip", mask=None, **clip):
    """Loss and its gradient on logp for one sequence, mean over its tokens."""
    logp = torch.tensor([ratios], dtype=torch.float64).log().requires_grad_()
    mask = torch.ones_like(logp) if mask is None else torch.tensor([mask])
    loss, ratio = policy_loss(
        logp,
        torch.zeros_like(logp),
        torch.tensor([advantage], dtype=torch.float64),
        mask,
        torch.tensor([1 / len(ratios)], dtype=torch.float64),
        kind,
        **clip,
    )
    loss.backward()
    return loss.item(), logp.grad[0].tolist(), ratio


@pytest.mark.parametrize(
    "advantage, high, loss, grad",
    [
        (+1.0, 0.20, -0.9, [0.0, -1 / 3, -1 / 6]),  # 1.5 is capped at 1.2
        (-1.0, 0.20, +1.1, [0.5, 1 / 3, 0.0]),  # 0.5 is raised to 0.8
        (+1.0, 0.28, -0.926667, [0.0, -1 / 3, -1 / 6]),
    ],
)
def test_clip_by_hand(advantage, high, loss, grad):
    """Ratios 1.5, 1, 0.5: a capped token adds its bound and no gradient."""
    got = loss_of([1.5, 1.0, 0.5], advantage, clip_low=0.2, clip_high=high)
    assert got[0] == pytest.approx(loss, abs=1e-6)
    assert got[1] == pytest.approx(grad, abs=1e-9)


@pytest.mark.parametrize("ratio, high, value", [(1.25, 0.2, 1.2), (1.25, 0.28, 1.25)])
def test_clip_higher_leaves_more_room(ratio, high, value):
    assert loss_of([ratio], 1.0, clip_high=high)[0] == pytest.approx(-value)


@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_cispo_by_hand(advantage):
    """J = sg(min(r, 2)) A logp, r = 3, 1, 0.1, logp = -1, -2, -3: no token lost."""
    logp = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    old = logp.detach() - torch.tensor([[3.0, 1.0, 0.1]]).log()
    ones, third = torch.ones(1, 3), torch.tensor([1 / 3])
    loss, _ = policy_loss(
        logp, old, torch.tensor([advantage]), ones, third, "cispo", ratio_max=2.0
    )
    loss.backward()
    sign = advantage / 2
    assert loss.item() == pytest.approx(2.866667 * sign, abs=1e-5)
    expected = [-4 / 3 * sign, -2 / 3 * sign, -0.2 / 3 * sign]
    assert logp.grad[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_masked_cells_cannot_poison_the_loss():
    """NaN and inf outside the mask: same loss, same gradient, ratio 1 there."""
    for bad in (float("nan"), float("inf")):
        loss, grad, ratio = loss_of([1.5, bad, 0.5], 1.0, mask=[1.0, 0.0, 1.0])
        assert loss == pytest.approx(-(1.28 + 0.5) / 3)
        assert grad == pytest.approx([0.0, 0.0, -1 / 6])
        assert ratio[0, 1] == 1


def weights_of(lengths, kind, group_size=2, max_tokens=8):
    lengths = torch.tensor(lengths)
    return sequence_weights(
        lengths, kind, group_size, max_tokens, int(lengths.sum()), len(lengths)
    )


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("sequence", (1 + 4 + 6 + 6) / 4),
        ("token", (2 * 1 + 4 * 4 + 1 * 6 + 1 * 6) / 8),
        ("prompt", ((2 + 16) / 6 + 12 / 2) / 2),
        ("constant", (2 + 16 + 6 + 6) / (8 * 4)),
    ],
)
def test_aggregations_by_hand(kind, expected):
    """Token losses: prompt p [1, 1] and [4, 4, 4, 4]; prompt q [6] and [6]."""
    sums = torch.tensor([2.0, 16.0, 6.0, 6.0])
    assert (weights_of([2, 4, 1, 1], kind) * sums).sum() == pytest.approx(expected)


def test_token_mean_is_not_the_mean_of_micro_batch_means():
    """[1, 1] and [4, 4, 4, 4]: 3.0 by tokens; the mean of the two means is 2.5."""
    sums = torch.tensor([2.0, 16.0])
    assert (weights_of([2, 4], "token") * sums).sum() == pytest.approx(3.0)


@pytest.mark.parametrize("kind", grpo.AGGREGATIONS)
def test_nothing_to_train_on_is_zero_not_nan(kind):
    """All answers masked: loss and gradient exactly 0."""
    logp = torch.zeros(2, 3, requires_grad=True)
    zeros = torch.zeros(2, 3)
    loss, _ = policy_loss(logp, zeros, torch.ones(2), zeros, weights_of([0, 0], kind))
    loss.backward()
    assert loss.item() == 0 and logp.grad.abs().sum() == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: group_advantages(torch.ones(1, 2), "mean"),
        lambda: weights_of([1, 1], "tokens"),
        lambda: loss_of([1.0], 1.0, "ppo"),
    ],
)
def test_a_wrong_name_lists_the_right_ones(call):
    with pytest.raises(ValueError, match="choose from"):
        call()


def test_token_logprobs_by_hand():
    """Column t is log p of tokens[:, t], chosen by the logits at t - 1."""
    logits = torch.tensor([[[0.0, 1.0], [2.0, 0.0], [9.0, 9.0]]])
    got = token_logprobs(logits, torch.tensor([[0, 1, 0]]))
    torch.testing.assert_close(got, torch.tensor([[0.0, -0.313262, -0.126928]]))


def test_entropy_by_hand():
    """H(.5, .25, .25) = 1.039721; a banned token adds 0, and the gradient is known."""
    probs = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    logits = torch.cat([probs.log(), torch.tensor([-1e9])])
    logits = logits.expand(1, 2, 4).clone().requires_grad_()
    entropy = token_entropy(logits)
    assert entropy[0].tolist() == pytest.approx([0, 1.039721], abs=1e-6)
    entropy.sum().backward()
    expected = [-0.173287, 0.086643, 0.086643, 0]
    assert logits.grad[0, 0].tolist() == pytest.approx(expected, abs=1e-6)


# --------------------------------------------------------------------------------------
# The exact policy gradient, by enumeration of every answer


def enumerated_gradient(theta, rewards, weight=lambda p, r: p * r):
    """Gradient of E[R] on theta through policy_loss, two steps over two tokens.

    theta (3, 2): logits of the first token, and of the second after 0 and after 1. Each
    sequence enters with advantage weight(p, R) and constant denominator 1.
    """
    theta = theta.clone().requires_grad_()
    sequences = list(itertools.product((0, 1), repeat=2))
    rows = torch.tensor([[0, 1 + a] for a, _ in sequences])
    tokens = torch.tensor([[0, a, b] for a, b in sequences])
    logits = torch.cat([theta[rows], torch.zeros(4, 1, 2, dtype=theta.dtype)], 1)
    logp = token_logprobs(logits, tokens)
    mask = torch.tensor([[0.0, 1.0, 1.0]] * 4)
    p = (logp * mask).sum(1).exp().detach()
    reward = torch.tensor([rewards.get(s, 0.0) for s in sequences], dtype=theta.dtype)
    ones = torch.ones(4, dtype=theta.dtype)
    loss, _ = policy_loss(logp, logp.detach(), weight(p, reward), mask, ones)
    loss.backward()
    return (p * reward).sum().item(), -theta.grad


THETA = torch.tensor([[0.3, -0.2], [0.1, 0.4], [-0.5, 0.2]], dtype=torch.float64)
REWARDS = {(0, 1): 1.0, (1, 1): 0.5}


def test_the_loss_has_the_exact_policy_gradient():
    """E[R] and its gradient on theta, known to ten digits; a sign, a shifted column, a
    lost token or a detached ratio each change it."""
    value, grad = enumerated_gradient(THETA, REWARDS)
    assert value == pytest.approx(0.4837011340, abs=1e-10)
    expected = [0.0564828, -0.1521654, -0.0418528]
    assert grad[:, 0].tolist() == pytest.approx(expected, abs=1e-7)
    torch.testing.assert_close(grad[:, 0], -grad[:, 1])


@pytest.mark.parametrize(
    "p, size, kind, expected",
    [
        (0.5, 2, "dr_grpo", 0.125),
        (0.5, 4, "dr_grpo", 0.1875),
        (0.25, 4, "dr_grpo", 0.140625),
        (0.5, 2, "grpo", 0.25),
        (0.5, 4, "grpo", 0.404006),
        (0.25, 4, "grpo", 0.308443),
        (0.1, 4, "grpo", 0.152125),
    ],
)
def test_expected_gradient_of_a_bandit(p, size, kind, expected):
    """Over all groups of G samples of success probability p; the truth is p (1 - p).

    Centring scales it by 1 - 1/G; dividing by the std is something else again.
    """
    z = torch.tensor(p, dtype=torch.float64).logit().requires_grad_()
    logps = torch.stack([-torch.nn.functional.softplus(z), z.sigmoid().log()])
    total = 0.0
    for group in itertools.product((0, 1), repeat=size):
        rewards = torch.tensor([group], dtype=torch.float64)
        advantages = group_advantages(rewards, kind)[0]
        logp = logps[list(group)][:, None]
        weights = torch.full((size,), 1 / size, dtype=torch.float64)
        ones = torch.ones(size, 1)
        loss, _ = policy_loss(logp, logp.detach(), advantages, ones, weights)
        (grad,) = torch.autograd.grad(loss, z, retain_graph=True)
        total -= grad.item() * logps[list(group)].sum().exp().item()
    # GRPO adds 1e-6 to a std of about 0.5.
    assert total == pytest.approx(expected, abs=2e-6)


def test_a_sampler_that_is_off_shows_in_the_ratio():
    """On the second update the ratio leaves 1."""
    _, _, ratio = loss_of([1.0, 1.0], 1.0)
    assert ratio.tolist() == [[1.0, 1.0]]
    _, _, ratio = loss_of([1.1, 0.8], 1.0)
    assert ratio[0].tolist() == pytest.approx([1.1, 0.8])
