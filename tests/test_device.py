"""Proof without a GPU that decoding would run on one: no host reads, fixed addresses.

On the meta device tensors have shapes and no values, so whatever would have to wait for
the device raises. Each proof is shown to bite on a planted fault.
"""

import random

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

import grpo
import rollout
from model import GPT, GPTConfig
from reward import TASKS
from rollout import KNOWN, POSITION, ROW, SAMPLE, STOP, TOKEN, Batch, Buffers, Work

W, N, T, S, LIVE = 16, 20, 40, 48, 32


def setting(device):
    """A rollout in progress, its cache half full: 4 prompts with 5 samples each."""
    torch.manual_seed(0)
    net = GPT(GPTConfig(dim=32, head_dim=8, hidden=48)).to(device)
    tokens = torch.zeros(N, T, dtype=torch.int64, device=device)
    state = torch.zeros(8, W, dtype=torch.int64, device=device)
    state[ROW] = torch.arange(W)
    if device != "meta":
        tokens += torch.randint(0, 90, (N, T)).to(device)
        state[SAMPLE] = torch.arange(W)  # each slot its own sample
        state[TOKEN] = torch.randint(0, 90, (W,))
        state[POSITION] = torch.randint(3, 8, (W,))
        state[KNOWN] = state[POSITION] + 1
        state[KNOWN, :3] += 2  # three slots are fed what an environment wrote
        state[STOP] = 30
    c = net.config
    return Work(
        model=net,
        group_size=5,
        burst=8,
        buffers=Buffers(),
        out=Batch(tokens, torch.zeros(N, T), torch.zeros(N, T, device=device)),
        u=torch.randint(0, rollout.ONE, (N, T + 1), device=device),
        prefix=torch.zeros(c.layers, 2, 4, c.kv_heads, 9, c.head_dim, device=device),
        cache=torch.zeros(c.layers, 2, W, c.kv_heads, S, c.head_dim, device=device),
        state=state,
        leads=torch.arange(W, device=device),
        working={0: 0, 1: 1, 2: 2},
        longest=0,
        starts=[0] * N,
        stops=[T] * N,
        queue=[],
    )


def step(work):
    with torch.no_grad():
        rollout.decode_step(work, LIVE)


def test_no_value_is_read_while_decoding():
    """Prefill, refill, compaction and decode steps, all without values."""
    work = setting("meta")
    with torch.no_grad():
        work.model(work.out.tokens[:4, :9], work.prefix)
    table = np.zeros((8, W), np.int64)
    for burst in (8, 1):  # rows of their own, and shared
        work.burst, table[ROW] = burst, range(W)
        table[ROW, [0, 2]] = [W, W + 1]  # prompts of samples that begin
        rollout.regroup(work, table)
        step(work)
    assert work.leads.shape == (8,) and table[ROW].max() < 8


# Each of them would have to wait for the device.
FAULTS = {
    "bool": lambda x: bool((x < 0).all()),
    "item": lambda x: x.max().item(),
    "tolist": lambda x: x.tolist(),
    "mask index": lambda x: x[x > 0],
    "nonzero": lambda x: x.nonzero(),
    "cpu": lambda x: x.cpu().numpy(),
}


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


def record(work):
    with Recorder() as seen:
        step(work)
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
    work = setting("cpu")
    first, second = record(work), record(work)
    assert first.ops == second.ops
    assert first.devices == {"cpu"}
    names = {name.split(".")[1] for name, _, _ in first.ops}
    assert not names & set(FORBIDDEN)
    launched = [name for name, _, _ in first.ops if name.split(".")[1] not in VIEWS]
    assert len(launched) <= 36 * work.model.config.layers + 60
    meta = record(setting("meta"))
    assert meta.devices == {"meta"}, "an operand was made on another device"
    assert "float64" not in str(meta.ops), "a Mac's MPS has none"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_read_is_caught(fault, monkeypatch):
    """The two proofs above would not be proofs if these went through."""
    original = rollout.inverse_cdf

    def reads(logprobs, *rest):
        FAULTS[fault](logprobs)
        return original(logprobs, *rest)

    monkeypatch.setattr(rollout, "inverse_cdf", reads)
    with pytest.raises((RuntimeError, NotImplementedError, TypeError)):
        step(setting("meta"))
    if fault in ("bool", "item", "nonzero"):  # the others are no operation on a CPU
        names = {name.split(".")[1] for name, _, _ in record(setting("cpu")).ops}
        assert names & set(FORBIDDEN)


def addresses(work):
    held = [*work.model.parameters(), *work.model.buffers(), work.cache, work.state]
    held += [work.u, work.prefix, work.out.tokens, work.out.logp]
    return [x.data_ptr() for x in held]


def test_addresses_stay():
    """Over decode steps, a refill and an optimizer step: a CUDA graph holds them."""
    work = setting("cpu")
    before = addresses(work)
    for _ in range(3):
        step(work)
    table = work.state.numpy().copy()
    table[ROW, 1] = W + 1
    rollout.regroup(work, table)
    optimizer = torch.optim.AdamW(work.model.parameters(), lr=0.1, fused=True)
    work.model(work.out.tokens).sum().backward()
    optimizer.step()
    assert addresses(work) == before


