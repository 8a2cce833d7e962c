"""Where NaN or infinity first appears in an update."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor, nn

from flowpolicy.agents.agent import Agent


def first_not_finite(agent: Agent, batch: TensorDictBase) -> str | None:
    """Names the first tensor of an update that is not finite, in a sentence.

    It looks at the entries of the batch, the parameters and other tensors of the agent, then at
    each loss: at the output of every layer in the order of execution and at the loss itself; last
    at the gradients. The agent is left as it is, its noise too: draws that the batch lacks are
    those of the next update.

    Args:
        agent: as it was before the update.
        batch: with what the losses read.

    Returns:
        ``None`` where everything is finite.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> agent = fp.agents.flow_bc(3, 2, hidden=(16,))
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> batch["observation"][5, 1] = torch.nan
        >>> first_not_finite(agent, batch)
        "the entry 'observation' of the batch is nan in row 5"
    """
    return next(_findings(agent, batch), None)


def _findings(agent: Agent, batch: TensorDictBase) -> Iterator[str]:
    for key, value in batch.items(include_nested=True, leaves_only=True):
        yield from _in_entry(key, value)
    for name, tensor in agent.state_dict().items():
        if (count := _count(tensor)) > 0:
            yield f"{name} of the agent has {count} of {tensor.numel()} values that are not finite"
    batch = agent.loss.with_draws(batch, copy.deepcopy(agent.noise).sample)
    losses = []
    with torch.compiler.set_stance("force_eager"), torch.enable_grad():
        for loss in agent.loss.losses:
            with _watched(agent) as layers:
                value = agent.loss(batch, (loss.name,))[f"loss_{loss.name}"]
            for layer in layers:
                yield f"the output of {layer} is not finite in the loss {loss.name!r}"
            if not value.isfinite():
                yield (
                    f"the loss {loss.name!r} is {value.item()}, though the output of every layer "
                    "is finite"
                )
            losses.append(value)
    yield from _in_gradients(list(agent.trained_parameters()), torch.stack(losses).sum())


def _in_entry(key: NestedKey, value: Tensor) -> Iterator[str]:
    if _count(value) > 0:
        first = (~value.isfinite()).nonzero()[0].tolist()
        row = first[0] if first else 0
        yield f"the entry {key!r} of the batch is {value[tuple(first)].item()} in row {row}"


def _in_gradients(parameters: Iterable[tuple[str, nn.Parameter]], loss: Tensor) -> Iterator[str]:
    names, tensors = zip(*parameters, strict=True)
    gradients = torch.autograd.grad(loss, tensors, allow_unused=True)
    found = {n: g for n, g in zip(names, gradients, strict=True) if g is not None}
    for name, gradient in found.items():
        if _count(gradient) > 0:
            yield f"the gradient of {name} is not finite, though every loss is"
    lengths = {name: torch.linalg.vector_norm(gradient) for name, gradient in found.items()}
    if not torch.linalg.vector_norm(torch.stack(list(lengths.values()))).isfinite():
        name = max(found, key=lambda name: float(found[name].abs().max()))
        yield (
            f"the gradient is too long for its square to be a number: that of {name} reaches "
            f"{float(found[name].abs().max()):.3g}"
        )


@contextmanager
def _watched(agent: Agent) -> Iterator[list[str]]:
    """The layers whose output is not finite, in the order of execution."""
    found: list[str] = []
    handles = []
    for part in ("networks", "targets"):
        for name, module in getattr(agent, part).named_modules(prefix=part):

            def look(module: nn.Module, _: Any, output: Any, name: str = name) -> None:
                if isinstance(output, Tensor) and _count(output) > 0:
                    found.append(f"{name} ({type(module).__name__})")

            handles.append(module.register_forward_hook(look))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _count(tensor: Tensor) -> int:
    """How many values are not finite."""
    return int((~tensor.isfinite()).sum())
