"""How the contract tests build each implementation that they find.

Implementations are found by walking the package. A new class needs one entry in ``FACTORIES``;
until it has one, its contract test fails and says so.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

import flowpolicy as fp
from flowpolicy.checkpoint.policy import DeployedPolicy

OBS, ACT = 3, 2
HIDDEN = (8,)
PARTS = (
    *("field", "slow", "actor", "critic", "target", "value", "coefficient", "noisy", "predictor"),
    *("gaussian", "squashed", "deterministic", "slow_deterministic", "edit", "behavior"),
    "latent",
)
SHAPES = [(), (4,), (2, 3)]
BOTH = ("actor", "flow")
MILD = fp.LinearBetaSchedule(0.1, 1.0)  # whose first estimate of the action stays in the box


class Parts:
    """One of every network, small, with the same initial weights every time."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.field = fp.VelocityField(OBS, ACT, HIDDEN)
            self.slow = fp.TargetNetwork(self.field)
            self.flow = fp.EulerSampler(self.field, steps=3)
            self.actor = fp.OneStepActor(OBS, ACT, HIDDEN)
            self.critic = fp.CriticEnsemble(OBS, ACT, HIDDEN, size=2)
            self.target = fp.TargetNetwork(self.critic)
            self.value = fp.ValueNetwork(OBS, HIDDEN)
            self.coefficient = fp.LearnedCoefficient(2.0)
            self.best_of = fp.BestOf(self.flow, self.critic, n=4)
            self.gaussian = fp.GaussianActor(OBS, ACT, HIDDEN)
            self.squashed = fp.TanhGaussianActor(OBS, ACT, HIDDEN)
            self.deterministic = fp.DeterministicActor(OBS, ACT, HIDDEN)
            self.slow_deterministic = fp.TargetNetwork(self.deterministic)
            self.edit = fp.TanhGaussianActor(OBS + ACT, ACT, HIDDEN)
            self.latent = fp.CriticEnsemble(OBS, ACT, HIDDEN, size=2)
            self.edited = fp.EditActor(self.flow, self.edit, scale=0.5)
            self.behavior = fp.VelocityField(OBS, ACT, HIDDEN)
            self.noisy = fp.NoisyCriticEnsemble(OBS, ACT, HIDDEN, size=2)
            self.predictor = fp.NoisePredictor(OBS, ACT, HIDDEN, steps=3)
        self.networks = nn.ModuleDict({name: getattr(self, name) for name in PARTS})
        with torch.no_grad():  # a target that differs from its source, biases that are not zero
            for i, parameter in enumerate(self.networks.parameters()):
                waves = torch.sin(i + torch.arange(float(parameter.numel())))
                parameter.add_(0.1 * waves.view_as(parameter))

    def double(self) -> Parts:
        self.networks.double()
        return self


def value_aware(
    reference: tuple[str, ...], combine: fp.functional.Aggregation, p: Parts, **kwargs: Any
) -> fp.ValueAwareWeight:
    actors = tuple(getattr(p, name) for name in reference)
    return fp.ValueAwareWeight(
        p.target,
        critic=p.critic,
        reference=actors,
        actor=p.actor,
        combine=combine,
        **{"temperature": 0.1, **kwargs},
    )


