"""Episodes in lock-step: counted right, repeatable, and the same however they are spread."""

from __future__ import annotations

import importlib
from functools import partial

import gymnasium
import pytest
import torch
from torch import Tensor

import flowpolicy as fp
from flowpolicy.checkpoint import DeployedPolicy
from flowpolicy.errors import ConfigError, ShapeError
from flowpolicy.evaluate import (
    EvaluationError,
    close_environments,
    evaluate,
    record_frames,
    record_observations,
)
from flowpolicy.evaluate.noise import EpisodeNoise, episode_seeds
from flowpolicy.evaluate.workers import _pools, close_workers, worker_pool
from flowpolicy.modules import Actor
from tests.run.conftest import MAZE
from tests.run.line_world import LineWorld, Silent


class Drift(Actor):
    """Goes right by the given push plus its noise."""

    def __init__(self, push: float = 1.0, spread: float = 0.0) -> None:
        super().__init__(1, 1)
        self.push, self.spread = push, spread
        self.batches: list[tuple[int, ...]] = []

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        self.check_inputs(observation, noise)
        self.batches.append(tuple(observation.shape))
        return torch.full_like(observation, self.push) + self.spread * noise


class Plan(Actor):
    """Chunks of ``horizon`` pushes, each told apart by its place and by the chunk's noise."""

    def __init__(self, horizon: int) -> None:
        super().__init__(1, horizon, noise_shape=(1,))
        self.horizon = horizon
        self.seen: list[Tensor] = []

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        self.check_inputs(observation, noise)
        self.seen.append(torch.cat([observation, noise], dim=-1))
        place = torch.linspace(-0.9, 0.9, self.horizon).to(noise)
        return (place + 0.05 * noise).clamp(-1, 1)


class Noted(LineWorld):
    """Writes down what it is told."""

    actions: list[list[float]] = []  # noqa: RUF012

    def reset(self, *, seed=None):
        self.actions.append([])
        return super().reset(seed=seed)

    def step(self, action):
        self.actions[-1].append(float(action[0]))
        return super().step(action)


@pytest.fixture(autouse=True)
def fresh_environments():
    LineWorld.made = LineWorld.stepped = LineWorld.ended = 0
    yield
    close_environments()


@pytest.fixture(scope="module", autouse=True)
def no_processes_left():
    yield
    close_workers()


def test_returns_lengths_and_success_are_those_of_the_episodes():
    result = evaluate(Drift(1.0), LineWorld, episodes=6)
    assert result.successes == (True,) * 6
    assert result.success_rate == 1.0
    # From x0 each step adds 0.2 until x > 1; the return is the sum of the positions on the way.
    for index, (length, total) in enumerate(zip(result.lengths, result.returns, strict=True)):
        env = LineWorld()
        env.reset(seed=episode_seeds(0, index)[0])
        positions = [env.x + 0.2 * (k + 1) for k in range(length)]
        assert positions[-1] > 1 and (length == 1 or positions[-2] <= 1)
        assert total == pytest.approx(sum(positions))
    lost = evaluate(Drift(-1.0), LineWorld, episodes=3)
    assert (lost.successes, lost.lengths) == ((False,) * 3, (10,) * 3)


def test_one_batched_call_per_step_of_a_constant_shape():
    policy = Drift(1.0, spread=0.5)
    result = evaluate(policy, LineWorld, episodes=7, parallel=3)
    assert set(policy.batches) == {(3, 1)}
    assert LineWorld.made == LineWorld.ended == 3
    assert LineWorld.stepped == sum(result.lengths)  # nothing is stepped after its end
    assert len(policy.batches) < sum(result.lengths)


def test_environments_of_a_name_are_made_once(monkeypatch):
    module = importlib.import_module("flowpolicy.evaluate.environments")
    monkeypatch.setattr(module, "make_gym", lambda _: LineWorld())
    policy = Drift()
    evaluate(policy, "line", episodes=4)
    evaluate(policy, "line", episodes=4)
    evaluate(policy, "line", episodes=2)
    assert (LineWorld.made, LineWorld.ended) == (4, 0)
    close_environments()
    assert LineWorld.ended == 4


