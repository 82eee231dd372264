"""The arena of keys and values: one allocation of equal pages, seen as tensors by layer.

It owns the memory and its layout; which page belongs to whom is the scheduler's business.
"""

from dataclasses import dataclass

import numpy as np
import torch

from tidemill.core.errors import CapacityError
from tidemill.core.kv_cache import KVCacheLayout

_ALIGNMENT_BYTES = 64
"""Of the arena on a CPU: a cache line, so that vectors do not straddle two."""


def block_bytes(*, layers_per_group: int, num_kv_heads: int, head_dim: int, block_size: int, dtype: torch.dtype) -> int:
    """Bytes of one page: keys and values of `block_size` positions in every layer of one group."""
    return layers_per_group * 2 * num_kv_heads * head_dim * block_size * dtype.itemsize


@dataclass(frozen=True, slots=True)
class KVTensors:
    """Pages of keys and values. A page belongs to one group at a time, so every group sees it through the same views.

    `keys[i]` is (num_blocks, num_kv_heads, head_dim, block_size) and `values[i]` is (num_blocks, num_kv_heads,
    block_size, head_dim) for the i-th layer of whichever group holds the page. Keys are stored transposed: a query then
    meets neighbouring positions in neighbouring elements, which is what vector instructions want.
    """

    arena: torch.Tensor
    """(num_blocks * block_bytes,) uint8, zeroed."""
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    block_size: int

    @staticmethod
    def allocate(
        layout: KVCacheLayout, *, num_kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> "KVTensors":
        """Allocate the arena of `layout`. Raises CapacityError when the device refuses the memory."""
        layers = len(layout.groups[0].layers)
        assert all(len(group.layers) == layers for group in layout.groups), "groups must be of one size"
        expected = block_bytes(
            layers_per_group=layers,
            num_kv_heads=num_kv_heads,
            head_dim=head_dim,
            block_size=layout.block_size,
            dtype=dtype,
        )
        assert layout.block_bytes == expected, f"layout says {layout.block_bytes} bytes a block, the model {expected}"
        try:
            arena = _zeros(layout.num_blocks * layout.block_bytes, device)
        except (RuntimeError, MemoryError) as error:
            raise CapacityError(
                f"The KV cache of {layout.num_blocks} blocks ({layout.num_blocks * layout.block_bytes} bytes) "
                f"could not be allocated on {device}.",
                next_step="Lower --kv-cache-memory.",
            ) from error
        pages = arena.view(dtype).view(layout.num_blocks, layers, 2, num_kv_heads, layout.block_size * head_dim)
        shape = (layout.num_blocks, layers, num_kv_heads)
        keys = pages[:, :, 0].view(*shape, head_dim, layout.block_size).unbind(1)
        values = pages[:, :, 1].view(*shape, layout.block_size, head_dim).unbind(1)
        return KVTensors(arena=arena, keys=keys, values=values, block_size=layout.block_size)


def _zeros(num_bytes: int, device: torch.device) -> torch.Tensor:
    """(num_bytes,) uint8. On a CPU the pages come from the system zeroed, and only when they are first written."""
    if device.type != "cpu":
        return torch.zeros(num_bytes, dtype=torch.uint8, device=device)
    memory = np.zeros(num_bytes + _ALIGNMENT_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT_BYTES
    return torch.from_numpy(memory)[start : start + num_bytes]
