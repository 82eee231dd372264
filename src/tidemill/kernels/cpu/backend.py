"""The Numba kernels as a bundle: torch tensors in and out, numpy views of the same memory between."""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numba.core import config
from numpy.typing import NDArray

from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.cpu import attention, rows
from tidemill.kernels.kv_tensors import KVTensors
from tidemill.kernels.linear import Weight
from tidemill.kernels.torch_backend import TorchBackend

Array = NDArray[Any]
PARALLEL_ELEMENTS = 64 * 1024
"""Elements from which a row kernel is worth starting threads for (about 20 microseconds of work)."""


@dataclass(frozen=True, slots=True)
class CpuCache:
    """One layer's cache: as attention reads it, and as views of its keys and values to write to."""

    layer: attention.Layer
    keys: Array
    values: Array


@dataclass(frozen=True, slots=True)
class CpuPlan:
    """A step of one group as arrays. `work` is in the order of `attention.paged_attention`, without its heads."""

    batch: AttentionBatch
    tables: Array
    slots: Array
    tiles: dict[int, Array]
    """Work items by number of queries in a tile and key-value heads, filled when first needed."""


def array_of(tensor: torch.Tensor) -> Array:
    """The tensor's memory as numpy sees it; bf16 as uint16."""
    array: Array = tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
    return array


