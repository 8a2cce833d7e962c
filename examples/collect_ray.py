"""The same on a Ray cluster: TorchRL's RayCollector, and a replay buffer in a process of its own.

The buffer may be on another machine. Ray restarts it when it dies, but empty; ``SameBuffer`` then
stops the run. A collector that dies ends the run, too. ``address="auto"`` joins the cluster that
this machine belongs to; without it Ray is started here. Needs gymnasium and ray.
"""

import os
from functools import partial
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray's reports to its makers

import ray
from collecting import FRAMES, WORKERS, Learner, make_agent, make_env
from torchrl.collectors import Collector
from torchrl.collectors.distributed import RayCollector
from torchrl.data import LazyTensorStorage, RayReplayBuffer

from flowpolicy.data.restarts import GenerationReplayBuffer, SameBuffer


def main() -> None:
    # Workers import from this folder, too.
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    here = {"env_vars": {"PYTHONPATH": path}}
    ray.init(include_dashboard=False, log_to_driver=False, runtime_env=here)
    agent = make_agent()
    learner = Learner(agent)
    remote = RayReplayBuffer(
        storage=partial(LazyTensorStorage, 10_000),
        batch_size=64,
        replay_buffer_cls=GenerationReplayBuffer,
        remote_config={"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1},
    )
    buffer = SameBuffer(remote.client())
    collector = RayCollector(
        [partial(make_env, worker, agent.policy.noise_shape) for worker in range(WORKERS)],
        agent.policy,
        frames_per_batch=FRAMES,
        total_frames=4 * FRAMES,
        collector_class=Collector,
        remote_configs={"num_cpus": 0.5},
        sync=True,
    )
    try:
        collector.update_policy_weights_(agent.policy)
        for data in collector:
            learner.learn(data, buffer)
            collector.update_policy_weights_(agent.policy)
        print(f"{agent.step} updates on {len(buffer)} transitions")
    finally:
        collector.shutdown()
        remote.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
