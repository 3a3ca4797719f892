"""Shared by all tests: one thread, a small random model, the two markers.

test_X.py tests X.py. Besides: test_device.py rollout.py on a GPU, test_reinforce.py a
step of RL, test_reinforce_rewards.py runs with other rewards, test_reward_models.py
judges, test_docs.py pages, test_house.py promises.
"""

import random
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import model  # noqa: E402
import reward  # noqa: E402


def pytest_configure(config):
    torch.set_num_threads(1)
    config.addinivalue_line("markers", "slow: takes over 10 seconds; CI runs it")
    config.addinivalue_line("markers", "gpu: needs a GPU, skipped without one")


def pytest_collection_modifyitems(config, items):
    """`pytest` alone leaves the slow tests out; `pytest -m slow` runs them."""
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no GPU here"))
        if "slow" in item.keywords and "slow" not in config.getoption("-m"):
            item.add_marker(pytest.mark.skip(reason="slow; run with -m slow"))


@pytest.fixture
def gpt():
    """A model with large random weights, so that a wrong position or mask shows."""
    torch.manual_seed(0)
    net = model.GPT(model.GPTConfig(dim=32, head_dim=8, hidden=48))
    for weight in net.parameters():
        if weight.dim() == 2 and len(weight) > 2:  # not QK-norm's
            torch.nn.init.normal_(weight, std=0.3)
        else:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    return net


@pytest.fixture
def problems():
    """Prompts of many lengths, of one turn and of several."""
    rng = random.Random(0)
    levels = {"chain": (3, 1, 4), "guess": (3, 1, 4), "add": (3, 2, 4)}
    pairs = [(reward.find_task(task), n) for task in levels for n in levels[task]]
    return [task.draw(level, "rl", rng) for task, level in pairs]
