"""The gated MLP: down(silu(gate(x)) * up(x)), gate and up as one product (Shazeer 2020)."""

from dataclasses import dataclass

import torch

from tidemill.kernels.backend import KernelBackend
from tidemill.models.layers.linear import Linear


@dataclass(frozen=True, slots=True)
class MLP:
    """Owns its two products."""

    gate_up: Linear
    down: Linear
    kernels: KernelBackend

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map x (rows, hidden) -> (rows, hidden)."""
        return self.down(self.kernels.silu_mul(self.gate_up(x)))
