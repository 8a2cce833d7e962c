"""Workers collect with the newest weights and noise of their own; one that dies ends the run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict
from torchrl.collectors import MultiSyncCollector
from torchrl.data import LazyTensorStorage
from torchrl.envs import EnvBase, SerialEnv, TransformedEnv, check_env_specs

import flowpolicy as fp
from flowpolicy.data.restarts import BufferLostError, GenerationReplayBuffer, SameBuffer
from flowpolicy.envs import OwnNoise

ROOT = Path(__file__).parents[2]
FRAMES = 40


def make_agent() -> fp.Agent:
    return fp.agents.fql(3, 1, hidden=(8,), flow_steps=2, alpha=1.0, lr=1e-2)


def make_env(worker: int) -> EnvBase:
    env = TransformedEnv(fp.envs.make("Pendulum-v1"), OwnNoise((1,), seed=worker))
    env.set_seed(worker)
    return env


def apart(policy: fp.Actor, data: TensorDict) -> float:
    """How far the actions in the data are from those of ``policy`` as it is now."""
    with torch.no_grad():
        return (policy.act(data["observation"], data["noise"]) - data["action"]).abs().max().item()


def test_processes_draw_apart_follow_the_agent_and_end_with_the_first_that_dies():
    agent = make_agent()
    collector = MultiSyncCollector(
        [partial(make_env, worker) for worker in range(2)],
        agent.policy,
        frames_per_batch=FRAMES,
        total_frames=10 * FRAMES,
        cat_results=0,
        auto_register_policy_transforms=False,
    )
    try:
        batches = iter(collector)
        first = next(batches).clone()
        assert apart(agent.policy, first) < 1e-5
        noise = first["noise"].view(2, -1)
        expected = [torch.randn(1, generator=torch.Generator().manual_seed(w)) for w in range(2)]
        assert torch.equal(noise[:, :1], torch.stack(expected))
        assert not torch.isclose(noise[0], noise[1]).any()
        assert not torch.isclose(*first["action"].view(2, -1)).all()
        for _ in range(5):
            agent.update(first.exclude("noise", ("next", "noise"), "collector"))
        assert apart(agent.policy, first) > 1e-3
        collector.update_policy_weights_()
        assert apart(agent.policy, next(batches)) < 1e-5
        victim = collector.procs[1]
        os.kill(victim.pid, signal.SIGKILL)
        # The second where the other worker, which is asked to stop, takes longer than 0.1 s.
        told = r"worker 1 \(exit code -9\)|Cannot close a process while it is still running"
        with pytest.raises((RuntimeError, ValueError), match=told):
            for _ in batches:
                pass
    finally:
        collector.shutdown()


def test_noise_is_new_at_every_step_and_part_of_the_specs():
    env = make_env(3)
    check_env_specs(env, seed=0)
    rows = make_env(3).rollout(6)
    assert rows["noise"].unique().numel() == 6
    assert torch.equal(rows["next", "noise"][:-1], rows["noise"][1:])
    assert torch.equal(rows["noise"], make_env(3).rollout(6)["noise"])
    assert not torch.isclose(rows["noise"], make_env(4).rollout(6)["noise"]).any()
    several = SerialEnv(2, partial(make_env, 0))
    several = TransformedEnv(fp.envs.make("Pendulum-v1", 2, serial=True), OwnNoise((4, 1), seed=0))
    assert several.rollout(3)["noise"].shape == (2, 3, 4, 1)


def transitions(count: int) -> TensorDict:
    return TensorDict(x=torch.arange(count).float().unsqueeze(-1), batch_size=[count])


def make_buffer() -> GenerationReplayBuffer:
    return GenerationReplayBuffer(storage=LazyTensorStorage(10), batch_size=2)


def test_a_buffer_that_was_started_anew_stops_the_learner():
    buffer = SameBuffer(make_buffer())
    buffer.extend(transitions(4))
    assert len(buffer) == 4 and buffer.sample().shape == (2,)
    old, buffer.buffer = buffer.buffer, make_buffer()  # as a client sees an actor that restarted
    text = f"the replay buffer {old.generation()} was lost with all its rows; an empty one"
    for call in (lambda: len(buffer), buffer.sample, lambda: buffer.extend(transitions(4))):
        with pytest.raises(BufferLostError, match=re.escape(text)):
            call()
    assert len(buffer.buffer) == 4  # a collector has filled it again, and still
    with pytest.raises(BufferLostError, match="Go on from the last checkpoint"):
        buffer.sample()


def run(program: Path, *arguments: str, status: int = 0) -> str:
    """The output of a program in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",  # else Ray writes a token into the home folder
    }
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


RAY = pytest.param("ray", marks=pytest.mark.ray)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "distributed", RAY])
def test_the_examples_show_the_newest_policy(engine):
    if engine == "ray":
        pytest.importorskip("ray")
    said = run(ROOT / "examples" / f"collect_{engine}.py")
    found = re.findall(r"^200 steps by the policies (\d+) after (\d+) updates$", said, re.MULTILINE)
    assert [int(step) for _, step in found] == [0, 20, 40, 60]
    assert all(int(count) > 100 for count, _ in found)
    assert "80 updates on 800 transitions" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "message"),
    [
        # From the collector's own shutdown, while it handles gloo's "Connection reset by peer".
        ("distributed", r"DistStoreError: wait timeout after 10000ms, keys: /NODE_2_out"),
        pytest.param(
            "ray_collector", r"ActorDiedError: The actor died unexpectedly", marks=pytest.mark.ray
        ),
        pytest.param(
            "ray_buffer", r"BufferLostError: the replay buffer .* was lost", marks=pytest.mark.ray
        ),
    ],
)
def test_a_death_elsewhere_ends_the_run(case, message):
    if "ray" in case:
        pytest.importorskip("ray")
    said = run(Path(__file__).with_name("deaths.py"), case)
    assert re.search(message, said), said
