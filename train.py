"""One run, start to end: pretrain a base, improve it by RL, measure it all the way.

    python train.py                        the default task, a few minutes on a laptop
    python train.py --task guess           the quickest visible win
    python train.py --task chain,tool      one model for several tasks
    python train.py --resume out/chain-0   go on where a run stopped, bit for bit
    python train.py --interact out/chain-0 give the trained model problems, watch it

Read after grpo.py. A run writes only into its folder: config.json, metrics.jsonl,
checkpoint.pt, samples.txt and curve.png. All randomness is keyed by (seed, phase, step,
prompt, sample), so there is no random state to save.
"""

import argparse
import hashlib
import inspect
import json
import os
import pickle
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import grpo
from model import (
    GPT,
    PAD,
    GPTConfig,
    decode,
    decode_flops,
    encode,
    prefill_flops,
    train_flops,
)
from reward import (
    RM_LOSSES,
    RULES,
    SPLITS,
    WINDOW,
    Corpus,
    Judges,
    Labelled,
    Problem,
    Puzzle,
    Task,
    by_length,
    check_reward,
    check_split,
    draw_level,
    find_task,
    fit_judges,
    flip_verdicts,
    held_out_part,
    leaks,
    quality,
    reward_model,
    split_of,
)
from rollout import Batch, Buffers, rollout

# --------------------------------------------------------------------------------------
# Config: one flat dataclass, one flag for each field


@dataclass(frozen=True)
class Config:
    """Everything that decides a run. An empty string means: the usual choice."""

    # run
    task: str = "chain"  # one of nine, or several for one model: chain,tool,knight
    levels: str = ""  # of one task: 1-6 or 2,4; not given: its usual ones
    seed: int = 0  # of everything that is random
    out: str = ""  # the run's folder; empty: out/TASK-SEED
    base: str = ""  # folder of a run whose base to use instead of pretraining one
    device: str = "auto"  # auto, cpu or cuda
    threads: int = 1  # of the CPU; part of the result, since it orders the sums
    # model
    dim: int = 64  # channels
    layers: int = 2  # blocks
    heads: int = 4  # query heads
    kv_heads: int = 2  # key-value heads, shared by heads / kv_heads queries
    head_dim: int = 16  # channels of a head
    hidden: int = 192  # width of the SwiGLU layer
    context: int = 0  # longest sequence in tokens; 0: what the tasks need
    # corpus: what the base is pretrained on
    think_share: float = 0.25  # share of demonstrations that show a thought
    noise: float = 0.02  # chance that a demonstrated step is wrong
    skew: float = 0.2  # levels in proportion to exp(-skew * level)
    weak: float = 0.0  # share of demonstrators who guess
    # pretraining
    pretrain_steps: int = 5000  # optimizer steps
    pretrain_batch: int = 16  # demonstrations in a step
    pretrain_lr: float = 1e-3  # peak; falls over the last two fifths of the steps
    pretrain_warmup: int = 100  # steps
    # reinforcement learning
    steps: int = 140  # of RL
    prompts_per_step: int = 16  # different problems in a step
    group_size: int = 16  # answers to a prompt, compared with each other
    lr: float = 1e-3  # constant after the warm-up
    warmup: int = 5  # steps
    recipe: str = ""  # a paper's choice of the fields below; see RECIPES in grpo.py
    updates: int = 1  # optimizer steps on each batch; beyond the first it is off-policy
    lag: int = 0  # steps that the sampler's weights are behind
    advantage: str = "grpo"  # how answers are compared; see group_advantages
    loss: str = "clip"  # reinforce, clip, dual_clip, cispo or gspo
    clip_low: float = 0.2  # ratios below 1 - clip_low stop pulling
    clip_high: float = 0.28  # above clip_low: rare tokens get room to rise (DAPO)
    ratio_max: float = 5.0  # limit of cispo, dual_clip and corrections
    correction: str = "none"  # for a stale sampler: token, mask, prefix or sequence
    aggregation: str = "token"  # sequence, token, prompt or constant
    kl: str = "k1_reward"  # estimator and place; k1_raw: of answers, before comparing
    kl_coef: float = 0.0  # times the KL to the base; 0: no penalty
    entropy_bonus: float = 0.0  # times the entropy, added to the objective
    flat: str = "drop"  # groups without contrast: drop, keep (counted) or resample
    retire: float = 0.0  # mean reward from which a problem is not drawn again; 0: never
    truncated: str = "zero"  # long answers: zero, mask, penalty (DAPO) or interrupt
    max_grad_norm: float = 1.0  # longer gradients are scaled to this
    micro_batch: int = 64  # sequences in one forward pass of an update
    # which levels RL trains on: those the base passes this often
    pass_low: float = 0.05  # lowest pass rate of a level to train on
    pass_high: float = 0.6  # highest
    easy_share: float = 0.2  # of prompts from easier levels, lest they be forgotten
    # reward: what RL pays for. Pass rates are always the truth
    reward: str = "gold"  # or learned, or a rule: contains, format, length, last, ...
    false_positive: float = 0.0  # chance that a verdict calls a wrong answer right
    false_negative: float = 0.0  # chance that it calls a right answer wrong
    patience: int = 0  # steps without better audited gold before it stops; 0: never
    rm_answers: int = 2048  # labelled answers that a learned reward is fitted to
    rm_steps: int = 150  # optimizer steps of a reward model
    rm_loss: str = "pointwise"  # or bradley_terry
    rm_models: int = 1  # reward models; the least of their rewards counts
    rm_refit: int = 0  # label the policy's answers, fit again, every so many steps
    # evaluation
    evals: int = 12  # times during RL, evenly in log steps
    eval_problems: int = 512  # held out, the same for everybody
    eval_samples: int = 2  # for each problem; four times as many before and after RL

    def __post_init__(self) -> None:
        """ValueError, one sentence, for anything that could not run."""
        self.check_levels()
        self.check_numbers()
        self.check_choices()
        for task in self.tasks():
            self.corpus(task)
        longest = max(
            t.prompt_tokens(n) for t in self.tasks() for n in self.reach(t, False)
        )
        if longest + self.max_new() > self.gpt().context:
            raise ValueError(
                f"a prompt of {longest} tokens and an answer of up to {self.max_new()} "
                f"do not fit the context of {self.context}; raise --context"
            )

    def check_levels(self) -> None:
        """Levels that exist, in every split, some with enough problems for a test."""
        tasks = self.tasks()
        if len(tasks) > 1 and self.levels:
            raise ValueError("a mixture takes each task's usual levels; drop --levels")
        for task in tasks:
            for level in self.level_list(task):
                if level not in task.levels:
                    raise ValueError(
                        f"{task.name} has levels {task.levels[0]}-{task.levels[-1]}, "
                        f"not {level}"
                    )
                for split in SPLITS:
                    task.draw(level, split, random.Random(0))
            if not task.test_levels(self.level_list(task)):
                raise ValueError(
                    f"levels {self.levels} of {task.name} have too few problems to "
                    "hold some out for a test; add a harder level"
                )

    def check_numbers(self) -> None:
        """Numbers in their range."""
        if self.group_size < 2:
            raise ValueError(
                "group_size must be at least 2 to compare answers, got "
                f"{self.group_size}"
            )
        for name in POSITIVE:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")

    def check_choices(self) -> None:
        """Names that exist, and nothing that contradicts them."""
        for task in self.tasks():
            check_reward(self.reward, task)
        if self.reward == "learned" and "," in self.task:
            raise ValueError("reward learned judges one task; choose one")
        for name in ("false_positive", "false_negative"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1")
            if getattr(self, name) and self.reward in RULES:
                raise ValueError(
                    f"{name} flips verdicts; reward {self.reward} is a rule of its own"
                )
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(filter(None, allowed))}; "
                    f"got {getattr(self, name)!r}"
                )
        if self.advantage == "maxrl" and self.truncated == "penalty":
            raise ValueError(
                "advantage maxrl divides by the mean reward, which a penalty can turn "
                "negative; choose --truncated zero or mask"
            )
        if self.advantage == "maxrl" and self.kl_coef and self.kl == "k1_raw":
            raise ValueError(
                "advantage maxrl divides by the mean reward, which a KL of whole "
                "answers can turn negative; choose --kl k1_reward"
            )
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda was asked for but torch sees no GPU")

    def tasks(self) -> list[Task]:
        """The tasks of the run, more than one in a mixture."""
        names = self.task.split(",")
        if len(set(names)) < len(names):
            raise ValueError(f"{self.task} names a task twice")
        return [find_task(name) for name in names]

    def usual(self, task: Task, name: str) -> object:
        """`levels` or a field of the corpus; in a mixture the task's own, if any."""
        if "," not in self.task:
            return getattr(self, name)
        return TASK_DEFAULTS.get(task.name, {}).get(name, getattr(self, name))

    def level_list(self, task: Task | None = None) -> list[int]:
        """A task's levels as numbers; all it has if none are named. ValueError for text
        that names none."""
        task = task or self.tasks()[0]
        text = str(self.usual(task, "levels"))
        if not text:
            return list(task.levels)
        levels: set[int] = set()
        for part in text.split(","):
            first, _, last = part.partition("-")
            if not first.isdecimal() or not (last or first).isdecimal():
                raise ValueError(
                    f"levels must look like 1-6 or 2,4; got {self.levels!r}"
                )
            levels |= set(range(int(first), int(last or first) + 1))
        return sorted(levels)

    def reach(self, task: Task, hard: bool = True) -> list[int]:
        """A task's levels and, if `hard`, those of the test set beyond them."""
        levels = self.level_list(task)
        return levels + task.test_sets(levels)["hard"] if hard else levels

    def label(self, task: Task, level: int) -> int | str:
        """A level's name in logs: 3, or in a mixture 'chain 3'."""
        return f"{task.name} {level}" if "," in self.task else level

    def max_new(self, hard: bool = False) -> int:
        """Tokens an answer may have: a quarter more than the longest demonstration.

        Of the levels of the run; `hard` counts those of the test set beyond them too.
        """
        tasks = self.tasks()
        longest = max(t.max_tokens(n) for t in tasks for n in self.reach(t, hard))
        return longest + longest // 4

    def corpus(self, task: Task) -> Corpus:
        """How a task's demonstrations are made."""
        names = ("think_share", "noise", "skew", "weak")
        return Corpus(*(self.usual(task, name) for name in names))

    def token_kl(self) -> bool:
        """Does each token have a KL of its own in the update?"""
        return self.kl_coef > 0 and self.kl != "k1_raw"

    def gpt(self) -> GPTConfig:
        """The model's sizes; the context is the one given, else what the tasks need."""
        names = "dim layers heads kv_heads head_dim hidden".split()
        prompt = max(t.prompt_tokens(n) for t in self.tasks() for n in self.reach(t))
        context = self.context or prompt + self.max_new(hard=True)
        return GPTConfig(**{n: getattr(self, n) for n in names}, context=context)

    def folder(self) -> Path:
        return Path(self.out or f"out/{self.task.replace(',', '+')}-{self.seed}")


