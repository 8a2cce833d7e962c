"""From a velocity field to an actor: solvers of the flow's differential equation, and best-of-N."""

from flowpolicy.samplers.best_of import BestOf as BestOf
from flowpolicy.samplers.ddpm import DDPMSampler as DDPMSampler
from flowpolicy.samplers.diffusion_sampler import DiffusionSampler as DiffusionSampler
from flowpolicy.samplers.euler import EulerSampler as EulerSampler
from flowpolicy.samplers.guided import GuidedSampler as GuidedSampler
from flowpolicy.samplers.guides import as_if_clean as as_if_clean
from flowpolicy.samplers.guides import at_their_time as at_their_time
from flowpolicy.samplers.heun import HeunSampler as HeunSampler
from flowpolicy.samplers.jump import JumpSampler as JumpSampler
from flowpolicy.samplers.memoryless_sde import MemorylessSDE as MemorylessSDE
from flowpolicy.samplers.midpoint import MidpointSampler as MidpointSampler
from flowpolicy.samplers.rk4 import RK4Sampler as RK4Sampler
from flowpolicy.samplers.sampler import Sampler as Sampler
