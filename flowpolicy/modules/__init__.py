"""Networks and actors. An actor maps (observation, noise) to an action."""

from flowpolicy.modules.actor import Actor as Actor
from flowpolicy.modules.chunk_policy import ChunkPolicy as ChunkPolicy
from flowpolicy.modules.critic_ensemble import CriticEnsemble as CriticEnsemble
from flowpolicy.modules.density_actor import DensityActor as DensityActor
from flowpolicy.modules.density_actor import ModeActor as ModeActor
from flowpolicy.modules.deterministic_actor import DeterministicActor as DeterministicActor
from flowpolicy.modules.edit_actor import EditActor as EditActor
from flowpolicy.modules.evaluated_batch import EvaluatedBatch as EvaluatedBatch
from flowpolicy.modules.fourier_features import FourierFeatures as FourierFeatures
from flowpolicy.modules.from_current_observation import (
    FromCurrentObservation as FromCurrentObservation,
)
from flowpolicy.modules.frozen import frozen as frozen
from flowpolicy.modules.gaussian import ActionDistribution as ActionDistribution
from flowpolicy.modules.gaussian import Gaussian as Gaussian
from flowpolicy.modules.gaussian import TanhGaussian as TanhGaussian
from flowpolicy.modules.gaussian_actor import GaussianActor as GaussianActor
from flowpolicy.modules.gaussian_actor import TanhGaussianActor as TanhGaussianActor
from flowpolicy.modules.keys import BatchKeys as BatchKeys
from flowpolicy.modules.learned_coefficient import LearnedCoefficient as LearnedCoefficient
from flowpolicy.modules.noise_predictor import NoisePredictor as NoisePredictor
from flowpolicy.modules.noise_space_actor import NoiseSpaceActor as NoiseSpaceActor
from flowpolicy.modules.noisy_actor import NoisyActor as NoisyActor
from flowpolicy.modules.noisy_critic_ensemble import NoisyCriticEnsemble as NoisyCriticEnsemble
from flowpolicy.modules.one_step_actor import OneStepActor as OneStepActor
from flowpolicy.modules.scaled_action_critic import ScaledActionCritic as ScaledActionCritic
from flowpolicy.modules.stochastic_actor import StochasticActor as StochasticActor
from flowpolicy.modules.target_network import TargetNetwork as TargetNetwork
from flowpolicy.modules.time_embedding import TimeEmbedding as TimeEmbedding
from flowpolicy.modules.value_network import ValueNetwork as ValueNetwork
from flowpolicy.modules.velocity_field import VelocityField as VelocityField
