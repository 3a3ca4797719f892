"""Policy gradients: values and gradients by hand, and exact ones by enumeration.

The hand numbers are on purpose not symmetric: rewards [1, 0, 0, 1] would hide a wrong
sign or order, and ratios of 1 a wrong clip.
"""

import itertools
import math

import pytest
import torch

import grpo
from grpo import (
    exact_gradient,
    expected_gradient,
    group_advantages,
    importance_weights,
    kl_estimate,
    overlong_penalty,
    policy_loss,
    returns_to_go,
    sequence_weights,
    token_entropy,
    token_logprobs,
    weighted_sum,
)


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


# Two tokens, each 0 or 1: logits of the first, of the second after 0, and after 1.
THETA = doubles([0.3, -0.2], [0.1, 0.4], [-0.5, 0.2])
SAMPLER = doubles([-0.7, 0.8], [1.0, -0.6], [-0.9, 0.9])  # a policy far from THETA
REWARDS = doubles(0, 1, 0, 0.5)  # of 00, 01, 10, 11


def two_tokens(theta):
    """Log-probabilities and mask (4, 2) of the four answers."""
    logp = theta.log_softmax(-1)
    rows = [torch.stack([logp[0, a], logp[1 + a, b]]) for a in (0, 1) for b in (0, 1)]
    return torch.stack(rows), torch.ones(4, 2)


def off_policy_gradient(kind, limit):
    """Mean gradient when SAMPLER wrote the answers, with importance_weights."""
    theta = THETA.clone().requires_grad_()
    logp, mask = two_tokens(theta)
    old, _ = two_tokens(SAMPLER)
    correction = importance_weights(logp - old, mask, kind, limit)
    given = (logp, old, REWARDS, mask, old.sum(1).exp(), "reinforce")
    loss, _, _ = policy_loss(*given, correction=correction)
    return -torch.autograd.grad(loss, theta)[0]


E = 0.25 / (3**0.5 / 4 + 1e-6)  # by the std of one success in four, as grpo has it
HARD_AND_EASY = [[1, 0, 0, 0], [1, 1, 1, 0]]  # one mean for both would be 0.5
MIXED = [[1, 0], [1, 1]]  # one group with contrast and one without


