"""Rows whose chunk leaves its trajectory: losses of the data's action count them as zero."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import flowpolicy as fp
from tests.contracts.factories import Parts, build, cases, transitions, with_noise

VALID = torch.tensor([1, 0, 1, 1, 0, 1, 1, 0], dtype=torch.bool).unsqueeze(-1)


@pytest.mark.parametrize(("cls", "variant"), cases(fp.Loss))
def test_invalid_rows_count_as_zero_in_a_mean_over_all(cls, variant) -> None:
    rows, mean = (build(cls, variant, Parts(), reduction=r) for r in ("none", "mean"))
    batch = with_noise(transitions(8), rows.draws())
    name = f"loss_{rows.name}"
    free = rows(batch)[name]
    batch["valid"] = VALID
    masked = rows(batch)[name]
    if cls is fp.SpreadLoss:  # whose variance is that of the valid rows
        return
    if not rows.of_data_action:
        assert torch.equal(masked, free)
        return
    assert torch.equal(masked[VALID], free[VALID])
    assert (masked[~VALID] == 0).all()
    assert_close(mean(batch)[name], masked.sum() / 8)


def test_a_flag_of_another_shape_is_refused() -> None:
    loss = fp.TDLoss(Parts().critic, next_value=Parts().value)
    batch = transitions(8)
    batch["valid"] = VALID.squeeze(-1)
    with pytest.raises(fp.ShapeError, match=r"'valid' must be \[\*B, 1\]"):
        loss(batch)
