"""The gated MLP: down(silu(gate(x)) * up(x)), gate and up as one product (Shazeer 2020).

Its inner activations are the widest there are. Long prompts go through in blocks of rows, so that these are bounded.
"""

from dataclasses import dataclass

import torch

from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.quantized import Activation, QuantizedRows
from tidemill.models.layers.linear import Linear

BLOCK_ROWS = 192
"""Enough that a block's arithmetic takes many times as long as reading the weights once more; whole row tiles."""


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
        num_rows = x.num_rows if isinstance(x, QuantizedRows) else x.shape[0]
        if num_rows <= BLOCK_ROWS:
            return self._block(x)
        starts = range(0, num_rows, BLOCK_ROWS)
        return torch.cat([self._block(_part(x, start, min(start + BLOCK_ROWS, num_rows))) for start in starts])

    def _block(self, x: Activation) -> torch.Tensor:
        return self.down(self.kernels.silu_mul(self.gate_up(x), self.down.input_dtype))


def _part(x: Activation, start: int, stop: int) -> Activation:
    return x.part(start, stop) if isinstance(x, QuantizedRows) else x[start:stop]
