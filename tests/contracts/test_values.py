"""Every network that gives values does so for any batch, by tensors and by TensorDicts alike."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModuleBase
from torch.testing import assert_close

import flowpolicy as fp
from tests.contracts.factories import ACT, OBS, SHAPES, build, cases, observations, variants

# A target has the methods of what it copies.
ALL = [*cases(TensorDictModuleBase, having="values"), *variants(fp.TargetNetwork)]
each_network = pytest.mark.parametrize(("cls", "variant"), ALL)


def inputs(network, *shape: int) -> dict[str, torch.Tensor]:
    """What a value network reads: the observation, and for critics the action."""
    values = {"observation": observations(*shape)}
    if "action" in network.in_keys:
        values["action"] = torch.rand(*shape, ACT, generator=torch.Generator().manual_seed(2)) - 0.5
    return values


def test_the_known_ones_are_found() -> None:
    assert {case.values[0] for case in ALL} == {
        fp.CriticEnsemble,
        fp.NoisyCriticEnsemble,
        fp.TargetNetwork,
        fp.ValueNetwork,
    }


@each_network
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_the_tensordict_call(cls, variant, shape) -> None:
    network = build(cls, variant)
    given = inputs(network, *shape)
    values = network.values(*given.values())
    td = network(TensorDict(given, batch_size=shape))
    assert set(td.keys()) == {*given, *network.out_keys}
    if "action" in given:
        assert values.shape[1:] == (*shape, 1)
        assert torch.equal(td["state_action_values"], values.squeeze(-1).movedim(0, -1))
        assert torch.equal(td["state_action_value"], values.mean(0))
    else:
        assert values.shape == (*shape, 1)
        assert torch.equal(td["state_value"], values)


@each_network
def test_rows_of_a_batch_do_not_know_of_each_other(cls, variant) -> None:
    network = build(cls, variant).double()
    given = {key: value.double() for key, value in inputs(network, 2, 3).items()}
    together = network.values(*given.values())
    alone = network.values(*(value[1, 2] for value in given.values()))
    assert_close(together[..., 1, 2, :], alone, rtol=1e-12, atol=1e-12)


@each_network
def test_wrong_shapes_are_refused(cls, variant) -> None:
    network = build(cls, variant)
    given = inputs(network, 4)
    with pytest.raises(
        fp.ShapeError, match=rf"'observation' must be \[\*B, {OBS}\], got \[4, {OBS + 2}\]"
    ):
        network.values(*{**given, "observation": torch.zeros(4, OBS + 2)}.values())
    if "action" in given:
        with pytest.raises(
            fp.ShapeError, match=rf"'action' must be \[\*B, {ACT}\], got \[4, {ACT + 1}\]"
        ):
            network.values(given["observation"], torch.zeros(4, ACT + 1))
        with pytest.raises(
            fp.ShapeError, match=r"'observation' has batch shape \[4\] but 'action' has \[1\]"
        ):
            network.values(given["observation"], torch.zeros(1, ACT))


@each_network
def test_a_missing_entry_is_refused_by_name(cls, variant) -> None:
    with pytest.raises(KeyError, match=r"the batch has no 'observation'; it has \['obs'\]"):
        build(cls, variant)(TensorDict(obs=observations(4), batch_size=[4]))


@each_network
def test_it_can_be_copied_saved_and_cast(cls, variant) -> None:
    network = build(cls, variant)
    given = inputs(network, 4).values()
    values = network.values(*given)
    fresh = build(cls, variant)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    fresh.load_state_dict(network.state_dict())
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), fresh):
        assert torch.equal(other.values(*given), values)
    double = copy.deepcopy(network).double().values(*(value.double() for value in given))
    assert_close(double.float(), values, rtol=1e-5, atol=1e-5)


@each_network
def test_a_frozen_view_passes_gradient_to_its_inputs_alone(cls, variant) -> None:
    network = build(cls, variant)
    given = [value.requires_grad_() for value in inputs(network, 4).values()]
    values = fp.frozen(network).values(*given)
    assert torch.equal(values, network.values(*given))
    values.sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in given)
    assert all(parameter.grad is None for parameter in network.parameters())
