"""The data that ship with the package are there without a root, a home or a network."""

from __future__ import annotations

from flowpolicy.data import embedded, load, locate
from flowpolicy.data.locate import EMBEDDED
from tests.data.conftest import MAZE, MAZE_FILE


def test_the_public_name_finds_them(monkeypatch, tmp_path):
    monkeypatch.delenv(locate.ROOT_VARIABLE, raising=False)
    monkeypatch.setattr(locate, "OGBENCH_ROOT", tmp_path / "nobody")
    found = load(MAZE, download=False)
    assert found.fingerprint() == embedded().fingerprint()
    assert found.info.origin == "embedded"
    assert "origin='embedded'" in repr(found)
    assert found.info.env_id == "pointmaze-medium-singletask-task1-v0"


def test_they_are_small_and_show_successes():
    assert (EMBEDDED / MAZE_FILE).stat().st_size <= 4_000_000
    dataset = embedded()
    terminated = dataset.entries()["next", "terminated"]
    assert len(dataset) >= 100_000
    assert 0.001 < terminated.float().mean() < 0.1
