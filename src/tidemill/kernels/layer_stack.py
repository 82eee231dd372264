"""A decoder's layers as one thing that a backend may compute at once, where that is faster than one after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from tidemill.kernels.linear import Weight


@dataclass(frozen=True, slots=True)
class StackedLayer:
    """One layer: what `KernelBackend`'s functions are given for it, and its place in a KV group."""

    attention_norm: torch.Tensor
    qkv: Weight
    q_norm: torch.Tensor
    k_norm: torch.Tensor
    rotations: torch.Tensor
    out: Weight
    mlp_norm: torch.Tensor
    gate_up: Weight
    down: Weight
    scale: float
    group: int
    place: int


class LayerStack(Protocol):
    """All layers of a decoder. Its results are those of the backend's functions called one by one, to the bit."""

    def takes(self, num_rows: int) -> bool:
        """Whether steps of so many rows are to go this way."""
        ...

    def run(
        self, residual: torch.Tensor, positions: torch.Tensor, caches: Sequence[Any], plans: Sequence[Any]
    ) -> torch.Tensor:
        """Take residual (rows, hidden) float32 through all layers and the last norm -> (rows, hidden) float32.

        `caches` and `plans` as the backend made them. Keys and values are written; residual is changed.
        """
        ...
