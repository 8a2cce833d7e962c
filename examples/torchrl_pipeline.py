"""An existing TorchRL pipeline gains a flow. Lines marked + are new; all others are TorchRL's.

A noisy controller balances a pole for 4,000 steps. DDPG trained on these alone climbs its critic
to actions that the data do not hold, where it is wrong. The flow clones the data; the actor,
distilled from it, stays near them while it climbs. Needs gymnasium and mujoco.
"""

import torch
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import Compose, DoubleToFloat, GymEnv, InitTracker, TransformedEnv
from torchrl.modules import MLP, ValueOperator
from torchrl.objectives import DDPGLoss, SoftUpdate

import flowpolicy as fp  # +


def controller(observation: torch.Tensor) -> torch.Tensor:
    force = (observation * torch.tensor([0.5, 5.0, 0.5, 0.6])).sum(-1, keepdim=True)
    return (force + 0.5 * torch.randn_like(force)).clamp(-1, 1)


def mean_return(policy: TensorDictModuleBase, n: int = 4) -> float:
    return sum(env.rollout(500, policy)["next", "reward"].sum().item() for _ in range(n)) / n


def train(alpha: float, updates: int = 1000) -> TensorDictModuleBase:
    actor = fp.OneStepActor(4, 1, hidden=(64, 64))  # + in place of a deterministic actor
    critic = ValueOperator(MLP(5, 1, num_cells=[64, 64]), in_keys=["observation", "action"])
    ddpg = DDPGLoss(actor, critic)
    ddpg.make_value_estimator(gamma=0.99)
    target_updater = SoftUpdate(ddpg, tau=0.01)
    field = fp.VelocityField(4, 1, hidden=(64, 64))  # +
    flow = fp.FlowMatchingLoss(field)  # + clones the data
    distill = fp.DistillLoss(actor, teacher=fp.EulerSampler(field, steps=5), coefficient=alpha)  # +
    parameters = [*ddpg.parameters(), *flow.parameters()]  # + the actor's are among DDPG's already
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for _ in range(updates):
        batch = buffer.sample()
        losses = ddpg(batch)
        losses.update(flow(batch)).update(distill(batch))  # +
        optimizer.zero_grad()
        sum(value for key, value in losses.items() if key.startswith("loss")).backward()
        optimizer.step()
        target_updater.step()
    return actor


torch.manual_seed(0)
torch.set_num_threads(1)  # threads do not pay for networks of this size
env = TransformedEnv(GymEnv("InvertedPendulum-v5"), Compose(DoubleToFloat(), InitTracker()))
env.set_seed(0)
buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(4000), batch_size=128)
behaviour = TensorDictModule(controller, in_keys=["observation"], out_keys=["action"])
for data in Collector(env, behaviour, frames_per_batch=1000, total_frames=4000):
    buffer.extend(data)
print(f"behaviour: {mean_return(behaviour):.0f} of 500")
print(f"DDPG alone: {mean_return(train(alpha=0.0)):.0f} of 500")
print(f"DDPG with flow and distillation: {mean_return(train(alpha=3.0)):.0f} of 500")
