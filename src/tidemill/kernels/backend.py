"""The bundle of kernels a model computes with, and its choice: made once, at start, from the device.

Nothing above asks which bundle it got; a new one implements `KernelBackend`.
"""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.kv_tensors import KVTensors
from tidemill.kernels.layer_stack import LayerStack, StackedLayer
from tidemill.kernels.linear import Weight
from tidemill.kernels.packed_weight import PackedWeight
from tidemill.kernels.quantized import Activation, QuantizedRows, QuantizedWeight

Plan = Any
"""What a backend made of an AttentionBatch: made once a step and group, used by each of the group's layers."""
LayerCache = Any
"""One layer's keys and values in the form a backend wants them."""


class KernelBackend(Protocol):
    """Functions on tensors. Whatever they are given beside it, a row's bits are the same.

    A `dtype` is what the next product takes: torch.int8 asks for QuantizedRows, any other for a tensor of that type.
    """

    name: str
    packing_version: str
    """Of the layout of packed weights: those of another version cannot be loaded."""

    @property
    def integer_path(self) -> str:
        """The instructions that multiply integers, for the log and for who asks; their results are all the same."""
        ...

    def bind(self, kv: KVTensors) -> tuple[LayerCache, ...]:
        """The arena's layers, by their place in a group."""
        ...

    def plan(self, batch: AttentionBatch) -> Plan:
        """Whatever can be settled about a step before its layers run."""
        ...

    def prepare(self, weight: torch.Tensor, bias: torch.Tensor | None, *, row_tile: int | None) -> Weight:
        """Make weight (out_features, in_features) and bias (out_features,) ready for products."""
        ...

    def pack(self, weight: QuantizedWeight) -> PackedWeight:
        """Arrange an integer weight as products want it, in arrays that can be written to disk as they are."""
        ...

    def load_packed(self, packed: PackedWeight) -> Weight:
        """Make what `pack` made, perhaps mapped back from disk, ready for products: nothing is copied on a CPU."""
        ...

    def prepare_integer(self, weight: QuantizedWeight) -> Weight:
        """Make an integer weight ready for products with QuantizedRows."""
        ...

    def stack(self, layers: Sequence[StackedLayer], final_norm: torch.Tensor, epsilon: float) -> LayerStack | None:
        """The layers of a decoder as one computation for small steps; None where there is none for such layers."""
        ...

    def quantize(self, x: torch.Tensor) -> QuantizedRows:
        """Rows of x (rows, size), float32 or bf16, as integers."""
        ...

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype) -> Activation:
        """Norm of x (rows, size) float32 with weight (size,) float32 -> (rows, size) dtype."""
        ...

    def add_rms_norm(
        self, residual: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
    ) -> Activation:
        """Add delta to residual (rows, size) float32 in place -> the norm of the sum (rows, size) dtype."""
        ...

    def rotate_and_write(
        self,
        qkv: torch.Tensor,
        positions: torch.Tensor,
        rotations: torch.Tensor,
        norms: tuple[torch.Tensor, torch.Tensor],
        epsilon: float,
        cache: LayerCache,
        plan: Plan,
    ) -> torch.Tensor:
        """Norm and rotate queries and keys, store keys and values, return queries (rows, heads * head_dim) float32.

        qkv (rows, (heads + 2 kv_heads) * head_dim); positions (rows,) int64; rotations (positions, head_dim) float32,
        cosines of half a head then sines, or (1, 0) for none; norms of queries and keys (head_dim,), or (0,) for none.
        """
        ...

    def attention(self, q: torch.Tensor, cache: LayerCache, plan: Plan, scale: float, dtype: torch.dtype) -> Activation:
        """Causal attention of q (rows, heads * head_dim) float32 -> the same shape in dtype; padding rows are 0."""
        ...

    def silu_mul(self, gate_up: torch.Tensor, dtype: torch.dtype) -> Activation:
        """silu(gate) * up: (rows, 2 * size), gates first -> (rows, size) dtype."""
        ...


def choose_backend(device: torch.device) -> KernelBackend:
    """The fastest bundle that works on `device`: Numba on a CPU, plain torch elsewhere or if Numba fails its check."""
    from tidemill.kernels.torch_backend import TorchBackend

    if device.type != "cpu":
        return TorchBackend(device)
    try:
        from tidemill.kernels.cpu.backend import NumbaBackend

        backend = NumbaBackend()
        backend.check()
    except Exception as error:  # noqa: BLE001  a compiler can fail in any way; the plain kernels always work
        logging.getLogger(__name__).warning("CPU kernels are not available, using slower ones: %s", error)
        return TorchBackend()
    return backend
