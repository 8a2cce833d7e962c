"""Every law draws what it says, from the caller's generator, and is a value."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from flowpolicy.paths import GaussianNoise, Law
from tests.contracts.factories import SHAPES, build, cases

each_law = pytest.mark.parametrize(("cls", "variant"), cases(Law))
each_time = pytest.mark.parametrize(
    ("cls", "variant"), [c for c in cases(Law) if c.values[0] is not GaussianNoise]
)
CPU = torch.device("cpu")


def draw(law, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return law.sample(shape, dtype=dtype, device=CPU, generator=torch.Generator().manual_seed(seed))


@each_law
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype(cls, variant, shape, dtype) -> None:
    value = draw(build(cls, variant), *shape, 1, dtype=dtype)
    assert value.shape == (*shape, 1)
    assert value.dtype == dtype


@each_law
def test_the_generator_decides_and_no_other_is_touched(cls, variant) -> None:
    law = build(cls, variant)
    before = torch.get_rng_state()
    first, again, other = draw(law, 50, 1), draw(law, 50, 1), draw(law, 50, 1, seed=1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@each_law
def test_every_element_is_drawn_on_its_own(cls, variant) -> None:
    assert draw(build(cls, variant), 10, 3).unique().numel() == 30


@each_law
def test_it_is_a_value(cls, variant) -> None:
    law = build(cls, variant)
    assert law == build(cls, variant) == copy.deepcopy(law) == pickle.loads(pickle.dumps(law))
    assert hash(law) == hash(build(cls, variant))


@each_time
def test_times_fill_the_unit_interval(cls, variant) -> None:
    t = draw(build(cls, variant), 20_000, 1)
    assert t.min() >= 0
    assert t.max() <= 1
    assert t.std() > 0.05


def test_laws_of_other_parameters_differ() -> None:
    laws = [build(*case.values) for case in cases(Law)]
    assert len(set(laws)) == len(laws)
