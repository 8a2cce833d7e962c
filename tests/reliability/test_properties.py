"""What holds whatever the numbers are."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.agents import RECIPES, recipe_options
from flowpolicy.checkpoint import read_directory, write_directory
from flowpolicy.checkpoint.nested_state import joined_state, split_state
from flowpolicy.checkpoint.tensors import bytes_to_tensors, tensors_to_bytes
from flowpolicy.data import Dataset, DatasetInfo
from flowpolicy.evaluate import PROTOCOLS
from flowpolicy.train import ONLINE_PROTOCOLS, TrainConfig
from tests.agents.recipes import VARIANTS, batch_for, small
from tests.contracts.factories import build, cases
from tests.data.conftest import transitions


def examples(number: int) -> settings:
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def tensor(data: st.DataObject, shape: tuple[int, ...], dtype=torch.float64) -> Tensor:
    """Numbers of any size, in units of the largest power of ten."""
    seed, size = data.draw(st.integers(0, 2**31)), data.draw(st.integers(-6, 6))
    draws = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return draws * 10.0**size


# -- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "variant"), cases(fp.Path))
@given(data=st.data())
@examples(15)
def test_a_path_begins_at_the_noise_and_ends_at_the_action(cls, variant, data) -> None:
    path = build(cls, variant)
    rows, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    x0, x1 = tensor(data, (rows, width)), tensor(data, (rows, width))
    ones = torch.ones(rows, 1, dtype=torch.float64)
    largest = max(x0.abs().max().item(), x1.abs().max().item())
    assert_close(path.sample(x0, x1, ones).x_t, x1, rtol=1e-12, atol=1e-12 * largest)
    # A schedule may leave a share of the data at the noise's end.
    share = path.sample(0 * x0, torch.ones_like(x1), 0 * ones).x_t
    assert (share < 0.007).all()
    start = path.sample(x0, x1, 0 * ones).x_t
    assert_close(start, share * x1 + (1 - share**2).sqrt() * x0, rtol=1e-12, atol=1e-12 * largest)


@pytest.mark.parametrize(("cls", "variant"), cases(fp.Path))
@given(data=st.data())
@examples(15)
def test_a_path_treats_every_row_by_itself(cls, variant, data) -> None:
    path = build(cls, variant)
    x0, x1, time = tensor(data, (6, 3)), tensor(data, (6, 3)), torch.rand(6, 1, dtype=torch.float64)
    order = torch.tensor(data.draw(st.permutations(range(6))))
    whole, parts = path.sample(x0, x1, time), path.sample(x0[order], x1[order], time[order])
    assert torch.equal(whole.x_t[order], parts.x_t)
    assert torch.equal(whole.velocity[order], parts.velocity)


# -- losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@given(order=st.permutations(range(7)))
@examples(3)
def test_the_order_of_a_batch_does_not_matter(variant, order) -> None:
    agent = small(variant).double()
    batch = batch_for(agent, size=7).apply(lambda x: x.double() if x.is_floating_point() else x)
    whole, permuted = agent.loss(batch), agent.loss(batch[torch.tensor(order)])
    for key, value in whole.items():
        assert_close(permuted[key], value, rtol=1e-9, atol=1e-12, msg=lambda m, k=key: f"{k}: {m}")
    total = sum(value for key, value in whole.items() if key.startswith("loss"))
    other = sum(value for key, value in permuted.items() if key.startswith("loss"))
    parameters = [parameter for _, parameter in agent.trained_parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(total, parameters),
        torch.autograd.grad(other, parameters),
        strict=True,
    ):
        assert_close(theirs, ours, rtol=1e-8, atol=1e-12)


# -- configurations --------------------------------------------------------------------------------


@st.composite
def configs(draw: st.DrawFn) -> TrainConfig:
    """Runs as somebody may ask for them."""
    agent = draw(st.sampled_from(sorted(RECIPES)))
    values: dict[str, Any] = {
        "lr": draw(st.floats(1e-6, 1.0)),
        "hidden": tuple(draw(st.lists(st.integers(1, 512), max_size=4))),
        "flow_steps": draw(st.integers(1, 20)),
        "alpha": draw(st.floats(0, 1e6)),
    }
    known = recipe_options(agent)
    chosen = draw(st.sets(st.sampled_from(sorted(set(values) & set(known)))))
    protocol = draw(st.sampled_from(sorted(ONLINE_PROTOCOLS)))
    online = draw(st.sampled_from([0, 10_000_000]))
    offline = (
        0 if online and not ONLINE_PROTOCOLS[protocol].offline else draw(st.integers(1, 10**6))
    )
    return TrainConfig(
        agent=agent,
        env=draw(st.text(min_size=1)),
        options={name: values[name] for name in chosen},
        offline_steps=offline,
        online_steps=online,
        online_protocol=protocol,
        batch_size=2 * draw(st.integers(1, 512)),
        n_step=draw(st.integers(1, 20)),
        discount=draw(st.floats(0, 1, exclude_min=True)),
        seed=draw(st.integers(0, 2**63)),
        normalize_observations=draw(st.booleans()),
        protocol=draw(st.sampled_from(sorted(PROTOCOLS))),
        eval_every=draw(st.integers(0, 10**6)),
        eval_actors=tuple(draw(st.lists(st.text(), min_size=1, max_size=3, unique=True))),
        max_episode_steps=draw(st.none() | st.integers(20, 1000)),
        threads=draw(st.none() | st.integers(1, 64)),
        compile=draw(st.sampled_from(["auto", "on", "off"])),
        data_root=draw(st.none() | st.text()),
    )


@given(config=configs())
@examples(60)
def test_a_configuration_survives_its_file(config) -> None:
    again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.difference(config) is None
    changed = config.replace(seed=config.seed + 1)
    assert changed.difference(again) == ("seed", config.seed + 1, config.seed)


# -- data ------------------------------------------------------------------------------------------


@st.composite
def data_sets(draw: st.DrawFn) -> dict[Any, Tensor]:
    """Entries of some episodes, with further ones of any kind and width."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    rows = sum(lengths)
    entries = transitions(lengths, successes=set(draw(st.sets(st.integers(0, rows - 1)))))
    entries["next", "done"] = entries["next", "terminated"] | entries["next", "truncated"]
    names = st.sampled_from(["goal", "state", "weight", ("next", "goal")])
    for name in draw(st.sets(names)):
        width, kind = draw(st.integers(0, 3)), draw(st.sampled_from(["real", "flag", "count"]))
        shape = (rows, width) if width else (rows,)
        numbers = tensor(draw(st.data()), shape, torch.float32)
        entries[name] = {"real": numbers, "flag": numbers > 0, "count": numbers.long()}[kind]
    return entries


