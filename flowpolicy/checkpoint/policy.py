"""The policy of a run, ready to act."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from flowpolicy.agents import Agent, build
from flowpolicy.checkpoint.agent_files import (
    MODEL,
    PREPROCESSING,
    json_in,
    tensors_in,
)
from flowpolicy.checkpoint.device import require_device
from flowpolicy.checkpoint.directory import MANIFEST, read_directory
from flowpolicy.checkpoint.store import Checkpoints, LoadedCheckpoint
from flowpolicy.checkpoint.tensors import require_same_layout
from flowpolicy.errors import CheckpointError, unknown_name
from flowpolicy.modules import Actor


@final
class DeployedPolicy(Actor):
    r"""An actor with what training did to observations and actions around it.

    .. math:: a = \pi\big((s - \mu) / \sigma,\, z\big) \in [-1, 1]^A, \qquad
        a_{\mathrm{env}} = l + (a + 1)(h - l) / 2

    Args:
        actor: Trained on normalised observations.
        observation_mean: :math:`\mu` ``[O]``.
        observation_std: :math:`\sigma` ``[O]``, above 0.
        action_low: :math:`l` ``[A]``, what -1 means in the environment.
        action_high: :math:`h` ``[A]``, what 1 means.

    Example:
        >>> import flowpolicy as fp
        >>> actor = fp.OneStepActor(3, 2, hidden=(8,))
        >>> policy = DeployedPolicy(actor, observation_mean=torch.ones(3))
        >>> z = torch.zeros(2)
        >>> torch.equal(policy.act(torch.ones(3), z), actor.act(torch.zeros(3), z))
        True
    """

    observation_mean: Tensor
    observation_std: Tensor
    action_low: Tensor
    action_high: Tensor

    def __init__(
        self,
        actor: Actor,
        *,
        observation_mean: Tensor | None = None,
        observation_std: Tensor | None = None,
        action_low: Tensor | None = None,
        action_high: Tensor | None = None,
    ) -> None:
        super().__init__(actor.obs_dim, actor.act_dim, actor.noise_shape)
        self.actor = actor
        observation, action = torch.ones(actor.obs_dim), torch.ones(actor.act_dim)
        for name, value, default in (
            ("observation_mean", observation_mean, 0 * observation),
            ("observation_std", observation_std, observation),
            ("action_low", action_low, -action),
            ("action_high", action_high, action),
        ):
            self.register_buffer(name, default if value is None else value)

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """``observation [*B, O], noise [*B, *noise_shape] -> [*B, A]``, not clipped."""
        self.check_inputs(observation, noise)
        return self.actor.raw((observation - self.observation_mean) / self.observation_std, noise)

    def environment_action(self, action: Tensor) -> Tensor:
        """An action ``[*B, A]`` in [-1, 1] in the units of the data's environment, ``[*B, A]``."""
        return self.action_low + (action + 1) * (self.action_high - self.action_low) / 2


def load_policy(
    run: str | os.PathLike[str],
    *,
    step: int | None = None,
    actor: str = "policy",
    device: torch.device | str = "cpu",
) -> Actor:
    """Loads the policy of a run folder; only PyTorch and safetensors are needed.

    The policy acts in [-1, 1]. One that was trained on a data set with other bounds
    (``Dataset.from_tensordict(..., action_low=..., action_high=...)``) or with normalised
    observations is a :class:`DeployedPolicy`: it takes observations as the environment gives them,
    and ``policy.environment_action(policy.act(observation, noise))`` is the action in the
    environment's own units. :func:`flowpolicy.envs.make_gym` rescales by itself.

    Args:
        run: A run folder, its ``checkpoints`` folder, or one checkpoint's directory.
        step: Which checkpoint; ``None`` takes the newest that is intact.
        actor: Which of the agent's actors, ``"policy"`` being the one to deploy.
        device: Where to put it.

    Raises:
        CheckpointError: There is no intact checkpoint, or it does not say how to build its agent.
        ConfigError: The agent has no such actor, or the device is not there.

    Example:
        >>> import flowpolicy as fp
        >>> policy = fp.load_policy("runs/maze")  # doctest: +SKIP
        >>> action = policy.act(observation, torch.randn(2))  # doctest: +SKIP
    """
    device = require_device(device)
    loaded = _read(Path(run), step)
    origin = f"checkpoint {loaded.path}"
    agent = _agent(loaded, origin)
    model = tensors_in(loaded.files, MODEL, origin)
    require_same_layout(model, agent.state_dict(), origin)
    agent.load_state_dict(model)
    preprocessing = tensors_in(loaded.files, PREPROCESSING, origin)
    policy = deployed_actor(agent, actor, preprocessing)
    policy.to(device)
    policy.eval().requires_grad_(requires_grad=False)
    return policy


def deployed_actor(agent: Agent, actor: str, preprocessing: Mapping[str, Tensor]) -> Actor:
    """The agent's actor of this name, wrapped where observations or actions were changed.

    Raises:
        ConfigError: The agent has no such actor; the message has the nearest names.
    """
    if actor not in agent.actors:
        raise unknown_name("actor", actor, agent.actors)
    chosen = agent.actors[actor]
    return DeployedPolicy(chosen, **preprocessing) if preprocessing else chosen


def runs_below(folder: Path) -> list[Path]:
    """The folders with checkpoints below a folder that is itself no run, three levels deep."""
    found = (p for depth in ("*", "*/*", "*/*/*") for p in folder.glob(f"{depth}/checkpoints"))
    return sorted(path.parent for path in found if Checkpoints(path).steps())


def hint_at_runs(folder: Path) -> str:
    """The end of a message about a folder that is no run: which folders below it are."""
    runs = [str(path) for path in runs_below(folder)]
    if not runs:
        return ""
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    return f"; runs below it: {', '.join(runs[:3])}{more}"


def _read(run: Path, step: int | None) -> LoadedCheckpoint:
    if (run / MANIFEST).is_file():
        files = read_directory(run)
        return LoadedCheckpoint(run, files, json_in(files, "config.json", f"checkpoint {run}"))
    for root in (run / "checkpoints", run):
        if Checkpoints(root).steps():
            return Checkpoints(root).read(step)
    if not run.is_dir():
        raise CheckpointError(f"there is no run folder {run}")
    if seeds := sorted(path.name for path in run.glob("seed_*") if path.is_dir()):
        raise CheckpointError(
            f"{run} holds several runs ({', '.join(seeds)}); choose one, for instance "
            f"{run / seeds[0]}"
        )
    raise CheckpointError(f"{run} holds no checkpoint{hint_at_runs(run)}")


def _agent(loaded: LoadedCheckpoint, origin: str) -> Agent:
    spec: dict[str, Any] | None = loaded.config.get("recipe")
    if spec is None:
        raise CheckpointError(
            f"{origin} does not say how its agent is built (no 'recipe' in config.json); build the "
            "agent as it was trained and use Checkpoints(folder).load(agent)"
        )
    return build(spec["agent"], spec["obs_dim"], spec["act_dim"], **spec["options"])
