"""The contract tests notice a class that nobody told them how to build."""

from __future__ import annotations

import gc

import pytest

import flowpolicy as fp
from tests.contracts.factories import build, cases, implementations


def test_a_new_class_without_a_factory_fails_with_what_to_do() -> None:
    stray = type("StrayPath", (fp.Path,), {"sample": None, "__module__": "flowpolicy.paths.stray"})
    try:
        assert stray in implementations(fp.Path)
        assert "StrayPath" in [case.id for case in cases(fp.Path)]
        with pytest.raises(
            pytest.fail.Exception,
            match=r"flowpolicy\.paths\.stray\.StrayPath has no entry in FACTORIES",
        ):
            build(stray)
    finally:
        del stray
        gc.collect()


@pytest.mark.parametrize("base", [fp.Path, fp.Actor, fp.Sampler, fp.Weight, fp.Loss])
def test_something_is_found(base) -> None:
    assert cases(base)
