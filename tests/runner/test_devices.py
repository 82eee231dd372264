import pytest
import torch

from tidemill.core.errors import ConfigurationError
from tidemill.runner.devices import (
    SHARED_WEIGHT_BYTES,
    choose_device,
    choose_dtype,
    choose_threads,
    cpu_flags,
    has_fast_bf16,
    usable_cores,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "checkpoint", "fast", "expected"),
    [
        ("auto", "bfloat16", True, torch.bfloat16),
        ("auto", "float16", True, torch.bfloat16),
        ("auto", "bfloat16", False, torch.float32),
        ("auto", "float32", True, torch.float32),
        ("fp32", "bfloat16", True, torch.float32),
        ("bf16", "float32", False, torch.bfloat16),
    ],
)
def test_dtype(asked, checkpoint, fast, expected):
    assert choose_dtype(asked, checkpoint_dtype=checkpoint, has_fast_bf16=fast) is expected


def test_cpu_can_be_had_everywhere():
    assert choose_device("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there():
    assert choose_device("auto") == CPU
    with pytest.raises(ConfigurationError, match="'cuda' was asked for, but"):
        choose_device("cuda")


def test_flags_of_both_kinds_of_cpuinfo(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor : 1\n")
    assert cpu_flags(tmp_path) == {"fpu", "avx2", "avx512_bf16"}
    assert has_fast_bf16(CPU, cpu_flags(tmp_path))
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    assert cpu_flags(tmp_path) == {"fp", "asimd"}
    assert not has_fast_bf16(CPU, cpu_flags(tmp_path))
    (tmp_path / "proc/cpuinfo").unlink()
    assert cpu_flags(tmp_path) == frozenset()


def test_a_small_model_is_not_shared_between_threads():
    assert choose_threads(None, weight_bytes=SHARED_WEIGHT_BYTES - 1) == 1
    assert choose_threads(None, weight_bytes=SHARED_WEIGHT_BYTES) == usable_cores()
    assert choose_threads(3, weight_bytes=1) == 3
