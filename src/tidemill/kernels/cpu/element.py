"""Scalars inside Numba kernels: bf16 as raw bits, and exp. It owns no loop.

bf16 tensors reach Numba as uint16; `load` and `store` hide which of the two element types a kernel was compiled for.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

EXACT = {"contract"}
"""Floating-point licence of every kernel here: a product and a sum may fuse, nothing may be reordered."""


@njit(fastmath=EXACT, inline="always")
def exp_nonpositive(x: Any) -> Any:
    """exp(x) for x <= 0, relative error 2e-7: a power of two times a polynomial. It is 1 at 0, and 0 below -88.1."""
    scaled = max(x * np.float32(1.44269504), np.float32(-127.0))
    whole = np.rint(scaled)
    f = scaled - whole
    p = np.float32(0.00133158)
    p = p * f + np.float32(0.00966946)
    p = p * f + np.float32(0.0555057)
    p = p * f + np.float32(0.24022286)
    p = p * f + np.float32(0.69314706)
    p = p * f + np.float32(1.0)
    return p * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


def load(element: Any) -> Any:
    """The float32 value of an element of a float32 or bf16 (uint16) array."""
    raise AssertionError("only inside compiled code")


@overload(load, inline="always")
def _load(element: Any) -> Any:
    def from_bf16(element: Any) -> Any:
        return np.uint32(np.uint32(element) << np.uint32(16)).view(np.float32)

    def as_it_is(element: Any) -> Any:
        return element

    return from_bf16 if element == types.uint16 else as_it_is


def rounded(array: Any, value: Any) -> Any:
    """`value` (float32) as an element of `array`: itself, or bf16 bits rounded to nearest even."""
    raise AssertionError("only inside compiled code")


@overload(rounded)
def _rounded(array: Any, value: Any) -> Any:
    def to_bf16(array: Any, value: Any) -> Any:
        bits = np.float32(value).view(np.uint32)
        nearest = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        return np.uint16(nearest) if value == value else np.uint16(0x7FC0)  # noqa: PLR0124

    def as_it_is(array: Any, value: Any) -> Any:
        return np.float32(value)

    return to_bf16 if array.dtype == types.uint16 else as_it_is
