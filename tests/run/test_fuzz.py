"""Files with any bytes changed: loaded as they should be, or refused by an error of ours."""

from __future__ import annotations

import dataclasses
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpolicy.benchmark import Suite
from flowpolicy.benchmark.summary import summarize
from flowpolicy.checkpoint import Checkpoints, load_jax_fql, load_policy
from flowpolicy.checkpoint.agent_files import MODEL
from flowpolicy.data import Dataset, load
from flowpolicy.data.generate.episodes import load_shard
from flowpolicy.data.generate.settings import resolve
from flowpolicy.data.locate import EMBEDDED
from flowpolicy.errors import FlowPolicyError
from flowpolicy.results import read_points
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import TrainConfig
from flowpolicy.train.records import CsvFile
from tests.run.conftest import MAZE, tiny_agent
from tests.run.test_jax_fql import exported

MAZE_FILE = "pointmaze-medium-navigate-v0.npz"
MOST_MEMORY = 300 * 2**20
"""What all examples of one kind may add to the memory of the process."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A file, and what reads it.

    Attributes:
        path: The file, whose bytes are changed.
        read: Reads it; its result does not depend on the damage where ``checked``.
        checked: Whether a changed value must be noticed.
    """

    path: Path
    read: Callable[[], object]
    checked: bool = False


def data_set(folder: Path) -> Kind:
    with np.load(EMBEDDED / MAZE_FILE) as file:
        arrays = {key: file[key][:62] for key in file.files}
    arrays["terminals"][-1] = True
    np.savez_compressed(folder / MAZE_FILE, **arrays)
    return Kind(folder / MAZE_FILE, lambda: load(MAZE, folder).fingerprint(), checked=True)


def note_beside_it(folder: Path) -> Kind:
    shutil.copy(EMBEDDED / MAZE_FILE.replace(".npz", ".json"), folder)
    kind = data_set(folder)
    return Kind(kind.path.with_suffix(".json"), lambda: load(MAZE, folder).info.origin)


def generated_episode(folder: Path) -> Kind:
    settings = resolve("pointmaze-medium-navigate", seed=0)
    np.savez(folder / "train-000000.npz", observations=np.zeros((settings.episode_length, 2)))
    path = folder / "train-000000.npz"
    return Kind(path, lambda: load_shard(path, settings))


def saved_data(folder: Path) -> Kind:
    path = folder / "set.safetensors"
    rows = torch.arange(8.0).unsqueeze(1)
    flags = torch.zeros(8, 1, dtype=torch.bool)
    entries = {"observation": rows, ("next", "observation"): rows, "action": rows / 8}
    entries |= {("next", "reward"): rows, ("next", "terminated"): flags}
    Dataset(entries).save(path)
    return Kind(path, lambda: Dataset.open(path).fingerprint(), checked=True)


def suite(folder: Path) -> Kind:
    path = folder / "mine.toml"
    path.write_text(f"""description = "mine"
[environments.{MAZE}]
run = {{ offline_steps = 10, embedded = true, eval_actors = ["policy"] }}
shared = {{ hidden = [64, 64], lr = 1e-3 }}
[environments.{MAZE}.methods]
fql = {{ alpha = 10.0, run = {{ n_step = 2 }} }}
ifql = {{}}
""")

    def read() -> list[TrainConfig]:
        read = Suite.read(str(path))
        return [
            read.config(e, m, seed=0) for e in read.environments for m in read.tables[e]["methods"]
        ]

    return Kind(path, read)


def run_copy(folder: Path, run: RunFolder) -> RunFolder:
    return RunFolder(shutil.copytree(run.path, folder / "run"))


def config(folder: Path, run: RunFolder) -> Kind:
    run = run_copy(folder, run)
    path = run.path / "config.json"
    return Kind(path, lambda: TrainConfig.from_dict(RunFolder.open(run.path).config()).to_dict())


def metrics(folder: Path, run: RunFolder) -> Kind:
    run = run_copy(folder, run)

    def read() -> None:
        summarize(MAZE, "fql", [run])
        CsvFile(run.metrics).trim(lambda row: int(row["step"]) <= 15)

    return Kind(run.metrics, read)


