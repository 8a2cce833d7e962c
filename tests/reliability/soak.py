"""``python -m tests.reliability.soak --minutes 120``: training for hours needs no more each hour.

One process trains, logs, evaluates, saves and rotates without end. How its memory grows is the
slope of a line through what it needs, fitted after a warm-up; the files that it holds open must be
as many at the end as after the warm-up.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from flowpolicy.durable import STAGING_PREFIX
from flowpolicy.train.run import Run
from flowpolicy.train.stop import StopRequest
from flowpolicy.train.task import prepare
from tests.reliability.tiny_run import small_data, tiny_run

MOST_GROWTH = 0.1  # MiB in 1,000 updates, with 100 checkpoints and 10 evaluations among them
MOST_FILES = 0
WARM_UP = 0.2  # of the time
POINTS = 400
MIB = 2**20


@dataclass(frozen=True)
class Figures:
    """What a soak found.

    Attributes:
        minutes: It took.
        updates: Gradient steps.
        checkpoints: Written.
        evaluations: Done.
        memory_start: MiB of resident memory after the warm-up.
        memory_end: MiB at the end.
        growth: MiB in 1,000 updates, by linear fit after the warm-up.
        growth_error: Its standard error, taking the points for independent.
        files_start: Open file descriptors after the warm-up.
        files_end: At the end.
        left_over: Files that should not be in the run's folder any more.
        most_growth: What ``growth`` may be.
    """

    minutes: float
    updates: int
    checkpoints: int
    evaluations: int
    memory_start: float
    memory_end: float
    growth: float
    growth_error: float
    files_start: int
    files_end: int
    left_over: int

    most_growth: float = MOST_GROWTH

    def faults(self) -> list[str]:
        """What is beyond the limits, in words."""
        found = []
        if self.growth - 3 * self.growth_error > self.most_growth:
            found.append(f"memory grows by more than {self.most_growth} MiB in 1,000 updates")
        if self.files_end - self.files_start > MOST_FILES:
            found.append("files are left open")
        if self.left_over:
            found.append("files are left over")
        return found

    def __str__(self) -> str:
        return (
            f"{self.updates:,} updates, {self.checkpoints:,} checkpoints and {self.evaluations:,} "
            f"evaluations in {self.minutes:.1f} minutes: memory {self.memory_start:.1f} to "
            f"{self.memory_end:.1f} MiB, {self.growth:+.4f} ± {self.growth_error:.4f} MiB in 1,000 "
            f"updates; open files {self.files_start} to {self.files_end}; "
            f"{'; '.join(self.faults()) or 'within all limits'}"
        )


def memory() -> float:
    """MiB of resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def open_files() -> int:
    """Open file descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir())) - 1  # one reads the folder itself


def slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Of the line through points by least squares, with its standard error."""
    x, y = x - x.mean(), y - y.mean()
    square = float(x @ x)
    if len(x) < 3 or square == 0:
        return 0.0, math.inf
    value = float(x @ y) / square
    residual = y - value * x
    return value, math.sqrt(float(residual @ residual) / (len(x) - 2) / square)


def soak(folder: Path, minutes: float) -> Figures:
    """Trains for so long in ``folder``."""
    config = tiny_run(small_data(folder)).replace(
        offline_steps=10**9, log_every=5, checkpoint_every=10, eval_every=100
    )
    points: list[tuple[float, float, float, int]] = []  # seconds, updates, MiB, files
    began = time.perf_counter()
    limit, gap = 60 * minutes, 60 * minutes / POINTS
    with StopRequest() as stop:
        run = Run(
            config,
            folder / "run",
            stop,
            prepare(config, None),
            resume=False,
            progress=False,
            line=0,
        )
        run.begin()
        while (now := time.perf_counter() - began) < limit or not points:
            batch = run.next_batch()
            run.end_turn(None if batch is None else run.agent.update(batch))
            if now > len(points) * gap:
                points.append((now, run.agent.step, memory(), open_files()))
        points.append((now, run.agent.step, memory(), open_files()))
        run.close()
    table = np.array([point for point in points if point[0] >= WARM_UP * limit])
    growth, error = slope(table[:, 1], table[:, 2])
    updates = run.agent.step
    return Figures(
        minutes=now / 60,
        updates=updates,
        checkpoints=updates // config.checkpoint_every,
        evaluations=updates // config.eval_every,
        memory_start=table[0, 2],
        memory_end=table[-1, 2],
        growth=1000 * growth,
        growth_error=1000 * error,
        files_start=int(table[0, 3]),
        files_end=int(table[-1, 3]),
        left_over=len(list((folder / "run").rglob(f"{STAGING_PREFIX}*"))),
    )


def main(words: Sequence[str]) -> int:
    """Prints the figures and writes them as JSON; 1 where one is beyond its limit."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--most-growth",
        type=float,
        default=MOST_GROWTH,
        help="MiB in 1,000 updates; a minute alone tells no less than 1 from warming up",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/soak.json"))
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        figures = soak(Path(name), options.minutes)
    figures = replace(figures, most_growth=options.most_growth)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    found = {**asdict(figures), "faults": figures.faults()}
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(figures)
    return int(bool(figures.faults()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
