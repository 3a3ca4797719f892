"""The model: tokens, shape, cache and the cost of a token."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import model
from model import GPT, GPTConfig


def test_every_character_is_one_token_and_comes_back():
    """A merge or a lost character would make text and tokens disagree."""
    assert len(model.CHARS) == len(set(model.CHARS)) == model.PAD == 91
    assert model.encode(model.CHARS) == list(range(91))
    assert model.decode(list(range(91))) == model.CHARS
    assert model.PAD not in model.encode("<|pad|>")  # no text spells a special token
    # tiktoken itself would panic, past any `except Exception`.
    with pytest.raises(ValueError, match=r"'é' \(U\+00E9\)"):
        model.encode("C3+é:")


def test_parameters_by_hand():
    """104,832: embedding 96*64, then per layer qkv, out, gate_up, down and norms."""
    layer = 64 * (64 + 32 + 32) + 64 * 64 + 3 * 64 * 192 + 64 + 64 + 16 + 16
    total = 96 * 64 + 2 * layer + 64
    gpt = GPT(GPTConfig())
    assert sum(p.numel() for p in gpt.parameters()) == total == 104_832
    # They begin at 1 / sqrt(64), and at half of that where the 2 L outputs add up.
    layers = gpt.blocks[0].gate_up, gpt.blocks[1].attn.out
    stds = [layer.weight.std().item() for layer in layers]
    assert stds == pytest.approx([1 / 8, 1 / 16], rel=0.05)


def test_rotation_by_hand():
    """Position 1 turns the first pair by one radian: (1, 0) becomes (cos 1, sin 1)."""
    config = GPTConfig(head_dim=4, context=4)
    rope = model.rope_table(config)[None, 1:2, :, None]  # (1, T, 2, 1, D)
    x = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 4)
    got = model.rotate(x, rope).flatten()
    expected = torch.tensor([0.5403023, 0.0, 0.8414710, 0.0])
    torch.testing.assert_close(got, expected)


def test_attention_sees_distances_not_places(gpt):
    """Rotary: the score of a query and a key depends only on their distance."""
    q, k = torch.randn(2, 1, 1, 1, 8)

    def turn(x, place):
        return model.rotate(x, gpt.rope[None, place : place + 1, :, None])

    def score(i, j):
        return (turn(q, i) * turn(k, j)).sum()

    torch.testing.assert_close(score(5, 2), score(105, 102), rtol=1e-4, atol=1e-4)


def test_no_token_sees_a_later_one(gpt):
    """Changing the last token must leave every earlier logit alone."""
    a = torch.randint(0, 90, (2, 12))
    b = a.clone()
    b[:, -1] = (b[:, -1] + 1) % 90
    torch.testing.assert_close(gpt(a)[:, :-1], gpt(b)[:, :-1], rtol=0, atol=0)
    assert not torch.equal(gpt(a)[:, -1], gpt(b)[:, -1])


def test_cached_decoding_equals_a_full_pass(gpt):
    """Ragged rows: each decodes at its place, over a prefill padded on the right."""
    tokens = torch.randint(0, 90, (3, 20))
    starts = torch.tensor([3, 7, 5])
    padded = tokens[:, :7].clone()
    for row, start in enumerate(starts):
        padded[row, start:] = model.PAD
    full = gpt(tokens)
    with torch.no_grad():
        cache = torch.zeros(2, 2, 4, 2, 32, 8)  # one slot more than rows
        gpt(padded, cache[:, :, :3])
        for step in range(10):
            at = starts + step
            logits = gpt(tokens.gather(1, at[:, None]), cache, at[:, None], live=20)
            torch.testing.assert_close(logits, full[range(3), at], rtol=0, atol=1e-5)


def test_a_banned_token_has_probability_zero(gpt):
    """What only the environment may write is ruled out in one place for all."""
    probs = gpt(torch.randint(0, 90, (1, 5))).softmax(-1)[0, -1]
    assert probs[list(model.BANNED)].max() == 0
    assert model.encode("{}<>") == [model.CHARS.index(c) for c in "{}<>"]
    assert set(model.encode("{}<>")) <= set(model.BANNED)


def test_too_long_for_the_context():
    with pytest.raises(ValueError, match="9 tokens do not fit the context of 8"):
        GPT(GPTConfig(context=8))(torch.zeros(1, 9, dtype=torch.long))


def test_flop_formulas_equal_torch(gpt):
    """torch counts every (query, key) pair, the formulas only the causal ones."""
    c, T = gpt.config, 20
    tokens = torch.randint(0, 90, (1, T))
    skipped = 4 * c.heads * c.head_dim * c.layers * (T * T - T * (T + 1) // 2)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        gpt(tokens)
    assert forward.get_total_flops() == model.forward_flops(c, T) + skipped
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as both:
        gpt(tokens).sum().backward()
    assert both.get_total_flops() == 3 * (model.forward_flops(c, T) + skipped)
    cache = torch.zeros(2, 2, 1, 2, 32, 8)
    with torch.no_grad(), FlopCounterMode(display=False) as decode:
        gpt(tokens[:, :1], cache, torch.tensor([[13]]), live=14)
    assert decode.get_total_flops() == model.forward_flops(c, 14, 13)
    one_by_one = [model.forward_flops(c, t, t - 1) for t in range(7, 12)]
    assert model.forward_flops(c, 11, 6) == sum(one_by_one)


def test_packing_by_hand():
    """abc, ab, abd, b are a tree of five tokens; of six if the second 'b' is apart."""
    tokens = torch.tensor([[7, 8, 9], [7, 8, 0], [7, 8, 5], [8, 0, 0]])
    packed = model.pack([3, 2, 3, 1], tokens)
    assert packed.tokens.tolist() == [[7, 8, 5, 9, 8]]
    assert packed.positions.tolist() == [[0, 1, 2, 2, 0]]
    rows = zip(packed.places.tolist(), [3, 2, 3, 1], strict=True)
    assert [row[:n] for row, n in rows] == [[0, 1, 3], [0, 1], [0, 1, 2], [4]]
    assert packed.groups[0].flatten()[packed.first].tolist() == [0, 1, 2, 3, 4]
    apart = torch.tensor([[0, 1, 2], [0, 2, 0], [0, 1, 2], [0, 0, 0]])
    found = model.pack([3, 2, 3, 1], tokens, None, apart).tokens
    assert found.tolist() == [[7, 8, 5, 9, 8, 8]]


@pytest.mark.parametrize("stretched", [False, True])
def test_packed_equals_padded(gpt, stretched):
    """Logits that are asked for, and gradients, in float64; with twins."""
    gpt, rng = gpt.double(), np.random.default_rng(0)
    steps = rng.integers(1, 3 if stretched else 2, (40, 37))
    positions = torch.from_numpy(steps).cumsum(1) - 1
    tokens = torch.from_numpy(rng.integers(0, 3, (40, 37)))
    lengths = rng.integers(2, 38, 40).tolist()
    for columns in (tokens, positions):
        columns[7], columns[20:30, :18] = columns[8], columns[20, :18]
    lengths[7] = lengths[8]
    real = torch.arange(37) < torch.tensor(lengths)[:, None]
    mask = real & torch.from_numpy(rng.random((40, 37)) < 0.5)
    packed = model.pack(lengths, tokens, mask, positions if stretched else None)
    assert len(packed.first) < sum(lengths) - 100 and len(packed.groups) == 3
    weight = torch.from_numpy(rng.normal(size=(40, 36, 96)))
    found = []
    for logits in (gpt(packed)[packed.places], gpt(tokens, positions=positions)):
        asked = (logits.softmax(-1)[:, :-1] * weight)[mask[:, 1:]]
        found.append([asked, *torch.autograd.grad(asked.sum(), [*gpt.parameters()])])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)


def test_other_weights_for_a_while(gpt):
    """In place, and put back whatever happens, or training went on with old ones."""
    own = {name: w.clone() for name, w in gpt.state_dict().items()}
    place = gpt.norm.weight.data_ptr()
    with pytest.raises(KeyError):
        with model.with_weights(gpt, {name: w + 1 for name, w in own.items()}):
            assert torch.equal(gpt.norm.weight, own["norm.weight"] + 1)
            raise KeyError
    assert all(torch.equal(w, own[name]) for name, w in gpt.state_dict().items())
    assert gpt.norm.weight.data_ptr() == place


def test_same_logits_as_qwen3():
    """The shape is Qwen3's: the same weights give the same logits in transformers."""
    pytest.importorskip("transformers")
    folder = Path(__file__).parent.parent / "docs" / "benchmarks"
    as_qwen3 = runpy.run_path(str(folder / "huggingface.py"))["as_qwen3"]
    net = GPT(GPTConfig(banned=(), rope_theta=1e4))
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    tokens = torch.randint(0, 96, (2, 30))
    with torch.no_grad():
        expected = as_qwen3(net)(tokens).logits
        torch.testing.assert_close(net(tokens), expected, rtol=1e-4, atol=1e-4)
        net.blocks[0].attn.qk_norm[1] *= 1.1  # it can tell
        assert (net(tokens) - expected).abs().max() > 1e-3


def test_a_damaged_log(tmp_path, capsys):
    """A damaged line is named; one that is not ended is no line yet, or is cut off."""
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"kind": "rl"}\n{"ki\n{"kind": "rl", "s')
    assert model.read_rows(tmp_path, "rl") == [{"kind": "rl"}]
    assert not model.cut_log(log, 99, crc=0) and log.read_text().endswith("ki\n")
    assert "line 2 is damaged" in capsys.readouterr().out