POSITIVE = (
    "dim layers heads kv_heads head_dim hidden threads updates pretrain_batch "
    "prompts_per_step micro_batch evals eval_problems eval_samples pretrain_lr lr "
    "max_grad_norm ratio_max rm_answers rm_steps rm_models"
).split()
NOT_NEGATIVE = (
    "seed steps pretrain_steps warmup pretrain_warmup context lag kl_coef patience "
    "rm_refit"
).split()
CHOICES: dict[str, tuple[str, ...]] = {
    "recipe": ("", *grpo.RECIPES),
    "advantage": grpo.BASELINES,
    "loss": grpo.LOSSES,
    "correction": grpo.CORRECTIONS,
    "aggregation": grpo.AGGREGATIONS,
    "kl": grpo.KLS,
    "flat": ("drop", "keep", "resample"),
    "truncated": ("zero", "mask", "penalty", "interrupt"),
    "rm_loss": RM_LOSSES,
    "device": ("auto", "cpu", "cuda"),
}
# What a task needs to meet its time on a CPU, where it differs from Config's defaults.
TASK_DEFAULTS: dict[str, dict] = {
    "chain": dict(levels="1-5"),
    "add": dict(levels="2-3", think_share=0.4, pretrain_steps=2500, steps=80),
    "count": dict(levels="2-3", think_share=0.5, skew=0.0, pretrain_steps=3000)
    | dict(steps=40),
    "knight": dict(levels="4-5", think_share=0.4, weak=0.4, skew=0.0, steps=60)
    | dict(pretrain_steps=6000),
    "path": dict(levels="1-2", think_share=0.5, skew=0.0, pretrain_steps=5000)
    | dict(steps=40),
    "compose": dict(levels="1-3", think_share=0.4, noise=0.2, pretrain_steps=3000)
    | dict(steps=50),
    "tool": dict(levels="1-2", think_share=0.25, weak=0.4, pretrain_steps=3000)
    | dict(steps=120),
    "grid": dict(levels="3-4", noise=0.5, pretrain_steps=3000, steps=40),
    # Without a bonus for entropy play mostly freezes near 11 of the 16 numbers.
    "guess": dict(levels="2", think_share=0.2, weak=0.5, skew=0.0, pretrain_steps=300)
    | dict(pretrain_batch=32, pretrain_lr=3e-3)
    | dict(steps=500, lr=2e-3, entropy_bonus=0.03),
}
# Fields that the base depends on. Runs that share them can share the base.
BASE_FIELDS = (
    "task levels seed device threads dim layers heads kv_heads head_dim hidden context "
    "think_share noise skew weak "
    "pretrain_steps pretrain_batch pretrain_lr pretrain_warmup"
).split()


def make_config(**given: object) -> Config:
    """Config of the fields given, the recipe's, the task's own, then the defaults."""
    task = TASK_DEFAULTS.get(str(given.get("task", Config.task)), {})
    recipe = grpo.RECIPES.get(str(given.get("recipe", "")), {})
    return Config(**{**task, **recipe, **given})  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------
# The ledger: what every phase cost

PHASES = ("pretrain", "prefill", "decode", "reward", "logprob", "update", "evaluation")
RL_PHASES = ("prefill", "decode", "reward", "logprob", "update")


@dataclass
class Ledger:
    """FLOPs, tokens and seconds of each phase, as running totals.

    `reward` stays at 0 FLOPs as long as rewards come from a program; `logprob` is what
    scoring samples under other weights costs: a reference, a correction for lag.
    """

    flops: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(PHASES, 0.0)
    )

    def add(self, phase: str, flops: int, tokens: int, seconds: float) -> None:
        self.flops[phase] += flops
        self.tokens[phase] += tokens
        self.seconds[phase] += seconds

    def add_rollout(
        self,
        config: GPTConfig,
        batch: Batch,
        group: int,
        seconds: float,
        phase: str = "",
    ) -> None:
        """Charge a batch of samples: each prompt once, each token after it once.

        To `phase` if it is given, else to prefill and decode.
        """
        prompts = [n - 1 for n in batch.prompt_lengths[::group]]
        prefill = sum(prefill_flops(config, n) for n in prompts)
        spans = list(zip(batch.prompt_lengths, batch.lengths, strict=True))
        written = sum(end - start for start, end in spans)
        decode = sum(decode_flops(config, start, end - start) for start, end in spans)
        before = batch.prefill_seconds
        self.add(phase or "prefill", prefill, sum(prompts), before)
        self.add(phase or "decode", decode, written, seconds - before)

    def totals(self) -> dict[str, float]:
        """The columns that every row of metrics.jsonl carries."""
        return {
            "seconds": round(sum(self.seconds.values()), 3),
            "pretrain_flops": self.flops["pretrain"],
            "rl_flops": sum(self.flops[phase] for phase in RL_PHASES),
        }


# --------------------------------------------------------------------------------------
# The state of a run, and its files


LOGS = ("metrics.jsonl", "samples.txt")
# Fields of a Run that a checkpoint holds as they are; `save` turns others into state.
PLAIN = "phase step base levels past tries skipped audits best".split()


@dataclass
class Run:
    """A run in progress; `save` writes what is needed to go on.

    `phase` is pretrain, then rl, and stopped where an audit ended RL early. `step`
    counts within pretrain and within rl, and stays as it is at stopped.
    """

    cfg: Config
    folder: Path
    model: GPT
    optimizer: torch.optim.Optimizer
    base: dict[str, Tensor] = field(default_factory=dict)  # weights before RL
    phase: str = "pretrain"
    step: int = 0
    # train and easy: 3 of a single task, 'chain 3' in a mixture; see Config.label
    levels: dict[str, list[int | str]] = field(default_factory=dict)
    past: list[dict] = field(default_factory=list)  # weights of the last lag + 1 steps
    tries: dict[str, list[float]] = field(default_factory=dict)  # right, all; if retire
    skipped: int = 0  # updates left out: their gradient was not finite
    rows: list[dict] = field(default_factory=list)  # of kind rl, as in metrics.jsonl
    warned: set[str] = field(default_factory=set)  # what has been said already
    judges: Judges | None = None  # a learned reward
    audits: list[float] = field(default_factory=list)  # gold of a tenth of each step
    best: dict[str, Tensor] = field(default_factory=dict)  # weights of the best audit
    ledger: Ledger = field(default_factory=Ledger)
    buffers: Buffers = field(default_factory=Buffers)

    def log(self, kind: str, **values: object) -> None:
        """Append one row to metrics.jsonl."""
        row = {"kind": kind, "step": self.step, **self.ledger.totals(), **values}
        with open(self.folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        if kind == "rl":
            self.rows.append(row)

    def save(self) -> None:
        """Write checkpoint.pt; a kill at any moment leaves the old or the new one.

        It remembers how long the logs were: rows written after it are cut on resume.
        """
        state = {name: getattr(self, name) for name in PLAIN} | {
            "config": asdict(self.cfg),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "judges": self.judges.state() if self.judges else {},
            "ledger": asdict(self.ledger),
            "sizes": {name: os.path.getsize(self.folder / name) for name in LOGS},
        }
        path = self.folder / "checkpoint.pt"
        with open(path.with_suffix(".tmp"), "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path.with_suffix(".tmp"), path)

    def load(self, state: dict) -> None:
        """Continue from a checkpoint: the inverse of save, logs included."""
        for name in PLAIN:
            setattr(self, name, state[name])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])  # its hyperparameters too
        if state["judges"]:
            self.judges = Judges.of(state["judges"], self.model.config)
        self.ledger = Ledger(**state["ledger"])
        for name, size in state["sizes"].items():
            if os.path.getsize(self.folder / name) < size:
                raise ValueError(f"{self.folder / name} was cut; delete the folder")
            os.truncate(self.folder / name, size)
        self.rows = read_rows(self.folder, "rl")


