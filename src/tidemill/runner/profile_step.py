"""The largest step a model can be given, made up to measure what it allocates. It touches only the null page."""

from dataclasses import dataclass

import numpy as np
import torch

from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.kv_tensors import KVTensors
from tidemill.runner.logit_rows import slice_rows
from tidemill.runner.row_buckets import padded_rows
from tidemill.runner.runner import Model


@dataclass(frozen=True, slots=True)
class ProfileStep:
    """One forward pass of the full token budget, in prompts of at most `max_model_len`, and one slice of logits."""

    model: Model
    kv: KVTensors
    layout: KVCacheLayout
    num_rows: int
    max_model_len: int
    max_num_seqs: int
    vocab_size: int
    row_tile: int | None
    device: torch.device

    @torch.inference_mode()
    def run(self) -> None:
        """Compute it; the results are thrown away."""
        lens = self._query_lens()
        rows = sum(lens)
        padded = padded_rows(rows, self.row_tile)
        positions = np.zeros(padded, dtype=np.int64)
        positions[:rows] = np.concatenate([np.arange(length) for length in lens])
        attention = [self._attention(group, lens, padded) for group in self.layout.groups]
        token_ids = torch.zeros(padded, dtype=torch.int64, device=self.device)
        hidden = self.model.forward(token_ids, torch.from_numpy(positions).to(self.device), self.kv, attention)
        num_logits = padded_rows(
            min(rows, self.max_num_seqs, slice_rows(self.vocab_size, self.row_tile)), self.row_tile
        )
        self.model.logits(hidden[:num_logits]).cpu()

    def _query_lens(self) -> tuple[int, ...]:
        """At most `max_num_seqs` prompts."""
        full, rest = divmod(self.num_rows, self.max_model_len)
        lens = (self.max_model_len,) * full + ((rest,) if rest else ())
        return lens[: self.max_num_seqs]

    def _attention(self, group: KVCacheGroup, lens: tuple[int, ...], padded: int) -> AttentionBatch:
        context_lens = torch.tensor(lens, dtype=torch.int32, device=self.device)
        starts = np.concatenate(([0], np.cumsum(lens))).astype(np.int32)
        num_blocks = -(-max(lens) // self.layout.block_size)
        return AttentionBatch(
            num_rows=sum(lens),
            query_starts=torch.from_numpy(starts).to(self.device),
            start_positions=torch.zeros_like(context_lens),
            context_lens=context_lens,
            block_tables=torch.zeros(len(lens), num_blocks, dtype=torch.int32, device=self.device),
            slot_mapping=torch.arange(padded, device=self.device) % self.layout.block_size,
            block_size=self.layout.block_size,
            window=group.window,
            query_lens=lens,
            context_lens_list=lens,
        )
