"""Stories for `promtool test rules`: the series of a healthy server, what changes in them, and what fires then."""

from collections.abc import Mapping
from dataclasses import dataclass, field

PAGE, TICKET = "page", "ticket"
SERVER = 'job="tidemill", instance="a:8000"'
MODEL = f'{SERVER}, model_name="tiny"'
BUDGETS = {"ttft": 0.05, "tpot": 0.05, "deadline": 0.05, "errors": 0.001, "availability": 0.001}
MINUTES = 200
"""Length of a story, at a sample a minute. Longer windows see what there is: a ratio is the same as over all of it."""


def outcomes(objective: str, outcome: str) -> str:
    return f'tidemill_slo_outcomes_total{{{MODEL}, objective="{objective}", outcome="{outcome}"}}'


def seconds(state: str) -> str:
    return f'tidemill_service_seconds_total{{{MODEL}, state="{state}"}}'


def steady(value: float, minutes: int = MINUTES) -> str:
    """A gauge that does not move."""
    return f"{value}+0x{minutes}"


def growing(each_minute: float, minutes: int = MINUTES) -> str:
    """A counter that grows by as much every minute."""
    return f"0+{each_minute}x{minutes}"


def then(*parts: tuple[float, float, int]) -> str:
    """A counter in stretches: where each begins, its growth a minute, and how many minutes it lasts."""
    return " ".join(f"{start}+{each}x{minutes - 1}" for start, each, minutes in parts)


def healthy() -> dict[str, str]:
    """Every series that a rule reads, of a server with nothing wrong."""
    series = {f"up{{{SERVER}}}": steady(1)}
    for objective, budget in BUDGETS.items():
        series[f'tidemill_slo_budget_ratio{{{MODEL}, objective="{objective}"}}'] = steady(budget)
        if objective != "availability":
            series |= {
                outcomes(objective, "met"): growing(1000),
                outcomes(objective, "missed"): growing(0),
                outcomes(objective, "refused"): growing(0),
            }
    return series | {
        seconds("ready"): growing(60),
        seconds("stalled"): growing(0),
        f"tidemill_engine_restarts_total{{{MODEL}}}": growing(0),
        f"vllm:kv_cache_usage_perc{{{MODEL}}}": steady(0.5),
        f"vllm:num_preemptions_total{{{MODEL}}}": growing(1),
        f'vllm:request_success_total{{{MODEL}, finished_reason="stop"}}': growing(1000),
        f"vllm:num_requests_running{{{MODEL}}}": steady(64),
        f"vllm:num_requests_waiting{{{MODEL}}}": steady(3),
        f'tidemill_max_sequences{{{MODEL}, place="running"}}': steady(64),
        f'tidemill_max_sequences{{{MODEL}, place="waiting"}}': steady(256),
        f'tidemill_ttft_predictions_total{{{MODEL}, within_p99="true"}}': growing(990),
        f'tidemill_ttft_predictions_total{{{MODEL}, within_p99="false"}}': growing(10),
        f"tidemill_engine_steps_total{{{MODEL}}}": growing(600),
        f"tidemill_step_prediction_error_ratio{{{MODEL}}}": steady(0.05),
        f"tidemill_energy_residual_ratio{{{MODEL}}}": steady(0.04),
        f"tidemill_ledger_entries_dropped_total{{{SERVER}}}": growing(0),
    }


@dataclass(frozen=True)
class Story:
    """What is other than healthy, and the alerts that fire at its end: each a name and a severity."""

    changes: Mapping[str, str]
    fires: frozenset[tuple[str, str]] = frozenset()
    without: frozenset[str] = field(default_factory=frozenset)
    minutes: int = MINUTES
    """When it ends. What is not among the changes of a longer one goes stale after `MINUTES`."""

    def series(self) -> dict[str, str]:
        """Everything that there is in it."""
        return {name: values for name, values in (healthy() | dict(self.changes)).items() if name not in self.without}

    def document(self) -> dict[str, object]:
        """One test of promtool's. Whatever fires beyond what is told fails it."""
        series = self.series()
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname, severity) (ALERTS{alertstate="firing"})',
                    "eval_time": f"{self.minutes}m",
                    "exp_samples": [
                        {"labels": f'{{alertname="{name}", severity="{severity}"}}', "value": 1}
                        for name, severity in sorted(self.fires)
                    ],
                }
            ],
        }


def both(name: str) -> frozenset[tuple[str, str]]:
    return frozenset({(name, PAGE), (name, TICKET)})


