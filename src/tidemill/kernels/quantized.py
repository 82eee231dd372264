"""What integer products work on: activations quantized by row, and weights packed by output channel.

Plain data and what its numbers mean. How weights are laid out and multiplied is each backend's business.
"""

from dataclasses import dataclass
from typing import Literal

import torch

IntegerFormat = Literal["int8", "int4"]
GROUP = 32
"""Inputs that share an int4 scale."""
TINY = 2.0**-100
"""A row whose largest magnitude is below this counts as zeros: its scale or the inverse of it would leave float32."""


@dataclass(frozen=True, slots=True)
class QuantizedRows:
    """Activations as integers, each row with its own scale: x[r, k] is about values[r, k] * scales[r].

    A scale is the row's largest magnitude / 127 (1 for a row of zeros; NaN for a row with a value that is not finite,
    whose results are then NaN and not silently wrong: its values are zeros). A value is x * (127 / largest magnitude),
    rounded half to even, within -127..127.
    """

    values: torch.Tensor
    """(rows, in_features rounded up to GROUP) int8, zeros beyond in_features."""
    scales: torch.Tensor
    """(rows,) float32."""
    sums: torch.Tensor
    """(rows,) int32: the sum of each row's values."""

    @property
    def num_rows(self) -> int:
        """How many there are."""
        return self.values.shape[0]

    def part(self, start: int, stop: int) -> "QuantizedRows":
        """The rows [start, stop), in the same memory."""
        return QuantizedRows(self.values[start:stop], self.scales[start:stop], self.sums[start:stop])


Activation = torch.Tensor | QuantizedRows
"""What a product takes. Where a data type is asked for, torch.int8 means QuantizedRows."""


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A matrix as integers, before any layout: w[n, k] is about values[n, k] * scales[n].

    In int8, values are within -127..127. In int4 they are (q - 8) * group_scales[n, k // GROUP] with q in 0..15 and a
    group scale in 1..15, so they too fit int8: one integer arithmetic for both. A product with QuantizedRows is, to the
    bit and for any number of rows, float32(sum over k of integers) * scales[n] * row scale (+ bias[n]), in this order.
    """

    format: IntegerFormat
    values: torch.Tensor
    """(out_features, in_features) int8: the whole integer, group scale included."""
    group_scales: torch.Tensor | None
    """(out_features, ceil(in_features / GROUP)) uint8 for int4, else None."""
    scales: torch.Tensor
    """(out_features,) float32."""
    bias: torch.Tensor | None
    """(out_features,) float32."""
