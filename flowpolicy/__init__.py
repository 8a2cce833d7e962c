"""Parts and losses for reinforcement learning with flow-matching policies.

An actor maps (observation, noise) to an action. A loss trains exactly the network it names and
reads every other through a frozen view. Everything else is putting parts together;
``flowpolicy.agents`` holds the published methods, put together.
"""

from flowpolicy import agents as agents
from flowpolicy import data as data
from flowpolicy import envs as envs
from flowpolicy import functional as functional
from flowpolicy.__about__ import __version__ as __version__
from flowpolicy.agents import Agent as Agent
from flowpolicy.agents import Blend as Blend
from flowpolicy.agents import NoiseSource as NoiseSource
from flowpolicy.checkpoint import load_policy as load_policy
from flowpolicy.errors import CheckpointError as CheckpointError
from flowpolicy.errors import ConfigError as ConfigError
from flowpolicy.errors import DataError as DataError
from flowpolicy.errors import DtypeError as DtypeError
from flowpolicy.errors import FlowPolicyError as FlowPolicyError
from flowpolicy.errors import MissingKeyError as MissingKeyError
from flowpolicy.errors import ShapeError as ShapeError
from flowpolicy.evaluate import evaluate as evaluate
from flowpolicy.functional import Pessimistic as Pessimistic
from flowpolicy.functional import first_value as first_value
from flowpolicy.functional import inverse_mean_abs as inverse_mean_abs
from flowpolicy.functional import max_value as max_value
from flowpolicy.functional import mean_value as mean_value
from flowpolicy.functional import min_value as min_value
from flowpolicy.functional import unit_scale as unit_scale
from flowpolicy.losses import ActorLoss as ActorLoss
from flowpolicy.losses import DistillLoss as DistillLoss
from flowpolicy.losses import DPGLoss as DPGLoss
from flowpolicy.losses import DualLoss as DualLoss
from flowpolicy.losses import ExpectileLoss as ExpectileLoss
from flowpolicy.losses import FlowMatchingLoss as FlowMatchingLoss
from flowpolicy.losses import Loss as Loss
from flowpolicy.losses import PolyakUpdater as PolyakUpdater
from flowpolicy.losses import SumLoss as SumLoss
from flowpolicy.losses import TDLoss as TDLoss
from flowpolicy.losses import ValueLoss as ValueLoss
from flowpolicy.modules import Actor as Actor
from flowpolicy.modules import BatchKeys as BatchKeys
from flowpolicy.modules import ChunkPolicy as ChunkPolicy
from flowpolicy.modules import CriticEnsemble as CriticEnsemble
from flowpolicy.modules import EvaluatedBatch as EvaluatedBatch
from flowpolicy.modules import FromCurrentObservation as FromCurrentObservation
from flowpolicy.modules import LearnedCoefficient as LearnedCoefficient
from flowpolicy.modules import OneStepActor as OneStepActor
from flowpolicy.modules import StochasticActor as StochasticActor
from flowpolicy.modules import TargetNetwork as TargetNetwork
from flowpolicy.modules import TimeEmbedding as TimeEmbedding
from flowpolicy.modules import ValueNetwork as ValueNetwork
from flowpolicy.modules import VelocityField as VelocityField
from flowpolicy.modules import frozen as frozen
from flowpolicy.paths import AffinePath as AffinePath
from flowpolicy.paths import BetaTime as BetaTime
from flowpolicy.paths import CosineSchedule as CosineSchedule
from flowpolicy.paths import Draw as Draw
from flowpolicy.paths import GaussianNoise as GaussianNoise
from flowpolicy.paths import LinearBetaSchedule as LinearBetaSchedule
from flowpolicy.paths import LinearPath as LinearPath
from flowpolicy.paths import LogitNormalTime as LogitNormalTime
from flowpolicy.paths import Path as Path
from flowpolicy.paths import PathSample as PathSample
from flowpolicy.paths import UniformTime as UniformTime
from flowpolicy.samplers import BestOf as BestOf
from flowpolicy.samplers import EulerSampler as EulerSampler
from flowpolicy.samplers import HeunSampler as HeunSampler
from flowpolicy.samplers import MidpointSampler as MidpointSampler
from flowpolicy.samplers import RK4Sampler as RK4Sampler
from flowpolicy.samplers import Sampler as Sampler
from flowpolicy.weights import AdvantageWeight as AdvantageWeight
from flowpolicy.weights import ValueAwareWeight as ValueAwareWeight
from flowpolicy.weights import Weight as Weight
