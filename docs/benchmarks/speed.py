"""Where the time of the main job goes, beside what this machine could do.

    python docs/benchmarks/speed.py out/chain-0     the folder of a finished main job

Every phase takes turns with the others in one process on one thread; printed are
medians of seven rounds. FLOPs are counted twice: as the ledger charges them, which is
what any trainer would do, and as torch counts what was really multiplied: padding is
left out and what answers share is worked out once. The last column divides the latter
rate by that of one large matrix product. Then `generate` of transformers and a step of
TRL's trainer, if they are installed.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import huggingface  # noqa: E402
import trainers  # noqa: E402

import grpo  # noqa: E402
import train  # noqa: E402
from reward import find_task  # noqa: E402

ROUNDS = 7


def matrix_product() -> float:
    """FLOPs a second of a product of two matrices (512, 512)."""
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(20):
            a @ b
        times.append((time.perf_counter() - began) / 20)
    return 2 * 512**3 / statistics.median(times)


def phases_of(folder: Path) -> tuple[train.Run, dict[str, Callable[[], object]]]:
    """A run with the weights of a finished one, and a call for each phase."""
    state = train.read_checkpoint(folder)
    cfg = replace(train.Config(**state["config"]), out=tempfile.mkdtemp(), lr=1e-9)
    run = train.new_run(replace(cfg, pretrain_lr=1e-9))
    run.model.load_state_dict(state["model"])
    run.base = state["base"]
    levels = cfg.level_list
    rng = train.random.Random(0)
    task = find_task(cfg.task)
    problems = [task.draw(levels[-1 - p % 3], "rl", rng) for p in range(16)]
    batch = train.sample(run, problems)
    paid = train.pay(run, batch)
    advantages = grpo.group_advantages(paid.rewards.view(-1, cfg.group_size))

    def pretrain() -> None:
        run.cfg = replace(run.cfg, pretrain_steps=run.step + 10)
        train.pretrain(run)

    return run, {
        "pretrain, 10 steps": pretrain,
        "sample": lambda: train.sample(run, problems),
        "score": lambda: train.logprobs_under(run, batch, run.base),
        "update": lambda: train.update(run, batch, advantages, paid),
        "evaluate": lambda: train.evaluate(run, cfg.eval_samples),
    }


def multiplied(call: Callable[[], object]) -> int:
    """FLOPs of the matrix products in a call, as torch counts them."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def phase_table(folder: Path) -> None:
    """Time and rates of each phase, printed as a table."""
    train.BAR["disable"] = True
    train.SAVE_SECONDS = float("inf")
    with contextlib.redirect_stdout(io.StringIO()):
        run, calls = phases_of(folder)
        charged, done, seconds = {}, {}, {name: [] for name in calls}
        for name, call in calls.items():
            call()
            before = run.ledger.flops.total()
            done[name] = multiplied(call)
            charged[name] = run.ledger.flops.total() - before
        for _ in range(ROUNDS):
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - began)
    peak = matrix_product()
    print(
        f"\ntorch {torch.__version__}, 1 thread, {peak / 1e9:.0f} GFLOP/s in a matmul\n"
    )
    print(
        "| phase | ms | GFLOP charged | GFLOP/s | multiplied | GFLOP/s | of a matmul |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, times in seconds.items():
        t, cells = statistics.median(times), ""
        for flops in (charged[name], done[name]):
            cells += f" {flops / 1e9:.2f} | {flops / t / 1e9:.0f} |"
        print(f"| {name} | {1e3 * t:.0f} |{cells} {done[name] / t / peak:.2f} |")
    print()


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_folder = Path((sys.argv[1:] or ["out/chain-0"])[0])
    try:
        phase_table(run_folder)
    except (ValueError, OSError) as error:
        sys.exit(f"speed.py: {error}")
    huggingface.main()
    trainers.compare(run_folder, 40)
