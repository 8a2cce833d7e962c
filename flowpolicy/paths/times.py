"""Laws of the flow time at which a velocity field is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from flowpolicy.errors import require_at_least, require_positive
from flowpolicy.paths.draws import Law


@final
@dataclass(frozen=True)
class UniformTime(Law):
    r"""Every time alike, :math:`t \sim U[0, 1)`; the default of all published methods here.

    Example:
        >>> import torch
        >>> t = UniformTime().sample((1000, 1), dtype=torch.float32, device=torch.device("cpu"))
        >>> bool(t.min() >= 0), bool(t.max() < 1)
        (True, True)
    """

    def sample(
        self,
        shape: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """``shape -> Tensor`` in [0, 1)."""
        return torch.rand(tuple(shape), dtype=dtype, device=device, generator=generator)


@final
@dataclass(frozen=True)
class BetaTime(Law):
    r"""A beta law; with the defaults early times are drawn more often.

    .. math:: t \sim \mathrm{Beta}(a, b)

    Args:
        a: the first shape parameter, above 0.
        b: the second, above 0.

    Raises:
        ConfigError: a parameter that is not a finite number above 0.

    Example:
        >>> import torch
        >>> t = BetaTime(1.0, 3.0).sample(
        ...     (20000, 1), dtype=torch.float32, device=torch.device("cpu")
        ... )
        >>> abs(t.mean().item() - 1 / 4) < 0.01
        True

    Source: ablated in Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538, figure 8.
    """

    a: float = 1.0
    b: float = 1.5

    def __post_init__(self) -> None:
        require_positive("BetaTime", "a", self.a)
        require_positive("BetaTime", "b", self.b)

    def sample(
        self,
        shape: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """``shape -> Tensor`` in [0, 1]."""
        # A ratio of gammas. torch.distributions takes no generator, hence its own sampler directly;
        # it knows no half precision.
        wide = torch.promote_types(dtype, torch.float32)
        ones = torch.ones(tuple(shape), dtype=wide, device=device)
        first = torch._standard_gamma(self.a * ones, generator=generator)  # noqa: SLF001
        second = torch._standard_gamma(self.b * ones, generator=generator)  # noqa: SLF001
        return (first / (first + second)).to(dtype)


@final
@dataclass(frozen=True)
class LogitNormalTime(Law):
    r"""The sigmoid of a normal; middle times are drawn more often.

    .. math:: t = \operatorname{sigmoid}(m + s\,\epsilon),\qquad \epsilon \sim \mathcal N(0, 1)

    Args:
        mean: ``m``.
        std: ``s``, above 0.

    Raises:
        ConfigError: a ``std`` that is not a finite number above 0.

    Example:
        >>> import torch
        >>> t = LogitNormalTime().sample(
        ...     (20000, 1), dtype=torch.float32, device=torch.device("cpu")
        ... )
        >>> abs(t.mean().item() - 1 / 2) < 0.01
        True

    Source: Esser et al., "Scaling rectified flow transformers", 2024, arXiv 2403.03206.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        require_positive("LogitNormalTime", "std", self.std)

    def sample(
        self,
        shape: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """``shape -> Tensor`` in (0, 1)."""
        normal = torch.randn(tuple(shape), dtype=dtype, device=device, generator=generator)
        return torch.sigmoid(self.mean + self.std * normal)


@final
@dataclass(frozen=True)
class StepTime(Law):
    r"""The times at which the steps of a diffusion start, every step alike.

    .. math:: t = 1 - n/N,\qquad n \sim U\{1, \ldots, N\}

    Args:
        steps: ``N``.

    Raises:
        ConfigError: ``steps`` that is no whole number of at least 1.

    Example:
        >>> t = StepTime(4).sample((1000, 1), dtype=torch.float32, device=torch.device("cpu"))
        >>> t.unique()
        tensor([0.0000, 0.2500, 0.5000, 0.7500])

    Source: Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", 2020, arXiv 2006.11239.
    """

    steps: int

    def __post_init__(self) -> None:
        require_at_least("StepTime", "steps", self.steps, 1)

    def sample(
        self,
        shape: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """``shape -> Tensor`` in [0, 1)."""
        started = torch.randint(self.steps, tuple(shape), device=device, generator=generator)
        return started.to(dtype) / self.steps
