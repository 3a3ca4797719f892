"""A step of RL here and in TRL: same base, same task, same loss. Needs trl.

    python docs/benchmarks/trainers.py out/chain-0 [STEPS]

The base of a finished main job, levels 4 to 6 drawn alike (TRL has no relay), 16
prompts with 16 answers each, DAPO's loss, one update a step, no KL; AdamW, clipped
gradients and a constant rate. The two trainers take steps in turn, in one process on
one thread. Printed: seconds of a step, and the mean reward of each quarter of them.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch

try:
    import datasets
    import tokenizers
    import transformers
    import trl
except ImportError:
    trl = None

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from huggingface import as_qwen3  # noqa: E402

import grpo  # noqa: E402
import train  # noqa: E402
from model import CHARS, END, GPT, PAD, VOCAB_SIZE  # noqa: E402
from reward import Problem, find_task  # noqa: E402

LEVELS = (4, 5, 6)
LR = 7e-4


def problems_of(step: int) -> list[Problem]:
    """The 16 problems of a step, the same for both."""
    rng = random.Random(f"trainers {step}")
    return [find_task("chain").draw(rng.choice(LEVELS), "rl", rng) for _ in range(16)]


class Turns:
    """Two threads that take steps in turn: only one of them ever runs."""

    def __init__(self) -> None:
        self.mine = threading.Semaphore(1)
        self.theirs = threading.Semaphore(0)


def our_steps(run: train.Run, steps: int, turns: Turns, seconds: list) -> list[float]:
    """Steps of this trainer; returns the mean reward of each."""
    rewards = []
    for run.step in range(steps):
        turns.mine.acquire()
        began = time.perf_counter()
        batch = train.sample(run, problems_of(run.step))
        paid = train.pay(run, batch)
        groups = paid.rewards.view(-1, run.cfg.group_size)
        train.update(run, batch, grpo.group_advantages(groups), paid)
        seconds.append(time.perf_counter() - began)
        rewards.append(paid.rewards.mean().item())
        turns.theirs.release()
    return rewards


def character_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Our tokens, as transformers wants them."""
    spare = {f"<{i}>": i for i in range(PAD, VOCAB_SIZE)}
    words = {char: i for i, char in enumerate(CHARS)} | spare
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<91>"))
    every = tokenizers.Regex(r"[\s\S]")
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(every, "isolated")
    made.decoder = tokenizers.decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<91>", eos_token=CHARS[END]
    )


def their_trainer(
    base: GPT, max_new: int, steps: int, turns: Turns, seconds: list, rewards: list
) -> trl.GRPOTrainer:
    """TRL's trainer with the same settings; it appends to `seconds` and `rewards`."""
    known = {
        problem.prompt: problem for s in range(steps) for problem in problems_of(s)
    }
    prompts = [problem.prompt for s in range(steps) for problem in problems_of(s)]

    def verdicts(
        prompts: list[str], completion_ids: list[list[int]], **_: object
    ) -> list[float]:
        found = []
        for prompt, ids in zip(prompts, completion_ids, strict=True):
            text = "".join(CHARS[i] for i in ids if i < PAD)
            problem = known[prompt]
            found.append(float(problem.task.verify(problem, text)))
        rewards.append(statistics.mean(found))
        return found

    class TakesTurns(transformers.TrainerCallback):
        def on_step_begin(self, *_: object, **__: object) -> None:
            turns.theirs.acquire()
            self.began = time.perf_counter()

        def on_step_end(self, *_: object, **__: object) -> None:
            seconds.append(time.perf_counter() - self.began)
            turns.mine.release()

    theirs = as_qwen3(base).train()
    theirs.lm_head.register_forward_hook(lambda *call: call[2] + base.ban)
    theirs.generation_config.eos_token_id = END
    theirs.generation_config.pad_token_id = PAD
    args = trl.GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=256,
        num_generations=16,
        max_completion_length=max_new,
        max_steps=steps,
        learning_rate=LR,
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        max_grad_norm=1.0,
        beta=0.0,
        loss_type="dapo",
        epsilon=0.2,
        epsilon_high=0.28,
        temperature=1.0,
        top_k=0,
        shuffle_dataset=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    return trl.GRPOTrainer(
        theirs,
        verdicts,
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts}),
        processing_class=character_tokenizer(),
        callbacks=[TakesTurns()],
    )


def compare(folder: Path, steps: int) -> None:
    """Take `steps` steps each, in turn, from the base of a run; or say why not."""
    if trl is None:
        print("skipped: trl is not installed (pip install trl)")
        return
    transformers.logging.set_verbosity_error()
    state = train.read_checkpoint(folder)
    cfg = replace(train.Config(**state["config"]), out=tempfile.mkdtemp(), lr=LR)
    run = train.new_run(cfg)
    run.model.load_state_dict(state["base"])
    train.SLOWER = 10**9  # a constant rate
    train.WARMUP = 1
    turns = Turns()
    ours: list[float] = []
    theirs: list[float] = []
    their_rewards: list[float] = []
    trainer = their_trainer(run.model, cfg.max_new, steps, turns, theirs, their_rewards)
    train.begin_rl(run)
    thread = threading.Thread(target=trainer.train)
    thread.start()
    our_rewards = our_steps(run, steps, turns, ours)
    thread.join()
    print(f"trl {trl.__version__}, torch {torch.__version__}, {steps} steps each")
    names = ("this trainer", "TRL")
    for name, times in zip(names, (ours, theirs), strict=True):
        print(f"  {name:14}{statistics.median(times):7.3f} s a step")
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    print(f"  this trainer takes {ratio:.1f} times fewer seconds (median of pairs)")
    print("  mean reward of each quarter of the steps")
    for name, curve in zip(names, (our_rewards, their_rewards), strict=True):
        cut = [steps * i // 4 for i in range(5)]
        parts = [
            statistics.mean(curve[a:b]) for a, b in zip(cut, cut[1:], strict=False)
        ]
        print(f"  {name:14}" + "".join(f"{part:8.3f}" for part in parts))


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_folder = Path((sys.argv[1:] or ["out/chain-0"])[0])
    compare(run_folder, int((sys.argv[2:] or ["40"])[0]))
