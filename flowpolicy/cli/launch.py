"""Starting the command in several processes that train one agent, by torch's elastic launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from flowpolicy.cli.console import complain
from flowpolicy.errors import ConfigError, require_at_least


def launch(arguments: Sequence[str], *, processes: int, max_restarts: int, gpus: bool) -> int:
    """Runs ``flowpolicy <arguments>`` in several processes; returns the exit code of the whole.

    The first writes to the terminal. Where one ends early, all are ended, and with ``max_restarts``
    started again.

    Args:
        arguments: Of each process.
        processes: How many.
        max_restarts: How often they may be started again.
        gpus: Whether each has a GPU of its own.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    require_at_least("flowpolicy train", "max_restarts", max_restarts, 0)
    # Without it the processes of a second attempt look for each other where the first ones met.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="flowpolicy-") as logs:
        quiet = dict.fromkeys(range(1, processes), Std.ALL)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=max_restarts,
            logs_specs=DefaultLogsSpecs(log_dir=logs, redirects=quiet),
            virtual_local_rank=gpus,
            signals_to_handle=",".join(_heard()),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "flowpolicy", *arguments)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode < 0:
                complain("error", f"process {rank} was ended by {failure.signal_name()}")
            elif rank > 0:
                complain(f"process {rank}", _last_words(Path(logs), failure.local_rank))
            return max(failure.exitcode, 1)
        except SignalException as stopped:
            return 128 + stopped.sigval
    return 0


def _heard() -> list[str]:
    """The signals that end the processes, but for what this one ignores, as under ``nohup``."""
    names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
    here = [name for name in names if hasattr(signal, name)]
    return [name for name in here if signal.getsignal(signal.Signals[name]) != signal.SIG_IGN]


def _last_words(logs: Path, local_rank: int) -> str:
    """What a process wrote last, in its latest attempt."""
    files = logs.glob(f"*/attempt_*/{local_rank}/stderr.log")
    latest = max(files, key=lambda path: int(path.parts[-3].split("_")[-1]), default=None)
    lines = [] if latest is None else latest.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[-5:]) or "ended without a word"


def require_alone(processes: int) -> None:
    """Refuses several processes for several seeds."""
    if processes > 1:
        raise ConfigError(
            f"--processes {processes} shares out the batches of one agent; --seeds trains several. "
            "Use one or the other"
        )
