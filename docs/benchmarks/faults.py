"""Faults of every kind, tried on a run: nothing is silent, nothing lost, no traceback.

    python docs/benchmarks/faults.py [0.1]     2,060 of them, or a tenth; 100 kill -9

Most are planted in this process; what dies is a fork. A fault is survived if the run
then ends bit-equal to one that nobody disturbed, or if one sentence refuses it and the
checkpoint is still there.
"""

import contextlib
import io
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import torch
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from test_train import rows_of, tiny  # noqa: E402

import model  # noqa: E402
import scaling  # noqa: E402
import train  # noqa: E402

# A run in which levels open and a sampler is behind; each step is saved.
RUN = {"steps": 6, "lag": 1, "levels": "1-3", "shown": "1", "reward": "length"}


def alike(a: object, b: object) -> bool:
    """Bit-equal, whatever it is made of."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    return a.equal(b) if isinstance(a, torch.Tensor) else a == b


def outcome(folder: Path) -> list:
    """All that a run has come to, less the seconds."""
    state = train.read_checkpoint(folder) | {"logs": {}, "config": {}}
    del state["ledger"]["seconds"]
    return [state, rows_of(folder), (folder / "samples.txt").read_text()]


def command(*words: object) -> tuple[int, str, list[str]]:
    """Exit status of `python train.py WORDS`, what it says, and its last words."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = train.main([*map(str, words)])
        except SystemExit as left:
            status = left.code
    said = err.getvalue().splitlines()
    return status, out.getvalue(), [line for line in said if "train.py: " in line]


def in_a_fork(action, seconds: float = 300.0, *signals: int) -> int:
    """Exit status of `action` in a fork, which gets signals after some seconds.

    What has not ended a minute later is killed; without signals, at once.
    """

    def quietly() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        # Forks share tqdm's lock: one killed while it held it would stop all others.
        tqdm.set_lock(threading.RLock())
        # Handlers of runs before it, which are not in this fork.
        for signum in model.SIGNALS:
            signal.signal(signum, signal.SIG_DFL)
        sys.exit(action())

    process = multiprocessing.get_context("fork").Process(target=quietly)
    process.start()
    process.join(seconds)
    for signum in signals:
        # One that has ended is not there any more.
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signum)
        process.join(60 if signum == signals[-1] else 0.05)
    process.kill()
    process.join()
    return process.exitcode


