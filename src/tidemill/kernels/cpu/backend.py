"""The Numba kernels as a bundle: torch tensors in and out, numpy views of the same memory between."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import torch
from numba.core import config

from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.cpu import attention, panels, quantize, rows
from tidemill.kernels.cpu.arrays import Array, array_of, new_rows
from tidemill.kernels.cpu.attention_work import AttentionWork, share_out
from tidemill.kernels.cpu.integer_probe import choose_multiplier
from tidemill.kernels.cpu.integer_weight import IntegerMultiplier, IntegerWeight
from tidemill.kernels.cpu.layer_stack import CpuLayerStack, can_stack
from tidemill.kernels.cpu.paged_layer import PagedLayer, layers_of
from tidemill.kernels.kv_tensors import KVTensors, block_bytes
from tidemill.kernels.layer_stack import StackedLayer
from tidemill.kernels.linear import Weight
from tidemill.kernels.packed_weight import PackedWeight
from tidemill.kernels.quantized import Activation, QuantizedRows, QuantizedWeight
from tidemill.kernels.torch_backend import TorchBackend

PARALLEL_ELEMENTS = 64 * 1024
"""Elements from which a row kernel is worth starting threads for (about 20 microseconds of work)."""


@dataclass(frozen=True, slots=True)
class CpuPlan:
    """A step of one group as arrays."""

    batch: AttentionBatch
    tables: Array
    slots: Array
    work: dict[tuple[int, int], AttentionWork]
    """By key-value heads and heads that share one, filled when first needed."""

    def work_for(self, cache: PagedLayer, group: int) -> AttentionWork:
        """The step's attention cut into items, for layers like `cache` of which `group` heads share one of its own."""
        key = (cache.kv_heads, group)
        if key not in self.work:
            self.work[key] = share_out(self.batch, cache, group, numba.get_num_threads())
        return self.work[key]


