"""From rows of logits to tokens, through the hooks in their fixed order. Owns the order; keeps nothing between calls.

mask, bias, penalties, temperature, filters, draw; acceptance is `RowState.accept`. Every row goes its way alone, so
what it yields depends neither on the rows beside it nor on how many there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.sampling.draw import draw_any, draw_candidate
from tidemill.sampling.filters import filtered, tempered_weights
from tidemill.sampling.hooks import apply_bias, apply_penalties
from tidemill.sampling.logprobs import TokenLogprobs, token_logprobs
from tidemill.sampling.rng import uniform
from tidemill.sampling.row_state import RowState
from tidemill.sampling.token_mask import Scores, apply_mask

NOT_FINITE = "The model's output is not finite."
NOTHING_ALLOWED = "No token is allowed here."


@dataclass(frozen=True, slots=True)
class SampledToken:
    """The token a row yielded, with its log-probabilities if the row asked for them."""

    token_id: int
    logprobs: TokenLogprobs | None = None


@dataclass(frozen=True, slots=True)
class SamplingFailure:
    """Why a row yielded no token; the other rows are not touched by it."""

    reason: str


Outcome = SampledToken | SamplingFailure


def sample(logits: NDArray[np.float32], rows: Sequence[RowState], positions: Sequence[int]) -> list[Outcome]:
    """One outcome a row of raw fp32 `logits` (num_rows, vocab), which are left as they are.

    `positions` are the absolute positions the new tokens will stand at. The states are read, not advanced.
    """
    assert logits.shape[0] == len(rows) == len(positions), (logits.shape, len(rows), len(positions))
    if not rows:
        return []
    if all(row.is_plain_greedy for row in rows):
        return _greedy(logits)
    is_finite = (np.isfinite(logits.max(axis=1)) & np.isfinite(logits.min(axis=1))).tolist()
    return [
        sample_row(logits[index], row, position) if is_finite[index] else SamplingFailure(NOT_FINITE)
        for index, (row, position) in enumerate(zip(rows, positions, strict=True))
    ]


def _greedy(logits: NDArray[np.float32]) -> list[Outcome]:
    """The largest of each row. Largest and lowest are finite only where all are: a NaN counts as both."""
    token_ids = logits.argmax(axis=1)
    largest = logits[np.arange(token_ids.size), token_ids]
    is_finite = (np.isfinite(largest) & np.isfinite(logits.min(axis=1))).tolist()
    return [
        SampledToken(token_id) if finite else SamplingFailure(NOT_FINITE)
        for token_id, finite in zip(token_ids.tolist(), is_finite, strict=True)
    ]


def sample_row(logits: Scores, row: RowState, position: int) -> Outcome:
    """The outcome of one row of finite logits (vocab,)."""
    scores = hooked_scores(logits, row)
    if row.is_greedy:
        token_id = int(scores.argmax())
        if scores[token_id] == -np.inf:
            return SamplingFailure(NOTHING_ALLOWED)
    else:
        if scores.max() == -np.inf:
            return SamplingFailure(NOTHING_ALLOWED)
        token_id = _draw(scores, row, position)
    if row.params.num_logprobs is None:
        return SampledToken(token_id)
    return SampledToken(token_id, token_logprobs(logits, token_id, row.params.num_logprobs))


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


def _draw(scores: Scores, row: RowState, position: int) -> int:
    weights = tempered_weights(scores, row.params.temperature)
    number = uniform(row.key, position)
    if not row.has_filters:
        return draw_any(weights, number)
    params = row.params
    candidates = filtered(weights, top_k=params.top_k, top_p=params.top_p, min_p=params.min_p)
    return draw_candidate(candidates, number)
