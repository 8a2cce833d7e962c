"""Trains an agent on a data set into a run folder."""

from __future__ import annotations

from flowpolicy.train.config import TrainConfig
from flowpolicy.train.divergence import DivergedError
from flowpolicy.train.loop import train
from flowpolicy.train.online import ONLINE_PROTOCOLS, OnlineProtocol
from flowpolicy.train.seeds import RunsFailedError, train_seeds
from flowpolicy.train.stop import Stopped
from flowpolicy.train.together import train_together
from flowpolicy.train.versions import versions

__all__ = (
    "ONLINE_PROTOCOLS",
    "DivergedError",
    "OnlineProtocol",
    "RunsFailedError",
    "Stopped",
    "TrainConfig",
    "train",
    "train_seeds",
    "train_together",
    "versions",
)
