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
    row_steps: int = 0  # decode steps x slots; what exceeds the tokens written is waste

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
        size, held, kind = math.prod(shape), self.flat.get(name), (dtype, device)
        if held is None or held.numel() < size or (held.dtype, held.device) != kind:
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
    tokens, logps = out.tokens.view(-1), out.logp.view(-1)
    token.copy_(torch.where(written, tokens[here], choice))
    tokens[here] = token
    logps[here] = torch.where(written, logps[here], logp)

    policy = (~written).long()
    known += policy
    drawn += policy
    left -= policy
    ended |= policy & ((token == END) | (left == 0)).long()


@dataclass
class Work:
    """A rollout in progress: its tensors, at addresses that do not change."""

    model: GPT
    out: Batch
    u: Tensor  # (N, max_new + 1) float64
    prefix: Tensor  # (L, 2, P, K, longest prompt - 1, D) keys and values of the prompts
    cache: Tensor  # (L, 2, W, K, S, D)
    state: Tensor  # (7, W)
    buffers: Buffers
    group_size: int
    max_new: int
    greedy: bool


@dataclass
class Schedule:
    """What the host knows of the slots and samples."""

    working: list[int]  # (W,) sample of each slot, -1: none
    known: np.ndarray  # (W,) tokens of it when last seen
    starts: list[int]  # (N,) where the present turn of each sample began
    queue: deque[int]  # samples not begun

    def busy(self) -> list[int]:
        """The slots at work."""
        return [slot for slot, i in enumerate(self.working) if i >= 0]

    def sparse(self) -> bool:
        """Do a quarter of the slots or more have nothing left to do?"""
        num = len(self.working)
        return not self.queue and num > 8 and len(self.busy()) <= 0.75 * num


@dataclass
class Look:
    """The slots and texts on the host. From a GPU they arrive while it decodes on."""

    state: Tensor  # (7, W)
    tokens: Tensor  # (N, T)
    arrived: torch.cuda.Event | None = None
    stale: set[int] = field(default_factory=set)  # slots the host has changed since


def look(work: Work) -> Look:
    """Begin to copy what `harvest` reads; what a turn wrote is not written again."""
    if work.state.device.type == "cpu":
        return Look(work.state.clone(), work.out.tokens)
    pinned = [
        torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True)
        for x in (work.state, work.out.tokens)
    ]
    arrived = torch.cuda.Event()
    arrived.record()
    return Look(*pinned, arrived)


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


def harvest(work: Work, schedule: Schedule, looks: deque[Look]) -> None:
    """The host's turn: environments answer, finished samples leave, waiting ones begin.

    Reads the oldest look and writes the columns of the slots that go on.
    """
    out, seen = work.out, looks.popleft()
    if seen.arrived is not None:
        seen.arrived.synchronize()
    table = seen.state.numpy()  # (7, W), rows as in decode_step
    fresh = np.ones(table.shape[1], dtype=bool)
    fresh[list(seen.stale)] = False
    schedule.known[fresh] = table[3, fresh]
    changed, filled, said = [], [], []
    for slot in (fresh & (table[6] == 1)).nonzero()[0].tolist():
        i, known, reply = schedule.working[slot], int(table[3, slot]), None
        if i >= 0:
            start = schedule.starts[i]
            out.mask[i, start:known] = 1.0
            turn, stop = seen.tokens[i, start:known].tolist(), out.stop(i, work.max_new)
            reply = end_turn(out, i, turn, known, stop)
            if reply is None:
                out.lengths[i], schedule.working[slot] = known, -1
        if reply is None and schedule.queue:
            i = schedule.working[slot] = schedule.queue.popleft()
            reply, known = "", out.prompt_lengths[i]
            last = encode(out.envs[i].problem.prompt[-1])[0]
            table[:5, slot] = i, last, known - 1, known, 0
            filled.append(slot)
        if reply is not None:
            said += [(i, known + j, token) for j, token in enumerate(encode(reply))]
            schedule.starts[i] = schedule.known[slot] = known = known + len(reply)
            room = out.stop(i, work.max_new) - known
            table[3, slot], table[6, slot] = known, 0
            table[5, slot] = min(out.envs[i].turn_tokens or room, room)
            changed.append(slot)
    resume(work, table, changed, said)
    refill(work, filled, [schedule.working[slot] for slot in filled])
    for other in looks:
        other.stale.update(changed)


