"""Which device and which arithmetic a model gets: what was asked for, or what the machine and the checkpoint favour."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from tidemill.config.settings import Device, Precision
from tidemill.core.errors import ConfigurationError

SHARED_WEIGHT_BYTES = 32 * 1024 * 1024
"""Weights from which threads share a step."""


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and how a model is computed. `row_tile` None gives up exactness (fast math)."""

    device: torch.device
    dtype: torch.dtype
    row_tile: int | None
    num_threads: int
    precision: str
    """The arithmetic's name in settings; under integers `dtype` is that of what is no integer."""
    kv_dtype: torch.dtype
    """How keys and values are kept; int8 has scales."""


def choose_device(asked: Device) -> torch.device:
    """The device for `asked`. Raises ConfigurationError if CUDA was asked for and there is none."""
    has_cuda = torch.cuda.is_available()
    if asked == "cuda" and not has_cuda:
        why = "this PyTorch was built without CUDA" if torch.version.cuda is None else "no CUDA device was found"
        raise ConfigurationError(f"The device 'cuda' was asked for, but {why}.", next_step="Pass --device cpu or auto.")
    return torch.device("cuda", 0) if has_cuda and asked != "cpu" else torch.device("cpu")


def choose_dtype(asked: Precision, *, checkpoint_dtype: str, has_fast_bf16: bool) -> torch.dtype:
    """bf16 if asked for, or if left to us, the checkpoint has 16 bits and the device multiplies bf16; else fp32."""
    if asked == "auto":
        is_half = checkpoint_dtype in ("bfloat16", "float16")
        return torch.bfloat16 if is_half and has_fast_bf16 else torch.float32
    return torch.bfloat16 if asked == "bf16" else torch.float32


def has_fast_bf16(device: torch.device, cpu_flags: frozenset[str]) -> bool:
    """Whether `device` has instructions for bf16 products."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(cpu_flags & {"avx512_bf16", "amx_bf16", "bf16"})


def cpu_flags(root: Path = Path("/")) -> frozenset[str]:
    """The instruction-set flags of the first core ("Features" on Arm); empty where /proc/cpuinfo is not there."""
    path = root / "proc/cpuinfo"
    if not path.exists():
        return frozenset()
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def choose_threads(asked: int | None, *, weight_bytes: int) -> int:
    """The number asked for; else one for a model whose products are too small to share, and all usable cores otherwise.

    With 9 MB of weights a second thread gained nothing on an idle machine, and beside another busy process the threads
    waited for each other at every product: a step took a hundred times as long. One thread cannot be kept waiting.
    """
    if asked is not None:
        return asked
    return 1 if weight_bytes < SHARED_WEIGHT_BYTES else usable_cores()


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
