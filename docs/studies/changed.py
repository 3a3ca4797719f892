"""One run of a study whose arm changes the program, and changes that studies share.

    python docs/studies/changed.py FILE FUNCTION [arguments] [flags of train.py]

The function runs first, then train.py. An arm names it: {"change": (imitate,)}.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import grpo  # noqa: E402
import reward  # noqa: E402
import train  # noqa: E402
from scaling import load  # noqa: E402


def constant_rate() -> None:
    """The learning rate of RL does not fall."""
    train.SLOWER = 1e9


def draw_evenly() -> None:
    """Open levels are drawn alike."""
    reward.Relay.draw = lambda self, rng: rng.choice(list(self.recent))


def all_levels() -> None:
    """All levels are drawn alike, from the first step on."""
    reward.Relay.draw = lambda self, rng: rng.choice(self.levels)
    train.Config.first_levels = property(lambda self: self.level_list)


def imitate() -> None:
    """Weight 1 to right answers and 0 to wrong ones: expert iteration."""
    grpo.group_advantages = lambda rewards, kind: rewards


if __name__ == "__main__":
    file, function, *rest = sys.argv[1:]
    values = [word for word in rest if not word.startswith("--")]
    getattr(load(Path(file)), function)(*values)
    sys.exit(train.main(rest[len(values) :]))
