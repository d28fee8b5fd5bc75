"""How the server's memory stays flat: glibc is told to give large buffers back."""

from __future__ import annotations

import ctypes
import platform

_M_MMAP_THRESHOLD = -3  # <malloc.h>
_LARGE_BYTES = 8 * 2**20


def return_large_buffers() -> bool:
    """Have buffers of 8 MB and more returned to the system when they are freed; whether that holds.

    Batches differ in size, and so do the buffers of a pass. Left to itself glibc raises this
    threshold to 32 MB and keeps what lies below it, in pieces that the next batch does not fit:
    memory grew by 50 to 280 MB over 8,000 requests. Elsewhere than on glibc nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    return ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES) == 1
