"""A frozen view follows the live parameters and keeps gradient from them."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import torch
from torch import nn

import flowpolicy as fp
from flowpolicy.modules.frozen import frozen, is_frozen, unfrozen


def test_it_follows_the_live_parameters() -> None:
    actor = fp.OneStepActor(3, 2, hidden=(8,))
    view = fp.frozen(actor)
    s, z = torch.randn(4, 3), torch.randn(4, 2)
    with torch.no_grad():
        actor.net[-1].bias.add_(0.1)
    assert torch.equal(view.act(s, z), actor.act(s, z))


def test_it_is_no_module_and_registers_nothing() -> None:
    holder = torch.nn.Module()
    holder.teacher = fp.frozen(fp.OneStepActor(3, 2, hidden=(8,)))
    assert list(holder.parameters()) == []
    assert holder.state_dict() == {}


def test_freezing_twice_is_freezing_once() -> None:
    actor = fp.OneStepActor(3, 2, hidden=(8,))
    view = fp.frozen(actor)
    assert fp.frozen(view) is view
    assert unfrozen(view) is actor
    assert unfrozen(actor) is actor
    assert (is_frozen(view), is_frozen(actor)) == (True, False)


def test_it_has_the_attributes_of_the_module() -> None:
    view = fp.frozen(fp.OneStepActor(3, 2, hidden=(8,)))
    assert (view.obs_dim, view.act_dim, view.noise_shape) == (3, 2, (2,))
    assert repr(view).startswith("frozen(OneStepActor(")


def test_copies_keep_the_module_that_is_copied_with_them() -> None:
    actor = fp.OneStepActor(3, 2, hidden=(8,))
    pair = [actor, fp.frozen(actor)]
    for copied, view in (copy.deepcopy(pair), pickle.loads(pickle.dumps(pair))):
        assert unfrozen(view) is copied
        assert copied is not actor


def test_a_part_that_stands_under_two_names_stays_a_parameter() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 2)
            self.parts = nn.ModuleList([self.first])

        def forward(self, x):
            return self.parts[0](self.first(x))

    module, x = Twice(), torch.randn(3, 2, requires_grad=True)
    frozen(module)(x).sum().backward()
    assert isinstance(module.first.weight, nn.Parameter)
    assert x.grad is not None and all(p.grad is None for p in module.parameters())


def test_a_method_that_was_replaced_is_frozen_too() -> None:
    critic = fp.CriticEnsemble(3, 2, hidden=(8,))
    critic.values = partial(critic.values)  # no method, as what torch.compile gives is none
    action = torch.zeros(1, 2, requires_grad=True)
    frozen(critic).values(torch.zeros(1, 3), action).sum().backward()
    assert action.grad is not None and all(p.grad is None for p in critic.parameters())
