"""Turns a batch into the tensors the model reads: tokens, positions, an `AttentionBatch` a KV group. Keeps nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

from tidemill.core.kv_cache import KVCacheLayout
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.runner.row_buckets import padded_rows
from tidemill.runner.sequence_state import SequenceState
from tidemill.scheduler.batch import ScheduledSequence

ScheduledState = tuple[ScheduledSequence, SequenceState]


@dataclass(frozen=True, slots=True)
class BatchTensors:
    """Inputs of one forward pass, on the model's device."""

    token_ids: torch.Tensor
    """(padded_rows,) int64."""
    positions: torch.Tensor
    """(padded_rows,) int64."""
    attention: tuple[AttentionBatch, ...]
    """One a KV group."""
    row_starts: tuple[int, ...]
    """First row of each sequence."""


def build_batch_tensors(
    sequences: Sequence[ScheduledState], layout: KVCacheLayout, *, row_tile: int | None, device: torch.device
) -> BatchTensors:
    """The tensors of `sequences`, in their order; padding rows follow them and write to the null page."""
    query_lens = tuple([scheduled.num_tokens for scheduled, _ in sequences])
    row_ends = tuple(accumulate(query_lens))
    row_starts = (0, *row_ends[:-1])
    num_rows = row_ends[-1]
    num_padded = padded_rows(num_rows, row_tile)
    starts = np.array([scheduled.start for scheduled, _ in sequences], dtype=np.int32)
    query_starts = np.array((0, *row_ends), dtype=np.int32)

    token_ids = np.zeros(num_padded, dtype=np.int64)
    for row, (scheduled, state) in zip(row_starts, sequences, strict=True):
        token_ids[row : row + scheduled.num_tokens] = state.token_ids(scheduled.start, scheduled.num_tokens)
    positions = np.zeros(num_padded, dtype=np.int64)
    row_sequences = np.arange(len(sequences))
    if num_rows == len(sequences):
        positions[:num_rows] = starts
    else:
        row_sequences = np.repeat(row_sequences, query_lens)
        positions[:num_rows] = np.arange(num_rows) + (starts - query_starts[:-1])[row_sequences]

    context_lens = starts + np.array(query_lens, dtype=np.int32)
    context_lens_list = tuple(context_lens.tolist())
    on_device = tuple(_on(device, values) for values in (query_starts, starts, context_lens))
    attention = []
    for group_index, group in enumerate(layout.groups):
        tables = _block_tables(sequences, group_index, context_lens_list, layout.block_size)
        slots = _slot_mapping(tables, row_sequences, positions, layout.block_size)
        attention.append(
            AttentionBatch(
                num_rows=num_rows,
                query_starts=on_device[0],
                start_positions=on_device[1],
                context_lens=on_device[2],
                block_tables=_on(device, tables),
                slot_mapping=_on(device, slots),
                block_size=layout.block_size,
                window=group.window,
                query_lens=query_lens,
                context_lens_list=context_lens_list,
            )
        )
    return BatchTensors(
        token_ids=_on(device, token_ids),
        positions=_on(device, positions),
        attention=tuple(attention),
        row_starts=row_starts,
    )


def _block_tables(
    sequences: Sequence[ScheduledState], group_index: int, context_lens: Sequence[int], block_size: int
) -> NDArray[np.int32]:
    """(num_seqs, max_blocks). A table that is an `array.array` is copied as bytes; a list, number by number."""
    blocks_needed = [-(-context_len // block_size) for context_len in context_lens]
    tables = np.zeros((len(sequences), max(blocks_needed)), dtype=np.int32)
    for index, (scheduled, _) in enumerate(sequences):
        table = scheduled.block_tables[group_index]
        needed = blocks_needed[index]
        assert len(table) >= needed, (scheduled.sequence_id, len(table), needed)
        tables[index, :needed] = table if len(table) == needed else table[:needed]
    return tables


def _slot_mapping(
    tables: NDArray[np.int32], row_sequences: NDArray[np.int64], positions: NDArray[np.int64], block_size: int
) -> NDArray[np.int64]:
    """(padded_rows,): where each row's key and value go; padding rows go to the null page."""
    num_rows = row_sequences.size
    slots = np.arange(positions.size) % block_size
    blocks, offsets = np.divmod(positions[:num_rows], block_size)
    pages = tables[row_sequences, blocks]
    assert pages.all(), "a row would be written to the null page"
    slots[:num_rows] = pages.astype(np.int64) * block_size + offsets
    return slots


def _on(device: torch.device, values: NDArray[np.int32] | NDArray[np.int64]) -> torch.Tensor:
    tensor = torch.from_numpy(values)
    return tensor if device.type == "cpu" else tensor.to(device, non_blocking=True)