@pytest.mark.parametrize(
    "kind, rewards, expected",
    [
        ("none", [[1, 0, 0, 0.5]], [[1, 0, 0, 0.5]]),
        ("batch_mean", MIXED, [[0.25, -0.75], [0.25, 0.25]]),
        ("batch_mean", [[1, 1], [1, 1]], [[0, 0], [0, 0]]),
        ("dr_grpo", HARD_AND_EASY, [[0.75, *[-0.25] * 3], [*[0.25] * 3, -0.75]]),
        ("grpo", HARD_AND_EASY, [[3 * E, -E, -E, -E], [E, E, E, -3 * E]]),
        ("rloo", [[1, 0, 0.5, 0.5]], [[2 / 3, -2 / 3, 0, 0]]),
        ("reinforce_pp", MIXED, [[2**0.5, -(2**0.5)], [0, 0]]),
        ("scalerl", MIXED, [[1, -1], [0, 0]]),
        ("scalerl", [[0.1] * 3, [0.7] * 3], [[0, 0, 0], [0, 0, 0]]),
        ("maxrl", [[1, 0, 0, 0], [0, 0, 0, 0]], [[3, -1, -1, -1], [0, 0, 0, 0]]),
    ],
)
def test_advantages_by_hand(kind, rewards, expected):
    """grpo's std divides by G, not G - 1, and nobody changes its 1e-6 unseen.
    REINFORCE++ divides by the std of all centred rewards, ScaleRL drops flat groups
    first; the mean of the batch leaves a flat group its signal."""
    got = group_advantages(doubles(*rewards), kind)
    torch.testing.assert_close(got, doubles(*expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", grpo.BASELINES[2:])
def test_flat_groups_get_exact_zeros(kind):
    """Whatever their level: in fp32 eleven times 0.1 have a std of 1.6e-8, not 0."""
    rewards = torch.tensor([[0.1] * 11, [0.0, 1.0] + [0.0] * 9, [0.7] * 11])
    assert rewards[0].std() > 0
    got = group_advantages(rewards, kind)
    assert got[0].abs().max() == got[2].abs().max() == 0
    assert got[1, 1] > 0 > got[1, 0]
    assert grpo.live_groups(rewards).tolist() == [False, True, False]


def test_rewards_that_make_no_sense_are_refused():
    """One answer is no group, a NaN would spread to every weight, and MaxRL divides by
    a mean that must be > 0."""
    for shape in ((4, 1), (4,)):
        with pytest.raises(ValueError, match=f"G >= 2, got .{shape[0]},"):
            group_advantages(torch.ones(shape))
    with pytest.raises(ValueError, match="not finite"):
        group_advantages(doubles([1, math.nan]))
    with pytest.raises(ValueError, match="no reward below 0"):
        group_advantages(doubles([1, -0.5]), "maxrl")


def loss_of(ratios, advantage, kind="clip", mask=None, **clip):
    """Loss and its gradient on logp for one sequence, mean over its tokens."""
    logp = torch.tensor([ratios], dtype=torch.float64).log().requires_grad_()
    mask = torch.ones_like(logp) if mask is None else torch.tensor([mask])
    loss, ratio, cut = policy_loss(
        logp,
        torch.zeros_like(logp),
        torch.tensor([advantage], dtype=torch.float64),
        mask,
        torch.tensor([1 / len(ratios)], dtype=torch.float64),
        kind,
        **clip,
    )
    loss.backward()
    return loss.item(), logp.grad[0].tolist(), ratio, cut[0].tolist()


HIGH_LOW = [1.5, 1.0, 0.5]  # a capped token adds its bound and no gradient
FAR = [4.0, 1.0, 0.1]
LOG4 = math.log(4)
LOG01 = math.log(0.1)


@pytest.mark.parametrize(
    "kind, ratios, advantage, high, loss, grad, cut",
    [
        # 1.5 is capped at 1.2; for a bad answer 0.5 is raised to 0.8.
        ("clip", HIGH_LOW, 1.0, 0.2, -0.9, [0, -1 / 3, -1 / 6], [1, 0, 0]),
        ("clip", HIGH_LOW, -1.0, 0.2, 1.1, [0.5, 1 / 3, 0], [0, 0, 1]),
        ("clip", HIGH_LOW, 1.0, 0.28, -2.78 / 3, [0, -1 / 3, -1 / 6], [1, 0, 0]),
        ("clip", HIGH_LOW, -0.5, 0.28, 0.55, [0.25, 1 / 6, 0], [0, 0, 1]),
        # The ratio of a bad answer counts as at most 3: one unlucky token would rule.
        ("clip", [5.0], -1.0, 0.28, 5, [5], [0]),
        ("dual_clip", [5.0], -1.0, 0.28, 3, [0], [1]),
        ("dual_clip", [5.0], -2.0, 0.28, 6, [0], [1]),
        ("dual_clip", [2.9], -1.0, 0.28, 2.9, [2.9], [0]),
        ("dual_clip", [5.0], 1.0, 0.28, -1.28, [0], [1]),
        ("dual_clip", [0.5], -1.0, 0.28, 0.8, [0], [1]),
        # J = A log pi: no ratio in value or gradient, however stale the sampler.
        (
            "reinforce",
            HIGH_LOW,
            2.0,
            0.2,
            -2 / 3 * math.log(0.75),
            [-2 / 3] * 3,
            [0] * 3,
        ),
        # No token is lost, when the clip loses one for either sign.
        ("cispo", [5.0], 1.0, 0.2, -3 * math.log(5), [-3], [1]),
        ("cispo", FAR, 1.0, 0.2, -LOG4 - LOG01 / 30, [-1, -1 / 3, -1 / 30], [1, 0, 0]),
        ("cispo", FAR, -1.0, 0.2, LOG4 + LOG01 / 30, [1, 1 / 3, 1 / 30], [1, 0, 0]),
    ],
)
def test_loss_by_hand(kind, ratios, advantage, high, loss, grad, cut, monkeypatch):
    """Value, gradient and what counts as cut; RATIO_MAX is 3."""
    monkeypatch.setattr(grpo, "RATIO_MAX", 3.0)
    got = loss_of(ratios, advantage, kind, clip_low=0.2, clip_high=high)
    assert got[0] == pytest.approx(loss, abs=1e-10)
    assert got[1] == pytest.approx(grad, abs=1e-10)
    assert got[2][0].tolist() == pytest.approx(ratios) and got[3] == cut


def test_defaults_are_dapos():
    """0.8 to 1.28; 5 is the middle of what ScaleRL tried."""
    assert loss_of([2.0], 1.0)[0] == pytest.approx(-1.28)
    assert loss_of([0.1], -1.0)[0] == pytest.approx(0.8)
    assert loss_of([9.0], 1.0, "cispo")[1] == pytest.approx([-5.0])


@pytest.mark.parametrize("kind", grpo.LOSSES)
def test_at_the_limit_nothing_is_cut(kind, monkeypatch):
    """A ratio of 1 with limits of exactly 1: all of its gradient is there."""
    monkeypatch.setattr(grpo, "RATIO_MAX", 1.0)
    for advantage in (1.0, -1.0):
        got = loss_of([1.0], advantage, kind, clip_low=0, clip_high=0)
        assert got[3] == [False] and got[1] == [-advantage]


@pytest.mark.parametrize(
    "advantage, low, high, loss, grad",
    [
        (+1.0, 3e-4, 4e-4, -1.0004, 0.0),
        (-1.0, 3e-4, 4e-4, 1.188 ** (1 / 3), 0.353035),
        (+1.0, 0.2, 0.2, -(1.188 ** (1 / 3)), -0.353035),
    ],
)
def test_gspo_by_hand(advantage, low, high, loss, grad):
    """Ratios 1.2, 0.9, 1.1 are one, their geometric mean 1.059105, for every token; a
    token outside the mask has no part in it."""
    for ratios, mask in (([1.2, 0.9, 1.1], None), ([1.2, 0.9, 1.1, 7.0], [1, 1, 1, 0])):
        got = loss_of(ratios, advantage, "gspo", mask, clip_low=low, clip_high=high)
        scale = len(ratios) / 3  # loss_of weighs a token by 1 / len
        assert got[0] * scale == pytest.approx(loss, abs=1e-10)
        assert [g * scale for g in got[1][:3]] == pytest.approx([grad] * 3, abs=1e-6)
        assert got[2][0, :3].tolist() == pytest.approx([1.059105] * 3, abs=1e-6)
        assert got[2][0, 3:].tolist() == [1] * (len(ratios) - 3)


def test_gspo_keeps_sequences_apart():
    """Two rows of unlike length: each has its own ratio."""
    logp = doubles([1.44, 1.0, 5.0], [2.0, 1, 4.0]).log()
    mask = torch.tensor([[1.0, 1, 0], [1, 1, 1]])
    args = torch.zeros_like(logp), torch.ones(2), mask, torch.ones(2), "gspo"
    _, ratio, _ = policy_loss(logp, *args)
    assert ratio.flatten().tolist() == pytest.approx([1.2, 1.2, 1, 2, 2, 2])


def test_advantages_may_differ_by_token():
    """(B, T) as well as (B,): A = 1 and 3 at ratio 1."""
    logp = torch.zeros(1, 2, requires_grad=True)
    ones = torch.ones(1, 2)
    args = torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]), ones, torch.ones(1)
    loss, _, _ = policy_loss(logp, *args)
    loss.backward()
    assert loss.item() == -4 and logp.grad[0].tolist() == [-1, -3]


