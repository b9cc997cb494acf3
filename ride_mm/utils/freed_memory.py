"""Whether memory that tensors on a CPU no longer need is kept."""

import ctypes

# Of mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next tensors.

    By default the C library returns large blocks to the system, and the system clears
    new ones page by page: with large batches a network spends much of its time on that,
    most where the feature maps are large, which is in the trunk.

    Returns:
        Whether the C library could be told; glibc's can.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl; Windows
        return False
    never_map = mallopt(M_MMAP_MAX, 0)
    never_trim = mallopt(M_TRIM_THRESHOLD, -1)
    return bool(never_map and never_trim)
