"""Arenas and batches made by hand for the tests of kernels that read and write the cache."""

import torch

from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.kv_tensors import KVTensors, block_bytes


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2).to(dtype)


def arena(dtype: torch.dtype, *, heads: int, head_dim: int, size: int, blocks: int = 64) -> KVTensors:
    """Two layers in `blocks` pages, zeros."""
    bytes_each = block_bytes(layers_per_group=2, num_kv_heads=heads, head_dim=head_dim, block_size=size, dtype=dtype)
    layout = KVCacheLayout(blocks, size, bytes_each, (KVCacheGroup((0, 1), None),))
    device = torch.device("cpu")
    return KVTensors.allocate(layout, num_kv_heads=heads, head_dim=head_dim, dtype=dtype, device=device)


def fill(kv: KVTensors) -> KVTensors:
    """Random keys and values everywhere, the null page too."""
    for number, parts in enumerate((kv.keys, kv.values)):
        for layer in parts:
            numbers = random(*layer.shape, seed=number)
            layer.copy_(numbers * 20 if layer.dtype == torch.int8 else numbers)
    for number, parts in enumerate((kv.key_scales, kv.value_scales)):
        for layer in parts:
            layer.copy_(random(*layer.shape, seed=5 + number).abs() / 100 + 0.02)
    return kv


def batch(
    query_lens: tuple[int, ...],
    contexts: tuple[int, ...],
    *,
    size: int,
    window: int | None,
    tables: torch.Tensor | None = None,
) -> AttentionBatch:
    """A step of sequences with scrambled pages, or those of `tables`; padded to a multiple of 8 rows."""
    if tables is None:
        widest = -(-max(contexts) // size)
        scrambled = torch.randperm(len(contexts) * widest, generator=torch.Generator().manual_seed(2))
        tables = (1 + scrambled).view(len(contexts), widest).int()
    places = [
        (int(tables[s, p // size]) * size + p % size)
        for s, (n, context) in enumerate(zip(query_lens, contexts, strict=True))
        for p in range(context - n, context)
    ]
    places += [0] * (-len(places) % 8)
    return AttentionBatch(
        num_rows=sum(query_lens),
        query_starts=torch.tensor([0, *query_lens]).cumsum(0).int(),
        start_positions=torch.tensor(contexts).int() - torch.tensor(query_lens).int(),
        context_lens=torch.tensor(contexts).int(),
        block_tables=tables,
        slot_mapping=torch.tensor(places),
        block_size=size,
        window=window,
        query_lens=query_lens,
        context_lens_list=contexts,
    )
