"""What the C library does with memory that was freed."""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
KEPT_BYTES = 64 << 20


def keep_freed_memory() -> None:
    """Keep up to KEPT_BYTES of freed memory for the next array instead of giving it back page by page.

    Garbling makes and drops arrays of megabytes; without this, page faults take up to 40 % of its time. All
    threads share what is kept: an arena each would let a cloud grow with every thread that ever served.
    Only glibc knows the settings; elsewhere nothing happens.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        library.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        library.mallopt(M_ARENA_MAX, 1)
