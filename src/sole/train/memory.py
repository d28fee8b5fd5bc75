"""Memory that a step of training frees stays with the process, for the next step."""

from __future__ import annotations

import ctypes
import platform

# malloc.h of glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let freed memory be used again instead of giving it back to the system.

    The eye's maps of one batch are hundreds of megabytes. glibc asks the system for such blocks and
    gives them back each time, and the system fills each with zeros, page by page: a third of a
    step of training on two cores. The process stays as large as it was at its largest
    (2 GB of free memory at the end of its heap are given back).

    Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.

    Returns:
        Whether both settings were taken; False where the C library is another one (macOS, musl).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    taken = (libc.mallopt(_M_MMAP_MAX, 0), libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT))
    return taken == (1, 1)
