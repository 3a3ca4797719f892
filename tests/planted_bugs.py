"""Do the tests see a bug? Plant one at a time in a copy of the source, and look.

    python tests/planted_bugs.py               the bugs below; status 1 if one lives
    python tests/planted_bugs.py --random 100  single-operator changes of grpo.py

Most of these were really made: in TRL, verl, OpenRLHF, prime-rl, open-instruct or
nanochat, where training often went on and learned, only worse. A rising reward sees few
of them. Each is one line of the real source, so a patch that no longer applies is an
error too. Everything is imported once and each bug gets a fork, so this is fast; needs
an operating system with fork.
"""

import argparse
import ast
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = {
    "grpo.py": ["test_grpo.py"],
    "train.py": ["test_reinforce.py"],
    "rollout.py": ["test_rollout.py", "test_device.py"],
    "model.py": ["test_rollout.py"],
    "scaling.py": ["test_scaling.py"],
}
SECONDS = 300  # a change that makes the tests hang is caught as well

# file, what is wrong, old text (once in the file), new text
BUGS = [
    (
        "grpo.py",
        "flat groups found by std, which rounding keeps above 0",
        "rewards.amax(1) > rewards.amin(1)",
        "rewards.std(1) > 0",
    ),
    (
        "grpo.py",
        "no baseline",
        "advantages = rewards - mean\n",
        "advantages = rewards\n",
    ),
    (
        "grpo.py",
        "mean over the batch instead of the group",
        "live_groups(rewards), rewards.mean(1, keepdim=True)",
        "live_groups(rewards), rewards.mean()",
    ),
    ("grpo.py", "std divides by G - 1", "correction=0", "correction=1"),
    ("grpo.py", "another epsilon", "keepdim=True) + 1e-6)", "keepdim=True) + 1e-4)"),
    (
        "grpo.py",
        "leave-one-out factor upside down",
        "(rewards.shape[1] / (rewards.shape[1] - 1))",
        "((rewards.shape[1] - 1) / rewards.shape[1])",
    ),
    (
        "grpo.py",
        "ScaleRL counts flat groups in its std",
        "advantages[live].square()",
        "advantages[:].square()",
    ),
    (
        "grpo.py",
        "a group without contrast keeps rounding errors",
        "torch.where(live[:, None], advantages, 0.0)",
        "advantages",
    ),
    (
        "grpo.py",
        "logits one place late",
        "logits[:, :-1].log_softmax(-1)  # (B",
        "logits[:, 1:].log_softmax(-1)  # (B",
    ),
    (
        "grpo.py",
        "tokens one place early",
        "tokens[:, 1:, None]",
        "tokens[:, :-1, None]",
    ),
    (
        "grpo.py",
        "temperature in the trainer alone",
        "logits[:, :-1].log_softmax(-1)  # (B",
        "(logits[:, :-1] / 0.7).log_softmax(-1)  # (B",
    ),
    ("grpo.py", "negative entropy", "shifted(-(logprobs", "shifted((logprobs"),
    ("grpo.py", "sign of the loss", "-weighted_sum(obj", "weighted_sum(obj"),
    ("grpo.py", "ratio upside down", "own, logp - old_logp", "own, old_logp - logp"),
    (
        "grpo.py",
        "ratio carries no gradient",
        "ratio = log_ratio.exp()",
        "ratio = log_ratio.exp().detach()",
    ),
    (
        "grpo.py",
        "one ratio for the sequence, by sum",
        "torch.where(own, logp - old_logp, 0.0)",
        "torch.where(own, logp - old_logp, 0.0).sum(1, True).expand_as(logp)",
    ),
    ("grpo.py", "max for min", "torch.minimum(ratio", "torch.maximum(ratio"),
    (
        "grpo.py",
        "the clipped term alone",
        "torch.minimum(ratio * advantage, clipped * advantage)",
        "clipped * advantage",
    ),
    (
        "grpo.py",
        "clip bounds swapped",
        "ratio.clamp(1 - clip_low, 1 + clip_high)",
        "ratio.clamp(1 - clip_high, 1 + clip_low)",
    ),
    (
        "grpo.py",
        "mask forgotten",
        "torch.where(mask > 0, values, 0.0).sum(1)",
        "values.sum(1)",
    ),
    (
        "grpo.py",
        "NaN times 0 is NaN",
        "torch.where(mask > 0, values, 0.0).sum(1)",
        "(values * mask).sum(1)",
    ),
    (
        "grpo.py",
        "CISPO differentiates its weight",
        "ratio.detach().clamp(max=ratio_max)",
        "ratio.clamp(max=ratio_max)",
    ),
    (
        "grpo.py",
        "CISPO without log pi: no gradient",
        "clamp(max=ratio_max) * advantage * logp",
        "clamp(max=ratio_max) * advantage",
    ),
    (
        "grpo.py",
        "dual clip for good answers too",
        "(advantage < 0) & (ratio > ratio_max)",
        "ratio > ratio_max",
    ),
    (
        "grpo.py",
        "GSPO takes the product, not the geometric mean",
        "log_ratio.sum(1) / own.sum(1).clamp(min=1)",
        "log_ratio.sum(1)",
    ),
    (
        "grpo.py",
        "GSPO's mean counts padding",
        "/ own.sum(1).clamp(min=1)",
        "/ own.shape[1]",
    ),
    (
        "grpo.py",
        "importance weights never applied",
        "objective = objective * correction",
        "pass",
    ),
    (
        "grpo.py",
        "importance weights differentiated",
        "mask > 0, log_ratio.detach()",
        "mask > 0, log_ratio",
    ),
    (
        "grpo.py",
        "truncated from the wrong side",
        "weight.clamp(max=limit)",
        "weight.clamp(min=limit)",
    ),
    (
        "grpo.py",
        "IcePop forgets small weights",
        "(weight >= 1 / limit) & (weight <= limit)",
        "weight <= limit",
    ),
    (
        "grpo.py",
        "tokens counted on each rank or micro-batch",
        "torch.full_like(n, num_tokens)",
        "torch.full_like(n, float(n.sum()))",
    ),
    (
        "grpo.py",
        "sequence mean forgets the lengths",
        '"sequence": n * num_sequences',
        '"sequence": 0 * n + num_sequences',
    ),
    (
        "grpo.py",
        "prompt mean is a sequence mean",
        "n = n.view(-1, group_size).sum(1).repeat_interleave(group_size)",
        "pass",
    ),
    (
        "grpo.py",
        "constant is the longest answer",
        "max_tokens * num_sequences)",
        "float(n.max()) * num_sequences)",
    ),
    ("grpo.py", "KL upside down", "x = logp - ref_logp", "x = ref_logp - logp"),
    ("grpo.py", "k3 of KL(ref, pi)", "(-x).expm1() + x", "x.expm1() - x"),
    (
        "grpo.py",
        "sum of what came before, not of what comes",
        ".flip(1).cumsum(1).flip(1)",
        ".cumsum(1)",
    ),
    ("grpo.py", "0 / 0 without a buffer", "/ max(buffer, 1)", "/ buffer"),
    (
        "train.py",
        "rewards grouped in the wrong order",
        "env in batch.envs]).view(-1, group_size)",
        "env in batch.envs]).view(group_size, -1).T",
    ),
    (
        "train.py",
        "old log-probabilities from the trainer",
        "old_logp, correction = batch.logp,",
        "old_logp, correction = logprobs_under(run, batch, run.model.state_dict()),",
    ),
    (
        "train.py",
        "prompts and padding in the loss",
        "cfg, mask = run.cfg, batch.mask",
        "cfg, mask = run.cfg, batch.mask * 0 + 1",
    ),
    (
        "train.py",
        "mean of micro-batch means",
        "rows, weights)\n            loss.backward()",
        "rows, weights)\n            (loss * len(rows) / len(kept)).backward()",
    ),
    (
        "train.py",
        "weights of other rows",
        "weights = weights[rows]",
        "weights = weights[: len(rows)]",
    ),
    (
        "train.py",
        "a step on a gradient of NaN",
        "if norm.isfinite():\n        t",
        "if True:\n        t",
    ),
    (
        "train.py",
        "gradients add up over steps",
        "    run.optimizer.zero_grad(set_to_none=True)\n",
        "    pass\n",
    ),
    (
        "train.py",
        "weight decay pulls without a reward",
        "weight_decay=0.0",
        "weight_decay=0.1",
    ),
    (
        "train.py",
        "first step of the warm-up at 0",
        "min(1.0, (run.step + 1) / max(cfg.warmup, 1))",
        "min(1.0, run.step / max(cfg.warmup, 1))",
    ),
    ("train.py", "the lag dial does nothing", "run.past[0])", "run.past[-1])"),
    (
        "train.py",
        "the lag is one step short",
        "[-run.cfg.lag - 1 :]",
        "[-run.cfg.lag :]",
    ),
    (
        "train.py",
        "the trainer keeps the sampler's weights",
        "model.load_state_dict(own)",
        "pass",
    ),
    (
        "train.py",
        "the reference moves with the policy",
        "logprobs_under(run, batch, run.base)",
        "logprobs_under(run, batch, run.model.state_dict())",
    ),
    (
        "train.py",
        "KL of a token alone, not of what it leads to",
        "grpo.returns_to_go(k, mask)",
        "k",
    ),
    (
        "train.py",
        "policy loss minus KL",
        "loss + cfg.kl_coef * grpo",
        "loss - cfg.kl_coef * grpo",
    ),
    (
        "train.py",
        "entropy penalised",
        "loss - cfg.entropy_bonus",
        "loss + cfg.entropy_bonus",
    ),
    (
        "train.py",
        "solved problems stay, others retire",
        "right / tried >= cfg.retire",
        "right / tried <= cfg.retire",
    ),
    (
        "train.py",
        "kept flat groups are not counted",
        'cfg.flat == "keep" and live.any()',
        'cfg.flat == "kept"',
    ),
    (
        "train.py",
        "truncated answers stay in the loss",
        'if cfg.truncated == "mask"',
        'if cfg.truncated == "masked"',
    ),
    (
        "train.py",
        "dynamic sampling draws the same problems again",
        "first, count = attempt * P,",
        "first, count = 0,",
    ),
    (
        "train.py",
        "texts and environments of other rows",
        "[a[i] for i in rows] + b",
        "b + [a[i] for i in rows]",
    ),
    (
        "train.py",
        "penalty counts the prompt",
        "[end - start for start, end in ends]",
        "[end for start, end in ends]",
    ),
    (
        "train.py",
        "metric of the last micro-batch",
        'max(stats["ratio_max"], sums["ratio_max"])',
        'sums["ratio_max"]',
    ),
    (
        "train.py",
        "an alarm that cannot ring",
        'last["mismatch"] > 1e-3',
        'last["mismatch"] > 1e3',
    ),
    (
        "train.py",
        "a flat run ends looking fine",
        'mean(recent, "live_groups") == 0',
        'mean(recent, "live_groups") < 0',
    ),
    (
        "rollout.py",
        "temperature in the sampler alone",
        "logprobs = logits.log_softmax(-1)",
        "logprobs = (logits / 0.7).log_softmax(-1)",
    ),
    (
        "rollout.py",
        "the end token is masked",
        "out.mask[i, start:known] = 1.0",
        "out.mask[i, start : known - 1] = 1.0",
    ),
    (
        "rollout.py",
        "what the environment says is trained on",
        "out.mask[i, start:known] = 1.0",
        "out.mask[i, out.prompt_lengths[i] : known] = 1.0",
    ),
    (
        "rollout.py",
        "an observation's end token ends the policy's turn",
        "policy & ((token == END)",
        "((token == END)",
    ),
    (
        "rollout.py",
        "an observation runs past the cap",
        "if known + len(observation) < stop:",
        "if True:",
    ),
    (
        "rollout.py",
        "a token of probability 0 is drawn at u = 0",
        "right=True)",
        "right=False)",
    ),
    (
        "rollout.py",
        "finished rows walk on",
        "position += 1 - ended",
        "position += 1",
    ),
    (
        "rollout.py",
        "a late look at a refilled slot is believed",
        "other.stale.update(changed)",
        "pass",
    ),
    (
        "rollout.py",
        "attention too short for what a burst adds",
        "burst * (len(looks) + 1)",
        "1",
    ),
    (
        "rollout.py",
        "compaction leaves the keys behind",
        "work.cache[:, :, : len(keep)] = work.cache[:, :, keep]",
        "pass",
    ),
    (
        "rollout.py",
        "a slot gets another prompt's keys",
        "prompts = [i // work.group_size for i in samples]",
        "prompts = [i % len(samples) for i in samples]",
    ),
    (
        "model.py",
        "a row misses its own key",
        "> positions[:, None]",
        ">= positions[:, None]",
    ),
    (
        "model.py",
        "keys written one off",
        "* S + positions[:, None]",
        "* S + positions[:, None] - 1",
    ),
    (
        "rollout.py",
        "one draw for all samples of a group",
        "draws.append(uniforms((*key, number, g)",
        "draws.append(uniforms((*key, number)",
    ),
    ("model.py", "attention looks ahead", "is_causal=True", "is_causal=False"),
    (
        "scaling.py",
        "ceiling above 1",
        "a = np.clip((gy - start * gh) / np.maximum(gg, 1e-12), 0, 1)",
        "a = (gy - start * gh) / np.maximum(gg, 1e-12)",
    ),
    (
        "scaling.py",
        "neighbours taken for independent",
        "rho = dependence(curve, fit)",
        "rho = 0.0",
    ),
    (
        "scaling.py",
        "interval of one standard error",
        "allowed = student(n / wide - p) ** 2 * variance",
        "allowed = variance",
    ),
    (
        "scaling.py",
        "profile at 99.9 %",
        "allowed = student(n / wide - p) ** 2 * variance",
        "allowed = 11 * variance",
    ),
    (
        "scaling.py",
        "no drift in the band",
        "sd = np.hypot(self.noise, drift(slope, rise, compute / self.until))",
        "sd = self.noise + 0 * compute",
    ),
    (
        "scaling.py",
        "forecast sees what it forecasts",
        "part = curve.upto(limit)",
        "part = curve",
    ),
    (
        "scaling.py",
        "the last error seen is one to be forecast",
        "part = self.curve.upto(self.until)\n        ends",
        "part = self.curve\n        ends",
    ),
    (
        "scaling.py",
        "the last error is not carried on",
        "return float(dependence(part, self.fit) * np.mean(last)) if last else 0.0",
        "return 0.0",
    ),
    (
        "scaling.py",
        "errors of runs that ended long ago are carried on",
        "for x, y in part.runs if x[-1] > self.until / 2]",
        "for x, y in part.runs]",
    ),
    (
        "scaling.py",
        "the tail sees what it forecasts",
        "points, top = self.curve.points(0, self.until)",
        "points, top = self.curve.points()",
    ),
    (
        "scaling.py",
        "the tail in the forecast before there is one",
        "if self.reach() >= 2 and rise > 0:",
        "if rise > 0:",
    ),
    (
        "scaling.py",
        "a tail without a ceiling",
        "return lambda c: np.clip(law(c), 0, top), sd",
        "return law, sd",
    ),
    (
        "scaling.py",
        "the tail of another law",
        "law, sd = fit_form(late(failure_law), *points, self.until)",
        "law, sd = fit_form(late(log_linear), *points, self.until)",
    ),
    (
        "scaling.py",
        "the forecast outside of its own band",
        "return low, np.clip(middle, low, high), high",
        "return low, middle + 1e-6, high",
    ),
    (
        "scaling.py",
        "compared with the worst of the others",
        "best = min(points, key=lambda name: points[name].mean())",
        "best = max(points, key=lambda name: points[name].mean())",
    ),
    (
        "scaling.py",
        "spread of runs taken for that of their mean",
        "low, high = np.quantile(means, [0.05, 0.95])",
        "low, high = np.quantile(less, [0.05, 0.95])",
    ),
    (
        "scaling.py",
        "the band does without the tail",
        "low, high = spread(fits, sd)",
        "low, high = spread(fits[: len(fits) // 2], sd[: len(fits) // 2])",
    ),
    (
        "scaling.py",
        "baselines see what they forecast",
        "early = result.curve.points(0, result.until)",
        "early = result.curve.points()",
    ),
    (
        "scaling.py",
        "misses hardly cost",
        "(high - low + 20 * outside).mean()",
        "(high - low + 2 * outside).mean()",
    ),
    (
        "scaling.py",
        "a ceiling from points before C_mid",
        "if reach < 2:",
        "if reach < 0.2:",
    ),
    (
        "scaling.py",
        "a ceiling where 1 fits as well",
        "if high > 0.995:",
        "if high > 1.5:",
    ),
    (
        "scaling.py",
        "bootstrap without resampling",
        "counts = (picks[:, :, None] == np.arange(num_runs)).sum(1)",
        "counts = np.ones((num_draws, num_runs))",
    ),
    (
        "scaling.py",
        "forecast filed from the whole run",
        'rows = [row for row in rows if row["step"] * 2 <= cfg.steps]',
        "rows = list(rows)",
    ),
    (
        "scaling.py",
        "multiplier upside down",
        "np.log(one[seed] / other[seed])",
        "np.log(other[seed] / one[seed])",
    ),
    (
        "scaling.py",
        "a target that was not reached",
        "if len(rates) < 4 or rates[-2] < target:",
        "if len(rates) < 4:",
    ),
    (
        "scaling.py",
        "interval of a mean without its root n",
        "* logs.std(ddof=1) / len(logs) ** 0.5",
        "* logs.std(ddof=1)",
    ),
    (
        "scaling.py",
        "a range never found by chance",
        "chance = np.mean(ranges >= ranges[0] - 1e-9)",
        "chance = np.mean(ranges > ranges[0] + 1e-9)",
    ),
    (
        "scaling.py",
        "iso-compute forgets the base",
        "left = np.array([total - cost])",
        "left = np.array([total])",
    ),
    (
        "scaling.py",
        "read off beyond what was measured",
        "if 0 < total - cost <= 2 * end:",
        "if 0 < total - cost:",
    ),
    (
        "scaling.py",
        "best split at an edge taken for the best",
        "if best.max() < there[-1] else np.nan",
        "if best.max() < len(bases) - 1 else np.nan",
    ),
    (
        "scaling.py",
        "ties go to the right answer",
        "((draws[:, 0] == top) / (draws == top[:, None]).sum(1)).mean()",
        "(draws[:, 0] == top).mean()",
    ),
    (
        "scaling.py",
        "floor of the pretraining law upside down",
        "return PowerLaw(1 - a,",
        "return PowerLaw(a,",
    ),
    (
        "scaling.py",
        "studies do not share the reference",
        'make = (self, folder) if given else (home, "reference")',
        "make = (self, folder)",
    ),
    (
        "scaling.py",
        "kill counts as failure",
        "if self.kills[folder] <= KILLS_ALLOWED:",
        "if False:",
    ),
]


