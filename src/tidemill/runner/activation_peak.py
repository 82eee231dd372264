"""Measures what a step allocates beyond weights and cache: runs one, and reads the peak. The step is the caller's."""

from collections.abc import Callable
from pathlib import Path

import torch


class ProcessMemory:
    """This process's own memory as /proc tells it. `root` is where proc is found."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._folder = root / "proc/self"

    def reset_peak(self) -> bool:
        """Let the peak start again from what is resident now; False where that is not possible."""
        try:
            # 5 resets the "high water mark" of the resident set: proc_pid_clear_refs(5).
            (self._folder / "clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def status_bytes(self, field: str) -> int:
        """A field of /proc/self/status that is given in kB, in bytes."""
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise LookupError(field)


def host_peak_bytes(step: Callable[[], None], process: ProcessMemory) -> int | None:
    """Bytes by which the resident set grew at its highest while `step` ran; None if this system cannot tell.

    Pages of files do not count: what a step touches of mapped weights is not its own, and can be dropped.
    """
    if not process.reset_peak():
        step()
        return None
    resident = process.status_bytes("VmRSS")
    mapped = process.status_bytes("RssFile")
    step()
    growth = process.status_bytes("VmHWM") - resident
    return max(0, growth - max(0, process.status_bytes("RssFile") - mapped))


def cuda_peak_bytes(step: Callable[[], None], device: torch.device) -> int:
    """Bytes by which the allocator's use of `device` grew at its highest while `step` ran."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
