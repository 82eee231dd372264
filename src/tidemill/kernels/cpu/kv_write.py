"""Writes one position's key and value of one head into its page, as the cache stores them."""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from tidemill.kernels.cpu.element import rounded
from tidemill.kernels.cpu.numba_setup import INSIDE
from tidemill.kernels.kv_tensors import LEAST_SCALED

_LEAST = np.float32(LEAST_SCALED)
_INFINITY_BITS = np.int32(0x7F800000)


@njit(nogil=True, error_model="numpy", **INSIDE)
def write_key(layer: Any, slot: Any, head: Any, key: Any) -> None:
    """Store `key` (head_dim,) float32 for `head` of the position at `slot` (page * page_size + offset)."""
    page, offset = layer.pages[slot // layer.page_size], slot % layer.page_size
    scale_at = layer.scales_at + head * layer.scale_step + offset
    inverse = _settle_scale(layer, slot // layer.page_size, scale_at, key)
    first = layer.keys_at + head * layer.head_step + offset * layer.key_pair
    step = layer.page_size * layer.key_pair
    for pair in range(layer.head_dim // layer.key_pair):
        for i in range(layer.key_pair):
            page[first + pair * step + i] = _stored(page, key[pair * layer.key_pair + i], inverse)


@njit(nogil=True, error_model="numpy", **INSIDE)
def write_value(layer: Any, slot: Any, head: Any, value: Any) -> None:
    """Store `value` (head_dim,) float32 for `head` of the position at `slot`."""
    page, offset = layer.pages[slot // layer.page_size], slot % layer.page_size
    scale_at = layer.scales_at + head * layer.scale_step + layer.page_size + offset
    inverse = _settle_scale(layer, slot // layer.page_size, scale_at, value)
    pair, within = offset // layer.value_pair, offset % layer.value_pair
    first = layer.values_at + head * layer.head_step + pair * layer.head_dim * layer.value_pair + within
    for d in range(layer.head_dim):
        page[first + d * layer.value_pair] = _stored(page, value[d], inverse)


def _settle_scale(layer: Any, page: Any, at: Any, vector: Any) -> Any:
    """Store the scale of `vector` if the cache has scales, and return what its numbers are multiplied by."""
    raise AssertionError("only inside compiled code")


@overload(_settle_scale)
def _settled(layer: Any, page: Any, at: Any, vector: Any) -> Any:
    def scaled(layer: Any, page: Any, at: Any, vector: Any) -> Any:
        # Magnitudes order as their bits do: an integer maximum becomes vectors by itself and loses no NaN.
        highest = np.int32(0)
        for d in range(layer.head_dim):
            highest = max(highest, np.int32(np.float32(vector[d]).view(np.int32) & np.int32(0x7FFFFFFF)))
        if highest >= _INFINITY_BITS:
            layer.scales[page, at] = np.uint16(0x7FC0)
            return np.float32(0)
        most = np.int32(highest).view(np.float32)
        if most < _LEAST:
            layer.scales[page, at] = np.uint16(0)
            return np.float32(0)
        # Rounded up, so that no number exceeds 127.
        bits = (np.float32(most / np.float32(127)).view(np.uint32) + np.uint32(0xFFFF)) >> np.uint32(16)
        layer.scales[page, at] = np.uint16(bits)
        return np.float32(1) / np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)

    def as_it_is(layer: Any, page: Any, at: Any, vector: Any) -> Any:
        return np.float32(1)

    return scaled if layer.types[0].dtype == types.int8 else as_it_is


def _stored(page: Any, number: Any, inverse: Any) -> Any:
    """`number` as an element of `page`."""
    raise AssertionError("only inside compiled code")


@overload(_stored)
def _stored_as(page: Any, number: Any, inverse: Any) -> Any:
    def integer(page: Any, number: Any, inverse: Any) -> Any:
        return np.int8(np.rint(number * inverse)) if inverse > np.float32(0) else np.int8(0)

    def as_it_is(page: Any, number: Any, inverse: Any) -> Any:
        return rounded(page, number)

    return integer if page.dtype == types.int8 else as_it_is
