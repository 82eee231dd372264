"""OpenTelemetry's metrics of a generative model server, under their names in Prometheus form, with their buckets.

Source: semantic conventions, "Generative AI model server metrics" (status: development). Dots become underscores, and
the unit s becomes the suffix seconds.
"""

from prometheus_client import CollectorRegistry, Histogram

REQUEST_DURATION_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TIME_TO_FIRST_TOKEN_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
TIME_PER_OUTPUT_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_PROVIDER = "tidemill"
_OPERATIONS = ("chat", "text_completion")
_ERRORS = ("EngineFailedError", "UnavailableError", "SlowReaderError")


class GenAiMetrics:
    """The three histograms. `gen_ai_request_model` is the name a request asked by, one of those that are served."""

    def __init__(self, registry: CollectorRegistry, *, model_name: str) -> None:
        self._request_duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "Arrival of a request to its last token; error_type is empty where it was answered. "
            "Requests whose clients left are not counted.",
            (*_LABELS, "error_type"),
            buckets=REQUEST_DURATION_BUCKETS,
            registry=registry,
        )
        self._time_to_first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "Arrival of a request to its first token, of those that were answered.",
            _LABELS,
            buckets=TIME_TO_FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self._time_per_output_token = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Mean time from one token to the next after the first, of each sequence that was completed.",
            _LABELS,
            buckets=TIME_PER_OUTPUT_TOKEN_BUCKETS,
            registry=registry,
        )
        for operation in _OPERATIONS:
            labels = (operation, _PROVIDER, model_name)
            self._request_duration.labels(*labels, "")
            self._time_to_first_token.labels(*labels)
            self._time_per_output_token.labels(*labels)

    def of(self, model: str, *, is_chat: bool) -> "GenAiRequest":
        """The histograms for a request to `model`."""
        return GenAiRequest(self, (_OPERATIONS[0] if is_chat else _OPERATIONS[1], _PROVIDER, model))

    def request_duration(self, labels: tuple[str, ...], error_type: str) -> Histogram:
        """Where the duration of a request goes that ended with `error_type`, or with none."""
        bounded = error_type if not error_type or error_type in _ERRORS else "_OTHER"
        return self._request_duration.labels(*labels, bounded)

    def time_to_first_token(self, labels: tuple[str, ...]) -> Histogram:
        """Where a request's time to its first token goes."""
        return self._time_to_first_token.labels(*labels)

    def time_per_output_token(self, labels: tuple[str, ...]) -> Histogram:
        """Where a sequence's time per output token goes."""
        return self._time_per_output_token.labels(*labels)


class GenAiRequest:
    """One request on its way into the histograms. Nothing is recorded before it was accepted."""

    __slots__ = ("_labels", "_metrics")

    def __init__(self, metrics: GenAiMetrics, labels: tuple[str, ...]) -> None:
        self._metrics = metrics
        self._labels = labels

    def time_per_output_token(self, seconds: float) -> None:
        """A sequence is complete."""
        self._metrics.time_per_output_token(self._labels).observe(seconds)

    def ended(self, seconds: float, ttft_seconds: float | None, error_type: str) -> None:
        """The request has ended `seconds` after it came, with an error or (empty) without."""
        self._metrics.request_duration(self._labels, error_type).observe(seconds)
        if ttft_seconds is not None and not error_type:
            self._metrics.time_to_first_token(self._labels).observe(ttft_seconds)
