"""Schedules, samplers and the like go on from a checkpoint, and nothing is left out in silence."""

from __future__ import annotations

import json
import warnings
from collections import Counter, OrderedDict
from enum import Enum

import pytest
import torch
from torch.optim import lr_scheduler as schedules

from flowpolicy.checkpoint import Checkpoints
from flowpolicy.checkpoint.agent_files import ENVIRONMENT
from flowpolicy.checkpoint.nested_state import joined_state, split_state
from flowpolicy.errors import CheckpointError
from tests.run.conftest import tiny_agent
from tests.run.learner import Learner


def started(seed: int, turns: int) -> Learner:
    learner = Learner(seed)
    for _ in range(turns):
        learner.turn()
    return learner


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Checkpoints, str]:
    """A checkpoint after 3 turns, and the digest 3 turns later."""
    checkpoints = Checkpoints(tmp_path_factory.mktemp("learner"))
    learner = started(0, 3)
    learner.agent.guard.load(2, 0)  # as if two updates had been skipped
    learner.save(checkpoints)
    for _ in range(3):
        learner.turn()
    return checkpoints, learner.digest()


def test_a_learner_goes_on_to_the_bit(saved):
    checkpoints, expected = saved
    other = started(1, 1)
    other.load(checkpoints)
    for _ in range(3):
        other.turn()
    assert other.digest() == expected


@pytest.mark.parametrize("dropped", Learner(0).parts())
def test_leaving_out_any_part_is_noticed(saved, dropped):
    checkpoints, expected = saved
    other = started(1, 1)
    before, restore = other.parts()[dropped]
    other.load(checkpoints)
    restore(before)
    for _ in range(3):
        other.turn()
    assert other.digest() != expected


def test_every_entry_of_the_checkpoint_is_a_part(saved):
    """A new file in a checkpoint wants a new part above."""
    files = set(saved[0].read().files)
    assert files == {
        "model.safetensors",  # networks, targets
        "optimizer.safetensors",  # moments
        "optimizer.json",  # learning rate
        "extras.json",  # schedule, sampler
        "extras.safetensors",
        "rng.safetensors",  # noise, generator, python, numpy, torch
        "state.json",  # step, skipped updates
        "config.json",  # none of these is taken back into a learner
        "data.json",
        "environment.json",
        "preprocessing.safetensors",
    }


# --- what a state may hold -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda o: schedules.CosineAnnealingLR(o, 10),
        lambda o: schedules.MultiStepLR(o, [2, 4, 4]),
        lambda o: schedules.OneCycleLR(o, 0.1, total_steps=20),
        schedules.ReduceLROnPlateau,
        lambda o: schedules.LambdaLR(o, lambda step: 0.9**step),
        lambda o: schedules.SequentialLR(
            o, [schedules.ConstantLR(o), schedules.ExponentialLR(o, 0.9)], milestones=[3]
        ),
    ],
)
def test_schedules_of_torch_come_back(tmp_path, make):
    def turn(agent, schedule):
        agent.optimizer.step()
        metric = (1.0,) if isinstance(schedule, schedules.ReduceLROnPlateau) else ()
        schedule.step(*metric)

    agent = tiny_agent(hidden=(4,))
    schedule = make(agent.optimizer)
    for _ in range(4):
        turn(agent, schedule)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(agent, extras={"schedule": schedule})
    other = tiny_agent(1, hidden=(4,))
    resumed = make(other.optimizer)
    checkpoints.load(other, extras={"schedule": resumed})
    assert repr(resumed.state_dict()) == repr(schedule.state_dict())
    for _ in range(3):
        turn(agent, schedule)
        turn(other, resumed)
        rates = [each.optimizer.param_groups[0]["lr"] for each in (agent, other)]
        assert rates[0] == rates[1]


