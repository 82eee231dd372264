"""Requests that were not answered: counted by type, and against the promise where that is this service's fault."""

from tidemill.telemetry.metrics import FAULTS, OVERLOADS, REFUSALS, Metrics


class ErrorRecorder:
    """Counts each request once, however it ended. Those whose clients left are not told to it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def refused(self, error: str, *, asks_for_tokens: bool) -> None:
        """The engine never took a request, for an error of class `error`. Malformed ones break no promise."""
        self._metrics.refused(error).inc()
        if not asks_for_tokens:
            return
        if error in OVERLOADS:
            self._metrics.slo_outcome("errors", "refused").inc()
        elif error in FAULTS or error not in REFUSALS:
            self._metrics.slo_outcome("errors", "missed").inc()

    def ended(self, error: str | None) -> None:
        """The engine took a request, and it was answered, or ended with an error of class `error`."""
        if error is None:
            self._metrics.slo_outcome("errors", "met").inc()
            return
        self._metrics.failed(error).inc()
        # A client that reads too slowly has cut itself off.
        if error != "SlowReaderError":
            self._metrics.slo_outcome("errors", "missed").inc()
