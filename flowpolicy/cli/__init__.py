"""The command ``flowpolicy``: one module per sub-command.

Exit codes: 0 done, 1 something broke, 2 the request cannot work as it is (one line says why, or a
box of the option parser), 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Sequence

from flowpolicy.__about__ import __version__
from flowpolicy.cli import (
    benchmark,
    data,
    demo,
    doctor,
    evaluate,
    export,
    plot,
    sensitivity,
    sweep,
    train,
    verify,
)
from flowpolicy.cli.console import complain, replace_what_cannot_be_shown, say
from flowpolicy.errors import FlowPolicyError, unknown_name
from flowpolicy.evaluate import EvaluationError
from flowpolicy.train import DivergedError, Stopped
from flowpolicy.train.seeds import RunsFailedError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, an exhausted quota, and a file beyond its limit."""

Command = Callable[[Sequence[str]], None]

COMMANDS: dict[str, tuple[Command, str]] = {
    "train": (train.command, "train an agent on a data set into a new run folder"),
    "eval": (evaluate.command, "run the policy of a run folder in its environment"),
    "export": (export.command, "write the policy of a run into a file that needs PyTorch alone"),
    "plot": (plot.command, "draw the learning curves of one or several run folders"),
    "benchmark": (benchmark.command, "compare the methods of a suite, run by run"),
    "sensitivity": (sensitivity.command, "draw success against a coefficient of one method"),
    "sweep": (sweep.command, "train every cell of a grid, on this machine or on many"),
    "data": (data.command, "generate data sets on this machine"),
    "verify": (verify.command, "read checkpoints and saved data sets and say what is damaged"),
    "doctor": (doctor.command, "say what is wrong with this machine, or with a run"),
    "demo": (
        demo.command,
        "train FQL on the point maze that comes with the package, with pictures",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    Args:
        arguments: Without the program's name; ``None`` takes those of the process.

    Example:
        >>> main(["--version"]) == 0
        flowpolicy ...
        True
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    replace_what_cannot_be_shown()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other packages; ours become one line each
            warnings.filterwarnings("always", module="flowpolicy")
            warnings.showwarning = lambda message, *_, **__: complain("warning", str(message))
            return _dispatch(arguments)
    except BrokenPipeError:  # whoever was listening has heard enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except FlowPolicyError as error:
        complain("error", str(error))
        return 1 if isinstance(error, DivergedError | EvaluationError | RunsFailedError) else 2
    except Stopped as stopped:
        saved = "the state up to here is saved" if stopped.saved else "nothing had been learned yet"
        if stopped.saved and stopped.folder is not None:
            where = shlex.quote(str(stopped.folder))
            saved += f" in {where}; go on with flowpolicy train --resume {where}"
        complain("stopped", saved)
        return stopped.exit_code
    except KeyboardInterrupt:
        complain("stopped", "by Ctrl-C")
        return 130
    except SystemExit as request:  # the option parser or the doctor has said what is wrong
        return request.code if isinstance(request.code, int) else 0


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _help()
        return 0 if arguments else 2
    if arguments[0] == "--version":
        say(f"flowpolicy {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    try:
        COMMANDS[name][0](rest)
    except OSError as error:
        if error.errno in NO_ROOM:
            where = error.filename or "a file"
            raise FlowPolicyError(f"{where} cannot be written: {error.strerror}") from error
        if error.filename is None:  # no file that the user could have named
            raise
        raise FlowPolicyError(f"{error.filename}: {error.strerror}") from error
    return 0


def _help() -> None:
    say("usage: flowpolicy <command> [options]", "")
    say("Flow-matching policies for reinforcement learning.", "")
    for name, (_, purpose) in COMMANDS.items():
        say(f"  {name:<11} {purpose}")
    say("", "flowpolicy <command> --help tells about the options of one command.")
