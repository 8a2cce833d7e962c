"""The published numbers stay as they are: a changed one is changed on purpose."""

from __future__ import annotations

import hashlib
import json

import pytest

from flowpolicy.agents.presets import _tables

PUBLISHED = {
    "bam": "15f532f47ddbf3b9",
    "cgql": "1c8d9160a21fd232",
    "cgql_linex": "f7be2dcb36623c36",
    "cgql_mse": "6202c067c0b4a028",
    "dac": "bb202af6ae12858d",
    "dsrl": "d071b614218153f3",
    "fawac": "9a8981bcad1739d6",
    "fbrac": "87d2ee73f9f48fd6",
    "fedit": "c0c54cda24a943ee",
    "fql": "96a8a84001c37364",
    "gfp": "39a101aaddcf87b7",
    "ifql": "c644b0bbbb058278",
    "iql": "c706eed6e77bf120",
    "qam": "e6ec0582295d95eb",
    "qam_edit": "9a468d1ba4221389",
    "qam_fql": "62a72d1b40a3c8cb",
    "qsm": "04fcb217ac7b96e3",
    "rebrac": "e7029b289d5cc53b",
    "rlpd": "6882873697c0f957",
    "sac": "8861dbb08158d00d",
}
"""Digests of what each ``recipes/<name>.toml`` holds, whatever its comments and its order."""


def digest(name: str) -> str:
    content = json.dumps(_tables().get(name), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", sorted(_tables() | PUBLISHED))
def test_presets_hold_the_published_numbers(name) -> None:
    assert digest(name) == PUBLISHED.get(name), (
        f"the numbers of {name}.toml are not those that were compared with their source. Look the "
        f"changed ones up there once more, then put {digest(name)!r} into PUBLISHED, and a line "
        "into CHANGELOG.md."
    )
