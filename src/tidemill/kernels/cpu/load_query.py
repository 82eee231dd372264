"""A query as the vector code wants it: scaled, in the number format that goes with the cache's element type."""

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from tidemill.kernels.cpu import block_places as places
from tidemill.kernels.cpu.element import rounded


def load_query(query: Any, scale: Any, space: Any, at: Any, state: Any, pages: Any) -> None:
    """Put `query` (head_dim,) float32, times `scale`, into `space.floats` at `at`, as operands for `pages`' type."""
    raise AssertionError("only inside compiled code")


@overload(load_query)
def _load_query_as(query: Any, scale: Any, space: Any, at: Any, state: Any, pages: Any) -> Any:
    def as_it_is(query: Any, scale: Any, space: Any, at: Any, state: Any, pages: Any) -> Any:
        target = space.floats[at : at + query.shape[0]]
        for d in range(query.shape[0]):
            target[d] = query[d] * scale

    def to_bf16(query: Any, scale: Any, space: Any, at: Any, state: Any, pages: Any) -> Any:
        halves = space.floats.view(np.uint16)[2 * at : 2 * at + query.shape[0]]
        for d in range(query.shape[0]):
            halves[d] = rounded(halves, query[d] * scale)

    def to_int16(query: Any, scale: Any, space: Any, at: Any, state: Any, pages: Any) -> Any:
        # Magnitudes order as their bits do: an integer maximum becomes vectors by itself and loses no NaN.
        highest = np.int32(0)
        for d in range(query.shape[0]):
            highest = max(highest, np.int32(np.float32(query[d] * scale).view(np.int32) & np.int32(0x7FFFFFFF)))
        most = np.int32(highest).view(np.float32)
        # A query with a number that is not finite makes scores that are none.
        step = most / np.float32(32767) if most < np.float32(np.inf) else np.float32(np.nan)
        inverse = np.float32(1) / step if step > np.float32(1e-30) else np.float32(0)
        space.floats[state + places.QUERY_STEP] = step
        shorts = space.floats.view(np.int16)[2 * at : 2 * at + query.shape[0]]
        if inverse > np.float32(0):
            for d in range(query.shape[0]):
                shorts[d] = np.int16(np.rint(query[d] * scale * inverse))
        else:
            shorts[:] = 0

    if pages.dtype == types.float32:
        return as_it_is
    return to_bf16 if pages.dtype == types.uint16 else to_int16
