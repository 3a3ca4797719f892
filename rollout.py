"""Sampling: how G answers to each prompt become tensors, fast.

Read after reward.py. train.rollouts calls `rollout` once a step and in evaluations; one
loop serves puzzles and environments of several turns.

    prefill   a prompt runs through the model once for its G samples
    decode    every slot feeds one token and gets the next: sampled, or already written
              by the environment. Nothing is read by the host in here
    harvest   after `burst` steps the host checks which slots ended a turn, lets their
              environments answer, and gives slots of finished samples to waiting ones
    regroup   on a CPU, slots that hold the same text so far share a row of the cache,
              so it is worked out once; when they part, the row is copied

A sample depends only on (seed, step, prompt, sample): its random numbers are drawn
before it starts, so batch width, slots, order and burst cannot change it.

Shapes    P prompts, G samples of each, N = P * G samples, T tokens of the longest,
          W slots, R rows of the cache, V vocabulary; L layers, K key-value heads,
          S positions, D head dim
Papers    a slot refilled as soon as it is free: Orca (Yu et al., OSDI 2022)
Left out  paging, speculation, top-k and top-p (they bias the gradient)
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model import END, GPT, PAD, GPTConfig, decode, encode
from reward import Env, Problem, Puzzle, find_task

BUCKET = 16  # attention covers the live part of the cache, rounded up to this
ONE = 2**31  # probability 1 as an integer; random numbers are below it

# `state` (8, W) says what each slot is doing. Its rows:
#   SAMPLE    which sample the slot works on
#   TOKEN     the token to feed
#   POSITION  its place in the sequence
#   KNOWN     tokens of the sequence written so far, by whomever
#   DRAWN     random numbers used so far
#   STOP      what KNOWN is at the latest when this turn is over
#   ENDED     1: the turn is over, wait for the host; the slot then feeds the same token
#             again, which changes nothing
#   ROW       row of the cache that holds its text; W + p: prefix of prompt p; -1: none
SAMPLE, TOKEN, POSITION, KNOWN, DRAWN, STOP, ENDED, ROW = range(8)


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

    def verdicts(self) -> Tensor:
        """The environments' verdicts (N,): 1 right, 0 wrong."""
        return torch.tensor([env.score() for env in self.envs])

    def reasoned(self) -> Tensor:
        """The same (N,) for the steps of answers: 1 if all are right, see the task."""
        problems = [env.problem for env in self.envs]
        found = [p.task.reasoned(p, self.text(i)) for i, p in enumerate(problems)]
        return torch.tensor(found, dtype=torch.float32)


