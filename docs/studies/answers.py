"""Many answers to each test problem, of a run's base and of its last policy.

Studies load it: `answers = load(STUDIES / "answers.py")`; `answers.many` is a measure.
"""

import re
from collections import Counter

import numpy as np

import train
from reward import interrupted, pass_at_k
from scaling import Array
from train import Config

STREAM, SAMPLES = 9, 64  # stream of random numbers; answers to each test problem
BUDGETS = (2, 8, 16, 32, 48, 64, 96)  # tokens of a thought before it is closed


def many(cfg: Config) -> dict[str, dict]:
    """64 answers to each test problem by base and last policy, and what is left of the
    pass rate when thoughts are closed early (2 answers each).

    Of each problem its level, how many answers were right, in how many of those every
    written step was (`reasoned`), and how many gave each wrong answer.
    """
    state, run, found = train.read_checkpoint(cfg.folder), train.new_run(cfg), {}
    problems, key = train.test_set(cfg), (cfg.seed, STREAM, 0)
    for when, weights in (("base", state["base"]), ("after", state["model"])):
        run.model.load_state_dict(weights)
        batch = train.rollouts(run, problems, SAMPLES, key, "evaluation")
        rewards = batch.verdicts().view(-1, SAMPLES)
        reasoned = batch.reasoned().view(rewards.shape)
        wrong = []
        for p, row in enumerate(rewards.tolist()):
            texts = [batch.text(p * SAMPLES + s) for s, r in enumerate(row) if not r]
            without_thought = (re.sub(r"\[[^\]]*\]?", "", text) for text in texts)
            answers = Counter(text.strip() for text in without_thought)
            wrong.append(sorted(answers.values(), reverse=True))
        found[when] = {
            "level": [problem.level for problem in problems],
            "right": [int(c) for c in rewards.sum(1)],
            "reasoned": [int(c) for c in reasoned.sum(1)],
            "wrong": wrong,
            "closed": [closed(run, budget) for budget in BUDGETS],
        }
    return found


def closed(run: train.Run, budget: int) -> list[float]:
    """[tokens, pass rate] of the levels from 5 on if thoughts end after `budget`."""
    problems = [p for p in train.test_set(run.cfg) if p.level >= 5]
    problems = [interrupted(problem, budget) for problem in problems]
    key = (run.cfg.seed, STREAM, budget)
    batch = train.rollouts(run, problems, 2, key, "evaluation")
    tokens = batch.mask.sum(1).mean().item()
    return [round(tokens, 2), round(batch.verdicts().mean().item(), 4)]


def of_levels(rows: dict, low: int, high: int = 99) -> dict:
    """The rows of problems of these levels."""
    kept = [i for i, level in enumerate(rows["level"]) if low <= level <= high]
    names = "right", "reasoned", "wrong"
    return {name: [rows[name][i] for i in kept] for name in names}


def pass_at(rows: dict, k: int, what: str = "right") -> Array:
    """The unbiased pass@k of each problem, of what is `right` or only `reasoned`."""
    return np.array([pass_at_k(SAMPLES, c, k) for c in rows[what]])


def majority_at(rows: dict, k: int) -> Array:
    """Chance that the commonest of k answers is the right one, ties drawn by lot.

    For each problem, by 100 draws of k of its 64 answers without replacement.
    """
    rng, rates = np.random.default_rng(k), []
    for right, wrong in zip(rows["right"], rows["wrong"], strict=True):
        draws = rng.multivariate_hypergeometric([right, *wrong], k, 100)
        top = draws.max(1)
        rates += [((draws[:, 0] == top) / (draws == top[:, None]).sum(1)).mean()]
    return np.array(rates)


def by_level(runs: list, when: str, low: int) -> dict[str, str]:
    """Reasoned pass@64 at each level from `low` on, of each seed."""
    found = {}
    for n in sorted({n for n in runs[0].measured[when]["level"] if n >= low}):
        rows = [of_levels(r.measured[when], n, n) for r in runs]
        rates = [pass_at(of, SAMPLES, "reasoned").mean() for of in rows]
        found[str(n)] = ", ".join(f"{rate:.2f}" for rate in rates)
    return found
