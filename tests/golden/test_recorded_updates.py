"""The recipes are the published methods, number by number.

Losses to 1e-5 relative, a gradient tensor's largest error to 1e-5 of its largest entry, parameters
after one Adam step and the target update to 1e-6 absolute; evaluated in float64 against records in
float32. Gradients are those before clipping by their norm.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from tests.golden import (
    readers_adjoint,
    readers_diffusion,
    readers_flow,
    readers_gaussian,
    readers_guided,
    readers_weighted,
)
from tests.golden.record import FOLDER, Recorded, layers_of, load_agent, target_of

READERS = {
    **readers_adjoint.READERS,
    **readers_diffusion.READERS,
    **readers_flow.READERS,
    **readers_gaussian.READERS,
    **readers_guided.READERS,
    **readers_weighted.READERS,
}


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
        after, gradients = record.network("after", module), record.network("grads", module)
        for parameter, expected, gradient in zip(layers_of(network), after, gradients, strict=True):
            # Where float32 cannot tell a gradient from 0, Adam's first step could be any.
            size = gradient.abs()
            told = (size == 0) | (size > 1e-6 * size.max())
            assert told.double().mean() > 0.9
            assert ((parameter - expected).abs() <= 1e-6)[told].all(), (module, parameter.shape)


@pytest.mark.parametrize("name", READERS)
def test_a_wrong_draw_is_noticed(name: str) -> None:
    """The comparison above can fail: with any other draw some number misses the record.

    Where nothing is drawn, with other actions.
    """
    recorded = read(name)
    for key, value in (recorded.drawn() or {"action": recorded.batch()["action"]}).items():
        result = recorded.agent.loss(recorded.batch(**{key: value.flip(0)}))
        missed = [
            sum(result[each].item() for each in ours.split(" + ")) != pytest.approx(x, rel=2e-5)
            for ours, x in recorded.expected().items()
        ]
        assert any(missed), key


def left_out(name: str) -> list[str]:
    """Patterns of the numbers that the README leaves out of a record."""
    rows = re.findall(
        r"^\| (`.*) \| (`.*) \| .* \|$", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    quoted = [[re.findall(r"`([^`]+)`", column) for column in row] for row in rows]
    found = [numbers for numbers, of in quoted if any(fnmatchcase(name, each) for each in of)]
    return [pattern for numbers in found for pattern in numbers]


@pytest.mark.parametrize("name", READERS)
def test_every_number_is_compared_or_left_out_on_purpose(name: str) -> None:
    recorded = READERS[name](name)
    recorded.expected()
    rest = recorded.record.reported - recorded.record.asked
    patterns = left_out(name)
    assert [key for key in rest if not any(fnmatchcase(key, each) for each in patterns)] == []
    assert [each for each in patterns if not any(fnmatchcase(key, each) for key in rest)] == []
