"""``python -m tests.reliability.damage``: no damaged file passes for the one that was written.

Every file of a checkpoint and of a data set is cut off, flipped bit by bit, zeroed in blocks, taken
away, exchanged and lengthened, one damage at a time. Each must be refused in the package's own
words, or do no harm: what is loaded is what was written.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flowpolicy import data
from flowpolicy.checkpoint import read_directory
from flowpolicy.checkpoint.directory import MANIFEST
from flowpolicy.data import Dataset
from flowpolicy.errors import FlowPolicyError
from flowpolicy.train import train
from tests.reliability.tiny_run import MAZE, small_data, tiny_run

BLOCK = 4096


@dataclass(frozen=True)
class Extent:
    """How much is tried.

    Attributes:
        small: The size up to which every byte of a file is tried; those of a manifest always are.
        bits_per_byte: How many of its bits.
        positions: Random bits of a larger file.
        cuts: Random lengths, beside the fixed ones.
        blocks: Zeroed blocks.
    """

    small: int
    bits_per_byte: int
    positions: int
    cuts: int
    blocks: int


FAST = Extent(small=0, bits_per_byte=1, positions=100, cuts=3, blocks=3)
FULL = Extent(small=6000, bits_per_byte=8, positions=4000, cuts=200, blocks=1000)


@dataclass(frozen=True)
class Subject:
    """What is damaged.

    Attributes:
        name: What it is.
        folder: Its files.
        load: What a user gets from them, as something that can be compared.
    """

    name: str
    folder: Path
    load: Callable[[], Any]


def damaged_bytes(
    content: bytes, extent: Extent, draw: random.Random, *, every_byte: bool
) -> Iterator[tuple[str, bytes]]:
    """Kind of damage and what it makes of ``content``."""
    size = len(content)
    for length in {0, 1, size // 2, size * 99 // 100, size - 1} | {
        draw.randrange(size) for _ in range(extent.cuts)
    }:
        if length < size:
            yield "cut", content[:length]
    if every_byte:
        bits = [8 * i + b for i in range(size) for b in draw.sample(range(8), extent.bits_per_byte)]
    else:
        bits = [0, 8 * size - 1, *(draw.randrange(8 * size) for _ in range(extent.positions))]
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield "bit", bytes(changed)
    starts = range(0, size, BLOCK)
    for start in draw.sample(starts, min(extent.blocks, len(starts))):
        zeroed = content[:start] + bytes(min(BLOCK, size - start)) + content[start + BLOCK :]
        if zeroed != content:
            yield "zeros", zeroed
    yield "appended", content + b"\0"
    yield "appended", content + content


def damages(folder: Path, extent: Extent, draw: random.Random) -> Iterator[tuple[str, str]]:
    """Damages the files of ``folder`` one way after the other; file and kind of each damage.

    The files are whole again when the next one is asked for.
    """
    originals = {path: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    for path, content in originals.items():
        every_byte = path.name == MANIFEST or len(content) <= extent.small
        for kind, changed in damaged_bytes(content, extent, draw, every_byte=every_byte):
            path.write_bytes(changed)
            yield path.name, kind
        path.unlink()
        yield path.name, "missing"
        path.mkdir()
        yield path.name, "a folder"
        path.rmdir()
        for other, others in originals.items():
            if others != content:
                path.write_bytes(others)
                other.write_bytes(content)
                yield path.name, "exchanged"
                other.write_bytes(others)
        path.write_bytes(content)
    extra = folder / "extra.bin"
    extra.write_bytes(b"\0")
    yield extra.name, "extra"
    extra.unlink()


def verdict(subject: Subject, intact: Any) -> str:
    """``refused``, ``harmless``, or what must not be: ``SILENT`` or ``CRASH``."""
    try:
        loaded = subject.load()
    except FlowPolicyError:
        return "refused"
    except Exception as error:  # noqa: BLE001  (whatever else it is, it is in nobody's words)
        return f"CRASH {type(error).__name__}: {error}"
    return "harmless" if loaded == intact else "SILENT"


def examine(subject: Subject, extent: Extent, seed: int = 0) -> Counter[tuple[str, str, str]]:
    """How often each file, kind of damage and verdict occurred."""
    intact = subject.load()
    found = Counter(
        (file, kind, verdict(subject, intact))
        for file, kind in damages(subject.folder, extent, random.Random(seed))  # noqa: S311
    )
    assert subject.load() == intact
    return found


# -- what is examined ------------------------------------------------------------------------------


def values(dataset: Dataset) -> tuple[str, dict[str, Any]]:
    """All that a data set holds, but for the digest of the file that it came from."""
    described = dataset.info.to_dict()
    described.pop("files", None)
    return dataset.fingerprint(), described


def checkpoint(folder: Path, *, online: bool) -> Subject:
    """The checkpoint of a real run, with the transitions of an online phase or without."""
    name = "checkpoint, online" if online else "checkpoint"
    root = Path(tempfile.mkdtemp(dir=folder))
    steps = {"offline_steps": 2, "online_steps": 20} if online else {"offline_steps": 4}
    config = tiny_run(small_data(root)).replace(**steps, eval_episodes=1, eval_every=0)
    saved = train(config, root / "run", progress=False).checkpoints
    path = saved.path(saved.steps()[-1])
    return Subject(name, path, partial(read_directory, path))


def npz(folder: Path, *, compressed: bool) -> Subject:
    """A file of OGBench's layout, small enough that all bytes of its headers are tried."""
    root = small_data(Path(tempfile.mkdtemp(dir=folder)), rows=40, compressed=compressed)
    name = "npz, compressed" if compressed else "npz"
    return Subject(name, root, lambda: values(data.load(MAZE, root, download=False)))


def saved_dataset(folder: Path) -> Subject:
    """What ``Dataset.save`` writes."""
    path = Path(tempfile.mkdtemp(dir=folder)) / "maze.safetensors"
    rows = data.load(MAZE, small_data(folder, rows=40), download=False)
    data.transforms.n_step(rows, 2).save(path)
    return Subject("Dataset.save", path.parent, lambda: values(Dataset.open(path)))


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "checkpoint": partial(checkpoint, online=False),
    "checkpoint-online": partial(checkpoint, online=True),
    "npz": partial(npz, compressed=False),
    "npz-compressed": partial(npz, compressed=True),
    "saved": saved_dataset,
}


def main() -> int:
    """Prints a table of all damages; 1 where one of them was neither refused nor harmless."""
    torch.set_num_threads(1)
    bad = 0
    with tempfile.TemporaryDirectory(prefix="damage-") as name:
        for make in SUBJECTS.values():
            subject = make(Path(name))
            found = examine(subject, FULL)
            print(f"{subject.name}: {sum(found.values()):,} damages")
            for (file, kind, judged), count in sorted(found.items()):
                print(f"  {file:<28} {kind:<10} {count:>6,}  {judged}")
                bad += count * (judged not in {"refused", "harmless"})
            shutil.rmtree(subject.folder)
    print(f"{bad:,} damages were neither refused nor harmless")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
