"""Mistakes that nobody may make unnoticed: one changed line each, and the tests that notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

FORMULAS = "tests/functional/test_formulas.py"
CLOSED_FORMS = "tests/losses/test_closed_forms.py"
GRADIENT_TABLE = "tests/agents/test_gradient_table.py"
LEAKS = (
    "tests/contracts/test_losses.py"
    "::test_networks_that_are_trained_beside_it_get_no_gradient_from_it"
)


@dataclass(frozen=True)
class Mutant:
    """A mistake.

    Attributes:
        name: What is wrong.
        file: Below ``flowpolicy/``.
        old: What stands there, exactly once.
        new: What stands there instead.
        test: The test file, or the test in it, that notices.
    """

    name: str
    file: str
    old: str
    new: str
    test: str

    def source(self, root: Path = ROOT) -> Path:
        """The file in a checkout."""
        return root / "flowpolicy" / self.file

    def mutated(self, root: Path = ROOT) -> str:
        """The text of the file in a checkout, with the mistake in it.

        Raises:
            LookupError: What it replaces is not there exactly once: the table is stale.
        """
        text = self.source(root).read_text(encoding="utf-8")
        found = text.count(self.old)
        if found != 1:
            raise LookupError(
                f"mutant {self.name!r}: {self.old!r} stands {found} times in flowpolicy/"
                f"{self.file}, not once; bring tests/mutants/table.py up to date"
            )
        return text.replace(self.old, self.new)


MUTANTS = (
    # -- targets -------------------------------------------------------------------------------
    Mutant(
        "the reward is discounted, not the next value",
        "functional/temporal_difference.py",
        "return reward + factor * next_value *",
        "return factor * reward + next_value *",
        FORMULAS,
    ),
    Mutant(
        "bootstraps after terminations alone",
        "functional/temporal_difference.py",
        "(~terminated.bool())",
        "(terminated.bool())",
        FORMULAS,
    ),
    Mutant(
        "n-step rows are discounted as one step",
        "functional/temporal_difference.py",
        "factor = discount if steps is None else discount ** steps.to(next_value.dtype)",
        "factor = discount",
        FORMULAS,
    ),
    Mutant(
        "the error of the critics is summed, not averaged",
        "functional/temporal_difference.py",
        "(values - target).square().mean(dim=0)",
        "(values - target).square().sum(dim=0)",
        FORMULAS,
    ),
    Mutant(
        "the end of a recording counts as a termination",
        "losses/td.py",
        'evaluated.read("TDLoss", next_key(keys.terminated), 1),',
        'evaluated.batch.get(("next", "done"), evaluated.batch["next", "terminated"]),',
        CLOSED_FORMS,
    ),
    Mutant(
        "the online critic bootstraps from itself",
        "losses/td.py",
        "self.target = None if target is None else frozen(target)",
        "self.target = None if target is None else frozen(critic)",
        CLOSED_FORMS,
    ),
    Mutant(
        "the target reads the state before the step",
        "modules/evaluated_batch.py",
        "return state_values_of(value, self.next_observation(value))",
        "return state_values_of(value, self.observation(value))",
        CLOSED_FORMS,
    ),
    Mutant(
        "the penalty of the next action is a reward",
        "losses/td.py",
        "values = values - self.penalty.of(evaluated, actions)",
        "values = values + self.penalty.of(evaluated, actions)",
        "tests/losses/test_density_losses.py",
    ),
    Mutant(
        "the target jumps to the online network",
        "modules/target_network.py",
        "torch._foreach_lerp_(targets, sources, tau)",
        "torch._foreach_lerp_(targets, sources, 1 - tau)",
        "tests/agents/test_update.py",
    ),
    Mutant(
        "the optimizer steps before the targets move",
        "agents/guarded_step.py",
        "        self.move(self.before)\n"
        "        for optimizer in self.optimizers:\n"
        "            optimizer.step()\n",
        "        for optimizer in self.optimizers:\n"
        "            optimizer.step()\n"
        "        self.move(self.before)\n",
        "tests/agents/test_update.py",
    ),
    Mutant(
        "a step that is not finite is taken",
        "agents/guarded_step.py",
        "    if all(finite):\n        step.take()",
        "    if finite:\n        step.take()",
        "tests/agents/test_guard.py",
    ),
    # -- losses --------------------------------------------------------------------------------
    Mutant(
        "the actor descends the critics",
        "losses/dpg.py",
        "return -scale * value",
        "return scale * value",
        CLOSED_FORMS,
    ),
    Mutant(
        "the critics' term is divided by its scale",
        "losses/dpg.py",
        "return -scale * value",
        "return -value / scale",
        CLOSED_FORMS,
    ),
    Mutant(
        "the squared error is summed over action dimensions",
        "functional/squared_error.py",
        ".square().mean(dim=-1, keepdim=True)",
        ".square().sum(dim=-1, keepdim=True)",
        FORMULAS,
    ),
    Mutant(
        "a weight is reported, not applied",
        "losses/weighted_loss.py",
        'return weight * per_sample, {"weight": weight.mean()}',
        'return per_sample, {"weight": weight.mean()}',
        CLOSED_FORMS,
    ),
    Mutant(
        "the student is clipped before it is compared",
        "losses/distill.py",
        "squared_error(evaluated.raw_action(self.actor), taught)",
        "squared_error(evaluated.policy_action(self.actor), taught)",
        CLOSED_FORMS,
    ),
    Mutant(
        "the expectile is of the other side",
        "functional/expectile.py",
        "below = (difference < 0)",
        "below = (difference > 0)",
        FORMULAS,
    ),
    Mutant(
        "entropy is lowered",
        "losses/entropy.py",
        'return log_prob, {"estimate"',
        'return -log_prob, {"estimate"',
        "tests/modules/test_gaussian.py",
    ),
    Mutant(
        "tanh adds volume to a density",
        "modules/gaussian.py",
        "return x.tanh(), gaussian_log_prob(noise, self.log_std) - tanh_log_derivative(x)",
        "return x.tanh(), gaussian_log_prob(noise, self.log_std) + tanh_log_derivative(x)",
        "tests/modules/test_gaussian.py",
    ),
    Mutant(
        "the dual lowers the coefficient where the limit is exceeded",
        "functional/dual.py",
        "return coefficient * (limit - constrained.detach())",
        "return coefficient * (constrained.detach() - limit)",
        "tests/losses/test_dual.py",
    ),
    Mutant(
        "rows whose chunk leaves the trajectory are the ones that count",
        "losses/base.py",
        "torch.where(valid, per_sample, 0.0)",
        "torch.where(valid, 0.0, per_sample)",
        "tests/losses/test_valid_rows.py",
    ),
    Mutant(
        "adjoint matching divides by the noise scale where it multiplies",
        "functional/lean_adjoint.py",
        "(velocity - base) + sigma * adjoint",
        "(velocity - base) + adjoint / sigma",
        FORMULAS,
    ),
    # -- gradient where none belongs -----------------------------------------------------------
    Mutant(
        "a frozen network is trained",
        "modules/frozen.py",
        'f"{prefix}.{key}": value.detach()',
        'f"{prefix}.{key}": value',
        GRADIENT_TABLE,
    ),
    Mutant(
        "the scale of the critics carries gradient",
        "functional/scale.py",
        "batch_mean(values.detach().abs())",
        "batch_mean(values.abs())",
        FORMULAS,
    ),
    Mutant(
        "the student trains its teacher",
        "losses/distill.py",
        "taught = evaluated.policy_action(self.teacher).detach()",
        "taught = evaluated.policy_action(self.teacher)",
        LEAKS,
    ),
    Mutant(
        "the state value trains the critics",
        "losses/expectile.py",
        "self.aggregation(evaluated.data_values(self.target)).detach()",
        "self.aggregation(evaluated.data_values(self.target))",
        LEAKS,
    ),
    Mutant(
        "the mean state value trains the critics",
        "losses/value.py",
        "targets = evaluated.data_values(self.target).detach()",
        "targets = evaluated.data_values(self.target)",
        LEAKS,
    ),
    Mutant(
        "a weight carries gradient",
        "weights/weight.py",
        "    @torch.no_grad()\n"
        "    def of(self, evaluated: EvaluatedBatch) -> Tensor:\n"
        '        """The weight on a batch that losses share, ``[*B, 1]``, detached."""\n'
        "        return self.compute(evaluated).detach()\n",
        "    def of(self, evaluated: EvaluatedBatch) -> Tensor:\n"
        "        return self.compute(evaluated)\n",
        LEAKS,
    ),
    Mutant(
        "the dual trains the constrained policy",
        "functional/dual.py",
        "return coefficient * (limit - constrained.detach())",
        "return coefficient * (limit - constrained)",
        LEAKS,
    ),
    Mutant(
        "the logarithmic dual trains the constrained policy",
        "functional/dual.py",
        "return log_coefficient * (1 - constrained.detach())",
        "return log_coefficient * (1 - constrained)",
        FORMULAS,
    ),
    Mutant(
        "a learned coefficient divides",
        "losses/base.py",
        "coefficient.detach() * per_sample",
        "per_sample / coefficient.detach()",
        "tests/losses/test_dual.py",
    ),
    # -- weights and aggregation ---------------------------------------------------------------
    Mutant(
        "a temperature multiplies",
        "functional/value_aware_weight.py",
        "* scale / temperature",
        "* scale * temperature",
        FORMULAS,
    ),
    Mutant(
        "data actions below the policy's count most",
        "functional/value_aware_weight.py",
        "(value - reference) * scale",
        "(reference - value) * scale",
        FORMULAS,
    ),
    Mutant(
        "the weight compares online critics",
        "weights/value_aware.py",
        "evaluated.data_values(self.values)",
        "evaluated.data_values(self.critic)",
        "tests/weights/test_value_aware.py",
    ),
    Mutant(
        "the advantage is not clipped",
        "functional/advantage_weight.py",
        ".clamp_max(math.log(maximum)).exp()",
        ".exp()",
        FORMULAS,
    ),
    Mutant(
        "the minimum over critics is their mean",
        "functional/aggregation.py",
        "return values.amin(dim=0)",
        "return values.mean(dim=0)",
        FORMULAS,
    ),
    Mutant(
        "pessimism is optimism",
        "functional/aggregation.py",
        "mean - self.rho * deviation",
        "mean + self.rho * deviation",
        FORMULAS,
    ),
    # -- paths and samplers --------------------------------------------------------------------
    Mutant(
        "time runs from data to noise",
        "paths/linear.py",
        "x_t=(1 - t) * x0 + t * x1",
        "x_t=t * x0 + (1 - t) * x1",
        "tests/contracts/test_paths.py",
    ),
    Mutant(
        "the velocity points back to the noise",
        "paths/linear.py",
        "velocity=x1 - x0",
        "velocity=x0 - x1",
        "tests/contracts/test_paths.py",
    ),
    Mutant(
        "a sampler makes one step too few",
        "samplers/sampler.py",
        "for i in range(self.steps):",
        "for i in range(1, self.steps):",
        "tests/samplers/test_gaussian.py",
    ),
    Mutant(
        "steps ask for the velocity at their end",
        "samplers/sampler.py",
        "self.step(velocity, x, i / self.steps, 1 / self.steps)",
        "self.step(velocity, x, (i + 1) / self.steps, 1 / self.steps)",
        "tests/samplers/test_gaussian.py",
    ),
    Mutant(
        "the midpoint is the beginning",
        "samplers/midpoint.py",
        "velocity(x, t), t + 0.5 * h)",
        "velocity(x, t), t)",
        "tests/contracts/test_samplers.py",
    ),
    Mutant(
        "an action is not clipped",
        "modules/actor.py",
        "return self.raw(observation, noise).clamp(-1, 1)",
        "return self.raw(observation, noise)",
        "tests/contracts/test_actors.py",
    ),
    Mutant(
        "critics see actions outside the box",
        "modules/evaluated_batch.py",
        "return self.raw_action(actor).clamp(-1, 1)",
        "return self.raw_action(actor)",
        CLOSED_FORMS,
    ),
    Mutant(
        "the worst of N",
        "samplers/best_of.py",
        ".argmax(dim=-1)",
        ".argmin(dim=-1)",
        "tests/samplers/test_best_of.py",
    ),
    Mutant(
        "random steps are too small by the root of their length",
        "functional/memoryless.py",
        "sqrt(h) * memoryless_noise_scale(time, h) * noise",
        "h * memoryless_noise_scale(time, h) * noise",
        "tests/samplers/test_memoryless.py",
    ),
    # -- data ----------------------------------------------------------------------------------
    Mutant(
        "successes are truncations",
        "data/ogbench.py",
        '            ("next", "terminated"): terminated,\n'
        '            ("next", "truncated"): last & ~terminated,\n',
        '            ("next", "terminated"): last & ~terminated,\n'
        '            ("next", "truncated"): terminated,\n',
        "tests/data/test_ogbench.py",
    ),
    Mutant(
        "the rewards of a window are discounted one step too far",
        "data/transforms/n_step.py",
        "discount**k * reward[step]",
        "discount ** (k + 1) * reward[step]",
        "tests/data/test_transforms.py",
    ),
    Mutant(
        "a window goes on after a success",
        "data/transforms/n_step.py",
        "        ongoing &= ~success[step]\n",
        "",
        "tests/data/test_transforms.py",
    ),
)
