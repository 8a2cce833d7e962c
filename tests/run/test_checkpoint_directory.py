"""A directory of files is complete and unchanged, or refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowpolicy.checkpoint import DamagedCheckpointError, read_directory, write_directory
from flowpolicy.checkpoint.migrations import FORMAT_VERSION, MIGRATIONS
from flowpolicy.errors import CheckpointError

FILES = {"a.bin": bytes(range(256)) * 4, "b.json": b'{"x": 1}', "empty": b""}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_directory(tmp_path / "step_00000001", FILES)


def test_what_was_written_is_read(path):
    assert read_directory(path) == FILES
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_existing_checkpoint_is_never_overwritten(path):
    with pytest.raises(CheckpointError, match="exists already; a checkpoint is never overwritten"):
        write_directory(path, {"a.bin": b""})
    assert read_directory(path) == FILES


def test_a_failing_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_directory(tmp_path / "new", {"a": b"1", "b": None})  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [0, 1, 512, 1023])
def test_truncation_is_detected(path, length):
    (path / "a.bin").write_bytes(FILES["a.bin"][:length])
    with pytest.raises(DamagedCheckpointError, match=f"a.bin has {length} bytes, 1024 were"):
        read_directory(path)


def test_a_missing_file_is_named(path):
    (path / "b.json").unlink()
    with pytest.raises(DamagedCheckpointError, match=r"b\.json cannot be read \(No such file"):
        read_directory(path)


def test_a_file_too_many_is_named(path):
    (path / "planted.pkl").write_bytes(b"cos\nsystem\n")
    with pytest.raises(DamagedCheckpointError, match=r"planted\.pkl is not in its manifest"):
        read_directory(path)


def test_files_of_desktops_and_network_file_systems_are_no_damage(path):
    before = read_directory(path)
    for name in (".DS_Store", ".nfs0001"):
        (path / name).touch()
    assert read_directory(path) == before


def test_a_missing_manifest(path):
    (path / "manifest.json").unlink()
    with pytest.raises(DamagedCheckpointError, match=r"manifest\.json cannot be read"):
        read_directory(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b"\xff\xfe", b'{"digest": 1'])
def test_a_manifest_that_is_none(path, content):
    (path / "manifest.json").write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match="not a complete manifest"):
        read_directory(path)


def with_version(path: Path, version: int) -> None:
    body = json.loads((path / "manifest.json").read_bytes())
    del body["digest"]
    body["format_version"] = version
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps({**body, "digest": digest}, indent=1))


def test_a_newer_format_says_so(path):
    with_version(path, FORMAT_VERSION + 1)
    expected = f"format version {FORMAT_VERSION + 1} is newer .* up to version {FORMAT_VERSION};"
    with pytest.raises(CheckpointError, match=expected):
        read_directory(path)


def test_every_earlier_format_has_a_step_to_the_next():
    assert sorted(MIGRATIONS) == list(range(1, FORMAT_VERSION))


@given(data=st.data())
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_changed_byte_is_read(path, data):
    name = data.draw(st.sampled_from(["a.bin", "b.json", "manifest.json"]))
    content = (path / name).read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    flip = data.draw(st.integers(1, 255))
    copy = path.parent / "copy"
    shutil.copytree(path, copy)
    try:
        changed = bytearray(content)
        changed[position] ^= flip
        (copy / name).write_bytes(changed)
        with pytest.raises(DamagedCheckpointError):
            read_directory(copy)
    finally:
        shutil.rmtree(copy)
