"""One run, start to end: pretrain a base, improve it by RL, measure it all the way.

    python train.py                        the default task, a few minutes on a laptop
    python train.py --task guess           the quickest visible win
    python train.py --resume out/chain-0   go on where a run stopped, bit for bit

Read after grpo.py. A run writes only into its folder: config.json, metrics.jsonl,
checkpoint.pt, samples.txt and curve.png. All randomness is keyed by (seed, phase, step,
prompt, sample), so there is no random state to save.
"""

import argparse
import inspect
import json
import os
import pickle
import random
import re
import signal
import sys
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import grpo
from model import (
    GPT,
    PAD,
    GPTConfig,
    decode_flops,
    encode,
    prefill_flops,
    train_flops,
)
from reward import (
    RM_LOSSES,
    RULES,
    WINDOW,
    Corpus,
    Judges,
    Labelled,
    Problem,
    Puzzle,
    Task,
    check_reward,
    check_split,
    draw_level,
    find_task,
    first_alarms,
    fit_judges,
    flip_verdicts,
    held_out_part,
    overoptimization,
    quality,
    reward_model,
)
from rollout import Batch, Buffers, rollout

# --------------------------------------------------------------------------------------
# Config: one flat dataclass, one flag for each field


@dataclass(frozen=True)
class Config:
    """Everything that decides a run. An empty string means: the usual choice."""

    # run
    task: str = "chain"  # chain, add or guess
    levels: str = ""  # e.g. 1-6 or 2,4; empty: the task's usual ones
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
    context: int = 128  # longest sequence in tokens
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
    updates: int = 1  # optimizer steps on each batch; beyond the first it is off-policy
    advantage: str = "grpo"  # grpo or dr_grpo
    loss: str = "clip"  # clip or cispo
    clip_low: float = 0.2  # ratios below 1 - clip_low stop pulling
    clip_high: float = 0.28  # above clip_low: rare tokens get room to rise (DAPO)
    aggregation: str = "token"  # sequence, token, prompt or constant
    kl_coef: float = 0.0  # times the KL to the base; 0: no reference is kept
    entropy_bonus: float = 0.0  # times the entropy, added to the objective
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
        task = find_task(self.task)
        for level in self.level_list():
            if level not in task.levels:
                raise ValueError(
                    f"{self.task} has levels {task.levels[0]}-{task.levels[-1]}, "
                    f"not {level}"
                )
        if not task.test_levels(self.level_list()):
            raise ValueError(
                f"levels {self.levels} of {self.task} have too few problems to hold "
                "some out for a test; add a harder level"
            )
        if self.group_size < 2:
            raise ValueError(
                "group_size must be at least 2 to compare answers, got "
                f"{self.group_size}"
            )
        positive = "dim layers heads kv_heads head_dim hidden context threads updates"
        positive += " pretrain_batch prompts_per_step micro_batch evals eval_problems"
        positive += " eval_samples pretrain_lr lr max_grad_norm"
        positive += " rm_answers rm_steps rm_models"
        for name in positive.split():
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        counts = "steps pretrain_steps warmup pretrain_warmup kl_coef patience rm_refit"
        for name in counts.split():
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        check_reward(self.reward, task)
        for name in ("false_positive", "false_negative"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1")
            if getattr(self, name) and self.reward in RULES:
                raise ValueError(
                    f"{name} flips verdicts; reward {self.reward} is a rule of its own"
                )
        choices = {
            "advantage": grpo.BASELINES,
            "loss": grpo.LOSSES,
            "aggregation": grpo.AGGREGATIONS,
            "rm_loss": RM_LOSSES,
            "device": ("auto", "cpu", "cuda"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}; "
                    f"got {getattr(self, name)!r}"
                )
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda was asked for but torch sees no GPU")
        self.corpus()
        self.gpt()
        longest = max(
            len(task.generate(n, random.Random(0)).prompt) for n in self.level_list()
        )
        if longest + self.max_new() > self.context:
            raise ValueError(
                f"a prompt of {longest} tokens and an answer of up to {self.max_new()} "
                f"do not fit the context of {self.context}; raise --context"
            )

    def level_list(self) -> list[int]:
        """The levels as numbers. ValueError for text that is none."""
        if not self.levels:
            return list(find_task(self.task).levels)
        levels: set[int] = set()
        for part in self.levels.split(","):
            first, _, last = part.partition("-")
            if not first.isdecimal() or not (last or first).isdecimal():
                raise ValueError(
                    f"levels must look like 1-6 or 2,4; got {self.levels!r}"
                )
            levels |= set(range(int(first), int(last or first) + 1))
        return sorted(levels)

    def max_new(self) -> int:
        """Tokens an answer may have: a quarter more than the longest demonstration."""
        task = find_task(self.task)
        longest = max(task.max_tokens(level) for level in self.level_list())
        return longest + longest // 4

    def corpus(self) -> Corpus:
        return Corpus(self.think_share, self.noise, self.skew, self.weak)

    def gpt(self) -> GPTConfig:
        names = "dim layers heads kv_heads head_dim hidden context"
        return GPTConfig(**{name: getattr(self, name) for name in names.split()})

    def folder(self) -> Path:
        return Path(self.out or f"out/{self.task}-{self.seed}")


# What a task needs to meet its time on a CPU, where it differs from Config's defaults.
TASK_DEFAULTS: dict[str, dict] = {
    "chain": dict(levels="1-5"),
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
    """Config of the fields given, the task's own defaults, then the general ones."""
    task = str(given.get("task", Config.task))
    return Config(**{**TASK_DEFAULTS.get(task, {}), **given})  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------
# The ledger: what every phase cost

PHASES = ("pretrain", "prefill", "decode", "reward", "logprob", "update", "evaluation")
RL_PHASES = ("prefill", "decode", "reward", "logprob", "update")


@dataclass
class Ledger:
    """FLOPs, tokens and seconds of each phase, as running totals.

    `reward` stays at 0 FLOPs as long as rewards come from a program, `logprob` as long
    as the sampler's own log-probabilities are the old policy's.
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


@dataclass
class Run:
    """All there is to save. `step` counts within `phase`: pretrain, then rl."""

    cfg: Config
    folder: Path
    model: GPT
    optimizer: torch.optim.Optimizer
    base: dict[str, Tensor] = field(default_factory=dict)  # weights before RL
    phase: str = "pretrain"
    step: int = 0
    levels: dict[str, list[int]] = field(default_factory=dict)  # train, easy
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

    def save(self) -> None:
        """Write checkpoint.pt; a kill at any moment leaves the old or the new one.

        It remembers how long the logs were: rows written after it are cut on resume.
        """
        sizes = {name: os.path.getsize(self.folder / name) for name in LOGS}
        state = {
            "config": asdict(self.cfg),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "base": self.base,
            "phase": self.phase,
            "step": self.step,
            "levels": self.levels,
            "judges": self.judges.state() if self.judges else {},
            "audits": self.audits,
            "best": self.best,
            "ledger": asdict(self.ledger),
            "sizes": sizes,
        }
        path = self.folder / "checkpoint.pt"
        with open(path.with_suffix(".tmp"), "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path.with_suffix(".tmp"), path)

    def load(self, state: dict) -> None:
        """Continue from a checkpoint: the inverse of save, logs included."""
        self.model.load_state_dict(state["model"])
        self.phase, self.step = state["phase"], state["step"]
        if self.phase != "pretrain":
            self.optimizer = optimizer_of(self.model, self.cfg.lr)
        self.optimizer.load_state_dict(state["optimizer"])
        self.base, self.levels = state["base"], state["levels"]
        if state["judges"]:
            self.judges = Judges.of(state["judges"], self.model.config)
        self.audits, self.best = state["audits"], state["best"]
        self.ledger = Ledger(**state["ledger"])
        for name, size in state["sizes"].items():
            if os.path.getsize(self.folder / name) < size:
                raise ValueError(f"{self.folder / name} was cut; delete the folder")
            os.truncate(self.folder / name, size)


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
    """A run at its first step, with a model whose weights depend on the seed alone."""
    device = cfg.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(cfg.threads)
    torch.manual_seed(cfg.seed)
    model = GPT(cfg.gpt()).to(device)
    return Run(cfg, cfg.folder(), model, optimizer_of(model, cfg.pretrain_lr))


def open_run(cfg: Config) -> Run:
    """The run of a config: new, continued where it stopped, or begun from its own base.

    ValueError where the folder cannot be written or holds a run that does not fit.
    """
    folder = cfg.folder()
    run = new_run(cfg)
    device = run.model.embed.weight.device
    base = read_checkpoint(Path(cfg.base), device) if cfg.base else {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in LOGS:
            (folder / name).touch()
    except OSError as error:
        raise ValueError(
            f"--out {folder} cannot be written ({error.strerror}); choose another"
        ) from error
    if (folder / "checkpoint.pt").exists():
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
    """Empty the logs. Without the checkpoint first: it knows how long they were."""
    (run.folder / "checkpoint.pt").unlink(missing_ok=True)
    for name in LOGS:
        (run.folder / name).write_text("")


def start_from_base(run: Run, state: dict) -> None:
    """Begin RL from the base in another run's checkpoint, its cost included."""
    theirs = Config(**state["config"])
    if theirs.gpt() != run.cfg.gpt():
        raise ValueError(
            "the base has another size of model; give the same model flags"
        )
    if theirs.task != run.cfg.task or not state["base"]:
        raise ValueError(f"that run has no finished base for the task {run.cfg.task}")
    clear_logs(run)
    run.model.load_state_dict(state["base"])
    for name in ("flops", "tokens", "seconds"):
        cost = state["ledger"][name]["pretrain"]
        getattr(run.ledger, name)["pretrain"] = cost
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
    weights = model.parameters()
    return torch.optim.AdamW(
        weights, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def by_length(lengths: list[int], rows: int) -> list[list[int]]:
    """Indices in micro-batches of at most `rows`, like lengths together."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [order[i : i + rows] for i in range(0, len(order), rows)]


def apply_gradients(run: Run) -> float:
    """Clip to max_grad_norm and step. Returns the norm before clipping.

    Raises FloatingPointError before any weight is touched if it is not finite.
    """
    norm = torch.nn.utils.clip_grad_norm_(
        run.model.parameters(), run.cfg.max_grad_norm
    ).item()
    if not np.isfinite(norm):
        raise FloatingPointError(
            f"the gradient of {run.phase} step {run.step} is not finite; lower the "
            "learning rate"
        )
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return norm


# --------------------------------------------------------------------------------------
# Pretraining


def demo_batch(cfg: Config, step: int) -> tuple[Tensor, Tensor, list[int]]:
    """Tokens (B, T), mask (B, T) of what a policy wrote, and lengths, of one step."""
    task, corpus, levels = find_task(cfg.task), cfg.corpus(), cfg.level_list()
    rng = random.Random(f"{cfg.seed} pretrain {step}")
    rows, masks = [], []
    for _ in range(cfg.pretrain_batch):
        problem = task.draw(draw_level(levels, corpus, rng), "base", rng)
        check_split(problem, "base")
        demo = task.demonstrate(problem, corpus, rng)
        rows.append(encode(problem.prompt + "".join(demo.segments)))
        mask = [0.0] * len(problem.prompt)
        for i, segment in enumerate(demo.segments):
            mask += [1.0 - i % 2] * len(
                segment
            )  # the policy's and the environment's turn
        masks.append(mask)
    lengths = [len(row) for row in rows]
    T = max(lengths)
    tokens = torch.tensor([row + [PAD] * (T - len(row)) for row in rows])
    mask = torch.tensor([m + [0.0] * (T - len(m)) for m in masks])
    return tokens, mask, lengths


def pretrain(run: Run, stop: "Stop") -> None:
    """Next-token training on demonstrations, loss on what a policy would write.

    Prompts are random digits: nothing to learn, and their loss would swamp the rest.
    """
    cfg, model = run.cfg, run.model
    device = model.embed.weight.device
    bar = tqdm(
        total=cfg.pretrain_steps, initial=run.step, desc="pretrain", unit="step", **BAR
    )
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

# Streams of random numbers: key (seed, stream, step).
RL, EVAL, CALIBRATE, LABEL, NOISE = range(5)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that k of n samples, c of them right, hold a right one (2107.03374).

        1 - C(n - c, k) / C(n, k) = 1 - prod_{i<k} (n - c - i) / (n - i)

    Unbiased, unlike 1 - (1 - c/n)^k.
    """
    wrong = 1.0
    for i in range(k):
        wrong *= max(n - c - i, 0) / (n - i)
    return 1.0 - wrong


def wilson(rate: float, n: int) -> tuple[float, float]:
    """95 % interval of a binomial rate from n trials (Wilson's score interval)."""
    z = 1.96
    center = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5
    return center - half, center + half


def test_set(cfg: Config) -> list[Problem]:
    """The held-out problems: the same for every seed, size and recipe of a task."""
    task = find_task(cfg.task)
    levels = task.test_levels(cfg.level_list())
    count = -(-cfg.eval_problems // len(levels))
    problems = [p for level in levels for p in task.test_problems(level, count)]
    for problem in problems:
        check_split(problem, "test")
    return problems


def sample_and_score(
    run: Run, problems: list[Problem], samples: int, key: tuple[int, ...], greedy: bool
) -> tuple[Batch, Tensor]:
    """Answers to problems and their rewards (P, samples), charged to evaluation."""
    began = time.perf_counter()
    batch = rollout(
        run.model, problems, samples, run.cfg.max_new(), key, run.buffers, greedy
    )
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
    correct = [int(c) for c in rewards.sum(1)]
    ks = [k for k in (1, 2, 4, 8, 16) if k <= samples]
    row = {
        "split": "test",
        "pass_rate": rate,
        "low": low,
        "high": high,
        "pass_rate_greedy": greedy.mean().item(),
        "problems": len(problems),
        "samples": samples,
        "pass_at": {
            k: float(np.mean([pass_at_k(samples, c, k) for c in correct])) for k in ks
        },
        "answer_tokens": batch.mask.sum().item() / num,
        "truncated": float(np.mean(batch.truncated)),
        "by_level": {
            level: rewards[[p.level == level for p in problems]].mean().item()
            for level in sorted({p.level for p in problems})
        },
        **by_thought(find_task(cfg.task), batch, rewards.flatten()),
        "correct": correct,
    }
    row["kl_base"] = kl_to_base(run, batch, samples, "evaluation").mean().item()
    if cfg.reward != "gold" or cfg.false_positive or cfg.false_negative:
        row["reward"] = pay(run, batch, rewards, "evaluation").mean().item()
    run.log("eval", **row)
    write_samples(run, batch, rewards)
    return row


def by_thought(task: Task, batch: Batch, rewards: Tensor) -> dict[str, float]:
    """Share of answers with a thought, and pass rate with and without one."""
    if not isinstance(task, Puzzle):
        return {}
    thought = torch.tensor([batch.text(i)[:1] == "[" for i in range(len(rewards))])
    rates = {"think_share": thought.float().mean().item()}
    for name, rows in (("think", thought), ("direct", ~thought)):
        if rows.any():
            rates[f"pass_rate_{name}"] = rewards[rows].mean().item()
    return rates


def write_samples(run: Run, batch: Batch, rewards: Tensor) -> None:
    """Append a few answers to samples.txt, so that a reader can see what changed."""
    group, count = rewards.shape[1], 8
    with open(run.folder / "samples.txt", "a") as file:
        file.write(f"step {run.step}\n")
        for p in range(0, len(rewards), len(rewards) // count + 1):
            verdict = "right" if rewards[p, 0] else "wrong"
            prompt = batch.envs[p * group].problem.prompt
            file.write(f"  {verdict}  {prompt}{batch.text(p * group)!r}\n")


def calibrate(run: Run) -> None:
    """Choose the levels RL trains on: those the base passes sometimes, not always.

    A level never passed gives no contrast to learn from, one always passed none either
    (RLVE arXiv:2511.07317 finds the same at scale).
    """
    cfg, task = run.cfg, find_task(run.cfg.task)
    rates = {}
    for level in cfg.level_list():
        rng = random.Random(f"{cfg.seed} calibrate {level}")
        problems = [task.draw(level, "calibrate", rng) for _ in range(64)]
        key = (cfg.seed, CALIBRATE, level)
        _, rewards = sample_and_score(run, problems, 4, key, greedy=False)
        rates[level] = rewards.mean().item()
    train = [n for n, rate in rates.items() if cfg.pass_low <= rate <= cfg.pass_high]
    table = "  ".join(f"{level}: {rate:.2f}" for level, rate in rates.items())
    print(f"pass rate of the base by level   {table}")
    if not train:
        train = [min(rates, key=lambda n: abs(rates[n] - 0.3))]
        print(
            f"WARNING: no level passes between {cfg.pass_low} and {cfg.pass_high}; RL "
            f"trains on level {train[0]} and may not learn. Pretrain longer or shorter."
        )
    easy = [n for n, rate in rates.items() if rate > cfg.pass_high]
    print(
        f"RL trains on levels {train}, and on {easy or 'none'} lest they be forgotten"
    )
    run.levels = {"train": train, "easy": easy}
    run.log("calibrate", pass_rates=rates, **run.levels)


# --------------------------------------------------------------------------------------
# Reinforcement learning


def draw_prompts(run: Run) -> list[Problem]:
    """The problems of one step, keyed by (seed, step, prompt)."""
    cfg, task, problems = run.cfg, find_task(run.cfg.task), []
    for p in range(cfg.prompts_per_step):
        rng = random.Random(f"{cfg.seed} rl {run.step} {p}")
        easy = bool(run.levels["easy"]) and rng.random() < cfg.easy_share
        level = rng.choice(run.levels["easy" if easy else "train"])
        problem = task.draw(level, "rl", rng)
        check_split(problem, "rl")
        problems.append(problem)
    return problems


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


def logprobs_under(
    run: Run, batch: Batch, weights: dict[str, Tensor], phase: str = "logprob"
) -> Tensor:
    """Log-probabilities (B, T) of a batch under other weights, without gradient."""
    logp, began = torch.zeros_like(batch.logp), time.perf_counter()
    other = GPT(run.model.config).to(logp.device)
    other.load_state_dict(weights)
    with torch.no_grad():
        for rows in by_length(batch.lengths, run.cfg.micro_batch):
            (tokens,) = trim(batch.lengths, rows, batch.tokens)
            scored = grpo.token_logprobs(other(tokens), tokens)
            logp[rows, : scored.shape[1]] = scored
    flops = sum(prefill_flops(other.config, n) for n in batch.lengths)
    spent = time.perf_counter() - began
    run.ledger.add(phase, flops, sum(batch.lengths), spent)
    return logp


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
    groups, parts = zip(
        *(held_out_part(env.problem) for env in batch.envs), strict=True
    )
    tokens, parts = batch.tokens.clone(), np.array(parts)
    return Labelled(tokens, batch.lengths, labels, np.array(groups), parts)


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


def watched(cfg: Config) -> bool:
    """Is the distance to the base worth a forward pass in every step?"""
    return cfg.reward != "gold" or cfg.kl_coef > 0


def update(run: Run, batch: Batch, advantages: Tensor) -> dict[str, float]:
    """`updates` optimizer steps on one batch; advantages (P, G), flat groups all zero.

    Flat groups are dropped from the loss and its denominators (ScaleRL): they would add
    nothing but padding to work through.
    """
    cfg, model = run.cfg, run.model
    device = batch.tokens.device
    advantage = advantages.flatten().to(device)  # (B,)
    kept = advantages.abs().amax(1).gt(0).repeat_interleave(cfg.group_size)
    kept = kept.nonzero()[:, 0].tolist()
    if not kept:
        return {"grad_norm": 0.0, "ratio_max": 1.0}
    tokens_of = batch.mask[kept].sum(1).long()
    weights = torch.zeros_like(advantage)
    weights[kept] = grpo.sequence_weights(
        tokens_of,
        cfg.aggregation,
        cfg.group_size,
        cfg.max_new(),
        num_tokens=int(tokens_of.sum()),
        num_sequences=len(kept),
    )
    lengths = [batch.lengths[i] for i in kept]
    set_lr(run.optimizer, cfg.lr * min(1.0, (run.step + 1) / max(cfg.warmup, 1)))
    ratio_max = 0.0
    for _ in range(cfg.updates):
        for part in by_length(lengths, cfg.micro_batch):
            rows = [kept[i] for i in part]
            tokens, old_logp, mask = trim(
                batch.lengths, rows, batch.tokens, batch.logp, batch.mask
            )
            logits = model(tokens)
            loss, ratio = grpo.policy_loss(
                grpo.token_logprobs(logits, tokens),
                old_logp,
                advantage[rows],
                mask,
                weights[rows],
                cfg.loss,
                cfg.clip_low,
                cfg.clip_high,
            )
            if cfg.entropy_bonus:
                entropy = (grpo.token_entropy(logits) * mask).sum(1)
                loss = loss - cfg.entropy_bonus * (entropy * weights[rows]).sum()
            loss.backward()
            ratio_max = max(ratio_max, ratio.max().item())
        grad_norm = apply_gradients(run)
    flops = cfg.updates * sum(train_flops(model.config, n) for n in lengths)
    run.ledger.add("update", flops, cfg.updates * sum(lengths), 0.0)
    return {"grad_norm": grad_norm, "ratio_max": ratio_max}


def reinforce(run: Run, stop: "Stop") -> None:
    """The RL loop, one step as the README's five."""
    cfg, ledger = run.cfg, run.ledger
    marks = eval_steps(cfg)
    bar = tqdm(total=cfg.steps, initial=run.step, desc="RL", unit="step", **BAR)
    saved = time.monotonic()
    while run.step < cfg.steps and run.phase == "rl":
        # 1. sample a group of answers to each prompt
        began = time.perf_counter()
        if cfg.rm_refit and run.step and run.step % cfg.rm_refit == 0:
            fit_reward(run)
            began = time.perf_counter()
        problems, key = draw_prompts(run), (cfg.seed, RL, run.step)
        max_new, group = cfg.max_new(), cfg.group_size
        batch = rollout(run.model, problems, group, max_new, key, run.buffers)
        sampled = time.perf_counter()
        ledger.add_rollout(run.model.config, batch, group, sampled - began)
        # 2. grade every answer
        gold = grade(batch, group)  # (P, G) the truth
        rewards = pay(run, batch, gold)  # (P, G) the same, unless --reward says else
        graded = time.perf_counter()
        ledger.add("reward", 0, 0, graded - sampled)
        kl = kl_to_base(run, batch, group) if watched(cfg) else torch.zeros(1)
        if cfg.patience and audit(run, gold):
            stop_early(run)
            break
        # 3. compare the answers within each group
        updating = time.perf_counter()
        paid = rewards - cfg.kl_coef * kl
        advantages = grpo.group_advantages(paid, cfg.advantage)  # (P, G)
        # 4. make the better answers likelier
        stats = update(run, batch, advantages)
        ledger.add("update", 0, 0, time.perf_counter() - updating)
        # 5. report
        run.step += 1
        stats = {**batch_stats(batch, rewards, gold), **stats}
        if watched(cfg):
            stats["kl_base"] = kl.mean().item()
        run.log("rl", **stats)
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


def batch_stats(batch: Batch, rewards: Tensor, gold: Tensor) -> dict[str, float]:
    """What a step's samples say about the policy: `reward` is paid, `gold` is true.

    Entropy is the mean of -log pi over sampled tokens: an unbiased estimate, for free.
    """
    num_tokens = max(batch.mask.sum().item(), 1.0)
    thoughts = by_thought(batch.envs[0].task, batch, gold.flatten())
    return {
        "reward": rewards.mean().item(),
        "gold": gold.mean().item(),
        **{name: x for name, x in thoughts.items() if name == "think_share"},
        "live_groups": grpo.live_groups(rewards).float().mean().item(),
        "truncated": float(np.mean(batch.truncated)),
        "entropy": -batch.logp.sum().item() / num_tokens,
        "answer_tokens": num_tokens / rewards.numel(),
    }


def eval_steps(cfg: Config) -> set[int]:
    """Steps after which to evaluate: evenly in log steps, the last one included."""
    if not cfg.steps:
        return set()
    return {int(round(s)) for s in np.geomspace(1, cfg.steps, cfg.evals)} | {cfg.steps}


# --------------------------------------------------------------------------------------
# Reporting

BAR: dict = {"dynamic_ncols": True, "mininterval": 0.5, "file": sys.stderr}
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
    task = find_task(run.cfg.task)
    levels = task.test_levels(run.cfg.level_list())
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
    ceiling = float(np.mean([task.ceiling(n) for n in levels]))
    chance = float(np.mean([task.chance(n) for n in levels]))
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


# Pictures of rewards that went wrong, from the metrics.jsonl of finished runs


def hacking_table(folders: list[Path]) -> str:
    """A Markdown table, a row for each run: proxy, gold, and the alarms that rang.

    Gold is the held-out pass rate, the proxy what RL was paid, on the same answers.
    """
    lines = ["| run | proxy | gold: base | best | last | alarms, at step |"]
    lines.append("|---|---|---|---|---|---|")
    for folder in folders:
        rows = read_rows(folder, "eval")
        gold = [row["pass_rate"] for row in rows]
        paid = [row.get("reward", row["pass_rate"]) for row in rows]
        best = int(np.argmax(gold))
        rang = first_alarms(read_rows(folder, "rl"))
        cells = [folder.name, f"{paid[0]:.2f} to {paid[-1]:.2f}", f"{gold[0]:.2f}"]
        cells += [f"{gold[best]:.2f} at {rows[best]['step']}", f"{gold[-1]:.2f}"]
        cells += [", ".join(f"{name} {step}" for name, step in rang.items()) or "none"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot_hacking(folder: Path, path: Path) -> None:
    """Proxy, gold and the alarms over the steps of one run, answer length below."""
    rows = read_rows(folder, "eval")
    steps = [row["step"] for row in rows]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(7, 6), sharex=True, height_ratios=[2, 1], layout="constrained"
    )
    for name, label, color in (
        ("reward", "proxy: what RL is paid", "C1"),
        ("pass_rate", "gold: share of right answers", "C0"),
    ):
        values = [row[name] for row in rows]
        top.plot(steps, values, "o-", color=color, label=label)
    alarms = first_alarms(read_rows(folder, "rl"))
    for i, (name, step) in enumerate(sorted(alarms.items(), key=lambda x: x[1])):
        top.axvline(step, color="gray", lw=0.8, ls=":")
        place = dict(xycoords=("data", "axes fraction"), fontsize=8, color="gray")
        top.annotate(f" {name}", (step, 0.62 - 0.07 * i), **place)
    top.set(
        ylim=(0, 1.06), ylabel="held-out answers", title=f"RL paid by: {folder.name}"
    )
    top.legend(frameon=False, fontsize=9, loc="center right")
    bottom.plot(steps, [row["answer_tokens"] for row in rows], "o-", color="C2")
    bottom.set(xlabel="RL step (dotted: an alarm rings)", ylabel="tokens of an answer")
    bottom.set_ylim(0)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def distance_curve(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(d, gold, proxy) at each evaluation of a run; d = sqrt(KL(policy || base))."""
    rows = read_rows(folder, "eval")
    names = ("kl_base", "pass_rate", "reward")
    kl, gold, proxy = (np.array([row[name] for row in rows]) for name in names)
    return np.sqrt(np.maximum(kl, 0)), gold, proxy  # an estimate of 0 can be below it


def draw_overoptimization(axis: plt.Axes, label: str, folders: list[Path]) -> None:
    """Runs that differ in their seed, and one curve of Gao et al. through their gold.

    Fitted up to where gold first falls below 0.1: a pass rate cannot fall for ever, as
    the curve does. gain = gold - gold of the base.
    """
    ds, gains = [], []
    color = axis.plot([], [])[0].get_color()
    for folder in folders:
        d, gold, proxy = distance_curve(folder)
        axis.plot(d, gold, "o", color=color, ms=4)
        axis.plot(d, proxy, "^--", color=color, ms=3, alpha=0.4)
        alive = np.arange(len(d)) <= np.argmax([*(gold < 0.1), True])
        ds.append(d[alive])
        gains.append(gold[alive] - gold[0])
    d, gain = np.concatenate(ds), np.concatenate(gains)
    a, b = overoptimization(d, gain)
    error = gain[d > 0] - d[d > 0] * (a - b * np.log(d[d > 0]))
    fitted = 1 - error.var() / gain[d > 0].var()
    x = np.linspace(1e-3, d.max(), 200)
    text = f"{label}: d ({a:.2f} - {b:.2f} ln d), R2 {fitted:.2f}"
    axis.plot(x, gold[0] + x * (a - b * np.log(x)), color=color, label=text)


def plot_overoptimization(
    groups: dict[str, list[Path]], defences: dict[str, Path], path: Path
) -> None:
    """Gold over the distance from the base: left what a learned reward does, right what
    helps against it."""
    size = dict(figsize=(11, 4.6), sharey=True, layout="constrained")
    figure, (left, right) = plt.subplots(1, 2, **size)
    for label, folders in groups.items():
        draw_overoptimization(left, label, folders)
    for label, folder in defences.items():
        d, gold, _ = distance_curve(folder)
        (line,) = right.plot(d, gold, "o-", ms=4, label=label)
        right.plot(d[-1], gold[-1], "s", color=line.get_color(), ms=9, mfc="none")
    left.set(title="dots: gold, with its fit; triangles: proxy")
    left.set(ylabel="held-out pass rate, or mean reward")
    right.set(title="defences; a square marks where a run ends")
    for axis in (left, right):
        axis.set(
            ylim=(0, 1.05), xlabel="d = sqrt(KL) from the base (nats of an answer)"
        )
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def report(run: Run) -> None:
    """Print what RL changed and what it cost."""
    rows = read_rows(run.folder, "eval")
    before, after = rows[0], rows[-1]
    print(f"\n{'held out':26}{'base':>10}{'after RL':>10}")
    table = [
        ("pass rate, sampled", "pass_rate"),
        ("pass rate, greedy", "pass_rate_greedy"),
    ]
    table += [("answer length (tokens)", "answer_tokens")]
    table += [("share with a thought", "think_share")]
    table += [("pass rate with a thought", "pass_rate_think")]
    table += [("pass rate without", "pass_rate_direct")]
    for name, key in table:
        if key in before or key in after:
            cells = (
                f"{r[key]:10.3f}" if key in r else f"{'-':>10}" for r in (before, after)
            )
            print(f"{name:26}" + "".join(cells))
    most = max(before["pass_at"], key=int)
    cells = (f"{r['pass_at'].get(most, float('nan')):10.3f}" for r in (before, after))
    print(f"{'pass@' + most:26}" + "".join(cells))
    for level in before["by_level"]:
        cells = (f"{r['by_level'][level]:10.3f}" for r in (before, after))
        print(f"{'level ' + level:26}" + "".join(cells))
    num = after["problems"] * after["samples"]
    print(f"({after['problems']} problems never trained on, {num} samples)")
    print(f"\n{'phase':12}{'FLOPs':>10}{'tokens':>12}{'seconds':>10}")
    ledger = run.ledger
    for phase in PHASES:
        print(
            f"{phase:12}{ledger.flops[phase]:10.2e}{ledger.tokens[phase]:12,}"
            f"{ledger.seconds[phase]:10.1f}"
        )
    print(f"\nwrote {run.folder}/curve.png, samples.txt, metrics.jsonl, checkpoint.pt")


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
    """Save now and then, and on a signal; returns when the last save was."""
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
    # What a flag means is said once, behind its field in Config.
    notes = dict(
        re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(Config), re.M)
    )
    for f in fields(Config):
        text = notes.get(f.name, "") + (f" [{f.default}]" if f.default != "" else "")
        flag = "--" + f.name.replace("_", "-")
        parser.add_argument(flag, type=type(f.default), help=text, metavar="X")
    given = vars(parser.parse_args(argv))
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
    """Exit status: 0 done, 2 bad input, 130 and 143 saved after a signal."""
    try:
        train(parse_config(argv))
    except (ValueError, FloatingPointError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
