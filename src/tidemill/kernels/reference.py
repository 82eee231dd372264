"""The kernels in plain torch, for any device: what the fast ones are compared with, and what runs where there are none.

They keep the same promise: a row's bits do not depend on the rows beside it. Products therefore have fixed shapes.
"""

import torch

from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.kv_tensors import LEAST_SCALED, SCALE_DTYPE, PagedTensors
from tidemill.kernels.quantized import GROUP, TINY, Activation, QuantizedRows, QuantizedWeight

KEY_BLOCK = 64
"""Positions in one product of attention, aligned to absolute positions."""
QUERY_TILE = 16
"""Queries in one product of attention."""
PRODUCT_ELEMENTS = 1 << 23
"""Weights that an integer product widens at once."""


def as_activation(x: torch.Tensor, dtype: torch.dtype) -> Activation:
    """X (rows, size) float32 as a product with inputs of `dtype` wants it."""
    return quantize(x) if dtype == torch.int8 else x.to(dtype)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """X / rms(x) * weight by rows (Zhang and Sennrich 2019): x (..., size) float32 -> the same."""
    scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)
    return x * scale * weight


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up: (rows, 2 * size), gates first -> (rows, size) float32."""
    gate, up = gate_up.float().chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def quantize(x: torch.Tensor) -> QuantizedRows:
    """Rows of x (rows, size), float32 or bf16, as integers."""
    x = x.float()
    largest = x.abs().amax(-1)
    finite = largest < torch.inf
    reach = torch.full_like(largest, 127.0)  # a tensor: dividing by a number may become multiplying by its inverse
    largest = torch.where(finite & (largest >= TINY), largest, reach)
    values = torch.where(finite[:, None], x * (reach / largest)[:, None], 0).round().to(torch.int8)
    values = torch.nn.functional.pad(values, (0, -x.shape[1] % GROUP))
    scales = torch.where(finite, largest / reach, torch.nan)
    return QuantizedRows(values, scales, values.sum(-1, dtype=torch.int32))


def integer_product(x: QuantizedRows, weight: QuantizedWeight) -> torch.Tensor:
    """Exact product of x (rows, in_features) and the weight -> (rows, out_features) float32, as the weight says.

    Sums are made in float64, which holds every integer below 2**53, so that any device can make them in any order.
    """
    out_features, in_features = weight.values.shape
    left = x.values[:, :in_features].double()
    channels = max(1, PRODUCT_ELEMENTS // in_features)
    parts = [left @ part.double().T for part in torch.split(weight.values, channels)]
    product = torch.cat(parts, 1).int().float() * weight.scales * x.scales[:, None]
    assert product.shape[1] == out_features
    return product if weight.bias is None else product + weight.bias


def rotate(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """Rotary embedding (Su et al. 2021), halves paired: heads (rows, n, head_dim), rotations (rows, head_dim) or empty.

    A rotation is the cosines of half a head, then the sines.
    """
    if rotations.shape[-1] == 0:
        return heads
    cos, sin = rotations.unsqueeze(1).chunk(2, dim=-1)
    low, high = heads.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


def scaled_vectors(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors x (..., head_dim) float32 as integers, and what each is worth (...,) bf16, as an int8 cache keeps them.

    A scale is the largest magnitude / 127, rounded up; NaN for a vector with a number that is not finite.
    """
    largest = x.abs().amax(-1)
    finite = largest < torch.inf
    bits = (largest / torch.full_like(largest, 127.0)).view(torch.int32) + 0xFFFF
    scales = (bits & -0x10000).view(torch.float32)
    scales = torch.where(largest >= LEAST_SCALED, scales, 0.0)
    inverse = torch.where(finite & (scales > 0), 1 / scales, 0.0)
    integers = torch.where(finite[..., None], x * inverse[..., None], 0.0).round().to(torch.int8)
    return integers, torch.where(finite, scales, torch.nan).to(SCALE_DTYPE)


