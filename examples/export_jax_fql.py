"""Writes the parameters of a run of the authors' FQL (JAX) into an npz, for ``load_jax_fql``.

Run it in the environment of their code, which can read its own pickles; it needs nothing of
flowpolicy:

    python export_jax_fql.py exp/fql/Debug/sd000_20250101_000000 1000000 fql.npz

The first argument is the folder with ``flags.json``, the second the step of ``params_<step>.pkl``.
"""

import json
import pickle
import sys
from pathlib import Path

import numpy as np


def flat(tree, prefix=""):
    """Every array of a tree by its path: ``modules_critic/value_net/Dense_0/kernel``."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", np.asarray(value)


def export(run, step, out):
    """Write the networks and the configuration of the agent; leave out the optimizer."""
    with (Path(run) / f"params_{step}.pkl").open("rb") as file:
        agent = pickle.load(file)["agent"]
    config = json.loads((Path(run) / "flags.json").read_text())["agent"]
    arrays = dict(flat(agent["network"]["params"]))
    np.savez(out, config=json.dumps(config), **arrays)
    return arrays


if __name__ == "__main__":
    written = export(*sys.argv[1:])
    print(f"{len(written)} arrays, {sum(a.size for a in written.values()):,} numbers")
