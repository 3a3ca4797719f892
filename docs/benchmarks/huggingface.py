"""Speed against Hugging Face `generate` with the same weights. Needs transformers.

    python docs/benchmarks/huggingface.py

0.8M parameters, 256 rows, 32 + 64 tokens, one thread, sampling from the full
distribution, log-probabilities returned by both; correctness first.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

try:
    import transformers
except ImportError:
    transformers = None

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from sampling import compare_speed, random_model, random_prompts  # noqa: E402

from model import BANNED, END, GPT, PAD  # noqa: E402
from rollout import Buffers, rollout  # noqa: E402


def as_qwen3(net: GPT) -> transformers.Qwen3ForCausalLM:
    """The same weights in transformers' own Qwen3."""
    c = net.config
    theirs = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            vocab_size=c.vocab_size,
            hidden_size=c.dim,
            intermediate_size=c.hidden,
            num_hidden_layers=c.layers,
            num_attention_heads=c.heads,
            num_key_value_heads=c.kv_heads,
            head_dim=c.head_dim,
            rms_norm_eps=c.norm_eps,
            rope_theta=c.rope_theta,
            max_position_embeddings=c.context,
            tie_word_embeddings=True,
        )
    ).eval()
    trunk = theirs.model
    with torch.no_grad():
        trunk.embed_tokens.weight.copy_(net.embed.weight)
        trunk.norm.weight.copy_(net.norm.weight)
        for layer, ours in zip(trunk.layers, net.blocks, strict=True):
            attn, mlp = layer.self_attn, layer.mlp
            width = [c.heads * c.head_dim, *[c.kv_heads * c.head_dim] * 2]
            parts = ours.attn.qkv.weight.split(width)
            for proj, weight in zip("qkv", parts, strict=True):
                getattr(attn, f"{proj}_proj").weight.copy_(weight)
            attn.o_proj.weight.copy_(ours.attn.out.weight)
            attn.q_norm.weight.copy_(ours.attn.qk_norm[0])
            attn.k_norm.weight.copy_(ours.attn.qk_norm[1])
            layer.input_layernorm.weight.copy_(ours.attn_norm.weight)
            layer.post_attention_layernorm.weight.copy_(ours.mlp_norm.weight)
            gate, up = ours.gate_up.weight.chunk(2)
            mlp.gate_proj.weight.copy_(gate)
            mlp.up_proj.weight.copy_(up)
            mlp.down_proj.weight.copy_(ours.down.weight)
    return theirs


@torch.no_grad()
def main() -> None:
    """Equality of log-probabilities first, then speed; or a sentence and no more."""
    if transformers is None:
        print("skipped: transformers is not installed (pip install transformers)")
        return
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    net = random_model(0)
    net.norm.weight.data.fill_(1.0)
    theirs, buffers = as_qwen3(net), Buffers()
    problems = random_prompts()
    batch = rollout(net, problems, 16, 64, (0,), buffers)
    logits = theirs(batch.tokens).logits.float() + net.ban
    full = logits[:, :-1].log_softmax(-1).gather(2, batch.tokens[:, 1:, None])[..., 0]
    worst = ((full - batch.logp[:, 1:]) * batch.mask[:, 1:]).abs().max().item()
    assert worst < 1e-4, worst
    print(f"our log-probabilities equal theirs on our samples within {worst:.0e}")

    def ours() -> int:
        return int(rollout(net, problems, 16, 64, (1,), buffers).mask.sum())

    def generate(**cache: str) -> int:
        done = theirs.generate(
            batch.tokens[:, :32],
            attention_mask=torch.ones(256, 32, dtype=torch.long),
            do_sample=True,
            top_k=0,
            max_new_tokens=64,
            min_new_tokens=64,
            suppress_tokens=[*BANNED, END],
            pad_token_id=PAD,
            return_dict_in_generate=True,
            output_scores=True,
            **cache,
        )
        theirs.compute_transition_scores(
            done.sequences, done.scores, normalize_logits=True
        )
        return 64 * len(done.sequences)

    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    compare_speed(
        {
            "this sampler": ours,
            "generate, dynamic cache": generate,
            "generate, static cache": lambda: generate(cache_implementation="static"),
        }
    )


if __name__ == "__main__":
    main()
