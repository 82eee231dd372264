"""Integer products by themselves: a matrix by 1 to 512 rows in int8 and int4, beside oneDNN's W8A8 and bf16.

The contestants take turns within one run. Each goes through more copies of the matrix than fit in the caches, as a
model's layers do. Activations are quantized beforehand; results are float32 (bf16: bf16).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe, write
from tidemill.kernels.cpu.backend import NumbaBackend
from tidemill.kernels.quantized import GROUP, IntegerFormat, QuantizedRows, QuantizedWeight

Product = Callable[[int], Any]
"""Multiply by the copy with this number."""


def integer_weight(kind: IntegerFormat, channels: int, inputs: int) -> QuantizedWeight:
    """Random integers with random scales."""
    scales = torch.rand(channels)
    if kind == "int8":
        return QuantizedWeight(kind, torch.randint(-127, 128, (channels, inputs), dtype=torch.int8), None, scales, None)
    groups = torch.randint(1, 16, (channels, inputs // GROUP), dtype=torch.int8)
    q = torch.randint(-8, 8, (channels, inputs), dtype=torch.int8)
    return QuantizedWeight(kind, q * groups.repeat_interleave(GROUP, 1), groups.to(torch.uint8), scales, None)


class Contestants:
    """Every way to multiply, with its copies of the matrix."""

    def __init__(self, channels: int, inputs: int, megabytes: int, names: list[str]) -> None:
        self.shape = (channels, inputs)
        self.copies = max(2, megabytes * 1_000_000 // (channels * inputs))
        self.backend = NumbaBackend()
        self.bytes = {"int8": channels * inputs, "int4": channels * inputs * (GROUP // 2 + 1) // GROUP}
        self.bytes |= {"onednn_w8a8": channels * inputs, "bf16": channels * inputs * 2}
        self.weights = {name: self._weights(name) for name in names}

    def _weights(self, name: str) -> list[Any]:
        channels, inputs = self.shape
        if name in ("int8", "int4"):
            one = integer_weight(name, channels, inputs)
            # Packed int4 is about half of int8, so twice the copies.
            count = self.copies * (2 if name == "int4" else 1)
            return [self.backend.prepare_integer(one) for _ in range(count)]
        if name == "bf16":
            return [torch.randn(channels, inputs).bfloat16() for _ in range(max(2, self.copies // 2))]
        integers = torch.randint(-127, 128, (channels, inputs), dtype=torch.int8)
        return [torch.ops.onednn.qlinear_prepack(integers.clone(), None) for _ in range(self.copies)]

    def product(self, name: str, rows: int) -> Product:
        """One contestant with this many rows."""
        channels, inputs = self.shape
        weights = self.weights[name]
        if name == "bf16":
            x = torch.randn(rows, inputs).bfloat16()
            return lambda i: torch.nn.functional.linear(x, weights[i])
        values = torch.randint(-127, 128, (rows, inputs), dtype=torch.int8)
        if name in ("int8", "int4"):
            integers = QuantizedRows(values, torch.rand(rows), values.sum(-1, dtype=torch.int32))
            return lambda i: weights[i].multiply(integers)
        unsigned = (values.to(torch.int16) + 128).to(torch.uint8)
        scales, zeros = torch.rand(channels), torch.zeros(channels, dtype=torch.int64)
        multiply = torch.ops.onednn.qlinear_pointwise
        return lambda i: multiply(
            unsigned, 1.0, 128, weights[i], scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )

    def seconds(self, name: str, product: Product, least: float) -> float:
        """Of one product, over whole rounds through the copies for at least this long."""
        count = 0
        start = time.perf_counter()
        while (took := time.perf_counter() - start) < least:
            for i in range(len(self.weights[name])):
                product(i)
            count += len(self.weights[name])
        return took / count


def measure(contestants: Contestants, rows: int, rounds: int, least: float) -> dict[str, dict[str, float]]:
    """Median figures of each contestant at this number of rows."""
    products = {name: contestants.product(name, rows) for name in contestants.weights}
    taken: dict[str, list[float]] = {name: [] for name in products}
    for turn in range(rounds):
        for name in products if turn % 2 else reversed(products):
            products[name](0)
            taken[name].append(contestants.seconds(name, products[name], least))
    channels, inputs = contestants.shape
    found = {}
    for name, values in taken.items():
        median = statistics.median(values)
        found[name] = {
            "milliseconds": round(median * 1e3, 4),
            "best_milliseconds": round(min(values) * 1e3, 4),
            "weight_gb_per_second": round(contestants.bytes[name] / median / 1e9, 1),
            "tera_operations_per_second": round(2 * rows * channels * inputs / median / 1e12, 3),
        }
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=8192)
    parser.add_argument("--inputs", type=int, default=2048)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64, 128, 512])
    parser.add_argument("--only", nargs="+", default=["int8", "int4", "onednn_w8a8", "bf16"])
    parser.add_argument("--megabytes", type=int, default=200, help="of int8 weights, all copies together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.15, help="of each contestant's turn")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    start = time.perf_counter()
    contestants = Contestants(options.channels, options.inputs, options.megabytes, options.only)
    ready = time.perf_counter() - start
    results = {}
    for rows in options.rows:
        results[str(rows)] = measure(contestants, rows, options.rounds, options.seconds)
        line = "  ".join(
            f"{name} {f['milliseconds']:.3f} ms {f['weight_gb_per_second']:.1f} GB/s "
            f"{f['tera_operations_per_second']:.2f} TOPS"
            for name, f in results[str(rows)].items()
        )
        print(f"{rows:4d} rows: {line}", flush=True)
    write(
        {
            "what": "one matrix product, integer formats beside oneDNN's W8A8 and bf16",
            "machine": describe() | {"integer_path": contestants.backend.integer_path},
            "config": {k: v for k, v in vars(options).items() if k != "out"},
            "ready_seconds": round(ready, 2),
            "rows": results,
        },
        options.out,
    )


if __name__ == "__main__":
    main()
