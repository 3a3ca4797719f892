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
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from model import END, GPT, PAD, VOCAB_SIZE, GPTConfig, decode, encode
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
    elif hasattr(os, "sysconf"):
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return  # Windows does not tell
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


# --------------------------------------------------------------------------------------
# What each mechanism is worth on this machine


def no_cache(model: GPT, tokens: Tensor, max_new: int) -> int:
    """The loop everybody writes first: the whole text again for every new token."""
    for _ in range(max_new):
        logprobs = model(tokens)[:, -1].log_softmax(-1)
        choice = inverse_cdf(logprobs, torch.rand(len(tokens), dtype=torch.float64))
        tokens = torch.cat([tokens, choice[:, None]], 1)
    return max_new * len(tokens)


def matmuls_alone(model: GPT, cache: Tensor, live: int) -> None:
    """The matmuls of one decode step and nothing else: the roofline."""
    c, rows = model.config, cache.shape[2]
    x = torch.ones(rows, max(c.dim, c.hidden))
    q = torch.ones(rows * c.kv_heads, c.heads // c.kv_heads, c.head_dim)
    for block, kv in zip(model.blocks, cache, strict=True):
        k, v = kv[..., :live, :].flatten(1, 2)
        torch.bmm(torch.bmm(q, k.transpose(1, 2)), v)
        for layer in (block.attn.qkv, block.attn.out, block.gate_up, block.down):
            torch.mm(x[:, : layer.in_features], layer.weight.t())
    torch.mm(x[:, : c.dim], model.embed.weight.t())


def interleaved(calls: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Median rate of each call over 5 rounds, run in turn; a call returns its count."""
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(5):
        for name, call in calls.items():
            began = time.perf_counter()
            rates[name].append(call() / (time.perf_counter() - began))
    return {name: float(np.median(values)) for name, values in rates.items()}


def bench_model(mean_length: int) -> GPT:
    """0.8M random parameters; answers of geometric length, or endless for 0."""
    torch.manual_seed(0)
    sizes = dict(dim=128, layers=4, heads=4, kv_heads=2, head_dim=32, hidden=384)
    model = GPT(GPTConfig(**sizes, context=320))
    model.norm.weight.data.mul_(0.01)  # all logits alike, so that the rate holds
    others = VOCAB_SIZE - len(model.config.banned) - 1
    model.ban[END] = math.log(others / (mean_length - 1)) if mean_length else -1e9
    return model


@torch.no_grad()
def main() -> None:
    """Speed here, correctness first; rivals are run in turn, in one process."""
    torch.set_num_threads(1)
    endless, ending, buffers = bench_model(0), bench_model(64), Buffers()
    rng = random.Random(0)
    texts = ["".join(rng.choices("abc", k=32)) for _ in range(16)]
    problems = [Problem("chain", 0, text, "", ("",)) for text in texts]
    own = globals()

    def sample(
        model: GPT, group: int, new: int, *, copies: int = 1, **other: object
    ) -> int:
        """Tokens sampled, with `other` definitions in place of some of this file's."""
        kept = {name: own[name] for name in other}
        own.update(other)
        batch = rollout(model, problems * copies, group, new, (0,), buffers, width=256)
        own.update(kept)
        return int(batch.mask.sum())

    batch = rollout(ending, problems, 16, 64, (0,), buffers)
    full = ending(batch.tokens)[:, :-1].log_softmax(-1)
    full = full.gather(2, batch.tokens[:, 1:, None])[..., 0] * batch.mask[:, 1:]
    worst = (full - batch.logp[:, 1:]).abs().max().item()
    assert worst < 1e-5, f"sampled and scored log-probabilities differ by {worst}"
    params = sum(p.numel() for p in ending.parameters())
    print(f"{params:,} parameters, 1 thread, tokens a second (median of 5 in turn)")
    print(f"log-probabilities equal those of a full pass within {worst:.0e}\n")

    def keep_all(cache: Tensor, state: Tensor, *rest: object) -> Tensor:
        return state

    def multinomial(logprobs: Tensor, u: Tensor) -> Tensor:
        return logprobs.exp().multinomial(1)[:, 0]

    def in_turns() -> int:
        """512 samples without refill or compaction: two batches, each to its end."""
        return sum(sample(ending, 16, 256, compact=keep_all) for _ in range(2))

    prompts = batch.tokens[:, :32]
    rates = interleaved(
        {
            "this sampler": lambda: sample(endless, 16, 64),
            "a loop without cache": lambda: no_cache(endless, prompts[:32], 64),
            "a prefill for each sample": lambda: sample(endless, 1, 64, copies=16),
            "attention to the whole cache": lambda: sample(endless, 16, 64, BUCKET=96),
            "multinomial": lambda: sample(endless, 16, 64, inverse_cdf=multinomial),
        }
    )
    ours = rates["this sampler"]
    print("256 samples, 32 + 64 tokens")
    for name, rate in rates.items():
        print(f"  {name:40}{rate:9,.0f}   this sampler: {ours / rate:5.2f} times")
    rates = interleaved(
        {
            "this sampler": lambda: sample(ending, 32, 256),
            "no compaction": lambda: sample(ending, 32, 256, compact=keep_all),
            "no compaction, no refill": in_turns,
        }
    )
    ours = rates["this sampler"]
    print("512 samples in 256 slots, 64 tokens on average, 256 at most")
    for name, rate in rates.items():
        print(f"  {name:40}{rate:9,.0f}   this sampler: {ours / rate:5.2f} times")
    steps: list[int] = []

    def counting(*args: object) -> None:
        steps.append(args[2].shape[1] * args[7])
        decode_burst_(*args)

    decode_burst_ = decode_burst
    used = sample(ending, 32, 256, decode_burst=counting)
    print(f"  row-steps wasted {1 - used / sum(steps):.1%}\n")

    cache, live = endless.new_cache(256, 96), 64
    out = Batch(torch.zeros(256, 96).long(), torch.zeros(256, 96), torch.zeros(256, 96))
    state, u = torch.zeros(7, 256).long(), torch.rand(256, 97, dtype=torch.float64)
    state[0], state[5] = torch.arange(256), 10**9
    logits = torch.randn(256, VOCAB_SIZE)

    def step() -> int:
        state[2], state[3] = live - 1, live
        decode_step(endless, cache, state, out, u, live, False)
        return 1

    def choose() -> int:
        inverse_cdf(logits.log_softmax(-1), u[:, 0])
        return 1

    def alone() -> int:
        matmuls_alone(endless, cache, live)
        return 1

    rates = interleaved({"step": step, "matmuls": alone, "choose": choose})
    print(f"one step of 256 slots, {live} live positions: {1e3 / rates['step']:.2f} ms")
    print(f"  its matmuls alone take {rates['step'] / rates['matmuls']:.0%} of that")
    print(f"  choosing the tokens    {rates['step'] / rates['choose']:.1%}")
    held = sum(x.numel() * x.element_size() for x in buffers.flat.values())
    print(f"memory held between calls {held / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