@pytest.mark.parametrize("kind", grpo.LOSSES)
def test_a_correction_scales_each_token(kind):
    """Weights 2, 1, 0 on equal tokens: twice, once and no gradient."""
    logp = torch.zeros(1, 3, requires_grad=True)
    args = torch.zeros(1, 3), torch.ones(1), torch.ones(1, 3), torch.ones(1)
    weight = torch.tensor([[2.0, 1.0, 0.0]])
    policy_loss(logp, *args, kind, correction=weight)[0].backward()
    expected = [-1, -1, -1] if kind == "gspo" else [-2, -1, 0]
    assert logp.grad[0].tolist() == expected


@pytest.mark.parametrize(
    "kind, limit, expected",
    [
        ("none", 2, [1, 1, 1]),
        ("token", 2, [2, 2, 0.5]),
        ("mask", 2, [2, 0, 0.5]),  # IcePop [0.5, 2]; both ends are inside
        ("mask", 1.9, [0, 0, 0]),
        ("sequence", 2, [2, 2, 2]),
        ("sequence", 5, [3, 3, 3]),
        ("prefix", 9, [2, 6, 3]),
        ("prefix", 5, [2, 5, 3]),
    ],
)
def test_importance_weights_by_hand(kind, limit, expected):
    """Ratios 2, 3, 0.5 of the old policy over the sampler; a token of the environment
    among them has none."""
    x = doubles([2, 3, 0.5]).log()
    got = importance_weights(x, torch.ones(1, 3), kind, limit)
    assert got[0].tolist() == pytest.approx(expected, abs=1e-10)
    x = torch.stack([doubles(2, math.nan, 3, 0.5).log(), doubles(1, 1, 1, 1)])
    x.requires_grad_()
    mask = torch.tensor([[1.0, 0, 1, 1], [1, 1, 1, 1]])
    got = importance_weights(x, mask, kind, limit)
    assert got[0, [0, 2, 3]].tolist() == pytest.approx(expected, abs=1e-10)
    assert not got.requires_grad


