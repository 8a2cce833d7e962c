"""Every loss trains exactly its network, given a batch that it leaves alone."""

from __future__ import annotations

import copy
import pickle
from itertools import chain

import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from tests.contracts.factories import OBS, Parts, build, cases, equal_trees, transitions, with_noise

each_loss = pytest.mark.parametrize(("cls", "variant"), cases(fp.Loss))


def made(cls, variant, *shape: int, **options) -> tuple[fp.Loss, TensorDict, Parts]:
    """A loss, a batch with its draws, and the networks around it."""
    parts = Parts()
    loss = build(cls, variant, parts, **options)
    return loss, with_noise(transitions(*(shape or (8,))), loss.draws()), parts


def value_of(loss: fp.Loss, batch: TensorDict) -> torch.Tensor:
    return loss(batch)[f"loss_{loss.name}"]


# -- what comes out ----------------------------------------------------------------------------


@each_loss
def test_one_loss_and_detached_metrics(cls, variant) -> None:
    loss, batch, _ = made(cls, variant)
    out = loss(batch)
    assert out.batch_size == ()
    assert set(out.keys()) == set(loss.out_keys)
    (name,) = [key for key in out.keys() if key.startswith("loss")]  # noqa: SIM118
    assert name == f"loss_{loss.name}"
    assert out[name].requires_grad
    for key, value in out.items():
        assert value.shape == ()
        assert value.isfinite()
        assert key == name or (key.startswith(f"{loss.name}_") and not value.requires_grad)


@each_loss
@pytest.mark.parametrize("draws", ["given", "drawn"])
def test_the_batch_is_left_alone(cls, variant, draws) -> None:
    loss, batch, _ = made(cls, variant)
    if draws == "drawn":
        batch = transitions(8)
    before = batch.clone()
    loss(batch)
    assert equal_trees(batch, before)


@each_loss
def test_draws_in_the_batch_decide_and_absent_ones_are_drawn(cls, variant) -> None:
    loss, batch, _ = made(cls, variant)
    assert torch.equal(value_of(loss, batch), value_of(loss, batch))
    bare = transitions(8)
    torch.manual_seed(1)
    first, second = value_of(loss, bare), value_of(loss, bare)
    torch.manual_seed(1)
    assert torch.equal(first, value_of(loss, bare))
    assert torch.equal(first, second) == (not loss.draws())
    for key in loss.draws():  # each is used
        other = batch.clone()
        other[key] = other[key].flip(0)
        assert not torch.equal(value_of(loss, other), value_of(loss, batch)), key


@each_loss
def test_keywords_are_the_tensordict_call(cls, variant) -> None:
    loss, batch, _ = made(cls, variant)
    out = loss(batch)
    given = {"_".join(key) if isinstance(key, tuple) else key: batch[key] for key in loss.in_keys}
    results = loss(**given)
    results = results if isinstance(results, tuple) else (results,)
    for key, value in zip(loss.out_keys, results, strict=True):
        assert torch.equal(value, out[key])


@each_loss
def test_outputs_can_be_selected(cls, variant) -> None:
    loss, batch, _ = made(cls, variant)
    expected = value_of(loss, batch)
    name = f"loss_{loss.name}"
    loss.select_out_keys(name)
    out = loss(batch)
    assert list(out.keys()) == [name]
    assert torch.equal(out[name], expected)


# -- layouts -----------------------------------------------------------------------------------


@each_loss
def test_batches_of_any_layout(cls, variant) -> None:
    loss, batch, _ = made(cls, variant, 2, 3)
    assert_close(value_of(loss, batch), value_of(loss, batch.reshape(6)), rtol=1e-6, atol=1e-6)
    per_sample = build(cls, variant, reduction="none")(batch)[f"loss_{loss.name}"]
    assert per_sample.shape == (2, 3, 1)


@each_loss
def test_float64(cls, variant) -> None:
    loss, batch, parts = made(cls, variant)
    single = loss(batch)
    parts.double()
    double = loss.double()(batch.apply(lambda x: x.double() if x.is_floating_point() else x))
    for key in loss.out_keys:
        assert double[key].dtype == torch.float64
        assert_close(double[key].float(), single[key], rtol=1e-4, atol=1e-5)


@each_loss
def test_reductions_agree(cls, variant) -> None:
    values = {r: value_of(*made(cls, variant, reduction=r)[:2]) for r in ("none", "sum", "mean")}
    assert values["none"].shape == (8, 1)
    assert_close(values["none"].sum(), values["sum"])
    assert_close(values["none"].mean(), values["mean"])


