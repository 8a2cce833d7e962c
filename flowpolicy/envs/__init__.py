"""Environments by the name of their data set, for the fast evaluation loop and for TorchRL."""

from __future__ import annotations

from flowpolicy.envs.gym import make_gym as make_gym
from flowpolicy.envs.own_noise import OwnNoise as OwnNoise
from flowpolicy.envs.torchrl_env import make as make

__all__ = ["OwnNoise", "make", "make_gym"]
