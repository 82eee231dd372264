"""Attention of one layer: project, rotate, write to the cache, read the cache, project back."""

from dataclasses import dataclass

import torch

from tidemill.kernels.backend import KernelBackend, LayerCache, Plan
from tidemill.kernels.quantized import Activation
from tidemill.models.layers.linear import Linear


@dataclass(frozen=True, slots=True)
class Attention:
    """Owns its two products and the norms of queries and keys, which are (head_dim,), or (0,) where there are none."""

    qkv: Linear
    out: Linear
    norms: tuple[torch.Tensor, torch.Tensor]
    rotations: torch.Tensor
    """(positions, head_dim) float32, shared by layers, or (1, 0) for a layer that does not rotate."""
    scale: float
    epsilon: float
    kernels: KernelBackend

    @property
    def input_dtype(self) -> torch.dtype:
        """What it wants its input to be."""
        return self.qkv.input_dtype

    def __call__(self, x: Activation, positions: torch.Tensor, cache: LayerCache, plan: Plan) -> torch.Tensor:
        """Map x (rows, hidden), positions (rows,) -> (rows, hidden). Writes first: queries read their chunk's keys."""
        qkv = self.qkv(x)
        q = self.kernels.rotate_and_write(qkv, positions, self.rotations, self.norms, self.epsilon, cache, plan)
        return self.out(self.kernels.attention(q, cache, plan, self.scale, self.out.input_dtype))
