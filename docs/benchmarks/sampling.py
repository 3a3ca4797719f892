"""What each mechanism of the sampler is worth on this machine.

    python docs/benchmarks/sampling.py

A random model of 0.8M parameters, one thread. Every rival is this sampler with one
mechanism taken out, run in turn with it in one process; then one decode step beside
its matmuls only, which no sampler can beat.
"""

import contextlib
import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

import rollout  # noqa: E402
from model import END, GPT, VOCAB_SIZE, GPTConfig, encode  # noqa: E402
from reward import TASKS, Problem  # noqa: E402
from rollout import DRAWN, KNOWN, POSITION, ROW, SAMPLE, STOP, Buffers  # noqa: E402


def random_model(mean_length: int) -> GPT:
    """0.8M random parameters; answers of geometric length, or endless for 0."""
    torch.manual_seed(0)
    config = GPTConfig(
        dim=128, layers=4, heads=4, kv_heads=2, head_dim=32, hidden=384, context=320
    )
    model = GPT(config)
    model.norm.weight.data.mul_(0.01)  # all logits alike, so that the rate holds
    others = VOCAB_SIZE - len(config.banned) - 1
    model.ban[END] = math.log(others / (mean_length - 1)) if mean_length else -1e9
    return model


def random_prompts() -> list[Problem]:
    """16 problems whose prompts are 32 random letters."""
    rng = random.Random(0)
    problem = TASKS["chain"].draw(3, "rl", rng)
    texts = ["".join(rng.choices("abc", k=32)) for _ in range(16)]
    return [replace(problem, prompt=text) for text in texts]


def no_cache(model: GPT, tokens: Tensor, max_new: int) -> int:
    """The loop everybody writes first: the whole text again for every new token."""
    for _ in range(max_new):
        logprobs = model(tokens)[:, -1].log_softmax(-1)
        choice = rollout.inverse_cdf(
            logprobs,
            torch.randint(0, rollout.ONE, (len(tokens),)),
            torch.arange(len(tokens)),
        )
        tokens = torch.cat([tokens, choice[:, None]], 1)
    return max_new * len(tokens)


def compare_speed(calls: dict[str, Callable[[], int]]) -> None:
    """Print the median rate of calls run in turn; each returns how many tokens."""
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(5):
        for name, call in calls.items():
            began = time.perf_counter()
            rates[name].append(call() / (time.perf_counter() - began))
    best = statistics.median(rates[next(iter(calls))])
    print(f"tokens a second, {torch.get_num_threads()} thread(s), median of 5 in turn")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"  {name:30}{rate:9,.0f}   this sampler: {best / rate:5.2f} times")


def multinomial(logprobs: Tensor, u: Tensor, row: Tensor) -> Tensor:
    """torch's own choice of a token, which draws V random numbers a row."""
    return logprobs[row].exp().multinomial(1)[:, 0]


def mechanisms() -> None:
    """Print the rate of this sampler and of each rival."""
    problems, buffers = random_prompts(), Buffers()
    endless, ending = random_model(0), random_model(64)
    prompts = torch.tensor([encode(problem.prompt) for problem in problems])

    def sample(
        model: GPT,
        group: int,
        new: int,
        copies: int = 1,
        burst: int = 1,
        **changes: object,
    ) -> int:
        """Tokens sampled, with `changes` in place of some of rollout.py's names."""
        with contextlib.ExitStack() as stack:
            for name, value in changes.items():
                stack.enter_context(patch.object(rollout, name, value))
            batch = rollout.rollout(
                model,
                problems * copies,
                group,
                new,
                (0,),
                buffers,
                width=256,
                burst=burst,
            )
        return int(batch.mask.sum())

    print("256 samples, 32 + 64 tokens")
    compare_speed(
        {
            "this sampler": lambda: sample(endless, 16, 64),
            "a loop without cache": lambda: no_cache(endless, prompts.repeat(2, 1), 64),
            "a prefill for each sample": lambda: sample(endless, 1, 64, 16),
            "attention to the whole cache": lambda: sample(endless, 16, 64, BUCKET=96),
            "multinomial": lambda: sample(endless, 16, 64, inverse_cdf=multinomial),
        }
    )
    print("\n512 samples in 256 slots, 64 tokens on average, 256 at most")
    compare_speed(
        {
            "this sampler": lambda: sample(ending, 32, 256),
            "no refill": lambda: (  # two batches, each to its very end
                sample(ending, 16, 256) + sample(ending, 16, 256)
            ),
            "a row for each sample": lambda: sample(ending, 32, 256, burst=2),
        }
    )
    step, rows = rollout.decode_step, []

    def counted(work: rollout.Work, live: int) -> None:
        rows.append(len(work.leads))
        step(work, live)

    written = sample(ending, 32, 256, decode_step=counted) / sum(rows)
    print(f"  tokens written for each row that was fed {written:.2f}")
    held = sum(x.numel() * x.element_size() for x in buffers.flat.values())
    print(f"  memory held between calls {held / 2**20:.0f} MiB")


def matmuls_only(model: GPT, cache: Tensor, live: int) -> None:
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


def one_step(live: int = 64) -> None:
    """Print the time of a decode step of 256 slots, and its parts' share of it."""
    model = random_model(0)
    batch, draws = rollout.new_batch(random_prompts(), 16, 64, (0,), 0)
    work = rollout.allocate(
        model,
        batch,
        draws,
        group_size=16,
        max_new=64,
        width=256,
        burst=1,
        buffers=Buffers(),
    )
    work.state.zero_()
    work.state[SAMPLE] = torch.arange(256)
    work.state[ROW] = torch.arange(256)
    work.leads = torch.arange(256)
    work.state[STOP] = 10**9
    logprobs = torch.randn(256, VOCAB_SIZE).log_softmax(-1)

    def step() -> None:
        work.state[POSITION] = live - 1
        work.state[KNOWN] = live
        rollout.decode_step(work, live)

    calls = {
        "step": step,
        "choice": lambda: rollout.inverse_cdf(logprobs, work.u[:, 0], work.state[ROW]),
        "matmuls": lambda: matmuls_only(model, work.cache, live),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(51):
        work.state[DRAWN] = 0  # the random numbers begin again
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        f"\none step of 256 slots, {live} live positions: {1e3 * median['step']:.2f} ms"
    )
    print(f"  its matmuls only       {median['matmuls'] / median['step']:.0%} of that")
    print(f"  choosing the tokens    {median['choice'] / median['step']:.0%}")


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    mechanisms()
    one_step()


if __name__ == "__main__":
    main()
