"""Sampling: how G answers to each prompt become tensors, fast.

Read after model.py and reward.py. train.py calls `rollout` once a step and in every
evaluation; one loop serves puzzles and environments of several turns.

    prefill   each distinct prompt runs through the model once; its keys and values are
              copied to the slots of its G samples
    decode    every slot feeds one token and gets the next: sampled, or already written
              by the environment. Nothing is read by the host in here
    harvest   after `burst` steps the host looks which slots ended a turn, lets their
              environments answer, and gives slots of finished samples to waiting ones

A sample depends on (seed, step, prompt, sample) alone: its random numbers are drawn
before it starts, so batch width, slots, order and burst cannot change it.

Shapes    P prompts, G samples of each, N = P * G samples, W slots, S cache positions,
          T tokens of the longest sequence, V vocabulary
Left out  paging, prefix trees, speculation, top-k and top-p (they bias the gradient)
"""

import random
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from model import END, GPT, PAD, GPTConfig, decode, encode
from reward import TASKS, Env, Problem

BUCKET = 16  # attention covers the live part of the cache, rounded up to this


@dataclass
class Batch:
    """N finished samples; the G samples of a prompt are neighbours, in prompt order.

    Column t of `mask` and `logp` belongs to tokens[:, t] itself.
    """

    tokens: Tensor  # (N, T) prompt, completions and observations, then PAD
    mask: Tensor  # (N, T) 1 on tokens the policy wrote, 0 elsewhere
    logp: Tensor  # (N, T) log-probability when sampled, 0 where mask is 0
    prompt_lengths: list[int] = field(default_factory=list)  # (N,)
    lengths: list[int] = field(default_factory=list)  # (N,) prompt included
    truncated: list[bool] = field(default_factory=list)  # (N,) ran out of tokens
    envs: list[Env] = field(default_factory=list)  # (N,)
    prefill_seconds: float = 0.0

    def text(self, i: int) -> str:
        """Everything written after the prompt in sample i."""
        return decode(self.tokens[i, self.prompt_lengths[i] : self.lengths[i]].tolist())


def uniforms(key: tuple[int, ...], length: int) -> np.ndarray:
    """`length` float64 in [0, 1) for one sample; a longer draw starts the same.

    Capped just below 1, so that u * total < total also after rounding.
    """
    return np.minimum(np.random.default_rng(key).random(length), 1 - 2.0**-52)


def inverse_cdf(logprobs: Tensor, u: Tensor) -> Tensor:
    """The token whose stretch of the cumulative distribution contains u.

    logprobs (W, V), u (W,) float64 in [0, 1) -> (W,). One random number a row, against
    V for Gumbel or exponential races. right=True: u = 0 cannot hit a token of
    probability 0.
    """
    cdf = logprobs.double().exp().cumsum(-1)  # (W, V)
    return torch.searchsorted(cdf, (u * cdf[:, -1])[:, None], right=True)[:, 0]


def decode_step(
    model: GPT,
    cache: Tensor,  # (L, 2, W or more, K, S, D)
    state: Tensor,  # (7, W) int64, what each slot is doing
    out: Batch,
    u: Tensor,  # (N, max_new + 1) float64
    live: int,
    greedy: bool,
) -> None:
    """Feed one token in each slot and write the next, all in place, no host read.

    The rows of `state`, each (W,):
        sample    which sample the slot works on
        token     the token to feed, which stands at
        position  this place of its sequence
        known     tokens of the sequence written so far, by whomever
        drawn     random numbers used so far
        left      tokens the policy may still write in this turn
        ended     1: the turn is over, wait for the host; the slot then feeds the same
                  token again, which changes nothing
    """
    sample, token, position, known, drawn, left, ended = state
    logits = model(token[:, None], cache, position, live)  # (W, V)
    logprobs = logits.log_softmax(-1)
    if greedy:
        choice = logprobs.argmax(-1)
    else:
        choice = inverse_cdf(logprobs, u.view(-1)[sample * u.shape[1] + drawn])
    logp = logprobs.gather(1, choice[:, None])[:, 0]

    position += 1 - ended
    written = position < known  # by the environment, or by a slot that waits
    here = sample * out.tokens.shape[1] + position  # flat index
    tokens, logps, mask = (x.view(-1) for x in (out.tokens, out.logp, out.mask))
    token.copy_(torch.where(written, tokens[here], choice))
    tokens[here] = token
    logps[here] = torch.where(written, logps[here], logp)
    mask[here] = torch.where(written, mask[here], 1.0)

    policy = (~written).long()
    known += policy
    drawn += policy
    left -= policy
    ended |= policy & ((token == END) | (left == 0)).long()


