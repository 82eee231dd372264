"""A quantized weight in a backend's own layout: arrays that can be written to disk as they are and mapped back."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tidemill.kernels.quantized import IntegerFormat

ALIGNMENT_BYTES = 64
"""Of each array's first byte, in memory and on disk: a cache line, and the widest vector."""


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """What `KernelBackend.pack` made, and `load_packed` takes: meaningful to backends of one `packing_version`."""

    format: IntegerFormat
    in_features: int
    out_features: int
    arrays: dict[str, NDArray[Any]]
    """By name, each C-contiguous and aligned; they may be read-only."""


def aligned_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An uninitialized array whose first byte is aligned."""
    size = prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTES
    return memory[start : start + size].view(dtype).reshape(shape)
