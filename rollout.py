"""Sampling: how G answers to each prompt become tensors, fast.

Read after model.py and reward.py. train.py calls `rollout` once a step and in every
evaluation; one loop serves puzzles and environments of several turns.

    prefill   each distinct prompt runs through the model once; its keys and values are
              copied to the slots of its G samples
    decode    every slot feeds one token and gets the next: sampled, or already written
              by the environment. Nothing is read by the host in here
    harvest   after `burst` steps the host looks which slots ended a turn, lets their
              environments answer, and gives slots of finished samples to waiting ones;
              when none waits, the busy slots move together and the rest is not run

A sample depends on (seed, step, prompt, sample) alone: its random numbers are drawn
before it starts, so batch width, slots, order and burst cannot change it.

Shapes    P prompts, G samples of each, N = P * G samples, W slots, S cache positions,
          T tokens of the longest sequence, V vocabulary
Left out  paging, prefix trees, speculation, top-k and top-p (they bias the gradient)
"""

import math
import os
import random
import time
from collections import deque
from dataclasses import dataclass, field, replace

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

    def stop(self, i: int, max_new: int) -> int:
        """Length at which sample i is truncated."""
        return self.prompt_lengths[i] + max_new

    def text(self, i: int) -> str:
        """Everything written after the prompt in sample i."""
        return decode(self.tokens[i, self.prompt_lengths[i] : self.lengths[i]].tolist())


class Buffers:
    """Memory that calls share: allocated once, zeroed, and reused at the same address.

    Fresh memory costs page faults on a CPU, and a CUDA graph is bound to addresses.
    """

    def __init__(self) -> None:
        self.flat: dict[str, Tensor] = {}
        self.graphs: dict[tuple, torch.cuda.CUDAGraph] = {}

    def take(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
    ) -> Tensor:
        """A tensor of this shape in the buffer `name`, contents as they were left."""
        size, held = math.prod(shape), self.flat.get(name)
        if held is None or held.numel() < size or held.device != device:
            self.flat[name] = torch.zeros(size, dtype=dtype, device=device)
            self.graphs.clear()  # they hold the old address
        return self.flat[name][:size].view(shape)


