"""What was promised and what came of it, as it is counted."""

import pytest

from tests.fakes.recorded import Bench
from tidemill.config.settings import Settings, SloSettings
from tidemill.core.clock import VirtualClock
from tidemill.core.objectives import Objectives
from tidemill.core.stats import PromiseOutcome
from tidemill.runtime.instruments import Instruments
from tidemill.telemetry.error_recorder import ErrorRecorder
from tidemill.telemetry.recorder import PromiseRecorder


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
    assert [count("tpot", outcome) for outcome in ("met", "missed", "refused")] == [0.0, 2.0, 1.0], "one token has none"
    assert [count("deadline", outcome) for outcome in ("met", "missed", "refused")] == [0.0, 0.0, 0.0]
    assert bench.value("tidemill_ttft_predictions_total", within_p99="false") == 1.0
    assert bench.value("tidemill_ttft_prediction_ratio_sum") == pytest.approx(1.25)
    assert bench.value("tidemill_slo_objective", objective="ttft") == 0.15
    assert bench.value("tidemill_slo_objective", objective="availability") == 0.999


def test_errors_are_counted_by_type_and_against_the_promise_where_they_are_the_services_fault() -> None:
    bench = Bench()
    recorder = ErrorRecorder(bench.metrics)

    def outcomes() -> list[float | None]:
        return [
            bench.value("tidemill_slo_outcomes_total", objective="errors", outcome=outcome)
            for outcome in ("met", "missed", "refused")
        ]

    recorder.ended(None)
    recorder.ended("EngineFailedError")
    recorder.ended("SlowReaderError")
    assert outcomes() == [1, 1, 0], "a slow reader has cut itself off"
    recorder.refused("InvalidRequestError", asks_for_tokens=True)
    assert outcomes() == [1, 1, 0], "a malformed request breaks no promise"
    recorder.refused("UnavailableError", asks_for_tokens=False)
    assert outcomes() == [1, 1, 0], "nor does a list of models that is not there yet"
    recorder.refused("OverloadedError", asks_for_tokens=True)
    recorder.refused("UnavailableError", asks_for_tokens=True)
    assert outcomes() == [1, 2, 1]
    recorder.ended("KeyError")
    assert outcomes() == [1, 3, 1]
    assert bench.value("tidemill_request_failures_total", error="InternalError") == 1, "labels are bounded"
    assert bench.value("tidemill_request_refusals_total", error="OverloadedError") == 1


def test_a_request_that_no_engine_was_ready_for_is_a_refusal_of_what_was_promised() -> None:
    bench = Bench()
    promises = PromiseRecorder(bench.metrics, SloSettings(slo_profile="relaxed", slo_attainment_ratio=0.9))
    promises.unavailable(Objectives())
    assert bench.value("tidemill_slo_outcomes_total", objective="ttft", outcome="refused") == 1
    assert bench.value("tidemill_slo_outcomes_total", objective="deadline", outcome="refused") == 0
    assert bench.value("tidemill_slo_budget_ratio", objective="ttft") == pytest.approx(0.1)
    assert bench.value("tidemill_slo_budget_ratio", objective="availability") == pytest.approx(0.001)
    promises.unavailable(Objectives(deadline_seconds=3.0))
    assert bench.value("tidemill_slo_outcomes_total", objective="deadline", outcome="refused") == 1


def test_a_request_for_tokens_while_no_engine_is_ready_counts_once_an_objective() -> None:
    settings = Settings(slo=SloSettings(slo_profile="relaxed"))
    instruments = Instruments(settings, engine_pid=lambda: None, clock=VirtualClock())
    instruments.refused("UnavailableError", None)
    instruments.refused("UnavailableError", Objectives())
    instruments.refused("OverloadedError", Objectives())

    def outcomes(objective: str) -> list[float | None]:
        labels = {"model_name": instruments.model_name, "objective": objective}
        return [
            instruments.registry.get_sample_value("tidemill_slo_outcomes_total", {**labels, "outcome": outcome})
            for outcome in ("met", "missed", "refused")
        ]

    assert outcomes("errors") == [0, 1, 1]
    assert outcomes("ttft") == [0, 0, 1], "the engine's client tells of those that were too much for it"
