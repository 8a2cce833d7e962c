"""The states of all random generators as tensors."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from flowpolicy.errors import CheckpointError


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
        CheckpointError: A state is missing, or a named generator was not saved.
    """
    required = ["python.words", "python.gauss", "numpy.keys", "numpy.position", "numpy.gauss"]
    required += ["torch", *(f"generator.{key}" for key in generators)]
    for key in required:
        if key not in tensors:
            raise CheckpointError(f"{origin}: the random state {key!r} was not saved")

    def restore() -> None:
        gauss = tensors["python.gauss"].tolist()
        random.setstate((3, tuple(tensors["python.words"].tolist()), gauss[0] if gauss else None))
        position, has_gauss = tensors["numpy.position"].tolist()
        np.random.set_state(  # noqa: NPY002
            (
                "MT19937",
                tensors["numpy.keys"].numpy().astype(np.uint32),
                position,
                has_gauss,
                tensors["numpy.gauss"].item(),
            )
        )
        torch.set_rng_state(tensors["torch"])
        if torch.cuda.is_available():
            for index in range(torch.cuda.device_count()):
                if f"cuda.{index}" in tensors:
                    torch.cuda.set_rng_state(tensors[f"cuda.{index}"], index)
        for key, generator in generators.items():
            generator.set_state(tensors[f"generator.{key}"])

    return restore
