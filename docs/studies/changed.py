"""One run of a study whose arm changes the program, and changes that studies share.

    python docs/studies/changed.py FILE FUNCTION [arguments] [flags of train.py]

The function runs first, then train.py. An arm names it: {"change": (imitate,)}.
"""

import signal
import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from random import Random

if __name__ == "__main__":  # Ctrl-C: no traceback, while torch is imported too
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

import grpo  # noqa: E402
import reward  # noqa: E402
import train  # noqa: E402
from scaling import load  # noqa: E402


def constant_rate() -> None:
    """The learning rate of RL does not fall."""
    train.SLOWER = 1e9


@dataclass
class OpenRelay(reward.Relay):
    """All levels are open from the first step on."""

    def __post_init__(self) -> None:
        self.first = self.levels


def draw_evenly() -> None:
    """Open levels are drawn alike."""
    reward.Relay.draw = lambda self, rng: rng.choice(list(self.recent))


def all_levels() -> None:
    """All levels are drawn alike, from the first step on."""
    reward.Relay.draw = lambda self, rng: rng.choice(self.levels)
    train.Relay = OpenRelay


def imitate() -> None:
    """Weight 1 to right answers and 0 to wrong ones: expert iteration."""
    grpo.group_advantages = lambda rewards, kind: rewards


def imitate_all_levels() -> None:
    """The same on all levels from the first step on: the base would open few."""
    imitate()
    all_levels()


def distil(teacher: str) -> None:
    """On-policy distillation: each token is paid its log-probability under the last
    policy of a finished run, less its own. Verdicts only open levels. `teacher` is that
    run's folder, seen from the folder of all runs."""
    honest, loaded = train.logprobs_under, {}
    grpo.group_advantages = lambda rewards, kind: torch.zeros_like(rewards)
    grpo.returns_to_go = lambda kl, mask: kl * mask

    def logprobs_under(run: train.Run, batch, weights, phase="logprob"):
        if phase != "logprob":
            return honest(run, batch, weights, phase)
        if not loaded:
            loaded["run"] = train.finished_run(run.folder.parents[1] / teacher)
            loaded["run"].ledger = run.ledger
        larger = loaded["run"]
        return honest(larger, batch, larger.model.state_dict())

    train.logprobs_under = logprobs_under


def flip_by_problem() -> None:
    """All verdicts on a problem are wrong together, or none (the same J)."""

    def pay(cfg: train.Config, batch: train.Batch, *_: object) -> np.ndarray:
        right = batch.verdicts().double().numpy()
        draws = [Random(env.problem.prompt).random() for env in batch.envs]
        flipped = [draw < cfg.false_positive for draw in draws]
        return np.where(flipped, 1 - right, right)

    reward.rewards = pay


def wrong_keys() -> None:
    """A share of problems has another digit for its key: that alone is paid."""

    def pay(cfg: train.Config, batch: train.Batch, *_: object) -> np.ndarray:
        paid = []
        for i, env in enumerate(batch.envs):
            problem = env.problem
            rng, key = Random(problem.prompt), problem.answer
            if rng.random() < cfg.false_negative:
                key = str((int(key) + rng.randrange(1, 10)) % 10)
            paid.append(float(problem.task.stated(batch.text(i)) == key))
        return np.array(paid)

    reward.rewards = pay


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    file, function, *rest = sys.argv[1:]
    values = list(takewhile(lambda word: not word.startswith("--"), rest))
    getattr(load(Path(file)), function)(*values)
    sys.exit(train.main(rest[len(values) :]))
