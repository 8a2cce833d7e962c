"""A replay buffer in another process may start anew, empty, and nobody says so: these two do."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, final

from tensordict import TensorDictBase
from torchrl.data import TensorDictReplayBuffer

from flowpolicy.errors import FlowPolicyError

T = TypeVar("T")


class BufferLostError(FlowPolicyError, RuntimeError):
    """A replay buffer has lost what it held."""


class GenerationReplayBuffer(TensorDictReplayBuffer):
    """TorchRL's replay buffer, with a name for each of its lives.

    Args:
        options: Those of :class:`torchrl.data.TensorDictReplayBuffer`.

    Example:
        >>> from torchrl.data import LazyTensorStorage
        >>> buffer = GenerationReplayBuffer(storage=LazyTensorStorage(10))
        >>> buffer.generation() == buffer.generation()
        True
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._generation = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    def generation(self) -> str:
        """Machine, process and a random number of the time when it was made."""
        return self._generation


class Generational(Protocol):
    """A buffer, or a client of one in another process, that tells its generation."""

    def generation(self) -> str:
        """The same as long as nothing was lost."""
        ...

    def extend(self, data: TensorDictBase) -> Any:
        """Adds rows."""
        ...

    def sample(self, batch_size: int | None = None) -> Any:
        """A batch."""
        ...

    def __len__(self) -> int:
        """Rows."""
        ...


@final
class SameBuffer:
    """Passes everything on to a buffer, and stops once that is another than in the beginning.

    Ray starts an actor that has died again if it is told to (``max_restarts``): the buffer in it is
    empty then, and collectors fill it again, so a learner would go on with a fraction of its data.
    Every call asks for the generation once more, after what it does: generations never come back,
    so what was sampled is from the first one if the answer is.

    Args:
        buffer: A :class:`GenerationReplayBuffer`, or the client of one that runs elsewhere.

    Attributes:
        generation: Of the buffer in the beginning.

    Raises:
        BufferLostError: The buffer was started anew (in use).

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import LazyTensorStorage
        >>> buffer = SameBuffer(GenerationReplayBuffer(storage=LazyTensorStorage(10)))
        >>> index = buffer.extend(TensorDict(x=torch.zeros(4, 1), batch_size=[4]))
        >>> len(buffer), buffer.sample(2)["x"].shape
        (4, torch.Size([2, 1]))
    """

    def __init__(self, buffer: Generational) -> None:
        self.buffer = buffer
        self.generation = buffer.generation()

    def extend(self, data: TensorDictBase) -> Any:
        """Adds rows ``[N]``."""
        return self._asked(lambda: self.buffer.extend(data))

    def sample(self, batch_size: int | None = None) -> TensorDictBase:
        """A batch ``[B]``; the buffer's own size where none is given."""
        batch: TensorDictBase = self._asked(lambda: self.buffer.sample(batch_size))
        return batch

    def __len__(self) -> int:
        """The number of rows."""
        return self._asked(lambda: len(self.buffer))

    def check(self) -> None:
        """Asks whether the buffer is the same.

        Raises:
            BufferLostError: It is another one.
        """
        now = self.buffer.generation()
        if now != self.generation:
            raise BufferLostError(
                f"the replay buffer {self.generation} was lost with all its rows; an empty one, "
                f"{now}, took its place. Go on from the last checkpoint with a buffer that is "
                "filled again"
            )

    def _asked(self, call: Callable[[], T]) -> T:
        try:
            return call()
        finally:
            self.check()