def copy_of_the_source(folder: Path) -> Path:
    skip = shutil.ignore_patterns(".*", "__pycache__", "out", "*.png")
    return Path(shutil.copytree(ROOT, folder / "copy", ignore=skip))


def run_tests(folder: Path, tests: list[str]) -> str:
    """The first test that fails in a fork of this process, or '' if all pass."""
    import pytest

    log = folder.parent / "log"
    child = os.fork()
    if not child:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(folder)
        args = "-x -q -p no:cacheprovider --tb=no".split()
        os._exit(pytest.main([*args, *(f"tests/{name}" for name in tests)]))
    began = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - began > SECONDS:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "ran too long"
        time.sleep(0.02)
    if os.waitstatus_to_exitcode(status) == 0:
        return ""
    text = log.read_text(errors="replace")
    found = re.search(r"(?:FAILED|ERROR) tests/\w+\.py(?:::)?(\S*)", text)
    return (found.group(1) if found else "") or "does not import"


def planted(folder: Path) -> int:
    """Number of bugs of BUGS that no test sees."""
    alive = 0
    for number, (name, what, old, new) in enumerate(BUGS, 1):
        path = folder / name
        source = path.read_text()
        assert source.count(old) == 1, f"{name} has {source.count(old)} times {old!r}"
        path.write_text(source.replace(old, new))
        test = run_tests(folder, TESTS[name])
        path.write_text(source)
        alive += not test
        print(f"{number:2} {name:10} {what}\n     {test or 'NOT CAUGHT'}", flush=True)
    print(f"{len(BUGS) - alive} of {len(BUGS)} planted bugs caught")
    return alive


