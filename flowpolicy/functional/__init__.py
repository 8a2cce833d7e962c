"""Every formula of the library, once: pure functions of tensors, without randomness or state.

Per-sample results have shape ``[*B, 1]``; reductions over the batch happen in the losses, save that
``batch_mean`` and the scales built on it are means over all rows, those of other ranks too.
"""

from flowpolicy.functional.action_gradient import action_gradient as action_gradient
from flowpolicy.functional.action_gradient import pullback as pullback
from flowpolicy.functional.advantage_weight import advantage_weight as advantage_weight
from flowpolicy.functional.aggregation import Aggregation as Aggregation
from flowpolicy.functional.aggregation import Pessimistic as Pessimistic
from flowpolicy.functional.aggregation import first_value as first_value
from flowpolicy.functional.aggregation import max_value as max_value
from flowpolicy.functional.aggregation import mean_value as mean_value
from flowpolicy.functional.aggregation import min_value as min_value
from flowpolicy.functional.batch_mean import batch_mean as batch_mean
from flowpolicy.functional.diffusion import clean_estimate as clean_estimate
from flowpolicy.functional.diffusion import posterior_mean as posterior_mean
from flowpolicy.functional.dual import dual as dual
from flowpolicy.functional.dual import log_dual as log_dual
from flowpolicy.functional.expectile import expectile_error as expectile_error
from flowpolicy.functional.gaussian import gaussian_log_prob as gaussian_log_prob
from flowpolicy.functional.gaussian import tanh_log_derivative as tanh_log_derivative
from flowpolicy.functional.guidance import score_velocity as score_velocity
from flowpolicy.functional.lean_adjoint import adjoint_matching_error as adjoint_matching_error
from flowpolicy.functional.lean_adjoint import lean_adjoint as lean_adjoint
from flowpolicy.functional.linex import LinexError as LinexError
from flowpolicy.functional.memoryless import control_cost as control_cost
from flowpolicy.functional.memoryless import memoryless_noise_scale as memoryless_noise_scale
from flowpolicy.functional.memoryless import memoryless_path as memoryless_path
from flowpolicy.functional.memoryless import memoryless_step as memoryless_step
from flowpolicy.functional.scale import Scale as Scale
from flowpolicy.functional.scale import inverse_mean_abs as inverse_mean_abs
from flowpolicy.functional.scale import unit_scale as unit_scale
from flowpolicy.functional.score import QScoreError as QScoreError
from flowpolicy.functional.score import ScoreError as ScoreError
from flowpolicy.functional.score import noise_alignment as noise_alignment
from flowpolicy.functional.squared_error import squared_error as squared_error
from flowpolicy.functional.tanh_gelu import tanh_gelu as tanh_gelu
from flowpolicy.functional.temporal_difference import td_error as td_error
from flowpolicy.functional.temporal_difference import td_target as td_target
from flowpolicy.functional.value_aware_weight import value_aware_weight as value_aware_weight
from flowpolicy.functional.velocity import Velocity as Velocity
