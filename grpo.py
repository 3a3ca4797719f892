"""Policy gradients for groups of sampled answers.

Read after rollout.py. Pure functions on tensors. Published recipes differ in five
places, each one function here whose `kind` names the choice, and in rules about data:

    baseline, normaliser   group_advantages
    importance weight      policy_loss, importance_weights
    aggregation            sequence_weights
    KL to a reference      kl_estimate, returns_to_go
    entropy                token_entropy
    data                   live_groups, overlong_penalty

RECIPES puts them together. `python grpo.py` prints, for policies so small that every
answer can be counted, what each choice expects beside the exact gradient.

Shapes    P prompts, G answers to each, B = P * G sequences, T tokens, V vocabulary
Papers    beside each choice; PPO is arXiv:1707.06347
Left out  a critic (so no GAE, no value loss), a reference that moves
"""

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

BASELINES = (
    *("none", "batch_mean", "dr_grpo", "rloo", "grpo"),
    *("reinforce_pp", "scalerl", "maxrl"),
)
LOSSES = ("reinforce", "clip", "dual_clip", "cispo", "gspo")
CORRECTIONS = ("none", "token", "mask", "prefix", "sequence")
AGGREGATIONS = ("sequence", "token", "prompt", "constant")
# A KL's estimator, and where it goes: off an answer's reward, off each token's
# return, or into the loss.
KLS = {
    "k1_raw": ("k1", "answer"),
    "k1_reward": ("k1", "token"),
    "k2_loss": ("k2", "loss"),
    "k3_loss": ("k3", "loss"),
}
RATIO_MAX = 5.0  # limit of cispo, dual_clip and the corrections


def check(name: str, kind: str, kinds: tuple[str, ...]) -> None:
    if kind not in kinds:
        raise ValueError(f"no {name} {kind!r}; choose from {', '.join(kinds)}")


# --------------------------------------------------------------------------------------
# Rewards and baselines


def live_groups(rewards: Tensor) -> Tensor:
    """Which groups (P,) have any contrast: rewards (P, G) that are not all the same.

    Decided by max and min: the standard deviation of three times 0.1 is not exactly 0.
    """
    return rewards.amax(1) > rewards.amin(1)


def overlong_penalty(lengths: Tensor, limit: int, buffer: int) -> Tensor:
    """What a long answer loses (DAPO 2503.14476): 0, down to -1 at `limit` tokens.

    It falls in a straight line over the last `buffer` tokens before the limit.
    """
    over = (lengths - (limit - buffer)).double() / max(buffer, 1)
    return -over.clamp(0, 1)


def group_advantages(rewards: Tensor, kind: str = "grpo") -> Tensor:
    """How much better each answer is than expected, (P, G) -> (P, G).

        none          R_i
        batch_mean    R_i - mean over the batch              REINFORCE with a baseline
        dr_grpo       R_i - mean                             2503.20783
        rloo          R_i - mean of the others               2402.14740
        grpo          (R_i - mean) / (std + 1e-6)            2402.03300
        reinforce_pp  (R_i - mean) / std over the batch      2501.03262
        scalerl       the same, over groups with contrast    2510.13786
        maxrl         (R_i - mean) / mean                    as in prime-rl

    mean and std are of one group unless said otherwise. Papers leave std open; ours
    divides by G, not G - 1, so a balanced group of 0 and 1 gets -1 and 1. The 1e-6 is
    what others add against 0 / 0, which here cannot happen: a group without contrast
    gets exact zeros (so does a whole batch without, under batch_mean).
    ValueError for G below 2, for what is not finite, and in maxrl for R below 0.
    """
    check("advantage", kind, BASELINES)
    if rewards.dim() != 2 or rewards.shape[1] < 2:
        raise ValueError(f"rewards must be (P, G) with G >= 2, got {(*rewards.shape,)}")
    if not rewards.isfinite().all():
        raise ValueError("a reward is not finite; look at the grader")
    if kind == "none":
        return rewards.clone()
    if kind == "batch_mean":
        contrast = rewards.max() > rewards.min()
        return torch.where(contrast, rewards - rewards.mean(), 0.0)
    live, mean = live_groups(rewards), rewards.mean(1, keepdim=True)
    advantages = rewards - mean
    if kind == "rloo":  # the mean without R_i, in terms of the mean with it
        advantages = advantages * (rewards.shape[1] / (rewards.shape[1] - 1))
    elif kind == "grpo":
        advantages = advantages / (rewards.std(1, correction=0, keepdim=True) + 1e-6)
    elif kind == "reinforce_pp":
        advantages = advantages / advantages.square().mean().sqrt()
    elif kind == "scalerl":
        advantages = advantages / advantages[live].square().mean().sqrt()
    elif kind == "maxrl":
        if rewards.min() < 0:
            raise ValueError("advantage maxrl divides by the mean: no reward below 0")
        advantages = advantages / mean
    return torch.where(live[:, None], advantages, 0.0)


