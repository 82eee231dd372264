"""The processors' energy counters (RAPL), where the kernel offers them and lets us read them: /sys/class/powercap.

A counter is in microjoules and starts again at its range (kernel documentation, power/powercap).
"""

from pathlib import Path

from tidemill.core.footprint import MeterKind

_ROOT = Path("/sys/class/powercap")
_MICRO = 1e-6


class _Zone:
    """One counter, made to go on rising where it wraps."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last = int(self._path.read_text())
        self._total = 0

    def microjoules(self) -> int:
        now = int(self._path.read_text())
        self._total += now - self._last if now >= self._last else now + self._range - self._last
        self._last = now
        return self._total


class RaplMeter:
    """The sum over packages, and over their memory where that is counted."""

    def __init__(self, zones: list[_Zone], *, with_memory: bool) -> None:
        self._zones = zones
        what = "processor packages and their memory" if with_memory else "processor packages, without memory"
        self.kind = MeterKind(
            method="rapl",
            boundary=f"all {what}; other programs' work included, disks, fans and power supply not",
            # "RAPL in Action" (Khan et al. 2018) finds a few percent against the plug's variable part.
            low_ratio=0.95,
            high_ratio=1.05,
        )

    def joules(self) -> float | None:
        """The reading now. A counter wraps after minutes at the earliest: it must be asked more often than that."""
        try:
            return sum(zone.microjoules() for zone in self._zones) * _MICRO
        except (OSError, ValueError):
            return None


def open_rapl(root: Path = _ROOT) -> RaplMeter | None:
    """The meter, if every package's counter can be read (kernels since 5.10 let only root do that)."""
    try:
        folders = {folder: (folder / "name").read_text().strip() for folder in sorted(root.glob("intel-rapl:*"))}
        packages = [_Zone(folder) for folder, name in folders.items() if name.startswith("package-")]
        memory = [_Zone(folder) for folder, name in folders.items() if name == "dram"]
    except (OSError, ValueError):
        return None
    return RaplMeter([*packages, *memory], with_memory=bool(memory)) if packages else None
