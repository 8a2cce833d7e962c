"""Data sets made from data sets."""

from __future__ import annotations

from flowpolicy.data.transforms.chunk import chunk as chunk
from flowpolicy.data.transforms.n_step import n_step as n_step
from flowpolicy.data.transforms.with_next_action import with_next_action as with_next_action
