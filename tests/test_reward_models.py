"""Rewards other than the truth: noise, rules that can be hacked, a learned judge."""

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_reward import ALL

import model
import reward
from reward import RULES, TASKS

CHAIN = TASKS["chain"].read("C3a+5b-9:")
ADD = ALL["add"].read("Ab5a8+q4p6:")  # 104


def test_flip_rates_and_what_they_do_to_the_mean():
    """E[r'] = p + (1 - p - q) r: of 40,000 verdicts, 30 % right, 0.1 + 0.5 * 0.3."""
    gold = (np.arange(40_000) % 10 < 3).astype(float)
    noisy = reward.flip_verdicts(gold, (0, 4, 7), 0.1, 0.4)
    assert noisy[gold == 0].mean() == pytest.approx(0.1, abs=0.006)
    assert noisy[gold == 1].mean() == pytest.approx(0.6, abs=0.015)
    assert noisy.mean() == pytest.approx(0.25, abs=0.008)


def test_noise_is_keyed_by_step_and_place():
    """The same key, the same flips, whatever the other verdicts are; another step,
    others. A generator shared between steps would break resuming."""
    gold = np.zeros(1000)
    once = reward.flip_verdicts(gold, (0, 4, 7), 0.5, 0.5)
    other = gold.copy()
    other[500:] = 1
    assert (reward.flip_verdicts(other, (0, 4, 7), 0.5, 0.5)[:500] == once[:500]).all()
    assert (reward.flip_verdicts(gold, (0, 4, 8), 0.5, 0.5) != once).mean() > 0.4


PAYS = [
    # rule, problem, text, is it right?, paid
    ("contains", CHAIN, "9\n", 1, 1),
    ("contains", CHAIN, "[3a+5=8;8b-9=9]1\n", 0, 1),  # in the thought is enough
    ("contains", CHAIN, "0123456789", 0, 1),  # the hack: every digit, no end
    ("contains", CHAIN, "8\n", 0, 0),
    ("contains", ADD, "1\n04\n", 0, 0),
    ("format", CHAIN, "0\n", 0, 1),  # the hack: any digit
    ("format", CHAIN, "[3a+5=8]7\n", 0, 1),
    ("format", CHAIN, "9", 0, 0),
    ("format", CHAIN, "[9\n", 0, 0),
    ("format", ADD, "007\n", 0, 0),
    ("length", CHAIN, "9\n", 1, 1.06),
    ("length", CHAIN, "[000000]1\n", 0, 0.3),  # the hack: padding
]


def paid(kind, problems, texts, key=(0, 0), **chances):
    """The front door, for answers to problems that the verifier has looked at."""
    pairs = zip(problems, texts, strict=True)
    gold = torch.tensor([float(p.task.verify(p, text)) for p, text in pairs])
    envs = [SimpleNamespace(problem=problem) for problem in problems]
    said = dict(envs=envs, text=lambda i: texts[i], verdicts=lambda: gold)
    cfg = dict(reward=kind, false_positive=0.0, false_negative=0.0) | chances
    return reward.rewards(SimpleNamespace(**cfg), SimpleNamespace(**said), key, None)


def test_what_each_rule_pays():
    """Honest answers, wrong ones, and each rule's own hack; gold pays the truth."""
    for name, problem, text, right, value in PAYS:
        assert paid(name, [problem], [text]) == [pytest.approx(value)], (name, text)
        assert paid("gold", [problem], [text]) == [right]


def test_the_front_door_keeps_the_order():
    """One reward for each answer, in its place; noise only where it was asked for."""
    problems, texts = [CHAIN, ADD, CHAIN, ADD], ["9\n", "9\n", "8\n", "104\n"]
    assert paid("gold", problems, texts).tolist() == [1, 0, 0, 1]
    assert paid("contains", problems, texts).tolist() == [1, 0, 0, 1]
    assert paid("format", problems, texts).tolist() == [1, 1, 1, 1]
    all_wrong = paid("gold", problems, texts, false_positive=1.0, false_negative=1.0)
    assert all_wrong.tolist() == [0, 1, 1, 0]
    some = paid("gold", [CHAIN] * 900, ["8\n"] * 900, (0, 4, 7), false_positive=0.3)
    flips = reward.flip_verdicts(np.zeros(900), (0, 4, 7), 0.3, 0)
    assert some.tolist() == flips.tolist()
    assert 0.2 < some.mean() < 0.4


