"""The energy counter of NVIDIA's management library, in millijoules since the driver was loaded (Volta and later)."""

import importlib
from collections.abc import Callable
from typing import Any

from tidemill.core.footprint import MeterKind

_KIND = MeterKind(
    method="nvml",
    boundary="the GPU's board: chip, memory and losses; whoever else uses it included, the host not",
    low_ratio=0.95,
    high_ratio=1.05,
)
"""Within 5 %: Yang, Adamek and Armour, "Part-time power measurements", SC24, find errors of about that size."""


class NvmlMeter:
    """One device's counter."""

    kind = _KIND

    def __init__(self, read_millijoules: Callable[[], int], failure: type[Exception]) -> None:
        self._read = read_millijoules
        self._failure = failure

    def joules(self) -> float | None:
        """The reading now."""
        try:
            return self._read() / 1000.0
        except self._failure:
            return None


def open_nvml(index: int) -> NvmlMeter | None:
    """The meter of device `index`; None without the library, the device or its counter."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:
        return None
    return NvmlMeter(lambda: int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)), nvml.NVMLError)
