"""How good a base is before RL: its loss, and the law of it (sizes, split)."""

from dataclasses import replace

import numpy as np
import torch

from grpo import token_logprobs
from model import pack
from scaling import STUDIES, Array, load
from train import Config, demo_batch, new_run, read_checkpoint

rivals = load(STUDIES / "rivals.py")


def base_loss(cfg: Config) -> dict[str, float]:
    """{"base_loss": nats a token} of a run's base, on 1,024 demonstrations.

    The same ones for all runs, numbered from beyond any training; an easy problem among
    them may have been trained on.
    """
    state = read_checkpoint(cfg.folder())
    cfg = replace(cfg, seed=0)
    model, loss, count = new_run(cfg).model, 0.0, 0
    model.load_state_dict(state["base"])
    device = model.embed.weight.device
    for step in range(-(-1024 // cfg.pretrain_batch)):
        columns, lengths = demo_batch(cfg, 10**9 + step)
        columns = {name: x.to(device) for name, x in columns.items()}
        tokens, mask = columns["tokens"], columns["mask"]
        with torch.no_grad():
            packed = pack(lengths, **columns)
            logp = token_logprobs(model(packed), tokens, packed.places)
        loss -= (logp * mask).sum().item()
        count += mask.sum().item()
    return {"base_loss": round(loss / count, 5)}


def loss_law(what: str, x: Array, losses: Array) -> str:
    """The base's loss as a power law of x, in words; nothing for fewer than 4 bases."""
    if len(x) < 4:
        return ""
    law = "no law is fitted, since it does not always fall"
    if (np.diff(losses) < 0).all():
        a, scale, exponent = rivals.fit_power_law(x.astype(float), 1 - losses)
        law = f"{1 - a:.3f} + {scale:.3g} x^-{exponent:.2f}"
    return f"\n\nLoss of the base over x {what}: {law}."
