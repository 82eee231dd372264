"""Facts become metrics, each exactly once, under the names that vLLM's boards know."""

import contextlib
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.backend import FakeBackend
from tidemill.config.settings import SloSettings
from tidemill.core.backend import BackendState
from tidemill.core.clock import VirtualClock
from tidemill.core.errors import EngineFailedError, OverloadedError
from tidemill.core.objectives import Objectives
from tidemill.core.requests import GenerationRequest, SamplingParams, TextPrompt
from tidemill.core.stats import PromiseOutcome, StepStats
from tidemill.telemetry.metrics import Metrics, render
from tidemill.telemetry.processes import ProcessMemoryCollector
from tidemill.telemetry.recorder import EngineRecorder, PromiseRecorder, RecordedBackend

NAMES = {
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
    "vllm:prefix_cache_queries": "counter",
    "vllm:prefix_cache_hits": "counter",
    "vllm:num_preemptions": "counter",
    "vllm:prompt_tokens": "counter",
    "vllm:generation_tokens": "counter",
    "vllm:request_success": "counter",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:inter_token_latency_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_queue_time_seconds": "histogram",
}


class Bench:
    """A recorded fake backend, and its metrics as a scraper reads them."""

    def __init__(self, **fake: Any) -> None:
        self.clock = VirtualClock()
        self.backend = FakeBackend(**fake)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, model_name="tiny", version="1.2.3")
        self.engine = EngineRecorder(self.metrics)
        self.recorded = RecordedBackend(self.backend, self.metrics, self.clock)

    async def run(self, *, n: int = 1, num_prompts: int = 1, stop_after: int | None = None) -> None:
        prompts = tuple(TextPrompt(text="x") for _ in range(num_prompts))
        request = GenerationRequest(request_id="r", model="tiny", prompts=prompts, n=n, sampling=SamplingParams(seed=1))
        async with contextlib.aclosing(self.recorded.generate(request)) as chunks:
            count = 0
            async for _ in chunks:
                self.clock.advance(0.5)
                count += 1
                if count == stop_after:
                    return

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"model_name": "tiny", **labels})

    def finished(self) -> dict[str, float | None]:
        reasons = ("stop", "length", "abort", "error")
        return {r: self.value("vllm:request_success_total", finished_reason=r) for r in reasons}


async def test_a_scraper_reads_every_name_before_the_first_request() -> None:
    text, media_type = render(Bench().registry)
    assert media_type.startswith("text/plain")
    families = {f.name: f for f in text_string_to_metric_families(text.decode())}
    for name, kind in NAMES.items():
        assert families[name].type == kind, name
        assert families[name].samples, name
        assert all(sample.labels["model_name"] == "tiny" for sample in families[name].samples)
    assert families["tidemill_build_info"].samples[0].labels == {"version": "1.2.3"}


async def test_buckets_are_vllms() -> None:
    text = render(Bench().registry)[0].decode()
    families = {f.name: f for f in text_string_to_metric_families(text)}

    def buckets(name: str) -> list[float]:
        return [float(s.labels["le"]) for s in families[name].samples if s.name.endswith("_bucket")]

    assert buckets("vllm:time_to_first_token_seconds")[:3] == [0.001, 0.005, 0.01]
    assert buckets("vllm:time_to_first_token_seconds")[-2] == 2560.0
    assert buckets("vllm:inter_token_latency_seconds")[0] == 0.01
    assert buckets("vllm:inter_token_latency_seconds")[-2] == 80.0
    assert buckets("vllm:e2e_request_latency_seconds") == buckets("vllm:request_queue_time_seconds")
    assert buckets("vllm:e2e_request_latency_seconds")[-2] == 7680.0


async def test_a_request_counts_once() -> None:
    bench = Bench()
    await bench.run(n=2, num_prompts=3)
    assert bench.finished() == {"stop": 6, "length": 0, "abort": 0, "error": 0}
    assert bench.value("vllm:prompt_tokens_total") == 15
    assert bench.value("vllm:generation_tokens_total") == 24
    assert bench.value("vllm:time_to_first_token_seconds_count") == 6
    assert bench.value("vllm:time_to_first_token_seconds_sum") == pytest.approx(1.8)
    assert bench.value("vllm:e2e_request_latency_seconds_sum") == pytest.approx(4.8)
    assert bench.value("vllm:request_queue_time_seconds_sum") == pytest.approx(0.6)
    assert bench.value("vllm:inter_token_latency_seconds_count") == 18
    assert bench.value("vllm:inter_token_latency_seconds_sum") == pytest.approx(9.0)


async def test_a_client_that_leaves_is_an_abort_of_what_had_not_finished() -> None:
    bench = Bench()
    await bench.run(n=2, stop_after=7)
    assert bench.finished() == {"stop": 1, "length": 0, "abort": 1, "error": 0}
    assert bench.backend.num_closed == 1
    await bench.run(stop_after=1)
    assert bench.finished()["abort"] == 2