def uniforms(key: tuple[int, ...], length: int) -> np.ndarray:
    """`length` float64 in [0, 1) of one sample; a longer draw starts the same.

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


@dataclass
class Schedule:
    """What the host knows: the sample of each slot, where its turn began, who waits."""

    working: list[int]  # (W,) sample of each slot, -1: none
    starts: list[int]  # (N,) where the present turn of each sample began
    queue: deque[int]  # samples not begun
    longest: int = 0  # tokens of the longest text at work


def end_turn(out: Batch, i: int, turn: list[int], known: int, stop: int) -> str | None:
    """Let the environment of sample i answer a turn.

    Returns the observation, or None where the sample is over: the episode is done, or
    it would reach `stop` tokens and is truncated.
    """
    env = out.envs[i]
    if turn[-1] == END or len(turn) == env.turn_tokens:
        observation, done = env.step(decode(turn))
        if done:
            return None
        if known + len(observation) < stop:
            return observation
    out.truncated[i] = True
    return None


def harvest(out: Batch, state: Tensor, schedule: Schedule, max_new: int) -> list[int]:
    """The host's turn: environments answer, finished samples leave, waiting ones begin.

    One read of the state and one of the texts that ended; one write of each. Returns
    the slots that begin a new sample, whose prompts are not in the cache yet.
    """
    table = state.T.cpu().numpy()  # (W, 7), rows as in decode_step
    over = table[:, 6].nonzero()[0].tolist()
    texts = out.tokens[table[over, 0]].tolist()
    filled: list[int] = []
    places: list[int] = []  # flat places of what environments say, and its tokens
    said: list[int] = []
    for slot, text in zip(over, texts, strict=True):
        i, known, reply = schedule.working[slot], int(table[slot, 3]), None
        if i >= 0:
            turn, stop = text[schedule.starts[i] : known], out.stop(i, max_new)
            reply = end_turn(out, i, turn, known, stop)
            if reply is None:
                out.lengths[i], schedule.working[slot] = known, -1
        if reply is None and schedule.queue:
            i = schedule.working[slot] = schedule.queue.popleft()
            reply, known = "", out.prompt_lengths[i]
            last = encode(out.envs[i].problem.prompt[-1])[0]
            table[slot, :5] = i, last, known - 1, known, 0
            filled.append(slot)
        if reply is not None:
            first = i * out.tokens.shape[1] + known
            places += range(first, first + len(reply))
            said += encode(reply)
            schedule.starts[i] = known = known + len(reply)
            room = out.stop(i, max_new) - known
            left = min(out.envs[i].turn_tokens or room, room)
            table[slot, 3], table[slot, 5:] = known, (left, 0)
    if said:
        device = out.tokens.device
        where = torch.tensor(places, device=device)
        out.tokens.view(-1)[where] = torch.tensor(said, device=device)
    state.copy_(torch.from_numpy(table.T))
    at_work = table[:, 3][table[:, 6] == 0]
    schedule.longest = int(at_work.max(initial=0))
    return filled


def new_batch(
    problems: list[Problem],
    group_size: int,
    max_new: int,
    key: tuple[int, ...],
    numbers: list[int],
) -> tuple[Batch, Tensor]:
    """Samples that hold their prompts, and their random numbers (N, max_new + 1)."""
    prompts = [encode(problem.prompt) for problem in problems]
    shape = (len(problems) * group_size, max(map(len, prompts)) + max_new)
    tokens, draws = np.full(shape, PAD), []
    batch = Batch(torch.from_numpy(tokens), torch.zeros(shape), torch.zeros(shape))
    for problem, prompt, number in zip(problems, prompts, numbers, strict=True):
        for g in range(group_size):
            tokens[len(batch.envs), : len(prompt)] = prompt
            seed = " ".join(map(str, (*key, number, g)))
            batch.envs.append(TASKS[problem.task].env(problem, seed))
            batch.prompt_lengths.append(len(prompt))
            # One more than can be used: a slot that waits points past its last.
            draws.append(uniforms((*key, number, g), max_new + 1))
    batch.lengths = list(batch.prompt_lengths)
    batch.truncated = [False] * len(batch.envs)
    return batch, torch.from_numpy(np.stack(draws))


def refill(
    cache: Tensor, prefix: Tensor, slots: list[int], samples: list[int], group_size: int
) -> None:
    """Copy the prompts' keys and values into slots that begin a sample."""
    prompts = [i // group_size for i in samples]
    cache[:, :, slots, :, : prefix.shape[4]] = prefix[:, :, prompts]


def compact(
    cache: Tensor, state: Tensor, schedule: Schedule, buffers: Buffers
) -> Tensor:
    """Move the busy slots to the front; returns their state, the rest is no longer run.

    At least 8 stay: below that a CPU's matmul rounds its rows in another way.
    """
    busy = [slot for slot, i in enumerate(schedule.working) if i >= 0]
    free = [slot for slot, i in enumerate(schedule.working) if i < 0]
    keep = busy + free[: max(0, 8 - len(busy))]
    cache[:, :, : len(keep)] = cache[:, :, keep]
    moved = state[:, keep]
    state = buffers.take("state", (7, len(keep)), state.dtype, state.device)
    schedule.working = [schedule.working[slot] for slot in keep]
    return state.copy_(moved)


def needed_bytes(config: GPTConfig, width: int, prompts: int, length: int) -> int:
    """Memory of the cache: keys and values of every slot and prompt, fp32."""
    c = config
    return 2 * c.layers * c.kv_heads * c.head_dim * (width + prompts) * length * 4


def check_memory(config: GPTConfig, width: int, prompts: int, length: int) -> None:
    """ValueError, with the numbers, where the cache is larger than the machine."""
    needed = needed_bytes(config, width, prompts, length)
    if torch.cuda.is_available():
        there = torch.cuda.get_device_properties(0).total_memory
    else:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise ValueError(
            f"the key-value cache of {width} slots and {prompts} prompts x {length} "
            f"positions needs {needed / 2**30:.1f} GiB of {there / 2**30:.1f}; lower "
            "the number of prompts, the context or the model"
        )


def decode_burst(
    model: GPT,
    cache: Tensor,
    state: Tensor,
    out: Batch,
    u: Tensor,
    live: int,
    greedy: bool,
    burst: int,
    buffers: Buffers,
) -> None:
    """`burst` decode steps without a host read; on a GPU replays of one CUDA graph.

    A graph holds addresses, so all it touches lives in `buffers` and weights change in
    place. One is captured for each shape: (slots, live positions, samples, tokens).
    """
    if state.device.type != "cuda":
        for _ in range(burst):
            decode_step(model, cache, state, out, u, live, greedy)
        return
    shape = (*cache.shape, state.shape[1], live, *out.tokens.shape, u.shape[1], greedy)
    if shape not in buffers.graphs:
        # A warm-up outside the graph, as CUDA asks, on state that is put back.
        kept = [x.clone() for x in (state, out.tokens, out.logp, out.mask)]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            decode_step(model, cache, state, out, u, live, greedy)
        torch.cuda.current_stream().wait_stream(side)
        for x, old in zip((state, out.tokens, out.logp, out.mask), kept, strict=True):
            x.copy_(old)
        buffers.graphs[shape] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(buffers.graphs[shape]):
            decode_step(model, cache, state, out, u, live, greedy)
    for _ in range(burst):
        buffers.graphs[shape].replay()


@torch.no_grad()
def rollout(
    model: GPT,
    problems: list[Problem],
    group_size: int,
    max_new: int,
    key: tuple[int, ...],
    buffers: Buffers | None = None,
    greedy: bool = False,
    width: int = 256,
    burst: int = 0,
    numbers: list[int] | None = None,
) -> Batch:
    """Sample `group_size` answers to each problem at temperature 1.

    max_new   tokens after the prompt, observations included; then a sample is truncated
    key       (seed, step, ...) of this batch, completed by prompt and sample number
    buffers   memory to reuse between calls
    greedy    the likeliest token instead of a sampled one
    width     slots decoded side by side
    burst     decode steps between host reads; 0: 1 on a CPU, 8 on a GPU
    numbers   number of each problem in its samples' keys, else its place in the list

    ValueError where a prompt and its answer do not fit the context, or the cache the
    machine.
    """
    device, buffers = model.embed.weight.device, buffers or Buffers()
    burst = burst or (1 if device.type == "cpu" else 8)
    numbers = numbers or list(range(len(problems)))
    host, draws = new_batch(problems, group_size, max_new, key, numbers)
    (num, length), c = host.tokens.shape, model.config
    if length > c.context:
        raise ValueError(
            f"a prompt of {length - max_new} tokens and {max_new} new ones do not fit "
            f"the context of {c.context}; raise --context or choose easier --levels"
        )
    width, room = min(width, num), -(-length // BUCKET) * BUCKET
    check_memory(c, width, len(problems), room)

    def place(name: str, x: Tensor) -> Tensor:
        return buffers.take(name, tuple(x.shape), x.dtype, device).copy_(x)

    out = replace(
        host,
        tokens=place("tokens", host.tokens),
        mask=place("mask", host.mask),
        logp=place("logp", host.logp),
    )
    u = place("u", draws)

    def keys_and_values(name: str, rows: int, positions: int) -> Tensor:
        shape = (c.layers, 2, rows, c.kv_heads, positions, c.head_dim)
        return buffers.take(name, shape, model.embed.weight.dtype, device)

    # All of a prompt but its last token, which its slots feed themselves: so one decode
    # step samples every token there is, the first included.
    began, before = time.perf_counter(), length - max_new - 1
    prefix = keys_and_values("prefix", len(problems), before)
    model(out.tokens[::group_size, :before], prefix)
    out.prefill_seconds = time.perf_counter() - began

    cache = keys_and_values("cache", width, room)
    state = buffers.take("state", (7, width), torch.int64, device).zero_()
    state[6] = 1  # every slot is free
    schedule = Schedule([-1] * width, list(out.prompt_lengths), deque(range(num)))
    while True:
        filled = harvest(out, state, schedule, max_new)
        if filled:
            samples = [schedule.working[slot] for slot in filled]
            refill(cache, prefix, filled, samples, group_size)
        busy = [i for i in schedule.working if i >= 0]
        if not busy:
            break
        few = len(busy) <= 0.75 * len(schedule.working) and len(schedule.working) > 8
        if few and not schedule.queue:
            state = compact(cache, state, schedule, buffers)
        # An upper bound that the host knows: the longest text, and what a burst adds.
        live = schedule.longest + burst
        decode_burst(
            model,
            cache,
            state,
            out,
            u,
            min(-(-live // BUCKET) * BUCKET, room),
            greedy,
            burst,
            buffers,
        )
    end = max(out.lengths)
    return replace(
        out,
        tokens=out.tokens[:, :end].clone(),
        mask=out.mask[:, :end].clone(),
        logp=out.logp[:, :end].clone(),
    )


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
