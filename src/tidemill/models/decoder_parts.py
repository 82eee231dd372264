"""What a decoder is built from: float tensors as a checkpoint has them, and the same with its matrices ready to use.

Where parts come from (a checkpoint, integers made of it, a file of ours) is the source's business.
"""

from dataclasses import dataclass
from typing import Protocol

import torch

from tidemill.kernels.linear import Weight


@dataclass(frozen=True, slots=True)
class Matrix:
    """A linear layer in floats: weight (out_features, in_features), bias (out_features,) or None.

    Several of the same input may be stacked; `part_sizes` are their numbers of outputs, in order.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    part_sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LayerTensors:
    """One layer in floats: norms in float32, matrices in a data type of the source's choice."""

    attention_norm: torch.Tensor
    qkv: Matrix
    q_norm: torch.Tensor
    """(head_dim,), or (0,) where queries are not normed; `k_norm` likewise."""
    k_norm: torch.Tensor
    out: Matrix
    mlp_norm: torch.Tensor
    gate_up: Matrix
    down: Matrix


@dataclass(frozen=True, slots=True)
class LayerParts:
    """One layer with its matrices ready for products."""

    attention_norm: torch.Tensor
    qkv: Weight
    q_norm: torch.Tensor
    k_norm: torch.Tensor
    out: Weight
    mlp_norm: torch.Tensor
    gate_up: Weight
    down: Weight


class DecoderParts(Protocol):
    """A source of parts, each asked for once, in this order. Any may raise ModelLoadError."""

    def embedding(self) -> torch.Tensor:
        """(vocab, hidden), in the data type hidden states are looked up in."""
        ...

    def layer(self, index: int) -> LayerParts:
        """The parts of one layer."""
        ...

    def final_norm(self) -> torch.Tensor:
        """(hidden,) float32."""
        ...

    def output(self) -> Weight:
        """The matrix from hidden states to logits."""
        ...
