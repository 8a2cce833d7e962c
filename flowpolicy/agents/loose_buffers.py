"""An agent's tensors outside its networks: coefficients, temperatures, statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

from torch import Tensor, nn

from flowpolicy.modules.extra_tensors import load_tensors, save_tensors


@final
class LooseBuffers(nn.Module):
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

    def _known(self, prefix: str) -> dict[str, Tensor]:
        return {prefix + name: buffer for name, buffer in self.named()}

    def _save_to_state_dict(
        self,
        destination: dict[str, Tensor],
        prefix: str,
        keep_vars: bool,  # noqa: FBT001
    ) -> None:
        save_tensors(self._known(prefix), destination, keep_vars=keep_vars)

    def _load_from_state_dict(  # noqa: PLR0917  (torch's signature)
        self,
        state_dict: Mapping[str, Tensor],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,  # noqa: FBT001
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        del local_metadata
        known = self._known(prefix)
        load_tensors(known, state_dict, missing_keys, error_msgs)
        if strict:
            unexpected_keys += [k for k in state_dict if k.startswith(prefix) and k not in known]
