"""The draw itself: from weights and one uniform number to a token, by the inverse of the cumulative distribution."""

import numpy as np

from tidemill.sampling.filters import Candidates, Weights

_RUN = 256


def draw_candidate(candidates: Candidates, uniform: float) -> int:
    """The token of `candidates`, taken in their order, on which `uniform` in [0, 1) falls."""
    mass = np.cumsum(candidates.weights)
    return int(candidates.token_ids[np.searchsorted(mass, uniform * mass[-1], side="right")])


def draw_any(weights: Weights, uniform: float) -> int:
    """The token of a whole row, taken in order of id, on which `uniform` in [0, 1) falls.

    Sums runs of tokens first and walks only the one that is hit: a cumulative sum of the whole row costs tenfold.
    """
    starts = np.arange(0, weights.size, _RUN)
    run_mass = np.cumsum(np.add.reduceat(weights, starts, dtype=np.float64))
    target = uniform * run_mass[-1]
    run = int(np.searchsorted(run_mass, target, side="right"))
    before = float(run_mass[run - 1]) if run else 0.0
    inside = weights[run * _RUN : (run + 1) * _RUN]
    mass = before + np.cumsum(inside, dtype=np.float64)
    hit = int(np.searchsorted(mass, target, side="right"))
    # The run's sum and its cumulative sum round differently: a target between the two belongs to the run's last token.
    return run * _RUN + (hit if hit < inside.size else int(np.flatnonzero(inside)[-1]))
