"""Freed memory: how much of it a process keeps for its next large answers."""

from __future__ import annotations

import ctypes
from typing import Final

KEPT_BYTES: Final = 16_777_216
"""How much free memory at its end the heap keeps."""
_MAX_IN_HEAP: Final = 8_388_608
"""What is larger gets memory of its own, which goes back to the system when it is freed."""
_M_TRIM_THRESHOLD: Final = -1  # mallopt(3); Python has no names for them
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> None:
    """Keep the memory of large answers for the next ones, if the C library is glibc.

    Otherwise each answer of some megabytes gives its memory back to the system, and the next one
    gets other pages, which the kernel clears first: a third of the processor time of a large page.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # others don't have it
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAX_IN_HEAP)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
