"""Two processes collect with the policy of an agent that learns: TorchRL's MultiSyncCollector.

Each worker has noise of its own, so no two act alike, and gets the new weights when they are sent.
A worker that dies ends the run with an error that names it. Needs gymnasium.
"""

from functools import partial

from collecting import FRAMES, WORKERS, Learner, make_agent, make_env
from torchrl.collectors import MultiSyncCollector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer


def main() -> None:
    agent = make_agent()
    learner = Learner(agent)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(10_000), batch_size=64)
    collector = MultiSyncCollector(
        [partial(make_env, worker, agent.policy.noise_shape) for worker in range(WORKERS)],
        agent.policy,
        frames_per_batch=FRAMES,
        total_frames=4 * FRAMES,
        cat_results=0,
        use_buffers=True,
    )
    try:
        for data in collector:
            learner.learn(data, buffer)
            collector.update_policy_weights_()
    finally:
        collector.shutdown()
    print(f"{agent.step} updates on {len(buffer)} transitions")


if __name__ == "__main__":
    main()