def same(ours: dict[Any, Tensor], theirs: dict[Any, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        value.dtype == theirs[key].dtype and torch.equal(value, theirs[key])
        for key, value in ours.items()
    )


@given(entries=data_sets(), picks=st.lists(st.integers(0, 10**6), min_size=1, max_size=6))
@examples(40)
def test_blocks_hold_what_was_put_into_them(entries, picks, tmp_path) -> None:
    dataset = Dataset(entries, DatasetInfo(name="any"))
    assert same(dataset.entries(), entries)
    index = torch.tensor(picks) % len(dataset)
    batch = dataset.take(index)
    for key, value in entries.items():
        assert torch.equal(batch[key], value[index])
    dataset.save(tmp_path / "any.safetensors")
    again = Dataset.open(tmp_path / "any.safetensors")
    assert same(again.entries(), entries)
    assert (again.info, again.fingerprint()) == (dataset.info, dataset.fingerprint())


# -- checkpoints -----------------------------------------------------------------------------------


@given(
    files=st.dictionaries(
        st.text("abcdefgh.", min_size=1, max_size=12), st.binary(max_size=200), max_size=5
    )
)
@examples(30)
def test_a_directory_holds_what_was_put_into_it(files, tmp_path_factory) -> None:
    assume(not {".", "..", "manifest.json"} & set(files))
    path = tmp_path_factory.mktemp("any") / "step_00000001"
    write_directory(path, files)
    assert read_directory(path) == files


DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
KEYS = st.text("ab/$'", max_size=3) | st.sampled_from(["$tensor", "$tuple", "$items", "type"])


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Of any kind and shape, empty ones and single numbers among them."""
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    return tensor(draw(st.data()), shape).to(draw(st.sampled_from(DTYPES)))


STATES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | tensors(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


def alike(ours: Any, theirs: Any) -> bool:
    """Of the same kinds with the same values, all the way down."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(ours, dict):
        return list(ours) == list(theirs) and all(alike(v, theirs[k]) for k, v in ours.items())
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(alike, ours, theirs))
    return bool(ours == theirs)


@given(state=STATES)
@examples(100)
def test_a_nested_state_survives_its_files(state) -> None:
    value, found = split_state(state, "any")
    values, content = json.dumps(value), tensors_to_bytes(found)
    again = joined_state(json.loads(values), bytes_to_tensors(content, "any"), "any")
    assert alike(again, state)
