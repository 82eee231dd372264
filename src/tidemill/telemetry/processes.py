"""Memory of this server's processes, read when somebody asks. Linux only; elsewhere there is nothing to tell."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessMemoryCollector(Collector):
    """Resident bytes of the API process and, while there is one, the engine process."""

    def __init__(self, engine_pid: Callable[[], int | None], proc: Path = Path("/proc")) -> None:
        self._engine_pid = engine_pid
        self._proc = proc

    def collect(self) -> Iterable[Metric]:
        """One sample a process."""
        family = GaugeMetricFamily("tidemill_process_resident_memory_bytes", "Resident memory.", labels=["process"])
        for name, pid in (("api", os.getpid()), ("engine", self._engine_pid())):
            size = None if pid is None else self._resident_bytes(pid)
            if size is not None:
                family.add_metric([name], size)
        yield family

    def _resident_bytes(self, pid: int) -> int | None:
        try:
            fields = (self._proc / str(pid) / "statm").read_text().split()
        except OSError:
            return None
        return int(fields[1]) * _PAGE_BYTES
