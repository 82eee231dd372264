"""Sampling's compiled kernels behind its interface: rows' states as arrays, and the scratch that the kernels need.

Which kernels draw is chosen once, with the kernels of the model.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.core.requests import SamplingParams
from tidemill.kernels.backend import KernelBackend
from tidemill.sampling.plain_draw import NOT_FINITE, NOTHING_ALLOWED, Drawn, DrawRows, SamplingFailure, draw_plainly
from tidemill.sampling.row_state import RowState
from tidemill.sampling.weights import grain_of

_PARALLEL_ELEMENTS = 64 * 1024
_NUM_TRIALS = 4
_WORD = (1 << 64) - 1


def choose_draw(kernels: KernelBackend, vocab_size: int) -> DrawRows:
    """The compiled kernels where `kernels` are compiled too, ready and tried; else numpy."""
    if kernels.name != "numba":
        return draw_plainly
    draw = CompiledDraw(vocab_size)
    if draw.is_right():
        return draw
    logging.getLogger(__name__).warning("The compiled sampling draws other tokens than its twin; it is not used.")
    return draw_plainly


class CompiledDraw:
    """Implements `DrawRows`, with the threads that Numba's kernels have. Owns scratch for as many rows at once."""

    def __init__(self, vocab_size: int) -> None:
        import numba

        from tidemill.kernels.cpu import token_draw
        from tidemill.kernels.cpu.token_order import RUN

        self._numba = numba
        self._kernels = token_draw
        self._num_runs = -(-vocab_size // RUN)
        self._vocab_size = vocab_size
        self._grain = grain_of(vocab_size)
        self._scratch: tuple[NDArray[Any], ...] = ()

    def is_right(self) -> bool:
        """Whether the kernels, compiled or taken from the cache by this, draw what their twin draws."""
        logits = np.random.default_rng(0).normal(scale=4.0, size=(_NUM_TRIALS, self._vocab_size)).astype(np.float32)
        rows, positions = [_trial_row(self._vocab_size) for _ in range(_NUM_TRIALS)], range(_NUM_TRIALS)
        return self(logits.copy(), rows, positions) == draw_plainly(logits, rows, positions)

    def __call__(self, logits: NDArray[np.float32], rows: Sequence[RowState], positions: Sequence[int]) -> list[Drawn]:
        """See `DrawRows`."""
        num_threads = self._numba.get_num_threads()
        num_parts = 1 if logits.size < _PARALLEL_ELEMENTS else min(len(rows), num_threads)
        self._numba.set_num_threads(num_parts)
        try:
            return self._draw(logits, rows, positions, num_parts)
        finally:
            self._numba.set_num_threads(num_threads)

    def _draw(
        self, logits: NDArray[np.float32], rows: Sequence[RowState], positions: Sequence[int], num_parts: int
    ) -> list[Drawn]:
        fates, token_ids = np.empty(len(rows), dtype=np.uint8), np.empty(len(rows), dtype=np.int64)
        self._kernels.draw_rows(
            logits,
            np.array([self._params(row) for row in rows], dtype=np.float64),
            np.array([_stream_key(row, position) for row, position in zip(rows, positions, strict=True)], np.uint64),
            *_masks(rows, logits.shape[1]),
            *_biases(rows),
            *_counts(rows),
            num_parts,
            np.float32(1) / self._grain,
            self._grain,
            *self._scratch_for(num_parts),
            fates,
            token_ids,
        )
        failures = {
            self._kernels.NOT_FINITE: SamplingFailure(NOT_FINITE),
            self._kernels.NOTHING_ALLOWED: SamplingFailure(NOTHING_ALLOWED),
        }
        return [failures.get(fate, token) for fate, token in zip(fates.tolist(), token_ids.tolist(), strict=True)]

    def _params(self, row: RowState) -> tuple[float, ...]:
        """In the order of the kernels' columns; a greedy row has the temperature 0."""
        params = row.params
        return (
            0.0 if row.is_greedy else params.temperature,
            self._vocab_size if params.top_k is None else params.top_k,
            params.top_p,
            params.min_p,
            params.repetition_penalty,
            params.presence_penalty,
            params.frequency_penalty,
        )

    def _scratch_for(self, num_parts: int) -> tuple[NDArray[Any], ...]:
        """Peaks and masses of runs, ids, keys and weights of candidates, hooked scores, bins: a row a part."""
        if not self._scratch or self._scratch[0].shape[0] < num_parts:
            size, num_runs = self._vocab_size, self._num_runs
            self._scratch = (
                np.empty((num_parts, num_runs), dtype=np.int32),
                np.empty((num_parts, num_runs), dtype=np.float64),
                np.empty((num_parts, size), dtype=np.int32),
                np.empty((num_parts, size), dtype=np.int32),
                np.empty((num_parts, size), dtype=np.float32),
                np.empty((num_parts, size), dtype=np.float32),
                np.empty((num_parts, self._kernels.NUM_BINS), dtype=np.float64),
            )
        return self._scratch


def _trial_row(vocab_size: int) -> RowState:
    params = SamplingParams(seed=0, temperature=1.0, top_k=40, top_p=0.9, repetition_penalty=1.1)
    return RowState(params, (0, 0, 0), prompt_token_ids=(0,), eos_token_ids=frozenset(), vocab_size=vocab_size)


def _stream_key(row: RowState, position: int) -> tuple[int, int, int, int]:
    seed, prompt_index, sample_index = row.key
    return seed & _WORD, prompt_index, sample_index, position


def _masks(rows: Sequence[RowState], vocab_size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    masks = [row.mask for row in rows]
    present = [mask for mask in masks if mask is not None]
    words = np.stack(present) if present else np.empty((0, (vocab_size + 31) // 32), dtype=np.uint32)
    return words, _starts([mask is not None for mask in masks])


def _biases(rows: Sequence[RowState]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    ids = np.concatenate([row.bias_token_ids for row in rows])
    return ids, np.concatenate([row.biases for row in rows]), _starts([row.biases.size for row in rows])


def _counts(rows: Sequence[RowState]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    counts = [row.counts for row in rows]
    present = [count for count in counts if count is not None]
    ids = np.concatenate([count.token_ids for count in present]) if present else np.empty(0, dtype=np.int64)
    output = np.concatenate([count.output_counts for count in present]) if present else np.empty(0, dtype=np.float32)
    return ids, output, _starts([0 if count is None else count.token_ids.size for count in counts])


def _starts(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Where each row's part begins, and where the last ends, (rows + 1,)."""
    starts = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts
