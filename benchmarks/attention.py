"""Attention over a paged cache: decode steps as GB/s of keys and values read, prompts as milliseconds a layer.

By kind of cache (bf16, int8) and shape. A gauge of the best read bandwidth is taken between the measurements, so that
the share of it holds on a machine whose neighbours come and go; PyTorch's own attention stands beside the prompts.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe, write
from benchmarks.peaks import Gauge, aligned_bytes, best_seconds
from tidemill.config.settings import CacheSettings
from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.cpu.backend import NumbaBackend
from tidemill.kernels.kv_tensors import KVTensors, block_bytes

CPU = torch.device("cpu")
ARENA_BYTES = 600 * 2**20
"""Layers are added until a pass over all of them is far more than any cache holds."""
DTYPES = {"bf16": torch.bfloat16, "int8": torch.int8}


@dataclass(frozen=True)
class Shape:
    """Heads of queries, heads of keys and values, the size of one, and positions in a block of the cache."""

    heads: int
    kv_heads: int
    head_dim: int
    block_size: int = CacheSettings().block_size

    def __str__(self) -> str:
        return f"{self.heads}/{self.kv_heads} heads of {self.head_dim}"


SHAPES = {"1B": Shape(32, 8, 64), "115M": Shape(9, 3, 64), "8B": Shape(32, 8, 128), "group of 8": Shape(32, 4, 128)}
DECODES = ((1, 256), (8, 256), (32, 256), (32, 255), (1, 2000), (8, 2000), (32, 2000), (1, 8000), (8, 8000))
PROMPTS = ((842, 0), (512, 0), (512, 1000), (512, 2000))


def make_step(lens: list[int], contexts: list[int], pages: torch.Tensor, block_size: int) -> AttentionBatch:
    """A step of sequences whose pages are scattered over the arena."""
    widest = -(-max(contexts) // block_size)
    rows = sum(lens)
    return AttentionBatch(
        num_rows=rows,
        query_starts=torch.tensor([0, *lens]).cumsum(0).int(),
        start_positions=torch.tensor(contexts).int() - torch.tensor(lens).int(),
        context_lens=torch.tensor(contexts).int(),
        block_tables=pages[: len(lens) * widest].view(len(lens), widest).int(),
        slot_mapping=torch.zeros(rows, dtype=torch.int64),
        block_size=block_size,
        window=None,
        query_lens=tuple(lens),
        context_lens_list=tuple(contexts),
    )


def make_arena(shape: Shape, dtype: torch.dtype, positions: int) -> KVTensors:
    """Random keys and values for `positions` positions."""
    sizes: dict[str, Any] = {"num_kv_heads": shape.kv_heads, "head_dim": shape.head_dim, "dtype": dtype}
    blocks = positions // shape.block_size + 1
    one = block_bytes(layers_per_group=1, block_size=shape.block_size, **sizes)
    layers = max(1, min(16, ARENA_BYTES // (one * blocks)))
    layout = KVCacheLayout(blocks, shape.block_size, one * layers, (KVCacheGroup(tuple(range(layers)), None),))
    kv = KVTensors.allocate(layout, device=CPU, **sizes)
    pattern = torch.randn(2**20, generator=torch.Generator().manual_seed(0))
    numbers = (pattern * 40).clamp(-127, 127).to(dtype) if dtype == torch.int8 else pattern.to(dtype)
    flat = kv.arena.view(dtype)
    for start in range(0, flat.numel(), numbers.numel()):
        part = flat[start : start + numbers.numel()]
        part.copy_(numbers[: part.numel()])
    for scales in kv.key_scales + kv.value_scales:
        scales.fill_(1 / 40)
    return kv


def layer_seconds(
    backend: NumbaBackend, shape: Shape, dtype: torch.dtype, lens: list[int], contexts: list[int]
) -> float:
    """Seconds of one layer's attention, its plan included once a step as a model would have it."""
    size = shape.block_size
    positions = len(lens) * -(-max(contexts) // size) * size
    kv = make_arena(shape, dtype, positions)
    pages = 1 + torch.randperm(positions // size, generator=torch.Generator().manual_seed(1))
    step = make_step(lens, contexts, pages, size)
    q = torch.randn(sum(lens), shape.heads * shape.head_dim)
    layers = backend.bind(kv)

    def run() -> None:
        plan = backend.plan(step)
        for layer in layers:
            backend.attention(q, layer, plan, shape.head_dim**-0.5, torch.float32)

    return best_seconds(run, seconds=0.4) / len(layers)


def decode_row(
    backend: NumbaBackend, shape: Shape, name: str, count: int, context: int, gauge: Gauge
) -> dict[str, Any]:
    """One decode step of `count` sequences."""
    dtype = DTYPES[name]
    limit = gauge.bytes_per_second()
    seconds = layer_seconds(backend, shape, dtype, [1] * count, [context] * count)
    limit = max(limit, gauge.bytes_per_second())
    a_vector = shape.head_dim * dtype.itemsize + (2 if dtype == torch.int8 else 0)
    rate = count * context * shape.kv_heads * 2 * a_vector / seconds
    return {
        "cache": name, "sequences": count, "context": context, "us_a_layer": round(seconds * 1e6, 1),
        "gb_per_s": round(rate / 1e9, 1), "limit_gb_per_s": round(limit / 1e9, 1), "share": round(rate / limit, 2),
    }  # fmt: skip


def torch_seconds(shape: Shape, rows: int) -> float:
    """Seconds of PyTorch's own attention over a prompt that lies in one piece, in bf16."""
    q, k, v = (
        torch.randn(1, heads, rows, shape.head_dim).bfloat16()
        for heads in (shape.heads, shape.kv_heads, shape.kv_heads)
    )

    def run() -> None:
        torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    return best_seconds(run, seconds=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--shapes", nargs="*", default=["1B"], choices=SHAPES)
    parser.add_argument("--block-size", type=int, default=CacheSettings().block_size)
    options = parser.parse_args()
    backend = NumbaBackend()
    started = time.perf_counter()
    backend.check()
    compiled = time.perf_counter() - started
    gauge = Gauge(aligned_bytes(256 * 2**20))
    results: dict[str, Any] = {}
    for shape in (replace(SHAPES[name], block_size=options.block_size) for name in options.shapes):
        prompts = []
        for rows, before in PROMPTS:
            row: dict[str, Any] = {"rows": rows, "context_before": before}
            for name, dtype in DTYPES.items():
                row[f"{name}_ms"] = round(layer_seconds(backend, shape, dtype, [rows], [rows + before]) * 1e3, 2)
            if not before:
                row["torch_bf16_ms"] = round(torch_seconds(shape, rows) * 1e3, 2)
            prompts.append(row)
        decodes = [decode_row(backend, shape, name, *work, gauge) for name in DTYPES for work in DECODES]
        results[str(shape)] = {"prompts": prompts, "decodes": decodes}
    what = "attention of one layer: decode steps and prompts"
    expected = "32 sequences at 2,000 positions in bf16: 30 GB/s or more; a prompt of 842: well under 10 ms"
    threads = torch.get_num_threads()
    write(
        {
            "what": what, "machine": describe(), "threads": threads, "expected": expected,
            "first_check_seconds": round(compiled, 2), "shapes": results,
        },
        options.out,
    )  # fmt: skip


if __name__ == "__main__":
    main()
