"""Weights of data actions in flow matching."""

from flowpolicy.weights.advantage import AdvantageWeight as AdvantageWeight
from flowpolicy.weights.value_aware import ValueAwareWeight as ValueAwareWeight
from flowpolicy.weights.weight import Weight as Weight
