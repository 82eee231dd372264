"""The kernels in plain torch, for any device: what the fast ones are compared with, and what runs where there are none.

They keep the same promise: a row's bits do not depend on the rows beside it. Products therefore have fixed shapes.
"""

import torch

from tidemill.kernels.attention_batch import AttentionBatch

KEY_BLOCK = 64
"""Positions in one product of attention, aligned to absolute positions."""
QUERY_TILE = 16
"""Queries in one product of attention."""


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype) -> torch.Tensor:
    """X / rms(x) * weight by rows (Zhang and Sennrich 2019): x (..., size) float32 -> (..., size) dtype."""
    scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)
    return (x * scale * weight).to(dtype)


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up: (rows, 2 * size), gates first -> (rows, size)."""
    gate, up = gate_up.float().chunk(2, dim=-1)
    return (torch.nn.functional.silu(gate) * up).to(gate_up.dtype)


def rotate(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """Rotary embedding (Su et al. 2021), halves paired: heads (rows, n, head_dim), rotations (rows, head_dim) or empty.

    A rotation is the cosines of half a head, then the sines.
    """
    if rotations.shape[-1] == 0:
        return heads
    cos, sin = rotations.unsqueeze(1).chunk(2, dim=-1)
    low, high = heads.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


def write_kv(k: torch.Tensor, v: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor) -> None:
    """Store k and v (rows, kv_heads, head_dim) in the slots (rows,) of one layer's pages."""
    size = values.shape[2]
    page, offset = slots // size, slots % size
    keys[page, :, :, offset] = k.to(keys.dtype)
    values[page, :, offset, :] = v.to(values.dtype)


def paged_attention(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, batch: AttentionBatch, scale: float
) -> torch.Tensor:
    """Causal attention over the cache: q (rows, heads * head_dim) float32 -> the same shape, float32; padding rows 0.

    Keys are met in blocks of KEY_BLOCK absolute positions, in ascending order, with a running maximum and sum.
    """
    num_kv_heads, head_dim = keys.shape[1], keys.shape[2]
    out = torch.zeros_like(q)
    heads = q.view(q.shape[0], num_kv_heads, -1, head_dim)
    first = 0
    for index, (num_queries, context) in enumerate(zip(batch.query_lens, batch.context_lens_list, strict=True)):
        for done in range(0, num_queries, QUERY_TILE):
            count = min(QUERY_TILE, num_queries - done)
            rows = slice(first + done, first + done + count)
            position = context - num_queries + done
            tile = _attend(heads[rows] * scale, keys, values, batch.block_tables[index], position, batch.window)
            out[rows] = tile.reshape(count, -1)
        first += num_queries
    return out


def _attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    table: torch.Tensor,
    position: int,
    window: int | None,
) -> torch.Tensor:
    """One tile: queries (count, kv_heads, group, head_dim), the first at `position` -> the same shape."""
    count, num_kv_heads, group, head_dim = queries.shape
    size = values.shape[2]
    last = position + count - 1
    tile = queries.new_zeros(QUERY_TILE, num_kv_heads, group, head_dim)
    tile[:count] = queries
    tile = tile.permute(1, 0, 2, 3).reshape(num_kv_heads, QUERY_TILE * group, head_dim)
    at = torch.arange(position, position + QUERY_TILE, device=queries.device).repeat_interleave(group)
    top = tile.new_full((num_kv_heads, QUERY_TILE * group, 1), -1e30)
    total = tile.new_zeros(num_kv_heads, QUERY_TILE * group, 1)
    sums = torch.zeros_like(tile)
    earliest = 0 if window is None else max(0, position - window + 1)
    for base in range(earliest // KEY_BLOCK * KEY_BLOCK, last + 1, KEY_BLOCK):
        where = torch.arange(base, base + KEY_BLOCK, device=queries.device)
        held = (where >= earliest) & (where <= last)
        pages, offsets = table[torch.where(held, where // size, 0)].long(), where % size
        block_keys = torch.where(held[:, None, None], keys[pages, :, :, offsets], 0).float().permute(1, 2, 0)
        block_values = torch.where(held[:, None, None], values[pages, :, offsets], 0).float().transpose(0, 1)
        seen = (where[None, :] <= at[:, None]) & held[None, :]
        if window is not None:
            seen &= where[None, :] > at[:, None] - window
        scores = torch.where(seen, torch.bmm(tile, block_keys.contiguous()), -1e30)
        new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
        shrink = torch.exp(top - new_top)
        weights = torch.where(seen, torch.exp(scores - new_top), 0)
        total = total * shrink + weights.sum(-1, keepdim=True)
        sums = sums * shrink + torch.bmm(weights, block_values.contiguous())
        top = new_top
    result = (sums / total).view(num_kv_heads, QUERY_TILE, group, head_dim)
    return result[:, :count].permute(1, 0, 2, 3)
