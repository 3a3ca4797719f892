"""Policy gradients for groups of sampled answers.

Read after rollout.py. Pure functions on tensors; train.py calls them once a step, in
this order: group_advantages, sequence_weights, then for each micro-batch
token_logprobs, policy_loss and, where a bonus for it is wanted, token_entropy.

Shapes    P prompts, G answers to each, B = P * G sequences, T tokens, V vocabulary
Papers    GRPO arXiv:2402.03300, Dr. GRPO 2503.20783, DAPO 2503.14476, PPO 1707.06347,
          CISPO (MiniMax-M1) 2506.13585, ScaleRL 2510.13786
Left out  a critic, a KL penalty to a reference model
"""

import torch
from torch import Tensor

BASELINES = ("grpo", "dr_grpo")
LOSSES = ("clip", "cispo")
AGGREGATIONS = ("sequence", "token", "prompt", "constant")


def live_groups(rewards: Tensor) -> Tensor:
    """Which groups (P,) have any contrast: rewards (P, G) that are not all the same.

    Decided by max and min: the standard deviation of three times 0.1 is not exactly 0.
    """
    return rewards.amax(1) > rewards.amin(1)


def group_advantages(rewards: Tensor, kind: str = "grpo") -> Tensor:
    """How much better each answer is than its group, (P, G) -> (P, G).

        dr_grpo   A_i = R_i - mean(R)
        grpo      A_i = (R_i - mean(R)) / (std(R) + 1e-6)

    R are the rewards of one group. The GRPO paper leaves the standard deviation open;
    we divide by G, not G - 1, so a balanced group of 0 and 1 gets -1 and 1. Centring
    scales the expected gradient by exactly 1 - 1/G; dividing by std also bends it.
    A group without contrast gets exact zeros. ValueError for G below 2.
    """
    if kind not in BASELINES:
        raise ValueError(f"no advantage {kind!r}; choose from {', '.join(BASELINES)}")
    if rewards.dim() != 2 or rewards.shape[1] < 2:
        raise ValueError(f"rewards must be (P, G) with G >= 2, got {(*rewards.shape,)}")
    advantages = rewards - rewards.mean(1, keepdim=True)
    if kind == "grpo":
        advantages = advantages / (rewards.std(1, correction=0, keepdim=True) + 1e-6)
    return torch.where(live_groups(rewards)[:, None], advantages, 0.0)


def token_logprobs(
    logits: Tensor,  # (B, T, V)
    tokens: Tensor,  # (B, T)
) -> Tensor:
    """Log-probability of each token, (B, T).

    The logits at t choose the token at t + 1; column t of the result belongs to
    tokens[:, t], and column 0, which nothing predicts, is 0.
    """
    logprobs = logits[:, :-1].log_softmax(-1)  # (B, T-1, V)
    logp = logprobs.gather(2, tokens[:, 1:, None])[..., 0]
    return torch.cat([logp.new_zeros(len(logp), 1), logp], 1)


def token_entropy(logits: Tensor) -> Tensor:
    """Entropy (B, T) of the distributions that tokens were chosen from.

        H = - sum_v pi(v) log pi(v)

    Column t belongs to tokens[:, t], chosen by the logits at t - 1; column 0 is 0.
    """
    logprobs = logits[:, :-1].log_softmax(-1)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    return torch.cat([entropy.new_zeros(len(entropy), 1), entropy], 1)


def sequence_weights(
    lengths: Tensor,  # (B,) answer tokens of each sequence, groups together
    kind: str,
    group_size: int,
    max_tokens: int,
    num_tokens: int,  # answer tokens of the whole step: all micro-batches, all ranks
    num_sequences: int,  # sequences of the whole step
) -> Tensor:
    """What one token of each sequence weighs in the loss, (B,).

        sequence   1 / (n_i B)      mean over sequences of token means (GRPO)
        token      1 / sum_j n_j    mean over all tokens (DAPO)
        prompt     1 / (n_g P)      mean over prompts of token means (ScaleRL)
        constant   1 / (L B)        sum over tokens / a constant (Dr. GRPO)

    n_i is `lengths`, n_g the tokens of sequence i's group, L is `max_tokens`, B and P
    count sequences and prompts of the whole step. So the loss is a plain sum over
    micro-batches and ranks, whatever their sizes. Only `constant` keeps the direction
    of the exact policy gradient.
    """
    n = lengths.double().clamp(min=1)  # an empty sequence has no token to weigh
    if kind == "sequence":
        weights = 1 / (n * num_sequences)
    elif kind == "token":
        weights = torch.ones_like(n) / max(num_tokens, 1)
    elif kind == "prompt":
        in_group = lengths.double().view(-1, group_size).sum(1).clamp(min=1)
        num_prompts = num_sequences / group_size
        weights = (1 / (in_group * num_prompts)).repeat_interleave(group_size)
    elif kind == "constant":
        weights = torch.ones_like(n) / (max_tokens * num_sequences)
    else:
        raise ValueError(
            f"no aggregation {kind!r}; choose from {', '.join(AGGREGATIONS)}"
        )
    return weights.float()


