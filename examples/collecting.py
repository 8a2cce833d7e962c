"""What the examples of collectors share: environments, an agent, a look at whose actions came."""

import socket
from copy import deepcopy

import torch
from tensordict import TensorDictBase
from torchrl.envs import Compose, EnvBase, InitTracker, TransformedEnv

import flowpolicy as fp
from flowpolicy.envs import OwnNoise

WORKERS, FRAMES, UPDATES = 2, 200, 20


def make_env(worker: int, noise_shape: tuple[int, ...]) -> EnvBase:
    """Pendulum, with starts and noise that belong to one worker."""
    noise = OwnNoise(noise_shape, seed=worker)
    env = TransformedEnv(fp.envs.make("Pendulum-v1"), Compose(InitTracker(), noise))
    env.set_seed(worker)
    return env


def make_agent() -> fp.Agent:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return fp.agents.fql(3, 1, hidden=(32, 32), flow_steps=5, alpha=1.0)


class Learner:
    """Learns from what workers send, and tells after how many updates their policies were taken."""

    def __init__(self, agent: fp.Agent) -> None:
        self.agent = agent
        self.policies = {0: deepcopy(agent.policy)}

    def learn(self, data: TensorDictBase, buffer) -> None:
        rows = data.reshape(-1)
        told = ", ".join(f"{n} after {step} updates" for step, n in self.origins(rows).items())
        print(f"{len(rows)} steps by the policies {told}")
        # Noise is data, too; the losses draw their own.
        buffer.extend(rows.exclude("noise", ("next", "noise"), "collector"))
        for _ in range(UPDATES):
            self.agent.update(buffer.sample())
        self.policies[self.agent.step] = deepcopy(self.agent.policy)

    @torch.no_grad()
    def origins(self, rows: TensorDictBase) -> dict[int, int]:
        """How many actions each policy made; those at the bounds may be of any and do not count."""
        rows = rows[(rows["action"].abs() < 1).all(-1)]
        found = {}
        for step, policy in self.policies.items():
            action = policy.act(rows["observation"], rows["noise"])
            same = torch.isclose(action, rows["action"], atol=1e-5).all(-1)
            if same.any():
                found[step] = int(same.sum())
        return found


def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]
