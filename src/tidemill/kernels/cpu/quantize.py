"""Rows of activations as integers with a scale each: the row function that other kernels fuse, and its plain kernel.

No floating-point licence here: a product and a rounding that fused would differ from the twin's bits.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from tidemill.kernels.cpu import numba_setup
from tidemill.kernels.cpu.element import load
from tidemill.kernels.cpu.numba_setup import INSIDE
from tidemill.kernels.quantized import TINY

CACHED = numba_setup.configure()
_TINY = np.float32(TINY)
_NOT_FINITE = np.int32(0x7F800000)
"""Bits of infinity; a NaN's are above."""


@njit(nogil=True, **INSIDE)
def quantize_row(source: Any, values: Any) -> Any:
    """Quantize `source` (size,) float32 or bf16 bits into `values` (at least size,) int8; returns its scale and sum.

    `values` beyond `size` are set to zero. What the numbers mean is said at QuantizedRows.
    """
    # Magnitudes order as their bits do: an integer maximum becomes vectors by itself and loses no NaN.
    highest = np.int32(0)
    for i in range(source.shape[0]):
        magnitude = np.int32(np.float32(load(source[i])).view(np.int32) & np.int32(0x7FFFFFFF))
        highest = max(highest, magnitude)
    values[source.shape[0] :] = 0
    if highest >= _NOT_FINITE:
        values[: source.shape[0]] = 0
        return np.float32(np.nan), np.int32(0)
    largest = np.int32(highest).view(np.float32)
    if largest < _TINY:
        largest = np.float32(127)
    inverse = np.float32(127) / largest
    total = np.int32(0)
    for i in range(source.shape[0]):
        value = np.int32(np.rint(load(source[i]) * inverse))
        values[i] = value
        total = np.int32(total + value)
    return largest / np.float32(127), total


@njit(nogil=True, cache=CACHED)
def quantize(x: Any, values: Any, scales: Any, sums: Any) -> None:
    """Quantize each row of x (rows, size), float32 or bf16 bits: values (rows, padded size) int8, scales, sums."""
    for row in range(x.shape[0]):
        scales[row], sums[row] = quantize_row(x[row], values[row])


@njit(nogil=True, parallel=True, cache=CACHED)
def quantize_parallel(x: Any, values: Any, scales: Any, sums: Any) -> None:
    """`quantize` over threads."""
    for row in prange(x.shape[0]):
        scales[row], sums[row] = quantize_row(x[row], values[row])
