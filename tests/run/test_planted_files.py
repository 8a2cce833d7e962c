"""Files that run code when they are unpickled, put where the package reads: none of it runs."""

from __future__ import annotations

import importlib
import inspect
import io
import pickle
import pkgutil
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import flowpolicy
from flowpolicy import data
from flowpolicy.benchmark import Grid
from flowpolicy.checkpoint import Checkpoints, load_policy, read_directory, verify_checkpoint
from flowpolicy.checkpoint.policy import load_agent
from flowpolicy.cli import main
from flowpolicy.data import Dataset
from flowpolicy.data.generate.episodes import load_shard
from flowpolicy.data.generate.settings import resolve
from flowpolicy.data.names import DatasetName
from flowpolicy.data.npz import read_npz
from flowpolicy.data.ogbench import read_file
from flowpolicy.data.saved import open_saved, verify_saved
from flowpolicy.data.torchrl_dataset import OGBenchExperienceReplay
from flowpolicy.doctor import examine_run
from flowpolicy.errors import FlowPolicyError
from flowpolicy.plot import learning_curve
from flowpolicy.results import read_points
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import TrainConfig, train
from flowpolicy.train.records import CsvFile
from tests.run.conftest import MAZE, tiny_agent
from tests.run.test_fuzz import authors_run, data_set, saved_data, suite


