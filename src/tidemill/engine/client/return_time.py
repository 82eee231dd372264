"""When an engine that is gone will be back, for whoever is refused: its wait, and what its last start took."""

from tidemill.core.clock import Clock

MIN_RETRY_SECONDS = 1.0
"""Least that is told."""
MAX_START_SECONDS = 30.0
"""Most of a start that is told: one that compiled its kernels says too much of the next one, which finds them."""


class ReturnTime:
    """Told of an engine's starts and deaths. Of one that was never ready nothing is known but the wait before it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_at = clock()
        self._start_seconds = 0.0
        self._ready_at: float | None = None

    def starts(self) -> None:
        """A process is being started."""
        self._started_at = self._clock()
        self._ready_at = self._started_at + self._expected_seconds()

    def ready(self) -> None:
        """The engine takes requests."""
        self._start_seconds, self._ready_at = self._clock() - self._started_at, None

    def died(self, wait_seconds: float) -> None:
        """The engine is gone; another is started after `wait_seconds`."""
        self._ready_at = self._clock() + wait_seconds + self._expected_seconds()

    def retry_seconds(self) -> float:
        """How long to wait before the next request: all of the wait, which is certain, and a start within bounds."""
        left = 0.0 if self._ready_at is None else self._ready_at - self._clock()
        return max(MIN_RETRY_SECONDS, left)

    def _expected_seconds(self) -> float:
        return min(MAX_START_SECONDS, self._start_seconds)