def test_masks_and_weights_of_a_sum_are_those_of_its_losses() -> None:
    p = Parts()
    loss = fp.SumLoss(
        [fp.FlowMatchingLoss(p.field), fp.TDLoss(p.critic, next_value=p.value)], p.actor
    )
    batch = with_noise(transitions(8), loss.draws())
    exact = loss(batch)
    batch["validity_mask"] = torch.tensor([1, 0] * 4, dtype=torch.bool)
    batch["priority_weight"] = torch.rand(8)
    assert loss.loss_mask_key == "auto" and loss.use_prioritized_weights == "auto"
    loss.use_prioritized_weights = False
    for name in ("loss_flow", "loss_qvalue"):
        assert loss(batch)[name] == exact[name]
    loss.loss_mask_key = "validity_mask"
    for name in ("loss_flow", "loss_qvalue"):
        assert_close(loss(batch)[name], loss(batch[::2])[name])
        assert loss(batch)[name] != exact[name]


@each_loss
def test_a_mask_of_torchrl_leaves_rows_out(cls, variant) -> None:
    mask = torch.tensor([1, 0, 1, 1, 0, 1, 1, 0], dtype=torch.bool)
    values = {}
    for reduction in ("none", "sum", "mean"):
        loss, batch, _ = made(cls, variant, reduction=reduction)
        batch["collector", "mask"] = mask
        if loss.has_batch_statistic:  # padding would enter it
            with pytest.raises(fp.ConfigError, match=r"padded rows .* would enter its scale"):
                loss(batch)
            loss(batch[mask].exclude(("collector", "mask")))  # as the message says
            return
        values[reduction] = value_of(loss, batch)
    assert (values["none"][~mask] == 0).all()
    assert (values["none"][mask] != 0).all()
    assert_close(values["sum"], values["none"].sum())
    assert_close(values["mean"], values["none"].sum() / 5)


@each_loss
def test_priority_weights_count_rows(cls, variant) -> None:
    loss, batch, _ = made(cls, variant)
    per_sample = value_of(*made(cls, variant, reduction="none")[:2])
    weights = torch.linspace(0.1, 2.0, 8)
    batch["priority_weight"] = weights
    expected = (per_sample.flatten() * weights).sum() / weights.sum()  # as in TorchRL's own losses
    assert_close(value_of(loss, batch), expected)
    batch["collector", "weight"] = batch.pop("priority_weight")
    loss.set_keys(priority_weight=("collector", "weight"))
    assert_close(value_of(loss, batch), expected)


# -- keys --------------------------------------------------------------------------------------


def renamed(batch: TensorDict, names: dict[str, object]) -> TensorDict:
    """The batch under other names, at the root and under ``next``."""
    out = TensorDict({}, batch_size=batch.batch_size)
    for key, value in batch.items(include_nested=True, leaves_only=True):
        *prefix, last = key if isinstance(key, tuple) else (key,)
        new = names.get(last, last)
        out[(*prefix, *(new if isinstance(new, tuple) else (new,)))] = value
    return out


@each_loss
@pytest.mark.parametrize("prefix", [(), ("agent",), ("a", "b")])
def test_every_key_can_be_renamed(cls, variant, prefix) -> None:
    loss, batch, _ = made(cls, variant)
    expected = value_of(loss, batch)
    keys = ("observation", "action", "reward", "terminated", "noise", "path_noise", "x0", "time")
    names = {key: (*prefix, f"my_{key}") if prefix else f"my_{key}" for key in keys}
    loss.set_keys(**names)
    assert torch.equal(value_of(loss, renamed(batch, names)), expected)
    assert all(key in renamed(batch, names).keys(include_nested=True) for key in loss.in_keys)


@each_loss
def test_an_unknown_key_is_refused(cls, variant) -> None:
    loss, _, _ = made(cls, variant)
    with pytest.raises(ValueError, match="colour is not an accepted tensordict key"):
        loss.set_keys(colour="red")


@each_loss
def test_a_missing_entry_is_refused_by_name(cls, variant) -> None:
    loss, batch, _ = made(cls, variant)
    for key in loss.reads:
        with pytest.raises(fp.MissingKeyError) as caught:
            loss(batch.exclude(key))
        assert f"the batch has no {key!r}; it has [" in str(caught.value)
        assert "Add it, or name it with set_keys." in str(caught.value)


@each_loss
def test_wrong_shapes_are_refused(cls, variant) -> None:
    loss, batch, _ = made(cls, variant)
    batch["observation"] = torch.zeros(8, OBS + 1)
    with pytest.raises(
        fp.ShapeError, match=rf"'?observation'? must be \[\*B, {OBS}\], got \[8, {OBS + 1}\]"
    ):
        loss(batch)


# -- who is trained ----------------------------------------------------------------------------


@each_loss
def test_only_the_named_network_is_its_own_and_gets_gradient(cls, variant) -> None:
    loss, batch, parts = made(cls, variant)
    own = {id(p) for p in loss.network.parameters()}
    assert {id(p) for p in loss.parameters()} == own
    value_of(loss, batch).backward()
    for name, parameter in parts.networks.named_parameters():
        if id(parameter) not in own:
            assert parameter.grad is None, name
    gradients = [p.grad for p in loss.network.parameters()]
    assert all(g is not None for g in gradients)
    assert sum(g.abs().sum() for g in gradients) > 0
    assert all(
        p in own
        for p in map(
            id, chain(*(g["params"] for g in torch.optim.SGD(loss.parameters()).param_groups))
        )
    )


