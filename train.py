"""One run, start to end: pretrain a base, improve it by RL, measure it all the way.

    python train.py                            the default task, minutes on a laptop
    python train.py --task guess               the quickest visible win
    python train.py --task docs/tasks/path.py  a task of your own, by its file
    python train.py --resume out/chain-0       go on where a run stopped, bit for bit
    python train.py --interact out/chain-0     give the trained model problems, watch it

Read after grpo.py: `train` is the run, `reinforce` the RL loop. A run writes only into
its folder: config.json, metrics.jsonl, checkpoint.pt, samples.txt and curve.png. All
randomness is keyed by (seed, stream, step, prompt, sample): no random state is saved.

Shapes    P prompts, G answers to each, B = P * G answers, T tokens of the longest
Papers    GRPO arXiv:2402.03300, pass@k 2107.03374; others beside what they brought
Left out  models that one GPU does not hold, experiment trackers
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import signal
import sys
import time
import zlib
from collections import Counter, defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property, partial, reduce
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C: no traceback, while torch is imported too
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import grpo
import model
import reward
from model import GPT, PHASES, RANK, RL_PHASES, WORLD, GPTConfig, Ledger
from reward import Problem, Relay, demo_batch, find_task, pass_rates, test_set, wilson
from rollout import Batch, Buffers, describe_answers, join, pick, rollout, show_samples

# Streams of random numbers: a key is (seed, stream, step), then prompt and sample.
RL, EVAL, LABEL, NOISE, INTERACT = 0, 1, 3, 4, 20
PRETRAIN_WARMUP = 100  # steps in which the learning rate rises
WARMUP = 5  # the same in RL
SLOWER = 100  # of RL: the rate falls as 1 / sqrt(1 + step / SLOWER)
MAX_GRAD_NORM = 1.0  # longer gradients are scaled to this
MICRO_BATCH = 64  # sequences in one forward pass of an update
BAR: dict = dict(unit="step", mininterval=0.5, file=sys.stderr, disable=RANK > 0)


def train(cfg: Config, overwrite: bool = False) -> Run:
    """Run a config to its end, from wherever its folder says it stands."""
    with model.own(cfg.folder):
        run = open_run(cfg, overwrite)
        if run.phase == "pretrain":
            print(f"\npretraining a base on demonstrations, {cfg.pretrain_steps} steps")
            pretrain(run)
            begin_rl(run)
            save(run)
        if not run.relay.recent:  # no level is open: RL has not begun
            print(f"\nreinforcement learning, {cfg.steps} steps\n{HEADER}")
            run.relay.recent = {level: [] for level in run.relay.first}
            if cfg.reward == "learned":
                fit_reward(run)
            evaluate(run, 4 * cfg.eval_samples)
            save(run)
        save_sometimes(run)  # or stop, if a signal has come
        reinforce(run)
        save(run)
        if RANK == 0 and run.intact:
            report(run)
    return run


# ---- The state of a run. Its ledger (model.py) knows what each phase has cost --------


@dataclass(repr=False)  # it would print all weights, and signal.signal asks for it
class Run:
    """A run in progress: what `train` hands from phase to phase, and saves in parts."""

    cfg: Config
    folder: Path
    model: GPT
    optimizer: torch.optim.Optimizer  # AdamW, see new_run
    device: str = "cpu"  # that the model is on
    base: dict[str, Tensor] = field(default_factory=dict)  # weights before RL
    phase: str = "pretrain"  # then "rl"
    step: int = 0  # within the phase
    relay: Relay = field(default_factory=Relay)  # which levels RL draws
    past: list[dict] = field(default_factory=list)  # weights of the last lag + 1 steps
    skipped: int = 0  # updates left out: their gradient was not finite
    rows: dict[str, list] = field(default_factory=partial(defaultdict, list))  # by kind
    alarms: dict[str, tuple] = field(default_factory=dict)  # first step, count, words
    saved: float = field(default_factory=time.monotonic)  # when it last was
    signum: int = 0  # of a signal that asks it to stop
    intact: bool = True  # are the logs as they were saved?
    judge: GPT | None = None  # a learned reward
    ledger: Ledger = field(default_factory=Ledger)
    buffers: Buffers = field(default_factory=Buffers)

    def log(self, kind: str, **values: object) -> dict:
        """Append a row to metrics.jsonl and `rows`: JSON, which has no NaN but null."""
        row = {
            "kind": kind,
            "step": self.step,
            "seconds": round(self.ledger.seconds.total(), 3),
            "pretrain_flops": self.ledger.flops["pretrain"],
            "rl_flops": sum(self.ledger.flops[phase] for phase in RL_PHASES),
            **values,
        }
        row = json.loads(json.dumps(row), parse_constant=lambda _: None)
        model.append(self.folder / "metrics.jsonl", json.dumps(row) + "\n")
        self.rows[kind].append(row)
        return row


def begin_rl(run: Run) -> None:
    """Keep the weights as the base and start RL; the optimizer forgets its moments."""
    run.base = {name: w.clone() for name, w in run.model.state_dict().items()}
    run.phase = "rl"
    run.step = 0
    run.optimizer.state.clear()


def micro_batches(num: int) -> list[slice]:
    """Which of `num` sequences go through the model together, here on this rank."""
    size = min(MICRO_BATCH, -(-num // WORLD))
    return [slice(i, i + size) for i in range(0, num, size)][RANK::WORLD]


def apply_gradients(run: Run, lr: float) -> float:
    """Clip to MAX_GRAD_NORM and step. Returns the norm before clipping: large ones mean
    a learning rate that is too high, and exactly 0 means that nothing pulls. With one
    that is not finite there is no step: no weight and no moment changes.
    """
    if WORLD > 1:
        model.sum_over_ranks(run.model)
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), MAX_GRAD_NORM)
    if norm.isfinite():
        run.optimizer.param_groups[0]["lr"] = lr
        run.optimizer.step()
    else:
        count_skipped(run)
    run.optimizer.zero_grad()
    return norm.item()


def save_sometimes(run: Run) -> None:
    """Save every SAVE_SECONDS; after SIGINT, SIGTERM or SIGHUP save and exit.

    Of several ranks all stop after the same step, even if a signal reached only one.
    """
    run.signum = max(model.gather([run.signum]))
    if run.signum or time.monotonic() - run.saved > SAVE_SECONDS:
        save(run)
    if run.signum:
        stop(run)


def pretrain(run: Run) -> None:
    """Next-token training on demonstrations, loss on what a policy would write.

    Prompts are random: nothing to learn, and their loss would swamp the rest.
    """
    cfg = run.cfg
    steps = cfg.pretrain_steps
    bar = tqdm(range(run.step, steps), "pretrain", steps, initial=run.step, **BAR)
    for _ in bar:
        with run.ledger.timed("pretrain"):
            columns, lengths = demo_batch(cfg, run.step)
            columns = {name: x.to(run.device) for name, x in columns.items()}
            num_tokens, losses = columns["mask"].sum(), []
            for rows in micro_batches(len(lengths)):
                part = {name: x[rows] for name, x in columns.items()}
                packed = model.pack(lengths[rows], **part)
                logits = run.model(packed)
                logp = grpo.token_logprobs(logits, part["tokens"], packed.places)
                part_loss = -(logp * part["mask"]).sum() / num_tokens
                part_loss.backward()
                losses.append(part_loss.item())
            # Warm up, hold, then fall to zero over the last 40 % of the steps.
            rise = (run.step + 1) / PRETRAIN_WARMUP
            fall = (steps - run.step) / (0.4 * steps)
            apply_gradients(run, cfg.pretrain_lr * min(1.0, rise, fall))
            run.ledger.charge("pretrain", run.model.config, lengths, train=True)
        run.step += 1
        if run.step == 50:
            speed = run.ledger.flops["pretrain"] / run.ledger.seconds["pretrain"]
            minutes = reward.expected_flops(cfg) / speed / 60
            tqdm.write(f"about {minutes:.1f} minutes in all on this machine")
        if run.step % 100 == 0 or run.step == steps:
            loss = sum(model.gather(losses))
            bar.set_postfix(loss=loss, refresh=False)
            run.log("pretrain", loss=loss)
        save_sometimes(run)


def reinforce(run: Run) -> None:
    """The RL loop. `sample` writes tokens with their log-probabilities, `pay` values
    answers, group_advantages compares them, `update` makes better ones likelier. By
    default: advantage "grpo", loss "clip" averaged over all tokens, one update on each
    batch, gold rewards, no KL, no groups drawn again (Config, second evening).
    """
    cfg = run.cfg
    # Evaluations come evenly in log steps; the last step is always among them.
    marks = {round(s) for s in np.geomspace(1, max(cfg.steps, 1), cfg.evals).tolist()}
    bar = tqdm(range(run.step, cfg.steps), "RL", cfg.steps, initial=run.step, **BAR)
    for _ in bar:
        # 1. sample a group of answers to each prompt
        batch = sample(run, draw_prompts(run))
        # 2. grade every answer
        paid = pay(run, batch)
        group_rates = paid.rewards.view(-1, cfg.group_size).mean(1).tolist()
        levels = [env.problem.level for env in batch.envs[:: cfg.group_size]]
        run.relay.follow(levels, group_rates)
        stats = batch_stats(run, batch, paid)  # before `resample` replaces any
        if cfg.flat == "resample":
            batch, paid = resample(run, batch, paid)
        # 3. compare the answers within each group
        groups = (paid.rewards - paid.penalties).view(-1, cfg.group_size)  # (P, G)
        advantages = grpo.group_advantages(groups, cfg.advantage)  # (P, G)
        # 4. make the better answers likelier
        stats = update(run, batch, advantages, paid) | stats
        # 5. report
        run.step += 1
        run.log("rl", **stats, skipped=run.skipped)
        speak_up(run)
        shown = ("reward", "live_groups", "answer_tokens", "entropy")
        bar.set_postfix({name: stats[name] for name in shown}, refresh=False)
        if run.step in marks or run.step == cfg.steps:
            evaluate(run, cfg.eval_samples * (4 if run.step == cfg.steps else 1))
        save_sometimes(run)


def draw_prompts(run: Run, first: int = 0, count: int = 0) -> list[Problem]:
    """Problems of one step, keyed by (seed, step, prompt); prompts from `first` on. The
    relay says of which levels."""
    cfg, task, problems = run.cfg, find_task(run.cfg.task), []
    for p in range(first, first + (count or cfg.prompts_per_step)):
        rng = random.Random(f"{cfg.seed} rl {run.step} {p}")
        problem = task.draw(run.relay.draw(rng), "rl", rng)
        if cfg.truncated == "interrupt" and task.env is reward.Env:
            problem = reward.interrupted(problem, cfg.max_new * 7 // 8)
        problems.append(problem)
    return problems


def sample(run: Run, problems: list[Problem], first: int = 0) -> Batch:
    """A group of answers to each problem, prompts numbered from `first` on, from the
    weights of `lag` steps ago."""
    key = (run.cfg.seed, RL, run.step)
    with older_weights(run, first) if run.cfg.lag else nullcontext():
        return rollouts(run, problems, run.cfg.group_size, key, first=first)


@dataclass
class Pay:
    """What RL is paid for a batch, an entry for each answer (B,) or token (B, T)."""

    rewards: Tensor  # (B,) gold, noisy verdicts, a rule or a judge: reward.py
    penalties: Tensor  # (B,) less these: KL of whole answers (k1_raw), length (DAPO)
    token_penalties: Tensor  # (B, T) off advantages: KL from a token on (k1_reward)
    base_logp: Tensor  # (B, T) under the base; just logp if no KL is wanted


def pay(run: Run, batch: Batch, first: int = 0) -> Pay:
    """Rewards and penalties: decided here, nowhere else. It changes only the ledger."""
    rewards = grade(run, batch, first=first)
    free = torch.zeros_like(rewards)
    paid = Pay(rewards, free, torch.zeros_like(batch.logp), batch.logp)
    if run.cfg.kl_coef or run.cfg.truncated == "penalty":
        return penalize(run, batch, paid)
    return paid


def grade(run: Run, batch: Batch, phase: str = "reward", first: int = 0) -> Tensor:
    """Rewards (B,) by --reward before penalties, cost to `phase`; `first`: see sample.

    The truth, batch.verdicts(), was found while sampling: rollout.end_turn hands each
    turn to Env.step. An answer that was cut off does not get there: 0.
    """
    with run.ledger.timed(phase):
        if run.cfg.reward == "learned":
            run.ledger.charge(phase, run.model.config, batch.lengths)
        key = (run.cfg.seed, NOISE, run.step, first)
        found = reward.rewards(run.cfg, batch, key, run.judge)
    return torch.tensor(found, dtype=torch.float32)


@torch.no_grad()
def logprobs_under(
    run: Run, batch: Batch, weights: dict[str, Tensor], phase: str = "logprob"
) -> Tensor:
    """Log-probabilities (B, T) of a batch under other weights, without gradient."""
    parts = []
    with run.ledger.timed(phase), model.with_weights(run.model, weights):
        run.ledger.charge(phase, run.model.config, batch.lengths)
        for i in range(0, len(batch.lengths), MICRO_BATCH):
            part = batch.tokens[i : i + MICRO_BATCH]
            packed = model.pack(batch.lengths[i : i + MICRO_BATCH], part)
            parts.append(grpo.token_logprobs(run.model(packed), part, packed.places))
    return torch.cat(parts)


def update(run: Run, batch: Batch, advantages: Tensor, paid: Pay) -> dict:
    """`updates` optimizer steps on one batch; returns values for the log.

    Groups without contrast ("flat": advantages (P, G) all 0) leave the loss and its
    denominators (ScaleRL), and so the entropy bonus. They stay with --flat keep, and
    with a KL of tokens, which pulls on them too. If nothing pulls there is no step:
    Adam's momentum would move the weights.
    """
    cfg, live = run.cfg, advantages.abs().amax(1) > 0
    token_kl = cfg.kl_coef > 0 and cfg.kl != "k1_raw"
    if token_kl or (cfg.flat == "keep" and live.any()):
        live = torch.ones_like(live)
    if not live.any():
        return {"grad_norm": 0.0, "ratio_max": 1.0, "mismatch": 0.0, "clip_share": 0.0}
    with run.ledger.timed("update"):
        kept = live.repeat_interleave(cfg.group_size).nonzero()[:, 0]
        columns = loss_columns(run, batch, advantages, paid, kept)
        lengths = [batch.lengths[i] for i in kept.tolist()]
        rise = min(1.0, (run.step + 1) / WARMUP)
        lr = cfg.lr * rise / (1 + run.step / SLOWER) ** 0.5
        norms, seen = [], []
        for _ in range(cfg.updates):
            mine = []
            for rows in micro_batches(len(lengths)):
                part = {name: x[rows] for name, x in columns.items()}
                packed = model.pack(lengths[rows], part["tokens"], part["mask"])
                logits = run.model(packed)
                loss, found = grpo.micro_loss(logits, packed.places, part, cfg)
                loss.backward()
                mine.append(found)
            seen += model.gather(mine)
            norms.append(apply_gradients(run, lr))
        run.ledger.charge("update", run.model.config, lengths * cfg.updates, train=True)
    num_tokens = max(int(columns["mask"].sum()), 1) * cfg.updates
    first = seen[: len(seen) // cfg.updates]  # the others are meant to be off policy
    stats = {
        # Not max: it may pass over a NaN.
        "grad_norm": float(np.max(norms)),
        "ratio_max": max(found["ratio_max"] for found in seen),
        "mismatch": max(found["mismatch"] for found in first),
        "clip_share": sum(found["num_cut"] for found in seen) / num_tokens,
    }
    if token_kl:
        stats["kl"] = sum(found["kl"] for found in seen) / num_tokens
    return stats


def loss_columns(
    run: Run, batch: Batch, advantages: Tensor, paid: Pay, kept: Tensor
) -> dict[str, Tensor]:
    """What the loss needs of the answers `kept`: columns (B, T), and weights (B,)."""
    cfg, mask = run.cfg, batch.mask
    if cfg.truncated == "mask":  # DAPO's overlong filtering
        cut = torch.tensor(batch.truncated, device=mask.device)
        mask = torch.where(cut[:, None], 0.0, mask)
    # The ratio's denominator is the sampler, unless --correction asks for more.
    old_logp, correction = batch.logp, torch.ones_like(mask)
    if cfg.correction != "none":
        old_logp, correction = correct_staleness(run, batch, mask)
    columns = {
        "tokens": batch.tokens,
        "sampler_logp": batch.logp,
        "old_logp": old_logp,
        "base_logp": paid.base_logp,
        "advantage": advantages.view(-1, 1).to(mask.device) - paid.token_penalties,
        "correction": correction,
        "mask": mask,
    }
    columns = {name: x[kept] for name, x in columns.items()}
    n = columns["mask"].sum(1).long().cpu()  # tokens of each answer
    weights = grpo.sequence_weights(n, cfg.aggregation, cfg.group_size, cfg.max_new)
    return columns | {"weights": weights.to(batch.logp)}


def speak_up(run: Run) -> None:
    """Say when a level opens, and what is wrong when it first shows; count alarms."""
    rows = run.rows["rl"]
    edge = rows[-1]["edge"]
    off = run.cfg.lag or run.device.startswith("cuda")  # lag, bf16: ratios are not 1
    before = rows[-2]["edge"] if rows[:-1] else max(run.relay.first)
    if before < edge:
        tqdm.write(f"step {run.step}: level {before} is passed, {edge} opens")
    for name, sentence in grpo.alarms_ringing(rows, off).items():
        first, count, _ = run.alarms.get(name, (run.step, 0, ""))
        run.alarms[name] = (first, count + 1, sentence)
        if not count:
            tqdm.write(f"WARNING at step {run.step}: {sentence}")


# ---- Measuring pass rates ------------------------------------------------------------


def evaluate(run: Run, samples: int) -> None:
    """Held-out pass rate, sampled at temperature 1 and greedy: logged and printed.
    Verdicts, 1 or 0: `right` (problems, samples), `greedy` (problems, 1)."""
    cfg, problems = run.cfg, test_set(run.cfg)
    key = (cfg.seed, EVAL, run.step)
    batch = rollouts(run, problems, samples + 1, key, "evaluation", greedy=1)
    right, greedy = batch.verdicts().view(-1, samples + 1).split([samples, 1], dim=1)
    batch = pick(batch, [i for i in range(len(batch.envs)) if (i + 1) % (samples + 1)])
    low, high = wilson(right.mean().item(), right.numel())
    base_logp = logprobs_under(run, batch, run.base, "evaluation")
    reasoned = batch.reasoned().view(right.shape)
    levels = torch.tensor([problem.level for problem in problems])
    by_level = {}
    for level in levels.unique().tolist():
        rows = levels == level
        by_level[level] = pass_rates(right[rows], greedy[rows], reasoned[rows])
    reached = [level for level, row in by_level.items() if row["pass_rate"] >= 0.5]
    row = {
        "split": "test",
        **pass_rates(right, greedy, reasoned),
        "low": low,
        "high": high,
        "frontier": max(reached, default=0),
        "problems": len(problems),
        "samples": samples,
        "by_level": by_level,
        **describe_answers(batch),
        "correct": right.sum(1).int().tolist(),
        "kl_base": grpo.kl_of_answers(batch.logp, base_logp, batch.mask).mean().item(),
    }
    if cfg.reward != "gold" or cfg.false_positive or cfg.false_negative:
        row["reward"] = grade(run, batch, "evaluation").mean().item()
    row = run.log("eval", **row)  # with its step and FLOPs
    shown = f"step {run.step}\n{show_samples(batch)}"
    model.append(run.folder / "samples.txt", shown)
    thoughts = f"{row['think_share']:.2f}" if "think_share" in row else "-"
    tqdm.write(LINE.format(**row, thoughts=thoughts))


# ---- second evening ------------------------------------------------------------------
# What the loop and the evaluation lean on. On several GPUs (torchrun --nproc-per-node 4
# train.py) every rank goes through all of the run, but it samples a part of the answers
# only, and works out a part of each gradient; rank 0 reads and writes the files.


def rollouts(
    run: Run,
    problems: list[Problem],
    samples: int,
    key: tuple[int, ...],
    phase: str = "",  # that is charged; "": prefill and decode
    greedy: int = 0,
    max_new: int = 0,  # room of an answer; 0: that of the run
    first: int = 0,  # number of the first problem
) -> Batch:
    """`rollout` for a run, a part of the problems on each rank, all answers on every
    rank, charged to its ledger.

    Evaluation is no part of RL compute: how often one looks must not move the curve.
    """
    # A problem keeps its number on whichever rank it is, and so its random numbers: the
    # answers do not depend on how many ranks there are.
    places = np.array_split(np.arange(len(problems)), WORLD)[RANK].tolist()
    parts = []
    with run.ledger.timed(phase or "decode"):
        if places:
            batch = rollout(
                run.model,
                [problems[p] for p in places],
                samples,
                max_new or run.cfg.max_new,
                key,
                run.buffers,
                greedy,
                first=first + places[0],
            )
            parts = [batch]
        parts = model.gather(parts)
        for part in parts:  # another GPU's tensors come back on that GPU
            for name in ("tokens", "mask", "logp"):
                setattr(part, name, getattr(part, name).to(run.device))
        whole = reduce(join, parts)
        # A prompt is charged once, without its last token: each token of an answer is
        # chosen while the one before it is fed.
        config, prompts = run.model.config, [n - 1 for n in whole.prompt_lengths]
        run.ledger.charge(phase or "prefill", config, prompts[::samples])
        run.ledger.seconds[phase or "prefill"] += whole.prefill_seconds
        ends = [n - 1 for n in whole.lengths]
        run.ledger.charge(phase or "decode", config, ends, prompts)
    return whole


def batch_stats(run: Run, batch: Batch, paid: Pay) -> dict[str, float]:
    """What a step's samples say about the policy. Healthy is:

    reward, gold   mean that is paid, and that is right; both rise, noisily
    live_groups    share of groups with contrast, the only ones that teach: above 0.3
    entropy        mean of -log pi over sampled tokens, an unbiased estimate for
                   free: falls slowly, not to 0 at once
    identical      share of groups whose answers are the same, token by token: few
    answer_tokens  an answer's mean length: grows if thinking pays
    truncated      share that ran out of tokens: below 0.05
    kl_base        nats of an answer from the base: how far RL has gone
    edge, passed   deepest open level; worst recent rate of the others: above 0.5
    """
    cfg = run.cfg
    groups = batch.tokens.view(-1, cfg.group_size, batch.tokens.shape[1])
    # After its end a text is padding, so texts that differ differ in some token.
    same = (groups == groups[:, :1]).all(2).all(1)
    live = grpo.live_groups(paid.rewards.view(-1, cfg.group_size))
    stats = {
        "reward": paid.rewards.mean().item(),
        "gold": batch.verdicts().mean().item(),
        "live_groups": live.float().mean().item(),
        "entropy": -batch.logp.sum().item() / max(batch.mask.sum().item(), 1.0),
        "identical": same.float().mean().item(),
        **describe_answers(batch),
    }
    # The relay: how deep it is; and of what was passed, the level that is forgotten
    # most. Only levels drawn lately move: a passed one is drawn now and then.
    recent, edge = run.relay.recent, max(run.relay.recent)
    opened = edge > max(run.relay.first)
    passed = [np.mean(x) for n, x in recent.items() if opened and x and n < edge]
    stats |= {"edge": edge, "passed": float(min(passed, default=1.0))}
    base_logp = paid.base_logp
    if not cfg.kl_coef and run.step % 10 == 0:  # not paid for, but worth watching
        base_logp = logprobs_under(run, batch, run.base, "evaluation")
    if cfg.kl_coef or run.step % 10 == 0:
        nats = grpo.kl_of_answers(batch.logp, base_logp, batch.mask)
        stats["kl_base"] = nats.mean().item()
    return stats


# ---- Choices that the default run does not take --------------------------------------

RM_STEPS = 150  # optimizer steps of a learned reward


def penalize(run: Run, batch: Batch, paid: Pay) -> Pay:
    """What is paid with its penalties: for a KL to the base, and for length (DAPO).

    A KL of tokens comes off after answers are compared: a group's std would scale it.
    """
    cfg, off = run.cfg, paid.penalties
    base_logp, of_tokens = paid.base_logp, paid.token_penalties
    estimator, place = grpo.KLS[cfg.kl]
    if cfg.kl_coef:
        base_logp = logprobs_under(run, batch, run.base)
    if cfg.kl_coef and place == "answer":
        off = cfg.kl_coef * grpo.kl_of_answers(batch.logp, base_logp, batch.mask)
    if cfg.kl_coef and place == "token":
        kl = grpo.kl_estimate(batch.logp, base_logp, estimator)
        of_tokens = cfg.kl_coef * grpo.returns_to_go(kl, batch.mask)
    if cfg.truncated == "penalty":  # over the last fifth of an answer's room
        written = torch.tensor(batch.lengths) - torch.tensor(batch.prompt_lengths)
        overlong = grpo.overlong_penalty(written, cfg.max_new, cfg.max_new // 5)
        off = off - overlong.float()  # which is 0 or less
    return Pay(paid.rewards, off, of_tokens, base_logp)


def count_skipped(run: Run) -> None:
    """An update was left out: a NaN in a weight or a moment would stay for good.
    FloatingPointError if it is the third of this run: that is no accident any more."""
    run.skipped += 1
    if run.skipped == 3:
        words = "the third gradient of this run is not finite; lower its rate"
        raise FloatingPointError(f"{run.phase} step {run.step}: {words}")


def older_weights(run: Run, first: int) -> AbstractContextManager:
    """The model as it was `lag` steps ago; the weights of now are kept, once a step."""
    if not first:
        # A copy: training goes on in the same memory.
        now = {name: w.clone() for name, w in run.model.state_dict().items()}
        run.past = [*run.past, now][-run.cfg.lag - 1 :]
    return model.with_weights(run.model, run.past[0])


def correct_staleness(run: Run, batch: Batch, mask: Tensor) -> tuple[Tensor, Tensor]:
    """For --correction, (B, T) each: the ratio's denominator is the policy before the
    update, and how far the sampler is behind it goes into a weight."""
    old_logp = logprobs_under(run, batch, run.model.state_dict())
    log_ratio = old_logp - batch.logp
    weight = grpo.importance_weights(log_ratio, mask, run.cfg.correction)
    return old_logp, weight


def resample(run: Run, batch: Batch, paid: Pay) -> tuple[Batch, Pay]:
    """New prompts in place of groups without contrast, up to four times (DAPO).

    Unlike dropping them this keeps the batch at its size, for more samples.
    """
    group, num_prompts = run.cfg.group_size, run.cfg.prompts_per_step
    for attempt in range(1, 5):
        live = grpo.live_groups(paid.rewards.view(-1, group))
        if live.all():
            break
        # New prompts have numbers of their own: none comes twice in a step.
        first = attempt * num_prompts
        more = sample(run, draw_prompts(run, first, int((~live).sum())), first)
        rows = live.repeat_interleave(group).nonzero()[:, 0].tolist()
        batch = join(pick(batch, rows), more)
        paid = join(pick(paid, rows), pay(run, more, first))
    return batch, paid


def fit_reward(run: Run) -> None:
    """Fit a judge to answers of the base, 16 to each of many problems that neither RL
    nor any test will see, labelled by the verifier, noise included."""
    cfg, task, problems = run.cfg, find_task(run.cfg.task), []
    key = (cfg.seed, LABEL, run.step)
    # All of it is the price of a judge: sampling too is charged to `reward`.
    with run.ledger.timed("reward"):
        for p in range(-(-cfg.rm_answers // 16)):
            rng = random.Random(f"{cfg.seed} label {run.step} {p}")
            level = rng.choice(run.relay.first)
            problems.append(task.draw(level, "label", rng))
        batch = rollouts(run, problems, 16, key, "reward")
        labels = reward.flip_verdicts(
            batch.verdicts().numpy(), key, cfg.false_positive, cfg.false_negative
        )
        run.judge = reward.new_judge(run.model.config, run.base).to(run.device)
        auc = reward.fit_judge(run.judge, batch, labels, key, RM_STEPS, run.ledger)
    run.log("reward", labelled=len(labels), auc=auc)
    print(f"reward model on {len(labels)} labelled answers: held-out AUC {auc:.3f}")


# ---- What a reader sees at the end ---------------------------------------------------

HEADER = (
    "  step  RL FLOPs  pass rate   (95 % interval)   greedy  tokens  thoughts  frontier"
)
# A row of kind eval under it.
LINE = (
    "{step:6d}  {rl_flops:8.1e}  {pass_rate:9.3f}   ({low:.3f} to {high:.3f})   "
    "{pass_rate_greedy:6.3f}  {answer_tokens:6.1f}  {thoughts:>8}  {frontier:8d}"
)


def report(run: Run) -> None:
    """Draw curve.png; print what RL changed, what it cost, and all that was wrong: a
    run that learned nothing must not end looking fine."""
    rows = run.rows["eval"]
    if not rows or rows[0]["step"]:
        print("metrics.jsonl has lost the evaluation of the base: nothing to compare")
        return
    before, after = rows[0], rows[-1]
    task = find_task(run.cfg.task)
    print(f"\n{'held out':26}{'base':>10}{'after RL':>10}")
    compared = "pass_rate pass_rate_greedy answer_tokens think_share pass_rate_think "
    compared += "pass_rate_direct turns recovery"
    # Of puzzles some, of games others; a kind of answer may also come up or die out.
    for name in compared.split():
        cells = [f"{row[name]:10.3f}" if name in row else "-" for row in rows]
        if name in before or name in after:
            print(f"{name:26}{cells[0]:>10}{cells[-1]:>10}")
    if len(rows) > 1:
        reward.plot_levels(rows, run.cfg)
    print(f"\n{reward.level_table(before, after, task)}")
    print(f"({after['problems']} problems, {after['samples']} samples each)")
    print(f"\n{'phase':12}{'FLOPs':>10}{'tokens':>12}{'seconds':>10}")
    for phase in PHASES:
        flops, tokens, seconds = (total[phase] for total in vars(run.ledger).values())
        print(f"{phase:12}{flops:10.2e}{tokens:12,}{seconds:10.1f}")
    levels = f"{before['frontier']} in the base, {after['frontier']} after RL"
    print(f"\nDemonstrations end at level {run.cfg.shown_list[-1]}.")
    print(f"Deepest level with half of the samples right: {levels}.")
    for first, count, sentence in run.alarms.values():
        print(f"WARNING: {sentence} (from step {first}, in {count} steps)")
    # Not the rate of the base itself: every second run ends above it by chance.
    if run.rows["rl"] and after["pass_rate"] <= before["high"]:
        print("WARNING: RL taught nothing measurable")
    print(f"wrote {run.folder}/{', '.join(sorted(os.listdir(run.folder)))}")


# ---- Files: one door for writing, one for reading, one owner -------------------------

SAVE_SECONDS = 30.0
LOGS = ("metrics.jsonl", "samples.txt")
CHECKPOINTS = ("checkpoint.pt", "checkpoint.old.pt")  # the last, and the one before
# Fields of a Run that a checkpoint holds as they are; `save` adds the others.
SAVED = ("phase", "step", "base", "past", "skipped", "alarms")
WEIGHTS = {"name": torch.zeros(1)}
# What a checkpoint looks like, by example. Where a dict or list has one entry, there
# may be any number of such.
EXAMPLE = {
    "phase": "rl",
    "step": 1,  # within the phase
    "skipped": 0,
    "config": {},  # the fields of Config
    "model": WEIGHTS,
    "base": WEIGHTS,
    "past": [WEIGHTS],  # of a sampler that is behind
    "judge": WEIGHTS,
    "optimizer": {0: WEIGHTS},  # Adam's moments of each parameter
    "recent": {1: [0.5]},  # of the relay: a level's last mean rewards
    "alarms": {"name": (1, 1, "words")},  # first step, count, sentence
    "ledger": {"flops": {"phase": 1.0}},
    "logs": {"name": (1, 1)},  # size and CRC of each log
}


def save(run: Run) -> None:
    """Write checkpoint.pt, all that a run has to remember, like EXAMPLE. A kill at any
    moment leaves the old or the new one, and the one before stays beside it.

    It remembers how long the logs were: rows written after it are cut on resume. Logs
    reach the disk first, so that no checkpoint speaks of rows that are not there.
    """
    if RANK:
        return
    for name in LOGS:
        with open(run.folder / name, "ab") as file:
            os.fsync(file.fileno())
    logs = {name: (run.folder / name).read_bytes() for name in LOGS}
    state = {name: getattr(run, name) for name in SAVED} | {
        "config": asdict(run.cfg),
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict()["state"],
        "judge": run.judge.state_dict() if run.judge else {},
        "recent": run.relay.recent,
        "ledger": {name: dict(x) for name, x in vars(run.ledger).items()},
        "logs": {name: (len(text), zlib.crc32(text)) for name, text in logs.items()},
    }
    data = io.BytesIO()
    torch.save(state, data)
    last, before = (run.folder / name for name in CHECKPOINTS)
    model.write_file(last, data.getvalue(), keep=before)
    run.saved = time.monotonic()


def note(run: Run, signum: int, frame: object) -> None:
    """Remember a signal for save_sometimes; the same again ends the process at once."""
    run.signum = signum
    signal.signal(signum, signal.SIG_DFL)
    # Not print: a handler may have interrupted one.
    os.write(2, b"\nstopping after this step or evaluation; again: at once\n")


def stop(run: Run) -> None:
    """Say how to go on, and exit with 128 and the number of the signal."""
    # A file of code is run only if the command names it: a checkpoint is input.
    code = f" --task {run.cfg.task}" * run.cfg.task.endswith(".py")
    tqdm.write(
        f"stopped after {run.phase} step {run.step}, saved; go on with\n"
        f"    python train.py --resume {run.folder}{code}"
    )
    raise SystemExit(128 + run.signum)


def read_checkpoint(folder: Path, device: str = "cpu") -> dict:
    """The last checkpoint of a run that is whole. ValueError if there is none."""
    config, damage = {f.name: f.default for f in fields(Config)}, []
    for path in filter(Path.exists, (folder / name for name in CHECKPOINTS)):
        try:
            state = model.read_archive(path, EXAMPLE | {"config": config}, device)
            if damage:
                print(f"{damage[0]}; going on from {path}")
            return state
        except ValueError as error:
            damage.append(str(error))
    if damage:
        raise ValueError(f"{'; '.join(damage)}; begin again in another folder")
    raise ValueError(f"{folder} holds no checkpoint.pt; give the folder of a run")


def new_run(cfg: Config) -> Run:
    """A run at its first step, with a model whose weights depend on sizes and seed."""
    device = cfg.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and WORLD > 1:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    reward.require_memory(cfg, device)
    torch.set_num_threads(cfg.threads)
    torch.manual_seed(cfg.seed)
    gpt = GPT(cfg.gpt).to(device)
    # GPT-3's betas; no weight decay: it would pull on weights that no reward pulls on.
    options = dict(betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    optimizer = torch.optim.AdamW(gpt.parameters(), **options)
    # If verdicts are flipped, the mean reward of a policy with the pass rate PASSED is
    # another number (reward.flip_verdicts): the next level opens at that one.
    flips = 1 - cfg.false_positive - cfg.false_negative
    mark = cfg.false_positive + flips * Relay.PASSED
    first = [n for n in cfg.level_list if n <= cfg.shown_list[-1]]
    relay = Relay(cfg.level_list, first or cfg.level_list[:1], mark)
    return Run(cfg, cfg.folder, gpt, optimizer, device, relay=relay)


def open_run(cfg: Config, overwrite: bool = False) -> Run:
    """The run of a config, from wherever its folder says it stands. Rank 0 looks at the
    files; the others begin with what it has saved, or found saved."""
    if WORLD > 1:
        model.join_ranks()
    run = new_run(cfg)
    last, before = (run.folder / name for name in CHECKPOINTS)
    if RANK == 0:
        for part in run.folder.glob("checkpoint.pt.*.tmp"):
            part.unlink()  # of a process that was killed in a save
        begun = last.exists() or before.exists()
        if not ((begun or cfg.base) and take_up(run, begun, overwrite)):
            # Saved at once: no checkpoint of another run stays beside empty logs.
            for name in LOGS:
                (run.folder / name).write_bytes(b"")
            save(run)
            before.unlink(missing_ok=True)
        text = json.dumps(asdict(cfg), indent=1) + "\n"
        model.write_file(run.folder / "config.json", text)
    if WORLD > 1:
        # Rank 0 is done with the files; the others read them before it writes again, or
        # one of them would find none in the moment in which the old one has moved.
        model.gather([])
        if RANK:
            load(run, read_checkpoint(run.folder, run.device))
        model.gather([])
    for signum in model.SIGNALS:
        signal.signal(signum, partial(note, run))
    params = sum(p.numel() for p in run.model.parameters())
    memory = f"{reward.require_memory(cfg, run.device) / 1e9:.1f} GB of memory"
    print(f"{cfg.task}: {params:,} parameters on {run.device}, about {memory}")
    return run


def take_up(run: Run, begun: bool, overwrite: bool) -> bool:
    """Load what the folder, in which a run has begun, or --base has. Three ways in:

        the folder holds this very config, or one of fewer steps     it goes on
        --base lends a base that fits, or with --overwrite the run
        in the folder does                                           RL begins anew
        --overwrite, and its base does not fit                       all begins anew

    True if it goes on. ValueError if there is another run, or no base that fits.
    """
    cfg, folder = run.cfg, run.folder
    begun &= not (overwrite and cfg.base)
    lender = folder if begun else Path(cfg.base)
    state = read_checkpoint(lender, run.device)
    ours, theirs = asdict(cfg), state["config"]
    # Where a run lies, and what once lent it a base, is no part of what it does.
    changed = [n for n in ours if ours[n] != theirs[n] and n not in ("out", "base")]
    details = {n: f"{n} {theirs[n]!r} there, {ours[n]!r} here" for n in changed}
    detail = ", ".join(details.values())
    other = set(changed) - {"steps"}  # more may be asked for
    if begun and other and not overwrite:
        base = "" if other & set(BASE_FIELDS) else f"--base {folder} "
        raise ValueError(
            f"{folder} holds another run ({detail}); to keep it, choose another "
            f"folder: {base}--out NEW; to replace it: --overwrite"
        )
    if begun and not overwrite:
        load(run, state)
        # The steps that rows after the checkpoint tell of come again.
        for name in LOGS:
            size, crc = state["logs"].get(name, (0, 0))
            run.intact &= model.cut_log(folder / name, size, crc)
        for row in model.read_rows(folder):
            run.rows[row["kind"]].append(row)
        if run.relay.recent and run.step >= cfg.steps:
            print("this run is finished; a larger --steps would go on with it")
        return True
    if begun and (other & set(BASE_FIELDS) or not state["base"]):
        return False
    # A base of any other training will do.
    shape = "task dim layers heads kv_heads".split()
    misfits = [details[n] for n in shape if n in details]
    if misfits:
        raise ValueError(f"the base in {lender} does not fit ({', '.join(misfits)})")
    if not state["base"]:
        raise ValueError(f"the run in {lender} has not finished its base; resume it")
    print(f"base: taken from {lender}" + f" ({detail})" * bool(detail))
    run.model.load_state_dict(state["base"])
    for name, total in vars(run.ledger).items():
        total["pretrain"] = state["ledger"][name].get("pretrain", 0)
    begin_rl(run)
    return False


def load(run: Run, state: dict) -> None:
    """Continue from a checkpoint's state. ValueError if it does not fit.

    Adam's hyperparameters are not part of it: they are set anew from the config.
    """
    if state["phase"] == "rl" and run.cfg.steps < state["step"]:
        raise ValueError(f"{run.folder} has done {state['step']} steps already")
    try:
        for name in SAVED:
            setattr(run, name, state[name])
        base = [state["base"]] * (state["phase"] == "rl")
        # All that will be needed one day is tried now; the model's own comes last and
        # stays.
        for weights in (*state["past"], *base, state["model"]):
            run.model.load_state_dict(weights)
        kept = run.optimizer.state_dict() | {"state": state["optimizer"]}
        run.optimizer.load_state_dict(kept)
        # torch takes any moments; a step with such as do not fit would fail much later.
        for parameter, moments in run.optimizer.state.items():
            moments["step"].item()
            torch.stack([parameter, moments["exp_avg"], moments["exp_avg_sq"]])
        if state["judge"]:
            run.judge = reward.new_judge(run.model.config, state["base"]).to(run.device)
            run.judge.load_state_dict(state["judge"])
    except (RuntimeError, KeyError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"the checkpoint does not fit its config: {why}") from error
    run.relay.recent = state["recent"]
    run.ledger = Ledger(**{n: Counter(x) for n, x in state["ledger"].items()})


def finished_run(folder: Path, named: str = "") -> Run:
    """The run of a folder with its last weights, to look at and not to go on with; its
    context has room for harder problems. `named` is the task that the command names."""
    state = read_checkpoint(folder)
    require_same_code(folder, state["config"]["task"], named)
    # On one thread of a CPU, wherever it was trained: everybody sees the same answers.
    cfg = Config(**state["config"] | dict(out=str(folder), device="cpu", threads=1))
    run = new_run(replace(cfg, context=4 * cfg.gpt.context))
    load(run, state)
    return run


def interact(folder: Path, named: str) -> None:
    """A person gives problems; the trained model answers, its environment too."""
    run, rng = finished_run(folder, named), random.Random()
    task = find_task(run.cfg.task)
    levels = [level for level in run.cfg.level_list if level >= task.tested_from]
    example = task.draw(levels[0], "test", rng).prompt
    # Problems of the test split: none of them was trained on.
    print(f"A problem like {example}; an empty line for")
    print("a random one; Ctrl-D ends. What stands in {} was not written by the model.")
    for count, line in enumerate(sys.stdin):
        key = (run.cfg.seed, INTERACT, count)
        try:
            problem = task.draw(rng.choice(levels), "test", rng)
            if line.strip() and task.hidden:
                problem = task.posed(line.strip(), rng)
            elif line.strip():
                problem = task.read(line.strip())
            room = 3 * run.cfg.max_new
            batch = rollouts(run, [problem], 1, key, "evaluation", max_new=room)
            print(show_samples(batch), end="")
        except ValueError as error:
            print(error)


def require_same_code(folder: Path, saved: str, named: str) -> None:
    """ValueError if a checkpoint's task is not the one that the command names, or is a
    file and not named: a checkpoint is input, and a file of Python would be run."""
    if saved != named and (named or saved.endswith(".py")):
        raise ValueError(
            f"{folder} has the task {saved}; add --task {saved} (a file's code is run)"
        )


# ---- Config: one flat dataclass, one flag for each field -----------------------------


@dataclass(frozen=True)
class Config:
    """Everything that decides a run. What an empty string means stands at its field.

    The words behind a field are also the help of its flag; what a task sets differently
    stands in its `defaults`, what a paper does in grpo.RECIPES.
    """

    # run
    task: str = "chain"  # its name, or the path of a file with a task of your own
    levels: str = ""  # of RL and of tests: 1-6 or 2,4; not given: the task's usual ones
    seed: int = 0  # of everything that is random
    out: str = ""  # the run's folder; empty: out/TASK-SEED
    base: str = ""  # folder of a run whose base to use instead of pretraining one
    device: str = "auto"  # auto, cpu, cuda or mps (a Mac, untried)
    threads: int = 1  # of the CPU; part of the result, since it orders the sums
    # model: a head has dim / heads channels, the SwiGLU layer 3 dim
    dim: int = 64  # channels
    layers: int = 2  # blocks
    heads: int = 4  # query heads
    kv_heads: int = 2  # key-value heads, shared by heads / kv_heads queries
    context: int = 0  # longest sequence in tokens; 0: what the task needs
    # corpus: what the base is pretrained on
    shown: str = ""  # its levels; not given: the task's usual ones, or those of RL
    think_share: float = 0.65  # share of demonstrations that show a thought
    noise: float = 0.02  # chance that a demonstrated step is redrawn
    weak: float = 0.0  # share of demonstrators who guess
    stretch: float = 1.0  # share of the context that positions are spread over
    # pretraining
    pretrain_steps: int = 5000  # optimizer steps
    pretrain_batch: int = 16  # demonstrations in a step
    pretrain_lr: float = 1e-3  # peak; falls over the last two fifths of the steps
    # reinforcement learning
    steps: int = 230  # of RL
    prompts_per_step: int = 16  # different problems in a step
    group_size: int = 16  # answers to a prompt, compared with each other
    lr: float = 7e-4  # peak; falls slowly, as 1 / sqrt(1 + step / 100)
    recipe: str = ""  # a paper's choice of the fields below; see RECIPES in grpo.py
    updates: int = 1  # optimizer steps on each batch; beyond the first it is off-policy
    lag: int = 0  # steps that the sampler's weights are behind
    advantage: str = "grpo"  # how answers are compared; see group_advantages
    loss: str = "clip"  # reinforce, clip, dual_clip, cispo or gspo
    clip_low: float = 0.2  # ratios below 1 - clip_low stop pulling
    clip_high: float = 0.28  # above clip_low: rare tokens get room to rise (DAPO)
    correction: str = "none"  # for a stale sampler: token, mask, prefix or sequence
    aggregation: str = "token"  # sequence, token, prompt or constant
    kl: str = "k1_reward"  # estimator and place; k1_raw: of answers, before comparing
    kl_coef: float = 0.0  # times the KL to the base; 0: no penalty
    entropy_bonus: float = 0.0  # times the entropy, added to the objective
    flat: str = "drop"  # groups without contrast: drop, keep (counted) or resample
    truncated: str = "zero"  # long answers: zero, mask, penalty (DAPO) or interrupt
    # reward: what RL pays for. Pass rates are always the truth
    reward: str = "gold"  # or learned, or a rule: contains, format, length
    false_positive: float = 0.0  # chance that a verdict calls a wrong answer right
    false_negative: float = 0.0  # chance that it calls a right answer wrong
    rm_answers: int = 2048  # labelled answers that a learned reward is fitted to
    # evaluation
    evals: int = 12  # times during RL, evenly in log steps
    eval_problems: int = 288  # held out, the same for everybody
    eval_samples: int = 2  # for each problem; four times as many before and after RL

    def __post_init__(self) -> None:
        """ValueError, one sentence, for anything that could not run."""
        grpo.check_numbers(self)
        grpo.check_choices(self)
        reward.check_reward(self.reward, find_task(self.task))
        # Only a checker's verdict can be flipped; a rule has its own errors.
        if self.reward in reward.RULES and (self.false_positive or self.false_negative):
            raise ValueError(f"reward {self.reward} is a rule: no verdicts to flip")
        room = self.longest[0] + self.max_new
        if self.gpt.context < room:
            raise ValueError(f"context must be at least {room} for this task's lengths")
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"out must be a folder, and {self.folder} is a file")

    @cached_property
    def level_list(self) -> list[int]:
        """The levels as numbers. ValueError for levels that the task cannot have."""
        return reward.choose_levels(find_task(self.task), self.levels)

    @cached_property
    def shown_list(self) -> list[int]:
        """The levels of the demonstrations."""
        text = self.shown or self.levels
        return reward.choose_levels(find_task(self.task), text, tested=False)

    @cached_property
    def longest(self) -> tuple[int, int]:
        """Tokens of the longest prompt and of the longest demonstration after one."""
        levels = {*self.level_list, *self.shown_list}
        lengths = [find_task(self.task).longest(level) for level in levels]
        return max(p for p, _ in lengths), max(answer for _, answer in lengths)

    @cached_property
    def max_new(self) -> int:
        """Tokens an answer may have: a quarter more than the longest demonstration."""
        return self.longest[1] + self.longest[1] // 4

    @cached_property
    def gpt(self) -> GPTConfig:
        """The model's sizes."""
        return GPTConfig(
            dim=self.dim,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.dim // self.heads,
            hidden=3 * self.dim,
            context=self.context or self.longest[0] + self.max_new,
        )

    @cached_property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.out or f"out/{Path(self.task).stem}-{self.seed}")


