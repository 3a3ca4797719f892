"""Ten classic bugs of RL code, each a function that plants it before a run begins.

    python docs/studies/changed.py docs/museum/bugs.py shared_seed --out out/bug

They change the running program, not its files. study.py runs each on three seeds.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

import grpo  # noqa: E402
import model  # noqa: E402
import reward  # noqa: E402
import rollout  # noqa: E402
import train  # noqa: E402


def shared_seed() -> None:
    """All answers to a prompt are drawn with the same random numbers."""
    honest = rollout.new_batch

    def new_batch(problems: list, group_size: int, *rest: object) -> tuple:
        batch, draws = honest(problems, group_size, *rest)
        return batch, draws[::group_size].repeat_interleave(group_size, 0)

    rollout.new_batch = new_batch


def wrong_groups() -> None:
    """Rewards are reshaped (G, P) and turned: a group holds answers to many prompts."""
    honest = grpo.group_advantages

    def advantages(rewards: torch.Tensor, kind: str) -> torch.Tensor:
        num_prompts, group = rewards.shape
        mixed = rewards.reshape(group, num_prompts).T
        return honest(mixed, kind).T.reshape(num_prompts, group)

    grpo.group_advantages = advantages


def mask_off_by_one() -> None:
    """The loss takes the token before the answer, and leaves out its last one."""
    honest = train.loss_columns

    def columns(*given: object) -> dict:
        found = honest(*given)
        return found | {"mask": found["mask"].roll(-1, dims=1)}

    train.loss_columns = columns


def top_k_sampler() -> None:
    """The sampler draws from the 2 likeliest tokens; the trainer knows of all."""
    honest = rollout.inverse_cdf

    def draw(logprobs, u, row) -> torch.Tensor:
        lowest = logprobs.topk(2).values[:, -1:]
        return honest(logprobs.masked_fill(logprobs < lowest, -torch.inf), u, row)

    rollout.inverse_cdf = draw


def missing_end() -> None:
    """The token that ends an answer is not in the loss."""
    honest = train.loss_columns

    def columns(*given: object) -> dict:
        found = honest(*given)
        return found | {"mask": found["mask"] * (found["tokens"] != rollout.END)}

    train.loss_columns = columns


def stale_cache() -> None:
    """A decode step writes its keys and values over those of the step before."""
    honest = model.GPT.addresses

    def addresses(*given: object) -> model.Decode:
        how = honest(*given)
        return how._replace(positions=how.positions - 1)

    model.GPT.addresses = addresses


def flat_rewards() -> None:
    """The grader compares with a trailing space: no answer is ever paid."""

    def pay(cfg: object, batch: rollout.Batch, *_: object):
        answers = [env.problem.answer + " " for env in batch.envs]
        paid = [batch.text(i).strip() == answer for i, answer in enumerate(answers)]
        return torch.tensor(paid).double().numpy()

    reward.rewards = pay


def kl_in_the_loss() -> None:
    """The KL penalty is the mean of log pi - log base in the loss: on average that
    has no gradient, so nothing is held however large the coefficient is."""
    grpo.KLS["k3_loss"] = ("k1", "loss")


def answer_leak() -> None:
    """In training the prompt begins with its answer; in tests it does not."""
    honest = train.draw_prompts

    def draw_prompts(*given: object) -> list:
        problems = honest(*given)
        return [replace(p, prompt=p.answer + p.prompt[1:]) for p in problems]

    train.draw_prompts = draw_prompts