def test_overlong_penalty_by_hand():
    """Limit 100, buffer 20; without a buffer it is a step, not 0 / 0."""
    lengths = torch.tensor([70, 80, 85, 90, 100, 101])
    expected = [0, 0, -0.25, -0.5, -1, -1]
    assert overlong_penalty(lengths, 100, 20).tolist() == expected
    assert overlong_penalty(lengths, 100, 0).tolist() == [0, 0, 0, 0, 0, -1]


KL = {"k1": [0.693147, -0.405465], "k2": [0.240227, 0.082201]}
KL["k3"] = [0.193147, 0.094535]


@pytest.mark.parametrize("kind, expected", KL.items())
def test_kl_estimates_by_hand(kind, expected):
    """pi = (.5, .5), ref = (.25, .75): KL .143841 is the mean of k1 and of k3."""
    got = kl_estimate(doubles(0.5, 0.5).log(), doubles(0.25, 0.75).log(), kind)
    assert got.tolist() == pytest.approx(expected, abs=1e-6)
    if kind != "k2":
        assert got.mean().item() == pytest.approx(0.1438410362, abs=1e-10)


@pytest.mark.parametrize(
    "kind, place, expected",
    [
        ("k1", "loss", 0.0),
        ("k2", "loss", 0.274653),
        ("k3", "loss", 0.25),
        ("k1", "reward", 0.274653),
        ("k3", "reward", 0.024653),
    ],
)
def test_gradient_of_kl_by_hand(kind, place, expected):
    """On the first of two logits, pi = (.5, .5), ref = (.25, .75). True: .274653."""
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    logp = logits.log_softmax(-1)
    k = kl_estimate(logp, doubles(0.25, 0.75).log(), kind)
    k = k.detach() * logp if place == "reward" else k
    (logp.detach().exp() * k).sum().backward()
    assert logits.grad[0].item() == pytest.approx(expected, abs=1e-6)


