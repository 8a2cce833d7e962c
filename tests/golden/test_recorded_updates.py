"""The recipes are the published methods, number by number.

Losses to 1e-5 relative, a gradient tensor's largest error to 1e-5 of its largest entry, parameters
after one Adam step and the target update to 1e-6 absolute; evaluated in float64 against records in
float32. Gradients are those before clipping by their norm.
"""

from __future__ import annotations

import pytest

from tests.golden import readers_flow, readers_guided, readers_weighted
from tests.golden.record import Recorded, layers_of, load_agent, target_of

READERS = {**readers_flow.READERS, **readers_guided.READERS, **readers_weighted.READERS}


def read(name: str) -> Recorded:
    recorded = READERS[name](name)
    load_agent(recorded.agent, recorded.record, recorded.modules)
    return recorded


@pytest.mark.parametrize("name", READERS)
def test_losses_gradients_and_parameters_after_the_step(name: str) -> None:
    recorded = read(name)
    agent, record = recorded.agent, recorded.record
    batch = recorded.batch()

    result = agent.loss(batch)
    sum(value for key, value in result.items() if key.startswith("loss")).backward()

    for ours, expected in recorded.expected().items():
        total = sum(result[key].item() for key in ours.split(" + "))
        assert total == pytest.approx(expected, rel=1e-5), ours
    for role, module in recorded.modules.items():
        gradients = record.network("grads", module)
        for parameter, gradient in zip(layers_of(agent.networks[role]), gradients, strict=True):
            assert parameter.grad is not None
            scale = gradient.abs().max()
            assert (parameter.grad - gradient).abs().max() <= 1e-5 * scale, (role, parameter.shape)

    agent.update(batch)

    networks = {module: agent.networks[role] for role, module in recorded.modules.items()}
    networks |= {target_of(recorded.modules[role]): net for role, net in agent.targets.items()}
    for module, network in networks.items():
        after = record.network("after", module)
        for parameter, expected in zip(layers_of(network), after, strict=True):
            assert (parameter - expected).abs().max() <= 1e-6, (module, parameter.shape)


@pytest.mark.parametrize("name", READERS)
def test_a_wrong_draw_is_noticed(name: str) -> None:
    """The comparison above can fail: with any other draw some number misses the record."""
    recorded = read(name)
    for key, value in recorded.drawn().items():
        result = recorded.agent.loss(recorded.batch(**{key: value.flip(0)}))
        missed = [
            sum(result[each].item() for each in ours.split(" + ")) != pytest.approx(x, rel=1e-4)
            for ours, x in recorded.expected().items()
        ]
        assert any(missed), key
