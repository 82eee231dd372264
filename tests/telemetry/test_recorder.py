"""Facts become metrics, each exactly once, under the names that vLLM's boards know."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.fake_engine import INFO
from tests.fakes.recorded import Bench
from tidemill.config.settings import Settings
from tidemill.core.backend import BackendState
from tidemill.core.clock import VirtualClock
from tidemill.core.errors import EngineFailedError, InvalidRequestError, OverloadedError
from tidemill.core.stats import StepStats
from tidemill.runtime.instruments import Instruments
from tidemill.telemetry.metrics import STEP_PARTS, render
from tidemill.telemetry.processes import ProcessMemoryCollector
from tidemill.telemetry.state_seconds import StateSeconds

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
    bench.engine.ended(is_replaced=True)
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


def test_a_step_tells_how_wrong_its_prediction_was() -> None:
    bench = Bench()
    bench.engine.step(stats(prediction_error_ratio=0.04))
    bench.engine.step(stats(prediction_error_ratio=None))
    assert bench.value("tidemill_step_prediction_error_ratio") == 0.04


def test_steps_over_their_predictions_are_counted_where_there_was_one() -> None:
    bench = Bench()
    bench.engine.step(stats(predicted_seconds=0.02, turn_seconds=0.022))
    bench.engine.step(stats(predicted_seconds=0.02, turn_seconds=0.018))
    bench.engine.step(stats(predicted_seconds=None, turn_seconds=0.02))
    bench.engine.step(stats(predicted_seconds=0.02, turn_seconds=None))
    assert bench.value("tidemill_step_prediction_ratio_count") == 2.0
    assert bench.value("tidemill_step_prediction_ratio_sum") == pytest.approx(2.0)
    assert bench.value("tidemill_step_prediction_ratio_bucket", le="1.0") == 1.0


def test_the_parts_of_a_step_add_up_to_it() -> None:
    bench = Bench()
    bench.engine.step(
        stats(
            step_seconds=1.0,
            schedule_seconds=0.1,
            tensors_seconds=0.2,
            sample_seconds=0.15,
            update_seconds=0.05,
            report_seconds=0.01,
        )
    )
    parts = {part: bench.value("tidemill_engine_step_part_seconds_total", part=part) for part in STEP_PARTS}
    assert parts == pytest.approx(
        {"schedule": 0.1, "tensors": 0.2, "forward": 0.6, "sample": 0.15, "update": 0.05, "report": 0.01}
    )


async def test_a_request_without_a_prompt_is_the_backends_to_refuse() -> None:
    bench = Bench(refuse=InvalidRequestError("No prompt."))
    with pytest.raises(InvalidRequestError):
        await bench.run(num_prompts=0)
    assert sum(value or 0 for value in bench.finished().values()) == 0


async def test_opentelemetrys_names_have_its_buckets_and_labels() -> None:
    bench = Bench()
    await bench.run(n=2)
    names = (
        "gen_ai_server_request_duration_seconds",
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai_server_time_per_output_token_seconds",
    )
    families = {f.name: f for f in text_string_to_metric_families(render(bench.registry)[0].decode())}
    for name in names:
        first = families[name].samples[0].labels
        assert (first["gen_ai_provider_name"], first["gen_ai_request_model"]) == ("tidemill", "tiny")
    bounds = [
        float(s.labels["le"])
        for s in families[names[2]].samples
        if s.name.endswith("_bucket") and s.labels["gen_ai_operation_name"] == "chat"
    ]
    assert bounds == [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, float("inf")]

    def value(name: str, suffix: str, **labels: str) -> float | None:
        common = {
            "gen_ai_operation_name": "text_completion",
            "gen_ai_provider_name": "tidemill",
            "gen_ai_request_model": "tiny",
        }
        return bench.registry.get_sample_value(name + suffix, {**common, **labels})

    assert value(names[0], "_count", error_type="") == 1, "a request, not a sequence"
    assert value(names[1], "_sum") == pytest.approx(0.3)
    assert value(names[2], "_count") == 2
    assert value(names[2], "_sum") == pytest.approx(2 * (0.8 - 0.3) / 3)
    bench.backend.failure = EngineFailedError("Died.")
    with pytest.raises(EngineFailedError):
        await bench.run()
    assert value(names[0], "_count", error_type="EngineFailedError") == 1
    bench.backend.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await bench.run()
    assert value(names[0], "_count", error_type="_OTHER") == 1, "labels are bounded"
    assert value(names[1], "_count") == 1, "only of those that were answered"
    bench.backend.failure = None
    await bench.run(stop_after=1)
    assert value(names[0], "_count", error_type="") == 1, "a client that left says nothing of the server"


def test_time_is_counted_by_state_up_to_the_moment_of_asking() -> None:
    clock, registry = VirtualClock(), CollectorRegistry()
    seconds = StateSeconds("tiny", clock)
    registry.register(seconds)

    def value(state: str) -> float | None:
        return registry.get_sample_value("tidemill_service_seconds_total", {"model_name": "tiny", "state": state})

    clock.advance(2.0)
    assert (value("starting"), value("ready")) == (2.0, 0.0)
    seconds.enter(BackendState.READY)
    clock.advance(5.0)
    seconds.enter(BackendState.STALLED)
    clock.advance(1.0)
    assert (value("starting"), value("ready"), value("stalled")) == (2.0, 5.0, 1.0)


def test_a_new_engine_lowers_no_counter() -> None:
    instruments = Instruments(Settings(), engine_pid=lambda: None, clock=VirtualClock())
    engine = instruments.engine

    def counters() -> dict[str, float]:
        families = text_string_to_metric_families(instruments.page()[0].decode())
        return {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for family in families
            if family.type in ("counter", "histogram")
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    engine.step(stats(step=900, step_seconds=2.0, num_preemptions=3, num_prefix_queries=50, num_prefix_hits=20))
    instruments.state(BackendState.READY)
    before = counters()
    engine.ended(is_replaced=True)
    instruments.state(BackendState.RESTARTING)
    instruments.loaded(INFO)
    instruments.state(BackendState.READY)
    engine.step(stats(step=1, step_seconds=0.1))
    after = counters()
    assert [name for name, value in before.items() if after[name] < value] == []
    assert sum(after.values()) > sum(before.values())
    labels = {"model_name": instruments.model_name, "architecture": INFO.architecture, "precision": INFO.precision}
    labels |= {"kv_precision": INFO.kv_precision, "device": INFO.device}
    assert instruments.registry.get_sample_value("tidemill_engine_info", labels) == 1