def test_returns_to_go_by_hand():
    """R = 1 at the end, less 0.1 times KL .1, .2, .3; a cell of the environment in
    between neither adds nor ends the sum, whatever stands there."""
    k = doubles([0.1, 0.2, 0.3])
    got = doubles([1, 1, 1]) - 0.1 * returns_to_go(k, torch.ones(1, 3))
    assert got[0].tolist() == pytest.approx([0.94, 0.95, 0.97], abs=1e-10)
    k = doubles([0.1, math.nan, 0.2, 0.3], [1, 1, 1, 1])
    got = returns_to_go(k, torch.tensor([[1.0, 0, 1, 1], [1, 1, 1, 1]]))
    assert got[0].tolist() == pytest.approx([0.6, 0.5, 0.5, 0.3])
    assert got[1].tolist() == [4, 3, 2, 1]


@pytest.mark.parametrize("kind", grpo.LOSSES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_masked_cells_cannot_poison_the_loss(kind, bad):
    """NaN and inf outside the mask: same loss, same gradient, ratio 1 there."""
    without = loss_of([1.5, 1.0, 0.5], 1.0, kind, [1, 0, 1])
    loss, grad, ratio, cut = loss_of([1.5, bad, 0.5], 1.0, kind, [1, 0, 1])
    assert (loss, grad, cut) == (without[0], without[1], without[3])
    assert grad[1] == 0 and ratio[0, 1] == 1
    if kind == "clip":
        assert loss == pytest.approx(-(1.28 + 0.5) / 3, abs=1e-10)
        assert grad == pytest.approx([0, 0, -1 / 6]) and cut == [1, 0, 0]


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("sequence", (1 + 4 + 6) / 3),
        ("token", (2 * 1 + 4 * 4 + 1 * 6) / 7),
        ("prompt", ((2 + 16) / 6 + 6) / 2),
        ("constant", (2 + 16 + 6) / (8 * 3)),
    ],
)
def test_aggregations_by_hand(kind, expected):
    """Token losses: prompt p [1, 1] and [4, 4, 4, 4]; prompt q [6] and an answer that
    was left out, as was all of prompt r: 3.666667, 3.428571, 4.5, 1."""
    weights = sequence_weights(torch.tensor([2, 4, 1, 0, 0, 0]), kind, 2, 8)
    got = (weights * doubles(2, 16, 6, 0, 0, 0)).sum().item()
    assert got == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("kind", grpo.AGGREGATIONS)
def test_nothing_to_train_on_is_zero_not_nan(kind):
    """All answers masked: loss and gradient exactly 0."""
    logp = torch.zeros(2, 3, requires_grad=True)
    zeros = torch.zeros(2, 3)
    weights = sequence_weights(torch.tensor([0, 0]), kind, 2, 8)
    for loss_kind in grpo.LOSSES:
        args = zeros, torch.ones(2), zeros, weights, loss_kind
        loss, _, cut = policy_loss(logp, *args)
        loss.backward()
        assert loss.item() == 0 and logp.grad.abs().sum() == 0 and not cut.any()


def test_a_wrong_name_is_refused():
    """It must not pass for the last branch."""
    pair = torch.ones(1, 2)
    for call in (
        lambda: group_advantages(pair, "mean"),
        lambda: sequence_weights(torch.ones(2), "tokens", 2, 8),
        lambda: loss_of([1.0], 1.0, "ppo"),
        lambda: importance_weights(pair, pair, "tis"),
    ):
        with pytest.raises((AssertionError, KeyError)):
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
    entropy = token_entropy(logits[0], torch.tensor([[0, 1]]))
    assert entropy[0].tolist() == pytest.approx([0, 1.039721], abs=1e-6)
    entropy.sum().backward()
    expected = [-0.173287, 0.086643, 0.086643, 0]
    assert logits.grad[0, 0].tolist() == pytest.approx(expected, abs=1e-6)


