from __future__ import annotations

import math

import torch

import flowpolicy as fp


def test_it_bootstraps_as_the_wrapped_actor_does() -> None:
    jump = fp.JumpSampler(fp.NoisePredictor(3, 2, hidden=(8,), steps=4), limit=math.inf)
    s, s_next, z = torch.randn(5, 3), torch.randn(5, 3), 3 * torch.randn(5, 4, 2)
    unclipped = jump.raw(s, z)
    assert (unclipped.abs() > 1).any()
    assert torch.equal(fp.FromCurrentObservation(jump).bootstrap(s, s_next, z), unclipped)


def test_a_loss_on_its_action_trains_what_one_on_the_wrapped_actors_does() -> None:
    flow = fp.EulerSampler(fp.VelocityField(3, 2, hidden=(8,)), steps=2)
    edited = fp.EditActor(flow, fp.GaussianActor(5, 2, hidden=(8,)), scale=0.1)
    assert fp.FromCurrentObservation(edited).trained is edited.edit


def test_its_mode_is_that_of_the_wrapped_actor() -> None:
    actor = fp.GaussianActor(3, 2, hidden=(8,))
    s = torch.randn(5, 3)
    mode = fp.FromCurrentObservation(actor).mode
    assert torch.equal(mode.act(s, torch.zeros(5, 0)), actor.mode.act(s, torch.zeros(5, 0)))
