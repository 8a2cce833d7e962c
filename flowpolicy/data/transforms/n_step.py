"""Windows of several steps whose rewards are summed."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch

from flowpolicy.data.dataset import Dataset
from flowpolicy.data.layout import is_after
from flowpolicy.data.transforms.windows import check_single_steps, longest_episode
from flowpolicy.errors import DataError, require_at_least


def n_step(dataset: Dataset, n: int = 10, discount: float = 0.99) -> Dataset:
    r"""Replace each row by the window of up to ``n`` steps that begins with it.

    .. math:: R_i = \sum_{k=0}^{m_i-1} \gamma^k r_{i+k}, \qquad s'_i = s_{i+m_i}

    A window ends after `n` steps or with its first success, whichever comes first; its length
    `m_i` goes into ``steps_to_next_obs``, so that a critic bootstraps with `discount ** m_i`.
    Windows that would leave their trajectory are dropped, unless a success ends them inside; where
    more than half of the rows are, a warning says so.

    Args:
        dataset: one-step data, the rows of each episode next to each other and in order.
        n: the most steps of a window.
        discount: the discount per step; the critic's must be the same.

    Returns:
        A new data set: ``("next", "reward")`` `[N, 1]` holds the sum, ``("next", "observation")``
        `[N, O]` and ``("next", "truncated")`` `[N, 1]` are those of the window's end,
        ``("next", "terminated")`` `[N, 1]` tells of a success in the window, and
        ``steps_to_next_obs`` is `[N, 1]` int64.

    Raises:
        ConfigError: ``n`` below 1, or a discount outside (0, 1].
        DataError: n-step data or chunks already, an episode in several pieces, or windows longer
            than every episode of which some do not end with a success.

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
        ...     }
        ... )
        >>> windows = transforms.n_step(dataset, n=2, discount=0.5)
        >>> windows.entries()["next", "reward"].squeeze(-1)
        tensor([0.5000, 2.0000, 3.5000])
    """
    require_at_least("n_step", "n", n, 1)
    check_single_steps("n_step", dataset, discount)
    entries = dataset.entries()
    episode = entries["episode"]
    rows = torch.arange(len(dataset), device=dataset.device)
    reward = entries["next", "reward"].squeeze(1).double()
    success = entries["next", "terminated"].squeeze(1)
    total = torch.zeros_like(reward)
    last = rows.clone()
    ongoing = torch.ones_like(success)  # windows that neither succeeded nor left their trajectory
    succeeded = torch.zeros_like(success)
    for k in range(n):
        step = (rows + k).clamp(max=len(dataset) - 1)
        ongoing &= (rows + k < len(dataset)) & (episode[step] == episode)
        total += torch.where(ongoing, discount**k * reward[step], 0.0)
        last = torch.where(ongoing, step, last)
        succeeded |= ongoing & success[step]
        ongoing &= ~success[step]

    kept = (ongoing | succeeded).nonzero().squeeze(1)
    dropped = len(dataset) - len(kept)
    longest = longest_episode(dataset)
    if dropped and n > longest:
        raise DataError(
            f"n_step: no window of {n} steps fits into {dataset.info.name!r}, whose longest "
            f"episode has {longest} steps. Choose a smaller n."
        )
    if 2 * dropped > len(dataset):
        warnings.warn(
            f"n_step: {dropped / len(dataset):.0%} of the rows of {dataset.info.name!r} are "
            f"dropped, because fewer than {n} steps follow them in their episode; a smaller n "
            "keeps more",
            stacklevel=2,
        )
    last = last[kept]
    windows = {k: values[last if is_after(k) else kept] for k, values in entries.items()}
    windows["next", "reward"] = total[kept].float().unsqueeze(1)
    windows["steps_to_next_obs"] = (last - kept + 1).unsqueeze(1)
    return Dataset(windows, replace(dataset.info, n_step=n, discount=discount), source="n_step")
