"""The runs of a benchmark: each in a folder of its own, run once, and again if it failed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from flowpolicy.errors import ConfigError
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import TrainConfig
from flowpolicy.train.processes import train_all

FINISHED = "finished.json"
FAILED = "failed.json"


def run_cells(
    cells: Mapping[Path, TrainConfig],
    *,
    jobs: int = 2,
    announce: Callable[[str], None] | None = None,
) -> dict[Path, str]:
    """Runs what is not finished.

    A finished run is not touched; one that was killed or failed is removed and begun anew.

    Args:
        cells: The folders, and the run of each.
        jobs: How many processes run at a time, one thread each.
        announce: Called with one line about each run that ends.

    Returns:
        Why runs failed, by their folders.

    Raises:
        ConfigError: A finished run has other settings, or a folder is not that of a run.
        Stopped: SIGINT or SIGTERM came; finished runs stay.
    """
    tell = announce or (lambda _: None)
    wanted = {}
    for path, config in cells.items():
        if (path / FINISHED).is_file():
            _require_same(path, config)
        elif path.exists() and not any((path / name).is_file() for name in ("config.json", FAILED)):
            raise ConfigError(f"{path} is in the way and not a run; choose another with --out")
        else:
            wanted[path] = config
    for path in wanted:
        if path.exists():
            shutil.rmtree(path)
    tell(f"{len(cells) - len(wanted)} of {len(cells)} runs are finished, {len(wanted)} to go")
    started, done = time.perf_counter(), 0

    def ended(path: Path, failure: str | None) -> None:
        nonlocal done
        done += 1
        path.mkdir(parents=True, exist_ok=True)
        name, value = (FINISHED, {}) if failure is None else (FAILED, {"message": failure})
        RunFolder(path).write_json(name, value)
        result = "finished" if failure is None else f"FAILED: {failure}"
        minutes = (time.perf_counter() - started) / 60
        tell(f"[{done}/{len(wanted)}, {minutes:.1f} min] {'/'.join(path.parts[-3:])} {result}")

    return train_all(wanted, jobs=jobs, progress=False, ended=ended)


def finished_cells(out: Path) -> list[RunFolder]:
    """The finished runs below a folder, in the order of their paths."""
    return [RunFolder(path.parent) for path in sorted(out.glob(f"*/*/*/{FINISHED}"))]


def failed_cells(out: Path) -> dict[Path, str]:
    """Why runs below a folder failed, by their folders."""
    found = sorted(out.glob(f"*/*/*/{FAILED}"))
    return {path.parent: str(RunFolder(path.parent).read_json(FAILED)["message"]) for path in found}


def _require_same(path: Path, config: TrainConfig) -> None:
    if changed := TrainConfig.from_dict(RunFolder(path).config()).difference(config):
        name, before, now = changed
        raise ConfigError(
            f"{path} was run with {name} {before!r}, now it is {now!r}; choose another folder with "
            "--out, or remove this one"
        )
