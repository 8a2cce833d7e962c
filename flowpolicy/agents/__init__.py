"""Agents: losses, targets and an optimizer put together; one recipe for each method."""

from collections.abc import Callable

from flowpolicy.agents.agent import Agent as Agent
from flowpolicy.agents.agent_stack import AgentStack as AgentStack
from flowpolicy.agents.blend import Blend as Blend
from flowpolicy.agents.captured_update import CapturedUpdate as CapturedUpdate
from flowpolicy.agents.diagnosis import first_not_finite as first_not_finite
from flowpolicy.agents.noise_source import NoiseSource as NoiseSource
from flowpolicy.agents.parameter_groups import ParameterGroups as ParameterGroups
from flowpolicy.agents.presets import preset as preset
from flowpolicy.agents.presets import preset_batch_size as preset_batch_size
from flowpolicy.agents.recipes.bam import bam as bam
from flowpolicy.agents.recipes.bc import bc as bc
from flowpolicy.agents.recipes.cgql import cgql as cgql
from flowpolicy.agents.recipes.cgql import cgql_linex as cgql_linex
from flowpolicy.agents.recipes.cgql import cgql_mse as cgql_mse
from flowpolicy.agents.recipes.dac import dac as dac
from flowpolicy.agents.recipes.dsrl import dsrl as dsrl
from flowpolicy.agents.recipes.fawac import fawac as fawac
from flowpolicy.agents.recipes.fbrac import fbrac as fbrac
from flowpolicy.agents.recipes.fedit import fedit as fedit
from flowpolicy.agents.recipes.flow_bc import flow_bc as flow_bc
from flowpolicy.agents.recipes.fql import fql as fql
from flowpolicy.agents.recipes.gfp import gfp as gfp
from flowpolicy.agents.recipes.ifql import ifql as ifql
from flowpolicy.agents.recipes.iql import iql as iql
from flowpolicy.agents.recipes.iql_ddpg_bc import iql_ddpg_bc as iql_ddpg_bc
from flowpolicy.agents.recipes.qam import qam as qam
from flowpolicy.agents.recipes.qam_edit import qam_edit as qam_edit
from flowpolicy.agents.recipes.qam_fql import qam_fql as qam_fql
from flowpolicy.agents.recipes.qc import qc as qc
from flowpolicy.agents.recipes.qsm import qsm as qsm
from flowpolicy.agents.recipes.rebrac import rebrac as rebrac
from flowpolicy.agents.recipes.rlpd import rlpd as rlpd
from flowpolicy.agents.recipes.sac import sac as sac
from flowpolicy.agents.recipes.td3_bc import td3_bc as td3_bc
from flowpolicy.agents.registry import RECIPES as RECIPES
from flowpolicy.agents.registry import build as build
from flowpolicy.agents.registry import recipe_options as recipe_options


def __getattr__(name: str) -> Callable[..., Agent]:
    """A recipe that was added without a line above."""
    if name in RECIPES:
        return RECIPES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
