"""Proof without a GPU that decoding would run on one: no host reads, fixed addresses.

On the meta device tensors have shapes and no values, so whatever would have to wait for
the device raises. Each proof is shown to bite on a planted fault.
"""

import random
from collections import deque

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

import grpo
import rollout
from model import GPT, GPTConfig
from reward import TASKS
from rollout import Batch, Buffers, Schedule, Work, compact, decode_step, refill

W, N, T, S, LIVE = 16, 20, 40, 48, 32
SHAPES = {"tokens": torch.int64, "mask": torch.float32, "logp": torch.float32}


def setting(device, seed=0):
    """A model, a cache half full, and everything else that a decode step touches."""
    torch.manual_seed(seed)
    net = GPT(GPTConfig(dim=32, head_dim=8, hidden=48)).to(device)
    cache = net.new_cache(W, S)
    out = Batch(*(torch.zeros(N, T, dtype=d, device=device) for d in SHAPES.values()))
    state = torch.zeros(7, W, dtype=torch.int64, device=device)
    u = torch.rand(N, T + 1, dtype=torch.float64, device=device)
    if device != "meta":
        out.tokens += torch.randint(0, 90, (N, T))
        state[0] = torch.arange(W)  # each slot its own sample
        state[1] = torch.randint(0, 90, (W,))
        state[2] = torch.randint(3, 8, (W,))
        state[3] = state[2] + 1
        state[3, :3] += 2  # three slots are fed what an environment wrote
        state[5] = 20
    return net, cache, state, out, u


def step(net, cache, state, out, u):
    with torch.no_grad():
        decode_step(net, cache, state, out, u, LIVE, greedy=False)


def work_of(net, cache, state, out, u):
    """The same parts as a rollout in progress, of 4 prompts with 5 samples each."""
    return Work(net, out, u, net.new_cache(4, 9), cache, state, Buffers(), 5, 20, False)


def test_no_value_is_read_while_decoding():
    """Prefill, refill, compaction and decode steps, all without values."""
    parts = net, cache, state, out, u = setting("meta")
    work = work_of(*parts)
    with torch.no_grad():
        net(out.tokens[:4, :9], work.prefix)
    refill(work, [0, 3], [0, 7])
    for _ in range(3):
        step(*parts)
    schedule = Schedule([0, 1, 2] + [-1] * 13, np.zeros(16), [], deque())
    compact(work, schedule)
    assert work.state.shape == (7, 8) and schedule.working[:3] == [0, 1, 2]
    step(net, cache, work.state, out, u)


