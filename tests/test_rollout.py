"""Sampling: the cache, the random numbers, and the book-keeping of several turns."""

import random
import sys
from dataclasses import replace

import pytest
import torch

import grpo
import model
import train
from model import END, PAD
from reward import TASKS, Env, find_task, interrupted
from rollout import ONE, Buffers, inverse_cdf, join, new_batch, pick, rollout

MAX_NEW = 30


def score(gpt, batch):
    """Log-probabilities of a full pass without cache."""
    with torch.no_grad():
        return grpo.token_logprobs(gpt(batch.tokens), batch.tokens) * batch.mask


@pytest.mark.parametrize("width, burst", [(128, 1), (8, 1), (8, 5), (16, 8)])
def test_sampled_logprobs_equal_a_full_pass(gpt, problems, width, burst):
    """Ragged prompts, several turns, refilled and compacted slots, crossing buckets.

    A wrong position, mask, stale cache or shifted column shows here.
    """
    batch = rollout(gpt, problems, 6, MAX_NEW, (0, 0), width=width, burst=burst)
    torch.testing.assert_close(batch.logp, score(gpt, batch), rtol=0, atol=1e-5)
    assert batch.mask.sum() > 300


def test_a_sample_depends_only_on_its_key(gpt, problems):
    """Not on slots, burst, or how many others are sampled beside it. Games first."""
    problems = problems[3:] + problems[:3]
    batch = rollout(gpt, problems, 6, MAX_NEW, (0, 0))
    for width, burst in ((8, 1), (8, 7), (64, 4)):
        other = rollout(gpt, problems, 6, MAX_NEW, (0, 0), width=width, burst=burst)
        assert torch.equal(batch.tokens, other.tokens)
        assert torch.equal(batch.mask, other.mask)
        assert batch.lengths == other.lengths and batch.truncated == other.truncated
    # One sample, a shorter cap, slots that do not divide samples, or are more.
    for num, group, cap, width in ((1, 1, 30, 8), (3, 5, 7, 8), (1, 6, 30, 256)):
        few = rollout(gpt, problems[:num], group, cap, (0, 0), width=width)
        found = [few.text(i) for i in range(len(few.lengths))]
        expected = [batch.text(6 * p + g) for p in range(num) for g in range(group)]
        assert found == [text[:cap] for text in expected]


def test_other_keys_give_other_samples(gpt, problems):
    """Seed, step, prompt and sample each matter; shared noise would ruin the groups."""
    same = [problems[0]] * 4
    batch = rollout(gpt, same, 4, MAX_NEW, (0, 0))
    texts = {batch.text(i) for i in range(16)}
    assert len(texts) == 16
    for key in ((1, 0), (0, 1)):
        other = rollout(gpt, same, 4, MAX_NEW, key)
        assert not {other.text(i) for i in range(16)} & texts


