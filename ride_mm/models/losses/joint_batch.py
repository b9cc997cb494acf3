"""The batch of all processes together."""

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import Tensor


def gather_batch(x: Tensor) -> Tensor:
    """Put the rows of all processes together, for losses that compare samples.

    Gradients flow to this process's own rows, times the number of processes: a wrapper
    that averages gradients over processes (DDP) then has those of the joint batch.

    Args:
        x: Rows of this process, (N, ...); every process has as many.

    Returns:
        (N * number of processes, ...), in the order of the processes.
    """
    processes = get_world_size()
    if processes == 1:
        return x
    held = x.detach()
    rows = all_gather(held.contiguous())
    rows[get_rank()] = held + processes * (x - held)
    return torch.cat(rows)