class NumbaBackend:
    """Implements KernelBackend with Numba kernels; products are torch's."""

    name = "numba"

    def __init__(self) -> None:
        self._products = TorchBackend()
        # Numba's pool, as it starts, raises OpenMP's number of threads for everybody: so start it now, and put it back.
        num_threads = torch.get_num_threads()
        numba.set_num_threads(min(num_threads, config.NUMBA_NUM_THREADS))
        torch.set_num_threads(num_threads)

    def check(self) -> None:
        """Compile and run a norm and attention, so that a broken compiler shows at start. Raises what Numba raises."""
        x = np.ones((2, 16), np.float32)
        out = np.empty_like(x)
        rows.rms_norm(x, x[0], np.float32(0), out)
        if not np.array_equal(out, x):
            raise RuntimeError("Numba's norm computes wrong values")
        mean = self._mean_of_values()
        if not torch.allclose(mean, torch.full_like(mean, 2.0)):
            raise RuntimeError("Numba's attention computes wrong values")

    def _mean_of_values(self) -> torch.Tensor:
        """Attention with keys of 0 over a cache of three values 1, 2, 3, all weights equal: 2 everywhere."""
        head_dim, page = 16, 4
        layout = KVCacheLayout(2, page, 2 * head_dim * page * 4, (KVCacheGroup((0,), None),))
        kv = KVTensors.allocate(
            layout, num_kv_heads=1, head_dim=head_dim, dtype=torch.float32, device=torch.device("cpu")
        )
        kv.values[0][1, 0, :3] = torch.tensor([1.0, 2.0, 3.0])[:, None]
        batch = AttentionBatch(
            num_rows=1,
            query_starts=torch.tensor([0, 1], dtype=torch.int32),
            start_positions=torch.tensor([2], dtype=torch.int32),
            context_lens=torch.tensor([3], dtype=torch.int32),
            block_tables=torch.tensor([[1]], dtype=torch.int32),
            slot_mapping=torch.tensor([page + 2]),
            block_size=page,
            window=None,
            query_lens=(1,),
            context_lens_list=(3,),
        )
        return self.attention(torch.ones(1, head_dim), self.bind(kv)[0], self.plan(batch), 1.0, torch.float32)

    def bind(self, kv: KVTensors) -> tuple[CpuCache, ...]:
        num_pages, kv_heads, head_dim, page_size = kv.keys[0].shape
        pages = array_of(kv.arena.view(kv.keys[0].dtype).view(num_pages, -1))
        start = kv.keys[0].data_ptr()

        def place(part: torch.Tensor) -> int:
            return (part.data_ptr() - start) // part.element_size()

        return tuple(
            CpuCache(
                attention.Layer(pages, place(k), place(v), kv_heads, head_dim, page_size), array_of(k), array_of(v)
            )
            for k, v in zip(kv.keys, kv.values, strict=True)
        )

    def plan(self, batch: AttentionBatch) -> CpuPlan:
        numba.set_num_threads(min(torch.get_num_threads(), config.NUMBA_NUM_THREADS))
        return CpuPlan(batch, batch.block_tables.numpy(), batch.slot_mapping.numpy(), {})

    def prepare(self, weight: torch.Tensor, bias: torch.Tensor | None, *, row_tile: int | None) -> Weight:
        return self._products.prepare(weight, bias, row_tile=row_tile)

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype) -> torch.Tensor:
        out = torch.empty_like(x, dtype=dtype)
        rows.rms_norm(x.numpy(), weight.numpy(), np.float32(epsilon), array_of(out))
        return out

    def add_rms_norm(
        self, residual: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, epsilon: float
    ) -> torch.Tensor:
        out = torch.empty_like(delta)
        kernel = rows.add_rms_norm if _is_small(out) else rows.add_rms_norm_parallel
        kernel(residual.numpy(), array_of(delta), weight.numpy(), np.float32(epsilon), array_of(out))
        return out

    def rotate_and_write(
        self,
        qkv: torch.Tensor,
        positions: torch.Tensor,
        rotations: torch.Tensor,
        norms: tuple[torch.Tensor, torch.Tensor],
        epsilon: float,
        cache: CpuCache,
        plan: CpuPlan,
    ) -> torch.Tensor:
        layer = cache.layer
        q = torch.empty(qkv.shape[0], qkv.shape[1] - 2 * layer.kv_heads * layer.head_dim)
        kernel = rows.rotate_and_write if _is_small(qkv) else rows.rotate_and_write_parallel
        kernel(
            array_of(qkv),
            positions.numpy(),
            rotations.numpy(),
            norms[0].numpy(),
            norms[1].numpy(),
            np.float32(epsilon),
            cache.keys,
            cache.values,
            plan.slots,
            q.numpy(),
        )
        return q

    def attention(
        self, q: torch.Tensor, cache: CpuCache, plan: CpuPlan, scale: float, dtype: torch.dtype
    ) -> torch.Tensor:
        layer = cache.layer
        num_kv_heads, group = layer.kv_heads, q.shape[1] // (layer.kv_heads * layer.head_dim)
        if num_kv_heads not in plan.tiles:
            plan.tiles[num_kv_heads] = _work(plan.batch, num_kv_heads, max(1, attention.MAX_TILE_ROWS // group))
        out = torch.empty_like(q, dtype=dtype)
        out[plan.batch.num_rows :] = 0
        window = plan.batch.window or 0
        work = plan.tiles[num_kv_heads]
        attention.paged_attention(q.numpy(), layer, plan.tables, work, window, np.float32(scale), array_of(out))
        return out

    def silu_mul(self, gate_up: torch.Tensor) -> torch.Tensor:
        out = gate_up.new_empty(gate_up.shape[0], gate_up.shape[1] // 2)
        kernel = rows.silu_mul if _is_small(out) else rows.silu_mul_parallel
        kernel(array_of(gate_up), array_of(out))
        return out


def _is_small(tensor: torch.Tensor) -> bool:
    return tensor.numel() < PARALLEL_ELEMENTS


def _work(batch: AttentionBatch, num_kv_heads: int, tile: int) -> Array:
    """Items (sequence, head, first row, queries, position), dealt out so that threads get like shares.

    Threads take equal runs of the list, and a prompt's later tiles cost more: sorted by cost, then dealt in turn.
    """
    items = []
    row = 0
    for sequence, (num_queries, context) in enumerate(zip(batch.query_lens, batch.context_lens_list, strict=True)):
        for done in range(0, num_queries, tile):
            position = context - num_queries + done
            items.append((sequence, row + done, min(tile, num_queries - done), position))
        row += num_queries
    items.sort(key=lambda item: item[2] * item[3], reverse=True)
    spread = [(item[0], head, *item[1:]) for item in items for head in range(num_kv_heads)]
    threads = numba.get_num_threads()
    dealt = [item for thread in range(threads) for item in spread[thread::threads]]
    return np.array(dealt, dtype=np.int64)