def test_inverse_cdf_on_a_grid():
    """Every u picks the token whose stretch of the cumulative distribution holds it."""
    probs = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0], dtype=torch.float64)
    u = torch.arange(4096) * (ONE // 4096)
    choice = inverse_cdf(probs.log()[None], u, torch.zeros(4096).long())
    expected = torch.tensor([1] * 1024 + [3] * 2048 + [4] * 1024)
    assert torch.equal(choice, expected)


def test_inverse_cdf_at_the_ends(problems):
    """u = 0 and the largest u never pick a token of probability 0 at either end."""
    torch.manual_seed(0)
    logits = torch.randn(1000, 96)
    logits[:, :3] = logits[:, -5:] = -1e9
    logprobs = logits.log_softmax(-1)
    draws = new_batch(problems, 99, 99, (0,), 0)[1]
    assert 0 <= draws.min() < draws.max() < ONE
    for u in (0, ONE - 1):
        choice = inverse_cdf(logprobs, torch.full((1000,), u), torch.arange(1000))
        assert choice.min() >= 3 and choice.max() < 91


def test_whole_answers_follow_the_model(gpt, problems):
    """Chi-square of all 15 answers over three tokens, one of them the end.

    Shares come from full passes without cache: a stale cache, a lost end token or a
    shifted position bends the joint distribution where single tokens look right.
    """
    allowed = [END, 7, 8]
    gpt.ban.fill_(-1e9)
    gpt.ban[allowed] = 0
    prompt = model.encode(problems[0].prompt)
    exact, open_texts = {}, {(): 1.0}
    for _ in range(3):
        grown = {}
        for text, share in open_texts.items():
            with torch.no_grad():
                logits = gpt(torch.tensor([prompt + list(text)]))[0, -1]
            for token in allowed:
                p = share * logits.softmax(-1)[token].item()
                (exact if token == END else grown)[(*text, token)] = p
        open_texts = grown
    exact |= open_texts
    assert len(exact) == 15 and abs(sum(exact.values()) - 1) < 1e-6
    num = 6000
    batch = rollout(gpt, problems[:1], num, 3, (0, 0))
    counts = dict.fromkeys(exact, 0)
    for i in range(num):
        ids = batch.tokens[i, len(prompt) : batch.lengths[i]].tolist()
        counts[tuple(ids)] += 1

    def chi_square(shares):
        expected = {t: num * p for t, p in shares.items() if num * p >= 5}
        return sum((counts[t] - n) ** 2 / n for t, n in expected.items())

    assert chi_square(exact) < 14 + 4 * 28**0.5
    tilted = {t: p * (1.25 if t[0] == 7 else 1) for t, p in exact.items()}
    total = sum(tilted.values())  # it can tell
    assert chi_square({t: p / total for t, p in tilted.items()}) > 14 + 4 * 28**0.5


def test_garbage_in_unused_memory_does_no_harm(gpt, problems):
    """Left over from an earlier batch: positions past a row's own must not be seen.

    NaN would survive a mask as 0 * NaN, so it may stand nowhere that is read; numbers
    may.
    """
    buffers = Buffers()
    clean = rollout(gpt, problems, 6, MAX_NEW, (0, 0), buffers, width=8)
    for name in ("cache", "prefix", "logp"):
        buffers.flat[name].fill_(1e3)
    held = {name: x.data_ptr() for name, x in buffers.flat.items()}
    dirty = rollout(gpt, problems, 6, MAX_NEW, (0, 0), buffers, width=8)
    assert torch.equal(clean.tokens, dirty.tokens)
    assert torch.equal(clean.logp, dirty.logp)
    assert held == {name: x.data_ptr() for name, x in buffers.flat.items()}


def test_train_mode_and_gradients_do_not_leak(gpt, problems):
    """Called from a training loop: same samples, nothing recorded, usable after."""
    before = rollout(gpt.eval(), problems[:2], 4, 8, (0, 0))
    gpt.train()
    with torch.enable_grad():
        batch = rollout(gpt, problems[:2], 4, 8, (0, 0))
    assert torch.equal(before.tokens, batch.tokens) and not batch.logp.requires_grad
    logp = grpo.token_logprobs(gpt(batch.tokens), batch.tokens)
    ((logp - batch.logp) * batch.mask).sum().backward()  # an inference tensor raises


def test_greedy_equals_a_loop_without_cache(gpt, problems, monkeypatch):
    """The last of three; the others are as without it; 64 twins take one row."""
    batch = rollout(gpt, problems[:1], 3, 12, (0, 0), greedy=1)
    ids = model.encode(problems[0].prompt)
    with torch.no_grad():
        while len(ids) < batch.lengths[2]:
            ids.append(int(gpt(torch.tensor([ids]))[0, -1].argmax()))
    assert batch.tokens[2, : batch.lengths[2]].tolist() == ids
    sampled = rollout(gpt, problems[:1], 2, 12, (0, 0))
    assert [batch.text(i) for i in (0, 1)] == [sampled.text(i) for i in (0, 1)]
    rows, copied = [], sys.modules["rollout"].regroup

    def counted(work, table):
        copied(work, table)
        rows.append(len(work.leads))

    monkeypatch.setattr("rollout.regroup", counted)
    same = rollout(gpt, problems[:1], 64, 12, (0, 0), greedy=64)
    assert rows == [8] * (1 + len(same.text(0)))  # MIN_ROWS


def test_masks_and_texts(gpt, problems):
    """The mask is 1 on exactly what the policy wrote, its end tokens included."""
    batch = rollout(gpt, problems, 6, MAX_NEW, (0, 3))
    ended = 0
    for i, env in enumerate(batch.envs):
        start, stop = batch.prompt_lengths[i], batch.lengths[i]
        ids, mask = batch.tokens[i].tolist(), batch.mask[i].tolist()
        assert model.decode(ids[:start]) == env.problem.prompt
        assert sum(mask[:start]) == sum(mask[stop:]) == 0
        assert set(ids[stop:]) <= {PAD}
        for token, own in zip(ids[start:stop], mask[start:stop], strict=True):
            assert own == (token not in model.BANNED)
        if type(env) is TASKS["guess"].env:
            assert mask[start:stop] == [1, 0] * ((stop - start) // 2) + [1]
            assert not batch.truncated[i]
        else:
            ended += ids[stop - 1] == END
            assert END not in ids[start : stop - 1]
            assert batch.truncated[i] == (ids[stop - 1] != END)
            assert not batch.truncated[i] or stop - start == MAX_NEW
    assert ended > 3  # the fixture sees both kinds


def test_rows_of_two_batches(gpt, problems):
    """What belongs to a sample stays together, also when the other batch is wider."""
    one = rollout(gpt, problems[:2], 2, 4, (0, 0))
    more = rollout(gpt, problems[2:3], 2, MAX_NEW, (0, 1))
    rows = [3, 0]
    both = join(pick(one, rows), more)
    sources = [(one, i) for i in rows] + [(more, 0), (more, 1)]
    for row, (batch, i) in enumerate(sources):
        assert both.text(row) == batch.text(i) and both.envs[row] is batch.envs[i]
        assert both.truncated[row] == batch.truncated[i]
    assert both.mask.sum() == one.mask[rows].sum() + more.mask.sum()
    assert one.tokens.shape[1] < both.tokens.shape[1] and both.tokens[0, -1] == PAD


def test_the_environment_answers_what_was_written(gpt):
    """Replaying each transcript of guess by the rules gives the same observations."""
    problem = TASKS["guess"].generate(2, random.Random(1))
    batch = rollout(gpt, [problem], 32, 10, (0, 0))
    hidden = problem.data[2]
    for i in range(32):
        text = batch.text(i)
        for guess, said in zip(text[0::2], text[1::2], strict=False):
            number = TASKS["guess"].symbols[:16].find(guess)
            assert said == (">" if hidden > number else "<")
        assert batch.envs[i].score() == (text[-1] == TASKS["guess"].symbols[hidden])


@pytest.mark.parametrize("at, truncated", [(0, False), (4, False), (5, True)])
def test_every_place_of_the_end_token(gpt, problems, at, truncated):
    """End at once, end with the last token allowed, and never: 5 tokens in all."""

    def forced(tokens, cache=None, positions=None, live=0):
        logits = gpt.__class__.forward(gpt, tokens, cache, positions, live)
        if not live:
            return logits
        logits = torch.full_like(logits, -1e9)
        start = len(problems[0].prompt)
        for row, position in enumerate(positions[:, 0].tolist()):
            logits[row, END if position - start + 1 == at else 7] = 0
        return logits

    gpt.forward = forced
    batch = rollout(gpt, problems[:1], 2, 5, (0, 0))
    written = model.decode([7]) * min(at, 5) + ("" if truncated else "\n")
    assert batch.text(0) == batch.text(1) == written
    found = train.describe_answers(batch)
    assert (found["answer_tokens"], found["truncated"]) == (len(written), truncated)


def test_a_prompt_that_does_not_fit(gpt, problems):
    with pytest.raises(ValueError, match="do not fit the context of 256"):
        rollout(gpt, problems, 2, 250, (0, 0))


class Talker(Env):
    """Answers every token with three, an end token among them."""

    turn_tokens = 1

    def step(self, action):
        return "{\n}", False


@pytest.mark.parametrize("max_new, written", [(9, "?{\n}?{\n}?"), (8, "?{\n}?")])
@pytest.mark.parametrize("burst", [1, 4])
def test_an_environment_may_say_anything(gpt, problems, max_new, written, burst):
    """An end token it says ends no turn; what does not fit the cap is not written."""

    class Talk(type(TASKS["guess"])):
        env = Talker

    problem = replace(problems[3], task=Talk())
    gpt.ban.fill_(-1e9)
    gpt.ban[model.encode("?")] = 0
    batch = rollout(gpt, [problem], 3, max_new, (0, 0), width=8, burst=burst)
    for i in range(3):
        assert batch.text(i) == written and batch.truncated[i]
        own = batch.mask[i, batch.prompt_lengths[i] : batch.lengths[i]].tolist()
        assert own == [float(char == "?") for char in written]


@pytest.mark.parametrize("burst", [1, 4])
def test_a_thought_over_budget_is_closed(gpt, problems, burst):
    """Forced interruption: the environment writes ']', which is never trained on, and
    the policy answers in what room is left; what holds no open thought just goes on."""
    cases = (4, "[", "[[[[][["), (4, "7", "7777777"), (9, "[", "[[[[[[[")
    for budget, allowed, text in cases:
        problem = interrupted(problems[0], budget)
        gpt.ban.fill_(-1e9)
        gpt.ban[model.encode(allowed)] = 0
        batch = rollout(gpt, [problem], 3, 7, (0, 0), width=8, burst=burst)
        for i in range(3):
            assert batch.text(i) == text and batch.truncated[i]
            own = batch.mask[i, batch.prompt_lengths[i] : batch.lengths[i]].tolist()
            assert own == [float(char != "]") for char in text]


def test_an_interrupted_answer_is_graded_as_a_whole():
    problem = interrupted(TASKS["chain"].read("C3a+5b-9:"), 6)
    for answer, solved in (("9\n", True), ("8\n", False)):
        env = problem.task.env(problem, 0)
        assert env.step("[3a+5=") == ("]", False)
        assert env.step(answer) == ("", True) and env.solved == solved
    env = problem.task.env(problem, 0)
    assert env.step("[1]9\n") == ("", True) and env.solved


def scripted(task, problem, turns, observations):
    """A batch of one episode in which the policy wrote `turns`."""
    env = task.env(problem, 0)
    said = [env.step(turn)[0] for turn in turns]
    assert said == observations
    pieces = [(problem.prompt, 0.0)]
    for turn, text in zip(turns, said, strict=True):
        pieces += [(turn, 1.0), (text, 0.0)]
    ids = [model.encode(text) for text, _ in pieces]
    marks = [[mark] * len(text) for text, mark in pieces]
    tokens, mask = torch.tensor([sum(ids, [])]), torch.tensor([sum(marks, [])])
    prompt, length = len(problem.prompt), tokens.shape[1]
    return train.Batch(tokens, mask, mask * 0, [prompt], [length], [False], [env], 0.0)


def test_samples_and_interaction_by_hand():
    """Who wrote what, how many turns, what was survived."""
    task = find_task("tool")
    problem = task.read("T59*9+52:")
    problem = replace(problem, data=problem.data._replace(failure=0.0))
    turns, said = ["c59*9\n", "c1+\n", "=583\n"], ["{531}", "{?}", ""]
    batch = scripted(task, problem, turns, said)
    line = "  right  T59*9+52:c59*9\\n{531}c1+\\n{?}=583\\n\n"
    assert train.show_samples(batch) == line
    batch.envs[0].failed = True
    row = train.describe_answers(batch)
    assert row == {"answer_tokens": 15, "truncated": 0, "turns": 3, "recovery": 1}
    game, problem = TASKS["guess"], TASKS["guess"].read("Gp4:")  # a is hidden
    batch = scripted(game, problem, ["h", "c", "a"], ["<", "<", ""])
    assert train.show_samples(batch) == "  right  Gp4:h{<}c{<}a\n"
