"""Policy gradients for groups of sampled answers.

Read after rollout.py. Pure functions on tensors. Published recipes differ in five
choices (`kind`) and in rules of data. Here are their functions; those that the default
run does not need stand on the second evening:

    baseline, normaliser   group_advantages, other_advantages
    importance weight      policy_loss, other_objective, importance_weights
    aggregation            sequence_weights, other_counts
    KL to a reference      kl_of_answers, kl_estimate, returns_to_go
    entropy                token_entropy
    data                   live_groups, overlong_penalty

RECIPES puts them together. `python grpo.py` prints, for a policy so small that every
answer can be counted, the mean gradient of each choice beside the exact one.

Shapes    P prompts, G answers to each, B = P * G sequences, T tokens, V vocabulary,
          M logits of a model.Packed
Papers    beside each choice; PPO is arXiv:1707.06347
Left out  a critic (so no GAE, no value loss), a reference that moves
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:  # train.py imports this file
    from train import Config


def live_groups(rewards: Tensor) -> Tensor:
    """Which groups (P,) have contrast: rewards (P, G) that are not all the same."""
    # Not by the standard deviation: that of [0.1, 0.1, 0.1] is not exactly 0.
    return rewards.amax(1) > rewards.amin(1)


def group_advantages(rewards: Tensor, kind: str = "grpo") -> Tensor:
    """How much better each answer is than expected, (P, G) -> (P, G).

        grpo    (R_i - mean) / (std + 1e-6)        2402.03300

    mean and std (by G, not G - 1) are of one group. A group without contrast gets exact
    zeros. The other kinds: `other_advantages`. ValueError for G below 2, or for a
    reward that is not finite.
    """
    if rewards.dim() != 2 or rewards.shape[1] < 2:
        raise ValueError(f"rewards must be (P, G) with G >= 2, got {(*rewards.shape,)}")
    if not rewards.isfinite().all():
        raise ValueError("a reward is not finite; look at the grader")
    if kind != "grpo":
        return other_advantages(rewards, kind)
    centred = rewards - rewards.mean(1, keepdim=True)
    advantages = centred / (rewards.std(1, correction=0, keepdim=True) + 1e-6)
    return torch.where(live_groups(rewards)[:, None], advantages, 0.0)


def token_logprobs(logits: Tensor, tokens: Tensor, at: Tensor | None = None) -> Tensor:
    """Log-probability (B, T) of each of the tokens (B, T) under logits (B, T, V); or
    (M, V), of which row at[b, t] follows token t of sequence b: Packed.places.

    The logits at t - 1 choose tokens[:, t]. Column 0, which nothing predicts, is 0. Of
    a banned token it is -1e9, not -inf: it is masked later, and 0 times it must be 0.
    """
    if at is None:
        at = torch.arange(tokens.numel(), device=tokens.device).view_as(tokens)
    logprobs = logits.flatten(0, -2).log_softmax(-1)  # (M, V)
    chosen = logprobs[at[:, :-1], tokens[:, 1:]]  # (B, T-1)
    return F.pad(chosen.clamp(min=-1e9), (1, 0))


def kl_of_answers(logp: Tensor, base_logp: Tensor, mask: Tensor) -> Tensor:
    """log pi(answer) - log base(answer) in nats, (B,), of columns (B, T). Its mean
    estimates KL(pi || base) of whole answers, the square of Gao et al.'s distance d."""
    return torch.where(mask > 0, logp - base_logp, 0.0).sum(1).cpu()


def sequence_weights(
    lengths: Tensor,  # (B,) answer tokens, groups together; 0: left out of the loss
    kind: str,
    group_size: int,
    max_tokens: int,
) -> Tensor:
    """Weight of one token of each sequence in the loss of a step, (B,), float64.

        token      1 / sum_j n_j    mean over all tokens (DAPO)

    n_j is `lengths`, of the whole step: so the losses of its micro-batches add up.
    Other kinds: 1 / `other_counts`.
    """
    n = lengths.double()
    count = n.sum().expand_as(n)
    if kind != "token":
        count = other_counts(n, kind, group_size, max_tokens)
    return 1 / count.clamp(min=1)  # 0 tokens: nothing to weigh, not 1 / 0


