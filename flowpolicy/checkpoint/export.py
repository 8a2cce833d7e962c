"""A policy as one file that PyTorch plays by itself."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from flowpolicy.__about__ import __version__
from flowpolicy.checkpoint.policy import DeployedPolicy
from flowpolicy.durable import replace_durably
from flowpolicy.errors import CheckpointError, ConfigError, require_instance
from flowpolicy.modules import Actor

ABOUT: Final = "policy.json"
"""The entry of the file that tells shapes and origin."""

ROWS: Final = 1009
"""Rows while tracing, a number that is no size of a network: equal sizes are taken for one."""


def export_policy(
    policy: Actor, path: str | os.PathLike[str], about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    r"""Writes a policy with all its networks into one file that needs PyTorch alone to be played.

    .. math:: (s, z) \mapsto a_{\mathrm{env}}

    From ``[B, O]`` and ``[B, *noise_shape]`` to ``[B, h A]``. The file is a program of
    ``torch.export`` for any number of rows, of the policy's floating-point type and for its device.
    Observations as the environment gives them and noise go in; actions in the environment's units
    come out, of a policy that acts in chunks :math:`h` of them in a row. Whoever plays it needs
    neither flowpolicy nor TorchRL nor TensorDict::

        about = {"policy.json": ""}
        policy = torch.export.load("policy.pt2", extra_files=about).module()
        shape = json.loads(about["policy.json"])["noise_shape"]
        action = policy(observation, torch.randn(len(observation), *shape))

    The file is read back and held against the policy before it gets its name. Open only files whose
    origin you trust: a file of this format that somebody made for the purpose can run code in
    ``torch.export.load``; flowpolicy itself opens none but what it has just written.

    Args:
        policy: What acts, as it acts now: one with dropout wants ``policy.eval()`` first. For the
            likeliest action its ``mode``.
        path: Ends in ``.pt2``; replaced where it exists.
        about: Also written into the file's ``policy.json``, beside what it tells anyway; JSON.

    Returns:
        ``policy.json``: ``obs_dim``, ``act_dim`` (:math:`A`), ``horizon`` (:math:`h`),
        ``noise_shape`` (of a row; ``[0]`` where the policy draws nothing), ``dtype``,
        ``flowpolicy`` and ``torch`` (versions), and ``about``.

    Raises:
        ConfigError: The name does not end in ``.pt2``, or the policy does something that cannot be
            traced, such as to look at a number with Python's ``if``.
        CheckpointError: The file does not act as the policy does; nothing is written.

    Example:
        >>> import tempfile
        >>> import flowpolicy as fp
        >>> file = Path(tempfile.mkdtemp()) / "policy.pt2"
        >>> fp.export_policy(fp.OneStepActor(3, 2, hidden=(8,)), file)["noise_shape"]
        [2]
        >>> policy = torch.export.load(file).module()
        >>> policy(torch.zeros(4, 3), torch.randn(4, 2)).shape
        torch.Size([4, 2])
    """
    path = Path(path)
    hint = "It is what fp.load_policy returns, or agent.policy."
    require_instance("export_policy", "policy", policy, Actor, hint)
    if path.suffix != ".pt2":
        raise ConfigError(f"export_policy: the file's name must end in .pt2, got {path.name!r}.")
    acting = _Acting(policy)
    like = next(acting.parameters(), torch.zeros(()))
    horizon = policy.horizon if isinstance(policy, DeployedPolicy) else 1
    facts = {
        **(about or {}),
        "obs_dim": policy.obs_dim,
        "act_dim": policy.act_dim // horizon,
        "horizon": horizon,
        "noise_shape": list(policy.noise_shape),
        "dtype": str(like.dtype).removeprefix("torch."),
        "flowpolicy": __version__,
        "torch": torch.__version__,
    }
    try:
        program = _program(acting, _inputs(policy, ROWS, like))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"export_policy: what {policy.name} computes cannot be traced: {error}\n"
            "Its act must be made of PyTorch's functions alone and must not look at their numbers."
        ) from error
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(facts)})
    _hold_against(policy, acting, buffer, like)
    replace_durably(path, buffer.getvalue())
    return facts


class _Acting(nn.Module):
    """From what the environment gives to what it takes."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, observation: Tensor, noise: Tensor) -> Tensor:
        """``observation [B, O], noise [B, *noise_shape] -> [B, h A]``."""
        action = self.actor.act(observation, noise)
        if isinstance(self.actor, DeployedPolicy):
            return self.actor.environment_action(action)
        return action


class _Traced(nn.Module):
    """What a policy computes, operation by operation, with its tensors."""

    def __init__(self, acting: _Acting, observation: Tensor, noise: Tensor) -> None:
        super().__init__()
        tensors = {**dict(acting.named_parameters()), **dict(acting.named_buffers())}

        def act(tensors: dict[str, Tensor], observation: Tensor, noise: Tensor) -> Tensor:
            action: Tensor = torch.func.functional_call(acting, tensors, (observation, noise))
            return action

        with torch.no_grad():
            # Tracing goes through derivatives in the action (guided flows), torch.export does not.
            self.graph = make_fx(act, tracing_mode="symbolic")(tensors, observation, noise)
        # Numbered: "net.0" and "net_0" would be one name.
        self.names = {name: f"{name.replace('.', '_')}_{i}" for i, name in enumerate(tensors)}
        for name, tensor in tensors.items():
            self.register_buffer(self.names[name], tensor.detach())

    def forward(self, observation: Tensor, noise: Tensor) -> Tensor:
        """As the policy's."""
        tensors = {name: getattr(self, own) for name, own in self.names.items()}
        action: Tensor = self.graph(tensors, observation, noise)
        return action


def _program(acting: _Acting, inputs: tuple[Tensor, Tensor]) -> torch.export.ExportedProgram:
    rows = {0: torch.export.Dim("rows")}
    return torch.export.export(_Traced(acting, *inputs), inputs, dynamic_shapes=(rows, rows))


def _inputs(policy: Actor, rows: int, like: Tensor) -> tuple[Tensor, Tensor]:
    observation = torch.linspace(-1, 1, rows * policy.obs_dim, dtype=like.dtype, device=like.device)
    observation = observation.view(rows, policy.obs_dim)
    generator = torch.Generator(like.device).manual_seed(0)
    return observation, policy.draw_noise(observation, generator)


def _hold_against(policy: Actor, acting: _Acting, buffer: io.BytesIO, like: Tensor) -> None:
    buffer.seek(0)
    played = torch.export.load(buffer).module()
    for rows in (1, 5):
        inputs = _inputs(policy, rows, like)
        with torch.no_grad():
            expected, action = acting(*inputs), played(*inputs)
        if not torch.allclose(action, expected, rtol=1e-4, atol=1e-4):
            difference = (action - expected).abs().max()
            raise CheckpointError(
                f"export_policy: what was written differs from {policy.name} by {difference:.2g} "
                f"in an action; nothing was written. Does act depend on more than its inputs?"
            )
