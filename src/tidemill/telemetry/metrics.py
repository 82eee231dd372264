"""Every metric, declared once, on a registry that is handed in.

Names, labels and buckets of the `vllm:` metrics are vLLM's, so that boards and autoscalers made for it work; what it
has no name for is `tidemill_*`. The client library adds `_total` to counters.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from tidemill.core import errors
from tidemill.telemetry.gen_ai import GenAiMetrics
from tidemill.telemetry.tallies import Tallies

TIME_TO_FIRST_TOKEN_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
INTER_TOKEN_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
RATIO_BUCKETS = (0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0, 4.0)
REQUEST_BUCKETS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_LABEL = ("model_name",)
SLO_OBJECTIVES = ("ttft", "tpot", "deadline", "errors")
STEP_PARTS = ("schedule", "tensors", "forward", "sample", "update", "report")
FAULTS = ("EngineFailedError", "UnavailableError", "InternalError")
"""Errors that are this service's own fault; every class that no label is kept for counts as the last."""
FAILURES = (*FAULTS, "SlowReaderError")
REFUSALS = (
    *(
        name
        for name, error in vars(errors).items()
        if isinstance(error, type)
        and issubclass(error, errors.RequestError | errors.ServiceError)
        and error not in (errors.RequestError, errors.ServiceError, errors.SlowReaderError)
    ),
    *("InternalError", "BadHttpError"),
)
"""The classes of the error tree that a request may be refused with, and the two of HTTP's own."""
OVERLOADS = tuple(
    name
    for name, error in vars(errors).items()
    if isinstance(error, type) and issubclass(error, errors.OverloadedError)
)
"""Those that say that there is too much to do."""