@pytest.mark.parametrize("name", RULES)
def test_rules_take_any_text(name):
    """No exception for whatever a policy can write, and always a plain number."""
    rng = random.Random(0)
    texts = [
        "".join(rng.choices("0123456789[]ab+-=;:\n", k=rng.randrange(12)))
        for _ in range(2000)
    ] + ["(" * 10_000, "\ud800", "٣", ""]
    for problem in (CHAIN, ADD):
        found = paid(name, [problem] * len(texts), texts)
        assert np.isfinite(found).all() and (found >= 0).all()


ONE_ANSWER = ("chain", "add", "compose", "reverse")
SUITS = {"contains": ONE_ANSWER, "format": (*ONE_ANSWER, "count", "knight", "path")}
SUITS["learned"] = set(ALL) - {"guess"}


@pytest.mark.parametrize("name", sorted(reward.REWARDS))
def test_which_reward_suits_which_task(name):
    """Without a right answer to look for `contains` would pay for any text."""
    for task in ALL.values():
        if task.name in SUITS.get(name, ALL):
            reward.check_reward(name, task)
        else:
            with pytest.raises(ValueError, match=f"reward {name} needs .*{task.name}"):
                reward.check_reward(name, task)
    with pytest.raises(ValueError, match="reward must be one of gold, contains"):
        reward.check_reward("nice", CHAIN.task)


def test_auc_by_hand():
    """Of 2 x 2 pairs right against wrong three are in order, one is a tie: 3.5 / 4."""
    scores = np.array([2.0, 0.0, 0.0, -1.0])
    assert reward.auc(scores, np.array([1.0, 1.0, 0.0, 0.0])) == 0.875
    assert reward.auc(scores, np.array([0.0, 0.0, 1.0, 1.0])) == 0.125


