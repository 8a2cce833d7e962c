"""The processes of one run, as torchrun starts them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import torch.distributed as dist

from flowpolicy import ranks
from flowpolicy.errors import ConfigError, DistributedError, FlowPolicyError
from flowpolicy.parent import when_launcher_ends
from flowpolicy.train.config import TrainConfig

PATIENCE = timedelta(hours=24)
"""How long the others wait while one evaluates; one that died is noticed at once all the same."""


def started_by_torchrun() -> bool:
    """Whether this process is one of those that torchrun, or ``--processes``, started."""
    return dist.is_available() and dist.is_torchelastic_launched()


def require_shareable(config: TrainConfig, processes: int) -> None:
    """Refuses a run whose updates cannot be shared out among so many processes.

    Raises:
        ConfigError: The batches do not divide evenly, or there are online steps.
    """
    if processes == 1:
        return
    ranks.require_shares("batch_size: batches", config.batch_size, processes)
    if ":" in config.device:
        raise ConfigError(
            f"device {config.device!r} names one GPU, but each of {processes} processes sees one "
            "of its own only; set it to 'cuda'"
        )
    if config.online_steps:
        raise ConfigError(
            f"online_steps {config.online_steps}: only offline updates are shared out among "
            f"processes; set it to 0, or train in one process instead of {processes}"
        )


def is_first() -> bool:
    """Whether this is the process that speaks for all, also where no process group is."""
    return not started_by_torchrun() or os.environ.get("RANK", "0") == "0"


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Inside, the processes that torchrun started know each other; elsewhere nothing happens.

    Args:
        device: Of the run. The exchange goes through NCCL on GPUs, through gloo on the CPU.

    Raises:
        ConfigError: Processes would share one GPU.
    """
    if not started_by_torchrun() or dist.is_initialized():
        yield
        return
    gpu = device.startswith("cuda")
    if gpu and os.environ.get("LOCAL_RANK", "0") != "0":
        raise ConfigError(
            f"device {device!r} would be one GPU for all processes; start torchrun with "
            "--virtual-local-rank, so that each sees a GPU of its own"
        )
    when_launcher_ends(partial(os.kill, os.getpid(), signal.SIGTERM))  # which saves and ends
    dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, FlowPolicyError) or not _is_of_exchange(error):
            raise
        raise DistributedError(
            "another process of this run has ended, so this one ends, too; the other's own "
            "message says why"
        ) from error
    finally:
        dist.destroy_process_group()


def _is_of_exchange(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def restart_hint() -> str | None:
    """What to say where torchrun would restart processes that cannot find each other again."""
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    if restarts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return (
            "restarts: they fail with this torchrun unless it is started with "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in its environment"
        )
    return None