async def test_a_failure_is_an_error_and_a_refusal_is_a_refusal() -> None:
    bench = Bench(failure=EngineFailedError("Died."))
    with pytest.raises(EngineFailedError):
        await bench.run(n=3)
    assert bench.finished() == {"stop": 0, "length": 0, "abort": 0, "error": 3}
    bench.backend.refuse = OverloadedError("Full.")
    with pytest.raises(OverloadedError):
        await bench.run()
    assert sum(v or 0 for v in bench.finished().values()) == 3
    bench.backend.refuse, bench.backend.failure = None, ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await bench.run()
    assert bench.finished()["error"] == 4


def stats(**changes: Any) -> StepStats:
    facts: dict[str, Any] = dict.fromkeys(StepStats.__struct_fields__, 0)
    return StepStats(**{**facts, "num_total_blocks": 10, **changes})


async def test_steps_become_gauges_and_counters() -> None:
    bench = Bench()
    bench.engine.step(stats(num_running=3, num_waiting=2, num_used_blocks=4, num_prefix_queries=8, num_prefix_hits=5))
    bench.engine.step(stats(num_running=1, num_used_blocks=1, num_prefix_queries=2, num_preemptions=1))
    assert bench.value("vllm:num_requests_running") == 1
    assert bench.value("vllm:num_requests_waiting") == 0
    assert bench.value("vllm:kv_cache_usage_perc") == pytest.approx(0.1)
    assert bench.value("vllm:prefix_cache_queries_total") == 10
    assert bench.value("vllm:prefix_cache_hits_total") == 5
    assert bench.value("vllm:num_preemptions_total") == 1
    assert bench.value("tidemill_engine_steps_total") == 2
    bench.engine.ended()
    bench.engine.restarted()
    assert bench.value("vllm:num_requests_running") == 0
    assert bench.value("vllm:kv_cache_usage_perc") == 0
    assert bench.value("tidemill_engine_restarts_total") == 1


async def test_the_state_is_one_of_many() -> None:
    bench = Bench()
    bench.engine.state(BackendState.READY)
    states = {s: bench.value("tidemill_engine_state", state=s.value) for s in BackendState}
    assert {s for s, value in states.items() if value} == {BackendState.READY}


async def test_memory_is_that_of_the_processes_there_are() -> None:
    import os

    registry = CollectorRegistry()
    pids: list[int | None] = [None, os.getpid(), 2**22 + 1]
    registry.register(ProcessMemoryCollector(lambda: pids[0]))

    def resident(process: str) -> float | None:
        return registry.get_sample_value("tidemill_process_resident_memory_bytes", {"process": process})

    assert (resident("api") or 0) > 1_000_000
    assert resident("engine") is None
    pids.pop(0)
    assert (resident("engine") or 0) > 1_000_000
    pids.pop(0)
    assert resident("engine") is None


def test_attainment_counts_each_sequence_once_an_objective() -> None:
    bench = Bench()
    recorder = PromiseRecorder(bench.metrics, SloSettings(slo_profile="interactive"))
    promised = Objectives(ttft_seconds=0.15, tpot_seconds=0.045)
    facts = {"ttft_seconds": 0.1, "tpot_seconds": 0.05, "predicted_ttft_seconds": 0.08, "p99_ttft_seconds": 0.09}
    recorder.outcome(PromiseOutcome(objectives=promised, total_seconds=1.0, **facts))
    recorder.outcome(PromiseOutcome(objectives=promised, is_refused=True))
    recorder.outcome(PromiseOutcome(objectives=promised, is_failed=True))
    recorder.outcome(PromiseOutcome(objectives=promised, ttft_seconds=0.2, total_seconds=0.2))
    recorder.outcome(PromiseOutcome(objectives=Objectives(), ttft_seconds=9.0))

    def count(objective: str, outcome: str) -> float | None:
        return bench.value("tidemill_slo_outcomes_total", objective=objective, outcome=outcome)

    assert [count("ttft", outcome) for outcome in ("met", "missed", "refused")] == [1.0, 2.0, 1.0]
    assert [count("tpot", outcome) for outcome in ("met", "missed", "refused")] == [1.0, 2.0, 1.0], "one token has none"
    assert [count("deadline", outcome) for outcome in ("met", "missed", "refused")] == [0.0, 0.0, 0.0]
    assert bench.value("tidemill_ttft_predictions_total", within_p99="false") == 1.0
    assert bench.value("tidemill_ttft_prediction_ratio_sum") == pytest.approx(1.25)
    assert bench.value("tidemill_slo_objective", objective="ttft") == 0.15
    assert bench.value("tidemill_slo_objective", objective="availability") == 0.999


def test_a_step_tells_how_wrong_its_prediction_was() -> None:
    bench = Bench()
    bench.engine.step(stats(prediction_error_ratio=0.04))
    bench.engine.step(stats(prediction_error_ratio=None))
    assert bench.value("tidemill_step_prediction_error_ratio") == 0.04
