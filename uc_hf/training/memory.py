"""How the C library keeps memory that this process has freed."""

import ctypes


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""

KEPT = 2**31 - 1
"""Free bytes at the end of the heap up to which none are given back: the most that `mallopt` takes."""


def keep_freed_memory() -> None:
    """Have this process take memory again that it has freed, where the C library is glibc; elsewhere change nothing.

    glibc gives large blocks back to the system at once, and every tensor of that size has its pages zeroed anew: half
    of the time of a training on a CPU. Commands and their workers call this; a program that imports uc_hf decides for
    itself. The bytes of results stay the same.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT)