def write_kv(k: torch.Tensor, v: torch.Tensor, cache: PagedTensors, slots: torch.Tensor) -> None:
    """Store k and v (rows, kv_heads, head_dim) float32 in the slots (rows,) of one layer's pages."""
    size = cache.values.shape[2] * cache.values.shape[4]
    page, offset = slots // size, slots % size
    if cache.key_scales is not None and cache.value_scales is not None:
        k, cache.key_scales[page, :, offset] = scaled_vectors(k)
        v, cache.value_scales[page, :, offset] = scaled_vectors(v)
    pair = cache.values.shape[4]
    cache.keys[page, :, :, offset] = k.to(cache.keys.dtype).view(*k.shape[:2], -1, cache.keys.shape[4])
    cache.values[page, :, offset // pair, :, offset % pair] = v.to(cache.values.dtype)


def read_kv(cache: PagedTensors, pages: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values (positions, kv_heads, head_dim) float32 of positions given by pages and offsets (positions,)."""
    pair = cache.values.shape[4]
    keys = cache.keys[pages, :, :, offsets].flatten(-2).float()
    values = cache.values[pages, :, offsets // pair, :, offsets % pair].float()
    if cache.key_scales is not None and cache.value_scales is not None:
        keys = keys * cache.key_scales[pages, :, offsets, None].float()
        values = values * cache.value_scales[pages, :, offsets, None].float()
    return keys, values


def paged_attention(q: torch.Tensor, cache: PagedTensors, batch: AttentionBatch, scale: float) -> torch.Tensor:
    """Causal attention over the cache: q (rows, heads * head_dim) float32 -> the same shape, float32; padding rows 0.

    Keys are met in blocks of KEY_BLOCK absolute positions, in ascending order, with a running maximum and sum. Over a
    bf16 cache queries and weights are bf16 too.
    """
    num_kv_heads, head_dim = cache.values.shape[1], cache.values.shape[3]
    out = torch.zeros_like(q)
    heads = _as_operand(q * scale, cache).view(q.shape[0], num_kv_heads, -1, head_dim)
    first = 0
    for index, (num_queries, context) in enumerate(zip(batch.query_lens, batch.context_lens_list, strict=True)):
        for done in range(0, num_queries, QUERY_TILE):
            count = min(QUERY_TILE, num_queries - done)
            rows = slice(first + done, first + done + count)
            position = context - num_queries + done
            tile = _attend(heads[rows], cache, batch.block_tables[index], position, batch.window)
            out[rows] = tile.reshape(count, -1)
        first += num_queries
    return out


def _as_operand(x: torch.Tensor, cache: PagedTensors) -> torch.Tensor:
    """X float32, rounded as the other operand of a product with this cache is."""
    return x.to(cache.keys.dtype).float() if cache.keys.dtype == torch.bfloat16 else x


def _attend(
    queries: torch.Tensor, cache: PagedTensors, table: torch.Tensor, position: int, window: int | None
) -> torch.Tensor:
    """One tile: queries (count, kv_heads, group, head_dim), the first at `position` -> the same shape."""
    count, num_kv_heads, group, head_dim = queries.shape
    size = cache.values.shape[2] * cache.values.shape[4]
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
        keys, values = (torch.where(held[:, None, None], part, 0) for part in read_kv(cache, pages, offsets))
        seen = (where[None, :] <= at[:, None]) & held[None, :]
        if window is not None:
            seen &= where[None, :] > at[:, None] - window
        scores = torch.where(seen, torch.bmm(tile, keys.permute(1, 2, 0).contiguous()), -1e30)
        new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
        shrink = torch.exp(top - new_top)
        weights = torch.where(seen, torch.exp(scores - new_top), 0)
        total = total * shrink + weights.sum(-1, keepdim=True)
        sums = sums * shrink + torch.bmm(_as_operand(weights, cache), values.transpose(0, 1).contiguous())
        top = new_top
    result = (sums / total).view(num_kv_heads, QUERY_TILE, group, head_dim)
    return result[:, :count].permute(1, 0, 2, 3)
