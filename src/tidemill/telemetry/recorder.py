"""Facts turned into metrics: an engine's steps, its life, and the requests that pass through a backend."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from tidemill.config.objectives import default_objectives
from tidemill.config.settings import SloSettings
from tidemill.core.backend import Backend, BackendState, Health, ModelInfo
from tidemill.core.clock import Clock
from tidemill.core.objectives import Objectives
from tidemill.core.requests import ChatPrompt, Delta, Finish, GenerationChunk, GenerationRequest
from tidemill.core.stats import PromiseOutcome, StepStats
from tidemill.telemetry.metrics import Metrics


class EngineRecorder:
    """Turns what an engine tells about itself into metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.state(BackendState.STARTING)

    def step(self, stats: StepStats) -> None:
        """A step was made. On the way of every token: no calls where an addition will do."""
        metrics = self._metrics
        metrics.num_running.value = stats.num_running
        metrics.num_waiting.value = stats.num_waiting
        metrics.kv_cache_usage.value = stats.num_used_blocks / (stats.num_total_blocks or 1)
        metrics.kv_waste.value = stats.kv_waste_ratio
        metrics.prefix_queries.value += stats.num_prefix_queries
        metrics.prefix_hits.value += stats.num_prefix_hits
        metrics.preemptions.value += stats.num_preemptions
        metrics.steps.value += 1
        metrics.step_seconds.value += stats.step_seconds
        schedule, tensors, forward, sample, update, report = metrics.step_parts
        schedule.value += stats.schedule_seconds
        tensors.value += stats.tensors_seconds
        forward.value += stats.forward_seconds
        sample.value += stats.sample_seconds
        update.value += stats.update_seconds
        report.value += stats.report_seconds
        if stats.prediction_error_ratio is not None:
            metrics.step_prediction_error.value = stats.prediction_error_ratio
        if stats.predicted_seconds and stats.turn_seconds is not None:
            metrics.step_prediction.observe(stats.turn_seconds / stats.predicted_seconds)

    def loaded(self, *, architecture: str, precision: str, kv_precision: str, device: str) -> None:
        """An engine is ready, and this is what it turned out to be."""
        info = self._metrics.engine_info
        info.clear()
        info.labels(self._metrics.model_name, architecture, precision, kv_precision, device).set(1)

    def ended(self, *, is_replaced: bool) -> None:
        """The engine process is gone, and with it whatever it ran and kept; another one is to follow, or not."""
        if is_replaced:
            self._metrics.engine_restarts.inc()
        for gauge in (self._metrics.num_running, self._metrics.num_waiting, self._metrics.kv_cache_usage):
            gauge.set(0)
        self._metrics.kv_waste.set(0)

    def state(self, now: BackendState) -> None:
        """The engine is in state `now`."""
        for state in BackendState:
            self._metrics.state.labels(self._metrics.model_name, state.value).set(state is now)


class PromiseRecorder:
    """Turns what was promised, and what became of it, into metrics.

    Attainment over admitted requests is met / (met + missed); over offered ones, met / (met + missed + refused).
    A request that came while no engine was ready is refused here too; as an error of the service it is counted once
    more, in an objective of its own (`error_recorder`).
    """

    def __init__(self, metrics: Metrics, settings: SloSettings) -> None:
        self._metrics = metrics
        self._promised = promised = default_objectives(settings)
        defaults = {"ttft": promised.ttft_seconds, "tpot": promised.tpot_seconds}
        ratios = {"availability": settings.slo_availability_ratio, "errors": settings.slo_error_ratio}
        for objective, value in (defaults | ratios).items():
            if value is not None:
                metrics.slo_objective(objective).set(value)
        for objective in ("ttft", "tpot", "deadline"):
            metrics.slo_budget(objective).set(1.0 - settings.slo_attainment_ratio)
        metrics.slo_budget("availability").set(1.0 - settings.slo_availability_ratio)
        metrics.slo_budget("errors").set(settings.slo_error_ratio)

    def unavailable(self, asked: Objectives) -> None:
        """A request that asked to keep `asked` came while no engine was ready."""
        self.outcome(PromiseOutcome(objectives=asked.or_else(self._promised), is_refused=True))

    def outcome(self, outcome: PromiseOutcome) -> None:
        """A sequence has ended, or a request was refused."""
        promised = outcome.objectives
        measured = (
            ("ttft", promised.ttft_seconds, outcome.ttft_seconds),
            ("tpot", promised.tpot_seconds, outcome.tpot_seconds),
            ("deadline", promised.deadline_seconds, outcome.total_seconds),
        )
        for objective, seconds, actual in measured:
            if seconds is not None and (verdict := _verdict(outcome, seconds, actual)) is not None:
                self._metrics.slo_outcome(objective, verdict).inc()
        if outcome.predicted_ttft_seconds and outcome.p99_ttft_seconds and outcome.ttft_seconds is not None:
            self._metrics.ttft_prediction.observe(outcome.ttft_seconds / outcome.predicted_ttft_seconds)
            self._metrics.ttft_predicted(within_p99=outcome.ttft_seconds <= outcome.p99_ttft_seconds).inc()