SWAPS: dict[type, list[type]] = {
    ast.Gt: [ast.Lt, ast.GtE],
    ast.Lt: [ast.Gt, ast.LtE],
    ast.GtE: [ast.Gt],
    ast.LtE: [ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
}


def changes_of(node: ast.AST) -> list[ast.AST]:
    """Every change of one operator, number, axis, sign or argument order of a node."""
    found: list[ast.AST] = []
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for op in SWAPS.get(type(node.ops[0]), []):
            found.append(ast.Compare(node.left, [op()], node.comparators))
    if isinstance(node, ast.BinOp):
        for op in SWAPS.get(type(node.op), []):
            found.append(ast.BinOp(node.left, op(), node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        found.append(node.operand)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        found += [ast.Constant(v) for v in (node.value + 1, 0) if v != node.value]
    # Nothing changes where the order does not matter: max, torch.minimum.
    commutes = isinstance(node, ast.Call) and re.search(
        "(max|min|minimum)$", ast.unparse(node.func)
    )
    if isinstance(node, ast.Call) and len(node.args) >= 2 and not commutes:
        args = [node.args[1], node.args[0], *node.args[2:]]
        if not any(isinstance(arg, ast.Starred) for arg in args):
            found.append(ast.Call(node.func, args, node.keywords))
    return found


def mutants(source: str) -> list[tuple[int, str, str, str]]:
    """(line, old, new, whole new source) of each change to a function of grpo.py.

    Left out: what only prints.
    """
    lines = source.splitlines(keepends=True)
    starts = [sum(map(len, lines[:i])) for i in range(len(lines))]
    found = []
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef) or function.name in PRINTING:
            continue
        for node in (n for part in function.body for n in ast.walk(part)):
            for change in changes_of(node):
                first = starts[node.lineno - 1] + node.col_offset
                last = starts[node.end_lineno - 1] + node.end_col_offset
                old, new = source[first:last], f"({ast.unparse(change)})"
                if new == f"({old})":
                    continue
                text = source[:first] + new + source[last:]
                found.append((node.lineno, " ".join(old.split()), new, text))
    return found


PRINTING = ("line", "main", "check")


def randomly(folder: Path, count: int, seed: int) -> int:
    """Number of random changes of grpo.py that no test sees."""
    path = folder / "grpo.py"
    source = path.read_text()
    every = mutants(source)
    drawn = random.Random(seed).sample(every, min(count, len(every)))
    alive = 0
    for line, old, new, text in sorted(drawn):
        path.write_text(text)
        if not run_tests(folder, TESTS["grpo.py"]):
            alive += 1
            print(f"line {line}: {old}  ->  {new}", flush=True)
    path.write_text(source)
    share = 1 - alive / len(drawn)
    print(f"{len(drawn) - alive} of {len(drawn)} random changes caught ({share:.1%}),")
    print(f"out of {len(every)} there are; those that live are above")
    return alive


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sys.dont_write_bytecode = True
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT / "tests"]
    import matplotlib.pyplot  # noqa: F401  imported once, for all forks
    import tiktoken  # noqa: F401
    import torch
    import tqdm  # noqa: F401

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        folder = copy_of_the_source(Path(work))
        names = sorted({name for names in TESTS.values() for name in names})
        wrong = run_tests(folder, ["test_grpo.py"] if args.random else names)
        assert not wrong, f"{wrong} fails without any bug"
        if args.random:
            return 0 if randomly(folder, args.random, args.seed) == 0 else 1
        return 1 if planted(folder) else 0


if __name__ == "__main__":
    sys.exit(main())