FACTORIES: dict[type, dict[str, Callable[[Parts], Any]]] = {
    # paths, schedules and laws
    fp.LinearPath: {"": lambda _: fp.LinearPath()},
    fp.AffinePath: {
        "cosine": lambda _: fp.AffinePath(fp.CosineSchedule()),
        "linear_beta": lambda _: fp.AffinePath(fp.LinearBetaSchedule()),
    },
    fp.CosineSchedule: {"": lambda _: fp.CosineSchedule()},
    fp.LinearBetaSchedule: {"": lambda _: fp.LinearBetaSchedule()},
    fp.GaussianNoise: {"": lambda _: fp.GaussianNoise()},
    fp.UniformTime: {"": lambda _: fp.UniformTime()},
    fp.BetaTime: {"": lambda _: fp.BetaTime(1.0, 1.5), "late": lambda _: fp.BetaTime(3.0, 0.5)},
    fp.StepTime: {"": lambda _: fp.StepTime(100_000)},
    fp.LogitNormalTime: {
        "": lambda _: fp.LogitNormalTime(),
        "early": lambda _: fp.LogitNormalTime(-1.0, 0.5),
    },
    # actors
    fp.OneStepActor: {"": lambda p: p.actor},
    fp.EulerSampler: {"": lambda p: fp.EulerSampler(p.field, steps=3)},
    fp.MidpointSampler: {"": lambda p: fp.MidpointSampler(p.field, steps=3)},
    fp.HeunSampler: {"": lambda p: fp.HeunSampler(p.field, steps=3)},
    fp.RK4Sampler: {"": lambda p: fp.RK4Sampler(p.field, steps=3)},
    fp.BestOf: {
        "flow": lambda p: p.best_of,
        "one_step": lambda p: fp.BestOf(p.actor, p.target, n=3, aggregation=fp.min_value),
    },
    fp.MemorylessSDE: {
        "": lambda p: fp.MemorylessSDE(p.field, steps=3),
        "end": lambda p: fp.MemorylessSDE(p.field, end=p.slow, steps=3),
    },
    fp.FromCurrentObservation: {"": lambda p: fp.FromCurrentObservation(p.flow)},
    fp.GuidedSampler: {
        "": lambda p: fp.GuidedSampler(p.flow, p.critic, coefficient=0.3, temperature=2.0),
        "noisy": lambda p: fp.GuidedSampler(
            fp.EulerSampler(p.slow, steps=3),
            p.noisy,
            coefficient=0.3,
            temperature=2.0,
            guide=fp.at_their_time,
        ),
    },
    fp.DDPMSampler: {"": lambda p: fp.DDPMSampler(p.predictor, schedule=MILD)},
    fp.JumpSampler: {"": lambda p: fp.JumpSampler(p.predictor, schedule=MILD)},
    DeployedPolicy: {
        "": lambda p: DeployedPolicy(p.actor, observation_std=torch.full((OBS,), 2.0))
    },
    fp.GaussianActor: {
        "": lambda p: p.gaussian,
        "std": lambda _: fp.GaussianActor(OBS, ACT, HIDDEN, log_std_range=(-5.0, 2.0)),
    },
    fp.TanhGaussianActor: {"": lambda p: p.squashed},
    fp.DeterministicActor: {
        "": lambda p: p.deterministic,
        "unsquashed": lambda _: fp.DeterministicActor(OBS, ACT, HIDDEN, squash=False),
    },
    fp.ModeActor: {
        "": lambda p: fp.ModeActor(p.gaussian),
        "squashed": lambda p: fp.ModeActor(p.squashed),
    },
    fp.NoisyActor: {
        "": lambda p: fp.NoisyActor(p.deterministic),
        "target": lambda p: fp.NoisyActor(p.slow_deterministic),
        "mode": lambda p: fp.NoisyActor(p.gaussian.mode, std=1.0, clip=2.0),
        "still": lambda p: fp.NoisyActor(p.deterministic, std=0.0),
    },
    fp.EditActor: {"": lambda p: p.edited},
    fp.NoiseSpaceActor: {
        "": lambda p: fp.NoiseSpaceActor(p.squashed, p.flow, 1.4),
        "slow": lambda p: fp.NoiseSpaceActor(p.squashed, fp.EulerSampler(p.slow, 3), 0.5),
    },
    # values
    fp.CriticEnsemble: {
        "": lambda p: p.critic,
        "one": lambda _: fp.CriticEnsemble(OBS, ACT, HIDDEN, size=1),
    },
    fp.NoisyCriticEnsemble: {"": lambda p: p.noisy},
    fp.ValueNetwork: {"": lambda p: p.value},
    fp.TargetNetwork: {"critic": lambda p: p.target, "value": lambda p: fp.TargetNetwork(p.value)},
    # weights
    fp.ValueAwareWeight: {
        "actor": partial(value_aware, ("actor",), fp.mean_value),
        "flow": partial(value_aware, ("flow",), fp.mean_value),
        "mean": partial(value_aware, BOTH, fp.mean_value),
        "min": partial(value_aware, BOTH, fp.min_value),
        "max": partial(value_aware, BOTH, fp.max_value),
        "unit": partial(value_aware, ("actor",), fp.mean_value, scale=fp.unit_scale),
    },
    fp.AdvantageWeight: {
        "": lambda p, **kw: fp.AdvantageWeight(p.critic, p.value, **{"temperature": 3.0, **kw}),
        "target": lambda p, **kw: fp.AdvantageWeight(
            p.target, p.value, **{"temperature": 3.0, **kw}
        ),
    },
    # losses
    fp.FlowMatchingLoss: {
        "": lambda p, **kw: fp.FlowMatchingLoss(p.field, **kw),
        "cosine_beta": lambda p, **kw: fp.FlowMatchingLoss(
            p.field, fp.AffinePath(fp.CosineSchedule()), time=fp.BetaTime(), **kw
        ),
        "value_aware": lambda p, **kw: fp.FlowMatchingLoss(
            p.field, weight=value_aware(BOTH, fp.min_value, p), **kw
        ),
        "advantage": lambda p, **kw: fp.FlowMatchingLoss(
            p.field, weight=fp.AdvantageWeight(p.critic, p.value, temperature=1.0), **kw
        ),
    },
    fp.DistillLoss: {
        "": lambda p, **kw: fp.DistillLoss(p.actor, teacher=p.flow, **kw),
        "target_teacher": lambda p, **kw: fp.DistillLoss(p.actor, fp.EulerSampler(p.slow, 3), **kw),
    },
    fp.SpreadLoss: {
        "": lambda p, **kw: fp.SpreadLoss(
            fp.DistillLoss(p.actor, p.flow, coefficient=p.coefficient), share=0.25, **kw
        ),
    },
    fp.DualLoss: {
        "distill": lambda p, **kw: fp.DualLoss(
            fp.DistillLoss(p.actor, p.flow, coefficient=p.coefficient), limit=0.05, **kw
        ),
    },
    fp.DPGLoss: {
        "": lambda p, **kw: fp.DPGLoss(p.actor, p.critic, **kw),
        "scaled": lambda p, **kw: fp.DPGLoss(
            p.actor, p.critic, scale=fp.inverse_mean_abs, aggregation=fp.min_value, **kw
        ),
        "flow": lambda p, **kw: fp.DPGLoss(p.flow, p.critic, **kw),
        "mode": lambda p, **kw: fp.DPGLoss(p.gaussian.mode, p.critic, **kw),
        "edit": lambda p, **kw: fp.DPGLoss(p.edited, p.critic, **kw),
        "noise_space": lambda p, **kw: fp.DPGLoss(
            fp.NoiseSpaceActor(p.squashed, p.flow), p.critic, **kw
        ),
        "latent": lambda p, **kw: fp.DPGLoss(
            p.squashed, fp.ScaledActionCritic(p.latent, 1.4), **kw
        ),
    },
    fp.LogLikelihoodLoss: {
        "": lambda p, **kw: fp.LogLikelihoodLoss(p.gaussian, **kw),
        "squashed": lambda p, **kw: fp.LogLikelihoodLoss(p.squashed, **kw),
        "advantage": lambda p, **kw: fp.LogLikelihoodLoss(
            p.gaussian, weight=fp.AdvantageWeight(p.critic, p.value, temperature=1.0), **kw
        ),
    },
    fp.CloneLoss: {
        "": lambda p, **kw: fp.CloneLoss(p.deterministic, **kw),
        "one_step": lambda p, **kw: fp.CloneLoss(p.actor, **kw),
    },
    fp.LatentValueLoss: {
        "": lambda p, **kw: fp.LatentValueLoss(p.latent, p.critic, p.flow, **kw),
    },
    fp.EntropyLoss: {
        "": lambda p, **kw: fp.EntropyLoss(p.squashed, **kw),
        "edit": lambda p, **kw: fp.EntropyLoss(p.edited, **kw),
    },
    fp.TDLoss: {
        "": lambda p, **kw: fp.TDLoss(p.critic, p.target, next_actor=p.actor, **kw),
        "two_actors": lambda p, **kw: fp.TDLoss(
            p.critic,
            p.target,
            next_actor=(p.actor, p.flow),
            aggregation=fp.Pessimistic(0.5),
            combine=fp.min_value,
            **kw,
        ),
        "best_of": lambda p, **kw: fp.TDLoss(p.critic, p.target, next_actor=p.best_of, **kw),
        "guided": lambda p, **kw: fp.TDLoss(
            p.critic,
            p.target,
            next_actor=fp.GuidedSampler(p.flow, p.critic, coefficient=0.3, temperature=2.0),
            **kw,
        ),
        "next_value": lambda p, **kw: fp.TDLoss(p.critic, next_value=p.value, **kw),
        "deterministic": lambda p, **kw: fp.TDLoss(
            p.critic, p.target, next_actor=p.slow_deterministic, **kw
        ),
        "penalty": lambda p, **kw: fp.TDLoss(
            p.critic,
            p.target,
            next_actor=fp.NoisyActor(p.slow_deterministic),
            penalty=fp.NextActionPenalty(0.5),
            **kw,
        ),
    },
    fp.NoisyValueLoss: {
        "": lambda p, **kw: fp.NoisyValueLoss(p.noisy, p.target, **kw),
        "linex": lambda p, **kw: fp.NoisyValueLoss(
            p.noisy, p.target, error=fp.LinexError(0.5), **kw
        ),
    },
    fp.NoiseMatchingLoss: {"": lambda p, **kw: fp.NoiseMatchingLoss(p.predictor, **kw)},
    fp.CriticScoreLoss: {
        "qsm": lambda p, **kw: fp.CriticScoreLoss(
            p.predictor, p.target, error=fp.QScoreError(0.5), **kw
        ),
        "dac": lambda p, **kw: fp.CriticScoreLoss(
            p.predictor, p.target, error=fp.noise_alignment, **kw
        ),
    },
    fp.ValueLoss: {"": lambda p, **kw: fp.ValueLoss(p.value, p.target, **kw)},
    fp.AdjointMatchingLoss: {
        "": lambda p, **kw: fp.AdjointMatchingLoss(
            p.field, p.behavior, p.target, temperature=0.5, steps=3, **kw
        ),
        "online": lambda p, **kw: fp.AdjointMatchingLoss(
            p.field, p.behavior, p.critic, temperature=0.5, steps=2, aggregation=fp.min_value, **kw
        ),
    },
    fp.BasicAdjointMatchingLoss: {
        "": lambda p, **kw: fp.BasicAdjointMatchingLoss(
            p.field, p.slow, p.critic, temperature=0.5, steps=3, **kw
        ),
        "pessimistic": lambda p, **kw: fp.BasicAdjointMatchingLoss(
            p.field,
            p.behavior,
            p.critic,
            temperature=0.5,
            steps=3,
            aggregation=fp.Pessimistic(0.5),
            **kw,
        ),
    },
    fp.ExpectileLoss: {"": lambda p, **kw: fp.ExpectileLoss(p.value, p.target, **kw)},
}


