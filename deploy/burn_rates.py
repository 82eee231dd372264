"""What is recorded of each objective, and the alerts on how fast its budget burns.

Multi-window, multi-burn-rate alerts as in Google's Site Reliability Workbook, chapter 5, "Alerting on SLOs" (table 5-8
and the alert after it): a budget of thirty days burns at rate 1 if it lasts exactly that long; an alert fires while
both a long window and one a twelfth as long burn faster than the factor. The short one lets it end soon.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.promql import JOB, MODEL, OBJECTIVE, increase, quotient, rate, selector, total
from deploy.rule import Rule

BAD = "tidemill:slo_bad:ratio_rate"
EVENTS = "tidemill:slo_events:increase"
BUDGET = "tidemill:slo_budget:ratio"
ADMITTED = "tidemill:slo_attainment_admitted:ratio_rate5m"
OFFERED = "tidemill:slo_attainment_offered:ratio_rate5m"
LEAST_EVENTS = 10
"""Fewer in the long window say too little: one unlucky request at night is no reason to wake anybody."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective of `[slo]`: the value of its label, and what its alert is called and says."""

    label: str
    alert: str
    broken: str
    is_of_time: bool = False
    """Whether what it counts is time, not events."""


OBJECTIVES = (
    Objective("ttft", "TidemillTtftBurn", "first tokens come later than promised"),
    Objective("tpot", "TidemillTpotBurn", "tokens follow each other more slowly than promised"),
    Objective("deadline", "TidemillDeadlineBurn", "answers end later than their requests asked for"),
    Objective("errors", "TidemillErrorBurn", "requests fail"),
    Objective("availability", "TidemillAvailabilityBurn", "requests are not taken", is_of_time=True),
)


@dataclass(frozen=True, slots=True)
class BurnWindow:
    """A pair of windows, and the burn rate over which both must be."""

    severity: str
    factor: float
    long: str
    short: str
    known: str = ""
    """How long ago a server's promise must have been known already, for its availability to be judged. The short window
    and five minutes: so the minutes in which a new server loads its model for the first time count in no alert. Empty
    asks for nothing."""


BURN_WINDOWS = (
    BurnWindow("page", 14.4, "1h", "5m", known="10m"),
    BurnWindow("page", 6.0, "6h", "30m", known="35m"),
    BurnWindow("ticket", 3.0, "1d", "2h", known="2h5m"),
    BurnWindow("ticket", 1.0, "3d", "6h", known="6h5m"),
)
"""2 % of the budget in an hour, 5 % in six, 10 % in a day, and 10 % in three."""


def recorded(windows: Sequence[BurnWindow] = BURN_WINDOWS, budget_window: str = "3d") -> tuple[Rule, ...]:
    """The share of what was bad, by objective and window, the number of events, and the budget."""
    budget = selector("tidemill_slo_budget_ratio", budget_window)
    rules = [
        # Kept for a while after the server is gone: what it had promised is what its silence is judged by.
        Rule(BUDGET, f"max by ({OBJECTIVE}) (last_over_time({budget}))"),
        Rule(ADMITTED, quotient(_outcomes("5m", "met"), _outcomes("5m", "~met|missed"))),
        Rule(OFFERED, quotient(_outcomes("5m", "met"), _outcomes("5m", "~met|missed|refused"))),
    ]
    for window in dict.fromkeys(w for pair in windows for w in (pair.short, pair.long)):
        bad = quotient(_outcomes(window, "missed"), _outcomes(window, "~met|missed"))
        rules.append(Rule(BAD + window, bad))
        rules.append(Rule(BAD + window, f"1 - (\n{_available(window)}\n)", labels={"objective": "availability"}))
    for window in dict.fromkeys(pair.long for pair in windows):
        counted = increase("tidemill_slo_outcomes_total", window, outcome="~met|missed")
        rules.append(Rule(EVENTS + window, total(counted, OBJECTIVE)))
    return tuple(rules)


def burn_alerts(windows: Sequence[BurnWindow] = BURN_WINDOWS) -> tuple[Rule, ...]:
    """An alert for each objective and severity. What it says of the runbook is added with that of the others."""
    return tuple(
        Rule(
            objective.alert,
            "\nor\n".join(_burning(objective, w) for w in windows if w.severity == severity),
            is_alert=True,
            labels={"severity": severity},
            annotations={
                "summary": f"{{{{ $labels.instance }}}}: {objective.broken}",
                "description": "{{ $value | humanizePercentage }} were bad of late: the budget of the objective "
                f"{objective.label} burns {_factors(windows, severity)} times as fast as it may, or faster.",
            },
        )
        for objective in OBJECTIVES
        for severity in dict.fromkeys(w.severity for w in windows)
    )


def _outcomes(window: str, outcome: str) -> str:
    return total(rate("tidemill_slo_outcomes_total", window, outcome=outcome), OBJECTIVE)


def _available(window: str) -> str:
    """The share of the time in which requests were taken: as the server counted it, while the server answered at all.

    A server that has been silent for the whole window was not available, as long as it is asked and its promise known.
    """
    ready = total(rate("tidemill_service_seconds_total", window, state="ready"), MODEL)
    whole = total(rate("tidemill_service_seconds_total", window), MODEL)
    promised = total(selector(BUDGET, objective="availability"), MODEL)
    up = selector("up", job=JOB)
    return (
        f"{quotient(ready, whole)}\n"
        f"* on (job, instance) group_left () avg_over_time({selector('up', window, job=JOB)})\n"
        f"or 0 * {promised} and on (job, instance) {up} == 0"
    )


def _burning(objective: Objective, window: BurnWindow) -> str:
    label = objective.label
    limit = f"{window.factor:g} * {selector(BUDGET, objective=label)}"
    parts = [f"{selector(BAD + length, objective=label)} > {limit}" for length in (window.long, window.short)]
    if objective.is_of_time and window.known:
        parts.append(f"{selector(BUDGET, objective=label)} offset {window.known}")
    if not objective.is_of_time:
        parts.append(f"{selector(EVENTS + window.long, objective=label)} >= {LEAST_EVENTS}")
    return "(" + "\n  and ".join(parts) + ")"


def _factors(windows: Sequence[BurnWindow], severity: str) -> str:
    return f"{min(w.factor for w in windows if w.severity == severity):g}"
