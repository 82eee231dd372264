"""Factors that move outliers from activations into weights, without changing the product (SmoothQuant).

x W^T = (x / f) (W * f)^T. Whoever produces x divides by f: a norm's weight, or the rows of the matrix before.
"""

from dataclasses import dataclass

import torch

EXPONENTS = (0.5, 0.65, 0.8)
"""How much of the range is moved (alpha in Xiao et al. 2023, eq. 4); the best by measured error is taken."""
_LIMIT = 1e4


@dataclass(frozen=True, slots=True)
class Channels:
    """How a matrix's inputs come from their source: input (s, r, i) is source channel (s, i), for each repeat r.

    Heads that share values repeat them; everything else has one repeat.
    """

    sources: int
    repeats: int
    inner: int

    def tie(self, peaks: torch.Tensor) -> torch.Tensor:
        """The largest peak of each source channel: (inputs,) -> (sources * inner,)."""
        return peaks.view(self.sources, self.repeats, self.inner).amax(1).flatten()

    def spread(self, factors: torch.Tensor) -> torch.Tensor:
        """Each source channel's factor for all its inputs: (sources * inner,) -> (inputs,)."""
        grid = factors.view(self.sources, 1, self.inner).expand(-1, self.repeats, -1)
        return grid.reshape(-1)


def smoothing_factors(x_peaks: torch.Tensor, weight_peaks: torch.Tensor, exponent: float) -> torch.Tensor:
    """f = max|x|^a / max|w|^(1 - a) by channel, around a geometric mean of 1; 1 where a channel is silent or unused."""
    is_used = (x_peaks > 0) & (weight_peaks > 0)
    logs = exponent * x_peaks.clamp_min(1e-30).log() - (1 - exponent) * weight_peaks.clamp_min(1e-30).log()
    if not bool(is_used.any()):
        return torch.ones_like(x_peaks)
    logs = torch.where(is_used, logs - logs[is_used].mean(), 0.0)
    return logs.exp().clamp(1 / _LIMIT, _LIMIT)
