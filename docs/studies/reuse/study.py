"""How many different problems does RL need? A pool of each level, drawn again."""

from random import Random

import train
from reward import Problem
from scaling import STUDIES, Study, load

compare = load(STUDIES / "compare.py")

POOLS = (1, 4, 16, 64, 256)


def make_arms(quick: bool) -> dict[str, dict]:
    pools = POOLS[::4] if quick else POOLS
    return {"unlimited": {}} | {
        f"{n} a level": {"change": (draw_from_pools, n)} for n in pools
    }


def draw_from_pools(size: str) -> None:
    """Each level has `size` problems, which a run draws over and over."""

    def draw_prompts(run: train.Run, first: int = 0, count: int = 0) -> list[Problem]:
        cfg, task, problems = run.cfg, train.find_task(run.cfg.task), []
        for p in range(first, first + (count or cfg.prompts_per_step)):
            rng = Random(f"{cfg.seed} rl {run.step} {p}")
            level = run.relay.draw(rng)
            place = Random(f"{cfg.seed} pool {level} {rng.randrange(int(size))}")
            problems.append(task.draw(level, "rl", place))
        return problems

    train.draw_prompts = draw_prompts


STUDY = Study(
    question="How many different problems does RL need?",
    fixed="the main job: 16 prompts a step for 230 steps",
    arms=make_arms,
    report=compare.compare_arms,
    literature=(
        "Tan et al.: reusing data up to 25 times costs nothing, 100 times overfits. "
        "One-example RLVR (arXiv:2504.20571) gains much of the full set's gain."
    ),
)