@each_loss
def test_networks_that_are_trained_beside_it_get_no_gradient_from_it(cls, variant) -> None:
    """Losses share what networks made of a batch, with gradient to all that some loss trains."""
    loss, batch, parts = made(cls, variant)
    parts.networks.requires_grad_(True)  # even a target's would show
    every = [part for part in vars(parts).values() if isinstance(part, torch.nn.Module)]
    evaluated = EvaluatedBatch(batch, loss.tensor_keys, live=every)
    loss.evaluate(evaluated)[f"loss_{loss.name}"].backward()
    own = {id(p) for p in loss.network.parameters()}
    for name, parameter in parts.networks.named_parameters():
        if id(parameter) not in own:
            assert parameter.grad is None, name


@each_loss
def test_the_coefficient_multiplies_and_can_be_scheduled(cls, variant) -> None:
    loss, batch, _ = made(cls, variant)
    one = value_of(loss, batch).item()
    three = value_of(*made(cls, variant, coefficient=3.0)[:2]).item()
    assert three == pytest.approx(3 * one, rel=1e-6)
    buffer = loss.coefficient
    loss.coefficient = 3.0
    assert loss.coefficient is buffer  # in place, so a compiled graph sees it too
    assert value_of(loss, batch).item() == three


@each_loss
def test_training_its_network_lowers_it(cls, variant) -> None:
    loss, batch, _ = made(cls, variant)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    before = value_of(loss, batch).item()
    for _ in range(30):
        optimizer.zero_grad()
        value_of(loss, batch).backward()
        optimizer.step()
    assert value_of(loss, batch).item() < before


# -- as an object ------------------------------------------------------------------------------


@each_loss
def test_copies_give_the_same_numbers(cls, variant) -> None:
    loss, batch, _ = made(cls, variant)
    expected = loss(batch)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert equal_trees(other(batch), expected)
        assert not {id(p) for p in other.parameters()} & {id(p) for p in loss.parameters()}


@each_loss
def test_the_state_dict_holds_the_network_the_targets_and_the_coefficient(cls, variant) -> None:
    loss, _, _ = made(cls, variant, coefficient=2.5)
    fresh, _, _ = made(cls, variant)
    ours, theirs = (
        [*each.parameters(), *(p for t in each.target_networks() for p in t.parameters())]
        for each in (fresh, loss)
    )
    with torch.no_grad():
        for parameter in ours:
            parameter.zero_()
    fresh.load_state_dict(loss.state_dict())
    assert float(fresh.coefficient) == 2.5
    for our, their in zip(ours, theirs, strict=True):
        assert torch.equal(our, their)
    parameters = dict(loss.named_parameters())
    state = {key for key in loss.state_dict() if not key.startswith("target_networks.")}
    buffers = state - set(parameters)
    assert "coefficient" in buffers
    assert buffers <= {"coefficient", "temperature", "weight.temperature"}


@each_loss
def test_it_says_its_name_coefficient_and_reduction(cls, variant) -> None:
    loss, _, _ = made(cls, variant, name="mine", coefficient=2.5, reduction="sum")
    assert cls.__name__ in repr(loss)
    assert "name='mine', coefficient=2.5, reduction='sum'" in repr(loss)
    assert loss.out_keys[0] == "loss_mine"


@each_loss
@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_an_impossible_coefficient_is_refused(cls, variant, value) -> None:
    with pytest.raises(
        fp.ConfigError, match=f"{cls.__name__}: coefficient must be finite and at least 0"
    ):
        build(cls, variant, coefficient=value)


@each_loss
def test_an_unknown_reduction_is_refused(cls, variant) -> None:
    message = f"{cls.__name__}: reduction must be 'mean', 'sum' or 'none', got 'median'"
    with pytest.raises(fp.ConfigError, match=message):
        build(cls, variant, reduction="median")


@each_loss
def test_a_name_whose_metrics_would_be_summed_is_refused(cls, variant) -> None:
    """TorchRL's trainers take every entry that begins so for a loss."""
    with pytest.raises(fp.ConfigError, match=f"{cls.__name__}: name must not begin with 'loss'"):
        build(cls, variant, name="lossy")


@each_loss
@pytest.mark.compile
def test_it_compiles_without_a_break(cls, variant) -> None:
    torch._dynamo.reset()
    loss, batch, _ = made(cls, variant)
    eager = value_of(loss, batch)
    eager.backward()
    expected = [p.grad.clone() for p in loss.parameters()]
    loss.zero_grad()
    compiled = torch.compile(loss, fullgraph=True, backend="eager")(batch)
    assert set(compiled.keys()) == set(loss.out_keys)
    compiled[f"loss_{loss.name}"].backward()
    assert_close(compiled[f"loss_{loss.name}"], eager, rtol=1e-6, atol=1e-6)
    for parameter, gradient in zip(loss.parameters(), expected, strict=True):
        assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-6)
