"""Every actor maps (observation, noise) to an action, by tensors and by TensorDicts alike."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torch.testing import assert_close
from torchrl.envs.utils import ExplorationType, set_exploration_type

import flowpolicy as fp
from tests.contracts.factories import (
    ACT,
    OBS,
    SHAPES,
    build,
    cases,
    implementations,
    noise_for,
    observations,
)

FINAL = ("act", "forward", "draw_noise")
each_actor = pytest.mark.parametrize(("cls", "variant"), cases(fp.Actor))


@each_actor
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_determinism_given_the_noise(cls, variant, shape) -> None:
    actor = build(cls, variant)
    s, z = observations(*shape), noise_for(actor, *shape)
    action = actor.act(s, z)
    assert action.shape == (*shape, ACT)
    assert torch.equal(action, actor.act(s, z))
    assert torch.equal(action, actor.raw(s, z).clamp(-1, 1))
    other = actor.act(s, noise_for(actor, *shape, seed=2))
    assert torch.equal(action, other) == (not actor.is_random)
    assert not torch.equal(action, actor.act(observations(*shape, seed=3), z))


def overridden(cls: type[fp.Actor]) -> list[str]:
    """Which of an actor's final methods a class has changed."""
    return [name for name in FINAL if getattr(cls, name) is not getattr(fp.Actor, name)]


@pytest.mark.parametrize("cls", implementations(fp.Actor))
def test_an_implementation_gives_raw_and_leaves_the_final_methods(cls) -> None:
    assert overridden(cls) == []
    assert cls.raw is not fp.Actor.raw


def test_the_final_methods_are_marked_and_a_change_is_noticed() -> None:
    assert all(getattr(fp.Actor, name).__final__ for name in FINAL)
    stray = type("Stray", (fp.Actor,), {"raw": None, "act": lambda *_: None})
    assert overridden(stray) == ["act"]


@each_actor
def test_actions_stay_in_the_box(cls, variant) -> None:
    actor = build(cls, variant)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.mul_(20)
    action = actor.act(observations(64), noise_for(actor, 64))
    assert action.abs().max() == 1  # clipped, so the test above it had something to do


@each_actor
def test_noise_is_drawn_in_the_declared_shape_from_the_given_generator(cls, variant) -> None:
    actor = build(cls, variant)
    assert actor.noise_draw == fp.Draw(actor.noise_shape, fp.GaussianNoise())
    s = observations(2, 3, dtype=torch.float64)
    first, again = (actor.draw_noise(s, torch.Generator().manual_seed(5)) for _ in range(2))
    assert first.shape == (2, 3, *actor.noise_shape)
    assert first.dtype == torch.float64
    assert torch.equal(first, again)


@each_actor
@pytest.mark.parametrize("shape", SHAPES)
def test_the_tensordict_call_is_the_tensor_call(cls, variant, shape) -> None:
    actor = build(cls, variant)
    s, z = observations(*shape), noise_for(actor, *shape)
    td = TensorDict(observation=s, noise=z, batch_size=shape)
    out = actor(td)
    assert out is td
    assert set(td.keys()) == {"observation", "noise", "action"}
    assert torch.equal(td["action"], actor.act(s, z))
    assert torch.equal(td["noise"], z)
    assert torch.equal(actor(observation=s, noise=z), td["action"])


@each_actor
def test_absent_noise_is_drawn_and_not_written(cls, variant) -> None:
    actor = build(cls, variant)
    s = observations(4)
    torch.manual_seed(3)
    td = actor(TensorDict(observation=s, batch_size=[4]))
    assert set(td.keys()) == {"observation", "action"}
    torch.manual_seed(3)
    assert torch.equal(td["action"], actor.act(s, actor.draw_noise(s)))
    other = actor(TensorDict(observation=s, batch_size=[4]))["action"]
    assert torch.equal(td["action"], other) == (not actor.is_random)


def test_an_actor_without_noise_leaves_that_of_others_alone() -> None:
    for actor in (build(fp.DeterministicActor), build(fp.ModeActor)):
        s, z = observations(4), torch.randn(4, ACT)
        td = actor(TensorDict(observation=s, noise=z, batch_size=[4]))
        assert torch.equal(td["action"], actor.act(s, actor.no_noise(s)))
        assert torch.equal(td["noise"], z)


@each_actor
def test_a_deterministic_exploration_type_asks_for_the_mode(cls, variant) -> None:
    actor = build(cls, variant)
    s, z = observations(4), noise_for(actor, 4)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        given = actor(TensorDict(observation=s, noise=z, batch_size=[4]))["action"]
        drawn = [actor(TensorDict(observation=s, batch_size=[4]))["action"] for _ in range(2)]
    assert torch.equal(given, actor.act(s, z))
    assert torch.equal(*drawn) == (not actor.mode.is_random)


