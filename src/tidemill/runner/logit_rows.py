"""From the hidden rows of a step to its results: which rows need logits, in bounded slices, and what they yield.

Owns the order of results and the bound on logits held at once; sampling itself is `sampling`'s.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tidemill.runner.batch_tensors import ScheduledState
from tidemill.runner.row_buckets import padded_rows
from tidemill.sampling.device_greedy import greedy_on_device
from tidemill.sampling.logprobs import TokenLogprobs, token_logprobs
from tidemill.sampling.plain_draw import NOT_FINITE, DrawRows, SamplingFailure, draw_plainly
from tidemill.sampling.row_state import RowState
from tidemill.sampling.sampler import Outcome, sample
from tidemill.scheduler.batch import RawLogprobs, SequenceResult

MAX_SLICE_BYTES = 64 * 1024 * 1024
"""Logits held at once: a bound on what log-probabilities of long prompts can cost."""

OnLogits = Callable[[int, int, NDArray[np.float32]], None]
"""Told (sequence id, position, logits (vocab,)) of every row whose logits were computed; the row must not be kept."""

Projection = Callable[[torch.Tensor], torch.Tensor]
"""The model's output layer: hidden rows (num_rows, hidden) to logits (num_rows, vocab) in fp32."""


@dataclass(slots=True)
class _Partial:
    """What a sequence has yielded so far in this step."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[RawLogprobs] = field(default_factory=list)
    prompt_logprobs: list[RawLogprobs] = field(default_factory=list)
    error: str | None = None


class _LogitRow(NamedTuple):
    """A row that needs logits: the one of `position`, of the sequence at `place` of the step."""

    row: int
    place: int
    position: int
    samples: bool


class LogitRows:
    """Computes and samples the logits of a step."""

    def __init__(
        self,
        project: Projection,
        *,
        vocab_size: int,
        row_tile: int | None,
        on_logits: OnLogits | None = None,
        draw: DrawRows = draw_plainly,
    ) -> None:
        self._project = project
        self._draw = draw
        self._row_tile = row_tile
        self._on_logits = on_logits
        self.slice_rows = slice_rows(vocab_size, row_tile)

    def results(
        self, sequences: Sequence[ScheduledState], row_starts: Sequence[int], hidden: torch.Tensor
    ) -> list[SequenceResult]:
        """One result a sequence, in order, from `hidden` (padded_rows, hidden); accepts what was sampled."""
        rows = list(_rows_with_logits(sequences, row_starts))
        partials = [_Partial() for _ in sequences]
        for first in range(0, len(rows), self.slice_rows):
            self._compute_slice(rows[first : first + self.slice_rows], sequences, hidden, partials)
        return [
            SequenceResult(
                sequence_id=scheduled.sequence_id,
                token_ids=tuple(partial.token_ids),
                logprobs=tuple(partial.logprobs),
                prompt_logprobs=tuple(partial.prompt_logprobs),
                error=partial.error,
            )
            for (scheduled, _), partial in zip(sequences, partials, strict=True)
        ]

    def _compute_slice(
        self,
        rows: Sequence[_LogitRow],
        sequences: Sequence[ScheduledState],
        hidden: torch.Tensor,
        partials: Sequence[_Partial],
    ) -> None:
        logits = self._project(self._picked(rows, hidden))[: len(rows)]
        sampled = [place for place, row in enumerate(rows) if row.samples]
        states = [_sampling(sequences[rows[place].place]) for place in sampled]
        outcomes: list[Outcome]
        if (
            logits.device.type != "cpu"
            and self._on_logits is None
            and len(sampled) == len(rows)
            and all(state.is_plain_greedy for state in states)
        ):
            outcomes = greedy_on_device(logits)
        else:
            values: NDArray[np.float32] = logits.cpu().numpy()
            self._tell(rows, sequences, values)
            self._take_prompt_logprobs(rows, sequences, values, partials)
            positions = [rows[place].position + 1 for place in sampled]
            outcomes = sample(values if len(sampled) == len(rows) else values[sampled], states, positions, self._draw)
        for place, outcome in zip(sampled, outcomes, strict=True):
            index = rows[place].place
            _take_outcome(outcome, sequences[index], partials[index])

    def _picked(self, rows: Sequence[_LogitRow], hidden: torch.Tensor) -> torch.Tensor:
        """The hidden rows of `rows`, padded; a step that only decodes has them side by side already."""
        padded = padded_rows(len(rows), self._row_tile)
        indices = [row.row for row in rows]
        if indices[0] == 0 and indices[-1] == len(rows) - 1 and padded <= hidden.shape[0]:
            return hidden[:padded]
        padding = [indices[0]] * (padded - len(rows))
        return hidden[torch.tensor(indices + padding, device=hidden.device)]

    def _tell(
        self, rows: Sequence[_LogitRow], sequences: Sequence[ScheduledState], values: NDArray[np.float32]
    ) -> None:
        if self._on_logits is not None:
            for row, logits in zip(rows, values, strict=True):
                self._on_logits(sequences[row.place][0].sequence_id, row.position, logits)

    def _take_prompt_logprobs(
        self,
        rows: Sequence[_LogitRow],
        sequences: Sequence[ScheduledState],
        values: NDArray[np.float32],
        partials: Sequence[_Partial],
    ) -> None:
        for row, logits in zip(rows, values, strict=True):
            if row.samples:
                continue
            state = sequences[row.place][1]
            assert state.num_prompt_logprobs is not None
            if not np.isfinite(logits).all():
                partials[row.place].error = NOT_FINITE
                continue
            token_id = int(state.token_ids(row.position + 1, 1)[0])
            partials[row.place].prompt_logprobs.append(
                _raw(token_logprobs(logits, token_id, state.num_prompt_logprobs))
            )


def slice_rows(vocab_size: int, row_tile: int | None) -> int:
    """Rows of logits computed at once: whole tiles within `MAX_SLICE_BYTES`, and at least one tile."""
    tile = row_tile or 1
    return max(tile, MAX_SLICE_BYTES // (4 * vocab_size) // tile * tile)


def _rows_with_logits(sequences: Sequence[ScheduledState], row_starts: Sequence[int]) -> Iterator[_LogitRow]:
    """Rows of prompt positions that were asked about, and last rows that are sampled, in the batch's order."""
    for index, ((scheduled, state), first_row) in enumerate(zip(sequences, row_starts, strict=True)):
        end = scheduled.start + scheduled.num_tokens
        if state.num_prompt_logprobs is not None:
            for position in range(scheduled.start, min(end, state.num_prompt_tokens - 1)):
                yield _LogitRow(first_row + position - scheduled.start, index, position, samples=False)
        if scheduled.samples:
            assert end == state.num_tokens, (scheduled.sequence_id, end, state.num_tokens)
            yield _LogitRow(first_row + scheduled.num_tokens - 1, index, end - 1, samples=True)


def _sampling(sequence: ScheduledState) -> RowState:
    state = sequence[1].sampling
    assert state is not None
    return state


def _take_outcome(outcome: Outcome, sequence: ScheduledState, partial: _Partial) -> None:
    if isinstance(outcome, SamplingFailure):
        partial.error = partial.error or outcome.reason
        return
    sequence[1].accept(outcome.token_id)
    partial.token_ids.append(outcome.token_id)
    if outcome.logprobs is not None:
        partial.logprobs.append(_raw(outcome.logprobs))


def _raw(logprobs: TokenLogprobs) -> RawLogprobs:
    return RawLogprobs(logprobs.token_id, logprobs.logprob, logprobs.top_token_ids, logprobs.top_logprobs)
