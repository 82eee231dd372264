"""How the C library treats memory that a step frees: kept for the next one, not given back and faulted in again.

A prompt's activations are tens of megabytes a layer. By default glibc maps such a block anew each time, and the kernel
clears every page of it: eight thousand page faults for the widest product of 512 rows.
"""

import ctypes
import logging

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3)."""
_KEPT_BYTES = 1 << 30
_PAD_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Have blocks of up to a gibibyte taken from, and given back to, the process's own heap; whether it could be had.

    What was freed until now first goes back to the system. Only glibc is known to listen.
    """
    try:
        library = ctypes.CDLL(None)
        trim, mallopt = library.malloc_trim, library.mallopt
    except (OSError, AttributeError):
        logging.getLogger(__name__).debug("The C library has no mallopt; memory is returned as it sees fit.")
        return False
    trim.argtypes, mallopt.argtypes = [ctypes.c_size_t], [ctypes.c_int, ctypes.c_int]
    trim(0)
    settings = ((_MMAP_THRESHOLD, _KEPT_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES), (_TOP_PAD, _PAD_BYTES))
    taken = [mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(taken)