def test_nested_states_come_back_as_they_were():
    state = {
        "numbers": [1, 2.5, True, None, float("inf"), "text"],
        "tuple": (1, (2, [3])),
        "keys": {0: "a", "0": "b"},
        "dollar": {"$tensor": "a text"},
        "ordered": OrderedDict([("z", 1), ("a", 2)]),
        "counter": Counter({3: 2}),
        "a/b": torch.tensor([1, 2]),
        "a": {"b": torch.tensor(True)},
    }
    value, tensors = split_state(state, "x")
    back = joined_state(json.loads(json.dumps(value)), tensors, "checkpoint")
    assert repr(back) == repr(state)
    with pytest.raises(CheckpointError, match="checkpoint: the tensor 'x/a/b' is missing"):
        joined_state(value, {}, "checkpoint")


class Holding:
    """An object whose state is what it holds."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


class Colour(Enum):
    RED = 1


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": [object()]}, "the state of x/a/0 is a object; a checkpoint holds tensors, numb"),
        ({"a": torch.Generator()}, "the state of x/a is a Generator"),
        ({"a": Colour.RED}, "the state of x/a is a Colour"),
        ({"a": {1.5: 0}}, "the state of x/a: the key 1.5 is a float"),
        ({"a": {True: 0}}, "the state of x/a: the key True is a bool"),
        ({"a": lambda: 0}, "the state of x/a is a function"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_refused(tmp_path, state, message):
    with pytest.raises(CheckpointError, match=message):
        Checkpoints(tmp_path).save(tiny_agent(hidden=(4,)), extras={"x": Holding(state)})
    assert list(tmp_path.iterdir()) == []


# --- what does not fit ---------------------------------------------------------------------------


def test_an_extra_that_was_not_saved_is_refused(saved):
    learner = started(1, 1)
    before = learner.digest()
    extras = {**learner.extras, "other": Holding(1)}
    with pytest.raises(CheckpointError, match="no state of 'other'; extras in it: 'schedule', 'sa"):
        saved[0].load(learner.agent, extras=extras)
    assert learner.digest() == before


def test_an_extra_that_is_left_out_is_named(saved):
    learner = started(1, 0)
    with pytest.warns(UserWarning, match="holds the state of 'sampler', which nothing takes back"):
        saved[0].load(learner.agent, extras={"schedule": learner.schedule})


def test_another_kind_of_schedule_is_refused(saved):
    learner = started(1, 1)
    before = learner.digest()
    wrong = schedules.CosineAnnealingLR(learner.agent.optimizer, 10)
    with pytest.raises(CheckpointError, match=r"'schedule' has the entries \[.*'gamma'.*Cosine"):
        saved[0].load(learner.agent, extras={**learner.extras, "schedule": wrong})
    assert learner.digest() == before


def test_an_extra_that_refuses_leaves_everything_as_it_was(saved):
    class Refusing(Holding):
        def state_dict(self):
            return dict.fromkeys(("len_storage", "_sample_list", "drop_last", "_ran_out"))

        def load_state_dict(self, state):
            if state["len_storage"] is not None:
                raise ValueError("no room")

    learner = started(1, 1)
    before, schedule = learner.digest(), dict(learner.schedule.state_dict())
    extras = {"schedule": learner.schedule, "sampler": Refusing(None)}
    with pytest.raises(CheckpointError, match=r"'sampler' does not take .* \(no room\); nothing"):
        saved[0].load(learner.agent, extras=extras)
    assert learner.digest() == before
    assert learner.schedule.state_dict() == schedule


def test_the_environment_is_told(saved):
    from flowpolicy.checkpoint.environment import differences, environment

    told = json.loads(saved[0].read().files[ENVIRONMENT])
    assert told == environment()
    assert told["packages"]["torch"] == torch.__version__
    before = {**told, "device": "H100", "packages": {**told["packages"], "numpy": "1.0"}}
    assert list(differences(before, told)) == [
        "device (H100, now cpu)",
        f"version of numpy (1.0, now {told['packages']['numpy']})",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(differences(told, told)) == []