def ticket(name: str) -> frozenset[tuple[str, str]]:
    return frozenset({(name, TICKET)})


def _of_objective(objective: str, alert: str) -> dict[str, Story]:
    """Missing so much of 1,000 events a minute that the budget burns at given rates."""
    met, missed = outcomes(objective, "met"), outcomes(objective, "missed")

    def burning(rate: float) -> tuple[float, float]:
        bad = 1000.0 * rate * BUDGETS[objective]
        return 1000.0 - bad, bad

    fast, slow, fine = burning(16), burning(1.5), burning(0.5)
    hours = MINUTES - 40
    return {
        f"{objective} fast": Story({met: growing(fast[0]), missed: growing(fast[1])}, both(alert)),
        f"{objective} slow": Story({met: growing(slow[0]), missed: growing(slow[1])}, ticket(alert)),
        f"{objective} within its budget": Story({met: growing(fine[0]), missed: growing(fine[1])}),
        f"{objective} recovered": Story(
            {
                met: then((0, fast[0], hours), (fast[0] * hours, 1000, 41)),
                missed: then((0, fast[1], hours), (fast[1] * hours, 0, 41)),
            },
            ticket(alert),
        ),
        f"{objective} of too few": Story({met: growing(0), missed: then((0, 0, MINUTES - 30), (5, 0, 31))}),
    }


def stories() -> dict[str, Story]:
    """Every story, by what happens in it."""
    told = {"all is well": Story({})}
    burns = {"ttft": "TidemillTtftBurn", "tpot": "TidemillTpotBurn"}
    burns |= {"deadline": "TidemillDeadlineBurn", "errors": "TidemillErrorBurn"}
    for objective, alert in burns.items():
        told |= _of_objective(objective, alert)
    return told | _of_availability() | _of_new_servers() | _of_causes()


def _of_availability() -> dict[str, Story]:
    up, ready, stalled = f"up{{{SERVER}}}", seconds("ready"), seconds("stalled")
    alert = "TidemillAvailabilityBurn"
    gone = MINUTES - 10
    silent = {name: f"{values.split('x')[0]}x{gone} stale" for name, values in healthy().items() if name != up}
    back = MINUTES - 45
    long = 2 * MINUTES
    return {
        "available too little": Story({ready: growing(58), stalled: growing(2)}, both(alert)),
        # Of new servers nothing so small is told before the short window, of six hours, is past.
        "available a little too little": Story(
            {
                up: steady(1, long),
                f'tidemill_slo_budget_ratio{{{MODEL}, objective="availability"}}': steady(0.001, long),
                ready: growing(59.9, long),
                stalled: growing(0.1, long),
            },
            ticket(alert),
            minutes=long,
        ),
        "available enough": Story({ready: growing(59.98), stalled: growing(0.02)}),
        "silent for ten minutes": Story(
            {**silent, up: then((1, 0, gone), (0, 0, 11))},
            both(alert) | {("TidemillDown", PAGE)},
        ),
        "was silent for some minutes and is back": Story(
            {
                up: then((1, 0, back - 5), (0, 0, 5), (1, 0, 46)),
                ready: f"{then((0, 60, back - 5))} _x4 {then((0, 60, 46))}",
                stalled: f"{then((0, 0, back - 5))} _x4 {then((0, 0, 46))}",
            },
            ticket(alert),
        ),
        "a model that was renamed is not missed": Story(
            {
                seconds("ready").replace("tiny", "new"): growing(60),
                'tidemill_slo_budget_ratio{job="tidemill", instance="a:8000", model_name="new", '
                'objective="availability"}': steady(0.001),
                ready: f"0+60x{MINUTES - 60} stale",
                stalled: f"0+0x{MINUTES - 60} stale",
            }
        ),
    }


def _of_new_servers() -> dict[str, Story]:
    """A server nobody knew before, so many minutes after its first scrape: one of them it took to start.

    Each age is one at which the share of that minute is over the factor of another pair of windows.
    """
    up, starting = f"up{{{SERVER}}}", seconds("starting")

    def new(age: int) -> dict[str, str]:
        began = healthy() | {starting: f"0 {steady(60)}", seconds("ready"): f"0 {growing(60)}"}
        return {name: f"_x{MINUTES - age} {values}" for name, values in began.items()}

    told = {f"new for {age} minutes": Story(new(age)) for age in (3, 20, 60, 150)}
    told["asked before it was there"] = Story(new(8) | {up: then((0, 0, MINUTES - 8), (1, 0, 9))})
    hour = f"_x{MINUTES - 60}"
    told["new and not available"] = Story(
        new(60) | {seconds("ready"): f"{hour} 0+50x60", starting: f"{hour} 0+10x60"},
        frozenset({("TidemillAvailabilityBurn", PAGE)}),
    )
    return told


