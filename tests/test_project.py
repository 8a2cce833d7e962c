"""The project's own files agree with one another, and the tests keep off the network."""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path

import pytest

from flowpolicy.__about__ import __version__

ROOT = Path(__file__).parents[1]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_are_plain_pins() -> None:
    # No folder, no host, and no local version: a build for GPUs satisfies torch==2.13.0 as well.
    for name, version in pins().items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
        assert re.fullmatch(r"[0-9][0-9A-Za-z.]*", version)


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = {
        canonical(re.match(r"[\w.-]+", requirement).group())
        for requirements in (project["dependencies"], *extras)
        for requirement in requirements
    } - {"flowpolicy"}
    assert wanted <= {canonical(name) for name in pins()}


def test_the_version_is_told_the_same_everywhere() -> None:
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_readme_starts_with_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    first_block = re.search(r"```\w*\n(.*?)```", readme, re.DOTALL).group(1)
    commands = [line.split("#")[0].strip() for line in first_block.splitlines()]
    assert commands == ["make demo", "make test"]


@pytest.mark.parametrize("host", ["example.org", "93.184.216.34"])
def test_the_network_is_out_of_reach(host: str) -> None:
    with pytest.raises(RuntimeError, match=f"asked the network for '{host}'"):
        socket.create_connection((host, 80), timeout=1)


def test_loopback_is_within_reach() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()