def weighted_sum(values: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """sum_i w_i sum_t values_it over tokens (B, T) whose mask is not 0."""
    # Not a product: a NaN or inf in a masked cell must not reach the sum.
    per_sequence = torch.where(mask > 0, values, 0.0).sum(1)
    return (per_sequence * weights.to(values.dtype)).sum()


def policy_loss(
    logp: Tensor,  # (B, T) log pi, carries the gradient
    old_logp: Tensor,  # (B, T) log pi_old; usually as recorded while sampling
    advantages: Tensor,  # (B,) or (B, T)
    mask: Tensor,  # (B, T) 1 on answer tokens, 0 elsewhere
    weights: Tensor,  # (B,) from sequence_weights
    kind: str = "clip",
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    correction: Tensor | float = 1.0,  # (B, T) from importance_weights
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss to minimize, the ratio (B, T), and which tokens were cut (B, T).

        r_it = pi(o_it | q, o_i<t) / pi_old(o_it | q, o_i<t)
        loss = - sum_i w_i sum_t c_it J_it
        J_it = min(r_it A_i, clip(r_it, 1 - low, 1 + high) A_i)  PPO; DAPO: high > low

    r is `ratio`, A is `advantages`, w is `weights`, c is `correction`. Ratio and
    cut are detached, 1 and False where mask is 0. Other kinds: `other_objective`.
    """
    assert logp.shape == old_logp.shape == mask.shape
    assert len(advantages) == len(weights) == len(logp)
    advantage = advantages if advantages.dim() == 2 else advantages[:, None]
    own = mask > 0
    log_ratio = torch.where(own, logp - old_logp, 0.0)
    if kind == "gspo":
        log_ratio = mean_of_answer(log_ratio, own)
    ratio = log_ratio.exp()  # about 1 on the first update, if the sampler is not stale
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    objective = torch.minimum(ratio * advantage, clipped * advantage)
    cut = objective < ratio * advantage
    if kind not in ("clip", "gspo"):
        objective, cut = other_objective(kind, ratio, advantage, logp, objective)
    loss = -weighted_sum(objective * correction, mask, weights)
    return loss, ratio.detach(), cut & own


def micro_loss(
    logits: Tensor,  # (M, V) of the policy, carries the gradient
    places: Tensor,  # (B, T) row of the logits from which the next token is drawn
    part: dict[str, Tensor],  # columns (B, T) of train.loss_columns, weights (B,)
    cfg: Config,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of a micro-batch as train.Config wants it, and what to log of its tokens."""
    mask = part["mask"]
    logp = token_logprobs(logits, part["tokens"], places)
    loss, ratio, cut = policy_loss(
        logp,
        part["old_logp"],
        part["advantage"],
        mask,
        part["weights"],
        cfg.loss,
        clip_low=cfg.clip_low,
        clip_high=cfg.clip_high,
        correction=part["correction"],
    )
    off = torch.where(mask > 0, logp.detach() - part["sampler_logp"], 0.0).expm1()
    found = {
        "ratio_max": ratio.max().item(),
        "mismatch": off.abs().max().item(),
        "num_cut": cut.sum().item(),
    }
    if cfg.entropy_bonus:
        entropy = weighted_sum(token_entropy(logits, places), mask, part["weights"])
        loss = loss - cfg.entropy_bonus * entropy
    if cfg.kl_coef and cfg.kl != "k1_raw":  # that came off the rewards
        loss, found["kl"] = with_kl(loss, logp, part, cfg)
    return loss, found


# ---- second evening ------------------------------------------------------------------

BASELINES = "none batch_mean dr_grpo rloo grpo reinforce_pp scalerl maxrl".split()
LOSSES = ("reinforce", "clip", "dual_clip", "cispo", "gspo")
RATIO_MAX = 5.0  # for cispo, dual_clip and corrections; ScaleRL finds 4, 5, 8 alike
AGGREGATIONS = ("sequence", "token", "prompt", "constant")
CORRECTIONS = ("none", "token", "mask", "prefix", "sequence")
# The estimator of a KL, and where it goes: off an answer's reward before answers are
# compared, off a token's return, or into the loss.
KLS = {
    "k1_raw": ("k1", "answer"),
    "k1_reward": ("k1", "token"),
    "k2_loss": ("k2", "loss"),
    "k3_loss": ("k3", "loss"),
}


def other_advantages(rewards: Tensor, kind: str) -> Tensor:
    """group_advantages of the other kinds, (P, G) -> (P, G).

        none          R_i
        batch_mean    R_i - mean over the batch              REINFORCE with a baseline
        dr_grpo       R_i - mean                             2503.20783
        rloo          R_i - mean of the others               2402.14740
        reinforce_pp  (R_i - mean) / its std over the batch  2501.03262
        scalerl       the same, over groups with contrast    2510.13786
        maxrl         (R_i - mean) / mean                    as in prime-rl

    mean is of one group unless said otherwise. A group without contrast gets exact
    zeros (batch_mean: if no group has any; none: never). ValueError for a reward below
    0 in maxrl.
    """
    assert kind in BASELINES, kind
    if kind == "none":
        return rewards.clone()
    if kind == "batch_mean":
        contrast = rewards.max() > rewards.min()
        return torch.where(contrast, rewards - rewards.mean(), 0.0)
    live, mean = live_groups(rewards), rewards.mean(1, keepdim=True)
    advantages = rewards - mean
    if kind == "rloo":  # the mean without R_i, in terms of the mean with it
        advantages = advantages * (rewards.shape[1] / (rewards.shape[1] - 1))
    elif kind == "reinforce_pp":
        advantages = advantages / advantages.square().mean().sqrt()
    elif kind == "scalerl":
        advantages = advantages / advantages[live].square().mean().sqrt()
    elif kind == "maxrl":
        if rewards.min() < 0:
            raise ValueError("advantage maxrl divides by the mean: no reward below 0")
        advantages = advantages / mean
    return torch.where(live[:, None], advantages, 0.0)


def overlong_penalty(lengths: Tensor, limit: int, buffer: int) -> Tensor:
    """Penalty (B,) of long answers: 0, over the last `buffer` tokens down to -1 at
    `limit` tokens (DAPO 2503.14476)."""
    over = (lengths - (limit - buffer)).double() / max(buffer, 1)
    return -over.clamp(0, 1)


def other_counts(n: Tensor, kind: str, group_size: int, max_tokens: int) -> Tensor:
    """What a token of each sequence is divided by in other sequence_weights, (B,).

        sequence   n_i B    mean over sequences of token means (GRPO)
        prompt     n_g P    mean over prompts of token means (ScaleRL)
        constant   L B      sum over tokens / a constant (Dr. GRPO)

    n_i is `n` (B,), n_g the tokens of i's group, L `max_tokens`; B and P count what is
    not left out of the loss. Only `constant` keeps, in expectation, the direction of
    the exact policy gradient.
    """
    n_group = n.view(-1, group_size).sum(1)  # (P,)
    num = (n > 0).sum()
    return {
        "sequence": n * num,
        "prompt": n_group.repeat_interleave(group_size) * (n_group > 0).sum(),
        "constant": torch.full_like(n, max_tokens) * num,
    }[kind]


def mean_of_answer(log_ratio: Tensor, own: Tensor) -> Tensor:
    """For gspo: each token's log-ratio (B, T) is the mean of its answer's."""
    mean = log_ratio.sum(1) / own.sum(1).clamp(min=1)
    return torch.where(own, mean[:, None], 0.0)


def other_objective(
    kind: str,
    ratio: Tensor,  # (B, T)
    advantage: Tensor,  # (B, T) or (B, 1)
    logp: Tensor,  # (B, T)
    clipped: Tensor,  # (B, T) the objective of clip
) -> tuple[Tensor, Tensor]:
    """J of policy_loss, and which tokens are cut, (B, T) each, of the other kinds.

        reinforce  J = A log pi                                 no ratio at all
        dual_clip  that of clip, but J >= ratio_max A if A < 0      1912.09729
        cispo      J = stop_gradient(min(r, ratio_max)) A log pi    2506.13585
        gspo       that of clip, with r = (prod_t r_it)^(1 / n_i)   2507.18071

    ratio_max is RATIO_MAX. cispo caps a weight, drops no token.
    """
    assert kind in LOSSES, kind
    if kind == "reinforce":
        objective = advantage * logp
        cut = torch.zeros_like(ratio, dtype=torch.bool)
    elif kind == "cispo":
        objective = ratio.detach().clamp(max=RATIO_MAX) * advantage * logp
        cut = ratio > RATIO_MAX
    else:  # dual_clip
        beyond = (advantage < 0) & (ratio > RATIO_MAX)
        objective = torch.where(beyond, RATIO_MAX * advantage, clipped)
        cut = beyond | (clipped < ratio * advantage)
    return objective, cut


def importance_weights(
    log_ratio: Tensor, mask: Tensor, kind: str, limit: float = RATIO_MAX
) -> Tensor:
    """c_it (B, T), detached: corrects for a sampler other than the old policy.

    log_ratio and mask are (B, T); w = exp(log_ratio) = pi_old / pi_sampler.

        token     min(w_t, limit)                           TIS
        mask      w_t if 1 / limit <= w_t <= limit else 0   IcePop
        prefix    min(prod_{s <= t} w_s, limit)
        sequence  min(prod_s w_s, limit)

    Only `sequence` without a limit is unbiased, and its variance grows with length.
    The others keep the update near the sampler and do not correct it: in the tests'
    example, limit 2, the cosine to the true gradient is 0.16 (token) and 0.25 (mask).
    """
    assert kind in CORRECTIONS, kind
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


def kl_estimate(logp: Tensor, ref_logp: Tensor, kind: str) -> Tensor:
    """KL(pi || ref) estimated from a token that pi sampled: k1, k2 or k3 (Schulman).

        k1 = x    k2 = x^2 / 2    k3 = exp(-x) - 1 + x    x = log pi - log ref

    A good value is not yet a good gradient. Right: k1 in the reward (detached), and k2
    in the loss for the token's own share. Wrong: k3 in the loss (GRPO's choice), which
    descends KL(ref || pi) instead, and k1 in the loss, whose gradient is 0 on average.
    """
    x = logp - ref_logp
    return {"k1": x, "k2": x * x / 2, "k3": (-x).expm1() + x}[kind]


def with_kl(
    loss: Tensor,
    logp: Tensor,  # (B, T) log pi, carries the gradient
    part: dict[str, Tensor],  # as in micro_loss
    cfg: Config,
) -> tuple[Tensor, float]:
    """The loss with its KL to the base, if that is where --kl puts it, and the KL of
    its tokens (k3, the best value) for the log."""
    mask = part["mask"]
    logp = torch.where(mask > 0, logp, part["base_logp"])  # others hold any logits
    k3 = kl_estimate(logp.detach(), part["base_logp"], "k3")
    estimator, place = KLS[cfg.kl]
    if place == "loss":
        kl = kl_estimate(logp, part["base_logp"], estimator)
        loss = loss + cfg.kl_coef * weighted_sum(kl, mask, part["weights"])
    return loss, k3.sum().item()


def returns_to_go(rewards: Tensor, mask: Tensor) -> Tensor:
    """Sum of rewards (B, T) at t or later; outside the mask they count as 0.

    A token answers for the KL that it leads to later, not only for its own.
    """
    return torch.where(mask > 0, rewards, 0.0).flip(1).cumsum(1).flip(1)


def token_entropy(logits: Tensor, places: Tensor) -> Tensor:
    """Entropy (B, T) of what each token was drawn from, as in token_logprobs."""
    logprobs = logits.log_softmax(-1).clamp(min=-1e9)  # 0 log 0 is 0
    entropy = -(logprobs.exp() * logprobs).sum(-1)  # (M,)
    return F.pad(entropy[places[:, :-1]], (1, 0))


# Recipes are fields of train.Config. Those that no function here explains:
#   flat       groups without contrast: drop them, keep (count) them or resample
#   truncated  answers cut off at the limit: zero, mask, penalty (for length), or
#              interrupt (an overlong thought is closed and the answer follows)
#   updates    optimizer steps on each batch; lag: steps that the sampler is behind
# Papers tune models 10^5 times this size: learning rates, batch sizes and lengths stay.
RECIPES: dict[str, dict] = {
    "grpo": dict(  # DeepSeekMath 2402.03300: a KL in the loss, no clip-higher
        aggregation="sequence", clip_high=0.2, flat="keep", kl="k3_loss", kl_coef=0.04
    ),
    "dr_grpo": dict(  # 2503.20783
        advantage="dr_grpo", aggregation="constant", clip_high=0.2, flat="keep"
    ),
    "dapo": dict(  # 2503.14476; this and the next two update several times a batch
        updates=2, clip_high=0.28, flat="resample", truncated="penalty"
    ),
    "cispo": dict(updates=2, loss="cispo", flat="keep"),  # MiniMax-M1 2506.13585
    "gspo": dict(  # 2507.18071
        updates=2,
        loss="gspo",
        aggregation="sequence",
        clip_low=3e-4,
        clip_high=4e-4,
        flat="keep",
    ),
    "rloo": dict(  # 2402.14740: the KL is part of the reward
        advantage="rloo",
        loss="reinforce",
        aggregation="constant",
        flat="keep",
        kl="k1_reward",
        kl_coef=0.01,
    ),
    "reinforce": dict(  # Williams 1992, with a constant baseline
        advantage="batch_mean", loss="reinforce", aggregation="constant", flat="keep"
    ),
    # as in prime-rl
    "maxrl": dict(advantage="maxrl", loss="reinforce", aggregation="constant"),
    # 2510.13786: its pipeline is 8 steps deep. It also retires prompts that are passed;
    # here each problem is made fresh, and comes once.
    "scalerl": dict(
        advantage="scalerl",
        loss="cispo",
        aggregation="prompt",
        lag=8,
        truncated="interrupt",
    ),
}


# Bounds of the numbers in a train.Config; of all others they are 0 and 1e9.
BOUNDS = {
    "seed": (0, 2**63 - 1),
    "threads": (1, os.cpu_count() or 1),
    "group_size": (2, 1e9),
    "layers": (1, 1000),
    "evals": (1, 10_000),
    "lr": (1e-9, 10),  # so that a clipped gradient never makes a weight infinite
    "pretrain_lr": (1e-9, 10),
}
COUNTS = "dim heads kv_heads pretrain_batch prompts_per_step updates rm_answers"
BOUNDS |= dict.fromkeys(f"{COUNTS} eval_problems eval_samples".split(), (1, 1e9))
SHARES = "think_share noise weak stretch false_positive false_negative"
BOUNDS |= dict.fromkeys(SHARES.split(), (0, 1))


def check_numbers(cfg: Config) -> None:
    """ValueError for a number out of its bounds (NaN is out of all), for sizes that do
    not go together, and for a device that is not there."""
    for name, value in vars(cfg).items():
        low, high = BOUNDS.get(name, (0, 1e9))
        if not isinstance(value, str) and not low <= value <= high:
            limits = f"at least {low:g} and at most {high:g}"
            raise ValueError(f"{name} must be {limits}, got {value}")
    if cfg.dim % (2 * cfg.heads):  # rotary: a head is made of pairs
        raise ValueError(f"dim ({cfg.dim}) must be a multiple of heads times 2")
    if cfg.heads % cfg.kv_heads:
        raise ValueError(f"heads must be a multiple of kv_heads ({cfg.kv_heads})")
    devices = ["auto", "cpu"] + ["cuda"] * torch.cuda.is_available()
    devices += ["mps"] * torch.backends.mps.is_available()
    if cfg.device not in devices:
        raise ValueError(f"device must be one of {devices} here, got {cfg.device!r}")


def check_choices(cfg: Config) -> None:
    """ValueError for a name that does not exist, or that another choice excludes."""
    choices = {
        "recipe": ("", *RECIPES),
        "advantage": BASELINES,
        "loss": LOSSES,
        "correction": CORRECTIONS,
        "aggregation": AGGREGATIONS,
        "kl": tuple(KLS),
        "flat": ("drop", "keep", "resample"),
        "truncated": ("zero", "mask", "penalty", "interrupt"),
    }
    for name, allowed in choices.items():
        value = getattr(cfg, name)
        if value not in allowed:
            words = f"{name} must be one of {', '.join(filter(None, allowed))}"
            raise ValueError(f"{words}; got {value!r}")
    raw_kl = cfg.kl_coef and cfg.kl == "k1_raw"
    if cfg.advantage == "maxrl" and (cfg.truncated == "penalty" or raw_kl):
        raise ValueError(
            "advantage maxrl divides by the mean reward, which a penalty on answers "
            "can turn negative; choose --truncated zero or mask and --kl k1_reward"
        )


# ---- Alarms: what is wrong with a run, by the rows of its log ------------------------

# Most alarms compare the last ten steps with the first ten.
WINDOW = 10
SENTENCES = {
    "contrast": "no group had any contrast for 10 steps; at reward 0 no answer is "
    "right (too hard, or the verifier is wrong), at 1 every one (too easy), between "
    "them rewards depend on the prompt only, or is sampling still random?",
    "identical": "all samples of every group are identical; entropy has collapsed, or "
    "samples share their random numbers",
    "gradient": "the gradient is exactly 0 although groups have contrast; everything "
    "is masked or clipped, or the loss is cut off from the model",
    "mismatch": "the ratio of the first update is off 1 by {mismatch:.2g}; sampler and "
    "trainer differ in weights, mask, temperature or cache",
    "skipped": "{skipped} updates had a gradient that was not finite and were left "
    "out; lower the learning rate",
    "entropy": "entropy fell below a twentieth of where it began while answers are "
    "still wrong; lower --lr or raise --entropy-bonus",
    "answer_tokens": "answers shrank below a half while they are still wrong; short "
    "guesses beat long attempts of a weak base: pretrain longer",
    "think_share": "half of the thoughts are gone; what is paid can be had without",
    "truncated": "many answers run out of tokens, a tenth more than at first or all; "
    "the policy writes no end, or its room is too short",
    "gap": "what is paid grew by 0.1 more than what is right: the reward is hacked",
    "passed": "a level that was passed has sunk below a half",
}


def alarms_ringing(rows: list[dict], lag: int = 0) -> dict[str, str]:
    """What is wrong after the last of these rows of kind rl: {name: sentence}.

    A stale sampler is meant to be off. A column that is not there rings nothing. A null
    in the log was no finite number: NaN.
    """
    names = set(SENTENCES) | {"live_groups", "reward", "gold"}
    last = {name: np.nan if x is None else x for name, x in rows[-1].items()}
    recent, first = rows[-WINDOW:], rows[:WINDOW]
    now, start = (
        {n: np.array([row.get(n) for row in part], float).mean() for n in names}
        for part in (recent, first)
    )
    full = len(rows) >= WINDOW
    # A policy that is nearly always right may well be sure of itself and brief.
    wrong = full and now["gold"] < 0.7
    more = now["truncated"] - start["truncated"]
    grown = (now["reward"] - now["gold"]) - (start["reward"] - start["gold"])
    rings = {
        "contrast": full and now["live_groups"] == 0,
        "identical": full and now["identical"] == 1,
        "gradient": last["grad_norm"] == 0 and last["live_groups"] > 0,
        "mismatch": not last["mismatch"] <= 1e-3 and not lag,
        "skipped": last["skipped"] > 0,
        "entropy": wrong and now["entropy"] < start["entropy"] / 20,
        "answer_tokens": wrong and now["answer_tokens"] < start["answer_tokens"] / 2,
        "think_share": full and now["think_share"] < start["think_share"] / 2,
        "truncated": last["truncated"] == 1 or full and more > 0.1,
        "gap": full and grown > 0.1,
        "passed": full and now["passed"] < 0.5,
    }
    return {name: SENTENCES[name].format(**last) for name in rings if rings[name]}


# A policy whose every answer can be counted: it stops after 1, 2, 3 tokens or is cut.
PHI = torch.tensor([0.2, -0.3, 0.1], dtype=torch.float64)  # logits of stopping
STOP_REWARDS = torch.tensor([0.0, 1.0, 0.5, 0.0], dtype=torch.float64)


def until_stop(phi: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities and mask (4, 3) of the four answers; phi (3,)."""
    stops = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    goes = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
    logp = stops * F.logsigmoid(phi) + goes * F.logsigmoid(-phi)
    return logp, stops + goes


def exact_gradient(policy: Callable, theta: Tensor, rewards: Tensor) -> Tensor:
    """Gradient of E[R] = sum of p(answer) R(answer), the definition itself."""
    theta = theta.clone().requires_grad_()
    return torch.autograd.grad(policy(theta)[0].sum(1).exp() @ rewards, theta)[0]


def expected_gradient(
    policy: Callable,  # parameters -> log-probabilities and mask of each answer
    theta: Tensor,
    rewards: Tensor,  # of each possible answer
    shape: tuple[int, int],  # P, G
    advantage: str,
    aggregation: str = "constant",
) -> Tensor:
    """Mean gradient of an estimator: every possible batch times its probability."""
    theta = theta.clone().requires_grad_()
    logp, mask = policy(theta)
    total = torch.zeros(())
    for batch in itertools.product(range(len(rewards)), repeat=math.prod(shape)):
        rows = list(batch)
        lengths = mask[rows].sum(1)
        weights = sequence_weights(lengths, aggregation, shape[1], 1)
        advantages = group_advantages(rewards[rows].view(shape), advantage).flatten()
        old = logp[rows].detach()
        part, _, _ = policy_loss(logp[rows], old, advantages, mask[rows], weights)
        total = total + old.sum().exp() * part
    return -torch.autograd.grad(total, theta)[0]


def main() -> None:
    """Print the mean gradient of each choice beside the exact one."""
    exact = exact_gradient(until_stop, PHI, STOP_REWARDS)
    print("2 prompts x 2 answers of 1 to 3 tokens: size and cosine to the exact one")
    rows = [(f"advantage {kind}", kind, "constant") for kind in BASELINES]
    rows += [(f"aggregation {kind}", "rloo", kind) for kind in AGGREGATIONS]
    for name, baseline, mean in rows:
        found = expected_gradient(until_stop, PHI, STOP_REWARDS, (2, 2), baseline, mean)
        size = (found.norm() / exact.norm()).item()
        cosine = torch.cosine_similarity(found, exact, dim=0).item()
        print(f"{name:24}{size:7.3f}{cosine:9.4f}")


if __name__ == "__main__":
    main()
