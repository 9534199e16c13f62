"""Keeps the C library from giving a batch's memory back to the kernel before the next batch."""

from __future__ import annotations

import numpy as np

_BYTES = 16 * 1024 * 1024


def keep_freed_memory() -> None:
    """Let freed arrays of up to 16 MiB be used again instead of being unmapped.

    glibc maps blocks over 128 KiB one by one and unmaps them when they are freed, so each array of a batch pays a page
    fault for every 4 KiB: measured, more than half of the time of a whole column. The limit follows the largest block
    that was freed (mallopt(3), M_MMAP_THRESHOLD); the block made here is never touched, so it costs no memory. Other
    C libraries don't mind. Up to twice as much may stay at the top of the heap.
    """
    np.empty(_BYTES, dtype=np.uint8)
