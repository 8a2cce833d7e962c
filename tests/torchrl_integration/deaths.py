"""Kills a process of a collector or a buffer, and prints what the learner gets to see.

Started by test_workers.py with the name of a case.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from collecting import free_port
from torchrl.collectors import Collector
from torchrl.collectors.distributed import DistributedCollector, RayCollector
from torchrl.data import LazyTensorStorage, RayReplayBuffer

from flowpolicy.data.restarts import GenerationReplayBuffer, SameBuffer
from tests.torchrl_integration.test_workers import FRAMES, make_agent, make_env, transitions

ENVS = [partial(make_env, worker) for worker in range(2)]


def distributed() -> None:
    collector = DistributedCollector(
        ENVS,
        make_agent().policy,
        frames_per_batch=FRAMES,
        total_frames=100 * FRAMES,
        collector_kwargs={"auto_register_policy_transforms": False},
        sync=True,
        launcher="mp",
        tcp_port=free_port(),
    )
    try:
        batches = iter(collector)
        next(batches)
        kill(collector.jobs[1].pid)
        for _ in batches:
            pass
    finally:
        for job in collector.jobs:  # shutdown() would wait for the dead one
            job.kill()


def ray_collector() -> None:
    policy = make_agent().policy
    collector = RayCollector(
        ENVS,
        policy,
        frames_per_batch=FRAMES,
        total_frames=100 * FRAMES,
        collector_class=Collector,
        collector_kwargs={"auto_register_policy_transforms": False},
        remote_configs={"num_cpus": 0.5},
        sync=True,
    )
    try:
        collector.update_policy_weights_(policy)
        batches = iter(collector)
        next(batches)
        kill(pid_of(collector.remote_collectors[1]))
        for _ in batches:
            pass
    finally:
        collector.shutdown()


def ray_buffer() -> None:
    remote = RayReplayBuffer(
        storage=partial(LazyTensorStorage, 100),
        batch_size=4,
        replay_buffer_cls=GenerationReplayBuffer,
        remote_config={"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1},
    )
    try:
        buffer = SameBuffer(remote.client())
        buffer.extend(transitions(50))
        assert len(buffer) == 50 and buffer.sample().shape == (4,)
        kill(int(buffer.generation.split(":")[1]))
        remote.client().extend(transitions(20))  # a collector, which knows of nothing
        assert len(remote) == 20
        buffer.sample()
    finally:
        remote.shutdown()


def pid_of(actor: object) -> int:
    from ray._private import state  # the public one asks the dashboard

    return state.actors(actor._actor_id.hex())["Pid"]


def kill(pid: int) -> None:
    global killed  # noqa: PLW0603 (this is a script)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()


if __name__ == "__main__":
    case = {each.__name__: each for each in (distributed, ray_collector, ray_buffer)}[sys.argv[1]]
    if case is not distributed:
        import ray

        ray.init(include_dashboard=False, num_cpus=2)
    try:
        case()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what this is about)
        print(f"after {time.monotonic() - killed:.1f} s {type(error).__name__}: {error}")
