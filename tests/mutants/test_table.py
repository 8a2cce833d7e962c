"""The table of mistakes fits the code, and its verdicts can be trusted."""

from __future__ import annotations

import dataclasses

import pytest

from tests.mutants import __main__ as command
from tests.mutants.table import MUTANTS, ROOT


def test_every_mistake_has_its_place_and_its_test() -> None:
    assert len(MUTANTS) >= 20
    assert len({each.name for each in MUTANTS}) == len(MUTANTS)
    for each in MUTANTS:
        assert each.mutated() != each.source().read_text(encoding="utf-8"), each.name
        compile(each.mutated(), each.file, "exec")
        assert (ROOT / each.test.partition("::")[0]).is_file(), each.name


def test_a_stale_entry_is_an_error() -> None:
    stale = dataclasses.replace(MUTANTS[0], old="return 42")
    with pytest.raises(LookupError, match=r"'return 42' stands 0 times in .*, not once; bring"):
        stale.mutated()
    with pytest.raises(LookupError, match=r"'Tensor' stands \d+ times"):
        dataclasses.replace(stale, old="Tensor").mutated()


@pytest.mark.slow
def test_a_change_of_nothing_survives(monkeypatch, capsys) -> None:
    harmless = dataclasses.replace(MUTANTS[0], name="harmless", new=MUTANTS[0].old)
    monkeypatch.setattr(command, "MUTANTS", (harmless,))
    assert command.main([]) == 1
    assert "SURVIVED" in capsys.readouterr().out