class Faults:
    """A run stopped half-way, and what it comes to if left in peace."""

    def __init__(self, place: Path) -> None:
        train.SAVE_SECONDS = 0.0
        train.Relay.RECENT, train.Relay.PASSED = 4, 0.0
        self.tries: Counter[str] = Counter()
        self.obeyed: Counter[int] = Counter()  # signals after which a run saved itself
        self.half, self.try_out = place / "half", place / "try"
        save_sometimes = train.save_sometimes

        def leave(run: train.Run) -> None:
            run.signum = signal.SIGTERM * (run.phase == "rl" and run.step == 3)
            save_sometimes(run)

        with contextlib.redirect_stdout(io.StringIO()):
            train.train(tiny(self.try_out, **RUN))
            train.save_sometimes = leave
            with contextlib.suppress(SystemExit):
                train.train(tiny(self.half, **RUN))
        train.save_sometimes = save_sometimes
        self.whole = outcome(self.try_out)
        assert len(self.whole[0]["recent"]) > 1, "no level opened"

    def begin(self, *files: str) -> list[Path]:
        """The half-done run again, for the next fault."""
        shutil.rmtree(self.try_out)
        shutil.copytree(self.half, self.try_out)
        return [self.try_out / name for name in files]

    def go_on(self) -> tuple[int, str, list[str]]:
        return command("--resume", self.try_out)

    def damaged_checkpoint(self, rng: random.Random) -> None:
        """A flipped bit, a lost end: refused or harmless; or the one before goes on."""
        last, before = self.begin("checkpoint.pt", "checkpoint.old.pt")
        data = bytearray(last.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        last.write_bytes(data[: rng.choice([*[None] * 9, rng.randrange(len(data))])])
        if rng.random() < 0.05:
            assert self.go_on()[0] == 0 and alike(outcome(self.try_out), self.whole)
            return
        before.unlink()
        with contextlib.suppress(ValueError):
            state = train.read_checkpoint(self.try_out)
            assert alike(state, train.read_checkpoint(self.half)), "silently other"

    def hostile_content(self, rng: random.Random) -> None:
        """A checkpoint whose checksums are right and whose content is not."""
        last, before = self.begin("checkpoint.pt", "checkpoint.old.pt")
        before.unlink()
        state = part = torch.load(last)
        while True:
            key = rng.choice([*part] if isinstance(part, dict) else range(len(part)))
            nested = isinstance(part[key], dict | list) and len(part[key]) > 0
            if not nested or rng.random() < 0.1:
                break
            part = part[key]
        bad = [None, b"x", {1.5: 2}, torch.ones(2, 3, 4), float("nan")]
        if isinstance(part[key], torch.Tensor):
            bad += [part[key] * float("nan"), part[key].flatten()[:0]]
        part[key] = rng.choice(bad)
        torch.save(state, last)
        status, out, said = self.go_on()
        assert status == 2 and len(said) == 1 and last.exists(), (key, part[key], out)

    def damaged_log(self, rng: random.Random) -> None:
        """It costs no step: said, and the run ends with the same weights."""
        (path,) = self.begin(rng.choice(train.LOGS))
        data = bytearray(path.read_bytes())
        path.unlink()
        if rng.random() < 0.7:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data[: rng.choice([None, rng.randrange(len(data))])])
        status, out, said = self.go_on()
        assert status == 0 and "no report" in out and "held out" not in out, (out, said)
        state = train.read_checkpoint(self.try_out)
        assert alike(state["model"], self.whole[0]["model"])

    def absurd_number(self, rng: random.Random) -> None:
        """A field with a number that nobody means: refused before any work."""
        numbers = [f for f in train.fields(train.Config) if f.type in ("int", "float")]
        field = rng.choice(numbers)
        values = [-1, 10**20] if field.type == "int" else ["nan", "inf", -1, 1e30]
        flag = f"--{field.name.replace('_', '-')}={rng.choice(values)}"
        status, out, said = command(flag, "--out", self.try_out.parent / "new")
        assert status == 2 and len(said) == 1, (flag, out)

    def full_disk(self, rng: random.Random) -> None:
        """Files cannot grow beyond some size: status 1, and the run goes on later."""
        (last,) = self.begin("checkpoint.pt")
        most = rng.randrange(200, last.stat().st_size)

        def on_a_full_disk() -> int:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            return self.go_on()[0]

        assert in_a_fork(on_a_full_disk) == 1, most
        assert not [*self.try_out.glob("*.tmp")], "a part is left"
        assert self.go_on()[0] == 0 and alike(outcome(self.try_out), self.whole), most

    def left_out(self, _: random.Random) -> None:
        """Any one thing that a checkpoint lacks shows in the end: all are needed."""
        read = train.read_checkpoint
        state, new = read(self.half), train.new_run(tiny(self.half, **RUN))
        new.folder = self.half.parent / "blank"
        new.folder.mkdir(exist_ok=True)
        train.save(new)
        blank = read(new.folder) | {"logs": {}, "config": state["config"]}
        names = [name for name in state if not alike(state[name], blank[name])]
        assert len(names) >= 9, names
        for name in names:
            self.begin()
            train.read_checkpoint = lambda *_, name=name: state | {name: blank[name]}
            status = self.go_on()[0]
            train.read_checkpoint = read
            assert status or not alike(outcome(self.try_out), self.whole), name

    def kill(self, rng: random.Random) -> None:
        """kill -9 at random moments, again and again, until it gets through."""
        shutil.rmtree(self.try_out)

        def run() -> int:
            train.train(tiny(self.try_out, **RUN))
            return 0

        tries = 0  # the more, the longer one lives: slow machines get through too
        while in_a_fork(run, rng.uniform(0.1, 1.0) + tries / 50):
            tries += 1
        self.tries["kill"] += tries
        assert alike(outcome(self.try_out), self.whole)

    def told_to_stop(self, rng: random.Random) -> None:
        """Ctrl-C, kill, a closed terminal, once or twice: saved, and it goes on."""
        self.begin()
        signum = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
        times = rng.choice([1, 1, 2])
        run = lambda: self.go_on()[0]  # noqa: E731
        status = in_a_fork(run, rng.uniform(0, 0.6), *[signum] * times)
        # 0: it was at its end; the negative: not begun yet, or told twice.
        assert status in (0, 128 + signum, -signum), (status, signum)
        self.obeyed[signum] += status == 128 + signum
        assert self.go_on()[0] == 0 and alike(outcome(self.try_out), self.whole)

    def silent_run(self, _: random.Random) -> None:
        """A process of a study that logs nothing any more is ended, and said so; one
        that outlived its runner is not waited for."""
        place = self.try_out.parent / "silent"
        place.mkdir(exist_ok=True)
        (place / "train.py").write_text("import time\nprint('mute')\ntime.sleep(300)\n")
        kept, owned = (scaling.ROOT, scaling.PATIENCE), scaling.is_owned
        scaling.ROOT, scaling.PATIENCE = place, 0.5
        job = scaling.Job(tiny(place))
        for word in ("exit status", "another process"):
            assert scaling.train_run(job, None, threading.Event()).startswith(word)
            scaling.is_owned = lambda _: True
        scaling.is_owned = owned
        scaling.ROOT, scaling.PATIENCE = kept


COUNTS = {"left_out": 1, "damaged_checkpoint": 1200, "hostile_content": 400}
COUNTS |= {"damaged_log": 80, "absurd_number": 180, "full_disk": 40, "kill": 100}
COUNTS |= {"told_to_stop": 60, "silent_run": 1}


def main(share: float = 1.0) -> Counter[str]:
    """Try them all, by a fixed seed; returns how many of each kind were survived."""
    with tempfile.TemporaryDirectory() as place:
        faults, rng = Faults(Path(place)), random.Random(0)
        for name, count in COUNTS.items():
            while faults.tries[name] < count * share:
                getattr(faults, name)(rng)
                faults.tries[name] += name != "kill"
    assert share < 1 or min(faults.obeyed.values()) > 0, faults.obeyed
    return faults.tries


if __name__ == "__main__":
    print(dict(main(*map(float, sys.argv[1:]))))
