"""Every weight is at least 0, carries no gradient, and survives any temperature."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tensordict import TensorDict

import flowpolicy as fp
from tests.contracts.factories import ACT, SHAPES, Parts, build, cases, noise_for, observations

each_weight = pytest.mark.parametrize(("cls", "variant"), cases(fp.Weight))

AT_EQUAL_VALUES = {fp.ValueAwareWeight: 0.5, fp.AdvantageWeight: 1.0}
LARGEST = {fp.ValueAwareWeight: 1.0, fp.AdvantageWeight: 100.0 * (1 + 1e-6)}


def inputs(parts: Parts, *shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    action = torch.rand(*shape, ACT, generator=torch.Generator().manual_seed(4)) - 0.5
    return observations(*shape), action, noise_for(parts.actor, *shape)


def heads(parts: Parts) -> list[torch.nn.Module]:
    """The last layers of all that gives values."""
    return [network.net[-1] for network in (parts.critic, parts.target.network, parts.value)]


@each_weight
@pytest.mark.parametrize("shape", SHAPES)
def test_bounds_shape_and_no_gradient(cls, variant, shape) -> None:
    parts = Parts()
    weight = build(cls, variant, parts)
    g = weight.weight(*inputs(parts, *shape))
    assert g.shape == (*shape, 1)
    assert not g.requires_grad
    assert g.min() > 0
    assert g.max() <= LARGEST[cls]
    assert g.unique().numel() == g.numel()


@each_weight
def test_equal_values_weigh_alike(cls, variant) -> None:
    parts = Parts()
    with torch.no_grad():
        for head in heads(parts):
            head.weight.zero_()
            head.bias.fill_(-7.0)
    g = build(cls, variant, parts).weight(*inputs(parts, 5))
    assert torch.equal(g, torch.full((5, 1), AT_EQUAL_VALUES[cls]))


@each_weight
@pytest.mark.parametrize("magnitude", [1e-6, 1.0, 1e6])
def test_the_coldest_temperature_neither_overflows_nor_gives_nan(cls, variant, magnitude) -> None:
    parts = Parts()
    with torch.no_grad():
        for head in heads(parts):
            head.weight.mul_(magnitude)
            head.bias.mul_(magnitude)
    g = build(cls, variant, parts, temperature=1e-6).weight(*inputs(parts, 256))
    assert g.isfinite().all()
    assert g.min() >= 0
    assert g.max() <= LARGEST[cls]
    if magnitude == 1e6:  # nearly binary
        assert ((g < 1e-3) | (g > 0.999 * LARGEST[cls])).all()


@each_weight
def test_better_actions_weigh_more(cls, variant) -> None:
    """The weight grows with the target's value of the data action, all else being equal."""
    parts = Parts()
    weight = build(cls, variant, parts)
    s, _, z = inputs(parts, 1)
    actions = torch.rand(64, ACT, generator=torch.Generator().manual_seed(0)) * 2 - 1
    s, z = s.expand(64, -1), z.expand(64, -1)
    critic = fp.frozen(parts.critic if (cls, variant) == (fp.AdvantageWeight, "") else parts.target)
    order = critic.values(s, actions).mean(0).flatten().argsort()
    g = weight.weight(s, actions, z).flatten()[order]
    assert (g.diff() >= 0).all()
    assert g[-1] > g[0]


@each_weight
def test_the_tensordict_call_is_the_tensor_call(cls, variant) -> None:
    parts = Parts()
    weight = build(cls, variant, parts)
    s, a, z = inputs(parts, 4)
    td = TensorDict(observation=s, action=a, noise=z, batch_size=[4])
    assert weight(td) is td
    assert set(td.keys()) == {"observation", "action", "noise", "weight"}
    assert torch.equal(td["weight"], weight.weight(s, a, z))


@each_weight
def test_absent_noise_is_drawn_and_not_written(cls, variant) -> None:
    parts = Parts()
    weight = build(cls, variant, parts)
    s, a, _ = inputs(parts, 4)
    torch.manual_seed(1)
    td = weight(TensorDict(observation=s, action=a, batch_size=[4]))
    assert set(td.keys()) == {"observation", "action", "weight"}
    torch.manual_seed(1)
    noise = parts.actor.draw_noise(s) if weight.draws(fp.BatchKeys()) else None
    assert torch.equal(td["weight"], weight.weight(s, a, noise))


@each_weight
def test_it_owns_no_network_and_its_temperature_is_a_buffer(cls, variant) -> None:
    parts = Parts()
    weight = build(cls, variant, parts)
    given = inputs(parts, 4)
    assert list(weight.parameters()) == []
    assert list(weight.state_dict()) == ["temperature"]
    before = weight.weight(*given)
    weight.temperature.fill_(1e6)
    assert torch.allclose(
        weight.weight(*given), torch.full((4, 1), AT_EQUAL_VALUES[cls]), atol=1e-4
    )
    assert not torch.equal(before, weight.weight(*given))


@each_weight
def test_it_can_be_copied(cls, variant) -> None:
    parts = Parts()
    weight = build(cls, variant, parts)
    given = inputs(parts, 4)
    for other in (copy.deepcopy(weight), pickle.loads(pickle.dumps(weight))):
        assert torch.equal(other.weight(*given), weight.weight(*given))


@each_weight
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_an_impossible_temperature_is_refused(cls, variant, temperature) -> None:
    with pytest.raises(
        fp.ConfigError, match=f"{cls.__name__}: temperature must be a finite number above 0"
    ):
        build(cls, variant, temperature=temperature)


@each_weight
def test_missing_entries_are_refused(cls, variant) -> None:
    weight = build(cls, variant)
    with pytest.raises(
        fp.MissingKeyError, match=r"the batch has no 'action'; it has \['noise', 'observation'\]"
    ):
        weight(TensorDict(observation=observations(4), noise=torch.zeros(4, ACT), batch_size=[4]))
    with pytest.raises(
        fp.MissingKeyError, match=r"the batch has no 'observation'; it has \['action'\]"
    ):
        weight(TensorDict(action=torch.zeros(4, ACT), batch_size=[4]))