def test_environments_of_a_function_are_closed_at_the_end_of_the_call():
    for calls in (1, 2):
        evaluate(Drift(), lambda: LineWorld(), episodes=4)  # noqa: PLW0108  (another one each time)
        assert LineWorld.made == LineWorld.ended == 4 * calls
    with pytest.raises(ShapeError):
        evaluate(fp.OneStepActor(3, 1, hidden=(8,)), LineWorld, episodes=1)
    record_observations(Drift(), LineWorld, episodes=2)
    assert LineWorld.made == LineWorld.ended == 11


def test_environments_are_closed_where_one_cannot_be_made():
    def make():
        if LineWorld.made == 2:
            raise RuntimeError("no more")
        return LineWorld()

    with pytest.raises(RuntimeError, match="no more"):
        evaluate(Drift(), make, episodes=4)
    assert LineWorld.made == LineWorld.ended == 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float32])
def test_a_policy_gets_the_type_of_its_parameters(dtype):
    torch.manual_seed(0)
    result = evaluate(fp.OneStepActor(1, 1, hidden=(8,)).to(dtype), LineWorld, episodes=3)
    torch.manual_seed(0)
    usual = evaluate(fp.OneStepActor(1, 1, hidden=(8,)), LineWorld, episodes=3)
    tolerance = 0.1 if dtype is torch.bfloat16 else 1e-5
    assert result.returns == pytest.approx(usual.returns, rel=tolerance, abs=tolerance)


def test_what_is_no_actor_is_refused():
    agent = fp.agents.flow_bc(1, 1, hidden=(8,))
    with pytest.raises(
        ConfigError,
        match=r"got Agent without obs_dim\. .*policy: evaluate\(agent\.policy, \.\.\.\)",
    ):
        evaluate(agent, LineWorld, episodes=1)
    with pytest.raises(ConfigError, match=r"got Linear without act\. Derive it from flowpolicy"):
        record_observations(torch.nn.Linear(1, 1), LineWorld, episodes=1)
    assert evaluate(agent.policy, LineWorld, episodes=1).episodes == 1


def test_the_same_call_gives_the_same_episodes():
    policy = Drift(0.3, spread=1.0)
    first = evaluate(policy, LineWorld, episodes=8, seed=3)
    torch.manual_seed(99)
    again = evaluate(policy, LineWorld, episodes=8, seed=3)
    assert (again.returns, again.successes) == (first.returns, first.successes)
    assert evaluate(policy, LineWorld, episodes=8, seed=4).returns != first.returns


def test_an_episode_does_not_depend_on_its_neighbours():
    policy = Drift(0.3, spread=1.0)
    alone = evaluate(policy, LineWorld, episodes=8, parallel=1)
    together = evaluate(policy, LineWorld, episodes=8, parallel=8)
    assert alone.returns == pytest.approx(together.returns)
    assert evaluate(policy, LineWorld, episodes=3).returns == pytest.approx(together.returns[:3])


@pytest.mark.timeout(300)
def test_processes_give_the_same_episodes_and_stay():
    policy = Drift(0.3, spread=1.0)
    here = evaluate(policy, LineWorld, episodes=7)
    made = LineWorld.made
    for _ in range(2):
        there = evaluate(policy, LineWorld, episodes=7, workers=2)
        assert there.returns == pytest.approx(here.returns)
        assert (there.lengths, there.successes) == (here.lengths, here.successes)
    assert LineWorld.made == made
    chunked = [evaluate(Plan(3), LineWorld, episodes=7, workers=n) for n in (0, 2)]
    assert chunked[0].returns == pytest.approx(chunked[1].returns)
    pool = worker_pool(LineWorld, 2)

    stranger = fp.OneStepActor(3, 1, hidden=(8,))
    with pytest.raises(
        EvaluationError, match=r"process 1 failed:\n(.|\n)*the policy expects \[3\]"
    ):
        evaluate(stranger, LineWorld, episodes=2, workers=2)
    assert evaluate(policy, LineWorld, episodes=7, workers=2).lengths == here.lengths
    assert worker_pool(LineWorld, 2) is pool

    evaluate(policy, LineWorld, episodes=2, workers=2, parallel=1)
    assert len(worker_pool(LineWorld, 1)._processes) == 1
    assert set(_pools) == {(LineWorld, 1), (LineWorld, 2)}
    again = evaluate(policy, partial(LineWorld), episodes=2, workers=1)
    assert again.returns == pytest.approx(here.returns[:2])
    assert set(_pools) == {(LineWorld, 1), (LineWorld, 2)}  # nobody can ask for that one again

    pool._processes[0].kill()
    with pytest.raises(EvaluationError, match="evaluation process 0 died with exit code -9"):
        pool.run(policy, range(2), parallel=2, seed=0, max_steps=None)
    assert not pool.usable


