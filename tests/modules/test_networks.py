"""Networks are built and initialised as in the authors' code."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.exact_linear import ExactLinear, ExactStackedLinear
from flowpolicy.modules.keys import BatchKeys
from flowpolicy.modules.mlp import LayerNorm1e6, TanhGELU
from flowpolicy.modules.stacked import StackedLayerNorm, StackedLinear
from flowpolicy.modules.xavier_linear import XavierLinear

MAKERS = {
    "field": lambda **kw: fp.VelocityField(3, 2, **kw),
    "actor": lambda **kw: fp.OneStepActor(3, 2, **kw),
    "critic": lambda **kw: fp.CriticEnsemble(3, 2, **kw),
    "value": lambda **kw: fp.ValueNetwork(3, **kw),
}


@pytest.mark.parametrize("name", MAKERS)
def test_layers_activations_and_norms(name) -> None:
    """Linear, tanh-GELU, and in critics and values LayerNorm after the activation."""
    net = MAKERS[name](hidden=(16, 8)).net
    linear, norm, outer = (
        (StackedLinear, StackedLayerNorm, ExactStackedLinear)
        if name == "critic"
        else (XavierLinear, LayerNorm1e6, ExactLinear)
    )
    between = [TanhGELU, norm] if name in ("critic", "value") else [TanhGELU]
    assert [type(layer) for layer in net] == [outer, *between, linear, *between, outer]
    assert all(layer.eps == 1e-6 for layer in net if isinstance(layer, nn.LayerNorm))


@pytest.mark.parametrize("name", MAKERS)
def test_xavier_uniform_weights_and_zero_biases(name) -> None:
    layers = [m for m in MAKERS[name](hidden=(256, 128)).net if hasattr(m, "weight")]
    linear = [m for m in layers if isinstance(m, nn.Linear | StackedLinear)]
    for layer in linear:
        weights = layer.weight if isinstance(layer, StackedLinear) else layer.weight.unsqueeze(0)
        assert (layer.bias == 0).all()
        for weight in weights:  # each member on its own: of the whole stack the fans would be wrong
            bound = math.sqrt(6 / sum(weight.shape))
            assert 0.9 * bound < weight.abs().max() <= bound
    for layer in layers:
        if isinstance(layer, nn.LayerNorm | StackedLayerNorm):
            assert (layer.weight == 1).all()
            assert (layer.bias == 0).all()


@pytest.mark.parametrize(
    ("name", "expected"), [("field", 812_040), ("actor", 811_528), ("critic", 2 * 812_033)]
)
def test_parameter_counts_at_the_published_sizes(name, expected) -> None:
    make = {"field": fp.VelocityField, "actor": fp.OneStepActor, "critic": fp.CriticEnsemble}[name]
    assert sum(p.numel() for p in make(29, 8).parameters()) == expected


def test_members_of_an_ensemble_are_independent_networks() -> None:
    critic = fp.CriticEnsemble(3, 2, hidden=(16, 8), size=3)
    s, a = torch.randn(5, 3), torch.rand(5, 2)
    values = critic.values(s, a)
    for k in range(3):
        layers = []
        for layer in critic.net:
            if isinstance(layer, StackedLinear):
                one = nn.Linear(*layer.weight.shape[1:])
                one.weight.data, one.bias.data = layer.weight[k].T, layer.bias[k, 0]
            elif isinstance(layer, StackedLayerNorm):
                one = nn.LayerNorm(layer.weight.shape[-1], eps=1e-6)
                one.weight.data, one.bias.data = layer.weight[k, 0], layer.bias[k, 0]
            else:
                one = layer
            layers.append(one)
        alone = nn.Sequential(*layers)(torch.cat([s, a], dim=-1))
        assert_close(values[k], alone, rtol=1e-5, atol=1e-6)
    values[1].sum().backward()
    for parameter in critic.parameters():
        assert (parameter.grad[[0, 2]] == 0).all()
    assert not torch.equal(*critic.net[0].weight[:2])


def test_the_time_is_the_last_input_and_raw() -> None:
    field = fp.VelocityField(3, 2, hidden=())
    s, x, t = torch.randn(4, 3), torch.randn(4, 2), torch.rand(4, 1)
    layer = field.net[0]
    expected = torch.cat([s, x, t], -1) @ layer.weight.T + layer.bias
    assert_close(field.velocity(s, x, t), expected)


def test_the_field_as_a_tensordict_module() -> None:
    field = fp.VelocityField(3, 2, hidden=(8,))
    td = TensorDict(
        observation=torch.randn(4, 3), x_t=torch.randn(4, 2), time=torch.rand(4, 1), batch_size=[4]
    )
    assert torch.equal(
        field(td)["velocity"], field.velocity(td["observation"], td["x_t"], td["time"])
    )
    with pytest.raises(fp.MissingKeyError, match="VelocityField: the batch has no 'time'"):
        field(td.exclude("time"))
    with pytest.raises(
        fp.ShapeError, match=r"VelocityField: 'time' must be \[\*B, 1\], got \[4, 2\]"
    ):
        field.velocity(td["observation"], td["x_t"], td["x_t"])


def test_time_embedding() -> None:
    features = fp.TimeEmbedding(64)(torch.full((1, 1), 0.5, dtype=torch.float64))[0]
    expected = {0: 0.479426, 1: 0.362997, 2: 0.272507, 32: 0.877583, 33: 0.931790, 34: 0.962154}
    for index, value in expected.items():
        assert features[index].item() == pytest.approx(value, abs=2e-6)
    assert not fp.TimeEmbedding(64).state_dict()  # the frequencies are constants, not state
    assert (
        fp.VelocityField(3, 2, (8,), time_embedding=fp.TimeEmbedding(64)).net[0].in_features == 69
    )


def test_time_embedding_is_exact_in_double_precision() -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64).unsqueeze(-1)
    frequencies = torch.tensor([10_000.0 ** (-j / 31) for j in range(32)], dtype=torch.float64)
    expected = torch.cat([torch.sin(t * frequencies), torch.cos(t * frequencies)], dim=-1)
    embedding = fp.TimeEmbedding(64)
    single = embedding.frequencies.clone()
    for double in (embedding.double(), embedding.float().double()):
        assert (double(t) - expected).abs().max() < 1e-12
    assert torch.equal(embedding.float().frequencies, single)
    field = fp.VelocityField(3, 2, (8,), time_embedding=fp.TimeEmbedding(64)).double()
    assert (field.time_embedding(t) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("dim", [2, 7])
def test_impossible_embeddings_are_refused(dim) -> None:
    with pytest.raises(fp.ConfigError, match="TimeEmbedding: dim must be even and at least 4"):
        fp.TimeEmbedding(dim)


@pytest.mark.parametrize("name", MAKERS)
def test_impossible_sizes_are_refused(name) -> None:
    with pytest.raises(fp.ConfigError, match="hidden size must be at least 1, got 0"):
        MAKERS[name](hidden=(8, 0))
    with pytest.raises(fp.ConfigError, match="size must be at least 1, got 0"):
        fp.CriticEnsemble(3, 2, size=0)


def test_other_activations() -> None:
    for make in MAKERS.values():
        assert any(isinstance(m, nn.Tanh) for m in make(hidden=(8,), activation=nn.Tanh).net)


# -- targets -----------------------------------------------------------------------------------


def test_a_target_starts_as_a_copy_and_follows_by_tau() -> None:
    critic = fp.CriticEnsemble(3, 2, hidden=(8,))
    target = fp.TargetNetwork(critic, tau=0.1)
    start = copy.deepcopy(critic.state_dict())
    for name, tensor in target.network.state_dict().items():
        assert torch.equal(tensor, start[name])
        assert tensor.data_ptr() != critic.state_dict()[name].data_ptr()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(1.0)
    target.update()
    for name, tensor in target.network.state_dict().items():
        assert_close(tensor, start[name] + 0.1)
    assert not any(p.requires_grad for p in target.parameters())
    assert "tau=0.1, after_step=False" in repr(target)


def test_a_target_does_not_own_its_source() -> None:
    critic = fp.CriticEnsemble(3, 2, hidden=(8,))
    target = fp.TargetNetwork(critic)
    assert target.source is critic
    assert not {id(p) for p in target.parameters()} & {id(p) for p in critic.parameters()}
    copied_critic, copied = copy.deepcopy((critic, target))
    assert copied.source is copied_critic


@pytest.mark.parametrize("tau", [0.0, -0.1, 1.1, math.nan])
def test_impossible_taus_are_refused(tau) -> None:
    with pytest.raises(fp.ConfigError, match=r"TargetNetwork: tau must be in \(0, 1\]"):
        fp.TargetNetwork(fp.ValueNetwork(3, hidden=(8,)), tau=tau)


# -- chunks ------------------------------------------------------------------------------------


def test_a_chunk_policy_gives_the_chunk_a_time_axis() -> None:
    actor = fp.OneStepActor(3, 6, hidden=(8,))
    td = TensorDict(observation=torch.randn(4, 3), noise=torch.randn(4, 6), batch_size=[4])
    chunk = fp.ChunkPolicy(actor, horizon=3)(td.clone())["action"]
    assert torch.equal(chunk, actor.act(td["observation"], td["noise"]).view(4, 3, 2))
    with pytest.raises(
        fp.ConfigError, match="action dimension 6 of OneStepActor is not a multiple"
    ):
        fp.ChunkPolicy(actor, horizon=4)


def test_a_chunk_policy_follows_the_names_of_its_actor() -> None:
    actor = fp.OneStepActor(3, 6, hidden=(8,))
    policy = fp.ChunkPolicy(actor, horizon=3)
    actor.set_keys(action="chunk")
    assert policy.out_keys == ["chunk"]
    td = policy(TensorDict(observation=torch.randn(4, 3), batch_size=[4]))
    assert td["chunk"].shape == (4, 3, 2)
    assert "action" not in td


def test_results_belong_to_whom_they_were_asked_of() -> None:
    """Also where the asked object is gone, and another one has its address."""
    actors = [fp.GaussianActor(3, 2, hidden=(8,)) for _ in range(20)]
    batch = TensorDict(observation=torch.randn(4, 3), batch_size=[4])
    evaluated = EvaluatedBatch(batch, BatchKeys())
    for actor in actors:
        expected = actor.mode.act(batch["observation"], torch.zeros(4, 0))
        assert torch.equal(evaluated.policy_action(actor.mode), expected)


def learned_coefficient_loss() -> fp.DualLoss:
    actor, coefficient = fp.DeterministicActor(3, 2, (8,)), fp.LearnedCoefficient(2.5)
    return fp.DualLoss(fp.CloneLoss(actor, coefficient=coefficient), limit=1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fp.FlowMatchingLoss(fp.VelocityField(3, 2, (8, 4))),
        lambda: fp.CloneLoss(fp.DeterministicActor(3, 2, (8,), head_gain=0.1)),
        lambda: fp.EntropyLoss(fp.TanhGaussianActor(3, 2, (8,), head_gain=0.1)),
        lambda: fp.ExpectileLoss(fp.ValueNetwork(3, (8,)), fp.CriticEnsemble(3, 2, (8,))),
        lambda: fp.TDLoss(fp.CriticEnsemble(3, 2, (8,)), next_value=fp.ValueNetwork(3, (8,))),
        lambda: fp.NoiseMatchingLoss(fp.NoisePredictor(3, 2, (8, 4))),
        learned_coefficient_loss,
    ],
)
def test_networks_begin_anew_as_they_were_built(make) -> None:
    torch.manual_seed(0)
    loss = make()
    built = copy.deepcopy(loss.network.state_dict())
    with torch.no_grad():
        for parameter in loss.network.parameters():
            parameter.add_(1.0)
    torch.manual_seed(0)
    loss.reset_parameters_recursive()
    for name, value in loss.network.state_dict().items():
        assert torch.equal(value, built[name]), name


def test_agents_whose_coefficients_start_elsewhere_go_into_one_stack() -> None:
    agents = [fp.agents.fql(3, 2, hidden=(8,), alpha=alpha, spread=0.25) for alpha in (0.1, 10.0)]
    assert len(fp.AgentStack(agents)) == 2


@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_the_linear_layers_of_a_seed_draw_after_those_of_pytorch(gain) -> None:
    """So that a seed gives the weights and the random stream that it always gave."""
    torch.manual_seed(0)
    ours, drawn = ExactLinear(5, 3, gain), torch.rand(1)
    torch.manual_seed(0)
    plain = nn.Linear(5, 3)
    nn.init.xavier_uniform_(plain.weight, gain)
    assert torch.equal(ours.weight, plain.weight)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("recipe", sorted(fp.agents.RECIPES))
def test_an_agent_is_built_on_the_default_device(recipe) -> None:
    with torch.device("meta"):
        agent = fp.agents.build(recipe, 3, 2, hidden=(8,))
    assert [name for name, tensor in agent.tensors_read() if not tensor.is_meta] == []


def test_an_actor_without_noise_may_propose_several() -> None:
    det, critic = fp.DeterministicActor(3, 2, (8,)), fp.CriticEnsemble(3, 2, (8,))
    best, s = fp.BestOf(det, critic, n=4), torch.randn(5, 3)
    assert best.trained is det
    noisy = fp.NoisyActor(best)
    assert noisy.act(s, torch.zeros(5, 2)).shape == (5, 2)
    batch = TensorDict(observation=s, batch_size=[5])
    action = EvaluatedBatch(batch, BatchKeys()).policy_action(best)
    assert torch.equal(action, det.act(s, torch.zeros(5, 0)))


def test_a_target_has_the_keys_of_its_copy() -> None:
    target = fp.TargetNetwork(fp.OneStepActor(3, 4, (8,)))
    target.set_keys(action="chunk")
    policy = fp.ChunkPolicy(target, horizon=2)
    out = policy(TensorDict(observation=torch.zeros(4, 3), batch_size=[4]))
    assert out["chunk"].shape == (4, 2, 2)


def test_a_target_of_what_has_no_keys_to_set_is_renamed_as_that_is() -> None:
    target = fp.TargetNetwork(fp.ValueNetwork(3, hidden=(8,)))
    with pytest.raises(
        fp.ConfigError, match=r"ValueNetwork has no set_keys.*target\.network\.in_k"
    ):
        target.set_keys(observation="state")
    target.network.in_keys = ["state"]
    assert "state_value" in target(TensorDict(state=torch.zeros(4, 3), batch_size=[4]))


def test_a_target_that_is_renamed_is_still_the_target() -> None:
    target = fp.TargetNetwork(fp.OneStepActor(3, 2, hidden=(8,)))
    assert target.set_keys(observation="state") is target
    assert "action" in target(TensorDict(state=torch.zeros(4, 3), batch_size=[4]))
