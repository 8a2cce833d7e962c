"""Fixtures that the tests share. What also holds for doctests stands in the conftest above."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    """A generator of its own for a test's inputs, seeded with 0."""
    return torch.Generator().manual_seed(0)