@pytest.mark.parametrize("horizon", [1, 3, 10, 12])
def test_a_chunk_is_played_open_loop_and_dropped_at_the_end(horizon):
    """Episodes of ten steps: with horizon 3 the fourth chunk plays one of its actions."""
    policy, Noted.actions = Plan(horizon), []
    assert evaluate(policy, Noted, episodes=2, parallel=1).lengths == (10, 10)
    place = torch.linspace(-0.9, 0.9, horizon)
    for episode, played in enumerate(Noted.actions[:2]):
        noise = EpisodeNoise(episode_seeds(0, episode)[1], (1,))
        chunks = [(place + 0.05 * noise.draw()).clamp(-1, 1) for _ in range(-(-10 // horizon))]
        torch.testing.assert_close(torch.tensor(played), torch.cat(chunks)[:10])
    assert len(policy.seen) == 2 * -(-10 // horizon)  # asked once per chunk


def test_chunks_of_neighbours_do_not_disturb_each_other():
    """Episodes of unequal length: an environment asks in the middle of another one's chunk."""
    policy = Plan(4)
    alone = evaluate(policy, LineWorld, episodes=9, max_steps=7, parallel=1)
    beside = evaluate(policy, LineWorld, episodes=9, max_steps=7, parallel=4)
    assert beside.returns == alone.returns
    assert {tuple(seen.shape) for seen in policy.seen} == {(1, 2), (4, 2)}


def test_an_action_of_another_size_is_refused_with_the_way_out():
    actor = fp.OneStepActor(3, 2, hidden=(8,))
    with pytest.raises(
        ShapeError, match=r"action has shape \[1\], the policy gives 1 of \[2\]; .*h"
    ):
        evaluate(actor, "Pendulum-v1", episodes=1)
    chunked = DeployedPolicy(actor, horizon=2)
    assert evaluate(chunked, "Pendulum-v1", episodes=1, max_steps=3).lengths == (3,)


def test_without_success_only_returns_are_told():
    result = evaluate(Drift(), Silent, episodes=2)
    assert (result.successes, result.success_rate, result.interval) == (None, None, None)


def test_an_environment_that_is_registered_anew_is_made_anew(monkeypatch):
    from gymnasium.envs.registration import EnvSpec

    pendulum = "gymnasium.envs.classic_control:PendulumEnv"
    for length in (3, 5):
        spec = EnvSpec("FlowpolicyOwn-v0", entry_point=pendulum, max_episode_steps=length)
        monkeypatch.setitem(gymnasium.registry, spec.id, spec)
        actor = fp.OneStepActor(3, 1, hidden=(8,))
        assert evaluate(actor, spec.id, episodes=1).lengths == (length,)


def test_seeds_of_episodes_are_whole_numbers_from_0():
    with pytest.raises(ConfigError, match="seed must be at least 0, got -1"):
        evaluate(Drift(), LineWorld, seed=-1)


def test_an_environment_may_tell_of_successes_alone():
    class Cheerful(LineWorld):
        def step(self, action):
            *step, info = super().step(action)
            return (*step, {"success": True} if info["success"] else {})

    found, whole = (
        evaluate(Drift(1.0), kind, episodes=12, max_steps=4) for kind in (Cheerful, LineWorld)
    )
    assert found.successes == whole.successes
    assert 0 < sum(found.successes) < 12


def test_a_success_counts_whatever_comes_after_it():
    class Passing(LineWorld):
        def step(self, action):
            *step, _ = super().step(action)
            return (*step, {"success": self.time == 3})

    result = evaluate(Drift(-1.0), Passing, episodes=2)
    assert (result.lengths, result.successes) == ((10, 10), (True, True))


def test_max_steps_ends_episodes():
    assert evaluate(Drift(-1), LineWorld, episodes=2, max_steps=4).lengths == (4, 4)


def test_training_mode_comes_back():
    policy = Drift()
    policy.train()
    evaluate(policy, LineWorld, episodes=1)
    assert policy.training


@pytest.mark.parametrize(
    ("option", "least"), [("episodes", 1), ("parallel", 1), ("max_steps", 1), ("workers", 0)]
)
def test_impossible_counts_are_refused(option, least):
    with pytest.raises(ConfigError, match=f"evaluate: {option} must be at least {least}, got"):
        evaluate(Drift(), LineWorld, **{option: least - 1})


def test_a_policy_of_another_environment_is_refused():
    actor = fp.OneStepActor(3, 1, hidden=(8,))
    with pytest.raises(ShapeError, match=r"observation has shape \[1\], the policy expects \[3\]"):
        evaluate(actor, LineWorld, episodes=1)


def test_an_unknown_environment_names_the_nearest():
    with pytest.raises(ConfigError, match=f"did you mean '{MAZE}'"):
        evaluate(Drift(), MAZE.replace("medium", "medum"), episodes=1)


def test_the_real_maze_repeats():
    torch.manual_seed(0)
    actor = fp.OneStepActor(2, 2, hidden=(16,))
    first = evaluate(actor, MAZE, episodes=3, max_steps=20)
    again = evaluate(actor, MAZE, episodes=3, max_steps=20)
    paths = record_observations(actor, MAZE, episodes=3, max_steps=20)
    more = record_observations(actor, MAZE, episodes=3, max_steps=20)
    assert first.returns == again.returns == (-20.0,) * 3
    assert [path.shape for path in paths] == [(21, 2)] * 3
    assert all((a == b).all() for a, b in zip(paths, more, strict=True))
    assert len({tuple(path[0]) for path in paths}) == 3


def test_best_of_draws_its_own_shape_of_noise():
    critic = fp.CriticEnsemble(1, 1, hidden=(8,))
    policy = fp.BestOf(Drift(0.0, 1.0), critic, n=4)
    result = evaluate(policy, LineWorld, episodes=3)
    assert result.returns == evaluate(policy, LineWorld, episodes=3).returns


def test_noise_of_an_episode_is_standard_normal_and_its_own():
    noise = EpisodeNoise(1, (2,))
    draws = torch.stack([noise.draw().clone() for _ in range(4000)])
    assert draws.shape == (4000, 2)
    assert draws.mean().abs() < 0.05
    assert (draws.std() - 1).abs() < 0.05
    assert torch.unique(draws[:, 0]).numel() == 4000
    assert not torch.equal(EpisodeNoise(2, (2,)).draw(), EpisodeNoise(1, (2,)).draw())


def test_what_cannot_be_drawn_says_why():
    class Blind(LineWorld):
        metadata = {"render_fps": 5}  # noqa: RUF012

        def render(self) -> None:
            raise RuntimeError("no screen")

    with pytest.raises(ConfigError, match=r"cannot be drawn here; .*MUJOCO_GL=egl.*no screen"):
        record_frames(Drift(), Blind)


def test_frames_come_in_order():
    import numpy as np

    class Seen(LineWorld):
        metadata = {"render_fps": 5}  # noqa: RUF012

        def render(self) -> np.ndarray:
            return np.full((2, 2, 3), self.time, dtype=np.uint8)

    frames, rate = record_frames(Drift(-1), partial(Seen), episodes=1, every=2)
    assert [int(frame.max()) for frame in frames] == [0, 2, 4, 6, 8, 10]
    assert rate == 2.5
