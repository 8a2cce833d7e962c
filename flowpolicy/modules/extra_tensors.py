"""Tensors beside a module's own in its state dict."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor


class ExtraTensors:
    """Beside ``nn.Module``: a state dict with tensors that are not registered in the module."""

    @abstractmethod
    def extra_tensors(self, prefix: str) -> dict[str, Tensor]:
        """The tensors by their names in the state dict, which begin with ``prefix``."""

    def _save_to_state_dict(
        self,
        destination: dict[str, Any],
        prefix: str,
        keep_vars: bool,  # noqa: FBT001
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)  # type: ignore[misc]
        for key, tensor in self.extra_tensors(prefix).items():
            destination[key] = tensor if keep_vars else tensor.detach()

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
        extra = self.extra_tensors(prefix)
        own = {key: value for key, value in state_dict.items() if key not in extra}
        super()._load_from_state_dict(  # type: ignore[misc]
            own, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        for key, tensor in extra.items():
            if key not in state_dict:
                missing_keys.append(key)
            elif state_dict[key].shape != tensor.shape:
                error_msgs.append(
                    f"{key}: expected {list(tensor.shape)}, got {list(state_dict[key].shape)}."
                )
            else:
                tensor.detach().copy_(state_dict[key])
