"""Computes steps of one model: keeps the sequences' tokens, builds the batch's tensors, runs the model, samples.

Owns the sequence states and the KV tensors; which sequence runs, and in which blocks, is the scheduler's decision.
"""

from collections.abc import Sequence
from typing import Protocol

import torch

from tidemill.core.clock import Clock, monotonic
from tidemill.core.kv_cache import KVCacheLayout
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.kv_tensors import KVTensors
from tidemill.runner.batch_tensors import ScheduledState, build_batch_tensors
from tidemill.runner.logit_rows import LogitRows, OnLogits
from tidemill.runner.sequence_state import SequenceState
from tidemill.runner.thread_share import ThreadShare
from tidemill.sampling.plain_draw import DrawRows, draw_plainly
from tidemill.scheduler.batch import Batch, SequenceResult, StepResult


class Model(Protocol):
    """A decoder, as far as a step needs it. Rows are padded to the row tile in both calls."""

    def forward(
        self, token_ids: torch.Tensor, positions: torch.Tensor, kv: KVTensors, attention: Sequence[AttentionBatch]
    ) -> torch.Tensor:
        """Hidden rows (padded_rows, hidden) of `token_ids` at `positions`, both (padded_rows,)."""
        ...

    def logits(self, hidden_rows: torch.Tensor) -> torch.Tensor:
        """Logits (num_rows, vocab) in fp32 of `hidden_rows` (num_rows, hidden)."""
        ...


class CompletedStep:
    """The handle of a step that was computed by `launch` itself: a depth of zero."""

    __slots__ = ("_result",)

    def __init__(self, result: StepResult) -> None:
        self._result = result

    def result(self) -> StepResult:
        """The step's result, at once."""
        return self._result


class ModelRunner:
    """One model on one device. Implements `scheduler.batch.Runner`.

    `on_logits` is told of every row of logits, for tests that compare bits; `threads` is asked before each step.
    """

    def __init__(
        self,
        model: Model,
        kv: KVTensors,
        layout: KVCacheLayout,
        *,
        model_id: int,
        vocab_size: int,
        row_tile: int | None,
        device: torch.device,
        on_logits: OnLogits | None = None,
        threads: ThreadShare | None = None,
        clock: Clock = monotonic,
        draw: DrawRows = draw_plainly,
    ) -> None:
        self.model_id = model_id
        self._clock = clock
        self._threads = threads
        self._model = model
        self._kv = kv
        self._layout = layout
        self._vocab_size = vocab_size
        self._row_tile = row_tile
        self._device = device
        self._logit_rows = LogitRows(
            model.logits, vocab_size=vocab_size, row_tile=row_tile, on_logits=on_logits, draw=draw
        )
        self._states: dict[int, SequenceState] = {}

    @property
    def num_sequences(self) -> int:
        """Sequences whose state is kept: every one that was new and has not been finished."""
        return len(self._states)

    def launch(self, batch: Batch) -> CompletedStep:
        """Compute `batch`. A sequence that cannot be computed ends with an error; the others are not touched by it."""
        assert batch.model_id == self.model_id, (batch.model_id, self.model_id)
        if self._threads is not None:
            self._threads.begin_step()
        for sequence_id in batch.finished:
            self._states.pop(sequence_id, None)
        for new in batch.new:
            self._states[new.sequence_id] = SequenceState(new, vocab_size=self._vocab_size)
        sound: list[ScheduledState] = []
        faults: dict[int, str] = {}
        for scheduled in batch.sequences:
            state = self._states[scheduled.sequence_id]
            if state.fault is None:
                sound.append((scheduled, state))
            else:
                faults[scheduled.sequence_id] = state.fault
        results, tensors_seconds, sample_seconds = self._compute(sound) if sound else ([], 0.0, 0.0)
        if faults:
            results = _in_order(batch, results, faults)
        return CompletedStep(
            StepResult(
                step=batch.step,
                sequences=tuple(results),
                tensors_seconds=tensors_seconds,
                sample_seconds=sample_seconds,
            )
        )

    @torch.inference_mode()
    def _compute(self, sequences: Sequence[ScheduledState]) -> tuple[list[SequenceResult], float, float]:
        """The results, and the seconds that the tensors and the sampling took."""
        started = self._clock()
        tensors = build_batch_tensors(sequences, self._layout, row_tile=self._row_tile, device=self._device)
        built = self._clock()
        hidden = self._model.forward(tensors.token_ids, tensors.positions, self._kv, tensors.attention)
        forwarded = self._clock()
        results = self._logit_rows.results(sequences, tensors.row_starts, hidden)
        return results, built - started, self._clock() - forwarded


def _in_order(batch: Batch, results: Sequence[SequenceResult], faults: dict[int, str]) -> list[SequenceResult]:
    """`results` and the `faults` of the sequences that were left out, in the batch's order."""
    computed = iter(results)
    return [
        SequenceResult(scheduled.sequence_id, token_ids=(), error=faults[scheduled.sequence_id])
        if scheduled.sequence_id in faults
        else next(computed)
        for scheduled in batch.sequences
    ]
