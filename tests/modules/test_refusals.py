"""What cannot work is refused where it is given, with what to do instead."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch import nn

import flowpolicy as fp
from flowpolicy import errors

HIDDEN = (8,)
SIZED = {
    "VelocityField": fp.VelocityField,
    "OneStepActor": fp.OneStepActor,
    "CriticEnsemble": fp.CriticEnsemble,
    "ValueNetwork": lambda obs_dim, _act_dim, hidden: fp.ValueNetwork(obs_dim, hidden),
}


def refuses(message: str, kind: type[Exception] = fp.ConfigError):
    """Expects an error that begins with exactly this text."""
    return pytest.raises(kind, match="^" + re.escape(message))


# -- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize(
    ("obs_dim", "told"),
    [
        (-1, "obs_dim must be at least 1, got -1."),
        (0, "obs_dim must be at least 1, got 0."),
        (2.5, "obs_dim must be a whole number of at least 1, got 2.5."),
        (True, "obs_dim must be a whole number of at least 1, got True."),
        ("3", "obs_dim must be a whole number of at least 1, got '3'."),
        ((64, 64, 9), "obs_dim must be the width of a vector, got (64, 64, 9). Images need an"),
    ],
)
def test_observations_have_a_whole_number_of_entries(name, obs_dim, told) -> None:
    with refuses(f"{name}: {told}"):
        SIZED[name](obs_dim, 2, HIDDEN)


@pytest.mark.parametrize("name", ["VelocityField", "OneStepActor", "CriticEnsemble"])
@pytest.mark.parametrize("act_dim", [-1, 0])
def test_actions_have_an_entry(name, act_dim) -> None:
    with refuses(f"{name}: act_dim must be at least 1, got {act_dim}."):
        SIZED[name](3, act_dim, HIDDEN)


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("hidden", [256, 256.0, "256", None, {256}])
def test_hidden_sizes_are_a_sequence(name, hidden) -> None:
    with refuses(f"{name}: hidden must be a sequence of sizes such as (256, 256), got {hidden!r}."):
        SIZED[name](3, 2, hidden)


def test_hidden_sizes_are_whole_and_any_sequence_does() -> None:
    with refuses("ValueNetwork: hidden size must be a whole number of at least 1, got 8.0."):
        fp.ValueNetwork(3, (8.0,))
    assert errors.require_hidden("Net", [8, np.int64(4)]) == (8, 4)
    assert errors.require_hidden("Net", ()) == ()


@pytest.mark.parametrize(
    ("embedding", "told"),
    [
        (64, "64. Pass TimeEmbedding(64)."),
        (nn.Identity(), "Identity without dim. Pass TimeEmbedding(64)."),
    ],
)
def test_a_time_embedding_is_a_module_that_knows_its_features(embedding, told) -> None:
    with refuses(
        "VelocityField: time_embedding must be a module with an attribute dim, the number of its "
        f"features, got {told}"
    ):
        fp.VelocityField(3, 2, HIDDEN, time_embedding=embedding)


# -- parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (None, "network must be a Module, got None. Pass a network, such as CriticEnsemble."),
        (
            fp.CriticEnsemble,
            "network must be a Module, got the class CriticEnsemble itself. Pass a network",
        ),
        (
            nn.Identity(),
            "network has no parameters to follow, got Identity. Pass a network, such as",
        ),
        (
            fp.BestOf(
                fp.OneStepActor(3, 2, HIDDEN),
                fp.TargetNetwork(fp.CriticEnsemble(3, 2, hidden=HIDDEN)),
            ),
            "network is a BestOf that holds a TargetNetwork already, whose copy",
        ),
    ],
)
def test_a_target_follows_a_network(network, told) -> None:
    with refuses(f"TargetNetwork: {told}"):
        fp.TargetNetwork(network)


@pytest.mark.parametrize(
    ("owner", "build"),
    [
        ("ChunkPolicy", lambda actor: fp.ChunkPolicy(actor, horizon=1)),
        ("FromCurrentObservation", fp.FromCurrentObservation),
    ],
)
def test_wrappers_of_actors_take_actors(owner, build) -> None:
    with refuses(
        f"{owner}: actor must be an Actor, got VelocityField. Put a sampler around a velocity "
        "field, EulerSampler(field); derive a network of your own from fp.Actor."
    ):
        build(fp.VelocityField(3, 2, HIDDEN))
    actor = fp.OneStepActor(3, 2, HIDDEN)
    assert build(fp.frozen(actor)).actor.module is actor


@pytest.mark.parametrize("horizon", [0, 1.5])
def test_a_chunk_has_a_whole_number_of_steps(horizon) -> None:
    with pytest.raises(fp.ConfigError, match=f"ChunkPolicy: horizon must be .* got {horizon}"):
        fp.ChunkPolicy(fp.OneStepActor(3, 6, HIDDEN), horizon=horizon)


def test_kinds_are_named_readably() -> None:
    field = fp.VelocityField(3, 2, HIDDEN)
    with refuses("DistillLoss: teacher must be an Actor, got VelocityField. Sample it."):
        errors.require_instance("DistillLoss", "teacher", field, fp.Actor, "Sample it.")
    kinds = (fp.CriticEnsemble, fp.TargetNetwork)
    with refuses("TDLoss: critic must be a CriticEnsemble or TargetNetwork, got 'critic'. Build"):
        errors.require_instance("TDLoss", "critic", "critic", kinds, "Build it.")
    errors.require_instance("DistillLoss", "field", field, (fp.Actor, fp.VelocityField), "")


def test_parts_agree_on_the_sizes_that_they_have() -> None:
    actor = fp.OneStepActor(3, 2, HIDDEN)
    critic = fp.CriticEnsemble(3, 2, hidden=HIDDEN)
    value = fp.ValueNetwork(3, HIDDEN)
    targets = {"target": fp.TargetNetwork(critic), "value_target": fp.TargetNetwork(value)}
    errors.require_sizes_match("Loss", actor=actor, critic=critic, value=value, **targets, x=None)
    with refuses(
        "Loss: the parts are built for different sizes: actor obs_dim=3, act_dim=2; "
        "value obs_dim=4. Build all for the same observations and actions."
    ):
        errors.require_sizes_match("Loss", actor=actor, value=fp.ValueNetwork(4, HIDDEN), x=None)
    with refuses("Loss: the parts are built for different sizes: actor obs_dim=3, act_dim=2; tar"):
        target = fp.TargetNetwork(fp.CriticEnsemble(3, 5, hidden=HIDDEN))
        errors.require_sizes_match("Loss", actor=actor, target=target)


# -- names -------------------------------------------------------------------------------------


def test_an_unknown_name_is_answered_with_the_near_ones_alone() -> None:
    known = [f"cube-{i}" for i in range(30)]
    assert str(errors.unknown_name("task", "maze", known)) == (
        "unknown task 'maze'. Known: cube-0, cube-1, cube-10, cube-11, cube-12, cube-13, cube-14, "
        "cube-15, cube-16, cube-17, cube-18, cube-19 and 18 more"
    )
    assert str(errors.unknown_name("task", "cube-29x", known)).endswith("? 27 others are known.")
    assert str(errors.unknown_name("task", "fgl", ["fql"])) == (
        "unknown task 'fgl'; did you mean 'fql'?"
    )
    assert str(errors.unknown_name("task", "fgl", [])) == "unknown task 'fgl'. Known: none"


# -- tensors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [("next", "reward"), str(("next", "reward"))])
def test_scalars_of_samples_need_a_dimension(key) -> None:
    with refuses(
        "TDLoss: ('next', 'reward') must be [*B, 1], got [256]. Per-sample scalars are [*B, 1]: "
        "add the last dimension with unsqueeze(-1).",
        fp.ShapeError,
    ):
        errors.require_last_dim("TDLoss", key, torch.zeros(256), 1)
    with refuses(
        "TDLoss: 'action' has batch shape [4] but ('next', 'reward') has [1]", fp.ShapeError
    ):
        errors.require_same_batch("TDLoss", "action", torch.zeros(4, 2), key, torch.zeros(1, 1))


def calls(dtype: torch.dtype) -> dict[str, object]:
    """Every network called with an observation of this dtype, its parameters being float32."""
    s = torch.zeros(4, 3, dtype=dtype)
    a, t = torch.zeros(4, 2), torch.zeros(4, 1)
    field, actor = fp.VelocityField(3, 2, HIDDEN), fp.OneStepActor(3, 2, HIDDEN)
    critic, value = fp.CriticEnsemble(3, 2, hidden=HIDDEN), fp.ValueNetwork(3, HIDDEN)
    return {
        "VelocityField": lambda: field.velocity(s, a, t),
        "OneStepActor": lambda: actor.act(s, a),
        "CriticEnsemble": lambda: critic.values(s, a),
        "ValueNetwork": lambda: value.values(s),
    }


@pytest.mark.parametrize("name", SIZED)
def test_observations_have_the_dtype_of_the_parameters(name) -> None:
    call = calls(torch.float64)[name]
    for each in (call, torch.compile(call, backend="eager")):
        with refuses(
            f"{name}: 'observation' is float64 but the parameters are float32; cast it with "
            ".float(), or the agent with .double().",
            fp.DtypeError,
        ):
            each()
    with refuses(
        f"{name}: 'observation' is int64 but the parameters are float32; cast it with .float().",
        fp.DtypeError,
    ):
        calls(torch.int64)[name]()
    with torch.autocast("cpu", dtype=torch.bfloat16):  # casts by itself
        calls(torch.bfloat16)[name]()
    calls(torch.float32)[name]()


def test_every_other_input_has_the_dtype_of_the_parameters() -> None:
    s, a, t = torch.zeros(4, 3), torch.zeros(4, 2), torch.zeros(4, 1)
    for name, call in {
        "x_t": lambda: fp.VelocityField(3, 2, HIDDEN).velocity(s, a.double(), t),
        "time": lambda: fp.VelocityField(3, 2, HIDDEN).velocity(s, a, t.double()),
        "noise": lambda: fp.OneStepActor(3, 2, HIDDEN).act(s, a.double()),
        "action": lambda: fp.CriticEnsemble(3, 2, hidden=HIDDEN).values(s, a.double()),
    }.items():
        with pytest.raises(fp.DtypeError, match=f"'{name}' is float64 but the parameters are"):
            call()
    with pytest.raises(fp.DtypeError, match=r"cast it with \.to\(torch\.bfloat16\), or the agent"):
        fp.ValueNetwork(3, HIDDEN).bfloat16().values(s)


def test_the_dtype_check_traces_no_operation() -> None:
    value, graphs = fp.ValueNetwork(3, HIDDEN), []

    def backend(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]):
        graphs.append([node.target for node in graph.graph.nodes if "call" in node.op])
        return graph

    s = torch.zeros(4, 3)
    for call in (lambda: value.values(s), lambda: value.net(s)):
        torch.compile(call, backend=backend, fullgraph=True)()
    assert graphs[0]
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize(
    ("came", "advice"),
    [
        (np.zeros((4, 3), np.float32), "use torch.as_tensor"),
        ({"state": torch.zeros(4, 3)}, "join its entries, torch.cat(..., dim=-1)"),
    ],
)
def test_inputs_are_tensors(came, advice) -> None:
    kind = type(came).__name__
    z = torch.zeros(4, 2)
    for name, call in {
        "VelocityField": lambda: fp.VelocityField(3, 2, HIDDEN).velocity(came, z, z[:, :1]),
        "OneStepActor": lambda: fp.OneStepActor(3, 2, HIDDEN).act(came, z),
        "CriticEnsemble": lambda: fp.CriticEnsemble(3, 2, hidden=HIDDEN).values(came, z),
        "ValueNetwork": lambda: fp.ValueNetwork(3, HIDDEN).values(came),
    }.items():
        with refuses(
            f"{name}: 'observation' must be a torch.Tensor, got {kind}; {advice}.",
            fp.DtypeError,
        ):
            call()
    assert issubclass(fp.DtypeError, TypeError)


def test_noise_is_drawn_for_tensors_of_a_floating_dtype() -> None:
    actor = fp.OneStepActor(3, 2, HIDDEN)
    with refuses("OneStepActor: 'observation' must be a torch.Tensor, got ndarray", fp.DtypeError):
        actor.draw_noise(np.zeros((4, 3)))
    with refuses(
        "OneStepActor: 'observation' must be of a floating dtype, got int64; cast it with .float()",
        fp.DtypeError,
    ):
        actor.draw_noise(torch.zeros(4, 3, dtype=torch.int64))
    with refuses("OneStepActor: 'noise' must be a torch.Tensor, got ndarray", fp.DtypeError):
        actor.act(torch.zeros(4, 3), np.zeros((4, 2)))


@pytest.mark.parametrize("dim", [2.5, "64", 0])
def test_an_embedding_has_a_whole_number_of_features(dim) -> None:
    with pytest.raises(fp.ConfigError, match=f"TimeEmbedding: dim must be .*got {dim!r}"):
        fp.TimeEmbedding(dim)


def test_numbers_that_are_not_finite_are_refused() -> None:
    for value in (0.0, -1.0, math.inf, math.nan):
        with refuses(f"Loss: alpha must be a finite number above 0, got {value!r}."):
            errors.require_positive("Loss", "alpha", value)
