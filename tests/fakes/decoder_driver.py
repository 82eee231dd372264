"""Runs a decoder the way a runner would: pages, tables and batches made by hand for the sequences it is given."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from tidemill.core.kv_cache import KVCacheLayout
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.kv_tensors import KVTensors, block_bytes
from tidemill.models.decoder import Decoder, load_decoder
from tidemill.models.spec import ModelSpec, kv_groups, load_spec


@dataclass
class DrivenSequence:
    """Tokens, and pages by KV group."""

    token_ids: list[int]
    tables: list[list[int]]
    computed: int = 0
    logits: list[torch.Tensor] = field(default_factory=list)
    """One (vocab,) row for each computed position."""


class DecoderDriver:
    """One decoder with an arena; pages are handed out in a scrambled order and never taken back."""

    def __init__(
        self,
        decoder: Decoder,
        spec: ModelSpec,
        *,
        row_tile: int | None,
        dtype: torch.dtype,
        block_size: int = 16,
        num_blocks: int = 512,
        device: torch.device | None = None,
    ) -> None:
        self.decoder, self.spec, self.row_tile = decoder, spec, row_tile
        self.device = device or torch.device("cpu")
        groups = kv_groups(spec)
        self.layout = KVCacheLayout(
            num_blocks=num_blocks,
            block_size=block_size,
            block_bytes=block_bytes(
                layers_per_group=len(groups[0].layers), num_kv_heads=spec.num_kv_heads, head_dim=spec.head_dim,
                block_size=block_size, dtype=dtype,
            ),
            groups=groups,
        )  # fmt: skip
        self.kv = KVTensors.allocate(
            self.layout, num_kv_heads=spec.num_kv_heads, head_dim=spec.head_dim, dtype=dtype, device=self.device
        )
        order = torch.randperm(num_blocks - 1, generator=torch.Generator().manual_seed(1)) + 1
        self.free = order.tolist()

    @staticmethod
    def load(
        folder: Path, *, dtype: torch.dtype = torch.float32, row_tile: int | None = 8, max_model_len: int = 1024,
        kernels: KernelBackend | None = None, block_size: int = 16, num_blocks: int = 512,
        device: torch.device | None = None,
    ) -> "DecoderDriver":  # fmt: skip
        """Load the checkpoint in `folder` and make an arena for it."""
        device = device or torch.device("cpu")
        spec = load_spec(folder)
        decoder = load_decoder(
            folder, spec, device=device, dtype=dtype, row_tile=row_tile, max_model_len=max_model_len,
            progress=lambda _: None, kernels=kernels,
        )  # fmt: skip
        return DecoderDriver(
            decoder, spec, row_tile=row_tile, dtype=dtype, block_size=block_size, num_blocks=num_blocks, device=device
        )

    def add(self, token_ids: list[int]) -> DrivenSequence:
        """A new sequence with nothing computed yet."""
        return DrivenSequence(list(token_ids), [[] for _ in self.layout.groups])

    def step(self, parts: list[tuple[DrivenSequence, int]]) -> None:
        """Compute the next `n` positions of each sequence in one step and append a row of logits for each."""
        rows = [(s, p) for s, n in parts for p in range(s.computed, s.computed + n)]
        padded = -(-len(rows) // (self.row_tile or 1)) * (self.row_tile or 1)
        for sequence, n in parts:
            needed = -(-(sequence.computed + n) // self.layout.block_size)
            for table in sequence.tables:
                while len(table) < needed:
                    table.append(self.free.pop())
        batches = [self._batch(group, parts, rows, padded) for group in range(len(self.layout.groups))]
        tokens, positions = torch.zeros(padded, dtype=torch.int64), torch.zeros(padded, dtype=torch.int64)
        for row, (sequence, position) in enumerate(rows):
            tokens[row], positions[row] = sequence.token_ids[position], position
        hidden = self.decoder.forward(tokens.to(self.device), positions.to(self.device), self.kv, batches)
        logits = self.decoder.logits(hidden)
        for row, (sequence, _) in enumerate(rows):
            sequence.logits.append(logits[row].cpu())
        for sequence, n in parts:
            sequence.computed += n

    def run(self, token_ids: list[int], chunks: list[int] | None = None) -> torch.Tensor:
        """Logits (len(token_ids), vocab) of one sequence alone, in the given chunks or all at once."""
        sequence = self.add(token_ids)
        for chunk in chunks or [len(token_ids)]:
            self.step([(sequence, chunk)])
        assert sequence.computed == len(token_ids)
        return torch.stack(sequence.logits)

    def _batch(
        self, group: int, parts: list[tuple[DrivenSequence, int]], rows: list[tuple[DrivenSequence, int]], padded: int
    ) -> AttentionBatch:
        size = self.layout.block_size
        starts, lens = [s.computed for s, _ in parts], [n for _, n in parts]
        contexts = [start + n for start, n in zip(starts, lens, strict=True)]
        tables = torch.zeros(len(parts), max(len(s.tables[group]) for s, _ in parts), dtype=torch.int32)
        window = self.layout.groups[group].window
        for index, (sequence, _) in enumerate(parts):
            pages = torch.tensor(sequence.tables[group], dtype=torch.int32)
            if window is not None:  # what the window has left behind points at the null page
                pages[: max(0, sequence.computed - window + 1) // size] = 0
            tables[index, : len(pages)] = pages
        slots = torch.zeros(padded, dtype=torch.int64)
        for row, (sequence, position) in enumerate(rows):
            slots[row] = sequence.tables[group][position // size] * size + position % size
        return AttentionBatch(
            num_rows=len(rows),
            query_starts=torch.tensor([0, *lens]).cumsum(0).int().to(self.device),
            start_positions=torch.tensor(starts, dtype=torch.int32, device=self.device),
            context_lens=torch.tensor(contexts, dtype=torch.int32, device=self.device),
            block_tables=tables.to(self.device),
            slot_mapping=slots.to(self.device),
            block_size=size,
            window=window,
            query_lens=tuple(lens),
            context_lens_list=tuple(contexts),
        )
