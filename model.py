"""The policy: a GPT in the shape of Qwen3, its tokens, and what a token costs.

Read first. The others take from here encode and decode (text <-> token ids), GPT (token
ids -> logits, to train and to sample), pack, the ledger of FLOPs, and files.

Shapes    B rows, T tokens, S cache positions, L layers, V vocabulary, D head dim,
          H query heads, K key-value heads, C = `dim`; N tokens, M logits of a pack
Papers    Qwen3 arXiv:2505.09388 (QK-norm, tied embeddings), RMSNorm 1910.07467, rotary
          positions 2104.09864, grouped-query attention 2305.13245, SwiGLU 2002.05202
Left out  dropout (sampler and trainer must agree), biases, sliding windows
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tiktoken
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

# ---- Tokens are characters: a digit is always one, and decode(encode(text)) == text

CHARS = (
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    " +-*/%=<>()[]{}.,:;?!#@&|^~_\n"
)
PAD = len(CHARS)  # 91, fills the right of short rows; never sampled, never trained on
VOCAB_SIZE = 96  # a multiple of 32; a learned judge uses the last spare id above PAD
END = CHARS.index("\n")  # ends a turn
ENV_ONLY = "{}<>"  # only an environment may write these, so a policy cannot fake them
BANNED = tuple(CHARS.index(c) for c in ENV_ONLY) + tuple(range(PAD, VOCAB_SIZE))

ENCODING = tiktoken.Encoding(
    "rl-chars",
    pat_str=r"[\s\S]",
    mergeable_ranks={c.encode(): i for i, c in enumerate(CHARS)},
    special_tokens={"<|pad|>": PAD},
)


def encode(text: str) -> list[int]:
    """Token ids of `text`. ValueError names the first character without a token."""
    for char in text:
        if char not in CHARS:
            raise ValueError(f"no token for {char!r} (U+{ord(char):04X}) in {CHARS!r}")
    return ENCODING.encode_ordinary(text)  # "<|pad|>" stays text


def decode(ids: list[int]) -> str:
    """Text of token ids, the inverse of encode. Padding becomes '<|pad|>'."""
    return ENCODING.decode(ids)


# ---- The network ---------------------------------------------------------------------


@dataclass(frozen=True)
class GPTConfig:
    """Sizes of a GPT. The default has 0.1M parameters, learns in minutes on a CPU."""

    dim: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2  # heads / kv_heads queries share one key-value head
    head_dim: int = 16
    hidden: int = 192  # width of the SwiGLU layer
    context: int = 256  # longest sequence, in tokens
    vocab_size: int = VOCAB_SIZE
    rope_theta: float = 100.0  # raise it with `context`; open models of long ones: 1e6
    norm_eps: float = 1e-6
    banned: tuple[int, ...] = BANNED  # ids the policy can never write


def rope_table(config: GPTConfig) -> Tensor:
    """Cosines and sines of rotary angles as (context, 2, D), signs folded in.

    Position p turns the pair (i, i + D/2) by the angle p * theta^(-2i/D):
        x'[i]       = x[i] cos - x[i + D/2] sin
        x'[i + D/2] = x[i + D/2] cos + x[i] sin
    """
    half = config.head_dim // 2
    freqs = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(config.context, dtype=torch.float64)[:, None] * freqs
    angles = torch.cat([-angles, angles], dim=-1)  # signs of the formula
    return torch.stack([angles.cos(), angles.sin()], dim=1).float()


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Turn x (B, T, heads, D) by rope (B or 1, T, 2, 1, D)."""
    swapped = torch.roll(x, x.shape[-1] // 2, dims=-1)  # halves exchanged
    return torch.addcmul(x * rope[:, :, 0], swapped, rope[:, :, 1])


class Decode(NamedTuple):
    """What every layer needs to know in a cached decode step, computed once a step."""

    rows: Tensor  # (B,) rows of the cache
    positions: Tensor  # (B,) where in them the new keys and values go
    bias: Tensor  # (B K, 1, live) 0 on positions that a row may attend to, else -inf


class Attention(nn.Module):
    """Causal grouped-query attention with QK-norm and rotary positions."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        q_dim = config.heads * config.head_dim
        kv_dim = config.kv_heads * config.head_dim
        # One matmul for queries, keys and values: fewer, larger operations.
        self.qkv = nn.Linear(config.dim, q_dim + 2 * kv_dim, bias=False)
        self.out = nn.Linear(q_dim, config.dim, bias=False)
        self.qk_norm = nn.Parameter(torch.ones(2, config.head_dim))  # queries', keys'
        heads = torch.tensor([0] * config.heads + [1] * config.kv_heads)
        self.register_buffer("heads", heads, persistent=False)  # their rows of qk_norm

    def forward(
        self,
        x: Tensor,  # (B, T, C)
        rope: Tensor,  # (1 or B, T, 2, 1, D)
        cache: Tensor | None,  # (2, B or more, K, S, D) this layer's keys and values
        how: Decode | Packed | None,  # a decode step, a pack, or neither
    ) -> Tensor:
        """What x gains: (B, T, C); of a pack (1, N, C), in its last block (1, M, C)."""
        c = self.config
        B, T, _ = x.shape
        H, K, D = c.heads, c.kv_heads, c.head_dim
        qk, v = self.qkv(x).view(B, T, H + 2 * K, D).split([H + K, K], dim=2)
        # Queries and keys are normed and turned together: half the small operations.
        weight = F.embedding(self.heads, self.qk_norm)  # (H+K, D)
        qk = rotate(F.rms_norm(qk, (D,), eps=c.norm_eps) * weight, rope)
        if isinstance(how, Decode):
            new = torch.stack([qk[:, 0, H:], v[:, 0].to(qk.dtype)], 1)  # (B, 2, K, D)
            cache[:, how.rows, :, how.positions] = new.to(cache.dtype)
            kv = cache[:, :B, :, : how.bias.shape[2]]  # (2, B, K, live, D)
            return self.out(self.attend_cached(qk[:, 0, :H], kv, how.bias))
        if cache is not None:
            cache[0, :, :, :T] = qk[:, :, H:].transpose(1, 2)
            cache[1, :, :, :T] = v.transpose(1, 2)
        qkv = torch.cat([qk, v], dim=2).flatten(2)  # a row for each token
        if how is None:
            return self.out(self.attend(qkv))
        # A pack (second evening): `groups` gather its sequences from N tokens, `first`
        # takes each token back once. `embedding`: a gather, repeatable on a GPU too.
        groups = [self.attend(F.embedding(part, qkv[0])) for part in how.groups]
        y = torch.cat([part.flatten(0, 1) for part in groups])
        return self.out(y.index_select(0, how.first)[None])

    def attend(self, qkv: Tensor) -> Tensor:
        """Causal attention, qkv (b, t, (H + 2K) D) -> (b, t, H D). Padding is on the
        right, so no real token sees it."""
        c = self.config
        heads = qkv.unflatten(2, (-1, c.head_dim)).transpose(1, 2)
        parts = [c.heads, c.kv_heads, c.kv_heads]
        q, k, v = heads.split(parts, dim=1)  # (b, H or K, t, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return y.transpose(1, 2).flatten(2)

    def attend_cached(self, q: Tensor, kv: Tensor, bias: Tensor) -> Tensor:
        """One new token a row: softmax(q k^T / sqrt(D) + bias) v, (B, 1, H D).

        The H / K queries that share a key-value head become the rows of one small
        matrix, so no key is ever copied: q (B, H, D) -> (B K, H / K, D).
        """
        c = self.config
        rows = q.reshape(-1, c.heads // c.kv_heads, c.head_dim)
        k, v = kv.flatten(1, 2)  # (B K, live, D)
        scores = torch.baddbmm(bias, rows, k.transpose(1, 2), alpha=c.head_dim**-0.5)
        return torch.bmm(scores.softmax(-1), v).view(len(q), 1, c.heads * c.head_dim)


class Block(nn.Module):
    """x + attention(norm(x)), then x + SwiGLU(norm(x))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attn_norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.attn = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.gate_up = nn.Linear(config.dim, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.dim, bias=False)

    def forward(
        self, x: Tensor, rope: Tensor, cache: Tensor | None, how: Decode | Packed | None
    ) -> Tensor:
        y = self.attn(self.attn_norm(x), rope, cache, how)
        if y.shape[1] < x.shape[1]:  # the last block, of a pack
            x = x.index_select(1, how.asked)
        return self.mlp(x + y)

    def mlp(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class GPT(nn.Module):
    """Decoder-only transformer: token ids in, next-token logits out.

    forward(tokens)                           score: all tokens at once
    forward(packed)                           the same without padding (training)
    forward(tokens, cache)                    prefill: the same, keeps keys and values
    forward(tokens, cache, positions, live)   decode: adds one token to each row
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.register_buffer("rope", rope_table(config), persistent=False)
        # Added to the logits here, the one place that sampler and loss share.
        ban = torch.zeros(config.vocab_size)
        ban[list(config.banned)] = -torch.inf
        self.register_buffer("ban", ban, persistent=False)
        self.init_weights()

    def init_weights(self) -> None:
        """Normal weights of std 1 / sqrt(fan-in); embedding 0.05.

        Layers that write to the residual stream get another 1 / sqrt(2 L) (GPT-2). The
        usual 0.02 for all is too small at these widths: nothing was learned at all.
        """
        for name, weight in self.named_parameters():
            if weight.dim() == 2 and "norm" not in name:
                std = weight.shape[1] ** -0.5
                if name.endswith(("attn.out.weight", "down.weight")):
                    std *= (2 * self.config.layers) ** -0.5
                nn.init.normal_(weight, std=0.05 if name == "embed.weight" else std)

    def precision(self) -> torch.dtype:
        """Of matmuls and cache: bf16 on a GPU, fp32 on a CPU, where bf16 is slower."""
        return torch.bfloat16 if self.embed.weight.is_cuda else torch.float32

    def forward(
        self,
        tokens: Tensor | Packed,  # (B, T) int64
        cache: Tensor | None = None,  # (L, 2, B or more, K, S, D), written in place
        positions: Tensor | None = None,  # (B, T) if not 0, 1, 2 ...; decode: (B, 1)
        live: int = 0,  # decode: attend to cache[..., :live, :]; 0: no decode step
    ) -> Tensor:
        """Logits, fp32: (B, T, V); (M, V) if packed; (B, V) when decoding. ValueError
        for more tokens than the context."""
        how: Decode | Packed | None = tokens if isinstance(tokens, Packed) else None
        length = (tokens.places if how else tokens).shape[1]
        if length > (room := self.config.context):
            raise ValueError(f"{length} tokens do not fit the context of {room}")
        if how:
            tokens, positions = tokens.tokens, tokens.positions
        elif positions is None:
            positions = torch.arange(length, device=tokens.device)[None]  # (1, T)
        rope = self.rope[positions][:, :, :, None]  # (B or 1, T, 2, 1, D)
        if live:
            how = self.addresses(cache, positions[:, 0], live)
        x = self.embed(tokens)  # (B, T, C)
        # Weights, norms and the residual stream stay fp32. Autocast's cache of cast
        # weights is off: a CUDA graph would go on with the old ones.
        device = "cuda" if x.is_cuda else "cpu"
        low = self.precision() == torch.bfloat16
        with torch.autocast(device, torch.bfloat16, low, cache_enabled=False):
            for i, block in enumerate(self.blocks):
                if isinstance(how, Packed) and i == len(self.blocks) - 1:
                    how = how._replace(first=how.first[how.asked])
                x = block(x, rope, cache[i] if cache is not None else None, how)
        if how:
            x = x[:, 0] if live else x[0]
        # The head is fp32 everywhere: in bf16 sampler and trainer drift apart
        # (MiniMax-M1 arXiv:2506.13585, ScaleRL arXiv:2510.13786).
        return F.linear(self.norm(x), self.embed.weight) + self.ban

    def addresses(self, cache: Tensor, positions: Tensor, live: int) -> Decode:
        """Where a decode step writes, and its attention bias, for all layers."""
        rows = torch.arange(len(positions), device=cache.device)
        hidden = torch.arange(live, device=cache.device) > positions[:, None]
        bias = torch.zeros_like(hidden, dtype=cache.dtype)  # (B, live)
        bias = bias.masked_fill_(hidden, -torch.inf)[:, None]
        bias = bias.expand(-1, self.config.kv_heads, -1).flatten(0, 1)  # (B K, live)
        return Decode(rows, positions, bias[:, None])


@contextmanager
def with_weights(model: GPT, weights: dict[str, Tensor]) -> Iterator[None]:
    """The model with other weights for a while, in place: nothing else notices."""
    own = {name: w.clone() for name, w in model.state_dict().items()}
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(own)


# ---- What a token costs, and the ledger of a run -------------------------------------

BACKWARD = 2  # costs two forwards


def forward_flops(config: GPTConfig, end: int, start: int = 0) -> int:
    """FLOPs of matmuls over tokens start .. end - 1 of a sequence, a multiply-add
    counting two: scored all at once, or decoded one by one from a cache.

        2 params + 4 width L t    for a token that attends to t tokens, itself included

    params multiply each token (the embedding's count as the head's), width is H * D. No
    token attends to a later one.
    """
    c = config
    width = c.heads * c.head_dim
    attn = 2 * c.dim * (width + c.kv_heads * c.head_dim)
    params = c.layers * (attn + 3 * c.dim * c.hidden) + c.vocab_size * c.dim
    pairs = (end * (end + 1) - start * (start + 1)) // 2
    return 2 * params * (end - start) + 4 * width * c.layers * pairs


PHASES = ("pretrain", "prefill", "decode", "reward", "logprob", "update", "evaluation")
RL_PHASES = PHASES[1:-1]


@dataclass
class Ledger:
    """FLOPs, tokens and seconds of each phase, as running totals. What is worked out
    once for many answers (pack, rollout.regroup) is charged to each: what counts are
    the texts, not this code. `reward` is 0 FLOPs if a program grades; `logprob` is
    scoring samples under other weights: a reference, a correction for lag.
    """

    flops: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Charge the seconds of a block to a phase, less what is charged inside it."""
        began = time.perf_counter() - self.seconds.total()
        yield
        self.seconds[phase] += time.perf_counter() - self.seconds.total() - began

    def charge(
        self,
        phase: str,
        config: GPTConfig,
        lengths: list[int],
        starts: list[int] | None = None,  # tokens that are in a cache already
        train: bool = False,
    ) -> None:
        """Charge one pass over sequences, forwards only or with its gradient."""
        passes = 1 + BACKWARD * train
        for start, end in zip(starts or [0] * len(lengths), lengths, strict=True):
            self.flops[phase] += passes * forward_flops(config, end, start)
            self.tokens[phase] += end - start


# ---- Several GPUs, a process each: this is rank RANK of WORLD; rank 0 writes files

RANK = int(os.environ.get("RANK", 0))
WORLD = int(os.environ.get("WORLD_SIZE", 1))


def gather(mine: list) -> list:
    """The lists of all ranks, one after the other, on every rank."""
    if WORLD == 1:
        return mine
    parts: list = [None] * WORLD
    dist.all_gather_object(parts, mine)
    return [entry for part in parts for entry in part]


def append(path: Path, text: str) -> None:
    """Add to a log. What a full disk cuts short is cut off on resume."""
    if RANK == 0:
        with open(path, "ab") as file:
            file.write(text.encode())


# ---- second evening ------------------------------------------------------------------
# Training sees sequences without padding, and what they share once

STRIDE = 16  # attention kernels like lengths that this divides


class Packed(NamedTuple):
    """Sequences (B, T) as N tokens, of which M need logits."""

    tokens: Tensor  # (1, N)
    positions: Tensor  # (1, N)
    groups: list[Tensor]  # (b, t) which of the N each is; sequences of like length
    first: Tensor  # (N,) where each of the N stands in these, laid end to end
    asked: Tensor  # (M,) those of the N whose logits are needed
    places: Tensor  # (B, T) which of the M belongs to each token; if none, any


def pack(
    lengths: list[int],  # (B,)
    tokens: Tensor,  # (B, T)
    mask: Tensor | None = None,  # (B, T) not 0: to be predicted; none: all logits
    positions: Tensor | None = None,  # (B, T) where they stand; None: 0, 1, 2 ...
) -> Packed:
    """Sequences as a tree: what several begin with is there once. No token sees a later
    one, so the states of a beginning are the same in all, and their gradients add up.
    """
    B, T = tokens.shape
    ids = tokens.cpu().numpy()
    where = np.arange(T) + 0 * ids if positions is None else positions.cpu().numpy()
    real = np.arange(T) < np.array(lengths)[:, None]
    words = np.where(real, where * (ids.max() + 1) + ids, -1)  # equal if both are
    order = np.lexsort(words.T[::-1])  # a row now shares most with the one before
    new = real[order]
    new[1:] &= ~(words[order[1:]] == words[order[:-1]]).cumprod(1, dtype=bool)
    number = np.where(new, new.cumsum().reshape(B, T) - 1, 0)
    back = np.argsort(order)
    nodes = np.maximum.accumulate(number)[back]  # (B, T) which of the N
    padded = np.repeat(nodes[:, :1], T + STRIDE, axis=1)
    padded[:, :T][real] = nodes[real]
    widths = -(-real.sum(1) // STRIDE) * STRIDE * new.any(1)[back]  # 0: nothing new
    groups = [padded[widths == n, :n] for n in np.unique(widths[widths > 0])]
    end_to_end = np.concatenate([group.ravel() for group in groups])
    asked, places = np.arange(new.sum()), nodes
    if mask is not None and mask[:, 1:].any():
        wanted = mask[:, 1:].cpu().numpy() > 0
        places = np.zeros_like(nodes)
        found = np.unique(nodes[:, :-1][wanted], return_inverse=True)
        asked, places[:, :-1][wanted] = found

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(tokens.device)

    return Packed(
        tokens=tensor(ids[order][new][None]),
        positions=tensor(where[order][new][None]),
        groups=[tensor(group) for group in groups],
        first=tensor(np.unique(end_to_end, return_index=True)[1]),
        asked=tensor(asked),
        places=tensor(places),
    )


# ---- Ranks meet, and add up their gradients ------------------------------------------


def join_ranks() -> None:
    """Meet the other ranks, once, and part when the process ends: gloo's threads abort
    it if they free a tensor after Python has gone."""
    if not dist.is_initialized():
        # While there is no group: functions of it default to the group of its import,
        # and AdamW's would keep the group to the end, and so its threads.
        import torch.distributed.nn

        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo" + ",cuda:nccl" * torch.cuda.is_available())
        atexit.register(dist.destroy_process_group)


def sum_over_ranks(model: GPT) -> None:
    """The gradient is a sum over the answers of all ranks: their weights in the loss
    count the whole step."""
    for parameter in model.parameters():
        if parameter.grad is None:  # this rank had no answer to work on
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)


# ---- Files: whole or not at all, one writer, nothing taken on trust ------------------

# What ends a run after it has saved. Windows has no SIGHUP, and nohup ignores it.
SIGNALS = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
    SIGNALS.append(signal.SIGHUP)


def write_file(path: Path, data: bytes | str, keep: Path | None = None) -> None:
    """All of a file or nothing, and on the disk when this returns; the file that was
    there goes to `keep`. OSError leaves no part of it behind."""
    data = data.encode() if isinstance(data, str) else data
    part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep and path.exists():
            os.replace(path, keep)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    if os.name == "posix":  # the folder's entry too
        entry = os.open(path.parent, os.O_RDONLY)
        os.fsync(entry)
        os.close(entry)


def cut_log(path: Path, size: int, crc: int) -> bool:
    """Cut off what was written after a log had a size and checksum. If what is left
    has changed, it says so, keeps whole lines and returns False."""
    text = path.read_bytes()[:size] if path.exists() else b""
    intact = zlib.crc32(text) == crc
    if not intact:
        print(f"{path} is not as it was saved: whole lines are kept, no report made")
        text = text[: text.rfind(b"\n") + 1]
    with open(path, "ab") as file:
        file.truncate(len(text))
    return intact


def read_rows(folder: Path, kind: str = "") -> list[dict]:
    """Rows of one kind, or of all, from metrics.jsonl; a damaged one is named. A last
    line that is not ended is still being written."""
    path, rows = folder / "metrics.jsonl", []
    lines = path.read_text(errors="replace").split("\n")[:-1]
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if row["kind"] == (kind or row["kind"]):
                rows.append(row)
        except (ValueError, KeyError, TypeError):
            print(f"{path} line {number} is damaged and is left out")
    return rows


def read_archive(path: Path, example: dict, device: str) -> dict:
    """A file of torch.save that looks like `example`. ValueError if it is damaged or
    holds anything else; no code in it is run."""
    try:
        # torch does not look at the checksums that the archive has.
        with zipfile.ZipFile(path) as archive:
            if archive.testzip():
                raise ValueError("it is damaged")
        state = torch.load(path, map_location=device, weights_only=True)
        require_alike(state, example, "content")
    except OSError:
        raise
    except Exception as error:  # what a hostile file can raise has no end
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read: {why}") from error
    return state


def require_alike(value: object, example: object, place: str) -> None:
    """ValueError if a part of a checkpoint is not like its example, or not finite."""
    if isinstance(example, float) and type(value) is int:
        value = float(value)
    fits = isinstance(value, type(example))
    if fits and isinstance(value, float | Tensor):
        fits = bool(torch.as_tensor(value).isfinite().all())
    if not fits:
        raise ValueError(f"its {place} is not what train.py writes")
    if isinstance(example, dict) and len(example) > 1:
        if value.keys() != example.keys():
            raise ValueError("it is of another version of train.py")
        for name, part in value.items():
            require_alike(part, example[name], name)
    elif isinstance(example, dict):
        require_alike([*value.items()], [*example.items()], place)
    elif isinstance(example, list | tuple):
        likes = example * len(value) if isinstance(example, list) else example
        for part, like in zip(value, likes, strict=True):
            require_alike(part, like, place)


@contextmanager
def own(folder: Path) -> Iterator[None]:
    """One run, one owner: holds metrics.jsonl, which the system lets go when this
    process ends, in whatever way. ValueError if another process has it."""
    if RANK:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "metrics.jsonl", "a") as file:
        try:
            if os.name == "posix":
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:  # Windows locks bytes, also such as are not there
                import msvcrt

                file.seek(2**30)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise ValueError(
                f"another process is writing to {folder}; wait, or choose another --out"
            ) from error
        yield


def main() -> None:
    """Print the size of the default model, and what its tokens cost."""
    config = GPTConfig()
    print(f"{sum(p.numel() for p in GPT(config).parameters()):,} parameters")
    print(f"{forward_flops(config, 64):.1e} FLOPs to score 64 tokens")
    print(f"{forward_flops(config, 65, 64):.1e} FLOPs to write one more")


if __name__ == "__main__":
    main()