# --------------------------------------------------------------------------------------
# The exact policy gradient, by enumeration of every answer


def test_the_loss_has_the_exact_policy_gradient():
    """E[R] and its gradient, known to ten digits, through token_logprobs and
    policy_loss: a sign, a shifted column, a lost token or a detached ratio show."""
    theta = THETA.clone().requires_grad_()
    sequences = list(itertools.product((0, 1), repeat=2))
    rows = torch.tensor([[0, 1 + a] for a, _ in sequences])
    tokens = torch.tensor([[0, a, b] for a, b in sequences])
    logits = torch.cat([theta[rows], torch.zeros(4, 1, 2, dtype=theta.dtype)], 1)
    logp = token_logprobs(logits, tokens)
    mask = torch.tensor([[0.0, 1.0, 1.0]] * 4)
    p = (logp * mask).sum(1).exp().detach()
    assert (p @ REWARDS).item() == pytest.approx(0.4837011340, abs=1e-10)
    for kind in grpo.LOSSES:
        if kind == "gspo":  # its ratio is a mean over tokens: 1 / T of the gradient
            continue
        args = p * REWARDS, mask, torch.ones(4), kind
        loss, _, _ = policy_loss(logp, logp.detach(), *args)
        (grad,) = torch.autograd.grad(-loss, theta, retain_graph=True)
        exact = exact_gradient(two_tokens, THETA, REWARDS)
        torch.testing.assert_close(grad, exact, rtol=0, atol=1e-12)
        expected = [0.0564828, -0.1521654, -0.0418528]
        assert grad[:, 0].tolist() == pytest.approx(expected, abs=1e-7)
        torch.testing.assert_close(grad[:, 0], -grad[:, 1])


def similarity(a, b):
    return torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


TWO = (two_tokens, THETA, REWARDS)
STOP = (grpo.until_stop, grpo.PHI, doubles(0, 1, 1, 0))


@pytest.mark.parametrize(
    "kind, shape, share",
    [
        ("none", (1, 2), 1),
        ("rloo", (1, 2), 1),
        ("rloo", (2, 2), 1),
        ("dr_grpo", (1, 2), 1 / 2),
        ("dr_grpo", (1, 3), 2 / 3),
        ("batch_mean", (2, 2), 3 / 4),
    ],
)
def test_baselines_that_keep_the_gradient(kind, shape, share):
    """All batches there are, each with its chance: leave-one-out is unbiased, centring
    by a mean of n answers scales the gradient by exactly 1 - 1/n."""
    exact = exact_gradient(*TWO)
    got = expected_gradient(*TWO, shape, kind)
    torch.testing.assert_close(got, share * exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["grpo", "reinforce_pp", "scalerl", "maxrl"])
def test_normalisers_bend_the_gradient(kind):
    """No multiple of the exact one, yet uphill."""
    got, exact = expected_gradient(*TWO, (2, 2), kind), exact_gradient(*TWO)
    assert 0.9 < similarity(got, exact) < 1 - 1e-6


