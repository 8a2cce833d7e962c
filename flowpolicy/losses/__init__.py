"""Losses: each trains exactly the network it names and reads every other through a frozen view."""

from flowpolicy.losses.actor_loss import ActorLoss as ActorLoss
from flowpolicy.losses.adjoint_matching import AdjointMatchingLoss as AdjointMatchingLoss
from flowpolicy.losses.base import Loss as Loss
from flowpolicy.losses.basic_adjoint_matching import (
    BasicAdjointMatchingLoss as BasicAdjointMatchingLoss,
)
from flowpolicy.losses.clone import CloneLoss as CloneLoss
from flowpolicy.losses.critic_score import CriticScoreLoss as CriticScoreLoss
from flowpolicy.losses.distill import DistillLoss as DistillLoss
from flowpolicy.losses.distributed_loss import DistributedLoss as DistributedLoss
from flowpolicy.losses.dpg import DPGLoss as DPGLoss
from flowpolicy.losses.dual import DualLoss as DualLoss
from flowpolicy.losses.entropy import EntropyLoss as EntropyLoss
from flowpolicy.losses.expectile import ExpectileLoss as ExpectileLoss
from flowpolicy.losses.flow_matching import FlowMatchingLoss as FlowMatchingLoss
from flowpolicy.losses.latent_value import LatentValueLoss as LatentValueLoss
from flowpolicy.losses.log_likelihood import LogLikelihoodLoss as LogLikelihoodLoss
from flowpolicy.losses.memoryless_loss import MemorylessLoss as MemorylessLoss
from flowpolicy.losses.next_action_penalty import NextActionPenalty as NextActionPenalty
from flowpolicy.losses.noise_matching import NoiseMatchingLoss as NoiseMatchingLoss
from flowpolicy.losses.noisy_value import NoisyValueLoss as NoisyValueLoss
from flowpolicy.losses.spread import SpreadLoss as SpreadLoss
from flowpolicy.losses.sum import SumLoss as SumLoss
from flowpolicy.losses.target_updater import PolyakUpdater as PolyakUpdater
from flowpolicy.losses.td import TDLoss as TDLoss
from flowpolicy.losses.value import ValueLoss as ValueLoss