def end_turn(out: Batch, i: int, start: int, known: int, stop: int) -> str | None:
    """Let the environment of sample i answer its turn, tokens start..known-1.

    Returns the observation, or None where the sample is over: the episode is done, or
    it would reach `stop` tokens and is truncated.
    """
    env, turn = out.envs[i], out.tokens[i, start:known].tolist()
    if turn[-1] == END or len(turn) == env.turn_tokens:
        observation, done = env.step(decode(turn))
        if done:
            return None
        if known + len(observation) < stop:
            return observation
    out.truncated[i] = True
    return None


def new_batch(
    problems: list[Problem], group_size: int, max_new: int, key: tuple[int, ...]
) -> tuple[Batch, Tensor]:
    """Samples that hold their prompts, and their random numbers (N, max_new + 1)."""
    prompts = [encode(problem.prompt) for problem in problems]
    shape = (len(problems) * group_size, max(map(len, prompts)) + max_new)
    batch = Batch(torch.full(shape, PAD), torch.zeros(shape), torch.zeros(shape))
    draws = []
    for p, (problem, prompt) in enumerate(zip(problems, prompts, strict=True)):
        for g in range(group_size):
            batch.tokens[len(batch.envs), : len(prompt)] = torch.tensor(prompt)
            seed = " ".join(map(str, (*key, p, g)))
            batch.envs.append(TASKS[problem.task].env(problem, seed))
            batch.prompt_lengths.append(len(prompt))
            # One more than can be used: a slot that waits points past its last.
            draws.append(uniforms((*key, p, g), max_new + 1))
    batch.lengths = list(batch.prompt_lengths)
    batch.truncated = [False] * len(batch.envs)
    return batch, torch.from_numpy(np.stack(draws))


