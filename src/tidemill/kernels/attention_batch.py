"""What attention needs to know about one step, for one KV group: which rows belong to whom, and where their pages are.

It owns no keys and no values, and knows no request: tensors on the model's device, plus the same numbers on the host.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class AttentionBatch:
    """One step of one KV group. Rows of a sequence are adjacent and in order of position; padding rows come last.

    `query_lens` and `context_lens_list` repeat on the host what the tensors say, so that a kernel plans without waiting
    for the device. `window` is how many positions back a query looks, its own included; None is full attention.
    """

    num_rows: int
    """Rows that belong to a sequence, padding excluded."""
    query_starts: torch.Tensor
    """(num_seqs + 1,) int32: first row of each sequence, then num_rows."""
    start_positions: torch.Tensor
    """(num_seqs,) int32: absolute position of each sequence's first row."""
    context_lens: torch.Tensor
    """(num_seqs,) int32: positions in the cache after this step's write."""
    block_tables: torch.Tensor
    """(num_seqs, max_blocks) int32: page of each logical block, 0 (the null page) where there is none."""
    slot_mapping: torch.Tensor
    """(padded_rows,) int64: page * block_size + offset of each row; padding rows point into page 0."""
    block_size: int
    window: int | None
    query_lens: tuple[int, ...]
    """Rows of each sequence in this step."""
    context_lens_list: tuple[int, ...]
    """`context_lens` on the host."""