def _of_causes() -> dict[str, Story]:
    restarts = f"tidemill_engine_restarts_total{{{MODEL}}}"
    waiting, running = (f"vllm:num_requests_{place}{{{MODEL}}}" for place in ("waiting", "running"))
    usage = f"vllm:kv_cache_usage_perc{{{MODEL}}}"
    preempted = f"vllm:num_preemptions_total{{{MODEL}}}"
    refused, met = outcomes("errors", "refused"), outcomes("errors", "met")
    step = f"tidemill_step_prediction_error_ratio{{{MODEL}}}"
    steps = f"tidemill_engine_steps_total{{{MODEL}}}"
    late = f'tidemill_ttft_predictions_total{{{MODEL}, within_p99="false"}}'
    in_time = f'tidemill_ttft_predictions_total{{{MODEL}, within_p99="true"}}'
    residual = f"tidemill_energy_residual_ratio{{{MODEL}}}"
    dropped = f"tidemill_ledger_entries_dropped_total{{{SERVER}}}"
    now, calm = MINUTES - 5, MINUTES - 120
    return {
        "an engine died": Story({restarts: then((0, 0, now), (1, 0, 6))}, ticket("TidemillEngineRestarts")),
        "engines keep dying": Story(
            {restarts: then((0, 0, now - 20), (1, 0, 10), (2, 0, 10), (3, 0, 6))}, both("TidemillEngineRestarts")
        ),
        "an engine died two hours ago": Story({restarts: then((0, 0, calm), (1, 0, 121))}),
        "the cache is full": Story({usage: steady(0.99)}, ticket("TidemillKvCacheFull")),
        "the cache was full for a moment": Story({usage: f"{steady(0.99)[:-3]}{MINUTES - 2} 0.8 0.99"}),
        "much is preempted": Story({preempted: growing(300)}, ticket("TidemillPreemptions")),
        "a little is preempted": Story({preempted: growing(100)}),
        "the queue grows": Story({waiting: f"0+0.4x{MINUTES}"}, ticket("TidemillQueueGrows")),
        "the queue is nearly full": Story({waiting: steady(220)}, ticket("TidemillQueueGrows")),
        "the queue is short and seems to grow": Story({waiting: f"6+0.015x{MINUTES}"}),
        "few run and more wait than a full batch would leave": Story(
            {running: steady(8), waiting: steady(270)}, ticket("TidemillQueueGrows")
        ),
        "few run and many wait": Story({running: steady(8), waiting: steady(220)}),
        "the queue empties now and then": Story({waiting: " ".join(["0 5 9"] * (MINUTES // 3 + 1))}),
        "a tenth is refused": Story({refused: growing(100), met: growing(900)}, ticket("TidemillRefuses")),
        "half of little is refused": Story({refused: growing(1), met: growing(1)}, ticket("TidemillRefuses")),
        "a lone request is refused at night": Story({refused: then((0, 0, now - 8), (1, 0, 14)), met: growing(0.5)}),
        "a hundredth is refused": Story({refused: growing(10), met: growing(990)}),
        "steps are not as predicted": Story({step: steady(0.3)}, ticket("TidemillStepPredictionError")),
        "steps were not as predicted before there were none": Story(
            {step: steady(0.3), steps: then((0, 600, MINUTES - 40), (600 * (MINUTES - 40), 0, 41))}
        ),
        "steps were not as predicted for a moment": Story({step: then((0.05, 0, MINUTES - 5), (0.3, 0, 6))}),
        "first tokens are not as predicted": Story(
            {late: growing(200), in_time: growing(800)}, ticket("TidemillTtftPredictionError")
        ),
        "few first tokens are not as predicted": Story({late: growing(0.5), in_time: growing(0.5)}),
        "the meter disagrees": Story({residual: steady(0.2)}, ticket("TidemillEnergyResidual")),
        "the meter disagreed for a moment": Story({residual: then((0.04, 0, MINUTES - 5), (0.2, 0, 6))}),
        "the books lose entries": Story({dropped: then((0, 0, now), (7, 0, 6))}, ticket("TidemillLedgerDrops")),
        "the books lost entries long ago": Story({dropped: then((0, 0, calm), (7, 0, 121))}),
        "no books are kept": Story({}, without=frozenset({dropped, residual})),
    }
