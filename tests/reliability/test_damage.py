"""Damaged files are refused, or do no harm."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.reliability.damage import FAST, SUBJECTS, Extent, Subject, examine

HARMLESS = {
    # Of a zip file's many fields not all say something about the arrays.
    "npz": {"bit", "appended", "extra", "zeros"},
    "saved": {"extra"},
}
"""Damages that need not be noticed, because the values come out the same."""


def examined(subject: Subject, extent: Extent, allowed: set[str]) -> Counter[str]:
    found = examine(subject, extent)
    bad = {
        key: count
        for key, count in found.items()
        if key[2] != "refused" and not (key[2] == "harmless" and key[1] in allowed)
    }
    assert not bad
    kinds: Counter[str] = Counter()
    for (_, kind, _), count in found.items():
        kinds[kind] += count
    return kinds


@pytest.mark.parametrize("name", SUBJECTS)
def test_no_damage_is_silent(name, tmp_path) -> None:
    kinds = examined(SUBJECTS[name](tmp_path), FAST, HARMLESS.get(name.partition("-")[0], set()))
    assert {"cut", "bit", "zeros", "missing", "a folder", "extra", "appended"} <= set(kinds)
    assert kinds["bit"] > FAST.positions
    assert ("exchanged" in kinds) == name.startswith("checkpoint")