class Payload:
    """Unpickling this makes the file ``ran``."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self):
        return (Path.touch, (self.ran,))


def npz(payload: Payload) -> bytes:
    """Every array that some reader wants, with the payload in it."""
    names = ("observations", "actions", "terminals", "qpos", "config")
    written = io.BytesIO()
    np.savez(written, **{name: np.array([payload], dtype=object) for name in names})
    return written.getvalue()


def saved_by_torch(payload: Payload) -> bytes:
    written = io.BytesIO()
    torch.save({"weights": payload}, written)
    return written.getvalue()


PLANTED: dict[str, Callable[[Payload], bytes]] = {
    "a pickle": pickle.dumps,
    "an old pickle": lambda payload: pickle.dumps(payload, protocol=0),
    "a file of torch.save": saved_by_torch,
    "an npz of objects": npz,
}
BESIDE = ("data.pkl", "prefetch.pkl", "other.pickle", ".metadata", "params.pkl")
"""Names under which other libraries look for pickles."""


@dataclass(frozen=True)
class Reading:
    """A way to read files below a folder.

    Attributes:
        read: Reads them.
        main: Those without which it cannot go on; the others it may do without, or mend.
    """

    read: Callable[[], object]
    main: tuple[Path, ...]


def checkpoint(folder: Path) -> Path:
    run = RunFolder(folder / "run")
    return run.checkpoints.path(run.checkpoints.steps()[-1])


def of_checkpoint(read: Callable[[Path], object]) -> Callable[[Path], Reading]:
    def build(folder: Path) -> Reading:
        path = checkpoint(folder)
        return Reading(lambda: read(path), tuple(path.iterdir()))

    return build


def of_run(read: Callable[[RunFolder], object], *names: str) -> Callable[[Path], Reading]:
    def build(folder: Path) -> Reading:
        run = RunFolder(folder / "run")
        return Reading(lambda: read(run), tuple(run.path / name for name in names))

    return build


def of_data(read: Callable[[Path], object]) -> Callable[[Path], Reading]:
    def build(folder: Path) -> Reading:
        path = data_set(folder).path
        return Reading(lambda: read(path), (path,))

    return build


def mapped(folder: Path) -> Reading:
    root = data_set(folder).path.parent
    OGBenchExperienceReplay(MAZE, root=root, memmap=True)
    converted = root / "flowpolicy" / MAZE / "train-pre" / "dataset.safetensors"
    return Reading(lambda: OGBenchExperienceReplay(MAZE, root=root, memmap=True), (converted,))


def saved(read: Callable[[Path], object]) -> Callable[[Path], Reading]:
    def build(folder: Path) -> Reading:
        path = saved_data(folder).path
        return Reading(lambda: read(path), (path,))

    return build


def checkpoints_of_python(read: Callable[[Checkpoints], object]) -> Callable[[Path], Reading]:
    def build(folder: Path) -> Reading:
        checkpoints = Checkpoints(folder / "checkpoints")
        path = checkpoints.save(tiny_agent())
        return Reading(lambda: read(checkpoints), tuple(path.iterdir()))

    return build


def shard(folder: Path) -> Reading:
    def read() -> None:
        if load_shard(path, resolve("pointmaze-medium-navigate", seed=0)) is None:
            raise FlowPolicyError  # it is recorded again

    path = folder / "train-000000.npz"
    np.savez(path, observations=np.zeros((1001, 2)))
    return Reading(read, (path,))


def command(*words: str) -> Callable[[RunFolder], object]:
    def run(folder: RunFolder) -> None:
        if main([word.format(run=folder.path) for word in words]) != 0:
            raise FlowPolicyError

    return run


def resumed(run: RunFolder) -> object:
    config = TrainConfig.from_dict(run.config())
    return train(config, run.path, resume=True, progress=False)


def diagnosed(run: RunFolder) -> None:
    if "error" in [finding.level for finding in examine_run(run)]:
        raise FlowPolicyError


def authors(folder: Path) -> Reading:
    kind = authors_run(folder)
    return Reading(kind.read, (kind.path,))


def own_suite(folder: Path) -> Reading:
    kind = suite(folder)
    return Reading(kind.read, (kind.path,))


def own_grid(folder: Path) -> Reading:
    path = folder / "grid.toml"
    path.write_text(f"[grid]\nagent = ['bc']\nenv = ['{MAZE}']\n")
    return Reading(lambda: Grid.read(path), (path,))


#: By the function or method that is given the path; also some that only others call.
READERS: dict[str, Callable[[Path], Reading]] = {
    "checkpoint.directory.read_directory": of_checkpoint(read_directory),
    "checkpoint.policy.load_policy": of_checkpoint(load_policy),
    "checkpoint.policy.load_agent": of_checkpoint(load_agent),
    "checkpoint.verification.verify_checkpoint": of_checkpoint(verify_checkpoint),
    "checkpoint.store.Checkpoints": checkpoints_of_python(lambda c: c.load(tiny_agent(), 0)),
    "checkpoint.jax_fql.load_jax_fql": authors,
    "data.dataset.Dataset.open": saved(Dataset.open),
    "data.saved.open_saved": saved(open_saved),
    "data.saved.verify_saved": saved(verify_saved),
    "data.ogbench.load": of_data(lambda path: data.load(MAZE, path.parent)),
    "data.ogbench.read_file": of_data(
        lambda path: read_file(path, DatasetName.parse(MAZE), "train", "pre")
    ),
    "data.npz.read_npz": of_data(lambda path: read_npz(path, ["observations"])),
    "data.torchrl_dataset.OGBenchExperienceReplay": mapped,
    "data.generate.episodes.load_shard": shard,
    "benchmark.suite.Suite.read": own_suite,
    "benchmark.grid.Grid.read": own_grid,
    "results.points.read_points": of_run(read_points, "eval.csv"),
    "run_folder.RunFolder.open": of_run(
        lambda run: RunFolder.open(run.path).config(), "config.json"
    ),
    "train.loop.train": of_run(resumed, "data.json"),
    "train.records.CsvFile": of_run(
        lambda run: CsvFile(run.metrics).trim(lambda row: int(row["step"]) > 0), "metrics.csv"
    ),
    "plot.curve.learning_curve": of_run(lambda run: learning_curve([run], run.curve), "eval.csv"),
    "doctor.examine_run": of_run(
        diagnosed, "config.json", "checkpoints/step_00000020/model.safetensors"
    ),
    "cli.evaluate.Options": of_run(
        command("eval", "{run}", "--episodes", "1", "--max-steps", "2"), "config.json"
    ),
}

#: Takes a path and reads no content of a file that others could have left there ...
NOT_READING = """
    benchmark.benchmark.Report checkpoint.directory.write_directory
    checkpoint.export.export_policy durable.collect_leftovers durable.replace_durably
    durable.replacing durable.sync durable.write_durably
    modules.evaluated_batch.EvaluatedBatch.path_sample
    checkpoint.policy.hint_at_runs
    checkpoint.policy.runs_below checkpoint.store.LoadedCheckpoint
    data.dataset.Dataset.save demo.DemoSummary doctor.examine_machine doctor.hardware.disk
    plot.maze.maze_picture run_folder.RunFolder.create
    run_folder.RunFolder.refuse_existing train.lock.WriterLock