@pytest.mark.parametrize(
    "kind, cosine",
    [
        ("constant", 1),
        ("sequence", 0.984964),
        ("token", 0.996067),
        ("prompt", 0.996067),
    ],
)
def test_only_a_constant_keeps_the_direction(kind, cosine):
    """Answers of 1 to 3 tokens, the end included: E[R] .327328 and its gradient."""
    logp, mask = grpo.until_stop(grpo.PHI)
    chances = logp.sum(1).exp()
    assert chances.sum().item() == pytest.approx(1, abs=1e-12)
    assert (chances @ STOP[2]).item() == pytest.approx(0.327328, abs=1e-6)
    exact = exact_gradient(*STOP)
    assert exact.tolist() == pytest.approx([-0.179976, 0.052275, 0.064487], abs=1e-6)
    got = expected_gradient(*STOP, (1, 2), "rloo", kind)
    assert similarity(got, exact) == pytest.approx(cosine, abs=1e-6)
    if kind == "constant":
        torch.testing.assert_close(got, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "kind, limit, cosine, gradient",
    [
        ("sequence", math.inf, 1, [0.056483, -0.152165, -0.041853]),
        ("none", math.inf, -0.121097, [-0.206790, -0.013041, -0.116400]),
        ("token", math.inf, 0.359080, [-0.061358, -0.044595, -0.090633]),
        ("prefix", math.inf, 0.755418, [-0.061358, -0.152165, -0.041853]),
        ("sequence", 2, 0.208599, None),
        ("sequence", 5, 0.781635, None),
        ("token", 2, 0.164708, None),
        ("mask", 2, 0.249690, None),
    ],
)
def test_corrections_of_a_stale_sampler(kind, limit, cosine, gradient):
    """Answers from a policy that differs a lot: only the whole sequence's weight gives
    the truth, weights by token are a trust region and not a correction."""
    got, exact = off_policy_gradient(kind, limit), exact_gradient(*TWO)
    assert similarity(got, exact) == pytest.approx(cosine, abs=1e-6)
    if gradient:
        assert got[:, 0].tolist() == pytest.approx(gradient, abs=1e-6)


def test_the_ratio_of_the_clip_loss_is_by_token():
    """Unclipped PPO on the same stale answers is the token-level correction."""
    theta = THETA.clone().requires_grad_()
    (logp, mask), (old, _) = two_tokens(theta), two_tokens(SAMPLER)
    args = old, REWARDS, mask, old.sum(1).exp()
    loss, _, _ = policy_loss(logp, *args, "clip", 99.0, 99.0)
    loss.backward()
    expected = [0.061358, 0.044595, 0.090633]
    assert theta.grad[:, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_kl_to_go_is_the_whole_gradient_of_the_kl():
    """Two tokens, uniform reference: KL in the reward credits the first token with the
    KL it leads to; a token's own k2 in the loss does not."""
    exact_theta = THETA.clone().requires_grad_()
    ref, _ = two_tokens(torch.zeros(3, 2, dtype=torch.float64))
    logp, mask = two_tokens(exact_theta)
    (logp.sum(1).exp() * (logp - ref).sum(1)).sum().backward()
    found = {}
    for kl in ("k1_reward", "k2_loss"):
        theta = THETA.clone().requires_grad_()
        logp, _ = two_tokens(theta)
        p, k = logp.detach().sum(1).exp(), kl_estimate(logp, ref, kl[:2])
        if kl == "k2_loss":
            loss = weighted_sum(k, mask, p)
        else:
            togo = -returns_to_go(k.detach(), mask)
            loss, _, _ = policy_loss(logp, logp.detach(), togo, mask, p, "reinforce")
        found[kl] = torch.autograd.grad(loss, theta)[0]
    torch.testing.assert_close(found["k1_reward"], exact_theta.grad, rtol=0, atol=1e-12)
    own = found["k2_loss"]
    torch.testing.assert_close(own[1:], exact_theta.grad[1:], rtol=0, atol=1e-12)
    assert (own[0] - exact_theta.grad[0]).abs().max() > 0.01


def test_recipes_are_lines_of_config():
    """Every paper's choices exist under their names here."""
    kinds = {"advantage": grpo.BASELINES, "loss": grpo.LOSSES, "kl": tuple(grpo.KLS)}
    kinds["aggregation"] = grpo.AGGREGATIONS
    assert len(grpo.RECIPES) == 9
    for recipe in grpo.RECIPES.values():
        assert all(recipe.get(name, k[0]) in k for name, k in kinds.items())
