"""Where a cost model is kept between runs: one JSON file a (model, precision, device, threads), in a private folder.

A file that is missing, damaged or of another version is no memory; a folder that cannot be written to keeps none.
"""

import hashlib
import math
import os
import platform
from pathlib import Path

import msgspec

from tidemill.core.regular_file import open_regular
from tidemill.cost.model import CostMemory
from tidemill.cost.step_shape import NUM_FEATURES

_VERSION = 2
_MAX_FILE_BYTES = 4 * 1024 * 1024


def processor_name() -> str:
    """What the system calls this processor, and how many of it this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.processor()} x {os.cpu_count()}"


class _File(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    key: str
    memory: CostMemory


def cost_key(*, numerics_fingerprint: str, precision: str, device: str, num_threads: int, processor: str) -> str:
    """Hex SHA-256 that names what a step's time depends on beside its shape. The fingerprint stands for the weights."""
    parts = (numerics_fingerprint, precision, device, str(num_threads), processor)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class CostStore:
    """The file of one key. `folder` None keeps nothing."""

    def __init__(self, folder: Path | None, key: str) -> None:
        self._path = None if folder is None else folder / f"{key[:32]}.json"
        self._key = key

    def load(self) -> CostMemory | None:
        """What was kept, if it is there and sound."""
        if self._path is None:
            return None
        try:
            with open_regular(self._path) as kept:
                data = kept.read(_MAX_FILE_BYTES + 1)
            if len(data) > _MAX_FILE_BYTES:
                return None
            file = msgspec.json.decode(data, type=_File)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        is_ours = file.version == _VERSION and file.key == self._key
        return file.memory if is_ours and _is_sound(file.memory) else None

    def save(self, memory: CostMemory) -> bool:
        """Keep `memory`, whole or not at all; whether it could be written."""
        if self._path is None:
            return False
        beside = self._path.with_suffix(f".{os.getpid()}.part")
        try:
            beside.write_bytes(msgspec.json.encode(_File(version=_VERSION, key=self._key, memory=memory)))
            beside.replace(self._path)
        except OSError:
            beside.unlink(missing_ok=True)
            return False
        return True


def _is_sound(memory: CostMemory) -> bool:
    """Whether every number is one that a model could have written."""
    cells_are_sound = all(
        len(cell.features) == NUM_FEATURES
        and cell.count > 0
        and _is_positive(cell.seconds)
        and all(math.isfinite(x) and x >= 0.0 for x in cell.features)
        for cell in memory.cells.values()
    )
    ratios = (ratio for window in memory.ratios for ratio in window)
    ratios_are_sound = all(_is_positive(ratio) for ratio in ratios) and _is_positive(memory.error_ratio)
    delays_are_sound = all(math.isfinite(seconds) and seconds >= 0.0 for seconds in memory.delays)
    return cells_are_sound and ratios_are_sound and delays_are_sound and memory.num_steps >= 0


def _is_positive(number: float) -> bool:
    return math.isfinite(number) and number > 0.0