def resume(work: Work, table: np.ndarray, slots: list[int], said: list[tuple]) -> None:
    """Write what environments said, and the columns of the slots that go on."""
    device = work.state.device
    if said:
        rows, columns, tokens = torch.tensor(said, device=device).T
        work.out.tokens[rows, columns] = tokens
    if slots:
        columns = torch.from_numpy(table[:, slots]).to(device)
        work.state[:, torch.tensor(slots, device=device)] = columns


def refill(work: Work, slots: list[int], samples: list[int]) -> None:
    """Copy the prompts' keys and values into slots that begin a sample."""
    if slots:
        prompts = [i // work.group_size for i in samples]
        length = work.prefix.shape[4]
        work.cache[:, :, slots, :, :length] = work.prefix[:, :, prompts]


def compact(work: Work, schedule: Schedule) -> None:
    """Move the busy slots to the front; the rest is no longer run.

    At least 8 stay: below that a CPU's matmul rounds its rows in another way.
    """
    busy = schedule.busy()
    free = [slot for slot, i in enumerate(schedule.working) if i < 0]
    keep = busy + free[: max(0, 8 - len(busy))]
    work.cache[:, :, : len(keep)] = work.cache[:, :, keep]
    moved = work.state[:, keep]
    shape = (7, len(keep))
    state = work.buffers.take("state", shape, moved.dtype, moved.device)
    work.state = state.copy_(moved)
    schedule.working = [schedule.working[slot] for slot in keep]
    schedule.known = schedule.known[keep]


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


def check_memory(needed: int, what: str, device: torch.device) -> None:
    """ValueError, with the numbers, where `needed` bytes are more than there are."""
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    elif device.type == "cpu" and hasattr(os, "sysconf"):
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return  # Windows does not tell
    if needed > there:
        raise ValueError(
            f"the key-value cache of {what} positions needs {needed / 2**30:.1f} GiB "
            f"of {there / 2**30:.1f}; lower the number of prompts, the context or the "
            "model"
        )


def decode_burst(work: Work, live: int, burst: int) -> None:
    """`burst` decode steps without a host read; on a GPU replays of one CUDA graph.

    A graph holds addresses, so all it touches lives in `buffers` and weights change in
    place. One is captured for each shape: (slots, live positions, samples, tokens).
    """
    out, state, graphs = work.out, work.state, work.buffers.graphs
    step = (work.model, work.cache, state, out, work.u, live, work.greedy)
    if state.device.type == "cpu":
        for _ in range(burst):
            decode_step(*step)
        return
    shapes = [tuple(x.shape) for x in (work.cache, state, out.tokens, work.u)]
    key = (*shapes, live, work.greedy)
    if key not in graphs:
        # A warm-up outside the graph, as CUDA asks, on state that is put back.
        kept = [x.clone() for x in (state, out.tokens, out.logp)]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            decode_step(*step)
        torch.cuda.current_stream().wait_stream(side)
        for x, old in zip((state, out.tokens, out.logp), kept, strict=True):
            x.copy_(old)
        graphs[key] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graphs[key]):
            decode_step(*step)
    for _ in range(burst):
        graphs[key].replay()


