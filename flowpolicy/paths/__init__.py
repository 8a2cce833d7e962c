"""Probability paths from noise (t = 0) to actions (t = 1), and what is drawn along them."""

from flowpolicy.paths.affine import AffinePath as AffinePath
from flowpolicy.paths.diffusion import DiffusionStep as DiffusionStep
from flowpolicy.paths.diffusion import diffusion_steps as diffusion_steps
from flowpolicy.paths.draws import Draw as Draw
from flowpolicy.paths.draws import GaussianNoise as GaussianNoise
from flowpolicy.paths.draws import Law as Law
from flowpolicy.paths.linear import LinearPath as LinearPath
from flowpolicy.paths.path import Path as Path
from flowpolicy.paths.path import PathSample as PathSample
from flowpolicy.paths.schedules import CosineSchedule as CosineSchedule
from flowpolicy.paths.schedules import LinearBetaSchedule as LinearBetaSchedule
from flowpolicy.paths.schedules import Schedule as Schedule
from flowpolicy.paths.schedules import ScheduleSample as ScheduleSample
from flowpolicy.paths.times import BetaTime as BetaTime
from flowpolicy.paths.times import LogitNormalTime as LogitNormalTime
from flowpolicy.paths.times import StepTime as StepTime
from flowpolicy.paths.times import UniformTime as UniformTime