class Metrics:
    """The metrics of one server. `model_name` labels what belongs to the served model."""

    def __init__(self, registry: CollectorRegistry, *, model_name: str, version: str) -> None:
        self._registry = registry
        self._model_name = model_name
        tallies = Tallies(registry, {"model_name": model_name})
        self.num_running = tallies.level("vllm:num_requests_running", "Sequences in the running batch.")
        self.num_waiting = tallies.level("vllm:num_requests_waiting", "Sequences that wait to run.")
        self.kv_cache_usage = tallies.level("vllm:kv_cache_usage_perc", "Share of KV cache blocks in use; 1 is all.")
        self.prefix_queries = tallies.count("vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache.")
        self.prefix_hits = tallies.count("vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.")
        self.preemptions = tallies.count("vllm:num_preemptions", "Sequences preempted.")
        self.prompt_tokens = tallies.count("vllm:prompt_tokens", "Prompt tokens of accepted requests.")
        self.generation_tokens = tallies.count("vllm:generation_tokens", "Tokens generated and taken by requests.")
        self._finished = Counter(
            "vllm:request_success", "Sequences that ended, by reason.", (*_LABEL, "finished_reason"), registry=registry
        )
        for reason in ("stop", "length", "abort", "error"):
            self.finished(reason)
        self.time_to_first_token = tallies.spread(
            "vllm:time_to_first_token_seconds", "Arrival to first token.", TIME_TO_FIRST_TOKEN_BUCKETS
        )
        self.inter_token_latency = tallies.spread(
            "vllm:inter_token_latency_seconds", "From one token to the next.", INTER_TOKEN_BUCKETS
        )
        self.request_latency = tallies.spread(
            "vllm:e2e_request_latency_seconds", "Arrival to last token.", REQUEST_BUCKETS
        )
        self.queue_time = tallies.spread(
            "vllm:request_queue_time_seconds", "Time in the waiting queue.", REQUEST_BUCKETS
        )
        self.kv_waste = tallies.level("tidemill_kv_waste_ratio", "Share of allocated KV positions that hold no token.")
        self.steps = tallies.count("tidemill_engine_steps", "Steps of the engine.")
        self.step_seconds = tallies.count("tidemill_engine_step_seconds", "Time spent in steps.")
        self.step_parts = tallies.counts(
            "tidemill_engine_step_part_seconds",
            "Time spent by part of a turn; forward is what is told apart from nothing else. On a device that computes "
            "beside the host its time is where the host waits for it: in sample.",
            "part",
            STEP_PARTS,
        )
        self.engine_restarts = tallies.count(
            "tidemill_engine_restarts", "Engine processes that ended and were to be replaced."
        )
        self._refusals = Counter(
            "tidemill_request_refusals",
            "Requests refused before the engine took them, by error.",
            (*_LABEL, "error"),
            registry=registry,
        )
        self._failures = Counter(
            "tidemill_request_failures",
            "Requests that ended with an error after the engine had taken them, by error.",
            (*_LABEL, "error"),
            registry=registry,
        )
        for error in REFUSALS:
            self.refused(error)
        for error in FAILURES:
            self.failed(error)
        self.step_prediction_error = tallies.level(
            "tidemill_step_prediction_error_ratio", "Running median of |step / predicted - 1|."
        )
        self.step_prediction = tallies.spread(
            "tidemill_step_prediction_ratio", "A step's time over its prediction.", RATIO_BUCKETS
        )
        self.ttft_prediction = tallies.spread(
            "tidemill_ttft_prediction_ratio", "Time to first token over its prediction at admission.", RATIO_BUCKETS
        )
        self._ttft_predictions = Counter(
            "tidemill_ttft_predictions",
            "Predicted times to first token, by whether the outcome kept within the predicted 99th percentile.",
            (*_LABEL, "within_p99"),
            registry=registry,
        )
        for within in (True, False):
            self.ttft_predicted(within_p99=within)
        self._slo_outcomes = Counter(
            "tidemill_slo_outcomes",
            "Sequences promised a time, by objective and outcome: met, missed (failed ones too), or refused because "
            "the server was too busy or not ready. For the objective errors, requests: answered, failed by this "
            "service's fault (those it was not ready for too), or refused because it was too busy. Attainment over "
            "admitted is met / (met + missed), over offered met / (met + missed + refused). Malformed requests, and "
            "what a client that left did not wait for, count nowhere.",
            (*_LABEL, "objective", "outcome"),
            registry=registry,
        )
        for objective in SLO_OBJECTIVES:
            for outcome in ("met", "missed", "refused"):
                self.slo_outcome(objective, outcome)
        self._slo_objective = Gauge(
            "tidemill_slo_objective",
            "What is promised by default: seconds of ttft and tpot, ratios of availability and errors.",
            (*_LABEL, "objective"),
            registry=registry,
        )
        self._slo_budget = Gauge(
            "tidemill_slo_budget_ratio",
            "Share that may fail an objective before the promise is broken.",
            (*_LABEL, "objective"),
            registry=registry,
        )
        self._max_sequences = Gauge(
            "tidemill_max_sequences",
            "Most sequences there may be, by place; running and waiting ones together may be the sum of both.",
            (*_LABEL, "place"),
            registry=registry,
        )
        self.engine_info = Gauge(
            "tidemill_engine_info",
            "1; what the engine is, once one was ready.",
            (*_LABEL, "architecture", "precision", "kv_precision", "device"),
            registry=registry,
        )
        self.gen_ai = GenAiMetrics(registry, model_name=model_name)
        self.state = Gauge("tidemill_engine_state", "1 for the state it is in.", (*_LABEL, "state"), registry=registry)
        build = Gauge("tidemill_build_info", "The version of this server.", ("version",), registry=registry)
        build.labels(version=version).set(1)

    @property
    def registry(self) -> CollectorRegistry:
        """Where they are collected."""
        return self._registry

    @property
    def model_name(self) -> str:
        """The value of their label."""
        return self._model_name

    def finished(self, reason: str) -> Counter:
        """The count of sequences that ended for `reason`."""
        return self._finished.labels(self._model_name, reason)

    def refused(self, error: str) -> Counter:
        """The count of requests refused with `error`, the name of an error class."""
        return self._refusals.labels(self._model_name, _bounded(error, REFUSALS))

    def failed(self, error: str) -> Counter:
        """The count of requests that were taken and ended with `error`, the name of an error class."""
        return self._failures.labels(self._model_name, _bounded(error, FAILURES))

    def slo_outcome(self, objective: str, outcome: str) -> Counter:
        """The count of sequences promised `objective`, one of `SLO_OBJECTIVES`, with `outcome`."""
        return self._slo_outcomes.labels(self._model_name, objective, outcome)

    def slo_objective(self, objective: str) -> Gauge:
        """What is promised by default."""
        return self._slo_objective.labels(self._model_name, objective)

    def slo_budget(self, objective: str) -> Gauge:
        """The share that may fail `objective`."""
        return self._slo_budget.labels(self._model_name, objective)

    def max_sequences(self, place: str) -> Gauge:
        """The most sequences there may be in `place`: running or waiting."""
        return self._max_sequences.labels(self._model_name, place)

    def ttft_predicted(self, *, within_p99: bool) -> Counter:
        """The count of predicted times to first token that were, or were not, within the predicted percentile."""
        return self._ttft_predictions.labels(self._model_name, "true" if within_p99 else "false")


def _bounded(error: str, known: tuple[str, ...]) -> str:
    """`error`, or where no label is kept for it, what it is to a client: an internal error."""
    return error if error in known else FAULTS[-1]


def render(registry: CollectorRegistry) -> tuple[bytes, str]:
    """The metrics as Prometheus reads them, and the media type of that."""
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4