class NumbaBackend:
    """Implements KernelBackend with Numba kernels; products are torch's."""

    name = "numba"

    packing_version = "panels-32-1"

    def __init__(self, integer_path: str | None = None) -> None:
        """`integer_path` is the one vector path of integer products to consider; None leaves the choice to the CPU."""
        self._products = TorchBackend()
        self._wanted_path = integer_path
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
        """Attention with keys of 0 over a cache of three values 1, 2, 3, all weights equal: 2 everywhere.

        In bf16, as most caches are: what is compiled for each element type takes seconds.
        """
        head_dim, page = 16, 4
        page_bytes = block_bytes(
            layers_per_group=1, num_kv_heads=1, head_dim=head_dim, block_size=page, dtype=torch.bfloat16
        )
        layout = KVCacheLayout(2, page, page_bytes, (KVCacheGroup((0,), None),))
        kv = KVTensors.allocate(
            layout, num_kv_heads=1, head_dim=head_dim, dtype=torch.bfloat16, device=torch.device("cpu")
        )
        # Values lie as (positions / 2, head_dim, 2); what is past the end is not looked at.
        kv.values[0][1, 0] = torch.tensor([[1.0, 2.0], [3.0, 9.0]], dtype=torch.bfloat16)[:, None]
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
        mean = self.attention(torch.ones(1, head_dim), self.bind(kv)[0], self.plan(batch), 1.0, torch.float32)
        assert isinstance(mean, torch.Tensor)
        return mean

    def bind(self, kv: KVTensors) -> tuple[PagedLayer, ...]:
        return layers_of(kv)

    def plan(self, batch: AttentionBatch) -> CpuPlan:
        numba.set_num_threads(min(torch.get_num_threads(), config.NUMBA_NUM_THREADS))
        return CpuPlan(batch, batch.block_tables.numpy(), batch.slot_mapping.numpy(), {})

    def prepare(self, weight: torch.Tensor, bias: torch.Tensor | None, *, row_tile: int | None) -> Weight:
        return self._products.prepare(weight, bias, row_tile=row_tile)

    @functools.cached_property
    def _multiplier(self) -> IntegerMultiplier | None:
        """Chosen when first asked for: compiling takes seconds the first time, and a float model has no need of it."""
        return choose_multiplier(self._wanted_path)

    @property
    def integer_path(self) -> str:
        return self._products.integer_path if self._multiplier is None else self._multiplier.name

    def pack(self, weight: QuantizedWeight) -> PackedWeight:
        return panels.pack(weight)

    def load_packed(self, packed: PackedWeight) -> Weight:
        if self._multiplier is None:
            return self._products.prepare_integer(panels.unpack(packed))
        return IntegerWeight(packed, self._multiplier)

    def prepare_integer(self, weight: QuantizedWeight) -> Weight:
        return self.load_packed(self.pack(weight))

    def stack(self, layers: Sequence[StackedLayer], final_norm: torch.Tensor, epsilon: float) -> CpuLayerStack | None:
        if not can_stack(layers) or self._multiplier is None:
            return None
        return CpuLayerStack(layers, final_norm, epsilon, self._multiplier.tag)

    def quantize(self, x: torch.Tensor) -> QuantizedRows:
        integers, out = new_rows(x.shape[0], x.shape[1], torch.int8)
        assert isinstance(integers, QuantizedRows)
        kernel = quantize.quantize if _is_small(x) else quantize.quantize_parallel
        kernel(array_of(x), *out)
        return integers

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype) -> Activation:
        normed, out = new_rows(x.shape[0], x.shape[1], dtype)
        rows.rms_norm(x.numpy(), weight.numpy(), np.float32(epsilon), out)
        return normed

    def add_rms_norm(
        self, residual: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
    ) -> Activation:
        normed, out = new_rows(residual.shape[0], residual.shape[1], dtype)
        kernel = rows.add_rms_norm if _is_small(residual) else rows.add_rms_norm_parallel
        kernel(residual.numpy(), array_of(delta), weight.numpy(), np.float32(epsilon), out)
        return normed

    def rotate_and_write(
        self,
        qkv: torch.Tensor,
        positions: torch.Tensor,
        rotations: torch.Tensor,
        norms: tuple[torch.Tensor, torch.Tensor],
        epsilon: float,
        cache: PagedLayer,
        plan: CpuPlan,
    ) -> torch.Tensor:
        q = torch.empty(qkv.shape[0], qkv.shape[1] - 2 * cache.kv_heads * cache.head_dim)
        kernel = rows.rotate_and_write if _is_small(qkv) else rows.rotate_and_write_parallel
        kernel(
            array_of(qkv),
            positions.numpy(),
            rotations.numpy(),
            norms[0].numpy(),
            norms[1].numpy(),
            np.float32(epsilon),
            cache,
            plan.slots,
            q.numpy(),
        )
        return q

    def attention(
        self, q: torch.Tensor, cache: PagedLayer, plan: CpuPlan, scale: float, dtype: torch.dtype
    ) -> Activation:
        work = plan.work_for(cache, q.shape[1] // (cache.kv_heads * cache.head_dim))
        # Integers are made row by row of all heads, so from float32 and not tile by tile.
        out = torch.empty_like(q, dtype=torch.float32 if dtype == torch.int8 else dtype)
        out[plan.batch.num_rows :] = 0
        attention.paged_attention(
            q.numpy(),
            cache,
            plan.tables,
            work.items,
            work.folds,
            work.partials,
            work.turns,
            work.spaces,
            plan.batch.window or 0,
            np.float32(scale),
            array_of(out),
        )
        return self.quantize(out) if dtype == torch.int8 else out

    def silu_mul(self, gate_up: torch.Tensor, dtype: torch.dtype) -> Activation:
        gated, out = new_rows(gate_up.shape[0], gate_up.shape[1] // 2, dtype)
        kernel = rows.silu_mul if _is_small(gate_up) else rows.silu_mul_parallel
        kernel(array_of(gate_up), out)
        return gated


def _is_small(tensor: torch.Tensor) -> bool:
    return tensor.numel() < PARALLEL_ELEMENTS
