"""Ctrl-C and SIGTERM end a run between two updates instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self, final

from flowpolicy import ranks


class Stopped(BaseException):
    """The run was asked to stop; its last state is saved if it had learned anything.

    Not an ``Exception``, as ``KeyboardInterrupt`` is none: whoever handles errors does not mean it.

    Attributes:
        signal: Number of the signal.
        exit_code: What a shell expects then: 130 after Ctrl-C, 143 after SIGTERM.
        saved: Whether there is a checkpoint.
        folder: Of the run, where it was one alone that the command line goes on with.
    """

    def __init__(self, number: int, *, saved: bool = False) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number
        self.saved = saved
        self.folder: Path | None = None
        self.exit_code = 128 + number


class StopRequest:
    """Notes SIGINT and SIGTERM while it is active; a later second one is no longer held back.

    Signals that the process ignores stay ignored.

    Example:
        >>> with StopRequest() as stop:
        ...     stop.requested
        False
    """

    REPEAT = 1.0
    """Seconds within which a second signal counts as the first one, sent twice to a group."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.is_heeded = False
        """Whether the run is ending for it: SIGTERM, which its launcher sends once the first of its
        processes is gone, then no longer cuts off the one that saves."""
        self._since = 0.0
        self._interruptible = False
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether one of the signals has come."""
        return self.number is not None

    def raise_if_requested(self) -> None:
        """Ends the run if one of the signals has come.

        Raises:
            Stopped: It has.
        """
        if self.number is not None:
            raise Stopped(self.number)

    def agree(self) -> None:
        """As :meth:`raise_if_requested`; :class:`AgreedStop` asks the other processes, too."""
        self.raise_if_requested()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # only it can set handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, a signal raises :class:`Stopped` at once: for work that may be cut off."""
        self.raise_if_requested()
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.is_heeded and number == signal.SIGTERM:
            return
        if self.number is not None:
            if now - self._since > self.REPEAT:
                self._restore()
                signal.raise_signal(number)
            return
        self.number, self._since = number, now
        if self._interruptible:
            raise Stopped(number)

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())


@final
class AgreedStop:
    """A request to one of the processes of a run, which all of them take at the same update.

    Args:
        request: What came to this process.
    """

    EVERY = 50
    """Updates from one question to the next: each makes the processes wait for each other."""

    def __init__(self, request: StopRequest) -> None:
        self._request = request
        self._updates = 0

    def raise_if_requested(self) -> None:
        """After an update: asks the other processes every so often.

        Raises:
            Stopped: A signal has come to one of them; on all of them.
        """
        self._updates += 1
        if self._updates % self.EVERY == 0:
            self.agree()

    def agree(self) -> None:
        """Asks the other processes now; all must.

        Raises:
            Stopped: A signal has come to one of them; on all of them.
        """
        if number := ranks.largest(self._request.number or 0):
            self._request.is_heeded = True
            raise Stopped(number)

    def interruptible(self) -> AbstractContextManager[None]:
        """Inside, a signal to this process raises :class:`Stopped`; the others must be told."""
        return self._request.interruptible()
