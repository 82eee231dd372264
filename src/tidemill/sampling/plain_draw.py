"""Draws a token for each row with numpy: where compiled kernels are not to be had, and what they are compared with.

Every row goes its way alone: mask, bias, penalties, temperature, filters, draw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.sampling.draw import draw_any, draw_candidate
from tidemill.sampling.filters import filtered
from tidemill.sampling.hooks import apply_bias, apply_penalties
from tidemill.sampling.rng import uniform
from tidemill.sampling.row_state import RowState
from tidemill.sampling.token_mask import Scores, apply_mask
from tidemill.sampling.weights import tempered_weights

NOT_FINITE = "The model's output is not finite."
NOTHING_ALLOWED = "No token is allowed here."


@dataclass(frozen=True, slots=True)
class SamplingFailure:
    """Why a row yielded no token; the other rows are not touched by it."""

    reason: str


Drawn = int | SamplingFailure
"""A token's id, or why there is none."""

DrawRows = Callable[[NDArray[np.float32], Sequence[RowState], Sequence[int]], list[Drawn]]
"""From raw fp32 logits (num_rows, vocab), left as they are, the rows' states and the new tokens' positions to one
`Drawn` a row. Whatever is beside a row, what it yields is the same."""


def draw_plainly(logits: NDArray[np.float32], rows: Sequence[RowState], positions: Sequence[int]) -> list[Drawn]:
    """Implements `DrawRows`."""
    is_finite = (np.isfinite(logits.max(axis=1)) & np.isfinite(logits.min(axis=1))).tolist()
    return [
        _draw_row(logits[index], row, position) if is_finite[index] else SamplingFailure(NOT_FINITE)
        for index, (row, position) in enumerate(zip(rows, positions, strict=True))
    ]


def hooked_scores(logits: Scores, row: RowState) -> Scores:
    """The scores after mask, bias and penalties: a copy where any of them applies, else `logits` itself."""
    params, mask = row.params, row.mask
    if mask is None and not params.logit_bias and row.counts is None:
        return logits
    scores = logits.copy()
    if mask is not None:
        apply_mask(scores, mask)
    if params.logit_bias:
        apply_bias(scores, row.bias_token_ids, row.biases)
    if row.counts is not None:
        apply_penalties(
            scores,
            row.counts,
            repetition=params.repetition_penalty,
            presence=params.presence_penalty,
            frequency=params.frequency_penalty,
        )
    return scores


def _draw_row(logits: Scores, row: RowState, position: int) -> Drawn:
    """The token of one row of finite logits (vocab,)."""
    scores, params = hooked_scores(logits, row), row.params
    best = int(scores.argmax())
    if scores[best] == -np.inf:
        return SamplingFailure(NOTHING_ALLOWED)
    if row.is_greedy:
        return best
    weights = tempered_weights(scores, params.temperature)
    number = uniform(row.key, position)
    if not row.has_filters:
        return draw_any(weights, number)
    candidates = filtered(scores, weights, top_k=params.top_k, top_p=params.top_p, min_p=params.min_p)
    return draw_candidate(candidates, number)
