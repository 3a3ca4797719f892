"""How good a base is before RL: its loss, and what RL adds to it."""

import re
from dataclasses import replace

import numpy as np
import torch

from grpo import token_logprobs
from model import decode, pack
from scaling import STUDIES, Arms, Result, load, table
from train import Config, demo_batch, new_run, read_checkpoint

compare = load(STUDIES / "compare.py")


CHAIN = re.compile(r"C\d(?:[a-z][+-]\d)+:(?:\[([^\]]*)\])?(\d)\n")


def nats_of(text: str, think_share: float, noise: float) -> float:
    """-log of the chance that a demonstrator of chain writes this after the prompt.

    A step's result is redrawn with chance `noise` and may come out right; an answer
    without a thought hides as many steps. All else follows from what stands before.
    """
    thought, answer = CHAIN.fullmatch(text).groups()
    sure = 1 - 0.9 * noise  # the chance of a right result
    prompt = text.split(":")[0]
    steps = re.findall(r"[+-]\d", prompt)
    if thought is None:
        right = int(answer) == (int(prompt[1]) + sum(map(int, steps))) % 10
        sure = 0.1 + 0.9 * (1 - noise) ** len(steps)
        return -np.log(1 - think_share) - np.log(sure if right else (1 - sure) / 9)
    nats = -np.log(think_share)
    for value, step, result in re.findall(r"(\d)[a-z]([+-]\d)=(\d)", thought):
        right = int(result) == (int(value) + int(step)) % 10
        nats -= np.log(sure if right else noise / 10)
    return nats


def base_loss(cfg: Config) -> dict[str, float]:
    """Nats a token of a run's base on 1,024 demonstrations, `base_loss`; of chain also
    their demonstrators' own, `floor`, which no model can be below.

    The same demonstrations for all runs, numbered from beyond any training; an easy
    problem among them may have been trained on.
    """
    state = read_checkpoint(cfg.folder)
    cfg = replace(cfg, seed=0)
    model, loss, floor, count = new_run(cfg).model, 0.0, 0.0, 0
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
        if cfg.task == "chain":
            for row, length in zip(tokens, lengths, strict=True):
                text = decode(row[:length].tolist())
                floor += nats_of(text, cfg.think_share, cfg.noise)
    found = {"base_loss": round(loss / count, 5)}
    return found | ({"floor": round(float(floor) / count, 5)} if floor else {})


def cost_of(runs: list[Result]) -> float:
    """FLOPs of the base."""
    return float(runs[0].rows[0]["pretrain_flops"])


def cliff(arms: Arms) -> tuple[str, str]:
    """A table of what RL adds to each base, and the gain's regression on ln(1 / p_0).

    p_0 is a base's pass rate at level 5, the first that no demonstration shows.
    """
    rows, skill, gains = [], [], []
    for name, runs in arms.items():
        starts = np.array([r.rows[0]["pass_rate"] for r in runs])
        edges = np.array([r.rows[0]["by_level"]["5"]["pass_rate"] for r in runs])
        rises = np.array([r.final() for r in runs]) - starts
        skill += np.log(1 / np.maximum(edges, 0.01)).tolist()
        gains += rises.tolist()
        cells = [name, f"{cost_of(runs):.1e}"]
        cells += [", ".join(f"{r.measured['base_loss']:.3f}" for r in runs)]
        cells += [", ".join(f"{edge:.2f}" for edge in edges), f"{starts.mean():.3f}"]
        end = min(r.rows[-1]["rl_flops"] for r in runs)
        for part in (0.1, 1 / 3, 1.0):
            cells.append(f"{np.mean(compare.rates_at(runs, part * end)):.3f}")
        rows.append([*cells, ", ".join(f"{rise:+.3f}" for rise in rises)])
    header = "base | pretraining FLOPs | loss, each seed | p_0, each seed | R_0"
    header += " | after a tenth of RL | a third | all | gain, each seed"
    slope, start = np.polyfit(skill, gains, 1)
    r = np.corrcoef(skill, gains)[0, 1]
    law = f"gain = {start:.2f} {slope:+.2f} ln(1 / p_0), R^2 {r * r:.2f}"
    about = f"p_0 is that of level 5, the first not shown. Over all runs {law}."
    return f"{table(header, rows)}\n\n{about}", law
