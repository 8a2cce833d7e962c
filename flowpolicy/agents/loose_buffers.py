"""An agent's tensors outside its networks: coefficients, temperatures, statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from torch import Tensor, nn

from flowpolicy.modules.extra_tensors import ExtraTensors


@final
class LooseBuffers(ExtraTensors, nn.Module):
    """Saves and restores the persistent buffers of some modules that the owned networks lack.

    Args:
        roots: where to look, by the names that the buffers get in the state dict.
        owned: the networks and targets, whose buffers are saved with them.
    """

    _roots: dict[str, nn.Module]
    _owned: nn.ModuleList

    def __init__(self, roots: Mapping[str, nn.Module], owned: nn.ModuleList) -> None:
        super().__init__()
        # In __dict__: looked at, not registered. Looked up anew at each call, because ``.to`` puts
        # new tensors into modules.
        self.__dict__["_roots"] = dict(roots)
        self.__dict__["_owned"] = owned

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Every such buffer once."""
        seen = {id(buffer) for buffer in self._owned.buffers()}
        for root_name, root in self._roots.items():
            for path, module in root.named_modules():
                for name, buffer in module._buffers.items():  # noqa: SLF001
                    transient = name in module._non_persistent_buffers_set  # noqa: SLF001
                    if buffer is None or transient or id(buffer) in seen:
                        continue
                    seen.add(id(buffer))
                    yield ".".join(part for part in (root_name, path, name) if part), buffer

    def extra_tensors(self, prefix: str) -> dict[str, Tensor]:
        """All of them, by their names in the state dict."""
        return {prefix + name: buffer for name, buffer in self.named()}
