"""The policy: a GPT in the shape of Qwen3, its tokens, and what a token costs.

Read first. Every other file builds on three things from here:
encode and decode (text <-> token ids), GPT (token ids -> logits), FLOP formulas.

The architecture is today's common one: RMSNorm before each sublayer, rotary positions,
QK-norm, grouped-query attention, SwiGLU, no biases, tied embeddings. Training, prefill
and cached decoding run through the same blocks, so a sampled token and a trained token
see the same arithmetic.

Shapes    B rows, T tokens, S cache positions, L layers, V vocabulary, D head dim,
          H query heads, K key-value heads, C = `dim` channels
Papers    Qwen3 arXiv:2505.09388, RMSNorm 1910.07467, rotary positions 2104.09864,
          grouped-query attention 2305.13245, SwiGLU 2002.05202
Left out  dropout (sampler and trainer must agree), biases, sliding windows
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import tiktoken
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

# --------------------------------------------------------------------------------------
# Tokens: one character, one token. No merges, so a digit is always one token and
# decode(encode(text)) == text; no file to download.

CHARS = (
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    " +-*/%=<>()[]{}.,:;?!#@&|^~_\n"
)
PAD = len(CHARS)  # 91, fills the right of short rows; never sampled, never trained on
VOCAB_SIZE = 96  # a multiple of 32: the four ids above PAD are spare
END = CHARS.index("\n")  # ends a turn
ENV_ONLY = "{}<>"  # only an environment may write these, so a policy cannot fake them
BANNED = tuple(CHARS.index(c) for c in ENV_ONLY) + tuple(range(PAD, VOCAB_SIZE))


@functools.cache
def encoding() -> tiktoken.Encoding:
    """The character vocabulary as an offline tiktoken encoding."""
    names = ["<|pad|>", "<|spare1|>", "<|spare2|>", "<|spare3|>", "<|spare4|>"]
    return tiktoken.Encoding(
        "rl-chars",
        pat_str=r"[\s\S]",
        mergeable_ranks={c.encode(): i for i, c in enumerate(CHARS)},
        special_tokens={name: PAD + i for i, name in enumerate(names)},
        explicit_n_vocab=VOCAB_SIZE,
    )


def encode(text: str) -> list[int]:
    """Token ids of `text`. ValueError names the first character without a token."""
    for char in text:
        if char not in CHARS:
            raise ValueError(
                f"character {char!r} (U+{ord(char):04X}) has no token; the vocabulary "
                f"is {CHARS!r}"
            )
    # disallowed_special=(): text that spells "<|pad|>" stays text.
    return encoding().encode(text, disallowed_special=())


def decode(ids: list[int]) -> str:
    """Text of token ids, the inverse of encode. Padding becomes '<|pad|>'."""
    return encoding().decode(ids)


# --------------------------------------------------------------------------------------
# The network


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
    rope_theta: float = 100.0  # about the context; open weights of long context: 1e6
    norm_eps: float = 1e-6
    banned: tuple[int, ...] = BANNED  # ids the policy can never write

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary, got {self.head_dim}")


def rope_table(config: GPTConfig) -> Tensor:
    """Rotary angles as (context, 2, D): cosines, then sines with the sign folded in.

    Position p turns the pair (i, i + D/2) by the angle p * theta^(-2i/D):
        x'[i]       = x[i] cos - x[i + D/2] sin
        x'[i + D/2] = x[i + D/2] cos + x[i] sin
    """
    half = config.head_dim // 2
    freqs = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(config.context, dtype=torch.float64)[:, None] * freqs
    cos = torch.cat([angles.cos(), angles.cos()], dim=-1)
    sin = torch.cat([-angles.sin(), angles.sin()], dim=-1)  # signs of the formula
    return torch.stack([cos, sin], dim=1).float()


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Turn x (B, T, heads, D) by rope (B or 1, T, 2, 1, D)."""
    swapped = torch.roll(x, x.shape[-1] // 2, dims=-1)  # halves exchanged
    return torch.addcmul(x * rope[:, :, 0], swapped, rope[:, :, 1])


class Decode(NamedTuple):
    """What every layer needs to know in a cached decode step, computed once a step."""

    write: (
        Tensor  # (2 * B * K,) where this step's keys, then values, go in the flat cache
    )
    bias: Tensor  # (B * K, 1, live) 0 on positions a row may attend to, else -inf
    live: int  # cache positions attended to; none of the rows is longer


class Attention(nn.Module):
    """Causal grouped-query attention with QK-norm and rotary positions.

    With a cache (2, B, K, S, D) of this layer's keys and values, a prefill also fills
    positions 0..T-1 and a decode step adds one position and attends to all so far.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        q_dim = config.heads * config.head_dim
        kv_dim = config.kv_heads * config.head_dim
        # One matmul for queries, keys and values: fewer, larger operations.
        self.qkv = nn.Linear(config.dim, q_dim + 2 * kv_dim, bias=False)
        self.out = nn.Linear(q_dim, config.dim, bias=False)
        # QK-norm: weights of the queries' norm, then of the keys'.
        self.qk_norm = nn.Parameter(torch.ones(2, config.head_dim))

    def forward(
        self,
        x: Tensor,  # (B, T, C)
        rope: Tensor,  # (1 or B, T, 2, 1, D)
        cache: Tensor | None,  # (2, B, K, S, D)
        step: Decode | None,
    ) -> Tensor:
        """What x gets added, (B, T, C). With `step` a row is one token: T = 1."""
        c = self.config
        B, T, _ = x.shape
        H, K, D = c.heads, c.kv_heads, c.head_dim
        qk, v = self.qkv(x).view(B, T, H + 2 * K, D).split([H + K, K], dim=2)
        # Queries and keys are normed and turned together: half the small operations.
        q_weight, k_weight = self.qk_norm
        weight = torch.cat([q_weight.expand(H, D), k_weight.expand(K, D)])
        qk = rotate(F.rms_norm(qk, (D,), eps=c.norm_eps) * weight, rope)
        if step is not None:
            new = torch.stack([qk[:, 0, H:], v[:, 0].to(qk.dtype)]).view(-1, D)
            cache.view(-1, D).index_copy_(0, step.write, new.to(cache.dtype))
            y = self.attend(qk[:, 0, :H], cache[:, :B, :, : step.live], step.bias)
            return self.out(y)
        q, k = qk.transpose(1, 2).split([H, K], dim=1)  # (B, H or K, T, D)
        v = v.transpose(1, 2)
        if cache is not None:
            cache[0, :, :, :T] = k
            cache[1, :, :, :T] = v
        # Rows are padded on the right, so the causal mask already hides the padding
        # from every real token. A prefill starts at position 0, like training.
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=H != K)
        return self.out(y.transpose(1, 2).reshape(B, T, H * D))

    def attend(self, q: Tensor, kv: Tensor, bias: Tensor) -> Tensor:
        """One query token a row against the cache: softmax(q k^T / sqrt(D) + bias) v.

        The H / K queries that share a key-value head become the rows of one small
        matrix, so no key is ever copied: q (B, H, D) -> (B K, H / K, D).
        Returns (B, 1, H D).
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
        self, x: Tensor, rope: Tensor, cache: Tensor | None, step: Decode | None
    ) -> Tensor:
        x = x + self.attn(self.attn_norm(x), rope, cache, step)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class GPT(nn.Module):
    """Decoder-only transformer: token ids in, next-token logits out.

    forward(tokens)                           score: all positions at once (training)
    forward(tokens, cache)                    prefill: and keys and values are kept
    forward(tokens, cache, positions, live)   decode: one token a row, at its place
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.register_buffer("rope", rope_table(config), persistent=False)
        # Added to the logits here, the one place that sampler and loss share. Finite,
        # not -inf: the probability is exactly 0 in fp32, and 0 * log 0 stays 0.
        ban = torch.zeros(config.vocab_size)
        ban[list(config.banned)] = -1e9
        self.register_buffer("ban", ban, persistent=False)
        self.init_weights()

    def init_weights(self) -> None:
        """Normal weights of std 1 / sqrt(fan-in); embedding 0.05.

        Layers that write to the residual stream get another 1 / sqrt(2 L) (GPT-2). The
        usual 0.02 for all is too small at these widths: in the time that chain takes
        to be learned with this, it was not learned at all.
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

    def new_cache(self, rows: int, length: int) -> Tensor:
        """Keys and values of `rows` sequences: zeros (L, 2, rows, K, length, D).

        Zeros, not empty: a NaN left in a masked position would survive as 0 * NaN.
        """
        c = self.config
        shape = (c.layers, 2, rows, c.kv_heads, length, c.head_dim)
        return torch.zeros(
            shape, dtype=self.precision(), device=self.embed.weight.device
        )

    def forward(
        self,
        tokens: Tensor,  # (B, T) int64
        cache: Tensor | None = None,  # (L, 2, B or more, K, S, D), written in place
        positions: Tensor | None = None,  # (B,) decode: where each row's token stands
        live: int = 0,  # decode: attend to cache[..., :live, :]
        last: Tensor | None = None,  # (B,) the one position whose logits are wanted
    ) -> Tensor:
        """Logits, fp32: (B, T, V), or (B, V) when decoding or when `last` is given.

        Raises ValueError for more tokens than the context.
        """
        B, T = tokens.shape
        if T > self.config.context:
            raise ValueError(
                f"{T} tokens do not fit the context of {self.config.context}"
            )
        step = None
        if positions is None:
            rope = self.rope[None, :T, :, None]  # (1, T, 2, 1, D)
        else:
            assert T == 1 and cache is not None
            rope = self.rope[positions][:, None, :, None]  # (B, 1, 2, 1, D)
            step = self.decode_step(cache, positions, live)
            last = torch.zeros_like(positions)
        x = self.embed(tokens)  # (B, T, C)
        # Weights, norms and the residual stream stay fp32; without autocast's own cache
        # of cast weights, a CUDA graph sees them change.
        low = dict(dtype=torch.bfloat16, enabled=self.precision() != torch.float32)
        device = "cuda" if x.is_cuda else "cpu"
        with torch.autocast(device, **low, cache_enabled=False):
            for i, block in enumerate(self.blocks):
                x = block(x, rope, cache[i] if cache is not None else None, step)
        if last is not None:
            x = x[torch.arange(B, device=x.device), last]
        # fp32 from the head on: with a bf16 head sampler and trainer drift apart
        # (MiniMax-M1 arXiv:2506.13585, ScaleRL arXiv:2510.13786).
        x, head = self.norm(x).float(), self.embed.weight.float()
        return F.linear(x, head) + self.ban

    def decode_step(self, cache: Tensor, positions: Tensor, live: int) -> Decode:
        """Write addresses and attention bias of a decode step, for all layers."""
        _, _, slots, K, S, _ = cache.shape
        B = len(positions)
        heads = torch.arange(2 * slots * K, device=cache.device).view(2, slots, K)
        write = heads[:, :B] * S + positions[:, None]
        hidden = (
            torch.arange(live, device=cache.device) > positions[:, None]
        )  # (B, live)
        bias = torch.zeros_like(hidden, dtype=cache.dtype).masked_fill_(
            hidden, -torch.inf
        )
        bias = bias[:, None].expand(B, K, live).reshape(B * K, 1, live)
        return Decode(write.flatten(), bias, live)


