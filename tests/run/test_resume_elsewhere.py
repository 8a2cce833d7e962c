"""A new process with other seeds goes on to the bit, also where updates are compiled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flowpolicy.checkpoint import Checkpoints
from tests.run.learner import Learner

GO_ON = """
import sys
import torch
from flowpolicy.checkpoint import Checkpoints
from tests.run.learner import Learner
torch.set_num_threads(1)
for seed, argument in enumerate(sys.argv[1:], start=7):
    folder, backend = argument.split("=")
    torch.manual_seed(seed)
    learner = Learner(seed)
    if backend:
        learner.agent.compile(backend)
    for _ in range(seed % 2):
        learner.turn()
    learner.load(Checkpoints(folder))
    for _ in range(3):
        learner.turn()
    print(learner.digest())
"""


def undisturbed(folder: Path, backend: str) -> str:
    """Saves after 3 of 6 turns; the digest at their end."""
    torch.manual_seed(0)
    learner = Learner(0)
    if backend:
        learner.agent.compile(backend)
    for _ in range(3):
        learner.turn()
    learner.save(Checkpoints(folder))
    for _ in range(3):
        learner.turn()
    return learner.digest()


def gone_on_elsewhere(folders: dict[Path, str]) -> list[str]:
    arguments = [f"{folder}={backend}" for folder, backend in folders.items()]
    result = subprocess.run(
        [sys.executable, "-c", GO_ON, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in result.stdout.splitlines() if len(line) == 64]


@pytest.mark.compile
@pytest.mark.timeout(300)
def test_a_new_process_goes_on_to_the_bit(tmp_path):
    """Operation by operation, and as the graph that the compiler traces."""
    folders = {tmp_path / "a": "", tmp_path / "b": "eager"}
    expected = [undisturbed(folder, backend) for folder, backend in folders.items()]
    assert gone_on_elsewhere(folders) == expected


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.timeout(600)
def test_a_new_process_goes_on_to_the_bit_with_inductor(tmp_path):
    folders = {tmp_path / "a": "inductor"}
    expected = [undisturbed(folder, backend) for folder, backend in folders.items()]
    assert gone_on_elsewhere(folders) == expected
