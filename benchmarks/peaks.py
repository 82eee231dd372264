"""The limits of this machine, measured: bytes read a second, and multiply-adds a second by data type.

Reads: the best of several readers over more bytes than any cache holds. Arithmetic: dot products that never leave the
registers, which no program can beat; what real matrix products reach of it is measured beside them.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tidemill.kernels.cpu import numba_setup

numba_setup.configure()

from llvmlite import binding, ir  # noqa: E402
from numba import get_num_threads, njit, prange, set_num_threads, types  # noqa: E402
from numba.core import cgutils  # noqa: E402
from numba.extending import intrinsic  # noqa: E402

LINE = 64
UNROLL = 4
I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
INTEGERS, BYTES = ir.VectorType(I32, 16), ir.VectorType(ir.IntType(8), LINE)
FLOATS, HALVES = ir.VectorType(F32, 16), ir.VectorType(ir.IntType(16), 32)
NUM_ACCUMULATORS = 16


def flags() -> frozenset[str]:
    """What the processor says it can do, in Linux's words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return frozenset(next((line.split(":")[1].split() for line in lines if line.startswith("flags")), []))


def best_seconds(work: Callable[[], object], *, seconds: float, least: int = 3) -> float:
    """The fastest of as many calls as fit in `seconds`, after one that warms up."""
    work()
    best, end, turns = float("inf"), time.perf_counter() + seconds, 0
    while turns < least or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
        turns += 1
    return best


