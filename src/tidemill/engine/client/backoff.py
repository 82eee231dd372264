"""How long to wait before the next restart: doubling up to a ceiling, forgotten after a spell of health."""

from tidemill.core.clock import Clock

MAX_BACKOFF_SECONDS = 60.0
HEALTHY_AFTER_SECONDS = 60.0


class Backoff:
    """The wait before each restart of one engine."""

    def __init__(self, first_seconds: float, clock: Clock) -> None:
        self._first = first_seconds
        self._clock = clock
        self._num_failures = 0
        self._ready_since: float | None = None

    @property
    def num_failures(self) -> int:
        """Deaths in a row without a minute of health between them."""
        return self._num_failures

    def ready(self) -> None:
        """The engine began to serve."""
        self._ready_since = self._clock()

    def died(self) -> float:
        """The engine died; seconds to wait before it is started again."""
        if self._ready_since is not None and self._clock() - self._ready_since >= HEALTHY_AFTER_SECONDS:
            self._num_failures = 0
        self._ready_since = None
        # The exponent is capped so that years of failures do not overflow a float.
        seconds = min(MAX_BACKOFF_SECONDS, self._first * 2.0 ** min(self._num_failures, 60))
        self._num_failures += 1
        return seconds
