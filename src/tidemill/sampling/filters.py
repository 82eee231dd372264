"""From scaled scores to the tokens that may be drawn: top-k, top-p and min-p over one well-defined order.

Tokens are ordered by weight, best first, ties by lower id; every filter keeps a beginning of that order. No randomness.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.sampling.token_mask import Scores

Weights = NDArray[np.float32]
"""Unnormalised probabilities of a row, (vocab,); the largest is 1."""

_ROUNDING_SLACK = 1.0 - 1e-5
_RUN = 256
"""Weights whose largest stands for them where a floor is looked for."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The tokens left, by rising id, and their weights."""

    token_ids: NDArray[np.int64]
    weights: NDArray[np.float64]


def tempered_weights(scores: Scores, temperature: float) -> Weights:
    """exp((score - largest) / temperature): the softmax without its division. The largest score must be finite."""
    scaled: Weights = scores - scores.max()
    scaled /= np.float32(temperature)
    np.exp(scaled, out=scaled)
    return scaled


def largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Ids of the `count` largest of `values` (all of them if there are fewer), best first, ties by lower id."""
    size = values.size
    if count < size:
        ids = np.flatnonzero(values >= np.partition(values, size - count)[size - count])
    else:
        ids = np.arange(size)
    return _best_first(ids, values[ids])[:count]


def filtered(weights: Weights, *, top_k: int | None, top_p: float, min_p: float) -> Candidates:
    """What the filters leave, applied in the order top-k, top-p, min-p.

    Top-p keeps the shortest beginning whose share of what top-k left is at least `top_p` (Holtzman et al., "The curious
    case of neural text degeneration", section 3.1); min-p keeps weights of at least `min_p` of the largest (Nguyen et
    al., "Turning up the heat: min-p sampling"). At least one token is left.
    """
    size = weights.size
    most = size if top_k is None else min(top_k, size)
    total = float(weights.sum(dtype=np.float64)) if most == size else None
    ids = np.flatnonzero(weights >= _floor(weights, most, total, top_p, min_p))
    kept = weights[ids]
    # Values are sorted without their ids, which is many times faster; where the cut falls, ids settle the ties.
    ordered = np.sort(kept)[::-1][:most].astype(np.float64)
    count = ordered.size
    if top_p < 1.0:
        mass = np.cumsum(ordered)
        share = top_p * (float(mass[-1]) if total is None else total)
        count = min(count, int(np.searchsorted(mass, share, side="left")) + 1)
    if min_p > 0.0:
        count = min(count, int(np.count_nonzero(ordered >= min_p)))
    chosen = _beginning(kept, float(ordered[count - 1]), count)
    return Candidates(ids[chosen], kept[chosen].astype(np.float64))


def _floor(weights: Weights, most: int, total: float | None, top_p: float, min_p: float) -> np.float32:
    """A weight below which no token can be left, so that only the others are sorted."""
    if total is None:
        # Of runs, as many as are wanted have their largest at or above the floor: so have as many weights, at least.
        # Where there are too few runs the floor is exact; either way it costs less than to order all weights.
        runs = np.maximum.reduceat(weights, np.arange(0, weights.size, _RUN))
        among = runs if runs.size > most else weights
        return np.float32(np.partition(among, among.size - most)[among.size - most])
    # All tokens below this weight together hold less than 1 - top_p of the total: they cannot be in the nucleus.
    outside = (1.0 - top_p) * total / weights.size * _ROUNDING_SLACK
    return np.float32(max(outside, min_p))


def _beginning(kept: Weights, lowest: float, count: int) -> NDArray[np.bool_]:
    """Which of `kept` are the first `count` of the order, the last of which has the weight `lowest`."""
    chosen = kept > np.float32(lowest)
    tied = np.flatnonzero(kept == np.float32(lowest))
    chosen[tied[: count - int(np.count_nonzero(chosen))]] = True
    return chosen


def _best_first(ids: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.int64]:
    """`ids` by falling value; ids come in rising, and a stable sort leaves ties so."""
    return ids[np.argsort(-values, kind="stable")]
