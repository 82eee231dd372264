"""The hooks that change a row of scores before a token is drawn: bias and penalties. The order is the sampler's.

Each works on one row alone, in fp32, so that a row's bits cannot depend on the rows beside it.
"""

import numpy as np
from numpy.typing import NDArray

from tidemill.sampling.token_counts import TokenCounts
from tidemill.sampling.token_mask import Scores


def apply_bias(scores: Scores, token_ids: NDArray[np.int64], biases: NDArray[np.float32]) -> None:
    """Add `biases` to the scores of `token_ids`, both (num_biases,), ids distinct."""
    scores[token_ids] += biases


def apply_penalties(
    scores: Scores, counts: TokenCounts, *, repetition: float, presence: float, frequency: float
) -> None:
    """Make tokens that are already there less likely (or more, where a penalty says so).

    Repetition divides positive scores and multiplies negative ones, for tokens of prompt and output (Keskar et al.,
    "CTRL", section 4.1, with the sign rule of transformers); frequency subtracts once per occurrence and presence once,
    for tokens of the output only (as the OpenAI API defines them).
    """
    ids = counts.token_ids
    touched: Scores = scores[ids]
    if repetition != 1.0:
        factor = np.float32(repetition)
        touched = np.where(touched < 0, touched * factor, touched / factor).astype(np.float32, copy=False)
    if frequency != 0.0:
        touched = touched - np.float32(frequency) * counts.output_counts
    if presence != 0.0:
        touched = touched - np.where(counts.output_counts > 0, np.float32(presence), np.float32(0))
    scores[ids] = touched
