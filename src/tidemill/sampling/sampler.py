"""From rows of logits to tokens and what is told about them. Owns no arithmetic; keeps nothing between calls.

What is drawn goes through mask, bias, penalties, temperature, filters, draw, in this order; acceptance is
`RowState.accept`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.sampling.logprobs import TokenLogprobs, token_logprobs
from tidemill.sampling.plain_draw import NOT_FINITE, Drawn, DrawRows, SamplingFailure, draw_plainly
from tidemill.sampling.row_state import RowState
from tidemill.sampling.token_mask import Scores


@dataclass(frozen=True, slots=True)
class SampledToken:
    """The token a row yielded, with its log-probabilities if the row asked for them."""

    token_id: int
    logprobs: TokenLogprobs | None = None


Outcome = SampledToken | SamplingFailure


def sample(
    logits: NDArray[np.float32], rows: Sequence[RowState], positions: Sequence[int], draw: DrawRows = draw_plainly
) -> list[Outcome]:
    """One outcome a row of raw fp32 `logits` (num_rows, vocab), which are left as they are.

    `positions` are the absolute positions the new tokens will stand at. The states are read, not advanced.
    """
    assert logits.shape[0] == len(rows) == len(positions), (logits.shape, len(rows), len(positions))
    if not rows:
        return []
    if all(row.is_plain_greedy for row in rows):
        return _greedy(logits)
    drawn = draw(logits, rows, positions)
    return [_outcome(token, logits[index], row) for index, (token, row) in enumerate(zip(drawn, rows, strict=True))]


def _greedy(logits: NDArray[np.float32]) -> list[Outcome]:
    """The largest of each row. Largest and lowest are finite only where all are: a NaN counts as both."""
    token_ids = logits.argmax(axis=1)
    largest = logits[np.arange(token_ids.size), token_ids]
    is_finite = (np.isfinite(largest) & np.isfinite(logits.min(axis=1))).tolist()
    return [
        SampledToken(token_id) if finite else SamplingFailure(NOT_FINITE)
        for token_id, finite in zip(token_ids.tolist(), is_finite, strict=True)
    ]


def _outcome(drawn: Drawn, logits: Scores, row: RowState) -> Outcome:
    if isinstance(drawn, SamplingFailure) or row.params.num_logprobs is None:
        return drawn if isinstance(drawn, SamplingFailure) else SampledToken(drawn)
    return SampledToken(drawn, token_logprobs(logits, drawn, row.params.num_logprobs))
