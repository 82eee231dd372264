"""The gated MLP: down(silu(gate(x)) * up(x)), gate and up as one product (Shazeer 2020)."""

from dataclasses import dataclass

import torch

from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.quantized import Activation
from tidemill.models.layers.linear import Linear


@dataclass(frozen=True, slots=True)
class MLP:
    """Owns its two products."""

    gate_up: Linear
    down: Linear
    kernels: KernelBackend

    @property
    def input_dtype(self) -> torch.dtype:
        """What it wants its input to be."""
        return self.gate_up.input_dtype

    def __call__(self, x: Activation) -> torch.Tensor:
        """Map x (rows, hidden) -> (rows, hidden)."""
        return self.down(self.kernels.silu_mul(self.gate_up(x), self.down.input_dtype))
