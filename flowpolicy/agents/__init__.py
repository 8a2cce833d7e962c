"""Agents: losses, targets and an optimizer put together; one recipe for each method."""

from flowpolicy.agents.agent import Agent as Agent
from flowpolicy.agents.bam import bam as bam
from flowpolicy.agents.blend import Blend as Blend
from flowpolicy.agents.cgql import cgql as cgql
from flowpolicy.agents.cgql import cgql_linex as cgql_linex
from flowpolicy.agents.cgql import cgql_mse as cgql_mse
from flowpolicy.agents.fawac import fawac as fawac
from flowpolicy.agents.fbrac import fbrac as fbrac
from flowpolicy.agents.flow_bc import flow_bc as flow_bc
from flowpolicy.agents.fql import fql as fql
from flowpolicy.agents.gfp import gfp as gfp
from flowpolicy.agents.ifql import ifql as ifql
from flowpolicy.agents.noise_source import NoiseSource as NoiseSource
from flowpolicy.agents.presets import preset as preset
from flowpolicy.agents.presets import preset_batch_size as preset_batch_size
from flowpolicy.agents.qam import qam as qam
from flowpolicy.agents.qam_edit import qam_edit as qam_edit
from flowpolicy.agents.qam_fql import qam_fql as qam_fql
from flowpolicy.agents.qc import qc as qc
from flowpolicy.agents.registry import RECIPES as RECIPES
from flowpolicy.agents.registry import build as build
from flowpolicy.agents.registry import recipe_options as recipe_options
