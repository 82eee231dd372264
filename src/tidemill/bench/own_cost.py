"""What measuring costs: this process's CPU time, and how late its event loop was. A busy bench measures itself."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from tidemill.bench.percentiles import distribution
from tidemill.core.clock import Clock

TICK_SECONDS = 0.05
BUSY_CORES = 0.7
LATE_MS = 20.0


@dataclass(frozen=True, slots=True)
class OwnCost:
    """CPU seconds of this process during the run, as cores' worth too, and the lateness of its event loop."""

    cpu_seconds: float
    cpu_cores: float
    loop_lag_p99_ms: float
    loop_lag_max_ms: float

    def warnings(self) -> list[str]:
        """What makes the figures doubtful."""
        found = []
        if self.cpu_cores > BUSY_CORES:
            found.append(
                f"This client used {self.cpu_cores:.2f} of a core: it may be the bottleneck. Lower the load, or run it "
                f"on another machine."
            )
        if self.loop_lag_p99_ms > LATE_MS:
            found.append(
                f"This client was up to {self.loop_lag_p99_ms:.0f} ms late in reading (p99): the machine has no core "
                f"left for it, and latencies include that."
            )
        return found


class OwnCostMeter:
    """Measures from `start` to `stop`."""

    def __init__(self, clock: Clock, cpu_seconds: Callable[[], float] = time.process_time) -> None:
        self._clock = clock
        self._cpu_seconds = cpu_seconds
        self._lags: list[float] = []
        self._began = self._cpu_began = 0.0
        self._ticks: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, inside a running event loop."""
        self._began, self._cpu_began, self._lags = self._clock(), self._cpu_seconds(), []
        self._ticks = asyncio.get_running_loop().create_task(self._tick())

    def stop(self) -> OwnCost:
        """What has come together."""
        if self._ticks is not None:
            self._ticks.cancel()
        cpu, seconds = self._cpu_seconds() - self._cpu_began, self._clock() - self._began
        lags = distribution(self._lags, scale=1e3)
        return OwnCost(
            cpu_seconds=cpu,
            cpu_cores=cpu / seconds if seconds > 0 else 0.0,
            loop_lag_p99_ms=lags.p99 if lags else 0.0,
            loop_lag_max_ms=lags.max if lags else 0.0,
        )

    async def _tick(self) -> None:
        while True:
            due = self._clock() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._lags.append(max(0.0, self._clock() - due))