# --------------------------------------------------------------------------------------
# Log-probabilities of what was sampled


def shifted(per_token: Tensor) -> Tensor:
    """Columns 1.. of the result are `per_token` (B, T-1); column 0 is 0."""
    return F.pad(per_token, (1, 0))


def token_logprobs(
    logits: Tensor,  # (B, T, V)
    tokens: Tensor,  # (B, T)
) -> Tensor:
    """Log-probability of each token, (B, T).

    The logits at t choose the token at t + 1; column t of the result belongs to
    tokens[:, t], and column 0, which nothing predicts, is 0.
    """
    logprobs = logits[:, :-1].log_softmax(-1)  # (B, T-1, V)
    return shifted(logprobs.gather(2, tokens[:, 1:, None])[..., 0])


def token_entropy(logits: Tensor) -> Tensor:
    """Entropy (B, T) of the distributions that tokens were chosen from.

        H = - sum_v pi(v) log pi(v)

    Column t belongs to tokens[:, t], chosen by the logits at t - 1; column 0 is 0.
    """
    logprobs = logits[:, :-1].log_softmax(-1)
    return shifted(-(logprobs.exp() * logprobs).sum(-1))


# --------------------------------------------------------------------------------------
# Aggregation


def sequence_weights(
    lengths: Tensor,  # (B,) answer tokens in the loss, groups together; 0: left out
    kind: str,
    group_size: int,
    max_tokens: int,
    num_tokens: int,  # the last three count the whole step: all micro-batches, all
    num_sequences: int,  # ranks, and only what is not left out
    num_prompts: int,
) -> Tensor:
    """What one token of each sequence weighs in the loss, (B,), float64.

        sequence   1 / (n_i B)      mean over sequences of token means (GRPO)
        token      1 / sum_j n_j    mean over all tokens (DAPO)
        prompt     1 / (n_g P)      mean over prompts of token means (ScaleRL)
        constant   1 / (L B)        sum over tokens / a constant (Dr. GRPO)

    n_i is `lengths`, n_g the tokens of sequence i's group, L is `max_tokens`, B is
    `num_sequences` and P `num_prompts`. So the loss is a plain sum over micro-batches
    and ranks, whatever their sizes. Only `constant` keeps the direction of the exact
    policy gradient.
    """
    check("aggregation", kind, AGGREGATIONS)
    n = lengths.double()
    if kind == "prompt":
        n = n.view(-1, group_size).sum(1).repeat_interleave(group_size)
    count = {
        "sequence": n * num_sequences,
        "token": torch.full_like(n, num_tokens),
        "prompt": n * num_prompts,
        "constant": torch.full_like(n, max_tokens * num_sequences),
    }[kind]
    return 1 / count.clamp(min=1)  # where nothing is left there is nothing to weigh


