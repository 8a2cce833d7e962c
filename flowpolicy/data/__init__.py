"""Data sets: OGBench by name, a user's own from a TensorDict, and transforms of both.

Importing this package makes ``torchrl.data.datasets.load_dataset("ogbench:<name>")`` known to
TorchRL. Simulators are imported only when a data set is loaded or made.
"""

from __future__ import annotations

from torchrl.data.datasets import register_dataset

from flowpolicy.data import transforms as transforms
from flowpolicy.data.dataset import Dataset as Dataset
from flowpolicy.data.generate import generate as generate
from flowpolicy.data.info import DatasetInfo as DatasetInfo
from flowpolicy.data.names import available as available
from flowpolicy.data.ogbench import embedded as embedded
from flowpolicy.data.ogbench import load as load

register_dataset("ogbench", "flowpolicy.data.torchrl_dataset:OGBenchExperienceReplay", replace=True)