@torch.no_grad()
def rollout(
    model: GPT,
    problems: list[Problem],
    group_size: int,
    max_new: int,  # tokens after the prompt, observations included; then truncated
    key: tuple[int, ...],  # seed, step, ...; prompt and sample number complete it
    buffers: Buffers | None = None,  # memory to reuse between calls
    greedy: int = 0,  # this many answers, the last of each group, are decoded greedily
    width: int = 512,  # slots decoded side by side
    burst: int = 0,  # decode steps between host reads; 0: 1 on a CPU, 8 on a GPU
    first: int = 0,  # number of the first problem, for the key
) -> Batch:
    """Sample `group_size` answers to each problem at temperature 1.

    ValueError if a prompt and its answer do not fit the context.
    """
    batch, draws = new_batch(problems, group_size, max_new, key, first)
    draws.view(len(problems), group_size, -1)[:, group_size - greedy :] = -1
    length = batch.tokens.shape[1]
    if length > model.config.context:
        words = f"{length} tokens do not fit the context of {model.config.context}"
        raise ValueError(f"{words}; raise --context or choose easier --levels")
    burst = burst or (8 if model.embed.weight.is_cuda else 1)
    work = allocate(model, batch, draws, group_size, max_new, width, burst, buffers)
    began = time.perf_counter()
    # Slots feed the last token of a prompt themselves: so decode_step samples every
    # token, the first included.
    model(batch.tokens[::group_size, : length - max_new - 1], work.prefix)
    batch.prefill_seconds = time.perf_counter() - began
    harvest(work)  # all slots start free and ended: this fills them
    while work.working:
        # No text is longer than the longest that the host saw and what a burst adds.
        live = -(-(work.longest + burst) // BUCKET) * BUCKET
        live = min(live, work.cache.shape[4])
        step = partial(decode_step, work, live)
        if work.state.is_cuda:
            step = graph_of_step(work, live).replay
        for _ in range(burst):
            step()
        harvest(work)
    end = max(batch.lengths)
    batch.tokens = batch.tokens[:, :end].clone()  # the buffer is the next call's
    batch.mask = batch.mask[:, :end].to(batch.tokens.device)
    batch.logp = batch.logp[:, :end].clone()
    return batch


@dataclass
class Work:
    """A rollout in progress. Its tensors stay at their addresses."""

    model: GPT
    group_size: int
    burst: int
    buffers: Buffers
    out: Batch
    u: Tensor  # (N, max_new + 1) random numbers of each sample; greedy: -1
    prefix: Tensor  # (L, 2, P, K, longest prompt - 1, D) keys and values of the prompts
    cache: Tensor  # (L, 2, R or more, K, S, D)
    state: Tensor  # (8, W)
    leads: Tensor  # (R,) for each row of the cache in use, a slot that holds its text
    # What the host knows of them:
    working: dict[int, int]  # slots at work, and the sample of each
    longest: int  # tokens of the longest of these samples when last seen
    starts: list[int]  # (N,) where the present turn of each sample began
    stops: list[int]  # (N,) lengths at which they are truncated
    queue: list[int]  # samples not begun


def new_batch(
    problems: list[Problem],
    group_size: int,
    max_new: int,
    key: tuple[int, ...],
    first: int,
) -> tuple[Batch, Tensor]:
    """Samples that hold their prompts, random numbers below ONE (N, max_new + 1)."""
    prompts = [encode(problem.prompt) for problem in problems]
    shape = (len(problems) * group_size, max(map(len, prompts)) + max_new)
    tokens, draws = np.full(shape, PAD), []
    batch = Batch(torch.from_numpy(tokens), torch.zeros(shape), torch.zeros(shape))
    pairs = zip(problems, prompts, strict=True)
    for number, (problem, prompt) in enumerate(pairs, first):
        for g in range(group_size):
            full_key = (*key, number, g)
            tokens[len(batch.envs), : len(prompt)] = prompt
            batch.envs.append(problem.task.env(problem, " ".join(map(str, full_key))))
            batch.prompt_lengths.append(len(prompt))
            # A larger max_new extends the same numbers. One more than can be used: a
            # slot that waits points past its last.
            draws.append(np.random.default_rng(full_key).random(max_new + 1))
    batch.lengths = list(batch.prompt_lengths)
    batch.truncated = [False] * len(batch.envs)
    return batch, torch.from_numpy((np.stack(draws) * ONE).astype(np.int64))


def decode_step(work: Work, live: int) -> None:
    """Feed one token in each slot and write the next, all in place, no host read."""
    out = work.out
    sample, token, position, known, drawn, stop, ended, row = work.state  # (W,) each
    fed, places = token[work.leads, None], position[work.leads, None]  # (R, 1)
    logits = work.model(fed, work.cache, places, live)  # (R, V)
    logprobs = logits.log_softmax(-1)
    u = work.u[sample, drawn]  # (W,)
    likeliest = logprobs.argmax(-1)[row]
    choice = torch.where(u < 0, likeliest, inverse_cdf(logprobs, u, row))
    logp = logprobs[row, choice]

    position += 1 - ended
    new = position == known  # else written by the environment, or the slot waits
    token.copy_(torch.where(new, choice, out.tokens[sample, position]))
    out.tokens[sample, position] = token
    out.logp[sample, position] = torch.where(new, logp, out.logp[sample, position])

    known += new
    drawn += new
    ended |= new & ((token == END) | (known == stop))


def inverse_cdf(logprobs: Tensor, u: Tensor, row: Tensor) -> Tensor:
    """The token whose stretch of a row's cumulative distribution contains u.

    logprobs (R, V); u, below ONE, and row (W,) -> (W,). One random number a slot,
    against V for Gumbel or exponential races. In integers: their sums are exact on
    every device. right=True: u = 0 cannot hit a token of probability 0.
    """
    cdf = (logprobs.exp() * ONE).long().cumsum(-1)[row]  # (W, V)
    target = u * cdf[:, -1] // ONE  # below the last, so some token is hit
    return torch.searchsorted(cdf, target[:, None], right=True)[:, 0]


def harvest(work: Work) -> None:
    """The host's turn: environments answer, finished samples leave, others begin."""
    out = work.out
    # These two reads (state here, texts below) are the only ones from the device.
    table = work.state.to("cpu", copy=True).numpy()  # (8, W)
    ended = table[ENDED].nonzero()[0].tolist()
    ended = [slot for slot in ended if slot in work.working or work.queue]
    texts = out.tokens[[work.working.get(s, 0) for s in ended]].cpu()  # (ended, T)
    said: list[tuple[int, int, int]] = []  # (sample, column, token) of environments
    for slot, text in zip(ended, texts, strict=True):
        i = work.working.pop(slot, -1)
        known = int(table[KNOWN, slot])
        # 1. The turn that ended: the environment answers it, or the sample is over.
        if i >= 0:
            start = work.starts[i]
            out.mask[i, start:known] = 1.0
            reply = end_turn(work, i, text[start:known].tolist(), known)
            if reply is None:
                out.lengths[i] = known
                i = -1
            else:
                said += [(i, known + j, token) for j, token in enumerate(reply)]
                known += len(reply)
        # 2. A free slot takes the next sample, whose last prompt token it will feed.
        if i < 0 and work.queue:
            i = work.queue.pop(0)
            known = out.prompt_lengths[i]
            table[SAMPLE, slot] = i
            table[TOKEN, slot] = encode(out.envs[i].problem.prompt[-1])[0]
            table[POSITION, slot] = known - 1
            table[DRAWN, slot] = 0
            table[ROW, slot] = table.shape[1] + i // work.group_size
        # 3. The next turn of the slot's sample, old or new.
        if i >= 0:
            work.working[slot] = i
            table[KNOWN, slot] = work.starts[i] = known
            turn = out.envs[i].turn_tokens or work.stops[i]
            table[STOP, slot] = min(known + turn, work.stops[i])
            table[ENDED, slot] = 0
    work.longest = int(table[KNOWN, list(work.working)].max(initial=0))
    if said:
        rows, places, tokens = torch.tensor(said, device=out.tokens.device).T
        out.tokens[rows, places] = tokens
    regroup(work, table)
    work.state.copy_(torch.from_numpy(table))


def end_turn(work: Work, i: int, turn: list[int], known: int) -> list[int] | None:
    """The tokens that the environment of sample i answers to a turn.

    None if the sample is over: the episode is done, or is truncated at its cap.
    """
    env = work.out.envs[i]
    if turn[-1] == END or len(turn) == env.turn_tokens:
        observation, done = env.step(decode(turn))
        if done:
            return None
        if known + len(observation) < work.stops[i]:
            return encode(observation)
    work.out.truncated[i] = True
    return None


def pick(one: Batch, rows: list[int]) -> Batch:
    """`rows` of a batch, or of another dataclass of N entries."""
    picked = {}
    for name, x in vars(one).items():
        if isinstance(x, list | Tensor):
            picked[name] = x[rows] if isinstance(x, Tensor) else [x[i] for i in rows]
    return replace(one, **picked)


def describe_answers(batch: Batch) -> dict[str, float]:
    """Means of a batch: tokens, how many ran out of them; of puzzles the share that
    shows a thought, and pass rates with and without one."""
    found = {
        "answer_tokens": batch.mask.sum().item() / len(batch.envs),
        "truncated": float(np.mean(batch.truncated)),
    }
    if not isinstance(batch.envs[0].problem.task, Puzzle):
        return found | describe_games(batch.envs)
    right = batch.verdicts()
    thought = torch.tensor([batch.text(i)[:1] == "[" for i in range(len(right))])
    found["think_share"] = thought.float().mean().item()
    for name, rows in (("think", thought), ("direct", ~thought)):
        if rows.any():
            found[f"pass_rate_{name}"] = right[rows].mean().item()
    return found


def show_samples(batch: Batch) -> str:
    """The first answer to the first problem of each level, a line each: the same
    problems at each evaluation, so that one sees what changes. What the environment
    wrote stands between '{' and '}', which only environments can write."""
    lines: dict[int, str] = {}
    for i, env in enumerate(batch.envs):
        if env.problem.level in lines:
            continue
        own = batch.mask[i, batch.prompt_lengths[i] : batch.lengths[i]].tolist()
        pairs = zip(own, batch.text(i), strict=True)
        said = [char if mine else "{" + char.strip("{}") + "}" for mine, char in pairs]
        text = env.problem.prompt + "".join(said).replace("}{", "")
        text = text.replace("\n", "\\n")
        lines[env.problem.level] = f"  {'right' if env.solved else 'wrong'}  {text}\n"
    return "".join(lines.values())


# ---- second evening ------------------------------------------------------------------


def describe_games(envs: list[Env]) -> dict[str, float]:
    """Mean turns, and as recovery the pass rate when the world went against the policy
    at least once."""
    found = {"turns": float(np.mean([env.turns for env in envs]))}
    hit = [env.score() for env in envs if env.failed]
    return found | ({"recovery": float(np.mean(hit))} if hit else {})


def join(one: Batch, more: Batch) -> Batch:
    """All of one, then all of the other."""
    joined = {}
    for name, a in vars(one).items():
        b = getattr(more, name)
        if isinstance(a, list):
            joined[name] = a + b
        elif isinstance(a, Tensor) and a.dim() == 1:
            joined[name] = torch.cat([a, b])
        elif isinstance(a, Tensor):  # (N, T): pad both to the wider
            joined[name] = pad_sequence([*a, *b], True, PAD if name == "tokens" else 0)
    return replace(one, **joined)


# ---- Memory, and what moves in it ----------------------------------------------------

MIN_ROWS = 8  # with fewer, a CPU's matmul rounds its rows in another way


def allocate(
    model: GPT,
    batch: Batch,
    draws: Tensor,
    group_size: int,
    max_new: int,
    width: int,
    burst: int,
    buffers: Buffers | None,
) -> Work:
    """The tensors of a rollout, in `buffers`; all slots start empty."""
    buffers = buffers or Buffers()
    c = model.config
    precision = model.precision()
    num, length = batch.tokens.shape
    prompts = num // group_size
    width = min(width, num)
    rows = max(width, MIN_ROWS)
    before = length - max_new - 1
    room = -(-length // BUCKET) * BUCKET

    def take(name: str, *shape: int, dtype: torch.dtype = precision) -> Tensor:
        return buffers.take(name, shape, dtype, model.embed.weight.device)

    tokens = take("tokens", num, length, dtype=torch.int64)
    batch.tokens = tokens.copy_(batch.tokens)
    batch.logp = take("logp", num, length, dtype=torch.float32).zero_()
    state = take("state", 8, width, dtype=torch.int64).zero_()
    state[ENDED] = 1
    state[ROW] = -1
    return Work(
        model=model,
        group_size=group_size,
        burst=burst,
        buffers=buffers,
        out=batch,
        u=take("u", *draws.shape, dtype=draws.dtype).copy_(draws),
        prefix=take("prefix", c.layers, 2, prompts, c.kv_heads, before, c.head_dim),
        cache=take("cache", c.layers, 2, rows, c.kv_heads, room, c.head_dim),
        state=state,
        leads=take("leads", width, dtype=torch.int64),
        working={},
        longest=0,
        starts=list(batch.prompt_lengths),
        stops=[n + max_new for n in batch.prompt_lengths],
        queue=list(range(num)),
    )


@dataclass
class Buffers:
    """Memory that calls share: allocated once and reused at the same address.

    Fresh memory costs page faults on a CPU, and a CUDA graph is bound to addresses.
    Zeroed: a NaN in a masked place of the cache would survive there as 0 * NaN.
    """

    flat: dict[str, Tensor] = field(default_factory=dict)
    graphs: dict[tuple, torch.cuda.CUDAGraph] = field(default_factory=dict)

    def take(
        self, name: str, shape: tuple, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """A tensor of this shape in the buffer `name`, contents as they were left."""
        size, held, kind = math.prod(shape), self.flat.get(name), (dtype, device)
        if held is None or held.numel() < size or (held.dtype, held.device) != kind:
            self.flat[name] = torch.zeros(size, dtype=dtype, device=device)
            self.graphs.clear()  # they hold the old address
        return self.flat[name][:size].view(shape)


def regroup(work: Work, table: np.ndarray) -> None:
    """Say which row of the cache each slot uses, and copy rows where slots part.

    Slots of one row that feed the same token next go on together. Where a burst of
    steps goes by before the host looks, as on a GPU, each slot has its own row, and
    their number is a power of two: a CUDA graph is made for each.
    """
    W = table.shape[1]
    slots = np.array(sorted(work.working), int)
    source = table[ROW]
    word = table[TOKEN] if work.burst == 1 else np.arange(W)
    keys = source[slots] * 2**32 + word[slots]
    _, lead, group = np.unique(keys, return_index=True, return_inverse=True)
    lead = slots[lead]  # (R,) a slot of each group, in order of
    origin = source[lead]  # where its text is: a row, or W and a prompt's number
    rows = origin.copy()
    # The first group of a row keeps it, if that leaves no gap; others get free ones.
    kept = np.append(True, origin[1:] > origin[:-1])[: len(lead)] & (origin < len(lead))
    rows[~kept] = np.delete(np.arange(len(lead)), origin[kept])
    new, parted = origin >= W, ~kept & (origin < W)
    if parted.any():
        old = work.cache[:, :, origin[parted], :, : work.longest]
        work.cache[:, :, rows[parted], :, : work.longest] = old
    if new.any():
        prompts = work.prefix[:, :, origin[new] - W]
        work.cache[:, :, rows[new], :, : prompts.shape[4]] = prompts
    source[:] = -1
    source[slots] = rows[group]
    count = max(len(lead), MIN_ROWS)
    if work.burst > 1:
        count = min(1 << (count - 1).bit_length(), work.cache.shape[2])
    leads = np.resize(lead, count)
    leads[rows] = lead
    work.leads = work.buffers.take("leads", (count,), torch.int64, work.state.device)
    work.leads.copy_(torch.from_numpy(leads))


def graph_of_step(work: Work, live: int) -> torch.cuda.CUDAGraph:
    """One decode step as a CUDA graph, captured once for each shape.

    It holds addresses: what it touches lives in `buffers`, weights change in place.
    """
    out, state, graphs = work.out, work.state, work.buffers.graphs
    held = (work.cache, state, work.leads, out.tokens, work.u)
    shapes = [tuple(x.shape) for x in held]
    key = (*shapes, live)
    if key not in graphs:
        # A warm-up outside the graph, as CUDA asks, on state that is put back.
        kept = [x.clone() for x in (state, out.tokens, out.logp)]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            decode_step(work, live)
        torch.cuda.current_stream().wait_stream(side)
        for x, old in zip((state, out.tokens, out.logp), kept, strict=True):
            x.copy_(old)
        graphs[key] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graphs[key]):
            decode_step(work, live)
    return graphs[key]


@torch.no_grad()
def main() -> None:
    """Correctness first, then speed against a loop without cache."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, buffers = GPT(GPTConfig()), Buffers()
    problems = find_task("chain").test_problems(3, 16)
    batch = rollout(model, problems, 16, 64, (0,), buffers)
    full = model(batch.tokens)[:, :-1].log_softmax(-1)
    full = full.gather(2, batch.tokens[:, 1:, None])[..., 0]
    off = torch.where(batch.mask[:, 1:] > 0, full - batch.logp[:, 1:], 0.0)
    worst = off.abs().max().item()
    assert worst < 1e-5, worst
    print(f"log-probabilities equal those of a full pass within {worst:.0e}")

    began = time.perf_counter()
    written = int(rollout(model, problems, 16, 64, (0,), buffers).mask.sum())
    rate = written / (time.perf_counter() - began)
    began = time.perf_counter()
    tokens = torch.tensor([encode(problems[0].prompt)] * 32)
    for _ in range(64):
        choice = model(tokens)[:, -1].softmax(-1).multinomial(1)
        tokens = torch.cat([tokens, choice], 1)
    naive = 64 * len(tokens) / (time.perf_counter() - began)
    print(f"{rate:,.0f} tokens a second; a loop without cache: {naive:,.0f}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
