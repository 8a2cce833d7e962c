"""Files that somebody else wrote: read when honest, refused with a reason when not."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from flowpolicy.data.npz import read_npz, sha256
from flowpolicy.errors import DataError

REMEDY = "Delete the file and download or generate it again."


class Sentinel:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.npz"
    rng = np.random.default_rng(0)
    np.savez_compressed(path, a=rng.normal(size=(50, 3)).astype(np.float32), b=np.arange(50))
    return path


def npy(shape: str, *, data: bytes = b"", descr: str = "'<f4'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def zipped(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content)
    return path


def test_reads_required_and_present_optional_arrays(good):
    arrays = read_npz(good, ["a"], ["b", "c"])
    assert list(arrays) == ["a", "b"]
    with np.load(good, allow_pickle=False) as expected:
        assert all(np.array_equal(arrays[key], expected[key]) for key in arrays)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "|b1", "<i8"])
def test_reads_every_numeric_dtype_and_order(tmp_path, save, dtype):
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
    save(tmp_path / "x.npz", a=array)
    read = read_npz(tmp_path / "x.npz", ["a"])["a"]
    assert np.array_equal(read, array)
    assert read.dtype == array.dtype


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.npz: no such file\.$"):
        read_npz(tmp_path / "none.npz", ["a"])


def test_refuses_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"is a folder, not an \.npz file"):
        read_npz(tmp_path, ["a"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_refuses_what_may_not_be_read(good):
    good.chmod(0)
    with pytest.raises(DataError, match=r"good\.npz: may not be read by this user"):
        read_npz(good, ["a"])


def test_refuses_a_missing_array(good):
    with pytest.raises(
        DataError, match=r"good.npz: no 'z'; the file holds a, b\. A data set of OGBench has a, z\."
    ):
        read_npz(good, ["a", "z"])


def test_never_unpickles(tmp_path):
    trap = tmp_path / "ran"
    np.savez(tmp_path / "x.npz", a=np.array([Sentinel(trap)], dtype=object))
    with pytest.raises(DataError) as caught:
        read_npz(tmp_path / "x.npz", ["a"])
    assert not trap.exists()
    message = str(caught.value).removeprefix(str(tmp_path))
    assert message.startswith("/x.npz: a has dtype object; an array of numbers is needed.")
    assert "pickle" not in message


def test_refuses_strings(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array(["left", "right"]))
    with pytest.raises(DataError, match="a has dtype <U5; an array of numbers is needed"):
        read_npz(tmp_path / "x.npz", ["a"])


def test_refuses_a_web_page_and_shows_its_beginning(tmp_path):
    path = tmp_path / "x.npz"
    path.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")
    with pytest.raises(DataError) as caught:
        read_npz(path, ["a"])
    assert "not an .npz file (starts with '<!DOCTYPE html>" in str(caught.value)
    assert "It looks like a web page: the download failed." in str(caught.value)
    assert "pickle" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello there", r"not an .npz file \(starts with 'hello there'\)"),
        (b"\x80\x04\x95", r"not an .npz file \(starts with"),
        (b"\x93NUMPY\x01\x00", r"this is a single array \(.npy\)"),
    ],
)
def test_refuses_what_is_no_archive(tmp_path, content, message):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_npz(path, ["a"])


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_refuses_a_cut_file(good, kept):
    content = good.read_bytes()
    good.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(
        DataError, match=r"good.npz: the .npz file is damaged or cut off \(.*Delete"
    ):
        read_npz(good, ["a", "b"])


def test_refuses_a_directory_that_claims_more_than_the_file(tmp_path):
    """Numpy would ask for the memory before it reads."""
    size = 800 * 10**9
    path = zipped(tmp_path / "x.npz", npy(f"({size // 4},)", data=b"\0" * 40))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    name = int.from_bytes(content[entry + 28 : entry + 30], "little")
    sizes = (1).to_bytes(2, "little") + (16).to_bytes(2, "little") + size.to_bytes(8, "little") * 2
    content[entry + 20 : entry + 28] = b"\xff" * 8  # both are in the field of larger files
    content[entry + 30 : entry + 32] = len(sizes).to_bytes(2, "little")
    content[entry + 46 + name : entry + 46 + name] = sizes
    end = content.rindex(b"PK\x05\x06")
    content[end + 12 : end + 16] = (end - entry).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a claims 800,000,000,000 compressed bytes, more than"):
        read_npz(path, ["a"])


def test_refuses_a_header_larger_than_the_file(tmp_path):
    path = zipped(tmp_path / "x.npz", npy("(5000000000000, 1)", data=b"\0" * 40))
    with pytest.raises(DataError) as caught:
        read_npz(path, ["a"])
    assert "a claims shape [5000000000000, 1] of float32 (20,000,000,000,000 bytes)" in str(
        caught.value
    )
    assert "but the file holds 40 bytes for it" in str(caught.value)


def test_refuses_a_header_smaller_than_the_data(tmp_path):
    path = zipped(tmp_path / "x.npz", npy("(2, 1)", data=b"\0" * 40))
    with pytest.raises(DataError, match=r"\(8 bytes\) but the file holds 40 bytes"):
        read_npz(path, ["a"])


def test_refuses_more_data_than_compression_can_hide(good):
    content = bytearray(good.read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        size = archive.getinfo("a.npy").file_size.to_bytes(4, "little")
    at = content.rindex(size)  # in the archive's directory
    content[at : at + 4] = (2**31).to_bytes(4, "little")
    good.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"a claims 2,147,483,648 bytes, more than"):
        read_npz(good, ["a"])


@pytest.mark.parametrize(
    "content",
    [
        b"no header at all",
        npy("nonsense"),
        npy("(1,)", descr="'not a dtype'"),
        npy("(1,)").replace(b"}", b"\0"),
        npy("(1,)").replace(b"}", b"("),
        npy("(1,)").replace(b"'descr'", b"[1, 2]:"),
        b"\x93NUMPY\x09\x00" + b" " * 40,
    ],
)
def test_refuses_a_damaged_header(tmp_path, content):
    with pytest.raises(DataError, match="a has a damaged header"):
        read_npz(zipped(tmp_path / "x.npz", content), ["a"])


def test_no_damage_escapes_or_changes_a_value(good):
    """Any changed byte is refused, or touches what does not matter; nothing else is raised."""
    expected = read_npz(good, ["a", "b"])
    content = good.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        good.write_bytes(bytes(damaged))
        try:
            arrays = read_npz(good, ["a", "b"])
        except DataError:
            refused += 1
        else:
            assert all(np.array_equal(arrays[key], expected[key]) for key in expected)
    assert refused > 200


def test_the_checksum_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
