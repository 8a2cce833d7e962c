"""The same through torch.distributed: TorchRL's DistributedCollector, here with gloo.

``launcher="submitit"`` in place of ``"mp"`` starts the workers as Slurm jobs. One that dies breaks
the connection, which ends the run. Take this collector with ``sync=True``; TorchRL 0.14.1's
DistributedSyncCollector receives all workers into one memory, and so gives one worker's data for
each. Needs gymnasium.
"""

from functools import partial

from collecting import FRAMES, WORKERS, Learner, free_port, make_agent, make_env
from torchrl.collectors.distributed import DistributedCollector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer


def main() -> None:
    agent = make_agent()
    learner = Learner(agent)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(10_000), batch_size=64)
    collector = DistributedCollector(
        [partial(make_env, worker, agent.policy.noise_shape) for worker in range(WORKERS)],
        agent.policy,
        frames_per_batch=FRAMES,
        total_frames=4 * FRAMES,
        sync=True,
        launcher="mp",
        backend="gloo",
        tcp_port=free_port(),
    )
    try:
        for data in collector:
            learner.learn(data, buffer)
            collector.update_policy_weights_()
        collector.shutdown()  # not after an error: it waits for every worker
    finally:
        for job in collector.jobs:  # after an error they would wait for ever, and this program too
            job.kill()
    print(f"{agent.step} updates on {len(buffer)} transitions")


if __name__ == "__main__":
    main()
