"""How much memory there is: readings of the host (with its cgroup limits) and of a CUDA device. Decides nothing."""

from pathlib import Path
from typing import Protocol

import torch


class MemoryReader(Protocol):
    """Reads the memory of the device that a model runs on."""

    def available_bytes(self) -> int | None:
        """Bytes that could be allocated now without pushing anything out; None if this system does not say."""
        ...


class HostMemory:
    """Main memory on Linux: the least of what the kernel calls available and what each cgroup above us has left.

    A cgroup's file cache that can be dropped counts as available. `root` is where proc and sys are found.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def available_bytes(self) -> int | None:
        """Bytes left to this process; None where there is no /proc."""
        readings = [reading for reading in (self._kernel(), *self._cgroups()) if reading is not None]
        return max(0, min(readings)) if readings else None

    def _kernel(self) -> int | None:
        path = self._root / "proc/meminfo"
        if not path.exists():
            return None
        for line in path.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return None

    def _cgroups(self) -> list[int | None]:
        path = self._root / "proc/self/cgroup"
        if not path.exists():
            return []
        readings: list[int | None] = []
        for line in path.read_text().splitlines():
            _, controllers, location = line.split(":", 2)
            if controllers == "":
                readings += self._headrooms("sys/fs/cgroup", location, "memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                readings += self._headrooms(
                    "sys/fs/cgroup/memory",
                    location,
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                    "total_inactive_file",
                )
        return readings

    def _headrooms(self, mount: str, location: str, limit: str, usage: str, droppable: str) -> list[int | None]:
        """One reading for each level from `location` up to the mount; in a container often only the mount is there."""
        base = self._root / mount
        folder = base / location.strip("/")
        levels = [folder, *(parent for parent in folder.parents if parent.is_relative_to(base))]
        return [_headroom(level, limit, usage, droppable) for level in levels]


class CudaMemory:
    """The memory of one CUDA device; what this process has cached but does not use counts as available."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def available_bytes(self) -> int | None:
        """Bytes left on the device."""
        free, _ = torch.cuda.mem_get_info(self._device)
        return free + torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)


def memory_of(device: torch.device) -> MemoryReader:
    """The reader for `device`."""
    return CudaMemory(device) if device.type == "cuda" else HostMemory()


def _headroom(level: Path, limit: str, usage: str, droppable: str) -> int | None:
    """Limit minus usage plus what the kernel would drop; None without a limit at this level."""
    try:
        limit_text = (level / limit).read_text().strip()
        if limit_text == "max":
            return None
        used = int((level / usage).read_text())
        statistics = dict(line.split() for line in (level / "memory.stat").read_text().splitlines())
    except FileNotFoundError:
        return None
    return int(limit_text) - used + int(statistics.get(droppable, 0))
