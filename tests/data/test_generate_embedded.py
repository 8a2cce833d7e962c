"""The data set that comes with the package is what its record says."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np

from flowpolicy.data.generate.episodes import make_expert, record_episode
from flowpolicy.data.generate.settings import resolve
from flowpolicy.data.npz import sha256

NAME = "pointmaze-medium-navigate-v0"


def test_checksum_size_and_first_episode() -> None:
    folder = files("flowpolicy") / "data" / "embedded"
    npz, note = folder / f"{NAME}.npz", folder / f"{NAME}.json"
    record = json.loads(note.read_text(encoding="utf-8"))
    with npz.open("rb") as file, np.load(file, allow_pickle=False) as columns:
        observations, actions = columns["observations"], columns["actions"]
        ends = np.flatnonzero(columns["terminals"])
    from pathlib import Path

    path = Path(str(npz))
    assert sha256(path) == record["sha256"][path.name]
    assert path.stat().st_size < 4_000_000
    assert (record["seed"], record["transitions"]) == (0, 190_000)
    assert record["command"] == (
        "flowpolicy data generate pointmaze-medium-navigate --transitions 190000 "
        "--val-transitions 0 --seed 0"
    )
    np.testing.assert_array_equal(ends, np.arange(1000, 190 * 1001, 1001))
    # the command still makes it: its first steps, up to what another simulator would change
    settings = resolve(record["dataset"], seed=record["seed"])
    episode = record_episode(make_expert(settings), settings, "train", 0)
    np.testing.assert_allclose(observations[:50], episode["observations"][:50], atol=1e-4)
    np.testing.assert_allclose(actions[:50], episode["actions"][:50], atol=1e-4)
