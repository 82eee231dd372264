"""The reference kernels as a bundle: any device, no compiler."""

import torch

from tidemill.kernels import reference
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.kv_tensors import KVTensors
from tidemill.kernels.linear import TileProbe, TorchWeight, Weight

LayerTensors = tuple[torch.Tensor, torch.Tensor]


class TorchBackend:
    """Implements KernelBackend in plain torch."""

    name = "torch"

    def __init__(self) -> None:
        self._probes: dict[tuple[int, torch.device], TileProbe] = {}

    def bind(self, kv: KVTensors) -> tuple[LayerTensors, ...]:
        return tuple(zip(kv.keys, kv.values, strict=True))

    def plan(self, batch: AttentionBatch) -> AttentionBatch:
        return batch

    def prepare(self, weight: torch.Tensor, bias: torch.Tensor | None, *, row_tile: int | None) -> Weight:
        if row_tile is None:
            return TorchWeight(weight, bias, None)
        key = (row_tile, weight.device)
        if key not in self._probes:
            self._probes[key] = TileProbe(row_tile, weight.device)
        return TorchWeight(weight, bias, self._probes[key])

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype) -> torch.Tensor:
        return reference.rms_norm(x, weight, epsilon, dtype)

    def add_rms_norm(
        self, residual: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, epsilon: float
    ) -> torch.Tensor:
        residual += delta
        return reference.rms_norm(residual, weight, epsilon, delta.dtype)

    def rotate_and_write(
        self,
        qkv: torch.Tensor,
        positions: torch.Tensor,
        rotations: torch.Tensor,
        norms: tuple[torch.Tensor, torch.Tensor],
        epsilon: float,
        cache: LayerTensors,
        plan: AttentionBatch,
    ) -> torch.Tensor:
        keys, values = cache
        num_kv_heads, head_dim = keys.shape[1], keys.shape[2]
        heads = qkv.view(qkv.shape[0], -1, head_dim)
        q, k, v = torch.split(heads, [heads.shape[1] - 2 * num_kv_heads, num_kv_heads, num_kv_heads], dim=1)
        q, k = q.float(), k.float()
        if norms[0].numel():
            q = reference.rms_norm(q, norms[0], epsilon, torch.float32)
            k = reference.rms_norm(k, norms[1], epsilon, torch.float32)
        rotation = rotations[positions.clamp(max=rotations.shape[0] - 1)]
        reference.write_kv(reference.rotate(k, rotation), v, keys, values, plan.slot_mapping)
        return reference.rotate(q, rotation).reshape(qkv.shape[0], -1)

    def attention(
        self, q: torch.Tensor, cache: LayerTensors, plan: AttentionBatch, scale: float, dtype: torch.dtype
    ) -> torch.Tensor:
        return reference.paged_attention(q, *cache, plan, scale).to(dtype)

    def silu_mul(self, gate_up: torch.Tensor) -> torch.Tensor:
        return reference.silu_mul(gate_up)