def weighted_sum(values: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """sum_i w_i sum_t values_it over tokens (B, T) whose mask is not 0.

    where, not a product: a NaN or inf in a masked cell must not reach the sum.
    """
    per_sequence = torch.where(mask > 0, values, 0.0).sum(1)
    return (per_sequence * weights.to(values.dtype)).sum()


# --------------------------------------------------------------------------------------
# The importance weight and the loss


def policy_loss(
    logp: Tensor,  # (B, T) log pi, carries the gradient
    old_logp: Tensor,  # (B, T) log pi_old, recorded while sampling
    advantages: Tensor,  # (B,) or (B, T)
    mask: Tensor,  # (B, T) 1 on answer tokens, 0 elsewhere
    weights: Tensor,  # (B,) from sequence_weights
    kind: str = "clip",
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    ratio_max: float = RATIO_MAX,
    correction: Tensor | None = None,  # (B, T) from importance_weights
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss to minimize, the ratio (B, T), and which tokens were cut (B, T).

        r_it = pi(o_it | q, o_i<t) / pi_old(o_it | q, o_i<t)
        loss = - sum_i w_i sum_t c_it J_it
        reinforce  J = A log pi                             no ratio at all
        clip       J = min(r A, clip(r, 1 - low, 1 + high) A)   PPO; DAPO: high > low
        dual_clip  the same, but J >= ratio_max A where A < 0   1912.09729
        cispo      J = stop_gradient(min(r, ratio_max)) A log pi    2506.13585
        gspo       clip, with r = (prod_t r_it)^(1 / n_i)           2507.18071

    In code: r is `ratio`, A is `advantages`, w is `weights`, c is `correction` or 1.
    Ratio and cut are detached, 1 and False where mask is 0. cispo drops no token and
    is token-level truncated importance sampling; ScaleRL finds 4, 5 and 8 for its
    limit alike; a lower bound is unused in both papers and left out.
    """
    check("loss", kind, LOSSES)
    assert logp.shape == old_logp.shape == mask.shape
    assert len(advantages) == len(weights) == len(logp)
    advantage = advantages if advantages.dim() == 2 else advantages[:, None]
    own = mask > 0
    log_ratio = torch.where(own, logp - old_logp, 0.0)
    if kind == "gspo":
        mean = log_ratio.sum(1) / own.sum(1).clamp(min=1)
        log_ratio = torch.where(own, mean[:, None], 0.0)
    ratio = log_ratio.exp()  # 1 everywhere on the first update after sampling
    if kind == "reinforce":
        objective, cut = advantage * logp, torch.zeros_like(own)
    elif kind == "cispo":
        objective = ratio.detach().clamp(max=ratio_max) * advantage * logp
        cut = ratio > ratio_max
    else:
        clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
        objective = torch.minimum(ratio * advantage, clipped * advantage)
        cut = objective < ratio * advantage
        if kind == "dual_clip":
            beyond = (advantage < 0) & (ratio > ratio_max)
            objective = torch.where(beyond, ratio_max * advantage, objective)
            cut = cut | beyond
    if correction is not None:
        objective = objective * correction
    return -weighted_sum(objective, mask, weights), ratio.detach(), cut & own


def importance_weights(
    log_ratio: Tensor,  # (B, T) log pi_old - log pi_sampler
    mask: Tensor,  # (B, T)
    kind: str,
    limit: float,
) -> Tensor:
    """c_it (B, T), detached: corrects for a sampler other than the old policy.

        token     min(w_t, limit)                           TIS
        mask      w_t if 1 / limit <= w_t <= limit else 0   IcePop
        prefix    min(prod_{s <= t} w_s, limit)
        sequence  min(prod_s w_s, limit)

    Only `sequence` without a limit is unbiased, and its variance grows with length.
    Token-level weights keep the update near the sampler; they do not correct it:
    `python grpo.py` shows how far each is from the truth.
    """
    check("correction", kind, CORRECTIONS)
    x = torch.where(mask > 0, log_ratio.detach(), 0.0)
    if kind == "none":
        return torch.ones_like(x)
    if kind == "prefix":
        x = x.cumsum(1)
    elif kind == "sequence":
        x = x.sum(1, keepdim=True).expand_as(x)
    weight = x.exp()
    if kind == "mask":
        return torch.where((weight >= 1 / limit) & (weight <= limit), weight, 0.0)
    return weight.clamp(max=limit)


# --------------------------------------------------------------------------------------
# KL to a reference


def kl_estimate(logp: Tensor, ref_logp: Tensor, kind: str) -> Tensor:
    """KL(pi || ref) estimated from a token that pi sampled: k1, k2 or k3 (Schulman).

        k1 = x    k2 = x^2 / 2    k3 = exp(-x) - 1 + x    x = log pi - log ref

    A good value is not yet a good gradient. Right: k1 in the reward (detached), and k2
    in the loss for the token's own share. Wrong: k3 in the loss (GRPO's choice), which
    descends KL(ref || pi) instead, and k1 in the loss, whose gradient is 0 on average.
    """
    x = logp - ref_logp
    return {"k1": x, "k2": x * x / 2, "k3": (-x).expm1() + x}[kind]


def returns_to_go(rewards: Tensor, mask: Tensor) -> Tensor:
    """Sum of what comes at t or later, (B, T); what stands outside the mask is 0.

    A token answers for the KL that it leads to later, not for its own alone.
    """
    return torch.where(mask > 0, rewards, 0.0).flip(1).cumsum(1).flip(1)


# --------------------------------------------------------------------------------------
# Recipes: fields of train.Config. Papers tune for models 10^5 times this size, so
# numbers that depend on size (learning rates, batch sizes, lengths) are left alone.

PLAIN = dict(loss="reinforce", aggregation="constant")
RECIPES: dict[str, dict] = {
    # DeepSeekMath 2402.03300: a KL in the loss, no clip-higher
    "grpo": dict(aggregation="sequence", clip_high=0.2, flat="keep")
    | dict(kl="k3_loss", kl_coef=0.04),
    # 2503.20783
    "dr_grpo": dict(advantage="dr_grpo", aggregation="constant", flat="keep")
    | dict(clip_high=0.2),
    # 2503.14476; this and the next two split a batch into several updates
    "dapo": dict(updates=2, clip_high=0.28, flat="resample", truncated="penalty"),
    # MiniMax-M1 2506.13585
    "cispo": dict(updates=2, loss="cispo", flat="keep"),
    # 2507.18071
    "gspo": dict(updates=2, loss="gspo", aggregation="sequence", flat="keep")
    | dict(clip_low=3e-4, clip_high=4e-4),
    # 2402.14740: the KL is part of the reward
    "rloo": PLAIN | dict(advantage="rloo", flat="keep", kl="k1_reward", kl_coef=0.01),
    # Williams 1992, with a constant baseline
    "reinforce": PLAIN | dict(advantage="batch_mean", flat="keep"),
    # as in prime-rl
    "maxrl": PLAIN | dict(advantage="maxrl"),
    # 2510.13786: its pipeline is 8 steps deep
    "scalerl": dict(advantage="scalerl", loss="cispo", aggregation="prompt")
    | dict(lag=8, retire=0.9, truncated="interrupt"),
}


# --------------------------------------------------------------------------------------
# Policies so small that every answer can be counted


def two_tokens(theta: Tensor) -> tuple[Tensor, Tensor]:
    """The four answers of two tokens, 0 or 1: log-probabilities and mask (4, 2).

    theta (3, 2): logits of the first token, of the second after 0, and after 1.
    """
    logp = theta.log_softmax(-1)
    rows = [torch.stack([logp[0, a], logp[1 + a, b]]) for a in (0, 1) for b in (0, 1)]
    return torch.stack(rows), torch.ones(4, 2)


def until_stop(phi: Tensor) -> tuple[Tensor, Tensor]:
    """Answers that stop after 1, 2 or 3 tokens, or are cut at 3; (4, 3) each.

    phi (3,): logit of stopping at each token.
    """
    stops = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    goes = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
    logp = stops * F.logsigmoid(phi) + goes * F.logsigmoid(-phi)
    return logp, stops + goes


# The examples that the tables and the tests share.
THETA = torch.tensor([[0.3, -0.2], [0.1, 0.4], [-0.5, 0.2]], dtype=torch.float64)
SAMPLER = torch.tensor([[-0.7, 0.8], [1.0, -0.6], [-0.9, 0.9]], dtype=torch.float64)
REWARDS = torch.tensor([0.0, 1.0, 0.0, 0.5], dtype=torch.float64)  # 00 01 10 11
PHI = torch.tensor([0.2, -0.3, 0.1], dtype=torch.float64)
STOP_REWARDS = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
Policy = Callable[[Tensor], tuple[Tensor, Tensor]]


def exact_gradient(policy: Policy, theta: Tensor, rewards: Tensor) -> Tensor:
    """Gradient of E[R] = sum of p(answer) R(answer), the definition itself."""
    theta = theta.clone().requires_grad_()
    return torch.autograd.grad(policy(theta)[0].sum(1).exp() @ rewards, theta)[0]


def expected_gradient(
    policy: Policy,
    theta: Tensor,
    rewards: Tensor,  # of each possible answer
    shape: tuple[int, int],  # P, G
    advantage: str,
    aggregation: str = "constant",
) -> Tensor:
    """What an estimator gives on average: every batch there is, times its chance."""
    theta = theta.clone().requires_grad_()
    logp, mask = policy(theta)
    total, (P, G) = torch.zeros(()), shape
    for batch in itertools.product(range(len(rewards)), repeat=P * G):
        rows = list(batch)
        lengths = mask[rows].sum(1)
        advantages = group_advantages(rewards[rows].view(shape), advantage).flatten()
        counts = int(lengths.sum()), P * G, P
        weights = sequence_weights(lengths, aggregation, G, 1, *counts)
        new, old = logp[rows], logp[rows].detach()
        part, _, _ = policy_loss(new, old, advantages, mask[rows], weights)
        total = total + old.sum().exp() * part
    return -torch.autograd.grad(total, theta)[0]


def off_policy_gradient(
    theta: Tensor, sampler: Tensor, rewards: Tensor, kind: str, limit: float
) -> Tensor:
    """The same where two_tokens(sampler) wrote the answers, with importance_weights."""
    theta = theta.clone().requires_grad_()
    (logp, mask), (old, _) = two_tokens(theta), two_tokens(sampler)
    weights = importance_weights(logp - old, mask, kind, limit)
    chance = old.sum(1).exp()
    args = logp, old, rewards, mask, chance, "reinforce"
    loss, _, _ = policy_loss(*args, correction=weights)
    return -torch.autograd.grad(loss, theta)[0]


def bandit_gradient(z: Tensor, kl: str, kl_coef: float) -> Tensor:
    """Expected gradient on z of two arms, p = sigmoid(z), rewards 1 and 0, reference
    1/2. `kl` is an estimator and where it goes, e.g. k3_loss; rho: times pi / old."""
    z = z.clone().requires_grad_()
    logp = torch.stack([F.logsigmoid(z), F.logsigmoid(-z)])[:, None]
    estimator, where, *rho = kl.split("_")
    k = kl_estimate(logp, torch.full_like(logp, 0.5).log(), estimator)
    if rho:
        k = k * (logp - logp.detach()).exp()
    reward = torch.tensor([[1.0], [0.0]]) - kl_coef * k.detach() * (where == "reward")
    p, ones = logp.detach().exp()[:, 0], torch.ones(2, 1)
    loss, _, _ = policy_loss(logp, logp.detach(), reward, ones, p, "reinforce")
    if where == "loss":
        loss = loss + kl_coef * weighted_sum(k, ones, p)
    return -torch.autograd.grad(loss, z)[0]


def fixed_point(kl: str, kl_coef: float = 0.5) -> float:
    """The p at which the bandit's gradient ends, from p = 1/2 upwards."""
    low, high = torch.tensor([0.0, 20.0], dtype=torch.float64)
    for _ in range(50):
        middle = (low + high) / 2
        up = bandit_gradient(middle, kl, kl_coef) > 0
        low, high = (middle, high) if up else (low, middle)
    return low.sigmoid().item()


def main() -> None:
    """Tables: what each choice expects, its size and direction beside the exact one."""

    def row(name: str, found: Tensor, exact: Tensor) -> None:
        size = (found.norm() / exact.norm()).item()
        cosine = torch.cosine_similarity(found, exact, dim=0).item()
        numbers = "".join(f"{x:9.4f}" for x in found)
        print(f"{name:22}{numbers}{size:9.3f}{cosine:9.4f}")

    exact = exact_gradient(two_tokens, THETA, REWARDS)[:, 0]
    print(f"{'':22}{'gradient':>27}{'size':>9}{'cosine':>9}")
    print("Baselines: 2 prompts x 2 answers of 2 tokens")
    row("exact", exact, exact)
    for kind in BASELINES:
        found = expected_gradient(two_tokens, THETA, REWARDS, (2, 2), kind)
        row(f"advantage {kind}", found[:, 0], exact)
    print("\nCorrections: answers from another policy, limit 2, and no limit")
    for kind, limit in [*((kind, 2.0) for kind in CORRECTIONS), ("sequence", math.inf)]:
        found = off_policy_gradient(THETA, SAMPLER, REWARDS, kind, limit)
        row(f"correction {kind}", found[:, 0], exact)
    exact = exact_gradient(until_stop, PHI, STOP_REWARDS)
    print("\nAggregations: 1 prompt x 2 answers of 1 to 3 tokens, advantage rloo")
    row("exact", exact, exact)
    for kind in AGGREGATIONS:
        args = until_stop, PHI, STOP_REWARDS, (1, 2), "rloo", kind
        row(f"aggregation {kind}", expected_gradient(*args), exact)
    print("\nKL to 1/2, times 0.5: where a bandit with rewards 1 and 0 ends")
    for kl in ("k1_reward", "k2_loss", "k3_loss_rho", "k3_loss", "k1_loss"):
        right = "right" if abs(fixed_point(kl) - 0.880797) < 1e-6 else "wrong"
        print(f"{kl:22}{fixed_point(kl):9.6f}  {right}")


if __name__ == "__main__":
    main()