def read_checkpoint(folder: Path, device: str = "cpu") -> dict:
    """The checkpoint of a run. ValueError where there is none or it cannot be read."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        raise ValueError(f"{folder} holds no checkpoint.pt; give the folder of a run")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, OSError, KeyError, pickle.UnpicklingError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read ({why}); delete the folder") from error


def new_run(cfg: Config) -> Run:
    """A run at its first step, with a model whose weights depend on sizes and seed."""
    device = cfg.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(cfg.threads)
    torch.manual_seed(cfg.seed)
    model = GPT(cfg.gpt()).to(device)
    return Run(cfg, cfg.folder(), model, optimizer_of(model, cfg.pretrain_lr))


def open_run(cfg: Config) -> Run:
    """The run of a config: new, continued where it stopped, or begun from a base.

    ValueError where the folder cannot be written or holds a run that does not fit.
    """
    run, folder = new_run(cfg), cfg.folder()
    device, begun = run.model.embed.weight.device, (folder / "checkpoint.pt").exists()
    lent = cfg.base and not begun
    base = read_checkpoint(Path(cfg.base), device) if lent else {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in LOGS:
            (folder / name).touch()
    except OSError as error:
        raise ValueError(
            f"--out {folder} cannot be written ({error.strerror}); choose another"
        ) from error
    if begun:
        state = read_checkpoint(folder, device)
        old = Config(**state["config"])
        names = [f.name for f in fields(cfg) if f.name not in ("out", "base")]
        changed = [n for n in names if getattr(old, n) != getattr(cfg, n)]
        if set(changed) <= {"steps"}:
            run.load(state)
        elif state["base"] and not set(changed) & set(BASE_FIELDS):
            print(f"base: taken from {folder}, whose RL run is replaced")
            start_from_base(run, state)
        else:
            detail = ", ".join(
                f"{n} {getattr(old, n)!r} there, {getattr(cfg, n)!r} here"
                for n in changed
            )
            raise ValueError(
                f"{folder} holds a run of another config ({detail}); choose another "
                "--out or delete it"
            )
    elif base:
        start_from_base(run, base)
        print(f"base: taken from {cfg.base}")
    else:
        clear_logs(run)
    (folder / "config.json").write_text(json.dumps(asdict(cfg), indent=1) + "\n")
    return run


def clear_logs(run: Run) -> None:
    """Empty the logs. The checkpoint goes first: it knows how long they were."""
    (run.folder / "checkpoint.pt").unlink(missing_ok=True)
    for name in LOGS:
        (run.folder / name).write_text("")


def start_from_base(run: Run, state: dict) -> None:
    """Begin RL from the base in a checkpoint, its cost included. ValueError where that
    has none, or one of another task or size."""
    theirs = Config(**state["config"])
    if theirs.gpt() != run.cfg.gpt():
        raise ValueError(
            "the base has another size of model; give the same model flags"
        )
    if theirs.task != run.cfg.task or not state["base"]:
        raise ValueError(f"that run has no finished base for the task {run.cfg.task}")
    clear_logs(run)
    run.model.load_state_dict(state["base"])
    names = ("flops", "tokens", "seconds")
    run.ledger.add("pretrain", *(state["ledger"][name]["pretrain"] for name in names))
    begin_rl(run)
    run.save()


def begin_rl(run: Run) -> None:
    """Keep the weights as the base and start RL with a fresh optimizer."""
    run.base = {name: w.clone() for name, w in run.model.state_dict().items()}
    run.phase, run.step = "rl", 0
    run.optimizer = optimizer_of(run.model, run.cfg.lr)


# --------------------------------------------------------------------------------------
# Optimization, shared by both phases


def optimizer_of(model: GPT, lr: float) -> torch.optim.Optimizer:
    """AdamW without weight decay."""
    options = dict(betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    return torch.optim.AdamW(model.parameters(), lr, **options)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def apply_gradients(run: Run) -> float | None:
    """Clip to max_grad_norm and step. Returns the norm before clipping.

    A norm that is not finite is no step: no weight and no moment changes, `skipped`
    counts it, and None comes back. Looked at before clipping, which would turn one inf
    into NaN everywhere. FloatingPointError where it stands at the third.
    """
    params = list(run.model.parameters())
    norm = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
    if norm.isfinite():
        torch.nn.utils.clip_grads_with_norm_(params, run.cfg.max_grad_norm, norm)
        run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    if norm.isfinite():
        return norm.item()
    run.skipped += 1
    if run.skipped == 3:
        raise FloatingPointError(
            f"the gradient of {run.phase} step {run.step} is not finite, the third "
            "time in this run; lower the learning rate"
        )
    return None


# --------------------------------------------------------------------------------------
# Pretraining


def demo_batch(cfg: Config, step: int) -> tuple[Tensor, Tensor, list[int]]:
    """Tokens (B, T), mask (B, T) of what a policy wrote, and lengths, of one step."""
    tasks = cfg.tasks()
    given = [(task, cfg.corpus(task), cfg.level_list(task)) for task in tasks]
    rng = random.Random(f"{cfg.seed} pretrain {step}")
    rows, masks = [], []
    while len(rows) < cfg.pretrain_batch:
        task, corpus, levels = given[len(rows) % len(given)]
        problem = task.draw(draw_level(levels, corpus, rng), "base", rng)
        check_split(problem, "base")
        demo = task.demonstrate(problem, corpus, rng)
        text = problem.prompt + "".join(demo.segments)
        if leaks(text):
            continue
        rows.append(encode(text))
        mask = [0.0] * len(problem.prompt)
        for i, segment in enumerate(demo.segments):  # the policy's turn is first
            mask += [1.0 - i % 2] * len(segment)
        masks.append(mask)
    lengths = [len(row) for row in rows]
    T = max(lengths)
    tokens = torch.tensor([row + [PAD] * (T - len(row)) for row in rows])
    mask = torch.tensor([m + [0.0] * (T - len(m)) for m in masks])
    return tokens, mask, lengths


def pretrain(run: Run, stop: "Stop") -> None:
    """Next-token training on demonstrations, loss on what a policy would write.

    Prompts are random: nothing to learn, and their loss would swamp the rest.
    """
    cfg, model = run.cfg, run.model
    device = model.embed.weight.device
    bar = tqdm(total=cfg.pretrain_steps, initial=run.step, desc="pretrain", **BAR)
    saved = time.monotonic()
    while run.step < cfg.pretrain_steps:
        began = time.perf_counter()
        tokens, mask, lengths = demo_batch(cfg, run.step)
        tokens, mask = tokens.to(device), mask.to(device)
        num_tokens, loss = mask.sum(), 0.0
        for rows in by_length(lengths, -(-cfg.pretrain_batch // 2)):
            x, m = trim(lengths, rows, tokens, mask)
            logp = grpo.token_logprobs(model(x), x)
            part = -(logp * m).sum() / num_tokens
            part.backward()
            loss += part.item()
        # Warm up, hold, then fall to zero over the last 40 % of the steps.
        rise = (run.step + 1) / max(cfg.pretrain_warmup, 1)
        fall = (cfg.pretrain_steps - run.step) / (0.4 * cfg.pretrain_steps)
        set_lr(run.optimizer, cfg.pretrain_lr * min(1.0, rise, fall))
        apply_gradients(run)
        run.step += 1
        flops = sum(train_flops(model.config, n) for n in lengths)
        run.ledger.add("pretrain", flops, sum(lengths), time.perf_counter() - began)
        bar.update()
        if run.step % 100 == 0 or run.step == cfg.pretrain_steps:
            bar.set_postfix_str(f"loss {loss:.3f}")
            run.log("pretrain", loss=loss)
        saved = save_sometimes(run, stop, saved)
    bar.close()


def trim(lengths: list[int], rows: list[int], *columns: Tensor) -> list[Tensor]:
    """`rows` of each tensor (B, T), cut to the longest of them."""
    T = max(lengths[i] for i in rows)
    return [x[rows, :T] for x in columns]


# --------------------------------------------------------------------------------------
# Measuring pass rates

# Streams of random numbers: key (seed, stream, step); transfer takes three.
RL, EVAL, CALIBRATE, LABEL, NOISE, TRANSFER, INTERACT = 0, 1, 2, 3, 4, 10, 20


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that k of n samples, c of them right, hold a right one (2107.03374).

        1 - C(n - c, k) / C(n, k) = 1 - prod_{i<k} (n - c - i) / (n - i)

    Unbiased, unlike 1 - (1 - c/n)^k.
    """
    wrong = 1.0
    for i in range(k):
        wrong *= max(n - c - i, 0) / (n - i)
    return 1.0 - wrong


