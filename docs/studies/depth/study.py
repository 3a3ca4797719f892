"""The price of depth: RL compute until each level is passed, and the levels to come."""

from scaling import STUDIES, Study, load

compare = load(STUDIES / "compare.py")

FAR = {"levels": "1-20", "steps": 920, "evals": 48, "eval_problems": 400}
FAR |= {"pretrain_steps": 10_000}


def make_arms(quick: bool) -> dict[str, dict]:
    if quick:
        return {"chain": {"levels": "1-12"}}
    return {"chain": FAR}


STUDY = Study(
    question="What does each further level cost, and when will the next be passed?",
    fixed="16 prompts of 16 answers a step",
    arms=make_arms,
    report=compare.compare_arms,
    literature="ScaleLogic: steps to 90 % grow as depth^gamma, gamma 1.04 to 2.60.",
)
