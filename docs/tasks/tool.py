"""A task in a file of its own: a calculator that fails, python train.py --task tool"""

from __future__ import annotations

import re
from dataclasses import replace
from operator import add, mul, sub
from random import Random
from typing import NamedTuple

from reward import Corpus, Env, Problem, Task, record

CALCULATOR = {"+": add, "-": sub, "*": mul}


class ToolData(NamedTuple):
    calls: tuple[str, ...]  # ('c12+7\\n',)
    value: int  # of the whole
    failure: float  # chance that a call fails


class ToolEnv(Env):
    """A calculator: `c12+34\\n` calls it, `=46\\n` answers and ends the episode."""

    budget = 6  # turns
    call = re.compile(r"c(0|[1-9][0-9]{0,4})([+*-])(0|[1-9][0-9]{0,4})\n")
    answer = re.compile(r"=(0|[1-9][0-9]{0,5})\n")

    def step(self, action: str) -> tuple[str, bool]:
        """{46} is a call's result, {E} a failure, {?} for neither call nor answer."""
        self.turns += 1
        answer = self.answer.fullmatch(action)
        self.solved = bool(answer) and int(answer[1]) == self.problem.data.value
        call = self.call.fullmatch(action)
        self.invalid += not answer and not call
        if answer or self.turns == self.budget:
            return "", True
        if call is None:
            return "{?}", False
        if self.rng.random() < self.problem.data.failure:
            self.failed = True
            return "{E}", False
        return f"{{{CALCULATOR[call[2]](int(call[1]), int(call[3]))}}}", False


class Tool(Task):
    """Arithmetic with a calculator that fails; the level is the number of operations.

        T59*9+52:c59*9\\n{E}c59*9\\n{531}c531+52\\n{583}=583\\n     from left to right

    A call fails ({E}) four times in ten, and there are six turns. Most demonstrators
    answer at once by guess, or give up at the first failure; few try again. The best
    policy does, and succeeds if 5 calls hold enough good ones.
    """

    name = "tool"
    levels = [1, 2, 3]
    form = re.compile(r"T([1-9][0-9])((?:[+-][1-9][0-9]|\*[2-9]){1,3}):")
    chance = 0.009  # the likeliest result is that of 1 problem in 116, as measured
    defaults = dict(levels="1-3", shown="1-2", think_share=0.25, weak=0.4)
    defaults |= dict(pretrain_steps=3000, steps=120, lr=1e-3)
    env = ToolEnv

    def parse(self, prompt: str, match: re.Match[str]) -> Problem | None:
        """None if a result on the way is below 0: calls take no signs."""
        value, calls = int(match[1]), []
        for op, number in re.findall(r"([+*-])([0-9]+)", match[2]):
            calls.append(f"c{value}{op}{number}\n")
            value = CALCULATOR[op](value, int(number))
            if value < 0:
                return None
        data = ToolData(tuple(calls), value, 0.4)
        return Problem(self, len(calls), prompt, f"tool {prompt[1:-1]}", data)

    def generate(self, level: int, rng: Random) -> Problem:
        """A subtraction that would go below 0 becomes an addition."""
        value = rng.randrange(10, 100)
        text = str(value)
        for _ in range(level):
            op = rng.choice("+-*")
            number = rng.randrange(2, 10) if op == "*" else rng.randrange(10, 100)
            if op == "-" and number > value:
                op = "+"
            text += f"{op}{number}"
            value = CALCULATOR[op](value, number)
        return self.read(f"T{text}:")

    def shifted(self, level: int, rng: Random) -> Problem:
        """The calculator fails six times in ten."""
        problem = self.generate(level, rng)
        return replace(problem, data=problem.data._replace(failure=0.6))

    def demonstrate(self, problem: Problem, corpus: Corpus, rng: Random) -> list[str]:
        """A guess (weak), calls until one fails, or (think_share) calls again."""
        direct = rng.random() < corpus.weak
        retries = rng.random() < corpus.think_share
        env = self.env(problem, rng.getrandbits(32))
        turns = [*problem.data.calls, f"={problem.data.value}\n"]
        about = int(problem.data.value * rng.uniform(0.8, 1.2))

        def act(said: str) -> str:
            """The next turn, the failed one again, or an answer by guess."""
            if said not in ("", "{E}"):
                turns.pop(0)
            last = env.turns == env.budget - 1
            gives_up = direct or last or (said == "{E}" and not retries)
            return f"={about}\n" if gives_up and len(turns) > 1 else turns[0]

        return record(env, act)