# Fields that the base depends on. Runs that share them can share the base.
BASE_FIELDS = (
    "task levels seed device threads dim layers heads kv_heads context "
    "shown think_share noise weak stretch pretrain_steps pretrain_batch pretrain_lr"
).split()


def make_config(**given: object) -> Config:
    """Config of the fields given, the recipe's, the task's own, then the defaults.

    What is given more precisely wins: a flag over a recipe, a recipe over a task.
    """
    task = find_task(str(given.get("task", Config.task)))
    recipe = grpo.RECIPES.get(str(given.get("recipe", "")), {})
    wanted = {**task.defaults, **recipe, **given}
    unknown = wanted.keys() - {f.name for f in fields(Config)}
    if unknown:
        raise ValueError(f"Config has no field {', '.join(sorted(unknown))}")
    return Config(**wanted)  # type: ignore[arg-type]


def parse_flags(argv: list[str]) -> dict:
    """The flags given: one for each field of Config, --resume and --interact."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="train.py [--flag value ...]",
        argument_default=argparse.SUPPRESS,
        # What --group is short for would change as soon as a field is added.
        allow_abbrev=False,
    )
    parser.add_argument("--resume", metavar="FOLDER", help="go on with this run")
    parser.add_argument("--interact", metavar="FOLDER", help="give its model problems")
    text = "replace the run in the folder, but for a base that fits"
    parser.add_argument("--overwrite", action="store_true", help=text)
    # What a flag means is said once, behind its field in Config.
    source = Path(__file__).read_text().split("\nclass Config:")[1]
    notes = dict(re.findall(r"^    (\w+): .*?  # (.*)$", source, re.M))
    for f in fields(Config):
        text = notes.get(f.name, "") + (f" [{f.default}]" if f.default != "" else "")
        flag = "--" + f.name.replace("_", "-")
        parser.add_argument(flag, type=type(f.default), help=text, metavar="X")
    return vars(parser.parse_args(argv))


def parse_config(argv: list[str]) -> Config:
    """Config from flags. ValueError for what cannot run."""
    given = parse_flags(argv)
    if "resume" not in given:
        given.pop("overwrite", None)
        return make_config(**given)
    if "overwrite" in given:
        raise ValueError("--resume goes on, --overwrite begins anew: give one of them")
    folder = Path(given.pop("resume"))
    saved = read_checkpoint(folder)["config"]
    # A flag that repeats what the run was made with is no contradiction.
    for name, value in given.items():
        if name != "steps" and value != saved.get(name):
            raise ValueError(
                f"{folder} was made with {name} {saved.get(name)!r}, not {value!r}; "
                "only --steps can change on resume"
            )
    require_same_code(folder, saved["task"], given.get("task", ""))
    return replace(Config(**saved), **given | {"out": str(folder)})


# What ends a run with a sentence; with several ranks also that another has ended.
ERRORS = (ValueError, OSError, FloatingPointError) + (RuntimeError,) * (WORLD > 1)


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 1 stopped by the disk, by NaN or by another rank, 2 bad
    input; 128 and the signal's number on a signal."""
    folder = None
    if RANK:  # one voice is enough
        sys.stdout = open(os.devnull, "w")
    try:
        flags = parse_flags(argv)
        if "interact" not in flags:
            cfg = parse_config(argv)
            folder = cfg.folder
            train(cfg, "overwrite" in flags)
        elif flags.keys() <= {"interact", "task"}:
            interact(Path(flags["interact"]), flags.get("task", ""))
        else:
            raise ValueError("--interact takes a folder, and --task if that is a file")
    except ERRORS as error:
        # To go on mends a full disk or a lost rank, but neither bad input nor NaN.
        worked = folder and any(os.path.exists(folder / n) for n in CHECKPOINTS)
        lost = worked and not isinstance(error, ValueError | FloatingPointError)
        hint = f"; what was saved is whole, --resume {folder} goes on" if lost else ""
        print(f"train.py: {error}{hint}", file=sys.stderr)
        return 1 if lost or isinstance(error, FloatingPointError) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