def policy_loss(
    logp: Tensor,  # (B, T) log pi, carries the gradient
    old_logp: Tensor,  # (B, T) log pi_old, recorded while sampling
    advantages: Tensor,  # (B,)
    mask: Tensor,  # (B, T) 1 on answer tokens, 0 elsewhere
    weights: Tensor,  # (B,) from sequence_weights
    kind: str = "clip",
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    ratio_max: float = 5.0,
) -> tuple[Tensor, Tensor]:
    """Loss to minimize, and the ratio (B, T), detached, 1 where mask is 0.

        r_it = pi(o_it | q, o_i<t) / pi_old(o_it | q, o_i<t)
        loss = - sum_i w_i sum_t J_it
        clip    J = min(r A, clip(r, 1 - low, 1 + high) A)     PPO; DAPO: high > low
        cispo   J = stop_gradient(min(r, ratio_max)) A log pi  CISPO: drops no token

    In code: r is `ratio`, A is `advantages`, w is `weights`. ScaleRL finds 4, 5 and 8
    for `ratio_max` alike; a lower bound is unused in both papers and left out.
    """
    assert logp.shape == old_logp.shape == mask.shape
    assert advantages.shape == weights.shape == logp.shape[:1]
    advantage = advantages[:, None]  # (B, 1)
    # where, not a product: a NaN or inf in a masked cell must not reach the sum.
    log_ratio = torch.where(mask > 0, logp - old_logp, 0.0)
    ratio = log_ratio.exp()  # 1 everywhere on the first update after sampling
    if kind == "clip":
        clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
        objective = torch.minimum(ratio * advantage, clipped * advantage)
    elif kind == "cispo":
        objective = ratio.detach().clamp(max=ratio_max) * advantage * logp
    else:
        raise ValueError(f"no loss {kind!r}; choose from {', '.join(LOSSES)}")
    objective = torch.where(mask > 0, objective, 0.0)
    return -(objective.sum(1) * weights).sum(), ratio.detach()


def main() -> None:
    """Print what each choice does to one group of four answers."""
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    lengths = torch.tensor([2, 4, 4, 6])
    print(f"rewards of one group {rewards[0].tolist()}, tokens {lengths.tolist()}\n")
    for kind in BASELINES:
        values = group_advantages(rewards, kind)[0].tolist()
        print(f"advantage {kind:9}" + "".join(f"{x:9.4f}" for x in values))
    for kind in AGGREGATIONS:
        values = sequence_weights(lengths, kind, 4, 8, int(lengths.sum()), 4).tolist()
        print(f"weight    {kind:9}" + "".join(f"{x:9.4f}" for x in values))
    print("\ngradient of the loss on log pi at ratio r, advantage A (one token)")
    print(f"{'':19}" + "".join(f"{f'r={r}':>9}" for r in (0.5, 1.0, 1.5)))
    for kind in LOSSES:
        for advantage in (1.0, -1.0):
            logp = torch.tensor([[0.5, 1.0, 1.5]]).log().requires_grad_()
            zeros, ones = torch.zeros(1, 3), torch.ones(1, 3)
            args = torch.tensor([advantage]), ones, torch.ones(1)
            policy_loss(logp, zeros, *args, kind=kind)[0].backward()
            values = logp.grad[0].tolist()
            print(
                f"{kind:9} A={advantage:+.0f}    "
                + "".join(f"{x:9.4f}" for x in values)
            )


if __name__ == "__main__":
    main()