"""
#: ... or hands it to one of the readers, or is a part of one.
HANDING_ON = """
    benchmark.benchmark.repeat benchmark.benchmark.report checkpoint.store.LoadedCheckpoint.read
    benchmark.benchmark.run_benchmark cli.benchmark.Options cli.data.Options
    cli.demo.Options cli.doctor.Options cli.export.Options cli.plot.Options
    cli.sensitivity.Options
    cli.verify.Options cli.sweep.Options benchmark.grid.Grid.cells benchmark.sweep.run_one
    benchmark.sweep.run_sweep benchmark.sweep.sweep_report
    benchmark.sensitivity.run_sensitivity benchmark.sensitivity.sensitivity_report
    data.generate.command.generate demo.run_demo doctor.examined.examine
    run_folder.RunFolder run_folder.read_table train.seeds.train_seeds
    train.together.train_together
"""


def takes_a_path(function: Any) -> bool:
    told = [str(each.annotation) for each in inspect.signature(function).parameters.values()]
    return any(re.search(r"\bPath(Like)?\b", text) for text in told)


def exported() -> Iterator[tuple[str, Any]]:
    """What the package's folders give away, and what the modules of commands hold."""
    for place in pkgutil.walk_packages(flowpolicy.__path__, "flowpolicy."):
        _, first, *inside = place.name.split(".")
        if first in ("__main__", "losses", "paths"):
            continue  # the paths of the last two are those of probability
        if place.ispkg or not inside or first == "cli":
            home = place.name if first == "cli" else "flowpolicy."
            for name, value in vars(importlib.import_module(place.name)).items():
                module = getattr(value, "__module__", "")
                ours = module.startswith(home) and "losses" not in module
                if ours and callable(value) and not name.startswith("_"):
                    yield f"{module}.{name}".removeprefix("flowpolicy."), value


def found() -> set[str]:
    names = set()
    for name, value in exported():
        parts = {name: value}
        for method, inside in vars(value).items() if isinstance(value, type) else ():
            if not method.startswith("_"):
                parts[f"{name}.{method}"] = getattr(inside, "__func__", inside)
        for each, called in parts.items():
            with suppress(ValueError, TypeError):  # no signature, or not to be called
                names |= {each} if takes_a_path(called) else set()
    return names


def test_every_public_function_that_takes_a_path_is_listed() -> None:
    harmless = {*NOT_READING.split(), *HANDING_ON.split()}
    assert not harmless & set(READERS)
    unlisted = found() - harmless - set(READERS)
    assert not unlisted, f"plant a file for what reads, or say that these do not: {unlisted}"
    assert not harmless - found(), "exported no more"


@pytest.fixture
def folder(finished_run: RunFolder, tmp_path: Path) -> Path:
    shutil.copytree(finished_run.path, tmp_path / "run", symlinks=True)
    return tmp_path


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_the_payload_works(plant, tmp_path):
    content = io.BytesIO(plant(Payload(tmp_path / "ran")))
    try:
        pickle.load(content)
    except pickle.UnpicklingError:  # it lies in an archive
        content.seek(0)
        if plant is npz:
            np.load(content, allow_pickle=True)["config"]
        else:
            torch.load(content, weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")  # of older checkpoints
@pytest.mark.parametrize("name", READERS)
def test_no_planted_file_runs(name, folder, capsys):
    reading = READERS[name](folder)
    reading.read()
    ran = folder / "ran"
    for plant in PLANTED.values():
        content = plant(Payload(ran))
        for path in reading.main:
            genuine = path.read_bytes()
            path.write_bytes(content)
            with pytest.raises(FlowPolicyError) as caught:
                reading.read()
            assert "pickle" not in str(caught.value)
            path.write_bytes(genuine)
        assert not ran.exists()
    for beside in {path.parent for path in reading.main}:
        for strange in BESIDE:
            (beside / strange).write_bytes(pickle.dumps(Payload(ran)))
    with suppress(FlowPolicyError):  # a checkpoint has nothing beside its manifest
        reading.read()
    assert not ran.exists()