def evaluations(folder: Path, run: RunFolder) -> Kind:
    run = run_copy(folder, run)
    return Kind(run.evaluations, lambda: [p.band for s in read_points(run).values() for p in s[0]])


def checkpoint(folder: Path, run: RunFolder, name: str) -> Kind:
    run = run_copy(folder, run)
    checkpoints = run.checkpoints
    path = checkpoints.path(checkpoints.steps()[-1])
    return Kind(path / name, lambda: load_policy(path).state_dict(), checked=True)


def checkpoint_of_python(folder: Path, _: RunFolder) -> Kind:
    checkpoints = Checkpoints(folder / "checkpoints")
    agent = tiny_agent()
    path = checkpoints.save(agent)
    return Kind(path / "rng.safetensors", lambda: checkpoints.load(agent, 0).files, checked=True)


def authors_run(folder: Path) -> Kind:
    return Kind(exported(folder), lambda: load_jax_fql(folder / "fql.npz").step)


KINDS: dict[str, Callable[..., Kind]] = {
    "data set": lambda folder, _: data_set(folder),
    "its note": lambda folder, _: note_beside_it(folder),
    "generated episode": lambda folder, _: generated_episode(folder),
    "saved data": lambda folder, _: saved_data(folder),
    "suite": lambda folder, _: suite(folder),
    "config.json": config,
    "metrics.csv": metrics,
    "eval.csv": evaluations,
    "weights": lambda folder, run: checkpoint(folder, run, MODEL),
    "manifest": lambda folder, run: checkpoint(folder, run, "manifest.json"),
    "random states": checkpoint_of_python,
    "the authors' run": lambda folder, _: authors_run(folder),
}


FORGIVING = ("generated episode",)
"""Recorded again."""


@dataclasses.dataclass(frozen=True)
class Damage:
    """A few bytes changed, and sometimes a piece cut out or put in twice."""

    changes: list[tuple[int, int]]
    piece: tuple[int, int] | None
    times: int

    def of(self, content: bytes) -> bytes:
        changed = bytearray(content)
        for at, value in self.changes:
            changed[at] = value
        if self.piece is not None:
            begin, end = sorted(self.piece)
            changed[begin:end] = changed[begin:end] * self.times
        return bytes(changed)


def damages(size: int) -> st.SearchStrategy[Damage]:
    """Damages of a file of ``size`` bytes; half of the new bytes mean something in a text."""
    place = st.integers(0, size - 1)
    byte = st.integers(0, 255) | st.sampled_from(b'0123456789"[]{},:.-enN \n=#')
    return st.builds(
        Damage,
        st.lists(st.tuples(place, byte), min_size=1, max_size=4),
        st.none() | st.tuples(place, place),
        st.sampled_from([0, 2]),
    )


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def hammer(kind: Kind, examples: int) -> set[str]:
    """Reads ``examples`` damaged versions of a file; what was said of those that were refused."""
    content, expected = kind.path.read_bytes(), kind.read()
    before, told = peak_memory(), set[str]()

    @settings(max_examples=examples, derandomize=True, database=None, deadline=None)
    @given(damages(len(content)))
    def read(damage: Damage) -> None:
        kind.path.write_bytes(damage.of(content))
        try:
            result = kind.read()
        except FlowPolicyError as error:
            told.add(str(error))
        else:
            assert not kind.checked or same(result, expected)

    read()
    assert peak_memory() - before < MOST_MEMORY
    assert not [text for text in told if "pickle" in text]
    return told


@pytest.fixture
def run(finished_run: RunFolder) -> Iterator[RunFolder]:
    return finished_run


@pytest.mark.filterwarnings("ignore::UserWarning")  # of older checkpoints, of half precision
@pytest.mark.parametrize("name", KINDS)
def test_a_few_damages_of_every_file(name, run, tmp_path):
    told = hammer(KINDS[name](tmp_path, run), 100)
    assert bool(told) == (name not in FORGIVING)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", KINDS)
def test_many_damages_of_every_file(name, run, tmp_path):
    hammer(KINDS[name](tmp_path, run), 1500)
