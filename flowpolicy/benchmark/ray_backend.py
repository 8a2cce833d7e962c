"""Runs on the machines of a Ray cluster."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from flowpolicy.benchmark.backends import Cells, Ended, LocalBackend
from flowpolicy.data.locate import find_file
from flowpolicy.data.names import DatasetName
from flowpolicy.errors import FlowPolicyError, require_installed
from flowpolicy.train import TrainConfig
from flowpolicy.train.stop import Stopped, StopRequest


@final
@dataclass(frozen=True)
class RayBackend:
    """Ray gives each run the cores and the GPU that it asks for, on whichever machine has them.

    On its machine a run is what it is here: a process of its own, see
    :class:`~flowpolicy.benchmark.backends.LocalBackend`. All machines must see the sweep's folder
    under one path, and have this version of the package.

    Attributes:
        address: Of a running cluster, or ``"auto"`` for the one that this machine belongs to;
            ``None`` starts Ray on this machine, for as long as the sweep takes.
    """

    address: str | None = None

    def run(self, cells: Cells, ended: Ended) -> dict[Path, str]:
        """Runs all cells, see :class:`~flowpolicy.benchmark.backends.Backend`."""
        require_installed("--backend ray", "ray", extra="ray")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray's reports to its makers
        import ray

        with StopRequest() as stop:
            owned = not ray.is_initialized()
            if owned:
                ray.init(
                    address=self.address, include_dashboard=False, logging_level=logging.WARNING
                )
            try:
                return _collect(cells, ended, stop)
            finally:
                if owned:
                    ray.shutdown()


def _data_root(config: TrainConfig) -> str | None:
    """The folder in which this process finds the data; others have another place and variables."""
    try:
        file = find_file(DatasetName.parse(config.env), "train", config.data_root, download=False)
    except FlowPolicyError:
        return config.data_root
    return str(file.parent.absolute())


def _collect(cells: Cells, ended: Ended, stop: StopRequest) -> dict[Path, str]:
    import ray

    # max_calls: the process ends with its run and leaves nothing to the next.
    task = ray.remote(max_retries=0, max_calls=1)(_run_there)
    running: dict[Any, Path] = {}
    failures: dict[Path, str] = {}
    for path, config in cells.items():
        needs = task.options(
            num_cpus=config.threads or 1, num_gpus=int(config.device.startswith("cuda"))
        )
        there = config.replace(data_root=_data_root(config)).to_dict()
        running[needs.remote(there, str(path.absolute()))] = path
    while running:
        done, _ = ray.wait(list(running), timeout=0.5)
        for reference in done:
            path = running.pop(reference)
            if (failure := _failure(reference)) is not None:
                failures[path] = failure
            ended(path, failure)
        if stop.number is not None:
            for reference in running:
                ray.cancel(reference)  # as Ctrl-C: the run saves its state and ends
            ray.wait(list(running), num_returns=len(running), timeout=60)
            raise Stopped(stop.number, saved=True)
    return failures


def _failure(reference: Any) -> str | None:
    import ray

    try:
        failure: str | None = ray.get(reference)
    except ray.exceptions.RayError as error:  # the machine or its Ray process is gone
        return f"Ray: {str(error).strip().splitlines()[0]}"
    return failure


def _run_there(config: dict[str, Any], out: str) -> str | None:
    path = Path(out)
    failures = LocalBackend(jobs=1).run({path: TrainConfig.from_dict(config)}, lambda *_: None)
    return failures.get(path)
