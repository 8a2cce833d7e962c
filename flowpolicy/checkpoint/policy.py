"""The policy of a run, ready to act."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from flowpolicy.agents import Agent, build
from flowpolicy.checkpoint.agent_files import MODEL, PREPROCESSING
from flowpolicy.checkpoint.contents import tensors_in
from flowpolicy.checkpoint.device import require_device
from flowpolicy.checkpoint.directory import MANIFEST
from flowpolicy.checkpoint.store import Checkpoints, LoadedCheckpoint, Step
from flowpolicy.checkpoint.tensors import require_same_layout
from flowpolicy.errors import CheckpointError, unknown_name
from flowpolicy.modules import Actor
from flowpolicy.modules.parts import require_chunks


@final
class DeployedPolicy(Actor):
    r"""An actor with what training did to observations and actions around it.

    .. math:: a = \pi\big((s - \mu) / \sigma,\, z\big) \in [-1, 1]^{h A}, \qquad
        a_{\mathrm{env}} = l + (a + 1)(u - l) / 2

    Its action is a chunk of :math:`h` actions, to be played one after the other without looking;
    mostly :math:`h = 1`. :func:`flowpolicy.evaluate.evaluate` does so.

    Args:
        actor: Trained on normalised observations.
        observation_mean: :math:`\mu` ``[O]``.
        observation_std: :math:`\sigma` ``[O]``, above 0.
        action_low: :math:`l` ``[A]``, what -1 means in the environment.
        action_high: :math:`u` ``[A]``, what 1 means.
        horizon: :math:`h`, the number of steps in a chunk.

    Raises:
        ConfigError: The actor's action dimension is no multiple of ``horizon``.

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
        horizon: int = 1,
    ) -> None:
        super().__init__(actor.obs_dim, actor.act_dim, actor.noise_shape)
        advice = "Give the horizon that it was trained with."
        self.actor = actor
        self.horizon = require_chunks("DeployedPolicy", actor, horizon, advice)
        self.set_keys(
            observation=actor.in_keys[0], noise=actor.in_keys[1], action=actor.out_keys[0]
        )
        like = next(actor.parameters(), torch.empty(0))
        observation, action = like.new_ones(actor.obs_dim), like.new_ones(actor.act_dim // horizon)
        for name, value, default in (
            ("observation_mean", observation_mean, 0 * observation),
            ("observation_std", observation_std, observation),
            ("action_low", action_low, -action),
            ("action_high", action_high, action),
        ):
            self.register_buffer(name, default if value is None else value.detach().to(like))

    @property
    def mode(self) -> DeployedPolicy:
        """The same around the actor's mode."""
        if self.actor.mode is self.actor:
            return self
        mode = DeployedPolicy(
            self.actor.mode,
            observation_mean=self.observation_mean,
            observation_std=self.observation_std,
            action_low=self.action_low,
            action_high=self.action_high,
            horizon=self.horizon,
        )
        mode.set_keys(observation=self.in_keys[0], noise=self.in_keys[1], action=self.out_keys[0])
        return mode

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """``observation [*B, O], noise [*B, *noise_shape] -> [*B, h A]``, not clipped."""
        self.check_inputs(observation, noise)
        return self.actor.raw((observation - self.observation_mean) / self.observation_std, noise)

    def environment_action(self, action: Tensor) -> Tensor:
        """Actions in [-1, 1] in the units of the data's environment.

        ``[*B, A] -> [*B, A]``; chunks ``[*B, h A] -> [*B, h A]``.
        """
        steps = action.unflatten(-1, (-1, len(self.action_low)))
        scaled: Tensor = self.action_low + (steps + 1) * (self.action_high - self.action_low) / 2
        return scaled.flatten(-2)


def load_policy(
    run: str | os.PathLike[str],
    *,
    step: Step = None,
    actor: str = "policy",
    device: torch.device | str = "cpu",
) -> Actor:
    """Loads the policy of a run folder; no simulator, plotting or command-line package is needed.

    Where flowpolicy and TorchRL are not to be installed either, :func:`flowpolicy.export_policy`
    writes it into one file that needs PyTorch alone.

    The policy acts in [-1, 1]. One that was trained on a data set with other bounds
    (``Dataset.from_tensordict(..., action_low=..., action_high=...)``), with normalised
    observations or on action chunks is a :class:`DeployedPolicy`: it takes observations as the
    environment gives them, ``policy.horizon`` is the number of actions in what ``act`` returns, and
    ``policy.environment_action(policy.act(observation, noise))`` are they in the environment's own
    units. :func:`flowpolicy.envs.make_gym` rescales by itself.

    Args:
        run: A run folder, its ``checkpoints`` folder, or one checkpoint's directory.
        step: Which checkpoint, also ``"best"``, that of the best evaluation (a score that it
            was chosen by is too high); ``None`` takes the newest that is intact.
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
    preprocessing = tensors_in(loaded.files, PREPROCESSING, origin)
    horizon = loaded.config["recipe"]["options"].get("horizon", 1)
    policy = deployed_actor(agent, actor, preprocessing, horizon)
    policy.to(device)
    policy.eval().requires_grad_(requires_grad=False)
    return policy


def load_agent(run: str | os.PathLike[str], *, step: Step = None) -> Agent:
    """Loads the agent of a run folder to look at: networks, targets and coefficients.

    The optimizer and the noise start anew; :meth:`Checkpoints.load` goes on with a run.

    Args:
        run: As of :func:`load_policy`.
        step: Likewise.

    Raises:
        CheckpointError: There is no intact checkpoint, or it does not say how to build its agent.
    """
    loaded = _read(Path(run), step)
    return _agent(loaded, f"checkpoint {loaded.path}")


def deployed_actor(
    agent: Agent, actor: str, preprocessing: Mapping[str, Tensor], horizon: int = 1
) -> Actor:
    """The agent's actor of this name, wrapped where observations or actions were changed.

    Args:
        agent: Whose actor.
        actor: Its name.
        preprocessing: Tensors for :class:`DeployedPolicy`.
        horizon: The number of actions that the actor chooses together.

    Raises:
        ConfigError: The agent has no such actor; the message has the nearest names.
    """
    if actor not in agent.actors:
        raise unknown_name("actor", actor, agent.actors)
    chosen = agent.actors[actor]
    if not preprocessing and horizon == 1:
        return chosen
    return DeployedPolicy(chosen, **preprocessing, horizon=horizon)


def runs_below(folder: Path) -> list[Path]:
    """The folders with checkpoints below a folder that is itself no run, four levels deep."""
    depths = ("*", "*/*", "*/*/*", "*/*/*/*")  # the last: runs/<sweep>/<env>/<setting>/<seed>
    found = (p for depth in depths for p in folder.glob(f"{depth}/checkpoints"))
    return sorted(path.parent for path in found if Checkpoints(path).steps())


def hint_at_runs(folder: Path) -> str:
    """The end of a message about a folder that is no run: which folders below it are."""
    runs = [str(path) for path in runs_below(folder)]
    if not runs:
        return ""
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    return f"; runs below it: {', '.join(runs[:3])}{more}"


def _read(run: Path, step: Step) -> LoadedCheckpoint:
    if (run / MANIFEST).is_file():
        if step is not None:
            raise CheckpointError(f"{run} is one checkpoint already: leave step {step!r} out")
        return LoadedCheckpoint.read(run)
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
    """The agent that a checkpoint describes, with its weights."""
    agent = untrained_agent(loaded.config, origin)
    model = tensors_in(loaded.files, MODEL, origin)
    require_same_layout(model, agent.state_dict(), origin)
    agent.load_state_dict(model)
    return agent


def untrained_agent(config: Mapping[str, Any], origin: str) -> Agent:
    """The agent that the ``config.json`` of a checkpoint describes, without its weights.

    Raises:
        CheckpointError: It does not describe one.
    """
    spec: dict[str, Any] | None = config.get("recipe")
    if spec is None:
        raise CheckpointError(
            f"{origin} does not say how its agent is built (no 'recipe' in config.json); build the "
            "agent as it was trained and use Checkpoints(folder).load(agent)"
        )
    return build(spec["agent"], spec["obs_dim"], spec["act_dim"], **spec["options"])
