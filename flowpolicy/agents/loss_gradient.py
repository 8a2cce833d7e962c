"""The gradient of an agent's losses as a function of tensors alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import Tensor, nn
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch.func import functional_call, grad_and_value, vmap

from flowpolicy.agents.gradient_norm import GRAD_NORM, gradient_norm
from flowpolicy.errors import ConfigError
from flowpolicy.losses.sum import SumLoss

Tensors = Mapping[str, Tensor]
Entries = Mapping[NestedKey, Tensor]
Only = tuple[str, ...] | None
Gradient = Callable[[Tensors, Tensors, Entries, Only], tuple[dict[str, Tensor], dict[str, Tensor]]]
"""``(trained, other, entries, only) -> (gradients, metrics)``, see ``LossGradient``."""


def entries_of(batch: TensorDictBase) -> dict[NestedKey, Tensor]:
    """A batch by key, contiguous: programs are compiled for the strides of what they are given."""
    entries = batch.items(include_nested=True, leaves_only=True)
    return {key: value.contiguous() for key, value in entries}


def trainable(parameters: Iterable[Tensor]) -> tuple[bool, ...]:
    """Which of some parameters require gradient; that may change between updates."""
    return tuple(parameter.requires_grad for parameter in parameters)


def require_gradient(total: Tensor, loss: SumLoss, only: Only) -> None:
    """Refuses losses that train nothing.

    Raises:
        ConfigError: it names them.
    """
    if not total.requires_grad:
        names = ", ".join(repr(each.name) for each in loss.due(only))
        raise ConfigError(
            f"Agent: no parameter that {names} could train requires gradient. Unfreeze one, or "
            "leave the update out."
        )


def total_loss(metrics: Mapping[str, Tensor] | TensorDictBase) -> Tensor:
    """The sum of what is named ``loss...``, ``[]``."""
    return torch.stack([v for key, v in metrics.items() if key.startswith("loss")]).sum()


def _tied(module: nn.Module) -> dict[str, str]:
    """Further names of parameters that several modules hold, with the first name of each."""
    places: dict[Tensor, dict[tuple[int, str], str]] = {}
    for prefix, part in module.named_modules():
        for attribute, parameter in part._parameters.items():  # noqa: SLF001
            if parameter is not None:
                name = f"{prefix}.{attribute}"
                places.setdefault(parameter, {}).setdefault((id(part), attribute), name)
    return {
        name: first
        for first, *others in (list(names.values()) for names in places.values())
        for name in others
    }


@final
class LossGradient(nn.Module):
    r"""All gradients and metrics of one batch, from parameters that are arguments.

    .. math:: (\theta, \xi, \mathrm{batch}) \mapsto \nabla_\theta \sum_i L_i(\theta, \xi)

    Without side effects and with tensors going in and out, so that it can be compiled as one graph,
    backward pass included, and mapped over several agents by ``torch.func.vmap``.

    Args:
        parts: the modules whose tensors may be arguments, by the first part of their names.
        loss: of the networks among them.
    """

    loss: SumLoss

    def __init__(self, parts: Mapping[str, nn.Module], loss: SumLoss) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.__dict__["loss"] = loss  # not registered: its networks are among the parts
        self._tied = _tied(self)

    def forward(self, entries: Entries, only: Only) -> dict[str, Tensor]:
        """The losses and metrics, ``[]`` each."""
        batch = TensorDict({}, batch_size=[])
        for key, value in entries.items():
            batch.set(key, value)
        metrics = self.loss(batch, only)
        return dict(metrics.items())

    def of(
        self, trained: Tensors, other: Tensors, entries: Entries, only: Only = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Gradients by the names in ``trained``, and metrics with ``grad_norm``.

        Args:
            trained: the parameters to differentiate in, by name.
            other: tensors to use in place of the modules' own, by name.
            entries: the batch by key, with every draw.
            only: the losses that count; all where ``None``.
        """

        def total(parameters: Tensors) -> tuple[Tensor, dict[str, Tensor]]:
            given = {**parameters, **other}
            given |= {name: given[first] for name, first in self._tied.items() if first in given}
            metrics = functional_call(self, given, (entries, only), tie_weights=False)
            return total_loss(metrics), metrics

        gradients, (loss, metrics) = grad_and_value(total, has_aux=True)(dict(trained))
        norms = [torch.linalg.vector_norm(gradient) for gradient in gradients.values()]
        return gradients, {**metrics, GRAD_NORM: gradient_norm(norms, loss)}

    def of_each(
        self, trained: Tensors, other: Tensors, entries: Entries, only: Only = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As ``of``, for several sets of tensors and batches along the first dimension of each."""

        def one(trained: Tensors, other: Tensors, entries: Entries) -> Any:
            return self.of(trained, other, entries, only)

        # Each draws its own where a network does, such as Dropout.
        each = vmap(one, randomness="different")
        gradients, metrics = each(dict(trained), dict(other), dict(entries))
        return gradients, metrics

    def reached(
        self, parameters: Mapping[str, Tensor], batch: TensorDictBase, only: Only
    ) -> list[str]:
        """The names of those that gradient reaches; an optimizer leaves the others alone.

        Args:
            parameters: of the modules, by name.
            batch: of one agent, with every draw.
            only: the losses that count; all where ``None``.
        """
        with torch.enable_grad():
            total = total_loss(self.loss(batch, only))
            require_gradient(total, self.loss, only)
            gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        found = zip(parameters, gradients, strict=True)
        return [name for name, gradient in found if gradient is not None]

    @contextmanager
    def refusing(self, batch: Callable[[], TensorDictBase], only: Only) -> Iterator[None]:
        """Where the compiler gives up, lets a batch that the losses refuse say why itself.

        Args:
            batch: gives that of one agent.
            only: the losses that count; all where ``None``.
        """
        try:
            yield
        except FailOnRecompileLimitHit as error:
            raise ConfigError(
                "Agent: compiled for too many kinds of batches, each of another size, dtype or "
                "entries. Keep to a few, or raise torch._dynamo.config.recompile_limit."
            ) from error
        except TorchDynamoException:
            with torch.no_grad():
                self.loss(batch(), only)
            raise