# --------------------------------------------------------------------------------------
# What a token costs. FLOPs of matmuls alone, a multiply-add counting two; N is the
# number of parameters that multiply every token, d = H * D the width of attention.


def matmul_params(config: GPTConfig) -> int:
    """N: parameters used in matmuls for each token, output head included.

    The embedding look-up multiplies nothing; its weights count once, as the head.
    """
    c = config
    attn = c.dim * c.head_dim * (2 * c.heads + 2 * c.kv_heads)
    return c.layers * (attn + 3 * c.dim * c.hidden) + c.vocab_size * c.dim


def attention_flops(config: GPTConfig, keys: int) -> int:
    """Scores and weighted values over `keys` (query, key) pairs: 4 d L each."""
    return 4 * config.heads * config.head_dim * config.layers * keys


def prefill_flops(config: GPTConfig, tokens: int) -> int:
    """Forward pass over one sequence: 2 N T + 4 d L T (T + 1) / 2, causal pairs only.

    Also the cost of scoring a sequence that has been written already.
    """
    pairs = tokens * (tokens + 1) // 2
    return 2 * matmul_params(config) * tokens + attention_flops(config, pairs)


def decode_flops(config: GPTConfig, context: int, tokens: int = 1) -> int:
    """`tokens` new tokens, the first attending to `context` tokens and itself one.

    2 N + 4 d L t for the token that attends to t.
    """
    pairs = tokens * context + tokens * (tokens - 1) // 2
    return 2 * matmul_params(config) * tokens + attention_flops(config, pairs)


def train_flops(config: GPTConfig, tokens: int) -> int:
    """Forward and backward over one sequence: backward costs two forwards."""
    return 3 * prefill_flops(config, tokens)


def main() -> None:
    """Print sizes and costs of three models."""
    ladder = {
        "default": GPTConfig(),
        "1M": GPTConfig(dim=128, layers=4, heads=8, kv_heads=4, hidden=384),
        "10M": GPTConfig(
            dim=320, layers=8, heads=10, kv_heads=5, head_dim=32, hidden=896
        ),
    }
    tokens = 64
    print(f"FLOPs of one sequence of {tokens} tokens, and of the token after it\n")
    print(
        f"{'model':8} {'parameters':>11} {'forward':>9} {'training':>9} {'decode':>9}"
    )
    for name, config in ladder.items():
        params = sum(p.numel() for p in GPT(config).parameters())
        print(
            f"{name:8} {params:11,} {prefill_flops(config, tokens):9.2e} "
            f"{train_flops(config, tokens):9.2e} "
            f"{decode_flops(config, tokens + 1):9.2e}"
        )
    text = "C3a+5b-9:9\n"
    print(f"\n{text!r} is {len(encode(text))} tokens: {encode(text)}")


if __name__ == "__main__":
    main()
