"""Which tokens may be drawn: top-k, top-p and min-p over one well-defined order.

Tokens are ordered by score, best first, ties by lower id; top-k and top-p keep a beginning of it. No randomness.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.sampling.token_mask import Scores
from tidemill.sampling.weights import Weights


@dataclass(frozen=True, slots=True)
class Candidates:
    """The tokens left, by rising id, and their weights."""

    token_ids: NDArray[np.int64]
    weights: NDArray[np.float64]


def largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Ids of the `count` largest of `values` (all of them if there are fewer), best first, ties by lower id."""
    size = values.size
    if count < size:
        ids = np.flatnonzero(values >= np.partition(values, size - count)[size - count])
    else:
        ids = np.arange(size)
    return ids[_best_first(values[ids])][:count]


def filtered(scores: Scores, weights: Weights, *, top_k: int | None, top_p: float, min_p: float) -> Candidates:
    """What the filters leave of tokens with these scores and weights, applied in the order top-k, top-p, min-p.

    Top-p keeps the shortest beginning whose share of what top-k left is at least `top_p` (Holtzman et al., "The curious
    case of neural text degeneration", section 3.1); min-p keeps weights of at least `min_p` of the largest (Nguyen et
    al., "Turning up the heat: min-p sampling"). At least one token is left.
    """
    if top_k is not None and top_k < scores.size:
        ids = np.sort(largest(scores, top_k))
        total = float(weights[ids].sum(dtype=np.float64))
    else:
        total = float(weights.sum(dtype=np.float64))
        # All tokens below this weight together hold less than 1 - top_p: they are not in the nucleus.
        ids = np.flatnonzero(weights >= np.float32(0.5 * (1.0 - top_p) * total / scores.size))
    if top_p < 1.0:
        order = _best_first(scores[ids])
        mass = np.cumsum(weights[ids[order]], dtype=np.float64)
        ids = np.sort(ids[order[: np.searchsorted(mass, top_p * total, side="left") + 1]])
    if min_p > 0.0:
        ids = ids[weights[ids].astype(np.float64) >= min_p]
    return Candidates(ids, weights[ids].astype(np.float64))


def _best_first(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Places by falling value; where values are equal, lower places first."""
    return np.argsort(-values, kind="stable")
