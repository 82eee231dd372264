"""What a machine has: cores, instructions, memory, devices, versions. Readings only; choices are in `outlook.py`."""

import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

_INSTRUCTIONS = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "vnni": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "bf16"),
    "amx": ("amx_tile",),
    "neon": ("asimd", "neon"),
}
_PACKAGES = ("torch", "numba", "tokenizers", "safetensors")


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is. Cores: of the machine, and those this process may use (by affinity; a quota may be less)."""

    system: str
    python: str
    cpu: str
    instructions: list[str]
    num_cores: int
    num_usable_cores: int
    quota_cores: float | None
    available_memory_bytes: int | None
    gpus: list[str]
    packages: dict[str, str]


def read_machine() -> Machine:
    """Read this machine. Loads torch, which is what knows of CUDA devices."""
    import torch

    from tidemill.runner.devices import cpu_flags, usable_cores
    from tidemill.runner.memory import HostMemory

    flags = cpu_flags()
    gpus = [_gpu(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=sys.version.split()[0],
        cpu=cpu_name(),
        instructions=[name for name, any_of in _INSTRUCTIONS.items() if flags.intersection(any_of)],
        num_cores=os.cpu_count() or 1,
        num_usable_cores=usable_cores(),
        quota_cores=quota_cores(),
        available_memory_bytes=HostMemory().available_bytes(),
        gpus=gpus,
        packages={name: importlib.metadata.version(name) for name in _PACKAGES},
    )


def cpu_name(root: Path = Path("/")) -> str:
    """The processor's name as /proc/cpuinfo gives it, else its architecture."""
    path = root / "proc/cpuinfo"
    if path.exists():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def quota_cores(root: Path = Path("/")) -> float | None:
    """Cores' worth of time the control group allows, the least of all levels; None without a limit.

    cgroup v2: `cpu.max` holds quota and period in microseconds, or "max" (kernel documentation, cgroup-v2).
    """
    own = root / "proc/self/cgroup"
    if not own.exists():
        return None
    location = next((line[3:] for line in own.read_text().splitlines() if line.startswith("0::")), "/")
    base = root / "sys/fs/cgroup"
    folder = base / location.strip("/")
    limits = []
    for level in (folder, *(parent for parent in folder.parents if parent.is_relative_to(base))):
        path = level / "cpu.max"
        if path.is_file():
            quota, period = path.read_text().split()
            if quota != "max":
                limits.append(int(quota) / int(period))
    return min(limits, default=None)


def _gpu(index: int) -> str:
    import torch

    found = torch.cuda.get_device_properties(index)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB"
