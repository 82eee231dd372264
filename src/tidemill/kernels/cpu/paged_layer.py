"""One layer's cache as compiled code sees it: its pages, and where in a page the parts of a head are."""

from typing import Any, NamedTuple

import torch

from tidemill.kernels.cpu.arrays import array_of
from tidemill.kernels.kv_tensors import KVTensors


class PagedLayer(NamedTuple):
    """Pages of one element type. Places and steps count elements of `pages`, those of scales elements of `scales`.

    Keys of a head are (head_dim / key_pair, page_size, key_pair), values (page_size / value_pair, head_dim,
    value_pair); key scales are (page_size,), and value scales follow them.
    """

    pages: Any
    """(num_pages, elements): float32, bf16 bits or int8."""
    scales: Any
    """The same memory as bf16 bits, (num_pages, elements); (0, 0) where the cache is not int8."""
    keys_at: int
    """Where the first head's keys are."""
    values_at: int
    scales_at: int
    head_step: int
    """From one head to the next."""
    scale_step: int
    kv_heads: int
    head_dim: int
    page_size: int
    key_pair: int
    value_pair: int


def layers_of(kv: KVTensors) -> tuple[PagedLayer, ...]:
    """The arena's layers, by their place in a group."""
    return tuple(_layer(kv, index) for index in range(len(kv.keys)))


def _layer(kv: KVTensors, index: int) -> PagedLayer:
    keys, values = kv.keys[index], kv.values[index]
    num_pages, kv_heads = keys.shape[:2]
    pages = kv.arena.view(keys.dtype).view(num_pages, -1)

    def place(part: torch.Tensor) -> int:
        return (part.data_ptr() - kv.arena.data_ptr()) // part.element_size()

    scales, scales_at, scale_step = torch.empty(0, 0, dtype=torch.bfloat16), 0, 0
    if kv.key_scales:
        scales = kv.arena.view(torch.bfloat16).view(num_pages, -1)
        scales_at, scale_step = place(kv.key_scales[index]), kv.key_scales[index].stride(1)
    return PagedLayer(
        pages=array_of(pages),
        scales=array_of(scales),
        keys_at=place(keys),
        values_at=place(values),
        scales_at=scales_at,
        head_step=keys.stride(1),
        scale_step=scale_step,
        kv_heads=kv_heads,
        head_dim=values.shape[3],
        page_size=kv.block_size,
        key_pair=keys.shape[4],
        value_pair=values.shape[4],
    )
