"""Acting on one observation: the one-step actor and the ten-step sampler, in every form."""

from __future__ import annotations

import pytest
import torch

import flowpolicy as fp
from benchmarks.problem import ACT_DIM, OBS_DIM, SIZES

HIDDEN = SIZES["256x3"]
# Weights are constants once exported: Inductor may pack them for products of its own.
PACKED = {"freezing": True, "max_autotune": True, "max_autotune_gemm_backends": "CPP,ATEN"}


ACTORS = {
    "one-step": lambda: fp.OneStepActor(OBS_DIM, ACT_DIM, HIDDEN),
    "10-step": lambda: fp.EulerSampler(fp.VelocityField(OBS_DIM, ACT_DIM, HIDDEN), steps=10),
}


@pytest.mark.parametrize("name", ACTORS)
def test_acting(name, in_turn, tmp_path) -> None:
    """Latency of one action from one observation, noise given."""
    actor = ACTORS[name]().eval().requires_grad_(False)
    inputs = (torch.randn(1, OBS_DIM), torch.randn(1, ACT_DIM))
    fp.export_policy(actor, tmp_path / "exported.pt2")
    exported = torch.export.load(tmp_path / "exported.pt2").module()
    path = torch._inductor.aoti_compile_and_package(
        torch.export.export(exported, inputs),  # for one row
        package_path=str(tmp_path / "compiled.pt2"),
        inductor_configs=PACKED,
    )
    forms = {
        "AOTInductor": torch._inductor.aoti_load_package(path),
        "exported": exported,
        "compiled": torch.compile(actor.act, fullgraph=True),
        "eager": actor.act,
    }
    expected = actor.act(*inputs)

    def calling(form):
        def call():
            with torch.inference_mode():
                return form(*inputs)

        torch.testing.assert_close(call(), expected)
        return call

    limit = {"best_at_most": 60e-6} if name == "one-step" else {}
    in_turn({form: calling(module) for form, module in forms.items()}, **limit)
