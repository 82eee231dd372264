"""The reference kernels as a bundle: any device, no compiler."""

from collections.abc import Sequence

import torch

from tidemill.kernels import integer_weight, reference
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.kv_tensors import KVTensors, PagedTensors
from tidemill.kernels.layer_stack import StackedLayer
from tidemill.kernels.linear import TileProbe, TorchWeight, Weight
from tidemill.kernels.packed_weight import PackedWeight
from tidemill.kernels.quantized import Activation, QuantizedRows, QuantizedWeight

CPU = torch.device("cpu")


class TorchBackend:
    """Implements KernelBackend in plain torch."""

    name = "torch"
    integer_path = "torch"
    packing_version = "plain-1"

    def __init__(self, device: torch.device = CPU) -> None:
        """Packed weights are loaded to `device`."""
        self._device = device
        self._probes: dict[tuple[int, torch.device], TileProbe] = {}

    def bind(self, kv: KVTensors) -> tuple[PagedTensors, ...]:
        return kv.layers()

    def plan(self, batch: AttentionBatch) -> AttentionBatch:
        return batch

    def prepare(self, weight: torch.Tensor, bias: torch.Tensor | None, *, row_tile: int | None) -> Weight:
        if row_tile is None:
            return TorchWeight(weight, bias, None)
        key = (row_tile, weight.device)
        if key not in self._probes:
            self._probes[key] = TileProbe(row_tile, weight.device)
        return TorchWeight(weight, bias, self._probes[key])

    def pack(self, weight: QuantizedWeight) -> PackedWeight:
        return integer_weight.pack(weight)

    def load_packed(self, packed: PackedWeight) -> Weight:
        return integer_weight.TorchIntegerWeight(integer_weight.unpack(packed, self._device))

    def prepare_integer(self, weight: QuantizedWeight) -> Weight:
        return integer_weight.TorchIntegerWeight(weight)

    def stack(
        self,
        layers: Sequence[StackedLayer],  # noqa: ARG002  nothing is gained by taking them together
        final_norm: torch.Tensor,  # noqa: ARG002
        epsilon: float,  # noqa: ARG002
    ) -> None:
        return None

    def quantize(self, x: torch.Tensor) -> QuantizedRows:
        return reference.quantize(x)

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype) -> Activation:
        return reference.as_activation(reference.rms_norm(x, weight, epsilon), dtype)

    def add_rms_norm(
        self, residual: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
    ) -> Activation:
        residual += delta
        return self.rms_norm(residual, weight, epsilon, dtype)

    def rotate_and_write(
        self,
        qkv: torch.Tensor,
        positions: torch.Tensor,
        rotations: torch.Tensor,
        norms: tuple[torch.Tensor, torch.Tensor],
        epsilon: float,
        cache: PagedTensors,
        plan: AttentionBatch,
    ) -> torch.Tensor:
        num_kv_heads, head_dim = cache.values.shape[1], cache.values.shape[3]
        heads = qkv.view(qkv.shape[0], -1, head_dim)
        q, k, v = torch.split(heads, [heads.shape[1] - 2 * num_kv_heads, num_kv_heads, num_kv_heads], dim=1)
        q, k = q.float(), k.float()
        if norms[0].numel():
            q = reference.rms_norm(q, norms[0], epsilon)
            k = reference.rms_norm(k, norms[1], epsilon)
        rotation = rotations[positions.clamp(max=rotations.shape[0] - 1)]
        reference.write_kv(reference.rotate(k, rotation), v.float(), cache, plan.slot_mapping)
        return reference.rotate(q, rotation).reshape(qkv.shape[0], -1)

    def attention(
        self, q: torch.Tensor, cache: PagedTensors, plan: AttentionBatch, scale: float, dtype: torch.dtype
    ) -> Activation:
        return reference.as_activation(reference.paged_attention(q, cache, plan, scale), dtype)

    def silu_mul(self, gate_up: torch.Tensor, dtype: torch.dtype) -> Activation:
        return reference.as_activation(reference.silu_mul(gate_up), dtype)
