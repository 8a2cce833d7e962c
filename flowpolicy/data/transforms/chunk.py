"""Chunks of actions that are chosen together and played one after the other."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch

from flowpolicy.data.dataset import Dataset
from flowpolicy.data.layout import is_after
from flowpolicy.data.transforms.windows import check_single_steps, longest_episode
from flowpolicy.errors import DataError, require_at_least


def chunk(dataset: Dataset, horizon: int = 5, discount: float = 0.99) -> Dataset:
    r"""Replace each row by the window of ``horizon`` rows that begins with it.

    .. math::
        a_{i:i+h} = [a_i, \dots, a_{i+h-1}],\qquad
        R_i = \sum_{j=0}^{m_i-1} \gamma^j r_{i+j},\qquad s'_i = s_{i+m_i}

    :math:`m_i \le h` is the number of rows before the trajectory's end. A success does not end a
    window: rewards after it still count, but no value is added, ``("next", "terminated")`` being
    True once any of the :math:`m_i` rows was solved. The exponent of the discount is ``h`` in every
    row, also where :math:`m_i < h`; such a row stays, with the following rows' actions in the rest
    of its chunk, and says so in ``valid``: losses of the data's action count it as zero. A warning
    tells where that is more than half of the rows. Windows that would leave the data are no rows.

    The actions take ``h`` times the memory, and twice that while they are made.

    Args:
        dataset: one-step data, the rows of each episode next to each other and in order.
        horizon: ``h``, the number of steps in a chunk.
        discount: the discount per step; the critic's must be the same.

    Returns:
        A new data set of ``N - h + 1`` rows: ``action`` `[N, h A]` the flattened chunk,
        ``("next", "reward")`` `[N, 1]` the sum, ``("next", "observation")`` `[N, O]` and
        ``("next", "truncated")`` `[N, 1]` those of the last row inside the trajectory,
        ``steps_to_next_obs`` `[N, 1]` int64 always ``h``, ``valid`` `[N, 1]` bool.

    Raises:
        ConfigError: ``horizon`` below 1, or a discount outside (0, 1].
        DataError: n-step data or chunks already, an episode in several pieces, or a horizon longer
            than every episode.

    Example:
        >>> from flowpolicy.data import Dataset, transforms
        >>> rows, flags = torch.arange(4.0).reshape(4, 1), torch.zeros(4, 1, dtype=torch.bool)
        >>> dataset = Dataset(
        ...     {
        ...         "observation": rows,
        ...         "action": rows / 4,
        ...         ("next", "reward"): rows,
        ...         ("next", "observation"): rows + 1,
        ...         ("next", "terminated"): flags,
        ...         "episode": torch.tensor([0, 0, 0, 1]),
        ...     }
        ... )
        >>> chunks = transforms.chunk(dataset, horizon=2, discount=0.5).entries()
        >>> chunks["action"].tolist()
        [[0.0, 0.25], [0.25, 0.5], [0.5, 0.75]]
        >>> chunks["next", "reward"].squeeze(-1), chunks["valid"].squeeze(-1)
        (tensor([0.5000, 2.0000, 2.0000]), tensor([ True,  True, False]))

    Source: Li, Zhou, Levine, "Reinforcement learning with action chunking", arXiv 2507.07969, and
    the code of QAM, which samples such windows.

    Differences from the authors' code: none; windows are made once, not at every draw.
    """
    require_at_least("chunk", "horizon", horizon, 1)
    check_single_steps("chunk", dataset, discount)
    longest = longest_episode(dataset)
    if horizon > longest:
        raise DataError(
            f"chunk: no chunk of {horizon} steps fits into {dataset.info.name!r}, whose longest "
            f"episode has {longest} steps. Choose a smaller horizon."
        )
    chunks = cut_chunks(dataset, horizon, discount)
    count = len(chunks)
    invalid = count - int(chunks.entries()["valid"].sum())
    if 2 * invalid > count:
        warnings.warn(
            f"chunk: {invalid / count:.0%} of the rows of {dataset.info.name!r} teach no action, "
            f"because fewer than {horizon} steps follow them in their episode; a smaller horizon "
            "uses more",
            stacklevel=2,
        )
    return chunks


def cut_chunks(dataset: Dataset, horizon: int, discount: float) -> Dataset:
    """What :func:`chunk` gives, of data that were checked before.

    Args:
        dataset: at least ``horizon`` single steps, of however many episodes.
        horizon: ``h``, the number of steps in a chunk.
        discount: the discount per step.
    """
    entries = dataset.entries()
    count = len(dataset) - horizon + 1
    episode = entries["episode"]
    reward, success = (entries["next", name].squeeze(1) for name in ("reward", "terminated"))
    inside = torch.ones(count, dtype=torch.bool, device=dataset.device)
    succeeded = torch.zeros_like(inside)
    total = torch.zeros(count, dtype=torch.float64, device=dataset.device)
    last = torch.arange(count, device=dataset.device) - 1
    for k in range(horizon):
        step = slice(k, k + count)
        inside = episode[step] == episode[:count]
        total += torch.where(inside, discount**k * reward[step].double(), 0.0)
        succeeded |= inside & success[step]
        last += inside
    windows = {k: values[last] if is_after(k) else values[:count] for k, values in entries.items()}
    actions = entries["action"].unfold(0, horizon, 1)  # [N - h + 1, A, h], a view
    windows["action"] = actions.transpose(1, 2).flatten(1)
    windows["next", "reward"] = total.float().unsqueeze(1)
    windows["next", "terminated"] = succeeded.unsqueeze(1)
    windows["steps_to_next_obs"] = torch.full_like(last, horizon).unsqueeze(1)
    windows["valid"] = inside.unsqueeze(1)
    del windows["next", "done"]  # follows from the two above
    windows.pop(("next", "action"), None)  # of one step; with_next_action knows that of chunks
    info = replace(dataset.info, horizon=horizon, discount=discount)
    return Dataset(windows, info, source="chunk")