def reader(num_streams: int) -> Callable[[Any, int], int]:
    """A kernel that reads an array of bytes with 512-bit loads, each thread from `num_streams` places in turn."""

    @intrinsic
    def read(typing: Any, address: Any, stride: Any, steps: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
            address, stride, steps = arguments
            sums = [cgutils.alloca_once(builder, INTEGERS) for _ in range(num_streams)]
            for place in sums:
                builder.store(ir.Constant(INTEGERS, None), place)
            with cgutils.for_range(builder, steps) as loop:
                for stream, place in enumerate(sums):
                    base = builder.add(address, builder.mul(stride, I64(stream)))
                    base = builder.add(base, builder.mul(loop.index, I64(LINE * UNROLL)))
                    total = builder.load(place)
                    for n in range(UNROLL):
                        line = builder.inttoptr(builder.add(base, I64(LINE * n)), INTEGERS.as_pointer())
                        total = builder.add(total, builder.load(line, align=LINE))
                    builder.store(total, place)
            total = builder.load(sums[0])
            for place in sums[1:]:
                total = builder.xor(total, builder.load(place))
            return builder.sext(builder.extract_element(total, I32(0)), I64)

        return types.int64(types.uintp, types.intp, types.intp), codegen

    @njit(parallel=True, nogil=True)
    def run(data: Any, num_parts: int) -> int:
        part = data.size // num_parts
        stride = part // num_streams
        total = 0
        for n in prange(num_parts):
            total += read(data[n * part :].ctypes.data, stride, stride // (LINE * UNROLL))
        return total

    return run


def aligned_bytes(num_bytes: int) -> Any:
    """An array of ones that starts on a page."""
    raw = np.ones(num_bytes + 4096, np.uint8)
    start = -raw.ctypes.data % 4096
    return raw[start : start + num_bytes]


class Gauge:
    """Reads the same bytes again and again, with the reader that is seldom beaten."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._run = reader(2)

    def bytes_per_second(self, seconds: float = 0.2) -> float:
        """The best of a few passes."""
        parts = 64 * get_num_threads()
        return float(self._data.size / best_seconds(lambda: self._run(self._data, parts), seconds=seconds))


def read_bandwidths(data: Any, seconds: float) -> dict[str, float]:
    """Bytes a second of each reader over `data`, all threads."""
    tensor = torch.from_numpy(data.view(np.float32))
    results = {"torch sum of float32": data.size / best_seconds(tensor.sum, seconds=seconds)}
    for num_streams in (1, 2, 4, 8):
        run = reader(num_streams)
        for parts in (get_num_threads(), 64 * get_num_threads()):
            took = best_seconds(lambda run=run, parts=parts: run(data, parts), seconds=seconds)
            results[f"512-bit loads, {num_streams} streams, {parts} parts"] = data.size / took
    return results


def _dot_loop(emit: Callable[[Any, Any, Any, Any], Any], accumulator: Any, operand: Any) -> Callable[..., None]:
    """A kernel that repeats `emit(builder, sum, a, b)` on independent sums held in registers, on every thread."""

    @intrinsic
    def loop_in_registers(typing: Any, address: Any, steps: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
            address, steps = arguments
            sums = [cgutils.alloca_once(builder, accumulator) for _ in range(NUM_ACCUMULATORS)]
            for place in sums:
                builder.store(ir.Constant(accumulator, None), place)
            pointer = builder.inttoptr(address, operand.as_pointer())
            a, b = (builder.load(builder.gep(pointer, [I64(n)]), align=LINE) for n in range(2))
            with cgutils.for_range(builder, steps):
                for place in sums:
                    builder.store(emit(builder, builder.load(place), a, b), place)
            out = builder.inttoptr(address, accumulator.as_pointer())
            for n, place in enumerate(sums):
                builder.store(builder.load(place), builder.gep(out, [I64(2 + n)]), align=LINE)
            return context.get_dummy_value()

        return types.void(types.uintp, types.intp), codegen

    @njit(parallel=True, nogil=True)
    def run(data: Any, steps: int) -> None:
        for n in prange(data.shape[0]):
            loop_in_registers(data[n].ctypes.data, steps)

    return run


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _int8(builder: Any, total: Any, a: Any, b: Any) -> Any:
    return _call(builder, "llvm.x86.avx512.vpdpbusd.512", INTEGERS, total, a, b)


def _bf16(builder: Any, total: Any, a: Any, b: Any) -> Any:
    # As assembly: llvmlite has no bf16 type to declare the intrinsic with.
    binding.initialize_native_asmparser()
    kind = ir.FunctionType(FLOATS, [FLOATS, HALVES, HALVES])
    return builder.asm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", [total, a, b], False, name="")  # noqa: FBT003


def _fp32(builder: Any, total: Any, a: Any, b: Any) -> Any:
    return _call(builder, "llvm.fma.v16f32", FLOATS, total, a, b)


def register_peaks(seconds: float) -> dict[str, float]:
    """Operations a second (a multiply-add is two) of dot products in registers, by data type the processor has."""
    kinds = {
        "fp32": ("avx512f", _fp32, FLOATS, FLOATS, 16),
        "bf16": ("avx512_bf16", _bf16, FLOATS, HALVES, 32),
        "int8": ("avx512_vnni", _int8, INTEGERS, BYTES, 64),
    }
    results = {}
    raw = np.zeros((get_num_threads() + 1) * 4096, np.uint8)
    start = -raw.ctypes.data % 4096
    data = raw[start : start + get_num_threads() * 4096].reshape(-1, 4096)
    for name, (flag, emit, accumulator, operand, lanes) in kinds.items():
        if flag not in flags():
            continue
        run = _dot_loop(emit, accumulator, operand)
        steps = 2_000_000
        took = best_seconds(lambda run=run, steps=steps: run(data, steps), seconds=seconds)
        results[name] = 2 * lanes * NUM_ACCUMULATORS * steps * len(data) / took
    return results


def product_peaks(rows: int, seconds: float, in_features: int = 2048, out_features: int = 8192) -> dict[str, float]:
    """Operations a second of the best matrix products there are, by data type and by whose they are."""
    from tidemill.kernels.cpu.backend import NumbaBackend

    operations = 2 * rows * in_features * out_features
    x = torch.randn(rows, in_features)
    weight = torch.randn(out_features, in_features)
    results = {}
    with torch.inference_mode():
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            multiply = NumbaBackend().prepare(weight.to(dtype), None, row_tile=None).multiply
            argument = x.to(dtype)
            took = best_seconds(lambda m=multiply, a=argument: m(a), seconds=seconds)
            results[f"{name}, oneDNN through torch"] = operations / took
        results["int8, oneDNN through torch"] = operations / _onednn_int8(x, weight, seconds)
    return results


def _onednn_int8(x: torch.Tensor, weight: torch.Tensor, seconds: float) -> float:
    """Seconds of oneDNN's product of uint8 rows (zero point 128) by an int8 weight."""
    integers = (weight * 30).clamp(-127, 127).to(torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(integers, [x.shape[0], x.shape[1]])
    rows = (x * 30 + 128).clamp(0, 255).to(torch.uint8)
    scales, zeros = torch.ones(weight.shape[0]), torch.zeros(weight.shape[0], dtype=torch.int64)

    def multiply() -> torch.Tensor:
        return torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )

    return best_seconds(multiply, seconds=seconds)


def use_threads(num_threads: int) -> None:
    """One number for torch and Numba."""
    torch.set_num_threads(num_threads)
    set_num_threads(num_threads)
    torch.set_num_threads(num_threads)
