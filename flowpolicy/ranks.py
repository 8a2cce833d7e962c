"""The processes that learn together, PyTorch's ranks: each passes its rows through the networks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import final

import torch
import torch.distributed as dist
from tensordict import TensorDictBase
from torch import Tensor

from flowpolicy.errors import ConfigError, DistributedError

CHECK_EVERY = 100
"""Steps between two comparisons of what the ranks hold."""


class _Spread:
    """Whether batches are spread now; an object, because compiled code can read its attribute."""

    on = False


_spread = _Spread()
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def count() -> int:
    """How many processes learn together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own() -> int:
    """The number of this process among them, from 0."""
    return dist.get_rank() if count() > 1 else 0


def leads() -> bool:
    """Whether this process is the one that writes files."""
    return own() == 0


def require_group(owner: str) -> None:
    """Refuses to go on without a process group.

    Raises:
        DistributedError: There is none.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise DistributedError(
            f"{owner}: there is no process group. Start the script with torchrun and call "
            "torch.distributed.init_process_group() first."
        )


@contextmanager
def spread_batch() -> Iterator[None]:
    """Inside, the batch is what all ranks hold together, as many rows each."""
    before = _spread.on
    _spread.on = True
    try:
        yield
    finally:
        _spread.on = before


def is_spread() -> bool:
    """Whether a batch is spread over the ranks here."""
    return _spread.on


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a tensor over all ranks, in its shape; gradient passes it on every rank."""
    from torch.distributed import _functional_collectives as collectives

    total: Tensor = collectives.all_reduce(value, "sum", dist.group.WORLD)  # type: ignore[arg-type]
    return total / dist.get_world_size()


def own_rows(batch: TensorDictBase) -> TensorDictBase:
    """The rows of this rank, as many for each, in their order.

    Raises:
        ConfigError: The rows cannot be shared out evenly.
    """
    size, ranks = (batch.batch_size[0] if batch.batch_size else 0), count()
    require_shares("a batch", size, ranks)
    share = size // ranks
    return batch[own() * share : (own() + 1) * share]


def require_shares(what: str, size: int, ranks: int) -> None:
    """Refuses a number of rows that is not a multiple of the number of ranks."""
    if size < ranks or size % ranks:
        raise ConfigError(
            f"{what} of {size} rows cannot be shared out evenly among {ranks} processes; make "
            f"the size a multiple of {ranks}"
        )


def wait() -> None:
    """Waits until every rank is here."""
    if count() > 1:
        dist.barrier()


def largest(number: int) -> int:
    """The largest of the numbers that the ranks give."""
    if count() == 1:
        return number
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    told = torch.tensor(number, device=device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return int(told)


def sum_over_ranks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The sums of tensors over all ranks, in their shapes; one message for each dtype."""
    kinds: dict[torch.dtype, list[int]] = {}
    for i, tensor in enumerate(tensors):
        kinds.setdefault(tensor.dtype, []).append(i)
    sums = list(tensors)
    for places in kinds.values():
        message = torch.cat([tensors[i].flatten() for i in places])
        dist.all_reduce(message)
        parts = message.split([tensors[i].numel() for i in places])
        for i, part in zip(places, parts, strict=True):
            sums[i] = part.view(tensors[i].shape)
    return sums


def require_same(tensors: Iterable[tuple[str, Tensor]], when: str) -> None:
    """Compares named tensors over all ranks, bit by bit, through a checksum of each.

    Args:
        tensors: In the same order on every rank.
        when: For the message.

    Raises:
        DistributedError: On every rank, where one differs; names the first and the ranks.
    """
    names, values = zip(*tensors, strict=True)
    device = values[0].device
    told = [len(names), zlib.crc32("\n".join(names).encode())]
    apart = _differing(torch.tensor(told, device=device))
    what = "the number or the names of the tensors"  # sums of more or fewer could not be compared
    if not apart.any():
        apart = _differing(torch.stack([_checksum(value).to(device) for value in values]))
        if not apart.any():
            return
        what = repr(names[int(apart.any(dim=0).nonzero()[0])])
    ranks = apart.any(dim=1).nonzero().flatten().tolist()
    raise DistributedError(
        f"the processes have come apart {when}: {what} of rank {', '.join(map(str, ranks))} "
        "differs from that of rank 0. Build and load the same on every rank, and change it by the "
        "same updates only."
    )


def _differing(own: Tensor) -> Tensor:
    """Which numbers of which rank are not those of the first, ``[ranks, len(own)]``."""
    every = [torch.empty_like(own) for _ in range(count())]
    dist.all_gather(every, own)
    table = torch.stack(every)
    return (table != table[0]).cpu()


@final
class Tripwire:
    """Compares what the ranks hold before the second and third step and before every hundredth.

    Before the second, because an optimizer has no state before the first; before the third, because
    the first may have been a trial of the compiler, which takes none.

    Args:
        step: What it stands before, for the message.
    """

    def __init__(self, step: str) -> None:
        self.step = step
        self.steps = 0

    def check(self, tensors: Callable[[], Iterable[tuple[str, Tensor]]]) -> None:
        """Counts a step, and compares if it is time.

        Args:
            tensors: As for :func:`require_same`.

        Raises:
            DistributedError: The ranks have come apart.
        """
        if self.steps in (1, 2) or self.steps % CHECK_EVERY == 0:
            require_same(tensors(), f"before {self.step} {self.steps + 1} of these processes")
        self.steps += 1


def _checksum(tensor: Tensor) -> Tensor:
    """Of a tensor's shape, and of its bits, read as whole numbers, and their order."""
    bits = tensor.detach().contiguous().view(_BITS[tensor.element_size()]).flatten().long()
    places = torch.arange(1, bits.numel() + 1, device=bits.device)
    return (bits * places).sum() + hash(tuple(tensor.shape)) % 2**31
