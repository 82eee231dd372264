"""Joules of a machine that has no counter: a model. Watts go from idle to full with the share of its cores in use.

What a hardware thread draws at rest and at work is looked up among servers that were measured at the wall, by the
processor's architecture; half of what a dear one draws and twice what a cheap one draws are both possible.
"""

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.core.clock import Clock
from tidemill.core.footprint import MeterKind
from tidemill.ledger.tables import ServerPower, ServerTable

_PROC = Path("/proc")
_UNSEEN_RATIO = 1.5
"""How much further than the spread of measured servers the interval goes: ours is none of them, and not alone on its
machine. A judgement, not a measurement."""
_GIVEN_RATIO = 1.1


@dataclass(frozen=True, slots=True)
class ThreadPower:
    """Watts of a hardware thread's share of a server, and how far off they may be."""

    idle_watts: float
    full_watts: float
    low_ratio: float
    high_ratio: float
    basis: str


def look_up(table: ServerTable, processor: str | None) -> ThreadPower:
    """The power of a thread of `processor` ("vendor family model"), or of the middle server if it is not known."""
    architecture = table.architectures.get(processor or "")
    known = [s for s in table.servers if s.architecture == architecture]
    if known:
        return _middle(known, f"servers with {architecture} processors")
    return _middle(table.servers, "servers of all kinds, this processor being unknown")


def _middle(servers: Sequence[ServerPower], basis: str) -> ThreadPower:
    full = [s.full_watts / s.num_threads for s in servers]
    idle = [s.idle_watts / s.num_threads for s in servers]
    middle = statistics.median(full)
    return ThreadPower(
        idle_watts=statistics.median(idle),
        full_watts=middle,
        low_ratio=min(full) / middle / _UNSEEN_RATIO,
        high_ratio=max(full) / middle * _UNSEEN_RATIO,
        basis=basis,
    )


def given_power(
    power: ThreadPower, num_threads: int, idle_watts: float | None, full_watts: float | None
) -> ThreadPower:
    """`power` with what the operator has measured of the whole machine in its place."""
    if idle_watts is None and full_watts is None:
        return power
    both = idle_watts is not None and full_watts is not None
    return ThreadPower(
        idle_watts=power.idle_watts if idle_watts is None else idle_watts / num_threads,
        full_watts=power.full_watts if full_watts is None else full_watts / num_threads,
        low_ratio=1.0 / _GIVEN_RATIO if both else power.low_ratio,
        high_ratio=_GIVEN_RATIO if both else power.high_ratio,
        basis="settings" if both else f"settings and {power.basis}",
    )


class PowerModelMeter:
    """Integrates watts between readings, from the processor time of the engine and of the service that started it."""

    def __init__(self, power: ThreadPower, num_threads: int, clock: Clock, *, proc: Path = _PROC) -> None:
        self._power = power
        self._num_threads = num_threads
        self._clock = clock
        self._parent_stat = proc / str(os.getppid()) / "stat"
        self._read_at = clock()
        self._cpu_seconds = self._used()
        self._joules = 0.0
        self.kind = MeterKind(
            method="model",
            boundary=f"modelled: {num_threads} hardware threads' share of a whole server at the wall, from the "
            f"processor time of engine and service ({power.basis})",
            low_ratio=round(power.low_ratio, 2),
            high_ratio=round(power.high_ratio, 2),
        )

    def joules(self) -> float | None:
        """Idle watts for all the time, and what lies between idle and full for the processor time used."""
        now, used = self._clock(), self._used()
        busy = min(max(0.0, used - self._cpu_seconds), self._num_threads * max(0.0, now - self._read_at))
        power = self._power
        self._joules += power.idle_watts * self._num_threads * max(0.0, now - self._read_at)
        self._joules += max(0.0, power.full_watts - power.idle_watts) * busy
        self._read_at, self._cpu_seconds = now, used
        return self._joules

    def _used(self) -> float:
        times = os.times()
        return times.user + times.system + self._parent_seconds()

    def _parent_seconds(self) -> float:
        """User and system time of the parent process: fields 14 and 15 (proc(5)); 0 where that cannot be read."""
        try:
            fields = self._parent_stat.read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return 0.0


def usable_threads() -> int:
    """Hardware threads that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_of(proc: Path = _PROC) -> str | None:
    """This processor as "vendor family model", from /proc/cpuinfo; None where there is no such thing."""
    try:
        lines = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    words = [found.get(name) for name in ("vendor_id", "cpu family", "model")]
    return " ".join(word for word in words if word) if all(words) else None
