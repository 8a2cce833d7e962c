"""``python -m tests.reliability.kills``: a run that is killed again and again ends as any other.

Training processes are killed at moments spread over all they do, and the same command is given
again until the run is finished. Then its last checkpoint must be that of an undisturbed
run to the bit, its tables the same but for times, its folder without left-overs, and its policy
loadable.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

import flowpolicy as fp
from flowpolicy import cli, data
from flowpolicy.checkpoint import Checkpoints, read_directory
from flowpolicy.checkpoint.tensors import bytes_to_tensors
from flowpolicy.plot.style import new_figure, save_figure
from tests.reliability.phases import PHASES, Moment, Phases
from tests.reliability.tiny_run import MAZE, small_data, tiny_run

TIMES = {"seconds", "rate"}  # columns that no two runs share
FOREIGN = ("python.", "numpy.", "torch")
"""Global generators, which every process seeds by itself and from which no update draws."""
MOST_PER_RUN = 12


@dataclass
class Report:
    """What was killed, and where runs went on.

    Attributes:
        kills: By phase.
        starts: By what the process found: ``anew`` or the step of the newest checkpoint.
        runs: That were finished and compared.
        seconds: It all took.
        faults: What must not be, in words.
    """

    kills: Counter[str] = field(default_factory=Counter)
    starts: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "total": self.kills.total()}


def arguments(config: Path, out: Path) -> list[str]:
    """The command, the same for every start."""
    return ["train", "fql", "--config", str(config), "--out", str(out), "--resume", "auto"]


# -- one start -------------------------------------------------------------------------------------


def forked(command: Sequence[str], log: Path, phases: Phases, death: Moment | None) -> int:
    """Runs the command in a fork of this process, which has imported everything.

    Returns:
        Its exit code, minus the signal's number where it was killed.
    """
    phases.reset()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70  # whatever happens, the child must not return into the parent's code
    try:
        sys.stdout = sys.stderr = log.open("w", buffering=1, encoding="utf-8")
        phases.watch(death)
        code = cli.main(list(command))
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(code)


# -- what must hold --------------------------------------------------------------------------------


def intact(out: Path) -> list[str]:
    """What is wrong right after a kill: whatever has the name of a checkpoint is a whole one."""
    faults = []
    saved = Checkpoints(out / "checkpoints")
    for step in saved.steps():
        try:
            read_directory(saved.path(step))
        except fp.FlowPolicyError as error:
            faults.append(f"after a kill: {error}")
    return faults


def rows(path: Path) -> list[dict[str, str]]:
    """A table without its times."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def contents(out: Path) -> dict[str, Any]:
    """The last checkpoint: tensors as numbers, all else as it was written."""
    saved = Checkpoints(out / "checkpoints").read()
    return {
        name: {
            key: value.tolist()
            for key, value in bytes_to_tensors(content, name).items()
            if not key.startswith(FOREIGN)
        }
        if name.endswith(".safetensors")
        else json.loads(content)
        for name, content in saved.files.items()
    }


def names(out: Path) -> set[str]:
    """All files and folders of a run."""
    return {str(path.relative_to(out)) for path in out.rglob("*")}


def differences(out: Path, undisturbed: Path) -> Iterator[str]:
    """In what a finished run differs from one that was left alone."""
    for table in ("metrics.csv", "eval.csv"):
        if rows(out / table) != rows(undisturbed / table):
            yield f"{table} differs"
    ours, theirs = contents(out), contents(undisturbed)
    yield from (
        f"{name} of the last checkpoint differs"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    )
    for name in sorted(names(out) ^ names(undisturbed)):
        yield f"{name} is {'left over' if (out / name).exists() else 'missing'}"
    with torch.random.fork_rng(devices=[]):  # the forks to come begin where the first one did
        policy = fp.load_policy(out)
    observation = torch.zeros(1, policy.obs_dim)
    if not policy.act(observation, torch.zeros(1, *policy.noise_shape)).isfinite().all():
        yield "the loaded policy gives no numbers"


# -- many of them ----------------------------------------------------------------------------------