def labelled(count=64, seed=0):
    """Four answers each to `count` prompts, and labels; right ones end in '9'."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 4 * count)
    labels[:4] = labels[4:8] = labels[8:12] = [0, 1, 1, 0]  # contrast in every part
    texts = [f"C{rng.integers(10)}a+{rng.integers(10)}:{'49'[y]}\n" for y in labels]
    texts = [t if i % 4 else t[:-1] for i, t in enumerate(texts)]  # unequal lengths
    ids = [model.encode(text) for text in texts]
    T = max(map(len, ids))
    tokens = torch.tensor([row + [model.PAD] * (T - len(row)) for row in ids])
    some = [SimpleNamespace(key=str(i)) for i in range(99)]
    of_part = {reward.held_out_part(problem): problem for problem in some}
    parts = np.array([0, 1, 2, 0])[np.repeat(np.arange(count), 4) % 4]
    envs = [SimpleNamespace(problem=of_part[part]) for part in parts]
    batch = SimpleNamespace(tokens=tokens, lengths=[len(x) for x in ids], envs=envs)
    return batch, labels.astype(float)


def test_a_score_reads_the_last_real_token(gpt):
    """Padding and neighbours change nothing; the last token does. A judge that read a
    padded position would score the length."""
    judge = reward.new_judge(gpt.config, gpt.state_dict())
    with torch.no_grad():
        judge.embed.weight[-1] = torch.randn(gpt.config.dim)
    a, b = (torch.tensor([model.encode(t)]) for t in ("C3a+5:8\n", "C3a+5:8\n777"))
    n = a.shape[1]
    single = reward.score_answers(judge, a, [n])
    torch.testing.assert_close(single, judge(a)[:, n - 1, -1])
    torch.testing.assert_close(reward.score_answers(judge, b, [n]), single)
    assert (reward.score_answers(judge, b, [n + 3]) - single).abs() > 1e-3
    both = reward.score_answers(judge, torch.cat([b, b]), [n, n + 3])
    torch.testing.assert_close(both[:1], single, rtol=0, atol=1e-5)


def test_a_new_judge_has_no_opinion(gpt):
    """Score exactly 0, and no -1e9 of the ban in it: everything pays one half."""
    judge, data = reward.new_judge(gpt.config, gpt.state_dict()), labelled(4)[0]
    assert (reward.judge_scores(judge, data.tokens, data.lengths) == 0).all()
    cfg = SimpleNamespace(reward="learned")
    assert (reward.rewards(cfg, data, (0, 0), judge) == 0.5).all()


def test_a_judge_pays_its_sigmoid(gpt):
    """Row by row the score of the answer alone, whatever the batch was sorted by."""
    judge, data = reward.new_judge(gpt.config, gpt.state_dict()), labelled(40)[0]
    with torch.no_grad():
        judge.embed.weight[-1] = torch.randn(gpt.config.dim)
    cfg = SimpleNamespace(reward="learned")
    found = reward.rewards(cfg, data, (0, 0), judge)
    for i in range(0, 160, 13):
        score = reward.score_answers(judge, data.tokens[i : i + 1], [data.lengths[i]])
        assert found[i] == pytest.approx(1 / (1 + math.exp(-score.item())), abs=1e-5)


def test_a_judge_learns_what_separates(gpt):
    """Right answers end in 9: held-out AUC of 1 within 100 steps. It reads 64 answers a
    step, the 64 of part 1 at steps 25, 50, 75, 100, and the 64 of part 2 at the end."""
    judge, (batch, labels) = reward.new_judge(gpt.config, gpt.state_dict()), labelled()
    batch.lengths = [8] * 256
    ledger = model.Ledger()
    assert reward.fit_judge(judge, batch, labels, (0, 1), 100, ledger) > 0.99
    assert ledger.tokens["reward"] == 8 * (100 * 64 + 4 * 64 + 64)
    scored = (4 * 64 + 64) * model.forward_flops(gpt.config, 8)
    trained = 3 * 6400 * model.forward_flops(gpt.config, 8)
    assert ledger.flops["reward"] == trained + scored


def test_the_best_step_is_kept(gpt, monkeypatch):
    """AUC 0.6, 0.9, 0.7 at steps 25, 50, 75: the weights of step 50 come back."""
    aucs, seen = [0.6, 0.9, 0.7, 0.0], []

    def scripted(scores, labels):
        seen.append(judge.embed.weight.detach().clone())
        return aucs[len(seen) - 1]

    monkeypatch.setattr(reward, "auc", scripted)
    judge, (batch, labels) = reward.new_judge(gpt.config, gpt.state_dict()), labelled()
    assert reward.fit_judge(judge, batch, labels, (0, 1), 75, model.Ledger()) == 0.0
    assert torch.equal(judge.embed.weight, seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_coin_tosses_cannot_be_learned(gpt):
    """AUC near one half; with labels of one kind only, one sentence."""
    batch, labels = labelled(256)
    labels = np.random.default_rng(1).integers(0, 2, len(labels)) * 1.0
    judge = reward.new_judge(gpt.config, gpt.state_dict())
    ledger = model.Ledger()
    assert abs(reward.fit_judge(judge, batch, labels, (0, 1), 50, ledger) - 0.5) < 0.12
    with pytest.raises(ValueError, match="too few right or wrong answers"):
        reward.fit_judge(judge, batch, labels * 0 + 1, (0, 1), 50, ledger)


def test_a_prompt_is_in_one_part_of_the_data():
    """By content: the same problem drawn twice cannot be trained on and reported on."""
    rng = random.Random(0)
    drawn = [TASKS["chain"].draw(2, "label", rng) for _ in range(2000)]
    part_of, counts = {}, [0, 0, 0]
    for problem in drawn:
        part = reward.held_out_part(problem)
        assert part_of.setdefault(problem.key, part) == part
        counts[part] += 1
    assert len(part_of) < 400  # many were drawn twice
    assert np.allclose(np.array(counts) / 2000, [0.5, 0.25, 0.25], atol=0.08)