FAULTS = {
    "bool": lambda x: bool((x < 0).all()),
    "item": lambda x: x.max().item(),
    "tolist": lambda x: x.tolist(),
    "mask index": lambda x: x[x > 0],
    "nonzero": lambda x: x.nonzero(),
    "cpu": lambda x: x.cpu().numpy(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_read_is_caught(fault, monkeypatch):
    """The proof above would not be one if these went through."""
    original = rollout.inverse_cdf

    def reads(logprobs, u):
        FAULTS[fault](logprobs)
        return original(logprobs, u)

    monkeypatch.setattr(rollout, "inverse_cdf", reads)
    with pytest.raises((RuntimeError, NotImplementedError, TypeError)):
        step(*setting("meta"))


class Recorder(TorchDispatchMode):
    """Every operation with the shapes and numbers it was called with."""

    def __init__(self):
        super().__init__()
        self.ops, self.devices = [], set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        def describe(x):
            if isinstance(x, torch.Tensor):
                self.devices.add(x.device.type)
                return (*x.shape, x.dtype)
            return tuple(map(describe, x)) if isinstance(x, list | tuple) else x

        self.ops.append((str(func), describe(args), str(kwargs)))
        return func(*args, **(kwargs or {}))


def record(parts):
    with Recorder() as seen:
        step(*parts)
    return seen


FORBIDDEN = (
    "_local_scalar_dense nonzero masked_select unique equal multinomial lift_fresh "
    "is_nonzero"
).split()


VIEWS = (
    "view _unsafe_view unsqueeze select slice t transpose expand alias unbind split "
    "split_with_sizes"
).split()


def test_every_step_is_the_same_few_operations():
    """One stream of operations inside a bucket, on one device, none that waits.

    At most 36 a layer and 60 more that are no views: on a GPU each is a launch. (Six of
    them are one RMSNorm on a CPU, where it is not fused.)
    """
    parts = setting("cpu")
    first, second = record(parts), record(parts)
    assert first.ops == second.ops
    assert first.devices == {"cpu"}
    names = {name.split(".")[1] for name, _, _ in first.ops}
    assert not names & set(FORBIDDEN)
    launched = [name for name, _, _ in first.ops if name.split(".")[1] not in VIEWS]
    assert len(launched) <= 36 * parts[0].config.layers + 60
    meta = record(setting("meta"))
    assert meta.devices == {"meta"}, "an operand was made on another device"


def test_the_recorder_sees_a_host_read(monkeypatch):
    original = rollout.inverse_cdf

    def reads(logprobs, u):
        assert logprobs.max().item() <= 0
        return original(logprobs, u)

    monkeypatch.setattr(rollout, "inverse_cdf", reads)
    names = {name.split(".")[1] for name, _, _ in record(setting("cpu")).ops}
    assert names & set(FORBIDDEN)


def addresses(net, cache, state, out, u):
    held = [*net.parameters(), *net.buffers(), cache, state, u]
    return [x.data_ptr() for x in (*held, out.tokens, out.mask, out.logp)]


def test_addresses_stay():
    """Over decode steps, a refill and an optimizer step: a CUDA graph holds them."""
    parts = net, cache, state, out, u = setting("cpu")
    before = addresses(*parts)
    for _ in range(3):
        step(*parts)
    refill(work_of(*parts), [1], [5])
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
    net(out.tokens).sum().backward()
    optimizer.step()
    assert addresses(*parts) == before


def test_buffers_keep_their_place_and_grow():
    """The same name and no larger shape: the same memory; a larger one drops graphs."""
    buffers, cpu = Buffers(), torch.device("cpu")
    a = buffers.take("x", (4, 8), torch.float32, cpu)
    buffers.graphs["some"] = None
    b = buffers.take("x", (2, 8), torch.float32, cpu)
    assert a.data_ptr() == b.data_ptr() and b.is_contiguous() and buffers.graphs
    c = buffers.take("x", (5, 8), torch.float32, cpu)
    assert c.numel() == 40 and not buffers.graphs


def test_memory_is_reused_between_calls(gpt, problems):
    """Stale keys of an earlier, longer call must not change a later one."""
    buffers = Buffers()
    fresh = rollout.rollout(gpt, problems[:3], 4, 20, (0, 1))
    rollout.rollout(gpt, problems, 6, 40, (0, 0), buffers)
    held = {name: x.data_ptr() for name, x in buffers.flat.items()}
    again = rollout.rollout(gpt, problems[:3], 4, 20, (0, 1), buffers)
    assert torch.equal(fresh.tokens, again.tokens)
    assert torch.equal(fresh.logp, again.logp)
    assert held == {name: x.data_ptr() for name, x in buffers.flat.items()}


def replayed(parts, steps=6):
    """What steps write when one is traced and then replayed on the same buffers."""
    net, cache, state, out, u = parts
    changing = (cache, state, out.tokens, out.logp)
    kept = [x.clone() for x in changing]
    with torch.no_grad():
        graph = make_fx(lambda: step(*parts))()
        for x, old in zip(changing, kept, strict=True):
            x.copy_(old)
        for _ in range(steps):
            graph()
    return out.tokens.clone(), out.logp.clone(), state.clone()


def test_one_traced_step_replays_as_all_steps():
    """What a CUDA graph does: one recording, the same addresses, bit-equal results."""
    parts = setting("cpu")
    for _ in range(6):
        step(*parts)
    eager = parts[3].tokens, parts[3].logp, parts[2]
    for a, b in zip(eager, replayed(setting("cpu")), strict=True):
        assert torch.equal(a, b)


def test_a_number_baked_into_the_step_fails_the_replay(monkeypatch):
    """A position kept on the host would be frozen in a graph; the replay shows it."""
    original, calls = rollout.inverse_cdf, []

    def counts(logprobs, u):
        calls.append(1)
        return (original(logprobs, u) + len(calls)) % 90

    monkeypatch.setattr(rollout, "inverse_cdf", counts)
    parts = setting("cpu")
    for _ in range(6):
        step(*parts)
    calls.clear()
    assert not torch.equal(parts[3].tokens, replayed(setting("cpu"))[0])


@pytest.mark.parametrize("burst, late", [(1, 0), (8, 0), (8, 1)])
def test_the_host_reads_once_a_burst(gpt, burst, late, monkeypatch):
    """`look` is the one place that reads; it runs at most once in `burst` steps."""
    reads, steps = [], []
    looks, burst_of = rollout.look, rollout.decode_burst
    monkeypatch.setattr(rollout, "look", lambda w: (reads.append(1), looks(w))[1])
    monkeypatch.setattr(
        rollout, "decode_burst", lambda *a: (steps.append(a[2]), burst_of(*a))[1]
    )
    problems = [TASKS["chain"].draw(3, "rl", random.Random(i)) for i in range(4)]
    rollout.rollout(gpt, problems, 4, 24, (0, 0), burst=burst, late=late)
    assert len(reads) == len(steps) + 1 and set(steps) == {burst}
    assert sum(steps) <= 24 + burst * (1 + late)


@pytest.mark.parametrize("width, burst", [(8, 1), (8, 3), (54, 8)])
def test_reading_one_burst_late_changes_nothing(gpt, problems, width, burst):
    """What a GPU does: the host acts on what it saw a burst ago.

    A slot that the host has refilled since still looks ended in the older look; acting
    on it again would lose a sample. Attention that trusted its length would be short.
    """
    now = rollout.rollout(gpt, problems, 6, 30, (0, 0))
    late = rollout.rollout(
        gpt, problems, 6, 30, (0, 0), width=width, burst=burst, late=1
    )
    assert torch.equal(now.tokens, late.tokens) and torch.equal(now.mask, late.mask)
    torch.testing.assert_close(now.logp, late.logp, rtol=0, atol=1e-5)
    assert now.lengths == late.lengths and now.truncated == late.truncated


def test_bf16_sampler_and_trainer_stay_close(gpt, problems, monkeypatch):
    """What a GPU computes in, here on a CPU: cache and matmuls bf16, logits fp32."""
    monkeypatch.setattr(GPT, "precision", lambda self: torch.bfloat16)
    batch = rollout.rollout(gpt, problems, 6, 30, (0, 0))
    assert gpt.new_cache(1, 8).dtype == torch.bfloat16
    assert batch.logp.dtype == gpt(batch.tokens).dtype == torch.float32
    with torch.no_grad():
        full = grpo.token_logprobs(gpt(batch.tokens), batch.tokens) * batch.mask
    gap = (full - batch.logp).abs()
    assert 1e-5 < gap.max() < 0.3 and gap.sum() / batch.mask.sum() < 0.02
    gpt(batch.tokens).logsumexp(-1).sum().backward()
    assert gpt.blocks[0].attn.qkv.weight.grad.dtype == torch.float32


def test_too_much_memory_is_refused(gpt, problems, monkeypatch):
    """Before it is taken, with the numbers."""
    monkeypatch.setattr(rollout.os, "sysconf", lambda name: 100)
    with pytest.raises(ValueError, match=r"cache of 54 slots and 9 prompts x \d+ pos"):
        rollout.rollout(gpt, problems, 6, 30, (0, 0))
    with pytest.raises(ValueError, match="needs 3.0 GiB of 2.0"):
        monkeypatch.setattr(rollout.os, "sysconf", lambda name: 2**15.5)
        rollout.check_memory(3 * 2**30, "", torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("burst, late", [(1, 0), (8, 0), (8, 1)])
def test_graphs_equal_eager_on_a_gpu(problems, burst, late, monkeypatch):
    """Captured and replayed decode steps give what the CPU gives, in fp32."""
    monkeypatch.setattr(GPT, "precision", lambda self: torch.float32)
    torch.manual_seed(0)
    net = GPT(GPTConfig())
    expected = rollout.rollout(net, problems, 6, 30, (0, 0))
    net, buffers = net.cuda(), Buffers()
    for _ in range(2):  # the second call replays the first one's graphs
        got = rollout.rollout(
            net, problems, 6, 30, (0, 0), buffers, burst=burst, late=late
        )
        assert buffers.graphs
        same = (got.tokens.cpu() == expected.tokens).float().mean()
        assert same > 0.98  # a rounding may turn a token, and with it the rest
    full = net(got.tokens)[:, :-1].log_softmax(-1)
    full = full.gather(2, got.tokens[:, 1:, None])[..., 0] * got.mask[:, 1:]
    torch.testing.assert_close(got.logp[:, 1:], full, rtol=0, atol=1e-4)


@pytest.mark.gpu
def test_bf16_on_a_gpu(problems):
    """The default there: replayed graphs, late reads, bf16 cache, weights in place."""
    torch.manual_seed(0)
    net, buffers = GPT(GPTConfig()).cuda(), Buffers()
    for step in range(3):
        got = rollout.rollout(net, problems, 6, 30, (0, step), buffers)
        with torch.no_grad():
            full = grpo.token_logprobs(net(got.tokens), got.tokens) * got.mask
            gap = (full - got.logp).abs()
            assert gap.sum() / got.mask.sum() < 0.02
            for weight in net.parameters():  # a stale cast of a weight would show
                weight.add_(0.05 * torch.randn_like(weight))


@pytest.mark.gpu
def test_no_step_waits_on_a_gpu():
    parts = setting("cuda")
    step(*parts)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(8):
            step(*parts)
    finally:
        torch.cuda.set_sync_debug_mode("default")