def begin(
    model: GPT,
    batch: Batch,
    draws: Tensor,
    group_size: int,
    max_new: int,
    width: int,
    greedy: bool,
    buffers: Buffers,
) -> Work:
    """Take the memory of a rollout and prefill its prompts; every slot is free."""
    device, c, dtype = model.embed.weight.device, model.config, model.precision()
    num, length = batch.tokens.shape
    prompts, room = num // group_size, -(-length // BUCKET) * BUCKET
    elements = 2 * c.layers * c.kv_heads * c.head_dim * (width + prompts) * room
    what = f"{width} slots and {prompts} prompts x {room}"
    check_memory(elements * dtype.itemsize, what, device)

    def take(name: str, *shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return buffers.take(name, shape, dtype, device)

    heads, before = (c.kv_heads,), length - max_new - 1
    work = Work(
        model,
        replace(
            batch,
            tokens=take("tokens", num, length, dtype=torch.int64).copy_(batch.tokens),
            logp=take("logp", num, length, dtype=torch.float32).zero_(),
        ),
        take("u", *draws.shape, dtype=draws.dtype).copy_(draws),
        take("prefix", c.layers, 2, prompts, *heads, before, c.head_dim),
        take("cache", c.layers, 2, width, *heads, room, c.head_dim),
        take("state", 7, width, dtype=torch.int64).zero_(),
        buffers,
        group_size,
        max_new,
        greedy,
    )
    work.state[6] = 1
    # All of a prompt but its last token, which its slots feed themselves: so one decode
    # step samples every token there is, the first included.
    began = time.perf_counter()
    model(work.out.tokens[::group_size, :before], work.prefix)
    work.out.prefill_seconds = time.perf_counter() - began
    return work


def decode_all(work: Work, schedule: Schedule, burst: int, late: int) -> int:
    """Decode, look and harvest in turn until every sample is finished.

    A look waits for up to `late` more bursts. Returns decode steps x slots.
    """
    room, row_steps, looks = work.cache.shape[4], 0, deque([look(work)])
    harvest(work, schedule, looks)
    while busy := schedule.busy():
        if schedule.sparse():
            while looks:  # they number the slots as they are now
                harvest(work, schedule, looks)
            compact(work, schedule)
            continue
        # An upper bound that the host knows: the longest text, and what bursts add.
        live = int(schedule.known[busy].max()) + burst * (len(looks) + 1)
        decode_burst(work, min(-(-live // BUCKET) * BUCKET, room), burst)
        row_steps += burst * len(schedule.working)
        looks.append(look(work))
        if len(looks) > late:
            harvest(work, schedule, looks)
    return row_steps


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
    late: int | None = None,
) -> Batch:
    """Sample `group_size` answers to each problem at temperature 1.

    max_new   tokens after the prompt, observations included; then a sample is truncated
    key       (seed, step, ...) of this batch, completed by prompt and sample number
    buffers   memory to reuse between calls
    greedy    the likeliest token instead of a sampled one
    width     slots decoded side by side
    burst     decode steps between host reads; 0: 1 on a CPU, 8 on a GPU
    numbers   number of each problem in its samples' keys, else its place in the list
    late      bursts that a host read may lag behind; else 0 on a CPU, 1 on a GPU

    ValueError where a prompt and its answer do not fit the context, or the cache the
    machine.
    """
    on_cpu = model.embed.weight.device.type == "cpu"
    burst = burst or (1 if on_cpu else 8)
    late = (0 if on_cpu else 1) if late is None else late
    numbers = numbers or list(range(len(problems)))
    batch, draws = new_batch(problems, group_size, max_new, key, numbers)
    num, length = batch.tokens.shape
    if length > model.config.context:
        raise ValueError(
            f"a prompt of {length - max_new} tokens and {max_new} new ones do not fit "
            f"the context of {model.config.context}; raise --context or choose easier "
            "--levels"
        )
    width = min(width, num)
    args = group_size, max_new, width, greedy, buffers or Buffers()
    work = begin(model, batch, draws, *args)
    known, starts = np.zeros(width, np.int64), list(batch.prompt_lengths)
    schedule = Schedule([-1] * width, known, starts, deque(range(num)))
    row_steps = decode_all(work, schedule, burst, late)
    out, end = work.out, max(batch.lengths)
    return replace(
        out,
        tokens=out.tokens[:, :end].clone(),
        mask=out.mask[:, :end].to(out.tokens.device),
        logp=out.logp[:, :end].clone(),
        row_steps=row_steps,
    )


# --------------------------------------------------------------------------------------
# What each mechanism is worth on this machine: python rollout.py


def bench_model(mean_length: int) -> GPT:
    """0.8M random parameters; answers of geometric length, or endless for 0."""
    torch.manual_seed(0)
    sizes = dict(dim=128, layers=4, heads=4, kv_heads=2, head_dim=32, hidden=384)
    model = GPT(GPTConfig(**sizes, context=320))
    model.norm.weight.data.mul_(0.01)  # all logits alike, so that the rate holds
    others = VOCAB_SIZE - len(model.config.banned) - 1
    model.ban[END] = math.log(others / (mean_length - 1)) if mean_length else -1e9
    return model


def bench_problems() -> list[Problem]:
    """16 prompts of 32 tokens."""
    rng = random.Random(0)
    texts = ["".join(rng.choices("abc", k=32)) for _ in range(16)]
    return [Problem("chain", 0, text, "", ("",)) for text in texts]


def check(model: GPT, batch: Batch) -> float:
    """Largest difference of sampled log-probabilities from those of a full pass."""
    full = model(batch.tokens)[:, :-1].log_softmax(-1)
    full = full.gather(2, batch.tokens[:, 1:, None])[..., 0]
    worst = ((full - batch.logp[:, 1:]) * batch.mask[:, 1:]).abs().max().item()
    limit = 1e-5 if model.precision() == torch.float32 else 0.1
    assert worst < limit, f"sampled and scored log-probabilities differ by {worst}"
    return worst


def no_cache(model: GPT, tokens: Tensor, max_new: int) -> int:
    """The loop everybody writes first: the whole text again for every new token."""
    for _ in range(max_new):
        logprobs = model(tokens)[:, -1].log_softmax(-1)
        choice = inverse_cdf(logprobs, torch.rand(len(tokens)).double())
        tokens = torch.cat([tokens, choice[:, None]], 1)
    return max_new * len(tokens)


def matmuls_alone(model: GPT, cache: Tensor, live: int) -> int:
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
    return 1


def in_turn(title: str, calls: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Median rate of each call over 5 rounds, run in turn; a call returns its count."""
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(5):
        for name, call in calls.items():
            began = time.perf_counter()
            rates[name].append(call() / (time.perf_counter() - began))
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    first = next(iter(medians.values()))
    if title:
        print(title)
        for name, rate in medians.items():
            print(f"  {name:38}{rate:9,.0f}   this sampler: {first / rate:5.2f} times")
    return medians


def bench_mechanisms(buffers: Buffers) -> None:
    """This sampler, and the same with one mechanism taken out."""
    endless, ending, problems = bench_model(0), bench_model(64), bench_problems()

    def sample(model: GPT, group: int, new: int, copies: int = 1, **other: object):
        """Tokens sampled, with `other` definitions in place of some of this file's."""
        own = globals()
        kept = {name: own[name] for name in other}
        own.update(other)
        batch = rollout(model, problems * copies, group, new, (0,), buffers)
        own.update(kept)
        return int(batch.mask.sum())

    def multinomial(logprobs: Tensor, u: Tensor) -> Tensor:
        return logprobs.exp().multinomial(1)[:, 0]

    class Never(Schedule):
        def sparse(self) -> bool:
            return False

    prompts = torch.tensor([encode(problem.prompt) for problem in problems]).repeat(
        2, 1
    )
    in_turn(
        "256 samples, 32 + 64 tokens, tokens a second",
        {
            "this sampler": lambda: sample(endless, 16, 64),
            "a loop without cache": lambda: no_cache(endless, prompts, 64),
            "a prefill for each sample": lambda: sample(endless, 1, 64, 16),
            "attention to the whole cache": lambda: sample(endless, 16, 64, BUCKET=96),
            "multinomial": lambda: sample(endless, 16, 64, inverse_cdf=multinomial),
        },
    )
    half = {"Schedule": Never}  # two batches of 256, each to its very end
    in_turn(
        "512 samples in 256 slots, 64 tokens on average, 256 at most",
        {
            "this sampler": lambda: sample(ending, 32, 256),
            "no compaction": lambda: sample(ending, 32, 256, Schedule=Never),
            "no compaction, no refill": lambda: (
                sample(ending, 16, 256, **half) + sample(ending, 16, 256, **half)
            ),
        },
    )
    batch = rollout(ending, problems, 32, 256, (0,), buffers)
    print(f"  row-steps wasted {1 - batch.mask.sum() / batch.row_steps:.1%}\n")


def bench_step(live: int = 64) -> None:
    """One decode step of 256 slots against its matmuls alone."""
    model = bench_model(0)
    cache, logits = model.new_cache(256, 96), torch.randn(256, VOCAB_SIZE)
    out = Batch(torch.zeros(256, 96).long(), torch.zeros(256, 96), torch.zeros(256, 96))
    state, u = torch.zeros(7, 256).long(), torch.rand(256, 97, dtype=torch.float64)
    state[0], state[5] = torch.arange(256), 10**9

    def step() -> int:
        state[2], state[3] = live - 1, live
        decode_step(model, cache, state, out, u, live, False)
        return 1

    def choose() -> int:
        return len(inverse_cdf(logits.log_softmax(-1), u[:, 0])) // 256

    calls = {"step": step, "choose": choose}
    rates = in_turn("", calls | {"mm": lambda: matmuls_alone(model, cache, live)})
    print(f"one step of 256 slots, {live} live positions: {1e3 / rates['step']:.2f} ms")
    print(f"  its matmuls alone take {rates['step'] / rates['mm']:.0%} of that")
    print(f"  choosing the tokens    {rates['step'] / rates['choose']:.1%}")


@torch.no_grad()
def main() -> None:
    """Speed here, correctness first; rivals are run in turn, in one process."""
    torch.set_num_threads(1)
    model, buffers = bench_model(64), Buffers()
    worst = check(model, rollout(model, bench_problems(), 16, 64, (0,), buffers))
    params = sum(p.numel() for p in model.parameters())
    print(f"{params:,} parameters, 1 thread, median of 5 rounds in turn")
    print(f"log-probabilities equal those of a full pass within {worst:.0e}\n")
    bench_mechanisms(buffers)
    bench_step()
    held = sum(x.numel() * x.element_size() for x in buffers.flat.values())
    print(f"memory held between calls {held / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
