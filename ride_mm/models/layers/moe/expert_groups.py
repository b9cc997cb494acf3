"""Which processes share the experts of a layer."""

from dataclasses import dataclass
from typing import Any

import torch.distributed as dist


@dataclass(frozen=True)
class ExpertGroups:
    """P processes that have E / P experts each, and the copies of these elsewhere.

    Attributes:
        size: P.
        place: Of this process in its group, from 0; it has the experts from
            ``place * E / P`` on.
        exchange: The group's processes.
        replicas: Those of all groups with the same experts.
        processes: All of them.
    """

    size: int
    place: int
    exchange: dist.ProcessGroup
    replicas: dist.ProcessGroup
    processes: int

    def __deepcopy__(self, memo: dict[int, Any]) -> 'ExpertGroups':
        """A copied layer is in the same group."""
        return self


def make_expert_groups(size: int | None = None) -> ExpertGroups:
    """Divide all processes into groups of successive ones; each process has to call it.

    Args:
        size: Processes of a group, P; all of them by default.

    Raises:
        ValueError: If the groups do not divide the processes.
    """
    processes, rank = dist.get_world_size(), dist.get_rank()
    size = processes if size is None else size
    if type(size) is not int or size < 1 or processes % size:
        raise ValueError(
            f'model_wrapper_cfg.size: expected a divisor of {processes}, the number of '
            f'processes, got {size!r}'
        )
    first = rank - rank % size
    # Every process makes every group, in the same order.
    exchange, replicas = (
        {members[0]: dist.new_group(list(members)) for members in partition}
        for partition in (
            [range(i, i + size) for i in range(0, processes, size)],
            [range(i, processes, size) for i in range(size)],
        )
    )
    place = rank % size
    return ExpertGroups(size, place, exchange[first], replicas[place], processes)
