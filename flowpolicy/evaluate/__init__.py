"""Scores a policy in real environments: many episodes in lock-step, with honest intervals."""

from __future__ import annotations

from flowpolicy.evaluate.bootstrap import bootstrap_interval
from flowpolicy.evaluate.environments import EnvSource, close_environments, environments
from flowpolicy.evaluate.evaluation import Evaluation, pool
from flowpolicy.evaluate.interval import wilson_interval
from flowpolicy.evaluate.lockstep import Episode, run_episodes
from flowpolicy.evaluate.protocol import PROTOCOLS, Protocol, protocol
from flowpolicy.evaluate.record import record_frames, record_observations
from flowpolicy.evaluate.score import evaluate
from flowpolicy.evaluate.workers import EvaluationError

__all__ = (
    "PROTOCOLS",
    "EnvSource",
    "Episode",
    "Evaluation",
    "EvaluationError",
    "Protocol",
    "bootstrap_interval",
    "close_environments",
    "environments",
    "evaluate",
    "pool",
    "protocol",
    "record_frames",
    "record_observations",
    "run_episodes",
    "wilson_interval",
)
