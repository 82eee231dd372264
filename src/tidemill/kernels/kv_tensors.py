"""The arena of keys and values: one allocation of equal pages, seen as tensors by layer.

It owns the memory and its layout; which page belongs to whom is the scheduler's business.
"""

from dataclasses import dataclass

import numpy as np
import torch

from tidemill.core.errors import CapacityError
from tidemill.core.kv_cache import KVCacheLayout

_LINE_BYTES = 64
"""A cache line: the arena on a CPU and every head in a page begin at one, so that vectors do not straddle two."""
LEAST_SCALED = 1e-30
"""A key or value whose numbers are all smaller is stored as zeros where the cache is int8."""
SCALE_DTYPE = torch.bfloat16


@dataclass(frozen=True, slots=True)
class _HeadLayout:
    """What one layer's page holds of one head: keys, values, and in int8 the scales of keys and then of values."""

    head_dim: int
    block_size: int
    dtype: torch.dtype

    @property
    def key_pair(self) -> int:
        """Neighbouring elements of a key that lie together, as dot-product instructions of 16 and 8 bits take them."""
        return 2 if self.dtype.itemsize < 4 and self.head_dim % 2 == 0 else 1

    @property
    def value_pair(self) -> int:
        """Neighbouring positions whose values lie together."""
        return 2 if self.dtype.itemsize < 4 and self.block_size % 2 == 0 else 1

    @property
    def part_bytes(self) -> int:
        """Of keys, and of values."""
        return self.head_dim * self.block_size * self.dtype.itemsize

    @property
    def scale_bytes(self) -> int:
        """Of keys' scales, and of values' scales."""
        return self.block_size * SCALE_DTYPE.itemsize if self.dtype == torch.int8 else 0

    @property
    def num_bytes(self) -> int:
        return -(-2 * (self.part_bytes + self.scale_bytes) // _LINE_BYTES) * _LINE_BYTES


def block_bytes(*, layers_per_group: int, num_kv_heads: int, head_dim: int, block_size: int, dtype: torch.dtype) -> int:
    """Bytes of one page: keys and values of `block_size` positions in every layer of one group."""
    return layers_per_group * num_kv_heads * _HeadLayout(head_dim, block_size, dtype).num_bytes


@dataclass(frozen=True, slots=True)
class PagedTensors:
    """One layer's part of `KVTensors`. Scales are None unless the cache is int8."""

    keys: torch.Tensor
    values: torch.Tensor
    key_scales: torch.Tensor | None
    value_scales: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class KVTensors:
    """Pages of keys and values. A page belongs to one group at a time, so every group sees it through the same views.

    `keys[i]` is (num_blocks, num_kv_heads, head_dim / pair, block_size, pair) and `values[i]` is (num_blocks,
    num_kv_heads, block_size / pair, head_dim, pair) for the i-th layer of whichever group holds the page: a query meets
    neighbouring positions, and a weight neighbouring columns, in neighbouring elements, which is what vector
    instructions want. The pair is 2 in bf16 and int8 (1 where the number is odd) and 1 in float32.

    An int8 cache holds integers in -127..127 and what they are worth: `key_scales[i]` and `value_scales[i]` are
    (num_blocks, num_kv_heads, block_size) bf16, one for each position's key and value of a head. Else both are empty.
    """

    arena: torch.Tensor
    """(num_blocks * block_bytes,) uint8, zeroed."""
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    key_scales: tuple[torch.Tensor, ...]
    value_scales: tuple[torch.Tensor, ...]
    block_size: int

    def layers(self) -> tuple[PagedTensors, ...]:
        """The parts of each layer, by its place in a group."""
        none = (None,) * len(self.keys)
        parts = zip(self.keys, self.values, self.key_scales or none, self.value_scales or none, strict=True)
        return tuple(PagedTensors(*part) for part in parts)

    @staticmethod
    def allocate(
        layout: KVCacheLayout, *, num_kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> "KVTensors":
        """Allocate the arena of `layout`. Raises CapacityError when the device refuses the memory."""
        layers, size = len(layout.groups[0].layers), layout.block_size
        assert all(len(group.layers) == layers for group in layout.groups), "groups must be of one size"
        head = _HeadLayout(head_dim, size, dtype)
        expected = layers * num_kv_heads * head.num_bytes
        assert layout.block_bytes == expected, f"layout says {layout.block_bytes} bytes a block, the model {expected}"
        try:
            arena = _zeros(layout.num_blocks * layout.block_bytes, device)
        except (RuntimeError, MemoryError) as error:
            raise CapacityError(
                f"The KV cache of {layout.num_blocks} blocks ({layout.num_blocks * layout.block_bytes} bytes) "
                f"could not be allocated on {device}.",
                next_step="Lower --kv-cache-memory.",
            ) from error
        heads = arena.view(layout.num_blocks, layers, num_kv_heads, head.num_bytes)

        def part(start: int, num_bytes: int, as_type: torch.dtype, shape: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
            elements = heads[..., start : start + num_bytes].view(as_type)
            return tuple(elements.view(*heads.shape[:3], *shape).unbind(1))

        key_shape = (head_dim // head.key_pair, size, head.key_pair)
        value_shape = (size // head.value_pair, head_dim, head.value_pair)
        scales_at, scale_bytes = 2 * head.part_bytes, head.scale_bytes
        key_scales, value_scales = (
            part(scales_at + i * scale_bytes, scale_bytes, SCALE_DTYPE, (size,)) if scale_bytes else () for i in (0, 1)
        )
        return KVTensors(
            arena=arena,
            keys=part(0, head.part_bytes, dtype, key_shape),
            values=part(head.part_bytes, head.part_bytes, dtype, value_shape),
            key_scales=key_scales,
            value_scales=value_scales,
            block_size=size,
        )


def _zeros(num_bytes: int, device: torch.device) -> torch.Tensor:
    """(num_bytes,) uint8. On a CPU the pages come from the system zeroed, and only when they are first written."""
    if device.type != "cpu":
        return torch.zeros(num_bytes, dtype=torch.uint8, device=device)
    memory = np.zeros(num_bytes + _LINE_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % _LINE_BYTES
    return torch.from_numpy(memory)[start : start + num_bytes]
