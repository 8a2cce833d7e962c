"""From a velocity field to an actor: solvers of the flow's differential equation, and best-of-N."""

from flowpolicy.samplers.best_of import BestOf as BestOf
from flowpolicy.samplers.euler import EulerSampler as EulerSampler
from flowpolicy.samplers.heun import HeunSampler as HeunSampler
from flowpolicy.samplers.memoryless_sde import MemorylessSDE as MemorylessSDE
from flowpolicy.samplers.midpoint import MidpointSampler as MidpointSampler
from flowpolicy.samplers.rk4 import RK4Sampler as RK4Sampler
from flowpolicy.samplers.sampler import Sampler as Sampler