def _import_everything() -> None:
    for module in pkgutil.walk_packages(fp.__path__, "flowpolicy."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _subclasses(base: type) -> Iterator[type]:
    for each in base.__subclasses__():
        yield each
        yield from _subclasses(each)


def implementations(base: type, having: str = "") -> list[type]:
    """The package's own concrete subclasses of ``base``, with an attribute ``having``."""
    _import_everything()
    found = {
        cls
        for cls in _subclasses(base)
        if cls.__module__.startswith("flowpolicy.")
        and not inspect.isabstract(cls)
        and (not having or hasattr(cls, having))
    }
    return sorted(found, key=lambda cls: cls.__name__)


def build(cls: type, variant: str = "", parts: Parts | None = None, **options: Any) -> Any:
    """One implementation, of ``parts`` or of fresh ones."""
    if cls not in FACTORIES:
        pytest.fail(
            f"{cls.__module__}.{cls.__qualname__} has no entry in FACTORIES of "
            "tests/contracts/factories.py; add one, so that the contract tests can build it."
        )
    return FACTORIES[cls][variant](parts or Parts(), **options)


def cases(base: type, having: str = "") -> list[Any]:
    """Every variant of every implementation, as parameters of a test."""
    return [case for cls in implementations(base, having) for case in variants(cls)]


def variants(cls: type) -> list[Any]:
    """Every variant of one class, as parameters of a test."""
    return [
        pytest.param(cls, variant, id=f"{cls.__name__}[{variant}]" if variant else cls.__name__)
        for variant in FACTORIES.get(cls, {"": None})
    ]


def observations(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """``[*shape, O]``."""
    return torch.randn(*shape, OBS, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def noise_for(
    actor: fp.Actor, *shape: int, seed: int = 1, dtype: torch.dtype = torch.float32
) -> Tensor:
    """``[*shape, *noise_shape]``."""
    return torch.randn(
        *shape, *actor.noise_shape, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def transitions(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> TensorDict:
    """A batch without noise."""
    g = torch.Generator().manual_seed(seed)
    step = {
        "observation": torch.randn(*shape, OBS, generator=g, dtype=dtype),
        "reward": torch.randn(*shape, 1, generator=g, dtype=dtype),
        "terminated": torch.rand(*shape, 1, generator=g) < 0.3,
    }
    now = {
        "observation": torch.randn(*shape, OBS, generator=g, dtype=dtype),
        "action": torch.rand(*shape, ACT, generator=g, dtype=dtype) * 1.8 - 0.9,
    }
    step["action"] = torch.rand(*shape, ACT, generator=g, dtype=dtype) * 1.8 - 0.9
    return TensorDict({**now, "next": step}, batch_size=shape)


def with_noise(batch: TensorDict, draws: dict[Any, fp.Draw], seed: int = 1) -> TensorDict:
    """A copy of the batch that holds every draw."""
    g = torch.Generator().manual_seed(seed)
    batch = batch.clone()
    for key, draw in draws.items():
        batch[key] = draw.sample(
            batch.batch_size,
            dtype=batch["observation"].dtype,
            device=torch.device("cpu"),
            generator=g,
        )
    return batch


def equal_trees(first: TensorDict, second: TensorDict) -> bool:
    """Whether two TensorDicts hold the same keys and the same numbers."""
    keys = set(first.keys(include_nested=True, leaves_only=True))
    return keys == set(second.keys(include_nested=True, leaves_only=True)) and all(
        torch.equal(first[key], second[key]) for key in keys
    )
