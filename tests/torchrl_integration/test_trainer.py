"""An agent's losses, and single ones, inside TorchRL's Trainer."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.record.loggers import CSVLogger
from torchrl.trainers import (
    DefaultOptimizationStepper,
    ReplayBufferTrainer,
    TargetNetUpdaterHook,
    Trainer,
    UpdateWeights,
)

import flowpolicy as fp
from tests.torchrl_integration.environment import (
    ACT_DIM,
    OBS_DIM,
    reacher,
    small_recipe,
    transitions,
)

# TorchRL's own hooks register themselves on stages that TorchRL deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The '(post_loss|optimizer)' hook stage will be replaced:FutureWarning"
)
RECIPES = pytest.mark.parametrize("recipe", sorted(fp.agents.RECIPES))


def make_agent(recipe: str) -> fp.Agent:
    return small_recipe(recipe)


def make_trainer(loss, optimizer, policy, *, stepper=None, **options) -> Trainer:
    """Three batches of 40 steps, four updates after each."""
    collector = Collector(
        reacher(),
        policy,
        frames_per_batch=40,
        total_frames=120,
        auto_register_policy_transforms=False,
    )
    return Trainer(
        collector=collector,
        total_frames=120,
        frame_skip=1,
        optim_steps_per_batch=4,
        loss_module=loss,
        optimizer=optimizer,
        optimization_stepper=stepper,
        progress_bar=False,
        clip_grad_norm=False,
        **options,
    )


def add_buffer(trainer: Trainer) -> TensorDictReplayBuffer:
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(1000), batch_size=32)
    ReplayBufferTrainer(buffer, flatten_tensordicts=True).register(trainer)
    return buffer


def add_targets(trainer: Trainer) -> None:
    hook = TargetNetUpdaterHook(fp.PolyakUpdater(trainer.loss_module))
    trainer.register_op("post_optim", hook)


@RECIPES
def test_a_trainer_trains_every_network_of_an_agent(recipe):
    agent = make_agent(recipe)
    stepper = DefaultOptimizationStepper()
    trainer = make_trainer(agent.loss, agent.optimizer, agent.policy, stepper=stepper)
    buffer = add_buffer(trainer)
    if agent.targets:
        add_targets(trainer)
    UpdateWeights(
        trainer.collector,
        1,
        weight_update_map={"policy": "loss_module.actor_network"},
        trainer=trainer,
    ).register(trainer)
    before = deepcopy(agent.state_dict())
    trainer.train()
    assert len(buffer) == 120
    trained = {name for name, _ in agent.trained_parameters()}
    for name, value in agent.state_dict().items():
        if name in trained or name.startswith("targets."):
            assert value.isfinite().all() and not torch.equal(value, before[name]), name
    losses = {f"loss_{loss.name}" for loss in agent.loss.losses}
    assert {*losses, "grad_norm"} <= trainer._log_dict.keys()


@pytest.mark.parametrize(
    "make_stepper",
    [lambda: None, DefaultOptimizationStepper],
    ids=["default", "with a stepper"],
)
def test_a_trainer_does_what_update_does(make_stepper):
    agent = make_agent("fql")
    for target in agent.targets.values():
        target.after_step = True  # as the hook does it
    other = deepcopy(agent)
    batches = []
    for _ in range(12):
        batch = transitions(16)
        for key, draw in agent.loss.draws().items():
            batch[key] = draw.sample((16,), dtype=torch.float32, device=torch.device("cpu"))
        batches.append(batch)
    trainer = make_trainer(agent.loss, agent.optimizer, agent.policy, stepper=make_stepper())
    add_targets(trainer)
    supply = iter(batches)
    trainer.register_op("process_optim_batch", lambda _: next(supply))
    trainer.train()
    for batch in batches:
        other.update(batch)
    for name, value in agent.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], msg=name)


@RECIPES
def test_a_trainers_state_holds_the_targets(recipe):
    agents = [make_agent(recipe) for _ in range(2)]
    trainers = [make_trainer(each.loss, each.optimizer, each.policy) for each in agents]
    if agents[0].targets:
        for trainer in trainers:
            updater = fp.PolyakUpdater(trainer.loss_module)
            trainer.register_module("targets", updater)
    with torch.no_grad():
        for number, parameter in enumerate(agents[0].parameters(), start=1):
            parameter.fill_(1 / number)
    if agents[0].targets:
        trainers[0]._modules["targets"].steps = 7
    trainers[1].load_state_dict(deepcopy(trainers[0].state_dict()))
    saved = agents[0].state_dict()
    for name, value in agents[1].state_dict().items():
        if name.startswith(("networks.", "targets.")):
            assert torch.equal(value, saved[name]), name
    if agents[0].targets:
        assert trainers[1]._modules["targets"].steps == 7


def test_a_trainer_trains_with_a_single_loss():
    field = fp.VelocityField(OBS_DIM, ACT_DIM, hidden=(16,))
    loss = fp.FlowMatchingLoss(field)
    before = deepcopy(field.state_dict())
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)
    trainer = make_trainer(loss, optimizer, fp.EulerSampler(field, steps=2))
    add_buffer(trainer)
    trainer.train()
    assert not any(torch.equal(value, before[key]) for key, value in field.state_dict().items())


def test_a_trainer_trains_critics_with_their_target():
    critic = fp.CriticEnsemble(OBS_DIM, ACT_DIM, hidden=(16,))
    target = fp.TargetNetwork(critic, tau=0.5)
    actor = fp.OneStepActor(OBS_DIM, ACT_DIM, hidden=(16,))
    loss = fp.TDLoss(critic, target, next_actor=actor)
    before = deepcopy([*critic.parameters()]), deepcopy([*actor.parameters()])
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)
    trainer = make_trainer(loss, optimizer, actor)
    add_buffer(trainer)
    add_targets(trainer)
    trainer.train()
    for new, slow, old in zip(critic.parameters(), target.parameters(), before[0], strict=True):
        assert not torch.equal(new, old)
        assert (new - slow).norm() < (new - old).norm()  # on its way, and close with this tau
        assert not torch.equal(slow, new)
    for new, old in zip(actor.parameters(), before[1], strict=True):
        assert torch.equal(new, old)


# The Trainer's own stepper hands losses with their graph to the logger.
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True to a scalar")
def test_a_trainer_logs_the_metrics_of_an_agent(tmp_path):
    agent = make_agent("fql")
    logger = CSVLogger(exp_name="fql", log_dir=str(tmp_path))
    trainer = make_trainer(
        agent.loss,
        agent.optimizer,
        agent.policy,
        stepper=DefaultOptimizationStepper(),
        logger=logger,
        log_interval=1,
    )
    trainer.train()
    logged = {path.stem for path in tmp_path.rglob("*.csv")}
    assert set(agent.loss.out_keys) <= logged