def pass_at(rewards: Tensor) -> dict[int, float]:
    """pass@k for k = 1, 2, 4, 8, 16, as far as the samples of rewards (P, n) go."""
    n, correct = rewards.shape[1], rewards.sum(1).int().tolist()
    ks = [k for k in (1, 2, 4, 8, 16) if k <= n]
    return {k: float(np.mean([pass_at_k(n, c, k) for c in correct])) for k in ks}


def wilson(rate: float, n: int) -> tuple[float, float]:
    """95 % interval of a binomial rate from n trials (Wilson's score interval)."""
    z = 1.96
    center = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5
    return center - half, center + half


def test_set(cfg: Config, name: str = "id") -> list[Problem]:
    """The held-out problems: the same for every seed, size and recipe of a task.

    One of four sets, see Task.test_sets; empty where no level is harder.
    """
    pairs = [
        (task, level)
        for task in cfg.tasks()
        for level in task.test_sets(cfg.level_list(task))[name]
    ]
    count = -(-cfg.eval_problems // max(len(pairs), 1))
    problems = []
    for task, level in pairs:
        problems += task.test_problems(level, count, name == "shift")
    for problem in problems:
        check_split(problem, "test")
    return problems


def sample_and_score(
    run: Run,
    problems: list[Problem],
    samples: int,
    key: tuple[int, ...],
    greedy: bool,
    hard: bool = False,
) -> tuple[Batch, Tensor]:
    """Answers to problems and their rewards (P, samples), charged to evaluation."""
    began, max_new = time.perf_counter(), run.cfg.max_new(hard)
    batch = rollout(run.model, problems, samples, max_new, key, run.buffers, greedy)
    seconds = time.perf_counter() - began
    run.ledger.add_rollout(run.model.config, batch, samples, seconds, "evaluation")
    return batch, grade(batch, samples)


def evaluate(run: Run, samples: int) -> dict:
    """Held-out pass rate, sampled at temperature 1 and greedy, logged and returned."""
    cfg, problems = run.cfg, test_set(run.cfg)
    key = (cfg.seed, EVAL, run.step)
    batch, rewards = sample_and_score(run, problems, samples, key, greedy=False)
    _, greedy = sample_and_score(run, problems, 1, key, greedy=True)
    rate, num = rewards.mean().item(), rewards.numel()
    low, high = wilson(rate, num)
    row = {
        "split": "test",
        "pass_rate": rate,
        "low": low,
        "high": high,
        "pass_rate_greedy": greedy.mean().item(),
        "problems": len(problems),
        "samples": samples,
        "pass_at": pass_at(rewards),
        "answer_tokens": batch.mask.sum().item() / num,
        "truncated": float(np.mean(batch.truncated)),
        "by_level": by_level(cfg, problems, rewards),
        **by_thought(batch, rewards.flatten()),
        "by_task": by_task(batch, rewards, greedy),
        "correct": rewards.sum(1).int().tolist(),
    }
    if run.step in (0, cfg.steps):
        row["sets"] = {name: transfer(run, name) for name in ("easy", "hard", "shift")}
    row["kl_base"] = kl_to_base(run, batch, samples, "evaluation").mean().item()
    if cfg.reward != "gold" or cfg.false_positive or cfg.false_negative:
        row["reward"] = pay(run, batch, rewards, "evaluation").mean().item()
    run.log("eval", **row)
    write_samples(run, batch, rewards)
    return row


def by_level(cfg: Config, problems: list[Problem], rewards: Tensor) -> dict:
    """Pass rate of each level, easiest first, task by task."""
    rows: dict[tuple, list[int]] = {}
    for p, problem in enumerate(problems):
        rows.setdefault((problem.task, problem.level), []).append(p)
    return {
        cfg.label(find_task(name), level): rewards[rows[name, level]].mean().item()
        for name, level in rows
    }


def transfer(run: Run, name: str) -> dict:
    """Pass rate on a fixed test set beside the usual one: easy, hard or shift.

    `hash` names the problems: runs with the same one can be compared.
    """
    cfg, problems = run.cfg, test_set(run.cfg, name)
    if not problems:
        return {}
    key = (cfg.seed, TRANSFER + ["easy", "hard", "shift"].index(name), run.step)
    batch, rewards = sample_and_score(run, problems, 1, key, False, hard=True)
    keys = " ".join(problem.key for problem in problems)
    return {
        "pass_rate": rewards.mean().item(),
        "problems": len(problems),
        "overlap": sum(
            split_of(p.key) != "test" and not find_task(p.task).hidden for p in problems
        ),
        "hash": hashlib.blake2b(keys.encode(), digest_size=4).hexdigest(),
        "by_level": by_level(cfg, problems, rewards),
        "by_task": by_task(batch, rewards),
    }


def by_task(batch: Batch, rewards: Tensor, greedy: Tensor | None = None) -> dict:
    """Pass rates of each task, and how its episodes of several turns went.

    turns      taken in an episode
    invalid    share of turns that were no legal action
    failed     share of episodes in which the world went against the policy
    recovery   pass rate of those
    """
    found = {}
    names = [env.problem.task for env in batch.envs]
    for name in dict.fromkeys(names):
        rows = torch.tensor([other == name for other in names])  # (B,)
        mine = rows.view_as(rewards)[:, 0]  # (P,)
        envs = [env for env in batch.envs if env.problem.task == name]
        turns = sum(env.turns for env in envs)
        hit = [env for env in envs if env.failed]
        found[name] = {
            "pass_rate": rewards[mine].mean().item(),
            "answer_tokens": batch.mask[rows].sum().item() / len(envs),
            "turns": turns / len(envs),
            "invalid": sum(env.invalid for env in envs) / max(turns, 1),
            "failed": len(hit) / len(envs),
        }
        if hit:
            found[name]["recovery"] = float(np.mean([env.score() for env in hit]))
        if greedy is not None:
            found[name]["pass_rate_greedy"] = greedy[mine].mean().item()
            most, rate = max(pass_at(rewards[mine]).items())
            found[name][f"pass_at_{most}"] = rate
    return found


def by_thought(batch: Batch, rewards: Tensor) -> dict[str, float]:
    """Share of a puzzle's answers with a thought, pass rate with and without one."""
    of_puzzles = [i for i, env in enumerate(batch.envs) if isinstance(env.task, Puzzle)]
    if not of_puzzles:
        return {}
    thought = torch.tensor([batch.text(i)[:1] == "[" for i in of_puzzles])
    rates = {"think_share": thought.float().mean().item()}
    for name, rows in (("think", thought), ("direct", ~thought)):
        if rows.any():
            rates[f"pass_rate_{name}"] = rewards[of_puzzles][rows].mean().item()
    return rates


def replay(batch: Batch, i: int) -> str:
    """Sample i on one line, what the environment wrote between '{' and '}'.

    Only environments can write these two, so nobody can fake who wrote what. Prompts
    are the environment's too.
    """
    text, start = batch.envs[i].problem.prompt, batch.prompt_lengths[i]
    theirs = False
    for t in range(start, batch.lengths[i]):
        char = decode([int(batch.tokens[i, t])])
        if bool(batch.mask[i, t]) == theirs and char not in "{}":
            theirs = not theirs
            text += "{" if theirs else "}"
        text += repr(char)[1:-1] if char not in "{}" else ""
    return text + "}" * theirs


def write_samples(run: Run, batch: Batch, rewards: Tensor) -> None:
    """Append a few answers to samples.txt, so that a reader can see what changed."""
    group, count = rewards.shape[1], 8
    with open(run.folder / "samples.txt", "a") as file:
        file.write(f"step {run.step}\n")
        for p in range(0, len(rewards), len(rewards) // count + 1):
            verdict = "right" if rewards[p, 0] else "wrong"
            file.write(f"  {verdict}  {replay(batch, p * group)}\n")


def calibrate(run: Run) -> None:
    """Choose the levels RL trains on: those the base passes sometimes, not always.

    A level never passed gives no contrast to learn from, one always passed none either
    (RLVE arXiv:2511.07317 finds the same at scale).
    """
    cfg, rates, train, easy = run.cfg, {}, [], []
    for index, task in enumerate(cfg.tasks()):
        found = {}
        for level in cfg.level_list(task):
            rng = random.Random(f"{cfg.seed} calibrate {level}")
            problems = [task.draw(level, "calibrate", rng) for _ in range(64)]
            key = (cfg.seed, CALIBRATE, level + 100 * index)
            _, rewards = sample_and_score(run, problems, 4, key, greedy=False)
            found[cfg.label(task, level)] = rewards.mean().item()
        between = [n for n, r in found.items() if cfg.pass_low <= r <= cfg.pass_high]
        if not between:
            between = [min(found, key=lambda n: abs(found[n] - 0.3))]
            print(
                f"WARNING: no level of {task.name} passes between {cfg.pass_low} and "
                f"{cfg.pass_high}; RL trains on level {between[0]} and may not learn. "
                "Pretrain longer or shorter."
            )
        train += between
        easy += [n for n, r in found.items() if r > cfg.pass_high and n not in between]
        rates.update(found)
    table = "  ".join(f"{level}: {rate:.2f}" for level, rate in rates.items())
    print(f"pass rate of the base by level   {table}")
    print(
        f"RL trains on levels {train}, and on {easy or 'none'} lest they be forgotten"
    )
    run.levels = {"train": train, "easy": easy}
    run.log("calibrate", pass_rates=rates, **run.levels)


# --------------------------------------------------------------------------------------
# Reinforcement learning


def levels_of(run: Run, task: Task, kind: str) -> list[int]:
    """A task's levels to train on ("train") or lest they be forgotten ("easy")."""
    return [n for n in task.levels if run.cfg.label(task, n) in run.levels[kind]]


def draw_prompts(run: Run, first: int = 0, count: int = 0) -> list[Problem]:
    """Problems of one step, keyed by (seed, step, prompt); prompts from `first` on.

    Tasks of a mixture take turns. With --retire a problem that was nearly always solved
    is drawn again no more (Polaris, ScaleRL), unless a hundred draws find no other.
    """
    cfg, tasks, problems = run.cfg, run.cfg.tasks(), []
    for p in range(first, first + (count or cfg.prompts_per_step)):
        rng = random.Random(f"{cfg.seed} rl {run.step} {p}")
        task = tasks[p % len(tasks)]
        levels, easy = levels_of(run, task, "train"), levels_of(run, task, "easy")
        if easy and rng.random() < cfg.easy_share:
            levels = easy
        level = rng.choice(levels)
        for _ in range(100):
            problem = task.draw(level, "rl", rng)
            right, tried = run.tries.get(problem.key, (0, 0))
            if not (cfg.retire and tried and right / tried >= cfg.retire):
                break
        check_split(problem, "rl")
        if cfg.truncated == "interrupt" and isinstance(task, Puzzle):
            problem = replace(problem, budget=cfg.max_new() * 7 // 8)
        problems.append(problem)
    return problems


@contextmanager
def wearing(model: GPT, weights: dict[str, Tensor]) -> Iterator[None]:
    """The model with other weights for a while, in place: nothing else notices."""
    own = {name: w.clone() for name, w in model.state_dict().items()}
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(own)


def sample(run: Run, problems: list[Problem], first: int = 0) -> Batch:
    """A group of answers to each problem, from the weights of `lag` steps ago."""
    cfg, began = run.cfg, time.perf_counter()
    key, numbers = (cfg.seed, RL, run.step), list(range(first, first + len(problems)))
    args = problems, cfg.group_size, cfg.max_new(), key, run.buffers
    with wearing(run.model, run.past[0]) if cfg.lag else nullcontext():
        batch = rollout(run.model, *args, numbers=numbers)
    seconds = time.perf_counter() - began
    run.ledger.add_rollout(run.model.config, batch, cfg.group_size, seconds)
    return batch


def grade(batch: Batch, group_size: int) -> Tensor:
    """The environments' verdicts as rewards (P, G)."""
    return torch.tensor([env.score() for env in batch.envs]).view(-1, group_size)


# --------------------------------------------------------------------------------------
# Rewards other than the truth (reward.py), at work in a run


def pay(run: Run, batch: Batch, gold: Tensor, phase: str = "reward") -> Tensor:
    """What RL is paid for each answer, (P, G), from the truth `gold` (P, G)."""
    cfg, config = run.cfg, run.model.config
    began = time.perf_counter()
    truth = gold.flatten().double().numpy()
    if cfg.reward in RULES:
        rule, n = RULES[cfg.reward], range(len(truth))
        paid = [rule(batch.envs[i].problem, batch.text(i), truth[i]) for i in n]
    elif cfg.reward == "learned":
        paid = run.judges(batch.tokens, batch.lengths)
        flops = sum(prefill_flops(config, n) for n in batch.lengths)
        members, tokens = len(run.judges.models), sum(batch.lengths)
        spent = time.perf_counter() - began if phase == "evaluation" else 0.0
        run.ledger.add(phase, members * flops, members * tokens, spent)
    else:
        noise = cfg.false_positive, cfg.false_negative
        paid = flip_verdicts(truth, (cfg.seed, NOISE, run.step), *noise)
    return torch.tensor(np.asarray(paid), dtype=gold.dtype).view_as(gold)


def kl_to_base(run: Run, batch: Batch, group: int, phase: str = "logprob") -> Tensor:
    """log pi(answer) - log base(answer) in nats, (P, G). Its mean estimates
    KL(pi || base) of whole answers, the square of Gao et al.'s distance d."""
    base_logp = logprobs_under(run, batch, run.base, phase)
    kl = torch.where(batch.mask > 0, batch.logp - base_logp, 0.0)
    return kl.sum(1).cpu().view(-1, group)


def label_answers(run: Run) -> Labelled:
    """The policy's answers to problems that neither RL nor any test will see, labelled.

    Sixteen to a problem, by the verifier or, with noise, what is left of it.
    """
    cfg, task, began = run.cfg, find_task(run.cfg.task), time.perf_counter()
    problems = []
    for p in range(-(-cfg.rm_answers // 16)):
        rng = random.Random(f"{cfg.seed} label {run.step} {p}")
        levels = run.levels["train"] + run.levels["easy"]
        problems.append(task.draw(rng.choice(levels), "calibrate", rng))
    key = (cfg.seed, LABEL, run.step)
    batch = rollout(run.model, problems, 16, cfg.max_new(), key, run.buffers)
    spent = time.perf_counter() - began
    run.ledger.add_rollout(run.model.config, batch, 16, spent, "reward")
    noise = cfg.false_positive, cfg.false_negative
    labels = flip_verdicts(grade(batch, 16).flatten().numpy(), key, *noise)
    groups, parts = np.array([held_out_part(env.problem) for env in batch.envs]).T
    return Labelled(batch.tokens, batch.lengths, labels, groups, parts)


def fit_reward(run: Run) -> None:
    """Fit the learned reward to all answers labelled so far: the first time from the
    base, then from where it was."""
    cfg, config = run.cfg, run.model.config
    fresh, row = label_answers(run), {}
    began = time.perf_counter()
    if run.judges is None:
        device, n = run.model.embed.weight.device, range(cfg.rm_models)
        models = [reward_model(config, run.base).to(device) for _ in n]
        data = fresh
    else:
        models, data = run.judges.models, run.judges.data.plus(fresh)
        # how good is the old one where the policy is now?
        rewards = run.judges(fresh.tokens, fresh.lengths)
        if len(np.unique(fresh.labels)) == 2:
            row["auc_before"] = quality(rewards, fresh.labels)["auc"]
    args = cfg.rm_loss, cfg.rm_steps, (cfg.seed, LABEL, run.step)
    run.judges, found, flops, tokens = fit_judges(models, data, *args)
    run.ledger.add("reward", flops, tokens, time.perf_counter() - began)
    run.log("reward", labelled=len(data.labels), **found, **row)
    tqdm.write(
        f"reward model on {len(data.labels)} labelled answers: held-out AUC "
        f"{found['auc']:.3f}, calibration error {found['ece']:.3f}"
    )


def audit(run: Run, gold: Tensor) -> bool:
    """Check a tenth of a step's answers by hand, as it were; True: time to stop.

    Compared are means over WINDOW steps. The weights of the best are kept.
    """
    run.audits.append(gold.flatten()[::10].mean().item())
    if len(run.audits) < WINDOW:
        return False
    means = np.convolve(run.audits, np.ones(WINDOW) / WINDOW, "valid")
    since = len(means) - 1 - int(means.argmax())
    if since == 0:
        run.best = {n: w.clone() for n, w in run.model.state_dict().items()}
    return since >= run.cfg.patience


def stop_early(run: Run) -> None:
    """Go back to the weights that the audit liked most, and measure them."""
    run.model.load_state_dict(run.best)
    run.phase = "stopped"
    tqdm.write(f"gold has not risen for {run.cfg.patience} steps: back to its best")
    tqdm.write(eval_line(run, evaluate(run, 4 * run.cfg.eval_samples)))


# --------------------------------------------------------------------------------------
# The update


def resample(run: Run, batch: Batch, rewards: Tensor) -> tuple[Batch, Tensor]:
    """New prompts in place of groups without contrast, up to four times (DAPO).

    Unlike dropping them this keeps the batch at its size, for more samples.
    """
    P, group = rewards.shape
    for attempt in range(1, 5):
        live = grpo.live_groups(rewards)
        if live.all():
            break
        first, count = attempt * P, int((~live).sum())
        problems = draw_prompts(run, first, count)
        more = sample(run, problems, first)
        fresh = pay(run, more, grade(more, group))
        remember_tries(run, problems, fresh)
        rewards = torch.cat([rewards[live], fresh])
        rows = live.repeat_interleave(group).nonzero()[:, 0].tolist()
        batch = join(batch, rows, more)
    return batch, rewards


def join(batch: Batch, rows: list[int], more: Batch) -> Batch:
    """`rows` of a batch, then all of another."""
    T = max(batch.tokens.shape[1], more.tokens.shape[1])
    joined = {}
    for f in fields(Batch):
        a, b = getattr(batch, f.name), getattr(more, f.name)
        if isinstance(a, Tensor):
            pad = PAD if f.name == "tokens" else 0
            wide = [F.pad(x, (0, T - x.shape[1]), value=pad) for x in (a[rows], b)]
            joined[f.name] = torch.cat(wide)
        elif isinstance(a, list):
            joined[f.name] = [a[i] for i in rows] + b
    return Batch(**joined)


class Targets(NamedTuple):
    """What an update pulls towards: one entry for each token (B, T) of a batch."""

    advantage: Tensor
    old_logp: Tensor  # of the policy before the update; the ratio's denominator
    correction: Tensor  # importance weight of the sampler, 1 without --correction
    ref_logp: Tensor  # of the base; zeros unless Config.token_kl
    mask: Tensor  # 1 on tokens in the loss


def logprobs_under(
    run: Run, batch: Batch, weights: dict[str, Tensor], phase: str = "logprob"
) -> Tensor:
    """Log-probabilities (B, T) of a batch under other weights, without gradient."""
    logp, began = torch.zeros_like(batch.logp), time.perf_counter()
    with torch.no_grad(), wearing(run.model, weights):
        for rows in by_length(batch.lengths, run.cfg.micro_batch):
            (tokens,) = trim(batch.lengths, rows, batch.tokens)
            scored = grpo.token_logprobs(run.model(tokens), tokens)
            logp[rows, : scored.shape[1]] = scored
    flops = sum(prefill_flops(run.model.config, n) for n in batch.lengths)
    seconds = time.perf_counter() - began
    run.ledger.add(phase, flops, sum(batch.lengths), seconds)
    return logp


def targets_of(run: Run, batch: Batch, advantages: Tensor) -> Targets:
    """Advantages (P, G) and a batch as the loss wants them."""
    cfg, mask = run.cfg, batch.mask
    if cfg.truncated == "mask":  # DAPO's overlong filtering
        cut = torch.tensor(batch.truncated, device=mask.device)
        mask = torch.where(cut[:, None], 0.0, mask)
    advantage = advantages.flatten().to(mask.device)[:, None].expand_as(mask)
    old_logp, correction = batch.logp, torch.ones_like(mask)
    if cfg.correction != "none":
        old_logp = logprobs_under(run, batch, run.model.state_dict())
        args = old_logp - batch.logp, mask, cfg.correction, cfg.ratio_max
        correction = grpo.importance_weights(*args)
    ref_logp = torch.zeros_like(mask)
    if cfg.token_kl():
        ref_logp = logprobs_under(run, batch, run.base)
        if cfg.kl.endswith("reward"):
            # After normalising: a group's std must not scale the KL up.
            k = grpo.kl_estimate(batch.logp, ref_logp, cfg.kl.split("_")[0])
            advantage = advantage - cfg.kl_coef * grpo.returns_to_go(k, mask)
    return Targets(advantage, old_logp, correction, ref_logp, mask)


def micro_loss(
    run: Run, batch: Batch, targets: Targets, rows: list[int], weights: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """The loss of some rows, weights (B,), and sums or maxima over their tokens."""
    cfg = run.cfg
    columns = trim(batch.lengths, rows, batch.tokens, batch.logp, *targets)
    tokens, sampler_logp, advantage, old_logp, correction, ref_logp, mask = columns
    weights = weights[rows]
    logits = run.model(tokens)
    logp = grpo.token_logprobs(logits, tokens)
    args = logp, old_logp, advantage, mask, weights
    knobs = cfg.loss, cfg.clip_low, cfg.clip_high, cfg.ratio_max
    loss, ratio, cut = grpo.policy_loss(*args, *knobs, correction)
    if cfg.entropy_bonus:
        entropy = grpo.weighted_sum(grpo.token_entropy(logits), mask, weights)
        loss = loss - cfg.entropy_bonus * entropy
    off = torch.where(mask > 0, logp.detach() - sampler_logp, 0.0).expm1().abs()
    sums = {"ratio_max": ratio.max().item(), "mismatch": off.max().item()}
    sums["clip_share"] = cut.sum().item()
    if cfg.token_kl():
        kl = grpo.kl_estimate(logp, ref_logp, "k3").detach()
        sums["kl"] = torch.where(mask > 0, kl, 0.0).sum().item()
        if cfg.kl.endswith("loss"):
            k = grpo.kl_estimate(logp, ref_logp, cfg.kl.split("_")[0])
            loss = loss + cfg.kl_coef * grpo.weighted_sum(k, mask, weights)
    return loss, sums


def update(run: Run, batch: Batch, advantages: Tensor) -> dict[str, float | None]:
    """`updates` optimizer steps on one batch; advantages (P, G), flat groups all zero.

    Flat groups are dropped from the loss and its denominators (ScaleRL): they would add
    nothing but padding to work through. With --flat keep they count, and with a KL of
    tokens, which pulls on them too. Where nothing pulls there is no step: Adam's
    momentum would move the weights.
    """
    cfg, live = run.cfg, advantages.abs().amax(1) > 0
    if cfg.token_kl() or (cfg.flat == "keep" and live.any()):
        live = torch.ones_like(live)
    kept = live.repeat_interleave(cfg.group_size).nonzero()[:, 0].tolist()
    stats: dict[str, float | None] = {"grad_norm": 0.0, "ratio_max": 1.0}
    stats |= {"mismatch": 0.0, "clip_share": 0.0}
    if not kept:
        return stats
    targets = targets_of(run, batch, advantages)
    counts = targets.mask[kept].sum(1).long()  # tokens of each kept sequence
    num_tokens = int(counts.sum())
    weights = torch.zeros_like(batch.logp[:, 0])
    weights[kept] = grpo.sequence_weights(
        counts,
        cfg.aggregation,
        cfg.group_size,
        cfg.max_new(),
        num_tokens=num_tokens,
        num_sequences=int((counts > 0).sum()),
        num_prompts=int((counts.view(-1, cfg.group_size).sum(1) > 0).sum()),
    ).to(weights.dtype)
    lengths = [batch.lengths[i] for i in kept]
    set_lr(run.optimizer, cfg.lr * min(1.0, (run.step + 1) / max(cfg.warmup, 1)))
    share = 1 / (max(num_tokens, 1) * cfg.updates)
    for number in range(cfg.updates):
        for part in by_length(lengths, cfg.micro_batch):
            rows = [kept[i] for i in part]
            loss, sums = micro_loss(run, batch, targets, rows, weights)
            loss.backward()
            stats["ratio_max"] = max(stats["ratio_max"], sums["ratio_max"])
            if number == 0:
                stats["mismatch"] = max(stats["mismatch"], sums["mismatch"])
            for name in sums.keys() & {"clip_share", "kl"}:
                stats[name] = stats.get(name, 0.0) + sums[name] * share
        norm = apply_gradients(run)
        stats["grad_norm"] = max([norm, stats["grad_norm"]], key=lambda n: n or 0.0)
    flops = cfg.updates * sum(train_flops(run.model.config, n) for n in lengths)
    run.ledger.add("update", flops, cfg.updates * sum(lengths), 0.0)
    return stats


def reinforce(run: Run, stop: "Stop") -> None:
    """The RL loop, one step as the README's five."""
    cfg, ledger = run.cfg, run.ledger
    marks = eval_steps(cfg)
    bar = tqdm(total=cfg.steps, initial=run.step, desc="RL", **BAR)
    saved = time.monotonic()
    while run.step < cfg.steps and run.phase == "rl":
        # 1. sample a group of answers to each prompt
        if cfg.rm_refit and run.step and run.step % cfg.rm_refit == 0:
            fit_reward(run)
        remember_weights(run)
        problems = draw_prompts(run)
        batch = sample(run, problems)
        sampled = time.perf_counter()
        # 2. grade every answer
        gold = grade(batch, cfg.group_size)  # (P, G) the truth
        rewards = pay(run, batch, gold)  # (P, G) the same, unless --reward says else
        ledger.add("reward", 0, 0, time.perf_counter() - sampled)
        stats = batch_stats(batch, rewards, gold)
        remember_tries(run, problems, rewards)
        if cfg.patience and audit(run, gold):
            stop_early(run)
            break
        if cfg.flat == "resample":
            batch, rewards = resample(run, batch, rewards)
        rewards = rewards - fines(run, batch, stats)
        # 3. compare the answers within each group
        began, scored = time.perf_counter(), ledger.seconds["logprob"]
        advantages = grpo.group_advantages(rewards, cfg.advantage)  # (P, G)
        # 4. make the better answers likelier
        stats |= update(run, batch, advantages)
        scored = ledger.seconds["logprob"] - scored
        ledger.add("update", 0, 0, time.perf_counter() - began - scored)
        # 5. report
        run.step += 1
        run.log("rl", **stats, skipped=run.skipped)
        watch(run)
        bar.update()
        bar.set_postfix_str(
            f"reward {stats['reward']:.2f} live {stats['live_groups']:.2f} "
            f"tokens {stats['answer_tokens']:.1f} entropy {stats['entropy']:.2f}"
        )
        if run.step in marks:
            final = run.step == cfg.steps
            row = evaluate(run, cfg.eval_samples * (4 if final else 1))
            tqdm.write(eval_line(run, row))
        saved = save_sometimes(run, stop, saved)
    bar.close()


def remember_weights(run: Run) -> None:
    """Keep the weights of this step for a sampler that will be `lag` steps behind."""
    if run.cfg.lag:
        now = {name: w.clone() for name, w in run.model.state_dict().items()}
        run.past = [*run.past, now][-run.cfg.lag - 1 :]


def remember_tries(run: Run, problems: list[Problem], rewards: Tensor) -> None:
    """How often each problem was solved, for --retire."""
    if run.cfg.retire:
        for problem, group in zip(problems, rewards.tolist(), strict=True):
            right, tried = run.tries.get(problem.key, (0, 0))
            run.tries[problem.key] = [right + sum(group), tried + len(group)]


def fines(run: Run, batch: Batch, stats: dict[str, float]) -> Tensor:
    """What is taken off the rewards (P, G) before answers are compared.

    With --kl k1_raw the distance to the base, with --truncated penalty DAPO's for
    length. That distance goes into `stats` as kl_base, also where it is only watched.
    """
    cfg = run.cfg
    fine = torch.zeros(len(batch.envs) // cfg.group_size, cfg.group_size)
    raw = cfg.kl_coef > 0 and cfg.kl == "k1_raw"
    if cfg.reward != "gold" or raw:  # how far RL went for what it is paid
        kl = kl_to_base(run, batch, cfg.group_size)
        stats["kl_base"] = kl.mean().item()
        fine = fine + cfg.kl_coef * raw * kl
    if cfg.truncated == "penalty":
        fine = fine - length_penalty(cfg, batch)
    return fine


def length_penalty(cfg: Config, batch: Batch) -> Tensor:
    """DAPO's soft penalty (P, G) over the last fifth of an answer's room."""
    ends = zip(batch.prompt_lengths, batch.lengths, strict=True)
    written = torch.tensor([end - start for start, end in ends])
    penalty = grpo.overlong_penalty(written, cfg.max_new(), cfg.max_new() // 5)
    return penalty.float().view(-1, cfg.group_size)


def batch_stats(batch: Batch, rewards: Tensor, gold: Tensor) -> dict[str, float]:
    """What a step's samples say about the policy: `reward` is paid, `gold` is true.

    Entropy is the mean of -log pi over sampled tokens: an unbiased estimate, for free.
    """
    num_tokens = max(batch.mask.sum().item(), 1.0)
    thoughts = by_thought(batch, gold.flatten())
    return {
        "reward": rewards.mean().item(),
        "gold": gold.mean().item(),
        **{name: x for name, x in thoughts.items() if name == "think_share"},
        "live_groups": grpo.live_groups(rewards).float().mean().item(),
        "truncated": float(np.mean(batch.truncated)),
        "entropy": -batch.logp.sum().item() / num_tokens,
        "answer_tokens": num_tokens / rewards.numel(),
        "identical": identical_groups(batch.tokens, rewards.shape[1]),
    }


def identical_groups(tokens: Tensor, group_size: int) -> float:
    """Share of groups whose answers are all the same, token by token."""
    groups = tokens.view(-1, group_size, tokens.shape[1])
    return (groups == groups[:, :1]).all(2).all(1).float().mean().item()


def diagnose(rows: list[dict], lag: int = 0) -> dict[str, str]:
    """What is wrong after the last of these rl rows: {name: sentence, likely cause}."""
    last, first, recent = rows[-1], rows[:WINDOW], rows[-WINDOW:]

    def mean(part: list[dict], name: str) -> float:
        return sum(row[name] for row in part) / len(part)

    found = {}
    if len(rows) >= WINDOW and mean(recent, "live_groups") == 0:
        reward, why = mean(recent, "reward"), "rewards depend on the prompt alone"
        if mean(recent, "identical") > 0.5:
            why = "the samples of a group are the same; is sampling still random?"
        elif reward == 0:
            why = "no answer is right: too hard for this base, or the verifier is wrong"
        elif reward == 1:
            why = "every answer is right: too easy, choose harder --levels"
        found["contrast"] = f"no group had any contrast for {WINDOW} steps; {why}"
    if mean(recent, "identical") == 1:
        found["identical"] = (
            "all samples of every group are identical; entropy has collapsed, or "
            "samples share their random numbers"
        )
    if last["truncated"] == 1:
        found["truncated"] = (
            "every answer ran out of tokens; the policy never writes the end, or its "
            "room is too short"
        )
    if last["grad_norm"] == 0 and last["live_groups"] > 0:
        found["gradient"] = (
            "the gradient is exactly 0 although groups have contrast; everything is "
            "masked or clipped, or the loss is cut off from the model"
        )
    if not lag and last["mismatch"] > 1e-3:
        found["mismatch"] = (
            f"the ratio of the first update is off 1 by {last['mismatch']:.2g}; "
            "sampler and trainer differ in weights, mask, temperature or cache"
        )
    if last["skipped"]:
        found["skipped"] = (
            f"{last['skipped']} updates had a gradient that was not finite and were "
            "left out; lower the learning rate"
        )
    # A policy that is nearly always right may well be sure of itself and brief.
    if len(rows) >= 2 * WINDOW and mean(recent, "reward") < 0.7:
        if mean(recent, "entropy") < 0.05 * mean(first, "entropy"):
            found["entropy"] = (
                "entropy fell below a twentieth of where it began while answers are "
                "still wrong; lower --lr or raise --entropy-bonus"
            )
        if mean(recent, "answer_tokens") < 0.3 * mean(first, "answer_tokens"):
            found["length"] = (
                "answers shrank below a third while they are still wrong; short "
                "guesses beat long attempts of a weak base: pretrain longer"
            )
    return found


def watch(run: Run) -> None:
    """Say what is wrong, each thing when it first shows."""
    for name, sentence in diagnose(run.rows, run.cfg.lag).items():
        if name not in run.warned:
            tqdm.write(f"WARNING at step {run.step}: {sentence}")
        run.warned.add(name)


def verdict(run: Run) -> list[str]:
    """All warnings of a run, lest one that learned nothing end looking fine."""
    seen: dict[str, list[int]] = {}
    words: dict[str, str] = {}
    for i in range(len(run.rows)):
        for name, sentence in diagnose(run.rows[: i + 1], run.cfg.lag).items():
            seen.setdefault(name, []).append(run.rows[i]["step"])
            words[name] = sentence
    lines = [
        f"{words[name]} (from step {steps[0]}, in {len(steps)} steps)"
        for name, steps in seen.items()
    ]
    evals = read_rows(run.folder, "eval")
    before, after = evals[0], evals[-1]
    if run.rows and after["pass_rate"] <= before["high"]:
        lines.append(
            f"RL taught nothing measurable: pass rate {before['pass_rate']:.3f} "
            f"before and {after['pass_rate']:.3f} after {run.step} steps"
        )
    return [f"WARNING: {text}" for text in lines]


def eval_steps(cfg: Config) -> set[int]:
    """Steps after which to evaluate: evenly in log steps, the last one included."""
    if not cfg.steps:
        return set()
    return {int(round(s)) for s in np.geomspace(1, cfg.steps, cfg.evals)} | {cfg.steps}


# --------------------------------------------------------------------------------------
# Reporting

BAR: dict = dict(unit="step", dynamic_ncols=True, mininterval=0.5, file=sys.stderr)
HEADER = "  step   RL FLOPs   pass rate   (95 % interval)   greedy   tokens   thoughts"


def eval_line(run: Run, row: dict) -> str:
    """One evaluation as a line under HEADER."""
    thoughts = f"{row['think_share']:.2f}" if "think_share" in row else "-"
    return (
        f"{run.step:6d}   {run.ledger.totals()['rl_flops']:8.1e}   "
        f"{row['pass_rate']:9.3f}"
        f"   ({row['low']:.3f} to {row['high']:.3f})   {row['pass_rate_greedy']:6.3f}"
        f"   {row['answer_tokens']:6.1f}   {thoughts:>8}"
    )


def read_rows(folder: Path, kind: str) -> list[dict]:
    """Rows of one kind from a run's metrics.jsonl."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def plot_curve(run: Run) -> None:
    """curve.png: pass rate and answer length over RL compute, from metrics.jsonl."""
    rows = read_rows(run.folder, "eval")
    start, rows = rows[0], rows[1:]
    if not rows:
        return
    tasks = run.cfg.tasks()
    levels = [(t, n) for t in tasks for n in t.test_levels(run.cfg.level_list(t))]
    flops = [row["rl_flops"] for row in rows]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(7, 6.5), sharex=True, height_ratios=[2, 1], layout="constrained"
    )
    rates = [row["pass_rate"] for row in rows]
    low, high = ([row[end] for row in rows] for end in ("low", "high"))
    top.fill_between(flops, low, high, alpha=0.2)
    top.plot(flops, rates, "o-", label="sampled at temperature 1 (band: 95 %)")
    greedy = [row["pass_rate_greedy"] for row in rows]
    top.plot(flops, greedy, "s--", ms=4, alpha=0.7, label="greedy")
    ceiling = float(np.mean([task.ceiling(n) for task, n in levels]))
    chance = float(np.mean([task.chance(n) for task, n in levels]))
    marks = (
        (ceiling, f"ceiling {ceiling:.4g}", "bottom"),
        (chance, f"chance {chance:.2f}", "bottom"),
        (start["pass_rate"], f"base model {start['pass_rate']:.2f}", "top"),
    )
    for y, text, side in marks:
        top.axhline(y, color="gray", lw=0.8, ls=":")
        style = dict(fontsize=8, color="gray", ha="right", va=side)
        top.annotate(text, (0.99, y), xycoords=("axes fraction", "data"), **style)
    top.set(ylim=(0, 1.06), ylabel="held-out pass rate", xscale="log")
    outside = dict(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    top.legend(**outside, frameon=False, fontsize=8)
    top.set_title(
        f"{run.cfg.task}, seed {run.cfg.seed}: {start['pass_rate']:.2f} to "
        f"{rates[-1]:.2f} in {run.step} RL steps",
        pad=20,
    )
    bottom.plot(flops, [row["answer_tokens"] for row in rows], "o-", color="C2")
    bottom.axhline(start["answer_tokens"], color="gray", lw=0.8, ls=":")
    bottom.set(xlabel="RL compute (FLOPs)", ylabel="answer length (tokens)")
    bottom.set_ylim(0, 1.2 * max(row["answer_tokens"] for row in [start, *rows]))
    figure.savefig(run.folder / "curve.png", dpi=130)
    plt.close(figure)


# Label and key of what is compared before and after RL, where a run has it.
MEASURES = {
    "pass rate, sampled": "pass_rate",
    "pass rate, greedy": "pass_rate_greedy",
    "answer length (tokens)": "answer_tokens",
    "share with a thought": "think_share",
    "pass rate with a thought": "pass_rate_think",
    "pass rate without": "pass_rate_direct",
}


def compare(label: str, pair: tuple[dict, dict], *path: str) -> None:
    """Print what stands at `path` in the rows before and after RL, '-' for nothing."""
    cells = ""
    for value in pair:
        for key in path:
            value = value.get(key, {})
        cells += f"{'-':>10}" if value == {} else f"{value:10.3f}"
    print(f"{label:26}{cells}")


def report(run: Run) -> None:
    """Print what RL changed and what it cost."""
    rows = read_rows(run.folder, "eval")
    pair = before, after = rows[0], rows[-1]
    print(f"\n{'held out':26}{'base':>10}{'after RL':>10}")
    for label, key in MEASURES.items():
        if key in before or key in after:
            compare(label, pair, key)
    most = max(before["pass_at"], key=int)
    compare(f"pass@{most}", pair, "pass_at", most)
    for level in before["by_level"]:
        compare(f"level {level}", pair, "by_level", level)
    for name in after["by_task"] if len(after["by_task"]) > 1 else ():
        compare(name, pair, "by_task", name, "pass_rate")
    for name in [n for n, value in after.get("sets", {}).items() if value]:
        compare(f"test set {name}", pair, "sets", name, "pass_rate")
    for name, row in after["by_task"].items():
        for key in ("turns", "invalid", "recovery"):
            if row["turns"] > 1 and key in row:
                compare(f"{name}: {key}", pair, "by_task", name, key)
    num = after["problems"] * after["samples"]
    print(f"({after['problems']} problems never trained on, {num} samples)")
    print(f"\n{'phase':12}{'FLOPs':>10}{'tokens':>12}{'seconds':>10}")
    ledger = run.ledger
    for phase in PHASES:
        print(
            f"{phase:12}{ledger.flops[phase]:10.2e}{ledger.tokens[phase]:12,}"
            f"{ledger.seconds[phase]:10.1f}"
        )
    print("", *verdict(run), sep="\n")
    names = "curve.png", "samples.txt", "metrics.jsonl", "checkpoint.pt"
    there = ", ".join(name for name in names if (run.folder / name).exists())
    print(f"\nwrote {run.folder}/{there}")


# --------------------------------------------------------------------------------------
# The command line

SAVE_SECONDS = 30.0


@dataclass
class Stop:
    """Set by SIGINT and SIGTERM; a run saves and leaves at its next step."""

    signum: int = 0

    def listen(self) -> "Stop":
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self.note)
        return self

    def note(self, signum: int, frame: object) -> None:
        self.signum = signum
        signal.signal(signum, signal.SIG_DFL)  # a second one does not wait


def save_sometimes(run: Run, stop: Stop, saved: float) -> float:
    """Save now and then; on a signal save and exit. Returns when the last save was."""
    if stop.signum or time.monotonic() - saved > SAVE_SECONDS:
        run.save()
        saved = time.monotonic()
    if stop.signum:
        tqdm.write(
            f"stopped after {run.phase} step {run.step}, saved; go on with\n"
            f"    python train.py --resume {run.folder}"
        )
        raise SystemExit(128 + stop.signum)
    return saved


def train(cfg: Config) -> Run:
    """Run a config to its end, from wherever its folder says it stands."""
    run = open_run(cfg)
    stop = Stop().listen()
    params = sum(p.numel() for p in run.model.parameters())
    device = run.model.embed.weight.device
    print(
        f"{cfg.task}: a model of {params:,} parameters on {device}, {cfg.threads} "
        f"threads; writing to {run.folder}"
    )
    if run.phase == "pretrain":
        print(f"\npretraining a base on demonstrations, {cfg.pretrain_steps} steps")
        pretrain(run, stop)
        begin_rl(run)
    if run.step >= cfg.steps and run.levels:
        print("this run is finished; a larger --steps would go on with it")
    if not run.levels:
        print("\ncalibrating: which levels are neither hopeless nor solved?")
        calibrate(run)
        print(
            f"\nreinforcement learning, {cfg.steps} steps of {cfg.prompts_per_step} "
            f"prompts x {cfg.group_size} answers\n{HEADER}"
        )
        if cfg.reward == "learned":
            fit_reward(run)
        print(eval_line(run, evaluate(run, 4 * cfg.eval_samples)))
        run.save()
    reinforce(run, stop)
    run.save()
    plot_curve(run)
    report(run)
    return run


def finished_run(folder: Path) -> Run:
    """The run of a folder with its last weights, to look at and not to go on with."""
    state = read_checkpoint(folder)
    run = new_run(replace(Config(**state["config"]), out=str(folder), device="cpu"))
    run.model.load_state_dict(state["model"])
    run.base, run.step, run.phase = state["base"], state["step"], state["phase"]
    return run


def answer(run: Run, problem: Problem, seed: int) -> str:
    """Verdict and replay of one sampled answer to a problem."""
    max_new = run.model.config.context - len(problem.prompt)
    key = (run.cfg.seed, INTERACT, seed)
    batch = rollout(run.model, [problem], 1, max_new, key, run.buffers)
    return f"{'right' if batch.envs[0].score() else 'wrong'}: {replay(batch, 0)}"


def interact(folder: Path) -> None:
    """A person gives problems; the trained model answers, its environment too."""
    run = finished_run(folder)
    tasks, rng = run.cfg.tasks(), random.Random()
    levels = {task: task.test_levels(run.cfg.level_list(task)) for task in tasks}
    examples = " or ".join(t.draw(levels[t][0], "test", rng).prompt for t in tasks)
    print(f"A problem like {examples}; an empty line for")
    print("a random one; Ctrl-D ends. What stands in {} was not written by the model.")
    for count, line in enumerate(sys.stdin):
        prompt = line.strip()
        try:
            if prompt:
                task = next((t for t in tasks if t.form.fullmatch(prompt)), tasks[0])
                problem = task.posed(prompt, rng)
                if len(prompt) + 8 > run.model.config.context:
                    raise ValueError("that is longer than the model can read")
            else:
                task = rng.choice(tasks)
                problem = task.draw(rng.choice(levels[task]), "test", rng)
        except ValueError as error:
            print(error)
            continue
        print(f"  {answer(run, problem, count)}", flush=True)


def parse_config(argv: list[str]) -> Config:
    """Config from flags, one for each field. ValueError for what cannot run."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="python train.py [--flag value ...]",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--resume", metavar="FOLDER", help="go on with this run")
    parser.add_argument(
        "--interact", metavar="FOLDER", help="give this run's model problems by hand"
    )
    # What a flag means is said once, behind its field in Config.
    source = inspect.getsource(Config)
    notes = dict(re.findall(r"^    (\w+): .*?  # (.*)$", source, re.M))
    for f in fields(Config):
        text = notes.get(f.name, "") + (f" [{f.default}]" if f.default != "" else "")
        flag = "--" + f.name.replace("_", "-")
        parser.add_argument(flag, type=type(f.default), help=text, metavar="X")
    given = vars(parser.parse_args(argv))
    if "interact" in given:
        raise ValueError("--interact takes a folder and no other flag")
    if "resume" not in given:
        return make_config(**given)
    folder = Path(given.pop("resume"))
    saved = read_checkpoint(folder)["config"]
    for name, value in given.items():
        if name != "steps" and value != saved[name]:
            raise ValueError(
                f"{folder} was made with {name} {saved[name]!r}, not {value!r}; only "
                "--steps can change on resume"
            )
    return replace(Config(**saved), out=str(folder), **given)


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 1 gradients not finite, 2 bad input, 130 and 143 saved after
    a signal."""
    try:
        if argv[:1] == ["--interact"] and len(argv) == 2:
            interact(Path(argv[1]))
        else:
            train(parse_config(argv))
    except (ValueError, FloatingPointError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