@torch.no_grad()
def rollout(
    model: GPT,
    problems: list[Problem],
    group_size: int,
    max_new: int,
    key: tuple[int, ...],
    greedy: bool = False,
    width: int = 128,
    burst: int = 0,
) -> Batch:
    """Sample `group_size` answers to each problem at temperature 1.

    max_new   tokens after the prompt, observations included; then a sample is truncated
    key       (seed, step, ...) of this batch, completed by prompt and sample number
    greedy    the likeliest token instead of a sampled one
    width     slots decoded side by side
    burst     decode steps between host reads; 0: 1 on a CPU, 8 on a GPU

    ValueError where a prompt and its answer do not fit the context.
    """
    device = model.embed.weight.device
    burst = burst or (1 if device.type == "cpu" else 8)
    out, u = new_batch(problems, group_size, max_new, key)
    (num, length), context = out.tokens.shape, model.config.context
    if length > context:
        raise ValueError(
            f"a prompt of {length - max_new} tokens and {max_new} new ones do not fit "
            f"the context of {context}; raise --context or choose easier --levels"
        )
    out.tokens, out.mask, out.logp = (
        x.to(device) for x in (out.tokens, out.mask, out.logp)
    )
    u = u.to(device)
    # All of a prompt but its last token, which its slots feed themselves: so one decode
    # step samples every token there is, the first included.
    prefix = model.new_cache(len(problems), length - max_new - 1)
    began = time.perf_counter()
    model(out.tokens[::group_size, : length - max_new - 1], prefix)
    out.prefill_seconds = time.perf_counter() - began

    width = min(width, num)
    cache = model.new_cache(width, -(-length // BUCKET) * BUCKET)
    state = torch.zeros(7, width, dtype=torch.int64, device=device)
    state[6] = 1  # every slot is free
    working = [-1] * width  # the sample of each slot, -1: none
    starts = list(out.prompt_lengths)  # where the turn of each sample began
    queue = deque(range(num))
    while True:
        table = state.T.cpu().numpy()  # (W, 7), the one host read
        filled = []
        for slot in table[:, 6].nonzero()[0].tolist():
            i, known = working[slot], int(table[slot, 3])
            said = None
            if i >= 0:
                stop = out.prompt_lengths[i] + max_new
                said = end_turn(out, i, starts[i], known, stop)
                if said is None:
                    out.lengths[i], working[slot] = known, -1
            if said is None and queue:
                i = working[slot] = queue.popleft()
                known, said = out.prompt_lengths[i], ""
                table[slot, :5] = i, out.tokens[i, known - 1], known - 1, known, 0
                filled.append(slot)
            if said is not None:
                out.tokens[i, known : known + len(said)] = torch.tensor(encode(said))
                starts[i] = known = known + len(said)
                room = out.prompt_lengths[i] + max_new - known
                left = min(out.envs[i].turn_tokens or room, room)
                table[slot, 3], table[slot, 5:] = known, (left, 0)
        state.copy_(torch.from_numpy(table.T))
        if filled:
            prompts = [working[slot] // group_size for slot in filled]
            cache[:, :, filled, :, : prefix.shape[4]] = prefix[:, :, prompts]
        busy = [slot for slot, i in enumerate(working) if i >= 0]
        if not busy:
            break
        if not queue and len(busy) <= len(working) // 2 and len(working) > 8:
            # Compact: the busy slots move to the front and the rest is no longer run.
            free = [slot for slot, i in enumerate(working) if i < 0]
            keep = busy + free[: max(0, 8 - len(busy))]
            cache[:, :, : len(keep)] = cache[:, :, keep]
            state = state[:, keep].contiguous()
            working = [working[slot] for slot in keep]
        live = int(table[busy, 2].max()) + 1 + burst
        live = min(-(-live // BUCKET) * BUCKET, cache.shape[4])
        for _ in range(burst):
            decode_step(model, cache, state, out, u, live, greedy)
    end = max(out.lengths)
    out.tokens, out.mask, out.logp = (
        x[:, :end] for x in (out.tokens, out.mask, out.logp)
    )
    return out


def main() -> None:
    """Sample from a random model, with and without a cache, and print the speed."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, rng = GPT(GPTConfig()), random.Random(0)
    problems = [TASKS["chain"].draw(6, "rl", rng) for _ in range(16)]
    max_new = TASKS["chain"].max_tokens(6)
    for g in (1, 16):
        began = time.perf_counter()
        batch = rollout(model, problems, g, max_new, (0, 0))
        seconds = time.perf_counter() - began
        num = int(batch.mask.sum())
        print(f"{16 * g:4d} samples: {num:6d} tokens, {num / seconds:7.0f} tokens/s")
    began = time.perf_counter()
    ids = batch.tokens[:, : batch.prompt_lengths[0]]
    with torch.no_grad():
        for _ in range(max_new):
            logprobs = model(ids)[:, -1].log_softmax(-1)
            u = torch.rand(len(ids), dtype=torch.float64)
            ids = torch.cat([ids, inverse_cdf(logprobs, u)[:, None]], 1)
    naive = max_new * len(ids) / (time.perf_counter() - began)
    print(f"no cache:    {max_new * len(ids):6d} tokens, {naive:7.0f} tokens/s")
    with torch.no_grad():
        full = model(batch.tokens)[:, :-1].log_softmax(-1)
    full = full.gather(2, batch.tokens[:, 1:, None])[..., 0]
    worst = ((full - batch.logp[:, 1:]) * batch.mask[:, 1:]).abs().max()
    print(f"largest difference to the log-probabilities of a full pass: {worst:.1e}")
    for i in range(2):
        print(f"{problems[0].prompt}{batch.text(i)!r}")


if __name__ == "__main__":
    main()
