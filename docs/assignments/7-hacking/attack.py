"""Module 7: attacks on two rules of reward.py, a defence, an alarm.

python docs/assignments/7-hacking/attack.py     what your functions do
"""

import json
import re
import sys
from pathlib import Path
from random import Random


def hack_contains(prompt: str) -> str:
    """A completion of at most 20 characters that the rule `contains` always pays and
    the verifier does not accept, for any prompt of the chain, unsolved."""
    return "0123456789\n"


def hack_format(prompt: str) -> str:
    """The shortest completion that the rule `format` always pays, whatever the prompt
    of the chain says."""
    return "0\n"


def strict(answer: str, text: str) -> float:
    """1.0 if a completion states a number, and that is the right one; else 0.0.

        [thought]number\\n      or      number\\n

    A thought may be empty and holds no brackets; a number is digits 0 to 9 only, and
    is right if it reads exactly as `answer`. Nothing else may stand in the text. It
    never raises, whatever the text is.
    """
    match = re.fullmatch(r"(?:\[[^\[\]]*\])?([0-9]+)\n", text)
    return float(match is not None and match[1] == answer)


def first_alarm(rows: list[dict]) -> int | None:
    """The `step` of the first row at which the hack shows; None if it never does.

    The gap of a row is `reward` less `gold`. From the tenth row on: the mean gap of the
    last ten rows is more than 0.1 above that of the first ten.
    """
    gaps = [row["reward"] - row["gold"] for row in rows]
    for i in range(10, len(rows) + 1):
        if (sum(gaps[i - 10 : i]) - sum(gaps[:10])) / 10 > 0.1:
            return rows[i - 1]["step"]
    return None


def main() -> None:
    """What the attacks earn on 100 problems; when your alarm rings in recorded runs."""
    root = Path(__file__).resolve().parents[3]
    sys.path.insert(0, str(root))
    from reward import RULES, find_task

    task, rng = find_task("chain"), Random(0)
    problems = [task.draw(5 + i % 5, "test", rng) for i in range(100)]
    for name, hack in (("contains", hack_contains), ("format", hack_format)):
        texts = [hack(problem.prompt) for problem in problems]
        pairs = list(zip(problems, texts, strict=True))
        paid = sum(RULES[name](p, text, 0.0) for p, text in pairs)
        right = sum(task.verify(p, text) for p, text in pairs)
        defended = sum(strict(p.answer, text) for p, text in pairs)
        print(f"{name:9}{texts[0]!r:17}", end="")
        print(f"paid {paid:.0f}, right {right}, strict pays {defended:.0f} of 100")
    runs = root / "docs" / "studies" / "rewards" / "runs.jsonl"
    for line in runs.read_text().splitlines():
        run = json.loads(line)
        logged = run["measured"]["rl"]  # [step, reward, gold] of each step
        rows = [{"step": s, "reward": paid, "gold": gold} for s, paid, gold in logged]
        print(f"{run['name']:18}gap alarm: {first_alarm(rows)}")


if __name__ == "__main__":
    main()
