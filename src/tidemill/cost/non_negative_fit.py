"""Non-negative least squares over a handful of features, kept up to date one observation at a time.

Minimizes sum of w (y - c x)^2 over c >= 0 by coordinate descent on the normal equations, which converges from anywhere
(Franc, Hlavac and Navara 2005, "Sequential coordinate-wise algorithm for the non-negative least squares problem").
"""

from collections.abc import Sequence
from operator import mul

_RIDGE = 1e-6
"""Share of its own weight by which a feature is held back: where two always move together, neither runs away."""


class NonNegativeFit:
    """Normal equations of weighted observations, that can be added and taken away again, and their solution."""

    def __init__(self, num_features: int) -> None:
        self._gram = [[0.0] * num_features for _ in range(num_features)]
        self._moments = [0.0] * num_features

    def add(self, x: Sequence[float], y: float, weight: float) -> None:
        """Count an observation; with a negative `weight`, take it away again."""
        present = [index for index, value in enumerate(x) if value]
        for i in present:
            scaled = weight * x[i]
            row = self._gram[i]
            for j in present:
                row[j] += scaled * x[j]
            self._moments[i] += scaled * y

    def improve(self, coefficients: list[float], *, num_sweeps: int = 1) -> None:
        """Move `coefficients` towards the solution, in place."""
        for _ in range(num_sweeps):
            for i, row in enumerate(self._gram):
                own = row[i]
                if own <= 0.0:
                    continue
                rest = self._moments[i] - sum(map(mul, row, coefficients)) + own * coefficients[i]
                coefficients[i] = rest / (own * (1.0 + _RIDGE)) if rest > 0.0 else 0.0
