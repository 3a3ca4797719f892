"""Speed against Hugging Face `generate` with the same weights. Needs transformers.

    python tests/compare_hf.py

0.8M parameters, 256 rows, 32 + 64 tokens, one thread, sampling from the full
distribution, log-probabilities returned by both; correctness first.
"""

import random
import statistics
import sys
import time
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent.parent))

from model import GPT  # noqa: E402
from reward import Problem  # noqa: E402
from rollout import Buffers, bench_model, rollout  # noqa: E402


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
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    net = bench_model(0)
    net.norm.weight.data.fill_(1.0)
    theirs, buffers = as_qwen3(net), Buffers()
    rng = random.Random(0)
    texts = ["".join(rng.choices("abc", k=32)) for _ in range(16)]
    problems = [Problem("chain", 0, text, "", ("",)) for text in texts]
    batch = rollout(net, problems, 16, 64, (0,), buffers)
    logits = theirs(batch.tokens).logits.float() + net.ban
    full = logits[:, :-1].log_softmax(-1).gather(2, batch.tokens[:, 1:, None])[..., 0]
    worst = ((full - batch.logp[:, 1:]) * batch.mask[:, 1:]).abs().max().item()
    assert worst < 1e-4, worst
    print(f"our log-probabilities equal theirs on our samples within {worst:.0e}")
    banned = [i for i in range(96) if net.ban[i] < -1]

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
            suppress_tokens=banned,
            pad_token_id=91,
            return_dict_in_generate=True,
            output_scores=True,
            **cache,
        )
        theirs.compute_transition_scores(
            done.sequences, done.scores, normalize_logits=True
        )
        return 64 * len(done.sequences)

    calls = {
        "this sampler": ours,
        "generate, dynamic cache": generate,
        "generate, static cache": lambda: generate(cache_implementation="static"),
    }
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(5):
        for name, call in calls.items():
            began = time.perf_counter()
            rates[name].append(call() / (time.perf_counter() - began))
    best = statistics.median(rates["this sampler"])
    print(
        f"transformers {transformers.__version__}, torch {torch.__version__}, 1 thread"
    )
    print("tokens a second, median of 5 in turn, log-probabilities returned by all")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"  {name:28}{rate:9,.0f}   this sampler: {best / rate:.2f} times")


if __name__ == "__main__":
    main()