def test_buffers_keep_their_place_and_grow():
    """The same name and no larger shape: the same memory; a larger one drops graphs."""
    buffers, cpu = Buffers(), torch.device("cpu")
    a = buffers.take("x", (4, 8), torch.float32, cpu)
    buffers.graphs["some"] = None
    b = buffers.take("x", (2, 8), torch.float32, cpu)
    assert a.data_ptr() == b.data_ptr() and b.is_contiguous() and buffers.graphs
    c = buffers.take("x", (5, 8), torch.float32, cpu)
    assert c.numel() == 40 and not buffers.graphs


def replayed(work, steps=6):
    """Run a step once as a trace, then replay that on the same buffers."""
    changing = (work.cache, work.state, work.out.tokens, work.out.logp)
    kept = [x.clone() for x in changing]
    with torch.no_grad():
        graph = make_fx(lambda: step(work))()
        for x, old in zip(changing, kept, strict=True):
            x.copy_(old)
        for _ in range(steps):
            graph()
    return changing


def test_one_traced_step_replays_as_all_steps():
    """What a CUDA graph does: one recording, the same addresses, bit-equal results."""
    work = setting("cpu")
    for _ in range(6):
        step(work)
    eager = (work.cache, work.state, work.out.tokens, work.out.logp)
    for a, b in zip(eager, replayed(setting("cpu")), strict=True):
        assert torch.equal(a, b)


def test_a_number_baked_into_the_step_fails_the_replay(monkeypatch):
    """A position kept on the host would be frozen in a graph; the replay shows it."""
    original, calls = rollout.inverse_cdf, []

    def counts(*parts):
        calls.append(1)
        return (original(*parts) + len(calls)) % 90

    monkeypatch.setattr(rollout, "inverse_cdf", counts)
    work = setting("cpu")
    for _ in range(6):
        step(work)
    calls.clear()
    assert not torch.equal(work.out.tokens, replayed(setting("cpu"))[2])


@pytest.mark.parametrize("burst", [1, 8])
def test_the_host_reads_once_a_burst(gpt, burst, monkeypatch):
    """`harvest` is the one place that reads; it runs once in `burst` steps."""
    reads, steps = [], []
    harvest, decode_step = rollout.harvest, rollout.decode_step
    read = lambda w: (reads.append(len(steps)), harvest(w))  # noqa: E731
    monkeypatch.setattr(rollout, "harvest", read)
    step = lambda *a: (steps.append(1), decode_step(*a))  # noqa: E731
    monkeypatch.setattr(rollout, "decode_step", step)
    problems = [TASKS["chain"].draw(3, "rl", random.Random(i)) for i in range(4)]
    rollout.rollout(gpt, problems, 4, 24, (0, 0), burst=burst)
    assert reads == list(range(0, len(steps) + 1, burst)) and len(reads) > 2
    assert len(steps) <= 24 + burst


def test_bf16_sampler_and_trainer_stay_close(gpt, problems, monkeypatch):
    """What a GPU computes in, here on a CPU: cache and matmuls bf16, logits fp32."""
    monkeypatch.setattr(GPT, "precision", lambda self: torch.bfloat16)
    buffers = Buffers()
    batch = rollout.rollout(gpt, problems, 6, 30, (0, 0), buffers)
    assert buffers.flat["cache"].dtype == torch.bfloat16
    assert batch.logp.dtype == gpt(batch.tokens).dtype == torch.float32
    with torch.no_grad():
        full = grpo.token_logprobs(gpt(batch.tokens), batch.tokens) * batch.mask
    gap = (full - batch.logp).abs()
    assert 1e-5 < gap.max() < 0.3 and gap.sum() / batch.mask.sum() < 0.02
    gpt(batch.tokens).logsumexp(-1).sum().backward()
    assert gpt.blocks[0].attn.qkv.weight.grad.dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.parametrize("burst", [1, 8])
def test_graphs_equal_eager_on_a_gpu(problems, burst, monkeypatch):
    """Captured and replayed decode steps give what the CPU gives, in fp32."""
    monkeypatch.setattr(GPT, "precision", lambda self: torch.float32)
    torch.manual_seed(0)
    net = GPT(GPTConfig())
    expected = rollout.rollout(net, problems, 6, 30, (0, 0))
    net, buffers = net.cuda(), Buffers()
    for _ in range(2):  # the second call replays the first one's graphs
        got = rollout.rollout(net, problems, 6, 30, (0, 0), buffers, burst=burst)
        assert buffers.graphs
        same = (got.tokens.cpu() == expected.tokens).float().mean()
        assert same > 0.98  # a rounding may turn a token, and with it the rest
    full = grpo.token_logprobs(net(got.tokens), got.tokens) * got.mask
    torch.testing.assert_close(got.logp, full, rtol=0, atol=1e-4)


@pytest.mark.gpu
def test_bf16_on_a_gpu(problems):
    """The default there: replayed graphs, bf16 cache, weights in place."""
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
    work = setting("cuda")
    step(work)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(8):
            step(work)
    finally:
        torch.cuda.set_sync_debug_mode("default")
