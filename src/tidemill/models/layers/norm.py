"""Root-mean-square norm of the residual stream."""

from dataclasses import dataclass

import torch

from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.quantized import Activation


@dataclass(frozen=True, slots=True)
class RMSNorm:
    """weight (size,) float32. The stream itself stays in float32; what leaves here is what the next product wants."""

    weight: torch.Tensor
    epsilon: float
    kernels: KernelBackend

    def first(self, residual: torch.Tensor, dtype: torch.dtype) -> Activation:
        """Norm of the stream as it is: (rows, size) float32 -> (rows, size) dtype."""
        return self.kernels.rms_norm(residual, self.weight, self.epsilon, dtype)

    def add(self, residual: torch.Tensor, delta: torch.Tensor, dtype: torch.dtype) -> Activation:
        """Add delta to the stream in place, and return the norm of the sum in dtype."""
        return self.kernels.add_rms_norm(residual, delta, self.weight, self.epsilon, dtype)
