"""Integer products: every path gives the twin's bits, for any shape, any rows beside, any number of threads."""

import functools
import logging
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.errors import ConfigurationError
from tidemill.kernels import integer_weight, reference
from tidemill.kernels.cpu import integer_probe, panels
from tidemill.kernels.cpu.backend import NumbaBackend
from tidemill.kernels.cpu.instruction_path import Portable, tags_of_this_cpu
from tidemill.kernels.cpu.integer_weight import IntegerMultiplier, IntegerWeight
from tidemill.kernels.packed_weight import PackedWeight
from tidemill.kernels.quantized import GROUP, IntegerFormat, QuantizedRows, QuantizedWeight
from tidemill.kernels.torch_backend import TorchBackend

PATHS = [tag.path().name for tag in tags_of_this_cpu()]


@functools.cache
def multiplier(path: str) -> IntegerMultiplier:
    return next(IntegerMultiplier(tag) for tag in tags_of_this_cpu() if tag.path().name == path)


def random_weight(kind: IntegerFormat, channels: int, inputs: int, seed: int, *, bias: bool = True) -> QuantizedWeight:
    generator = torch.Generator().manual_seed(seed)
    scales = torch.rand(channels, generator=generator)
    added = torch.randn(channels, generator=generator) if bias else None
    if kind == "int8":
        values = torch.randint(-127, 128, (channels, inputs), generator=generator).to(torch.int8)
        return QuantizedWeight(kind, values, None, scales, added)
    groups = torch.randint(1, 16, (channels, -(-inputs // GROUP)), generator=generator)
    q = torch.randint(0, 16, (channels, inputs), generator=generator) - 8
    values = q * groups.repeat_interleave(GROUP, 1)[:, :inputs]
    return QuantizedWeight(kind, values.to(torch.int8), groups.to(torch.uint8), scales, added)


def random_rows(rows: int, inputs: int, seed: int) -> QuantizedRows:
    return reference.quantize(torch.randn(rows, inputs, generator=torch.Generator().manual_seed(seed)))


def row(x: QuantizedRows, index: int) -> QuantizedRows:
    one = slice(index, index + 1)
    return QuantizedRows(x.values[one], x.scales[one], x.sums[one])


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.view(torch.int32), b.view(torch.int32))


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["int8", "int4"]),
    channels=st.integers(1, 140),
    inputs=st.integers(1, 300),
    rows=st.integers(0, 70),
    bias=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_any_shape_equals_the_twin(
    path: str, kind: IntegerFormat, channels: int, inputs: int, rows: int, bias: bool, seed: int
) -> None:
    weight, x = random_weight(kind, channels, inputs, seed, bias=bias), random_rows(rows, inputs, seed)
    got = IntegerWeight(panels.pack(weight), multiplier(path)).multiply(x)
    assert same(got, integer_weight.TorchIntegerWeight(weight).multiply(x))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_a_row_does_not_depend_on_rows_beside_it_or_on_threads(kind: IntegerFormat, path: str) -> None:
    # More than one block of rows, more than a tile of each size, threads that share the work unevenly.
    weight = IntegerWeight(panels.pack(random_weight(kind, 1000, 1056, 1)), multiplier(path))
    x = random_rows(601, 1056, 2)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = torch.cat([weight.multiply(row(x, index)) for index in (0, 5, 300, 600)])
        whole = weight.multiply(x)
        numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
        both = weight.multiply(x)
    finally:
        numba.set_num_threads(threads)
    assert same(alone, whole[[0, 5, 300, 600]])
    assert same(whole, both)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_the_largest_sums_do_not_overflow(kind: IntegerFormat, path: str) -> None:
    inputs = panels.MAX_INPUTS
    largest = 127 if kind == "int8" else -120
    groups = None if kind == "int8" else torch.full((3, inputs // GROUP), 15, dtype=torch.uint8)
    values = torch.full((3, inputs), largest, dtype=torch.int8)
    weight = QuantizedWeight(kind, values, groups, torch.ones(3), None)
    x = QuantizedRows(
        torch.tensor([[127], [-127]], dtype=torch.int8).expand(2, inputs).contiguous(),
        torch.ones(2),
        torch.tensor([127 * inputs, -127 * inputs], dtype=torch.int32),
    )
    got = IntegerWeight(panels.pack(weight), multiplier(path)).multiply(x)
    want = torch.tensor([[127.0 * inputs * largest] * 3, [-127.0 * inputs * largest] * 3])
    assert torch.equal(got, want)


@pytest.mark.parametrize("path", PATHS)
def test_rows_that_are_not_finite_give_nan_and_spoil_no_other(path: str) -> None:
    x = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    clean = reference.quantize(x)
    x[3, 5], x[7, 1] = torch.nan, -torch.inf
    weight = IntegerWeight(panels.pack(random_weight("int8", 40, 64, 0)), multiplier(path))
    got, want = weight.multiply(reference.quantize(x)), weight.multiply(clean)
    broken = torch.tensor([3, 7])
    assert got[broken].isnan().all()
    kept = torch.ones(20, dtype=torch.bool).index_fill(0, broken, value=False)
    assert same(got[kept], want[kept])


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["int8", "int4"]),
    channels=st.integers(1, 100),
    inputs=st.integers(1, 200),
    bias=st.booleans(),
    plain=st.booleans(),
)
def test_unpacking_gives_back_what_was_packed(
    kind: IntegerFormat, channels: int, inputs: int, bias: bool, plain: bool
) -> None:
    weight = random_weight(kind, channels, inputs, channels, bias=bias)
    packed = integer_weight.pack(weight) if plain else panels.pack(weight)
    assert all(array.ctypes.data % 64 == 0 and array.flags.c_contiguous for array in packed.arrays.values())
    back = integer_weight.unpack(packed, torch.device("cpu")) if plain else panels.unpack(packed)
    assert back.format == kind
    for name in ("values", "group_scales", "scales", "bias"):
        a, b = getattr(weight, name), getattr(back, name)
        assert (a is None and b is None) or torch.equal(a, b), name


def test_a_weight_that_is_not_what_it_says_is_not_packed() -> None:
    weight = random_weight("int4", 8, 64, 0)
    weight.values[3, 40] = 121
    with pytest.raises(AssertionError, match="1 values"):
        panels.pack(weight)


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("backend", [NumbaBackend(), TorchBackend()], ids=lambda backend: backend.name)
def test_a_weight_mapped_from_disk_multiplies_alike(
    backend: NumbaBackend | TorchBackend, kind: IntegerFormat, tmp_path: Path
) -> None:
    weight, x = random_weight(kind, 70, 100, 0), random_rows(9, 100, 1)
    packed = backend.pack(weight)
    arrays = {}
    for name, array in packed.arrays.items():
        array.tofile(tmp_path / name)
        arrays[name] = np.memmap(tmp_path / name, array.dtype, "r", shape=array.shape)
    mapped = backend.load_packed(PackedWeight(kind, 100, 70, arrays))
    assert mapped.input_dtype == torch.int8
    assert (mapped.in_features, mapped.out_features) == (100, 70)
    assert same(mapped.multiply(x), backend.prepare_integer(weight).multiply(x))
    assert same(mapped.multiply(x), reference.integer_product(x, weight))


def test_a_path_that_does_not_exist_is_an_error_and_one_that_is_not_here_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(integer_probe.PATH_VARIABLE, "banana")
    with pytest.raises(ConfigurationError, match="'banana' is no path"):
        integer_probe.choose_multiplier()
    monkeypatch.setenv(integer_probe.PATH_VARIABLE, "avx-vnni")
    monkeypatch.setattr(integer_probe, "tags_of_this_cpu", lambda: [Portable()])
    assert integer_probe.choose_multiplier().name == "portable"
    assert "does not have the avx-vnni path" in caplog.text


def test_a_path_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NumbaBackend().integer_path == PATHS[0]
    assert NumbaBackend(integer_path="portable").integer_path == "portable"
    monkeypatch.setenv(integer_probe.PATH_VARIABLE, "portable")
    assert NumbaBackend().integer_path == "portable"


def test_a_path_that_computes_wrong_integers_is_left_for_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = IntegerMultiplier.multiply

    def saturating(self: IntegerMultiplier, weight: IntegerWeight, x: QuantizedRows) -> torch.Tensor:
        product = original(self, weight, x)
        return product if self.name == "portable" else product.clamp(max=1e5)

    monkeypatch.setattr(IntegerMultiplier, "multiply", saturating)
    with caplog.at_level(logging.INFO, logger=integer_probe.__name__):
        backend = NumbaBackend()
        assert backend.integer_path == "portable"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == len(PATHS) - 1
    assert all("wrong integers" in warning for warning in warnings)


def test_where_no_path_is_right_the_twin_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: IntegerMultiplier, weight: IntegerWeight, x: QuantizedRows) -> torch.Tensor:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(IntegerMultiplier, "multiply", broken)
    backend = NumbaBackend()
    weight, x = random_weight("int4", 33, 50, 0), random_rows(3, 50, 0)
    assert backend.integer_path == "torch"
    assert same(backend.prepare_integer(weight).multiply(x), reference.integer_product(x, weight))


OLDER_CPU = """
import torch
from tests.kernels.test_integer_product import random_rows, random_weight, same
from tidemill.kernels import reference
from tidemill.kernels.cpu.backend import NumbaBackend
backend = NumbaBackend()
assert backend.integer_path == "{path}", backend.integer_path
for kind in ("int8", "int4"):
    for rows in (1, 2, 7, 33):
        weight, x = random_weight(kind, 75, 130, rows), random_rows(rows, 130, rows)
        assert same(backend.prepare_integer(weight).multiply(x), reference.integer_product(x, weight))
print("exact")
"""
HASWELL = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe"


@pytest.mark.skipif("+avx2" not in numba.core.codegen.get_host_cpu_features(), reason="compiles for an x86 with AVX2")
@pytest.mark.parametrize(("cpu", "features", "path"), [("haswell", HASWELL, "portable"), ("nehalem", "", "portable")])
def test_older_cpus_get_the_same_bits(cpu: str, features: str, path: str) -> None:
    environment = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}
    code = OLDER_CPU.format(path=path)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "exact"


def test_portable_is_the_last_resort_everywhere() -> None:
    assert isinstance(tags_of_this_cpu()[-1], Portable)