def _verdict(outcome: PromiseOutcome, promised_seconds: float, actual_seconds: float | None) -> str | None:
    """None if there is nothing to judge by: one token has no time per token, and who leaves early sees no end."""
    if outcome.is_refused:
        return "refused"
    if outcome.is_failed:
        return "missed"
    if actual_seconds is None:
        return None
    return "met" if actual_seconds <= promised_seconds else "missed"


class RecordedBackend:
    """A backend whose requests are counted, each sequence exactly once, however it ends.

    Refusals are not counted here: most never come this far.
    """

    def __init__(self, backend: Backend, metrics: Metrics, clock: Clock) -> None:
        self._backend = backend
        self._metrics = metrics
        self._clock = clock

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationChunk, None]:
        """See `Backend.generate`."""
        count = _RequestCount(request, self._metrics, self._clock)
        try:
            async with aclosing(self._backend.generate(request)) as chunks:
                async for chunk in chunks:
                    count.chunk(chunk)
                    yield chunk
        except Exception as error:
            count.ended("error", type(error).__name__)
            raise
        finally:
            count.ended("abort")

    def health(self) -> Health:
        """See `Backend.health`."""
        return self._backend.health()

    def models(self) -> tuple[ModelInfo, ...]:
        """See `Backend.models`."""
        return self._backend.models()


class _RequestCount:
    """What is known of one request on its way. Gaps between tokens are as its reader saw them."""

    def __init__(self, request: GenerationRequest, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._num_open = 0
        self._num_sequences = len(request.prompts) * request.n
        self._last_token: dict[int, float] = {}
        # Nothing about the request is known to be sound before it was accepted, not even that it has a prompt.
        is_chat = any(isinstance(prompt, ChatPrompt) for prompt in request.prompts[:1])
        self._gen_ai = metrics.gen_ai.of(request.model, is_chat=is_chat)
        self._arrival = clock()
        self._ttft_seconds: float | None = None

    def chunk(self, chunk: GenerationChunk) -> None:
        """Another chunk has come."""
        if isinstance(chunk, Delta):
            if chunk.token_ids:
                self._tokens(chunk)
            if chunk.finish is not None:
                self._finish(chunk.finish)
            return
        self._num_open = self._num_sequences
        self._metrics.prompt_tokens.inc(sum(chunk.num_prompt_tokens))

    def _tokens(self, delta: Delta) -> None:
        now, count = self._clock(), len(delta.token_ids)
        self._metrics.generation_tokens.inc(count)
        before = self._last_token.get(delta.index)
        if before is not None:
            # Tokens that come together, because the reader lagged, share the time since the last.
            self._metrics.inter_token_latency.observe((now - before) / count, count)
        self._last_token[delta.index] = now

    def _finish(self, finish: Finish) -> None:
        """A sequence was answered: one that fails ends its request with an error instead, see `Backend.generate`."""
        timings = finish.timings
        self._num_open -= 1
        self._metrics.finished(finish.reason.value).inc()
        self._metrics.queue_time.observe(timings.queue_seconds)
        self._metrics.request_latency.observe(timings.total_seconds)
        if timings.time_to_first_token_seconds is not None:
            self._metrics.time_to_first_token.observe(timings.time_to_first_token_seconds)
            earlier = self._ttft_seconds
            mine = timings.time_to_first_token_seconds
            self._ttft_seconds = mine if earlier is None else min(earlier, mine)
            if timings.num_output_tokens > 1:
                gaps = timings.num_output_tokens - 1
                self._gen_ai.time_per_output_token((timings.total_seconds - mine) / gaps)
        if not self._num_open:
            self._gen_ai.ended(self._clock() - self._arrival, self._ttft_seconds, "")

    def ended(self, reason: str, error: str = "") -> None:
        """Nothing more will come: sequences that have no finish ended for `reason`. Only the first call counts."""
        if self._num_open:
            self._metrics.finished(reason).inc(self._num_open)
            if error:
                self._gen_ai.ended(self._clock() - self._arrival, None, error)
        self._num_open = 0
