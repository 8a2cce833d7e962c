"""Local generation of OGBench data sets by the scripted experts of its environments."""

from __future__ import annotations

from flowpolicy.data.generate.command import generate as generate
from flowpolicy.data.generate.settings import GENERATED_DATASETS as GENERATED_DATASETS

__all__ = ["GENERATED_DATASETS", "generate"]