def test_the_shape_of_noise_may_be_a_list() -> None:
    class Listed(fp.OneStepActor):
        def __init__(self) -> None:
            fp.Actor.__init__(self, OBS, 2, [2])

    assert Listed().noise_shape == (2,)


@each_actor
def test_wrong_shapes_are_refused(cls, variant) -> None:
    actor = build(cls, variant)
    s, z = observations(4), noise_for(actor, 4)
    with pytest.raises(
        fp.ShapeError, match=rf"'observation' must be \[\*B, {OBS}\], got \[4, {OBS + 1}\]"
    ):
        actor.act(torch.zeros(4, OBS + 1), z)
    expected = ", ".join(map(str, (4, *actor.noise_shape)))
    with pytest.raises(
        fp.ShapeError,
        match=rf"'noise' must be \[{expected}\] for observations \[4, 3\], got .*actor\.draw_noise",
    ):
        actor.act(s, torch.zeros(4, 7))
    with pytest.raises(fp.ShapeError, match=rf"'noise' must be \[{expected}\]"):
        actor.act(s, noise_for(actor, 1))  # would broadcast


@each_actor
def test_a_missing_observation_is_refused(cls, variant) -> None:
    actor = build(cls, variant)
    with pytest.raises(
        fp.MissingKeyError, match=r"the batch has no 'observation'; it has \['obs'\]"
    ):
        actor(TensorDict(obs=observations(4), batch_size=[4]))


@each_actor
def test_keys_can_be_renamed(cls, variant) -> None:
    actor = build(cls, variant)
    s, z = observations(4), noise_for(actor, 4)
    assert actor.set_keys(observation=("agent", "obs"), noise="z", action=("agent", "act")) is actor
    td = TensorDict({"agent": {"obs": s}, "z": z}, batch_size=[4])
    assert torch.equal(actor(td)["agent", "act"], actor.act(s, z))
    assert (actor.in_keys, actor.out_keys) == ([("agent", "obs"), "z"], [("agent", "act")])


@each_actor
def test_gradient_reaches_the_noise(cls, variant) -> None:
    actor = build(cls, variant)
    z = (0.1 * noise_for(actor, 16)).requires_grad_()
    actor.act(0.1 * observations(16), z).sum().backward()
    assert not actor.is_random or z.grad.abs().sum() > 0


@each_actor
def test_a_frozen_actor_acts_alike_and_gets_no_gradient(cls, variant) -> None:
    actor = build(cls, variant)
    s, z = observations(4).requires_grad_(), noise_for(actor, 4).requires_grad_()
    action = fp.frozen(actor).act(s, z)
    assert torch.equal(action, actor.act(s, z))
    action.sum().backward()
    assert all(parameter.grad is None for parameter in actor.parameters())


@each_actor
def test_it_can_be_copied_saved_and_cast(cls, variant) -> None:
    actor = build(cls, variant)
    s, z = observations(4), noise_for(actor, 4)
    action = actor.act(s, z)
    buffer = io.BytesIO()
    torch.save(actor.state_dict(), buffer)
    buffer.seek(0)
    fresh = build(cls, variant)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    for other in (copy.deepcopy(actor), pickle.loads(pickle.dumps(actor)), fresh):
        assert torch.equal(other.act(s, z), action)
        assert not {id(p) for p in other.parameters()} & {id(p) for p in actor.parameters()}
    double = copy.deepcopy(actor).double().act(s.double(), z.double())
    assert double.dtype == torch.float64
    assert_close(double.float(), action, rtol=1e-5, atol=1e-6)


@each_actor
def test_a_bellman_target_asks_at_the_next_observation(cls, variant) -> None:
    actor = build(cls, variant)
    s, s_next, z = observations(4), observations(4, seed=9), noise_for(actor, 4)
    asked = s if cls is fp.FromCurrentObservation else s_next
    assert torch.equal(actor.bootstrap(s, s_next, z), actor.act(asked, z))


@each_actor
@settings(derandomize=True, deadline=None, max_examples=15)
@given(order=st.permutations(range(6)))
def test_rows_of_a_batch_do_not_know_of_each_other(cls, variant, order) -> None:
    actor = build(cls, variant).double()
    s, z = observations(6, dtype=torch.float64), noise_for(actor, 6, dtype=torch.float64)
    together = actor.act(s, z)
    assert_close(actor.act(s[order], z[order]), together[order], rtol=1e-12, atol=1e-12)
    assert_close(actor.act(s[order[0]], z[order[0]]), together[order[0]], rtol=1e-12, atol=1e-12)


@each_actor
@pytest.mark.compile
def test_it_compiles_without_a_break(cls, variant) -> None:
    torch._dynamo.reset()
    actor = build(cls, variant)
    s, z = observations(4), noise_for(actor, 4)
    assert_close(
        torch.compile(actor.act, fullgraph=True, backend="eager")(s, z),
        actor.act(s, z),
        rtol=0,
        atol=0,
    )
