"""Every alert: those of the objectives, and those on causes that an operator can do something about."""

from collections.abc import Sequence
from dataclasses import replace

from deploy.burn_rates import BURN_WINDOWS, BurnWindow, burn_alerts
from deploy.promql import JOB, MODEL, increase, quotient, rate, selector, total
from deploy.rule import Rule

RUNBOOK = "docs/operate/runbook.md"
LEAST_OFFERED = 20
"""Requests in a quarter of an hour under which a share of refusals says too little: one of fewer is over 5 %."""


def alerts(windows: Sequence[BurnWindow] = BURN_WINDOWS, runbook: str = RUNBOOK) -> tuple[Rule, ...]:
    """All of them, each with the place in the runbook that says what to do."""
    rules = (_down(), *burn_alerts(windows), *_engine(), *_load(), *_predictions(), *_books())
    return tuple(
        replace(rule, annotations={**rule.annotations, "runbook_url": f"{runbook}#{rule.name.lower()}"})
        for rule in rules
    )


def _alert(name: str, severity: str, expr: str, wait: str, summary: str, description: str) -> Rule:
    told = {"summary": f"{{{{ $labels.instance }}}}: {summary}", "description": description}
    return Rule(name, expr, is_alert=True, wait=wait, labels={"severity": severity}, annotations=told)


def _down() -> Rule:
    return _alert(
        "TidemillDown",
        "page",
        f"{selector('up', job=JOB)} == 0",
        "1m",
        "the server does not answer",
        "Prometheus could not read its metrics for a minute.",
    )


def _engine() -> tuple[Rule, ...]:
    restarts = "tidemill_engine_restarts_total"
    told = "{{ $value | humanize }} engine processes died of late, to be started again; requests under way failed."
    # An increase is extrapolated, so that three restarts may read as a little less.
    return (
        _alert(
            "TidemillEngineRestarts", "page", f"{increase(restarts, '1h')} > 2.5", "", "the engine keeps dying", told
        ),
        _alert("TidemillEngineRestarts", "ticket", f"{increase(restarts, '15m')} > 0", "", "the engine died", told),
    )


def _load() -> tuple[Rule, ...]:
    waiting = "vllm:num_requests_waiting"
    here = f"{selector('vllm:num_requests_running', job=JOB)} + {selector(waiting, job=JOB)}"
    full = selector("vllm:kv_cache_usage_perc", "5m", job=JOB)
    preempted = total(increase("vllm:num_preemptions_total", "15m", job=JOB), MODEL)
    ended = total(increase("vllm:request_success_total", "15m", job=JOB), MODEL)
    limit = selector("tidemill_max_sequences", job=JOB, place="waiting")
    # The bound is on both places together: while fewer run than may, more may wait.
    most = total(selector("tidemill_max_sequences", job=JOB), MODEL)
    refused = total(increase("tidemill_slo_outcomes_total", "15m", objective="errors", outcome="refused"), MODEL)
    offered = total(increase("tidemill_slo_outcomes_total", "15m", objective="errors"), MODEL)
    return (
        _alert(
            "TidemillKvCacheFull",
            "ticket",
            f"min_over_time({full}) > 0.95",
            "5m",
            "the KV cache is full",
            "{{ $value | humanizePercentage }} of its blocks have been in use, at least, for five minutes and more.",
        ),
        _alert(
            "TidemillPreemptions",
            "ticket",
            f"{quotient(preempted, ended)}\n> 0.2",
            "10m",
            "sequences are preempted",
            "{{ $value | humanize }} preemptions a finished sequence: what was computed is computed again.",
        ),
        _alert(
            "TidemillQueueGrows",
            "ticket",
            f"min_over_time({selector(waiting, '10m', job=JOB)}) > 0\n"
            f"  and deriv({selector(waiting, '10m', job=JOB)}) > 0\n"
            f"  and {selector(waiting, job=JOB)} > ignoring (place) 0.1 * {limit}\n"
            f"or {here}\n  > ({most} - ignoring (place) 0.2 * {limit})",
            "5m",
            "more comes than is served",
            "The queue is long, has not been empty for ten minutes and grows, or there is hardly room for more.",
        ),
        _alert(
            "TidemillRefuses",
            "ticket",
            f"{quotient(refused, offered)}\n> 0.05\nand {offered} >= {LEAST_OFFERED}",
            "10m",
            "requests are refused as too much",
            "{{ $value | humanizePercentage }} of the requests that were offered got a 429.",
        ),
    )


def _predictions() -> tuple[Rule, ...]:
    within = total(increase("tidemill_ttft_predictions_total", "1h", within_p99="true"), MODEL)
    every = total(increase("tidemill_ttft_predictions_total", "1h"), MODEL)
    return (
        _alert(
            "TidemillStepPredictionError",
            "ticket",
            # The gauge is set by steps: while there are none it stays where it was and says nothing.
            f"tidemill_step_prediction_error_ratio > 0.2\nand {rate('tidemill_engine_steps_total', '15m')} > 0",
            "15m",
            "steps do not take as long as predicted",
            "The median error of a predicted step is {{ $value | humanizePercentage }}.",
        ),
        _alert(
            "TidemillTtftPredictionError",
            "ticket",
            f"{quotient(within, every)}\n< 0.95\nand {every} >= 100",
            "15m",
            "first tokens come later than the predicted 99th percentile",
            "Only {{ $value | humanizePercentage }} of first tokens kept within it.",
        ),
    )


def _books() -> tuple[Rule, ...]:
    return (
        _alert(
            "TidemillEnergyResidual",
            "ticket",
            "tidemill_energy_residual_ratio > 0.1",
            "30m",
            "the energy model and the meter disagree",
            "By {{ $value | humanizePercentage }}, before shares are scaled to the meter.",
        ),
        _alert(
            "TidemillLedgerDrops",
            "ticket",
            f"{increase('tidemill_ledger_entries_dropped_total', '15m')} > 0",
            "",
            "the books lose entries",
            "{{ $value | humanize }} entries could not be written of late.",
        ),
    )
