"""The draw itself: from weights and one uniform number to a token, by the inverse of the cumulative distribution."""

import numpy as np

from tidemill.sampling.filters import Candidates
from tidemill.sampling.weights import Weights


def draw_candidate(candidates: Candidates, uniform: float) -> int:
    """The token of `candidates`, taken in their order, on which `uniform` in [0, 1) falls."""
    mass = np.cumsum(candidates.weights)
    return int(candidates.token_ids[np.searchsorted(mass, uniform * mass[-1], side="right")])


def draw_any(weights: Weights, uniform: float) -> int:
    """The token of a whole row, taken in order of id, on which `uniform` in [0, 1) falls."""
    mass = np.cumsum(weights, dtype=np.float64)
    return int(np.searchsorted(mass, uniform * mass[-1], side="right"))
