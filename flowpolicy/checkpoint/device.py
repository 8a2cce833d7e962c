"""A device by its name, refused in one sentence where it is not there."""

from __future__ import annotations

import torch

from flowpolicy.errors import ConfigError


def parse_device(name: torch.device | str) -> torch.device:
    """The device that a name stands for, whether it is there or not.

    Raises:
        ConfigError: Not the name of a device.

    Example:
        >>> parse_device("cuda:1").index
        1
    """
    try:
        return torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"unknown device {name!r}; devices are called cpu, cuda, cuda:0, cuda:1 and so on"
        ) from error


def require_device(name: torch.device | str) -> torch.device:
    """The device that a name stands for, if this machine has it.

    Raises:
        ConfigError: Not the name of a device, or of one that is not here.

    Example:
        >>> require_device("cpu")
        device(type='cpu')
    """
    device = parse_device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(
                f"device {str(device)!r} was asked for, but PyTorch finds "
                f"{count or 'no'} CUDA device{'' if count == 1 else 's'} here; choose another, for "
                "instance cpu"
            )
        return device
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device {str(device)!r} was asked for, but PyTorch cannot use it here; choose "
            "another, for instance cpu"
        ) from error
    return device
