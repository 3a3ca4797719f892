"""64 answers to each test problem, before and after RL, and after a random reward."""

import re
from collections import Counter

import numpy as np

import scaling
import train
from model import forward_flops
from reward import pass_at_k
from scaling import STUDIES, Arms, Array, Report, Result, Study, load
from train import Config

planner = load(STUDIES / "plan.py")

STREAM, SAMPLES = 9, 64  # stream of random numbers; answers to each test problem


def make_arms(quick: bool) -> dict[str, dict]:
    return {"gold": {}, "random reward": {"false_positive": 0.5, "false_negative": 0.5}}


def sample_answers(cfg: Config) -> dict[str, dict]:
    """64 answers to each test problem, of a run's base and of its last policy.

    For each problem how many were right, and how many gave each wrong answer.
    """
    state, run, found = train.read_checkpoint(cfg.folder()), train.new_run(cfg), {}
    problems, key = train.test_set(cfg), (cfg.seed, STREAM, 0)
    for when, weights in (("base", state["base"]), ("after", state["model"])):
        run.model.load_state_dict(weights)
        batch, rewards = train.sample_and_score(run, problems, SAMPLES, key)
        wrong = []
        for p, row in enumerate(rewards.tolist()):
            texts = [batch.text(p * SAMPLES + s) for s, r in enumerate(row) if not r]
            without_thought = (re.sub(r"\[[^\]]*\]?", "", text) for text in texts)
            answers = Counter(text.strip() for text in without_thought)
            wrong.append(sorted(answers.values(), reverse=True))
        found[when] = {"right": [int(c) for c in rewards.sum(1)], "wrong": wrong}
    return found


def pass_at(rows: dict, k: int) -> Array:
    """The unbiased pass@k of each problem."""
    return np.array([pass_at_k(SAMPLES, c, k) for c in rows["right"]])


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


def exchange_rate(gold: list[Result], ks: Array, levels: Array) -> str:
    """What RL costs that makes one answer as good as a majority of k of the base's."""
    fit = scaling.forecast(scaling.pool_runs("gold", gold), 1.0)
    config = Config(**gold[0].config).gpt()
    base, after = (
        forward_flops(config, round(gold[0].rows[i]["answer_tokens"])) for i in (0, -1)
    )
    rows = []
    for k, level in zip(ks.tolist(), levels, strict=True):
        found, cells = None, ["-", "-"]
        if level > fit.fit.r0 + 2 * fit.noise:
            found = planner.cost_of_target(fit, 0, level)
        if found and k * base > after:
            pays = f"{found[0] / (k * base - after):,.0f}"
            cells = [planner.words(found, ".1e"), pays]
        rows += [[k, f"{level:.3f}", f"{k * base:.1e}", *cells]]
    text = (
        "\n\nSampling instead of RL: a majority of k answers of the base, and the RL "
        "after which one answer\nis as good (90 % interval; - within noise of it). "
        "From so many problems on it pays.\n\n"
    )
    header = "k | majority@k of the base | FLOPs of k answers | RL FLOPs to that pass "
    return text + scaling.table(header + "rate | problems", rows)


def report(arms: Arms) -> Report:
    """pass@k and majority@k before and after RL, and a random-reward control."""
    ks, gold, curves, problems, rows = 2 ** np.arange(7), arms["gold"], {}, {}, []
    figure, both = scaling.panels(2)
    policies = [("base", gold[:1], "base")]
    policies += [(f"after RL, {arm}", runs, "after") for arm, runs in arms.items()]
    rules = [("pass", pass_at), ("majority", majority_at)]
    for axes, (name, rate) in zip(both, rules, strict=True):
        for i, (label, runs, when) in enumerate(policies):
            found = [[rate(r.measured[when], k) for k in ks] for r in runs]
            problems[name, label] = np.mean(found, 0)  # (k, problems), over seeds
            rates = np.mean(found, 2)  # (seeds, k)
            curves[name, label] = rates.mean(0)
            rows += [[f"{name}@k, {label}", *(f"{v:.3f}" for v in rates.mean(0))]]
            axes.plot(ks, rates.mean(0), "o-", color=f"C{i}", label=label)
            low, high = rates.min(0), rates.max(0)
            axes.fill_between(ks, low, high, color=f"C{i}", alpha=0.2, lw=0)
        axes.set(xscale="log", xlabel="answers to a problem, k", ylim=(0, 1.02))
        axes.set(xticks=ks, xticklabels=ks, ylabel=f"{name}@k on held-out problems")
        axes.minorticks_off()
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, 0.9))
    text = scaling.table("policy | k = " + " | ".join(map(str, ks)), rows)
    text += exchange_rate(gold, ks, curves["majority", "base"])
    base, after = curves["pass", "base"], curves["pass", "after RL, gold"]
    gap = problems["pass", "after RL, gold"][-1] - problems["pass", "base"][-1]
    error = 1.645 * gap.std() / len(gap) ** 0.5
    verdict = f"pass@1 goes from {base[0]:.2f} to {after[0]:.2f}, pass@64 from "
    verdict += f"{base[-1]:.3f} to {after[-1]:.3f} ({gap.mean():+.3f} ± {error:.3f})"
    if gap.mean() + error < 0:
        crossing = ks[base >= after][0]
        verdict += f"; the base is level at k = {crossing} and then ahead"
    else:
        verdict += "; the base is not shown to overtake up to k = 64"
    if "random reward" in arms:
        gained = curves["pass", "after RL, random reward"][0] - base[0]
        verdict += f"; a random reward changes pass@1 by {gained:+.2f}"
    return verdict, text, figure


STUDY = Study(
    question=(
        "How many samples of the base equal how much RL, and is anything new learned?"
    ),
    fixed="64 answers to each of 256 test problems, before and after",
    arms=make_arms,
    report=report,
    measure=sample_answers,
    literature=(
        "Yue et al.: RL wins at small k and the base overtakes at large k. Jones "
        "(Hex): ten times the training compute is worth fifteen times the test compute."
    ),
)