class Trial:
    """Runs in a folder, beside one that is left alone.

    Args:
        folder: An empty one.
        seed: Of the moments at which processes are killed.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        self.log = folder / "log.txt"
        self.draw = random.Random(seed)  # noqa: S311
        self.phases = Phases()
        self.report = Report()
        self.config = folder / "config.json"
        values = tiny_run(small_data(folder)).to_dict()
        self.config.write_text(json.dumps(values), encoding="utf-8")
        self.undisturbed = folder / "undisturbed"
        data.load(MAZE, folder, download=False)  # makes the maze, once for all children
        # tqdm's own is shared between processes: one that dies with it would hold it for ever.
        tqdm.set_lock(threading.RLock())
        picture = new_figure(1, 1)  # imports what the learning curve needs
        picture.add_subplot()
        save_figure(picture, folder / "picture.png")

    def leave_alone(self) -> None:
        """Makes the run to compare with, and learns how long the phases take."""
        if forked(arguments(self.config, self.undisturbed), self.log, self.phases, None):
            raise RuntimeError(f"the undisturbed run failed:\n{self.log.read_text()}")
        self.entries = {phase: self.phases.entries(phase) for phase in PHASES}
        self.durations = {phase: self.phases.duration(phase) for phase in PHASES}
        self.entries["resuming"], self.durations["resuming"] = 1, self.durations["saving"]

    def moment(self, begun: int) -> Moment:
        """A phase, all alike; which time it is entered; and how long after that.

        Args:
            begun: The updates that are saved already.
        """
        phase = self.draw.choice([each for each in PHASES if begun or each != "resuming"])
        left = 1 - begun / tiny_run(self.folder).offline_steps
        entry = self.draw.randint(1, max(1, round(left * self.entries[phase])))
        return Moment(phase, entry, self.draw.uniform(0, self.durations[phase]))

    def start(self, out: Path, *, disturbed: bool) -> bool:
        """Starts the run's process, and kills it if it is to be; whether the run is finished."""
        steps = Checkpoints(out / "checkpoints").steps()
        self.report.starts[f"update {steps[-1]}" if steps else "anew"] += 1
        death = self.moment(steps[-1] if steps else 0) if disturbed else None
        code = forked(arguments(self.config, out), self.log, self.phases, death)
        if code == -signal.SIGKILL:
            self.report.kills[self.phases.now] += 1
            self.report.faults += [f"{out.name}: {fault}" for fault in intact(out)]
            return False
        if code:
            raise RuntimeError(f"{out.name} ended with {code}:\n{self.log.read_text()}")
        return True

    def run_until_finished(self, out: Path, most: int) -> None:
        """One run with as many kills at most, compared at its end."""
        limit = self.report.kills.total() + most
        while not self.start(out, disturbed=self.report.kills.total() < limit):
            pass
        self.report.runs += 1
        self.report.faults += [f"{out.name}: {each}" for each in differences(out, self.undisturbed)]

    def kill(self, kills: int, tell: Callable[[str], None] = lambda _: None) -> Report:
        """As many kills, over as many runs as that takes."""
        began = time.perf_counter()
        self.leave_alone()
        while (left := kills - self.report.kills.total()) > 0:
            out = self.folder / f"run_{self.report.runs}"
            self.run_until_finished(out, min(left, self.draw.randint(1, MOST_PER_RUN)))
            tell(f"{self.report.kills.total()} kills, {self.report.runs} runs finished")
        self.report.seconds = time.perf_counter() - began
        return self.report


def kill_commands(folder: Path, kills: int, seed: int = 0) -> Report:
    """The same with real commands and SIGKILL, after a random time, while they import, too."""
    trial = Trial(folder, seed)
    report, began = trial.report, time.perf_counter()

    def run(out: Path, limit: float | None) -> bool:
        """Whether the command ended within so many seconds; it is killed where not."""
        steps = Checkpoints(out / "checkpoints").steps()
        report.starts[f"update {steps[-1]}" if steps else "anew"] += 1
        command = [sys.executable, "-m", "flowpolicy", *arguments(trial.config, out)]
        with trial.log.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as each:
            try:
                code = each.wait(limit)
            except subprocess.TimeoutExpired:
                each.kill()
                return False
        if code:
            raise RuntimeError(f"{out.name} ended with {code}:\n{trial.log.read_text()}")
        return True

    run(trial.undisturbed, None)
    usual = time.perf_counter() - began
    while report.kills.total() < kills:
        out = folder / f"run_{report.runs}"
        while not run(out, trial.draw.uniform(0, usual) if report.kills.total() < kills else None):
            report.kills["a command"] += 1
            report.faults += intact(out)
        report.runs += 1
        report.faults += differences(out, trial.undisturbed)
    report.seconds = time.perf_counter() - began
    return report


def main(words: Sequence[str]) -> int:
    """Prints what was killed and what came of it; 1 where something must not be."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of forks of this process")
    parser.add_argument("--commands", type=int, default=4, help="kills of real commands")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    reports = {}
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        forks, commands = Path(name) / "forks", Path(name) / "commands"
        forks.mkdir()
        commands.mkdir()
        if options.kills:
            say = print if sys.stderr.isatty() else lambda _: None
            reports["forks"] = Trial(forks, options.seed).kill(options.kills, say)
        if options.commands:
            reports["commands"] = kill_commands(commands, options.commands, options.seed)
    print(json.dumps({name: each.to_dict() for name, each in reports.items()}, indent=1))
    faults = [fault for each in reports.values() for fault in each.faults]
    kills = sum(each.kills.total() for each in reports.values())
    runs = sum(each.runs for each in reports.values())
    print(f"{kills} kills over {runs} runs, {len(faults)} faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
