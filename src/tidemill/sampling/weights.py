"""Unnormalised probabilities of a row: the softmax without its division, in grains whose sums are exact.

The compiled kernels (`kernels.cpu.token_draw`) compute the same bits: every operation here rounds alike there.
"""

import numpy as np
from numpy.typing import NDArray

from tidemill.sampling.token_mask import Scores

Weights = NDArray[np.float32]
"""Unnormalised probabilities of a row, (vocab,); the largest is 1."""


def grain_of(vocab_size: int) -> np.float32:
    """The step of weights: the finest with which sums of `vocab_size` of them are exact in double precision.

    So a sum is the same in whatever order it is taken. A token less likely than half a step is never drawn.
    """
    return np.float32(2.0 ** (max(vocab_size - 1, 0).bit_length() - 53))


def tempered_weights(scores: Scores, temperature: float) -> Weights:
    """exp((score - largest) / temperature), to the nearest grain. The largest score must be finite."""
    grain = grain_of(scores.size)
    with np.errstate(over="ignore"):
        scaled: Weights = (scores - scores.max()) / np.float32(temperature)
        weights = _exp_nonpositive(scaled)
    weights *= np.float32(1) / grain
    np.rint(weights, out=weights)
    weights *= grain
    return weights


def _exp_nonpositive(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """exp(x) for x <= 0, relative error 2e-7: a power of two times a polynomial. It is 1 at 0, and 0 below -88.1."""
    scaled = np.maximum(x * np.float32(1.44269504), np.float32(-127.0))
    whole = np.rint(scaled)
    scaled -= whole
    p: NDArray[np.float32] = np.full_like(scaled, 0.00133158)
    for coefficient in (0.00966946, 0.0555057, 0.24022286, 0.69314706, 1.0):
        p *= scaled
        p += np.float32(coefficient)
    powers: NDArray[np.float32] = ((whole.astype(np.int32) + np.int32(127)) << np.int32(23)).view(np.float32)
    p *= powers
    return p
