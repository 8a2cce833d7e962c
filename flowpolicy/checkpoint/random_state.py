"""The states of all random generators as tensors."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowpolicy.errors import CheckpointError

_set_aside: dict[str, Tensor] = {}
"""States of GPUs that this machine lacks, from the checkpoint that was loaded last."""


def random_to_tensors(generators: Mapping[str, torch.Generator]) -> dict[str, Tensor]:
    """Collects the global generators (Python, NumPy, PyTorch, CUDA) and the named ones.

    Args:
        generators: Further generators by name, for instance the one that draws batches.
    """
    _, words, gauss = random.getstate()
    # The simulators draw from numpy's old global generator.
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    tensors = {
        "python.words": torch.tensor(words, dtype=torch.int64),
        "python.gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy.keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy.position": torch.tensor([position, has_gauss], dtype=torch.int64),
        "numpy.gauss": torch.tensor([cached], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    tensors |= _set_aside
    if torch.cuda.is_initialized():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"cuda.{index}"] = state
    for key, generator in generators.items():
        tensors[f"generator.{key}"] = generator.get_state()
    return tensors


def tensors_to_random(
    tensors: Mapping[str, Tensor], generators: Mapping[str, torch.Generator], origin: str
) -> Callable[[], None]:
    """Checks the saved states and returns the function that puts them back.

    Raises:
        CheckpointError: A state is missing, does not fit its generator, or a named generator was
            not saved.
    """
    required = ["python.words", "python.gauss", "numpy.keys", "numpy.position", "numpy.gauss"]
    required += ["torch", *(f"generator.{key}" for key in generators)]
    for key in required:
        if key not in tensors:
            raise CheckpointError(f"{origin}: the random state {key!r} was not saved")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    here = {f"cuda.{index}": index for index in range(gpus) if f"cuda.{index}" in tensors}
    devices = {"torch": "cpu", **{name: name.replace(".", ":") for name in here}}
    devices |= {f"generator.{key}": str(generator.device) for key, generator in generators.items()}
    key = ""
    try:
        key = "python.words"
        python = _python_state(tensors)
        random.Random().setstate(python)  # noqa: S311
        key = "numpy.keys"
        numpy = _numpy_state(tensors)
        np.random.RandomState().set_state(numpy)
        for key, device in devices.items():
            require_generator_state(tensors[key], device)
    except (RuntimeError, TypeError, ValueError, OverflowError, IndexError) as error:
        raise CheckpointError(
            f"{origin}: the random state {key!r} does not fit its generator ({error})"
        ) from error

    def restore() -> None:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(tensors["torch"])
        for name, index in here.items():
            torch.cuda.set_rng_state(tensors[name], index)
        for key, generator in generators.items():
            generator.set_state(tensors[f"generator.{key}"])
        _set_aside.clear()
        absent = (name for name in tensors if name.startswith("cuda.") and name not in here)
        _set_aside.update({name: tensors[name] for name in absent})

    return restore


def require_generator_state(state: Tensor, device: str) -> None:
    """Refuses what a generator of a device could not take, as its ``set_state`` would.

    A GPU is not opened for it: only the kind of its state is looked at.

    Raises:
        TypeError: Not a state at all.
        RuntimeError: The state of another kind of generator.
    """
    if not isinstance(state, Tensor) or state.dtype != torch.uint8 or state.ndim != 1:
        raise TypeError("a state is a row of bytes")
    cpu = len(torch.get_rng_state())
    if device.startswith("cpu"):
        torch.Generator().set_state(state)
    elif len(state) == cpu:
        raise RuntimeError(f"it is that of a generator on the CPU, not on {device}")


def _python_state(tensors: Mapping[str, Tensor]) -> tuple[int, tuple[int, ...], float | None]:
    gauss = tensors["python.gauss"].tolist()
    return 3, tuple(tensors["python.words"].tolist()), gauss[0] if gauss else None


def _numpy_state(tensors: Mapping[str, Tensor]) -> tuple[str, Any, int, int, float]:
    position, has_gauss = tensors["numpy.position"].tolist()
    keys = tensors["numpy.keys"].numpy().astype(np.uint32)
    return "MT19937", keys, position, has_gauss, tensors["numpy.gauss"].item()
