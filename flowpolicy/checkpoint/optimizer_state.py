"""The state of an optimizer by parameter name instead of by position.

``torch.optim`` matches moments to parameters by their order and checks neither names nor shapes, so
that a reordered or resized network would take the moments of another one without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from flowpolicy.errors import CheckpointError

Groups: TypeAlias = list[dict[str, Any]]


def optimizer_to_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], Groups]:
    """Splits an optimizer into tensors named ``<moment>/<parameter>`` and groups for JSON.

    Args:
        optimizer: Made from named parameters (``optimizer.param_groups[i]["param_names"]``).

    Raises:
        CheckpointError: The optimizer has unnamed parameters, or a value that JSON cannot hold.
    """
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    groups: Groups = []
    for group in state["param_groups"]:
        names = _names(group)
        scalars: dict[str, dict[str, Any]] = {}
        for index, name in zip(group["params"], names, strict=True):
            for key, value in state["state"].get(index, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{key}/{name}"] = value
                else:
                    scalars.setdefault(name, {})[key] = _plain(f"{key} of {name}", value)
        hyper = {
            key: _plain(key, value)
            for key, value in group.items()
            if key not in ("params", "param_names")
        }
        groups.append({"names": names, "hyperparameters": hyper, "scalars": scalars})
    return tensors, groups


def state_to_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: Groups, origin: str
) -> dict[str, Any]:
    """Builds the state dict to load into ``optimizer``; the optimizer itself is not touched.

    Raises:
        CheckpointError: Names or shapes differ from those of the optimizer's parameters.
    """
    live = optimizer.state_dict()["param_groups"]
    if len(live) != len(groups):
        raise CheckpointError(
            f"{origin}: the optimizer was saved with {len(groups)} parameter groups, "
            f"the agent's has {len(live)}"
        )
    by_name: dict[str, dict[str, Any]] = {}
    for key, value in tensors.items():
        moment, _, name = key.partition("/")
        by_name.setdefault(name, {})[moment] = value.clone()
    state: dict[int, dict[str, Any]] = {}
    param_groups = []
    for saved, group, parameters in zip(groups, live, optimizer.param_groups, strict=True):
        names = _names(group)
        _require_same_names(saved["names"], names, origin)
        shapes = [tuple(parameter.shape) for parameter in parameters["params"]]
        for index, name, shape in zip(group["params"], names, shapes, strict=True):
            entry = by_name.pop(name, {}) | saved["scalars"].get(name, {})
            for moment, value in entry.items():
                if isinstance(value, Tensor) and not _fits(value, shape):
                    raise CheckpointError(
                        f"{origin}: {moment} of {name!r} has shape {list(value.shape)} in the "
                        f"checkpoint, the parameter has {list(shape)}"
                    )
            if entry:
                state[index] = entry
        hyper = {
            key: _restored(value, like=parameters.get(key))
            for key, value in saved["hyperparameters"].items()
        }
        param_groups.append(hyper | {"params": group["params"], "param_names": names})
    if by_name:
        raise CheckpointError(f"{origin}: the optimizer has no parameter {next(iter(by_name))!r}")
    return {"state": state, "param_groups": param_groups}


def _fits(moment: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether it is as large as its parameter, of one row or column (Adafactor), or a count."""
    sizes = moment.shape
    return not sizes or (
        len(sizes) == len(shape) and all(n in (1, m) for n, m in zip(sizes, shape, strict=True))
    )


def _names(group: Mapping[str, Any]) -> list[str]:
    if "param_names" not in group:
        raise CheckpointError(
            "the optimizer has unnamed parameters; make it from module.named_parameters() so that "
            "its state can be saved by name"
        )
    return list(group["param_names"])


def _require_same_names(saved: list[str], live: list[str], origin: str) -> None:
    if saved == live:
        return
    for old, new in zip(saved, live, strict=False):
        if old != new:
            raise CheckpointError(
                f"{origin}: the optimizer was saved with parameter {old!r} where the agent "
                f"has {new!r}"
            )
    raise CheckpointError(
        f"{origin}: the optimizer was saved with {len(saved)} parameters, the agent has {len(live)}"
    )


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, Tensor) and value.numel() == 1:
        return {"tensor": value.item(), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, tuple | list):
        return [_plain(key, item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(
        f"optimizer value {key} is a {type(value).__name__}; a checkpoint holds numbers and texts"
    )


def _restored(value: Any, like: Any = None) -> Any:
    if isinstance(value, dict):
        device = like.device if isinstance(like, Tensor) else None
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]), device=device)
    # Tuples come back from JSON as lists; torch keeps Adam's betas as a tuple.
    return tuple(_restored(item) for item in value) if isinstance(value, list) else value
