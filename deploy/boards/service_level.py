"""The board of the service level: is the promise kept, and how much of what may fail is left?"""

from deploy.boards.choice import CHOSEN, SERVER, VARIABLES, chosen, latencies, rates
from deploy.burn_rates import ADMITTED, BAD, BUDGET, OBJECTIVES, OFFERED
from deploy.grafana_board import Board, Panel, Query, Threshold
from deploy.promql import quotient, selector

_BUDGET_STEPS = (Threshold(None, "red"), Threshold(0.0, "orange"), Threshold(0.25, "green"))
_PROMISED = Query(
    f"1 - max by (objective) ({chosen(BUDGET, objective='~ttft|tpot|deadline|errors')})",
    "promised {{objective}}",
    is_limit=True,
)


def board() -> Board:
    """The board."""
    left = tuple(
        Panel(
            f"Budget left: {objective.label}",
            f"Of what may fail in 30 days, objective {objective.label}; below 0 the promise is broken.",
            "percentunit",
            [Query(_budget_left(objective.label), objective.label)],
            kind="stat",
            thresholds=_BUDGET_STEPS,
            width=4,
            height=4,
            least=None,
            most=1.0,
        )
        for objective in OBJECTIVES
    )
    up = Panel(
        "Servers that answer",
        "Of those that Prometheus asks.",
        "none",
        [Query(f"sum({selector('up', job='tidemill', **SERVER)})", "up")],
        kind="stat",
        thresholds=(Threshold(None, "red"), Threshold(1.0, "green")),
        width=4,
        height=4,
    )
    burn = Panel(
        "Burn rate, last hour",
        "Times as fast as the budget may burn; 1 uses up in 30 days exactly what there is. Pages begin at 6 and 14.4.",
        "none",
        [Query(f"{chosen(BAD + '1h')} / {chosen(BUDGET)}", "{{objective}} {{instance}}")],
        thresholds=(Threshold(None, "transparent"), Threshold(6.0, "orange"), Threshold(14.4, "red")),
    )
    return Board(
        "service-level",
        "Tidemill: service level",
        says="What was promised, what was kept, and what went wrong instead.",
        variables=VARIABLES,
        rows={
            "The promise": (*left, up),
            "Kept": (
                Panel(
                    "Attainment, of what was admitted",
                    "met / (met + missed), by objective, over 5 minutes.",
                    "percentunit",
                    [Query(chosen(ADMITTED), "{{objective}} {{instance}}"), _PROMISED],
                    most=1.0,
                ),
                Panel(
                    "Attainment, of what was offered",
                    "met / (met + missed + refused): requests refused for want of capacity count as not kept.",
                    "percentunit",
                    [Query(chosen(OFFERED), "{{objective}} {{instance}}"), _PROMISED],
                    most=1.0,
                ),
                burn,
                Panel(
                    "Not available",
                    "Share of the last 5 minutes in which no request was taken.",
                    "percentunit",
                    [Query(chosen(BAD + "5m", objective="availability"), "{{instance}}")],
                    most=1.0,
                ),
            ),
            "Latency": (
                latencies("Time to the first token", "From arrival.", "vllm:time_to_first_token_seconds", "ttft"),
                # OpenTelemetry's label has the name that was asked for, of which a model may have several.
                latencies(
                    "Time per output token",
                    "Mean of each answer, after its first token.",
                    "gen_ai_server_time_per_output_token_seconds",
                    "tpot",
                    by_model=False,
                ),
                latencies("From one token to the next", "Each gap.", "vllm:inter_token_latency_seconds"),
                latencies(
                    "Duration of requests",
                    "From arrival to the last token.",
                    "gen_ai_server_request_duration_seconds",
                    by_model=False,
                ),
            ),
            "Requests": (
                Panel(
                    "Sequences that ended",
                    "By reason: abort is a client that left.",
                    "reqps",
                    [Query(rates("vllm:request_success_total", "finished_reason"), "{{finished_reason}}")],
                    is_stacked=True,
                ),
                Panel(
                    "Refused before the engine took them",
                    "By class of error: what each is, docs/operate/metrics.md says.",
                    "reqps",
                    [Query(rates("tidemill_request_refusals_total", "error"), "{{error}}")],
                    is_stacked=True,
                ),
                Panel(
                    "Failed after the engine took them",
                    "By class of error; SlowReaderError is the client's own doing.",
                    "reqps",
                    [Query(rates("tidemill_request_failures_total", "error"), "{{error}}")],
                    is_stacked=True,
                ),
                Panel(
                    "State of the service",
                    "1 for the state it is in; requests are taken in ready only.",
                    "none",
                    [Query(chosen("tidemill_engine_state"), "{{state}} {{instance}}")],
                    most=1.0,
                ),
            ),
        },
    )


def _budget_left(objective: str) -> str:
    allowed = f"max({chosen(BUDGET, objective=objective)})"
    if objective == "availability":
        # As the alerts have it: a server that did not answer was not available.
        bad = selector(BAD + "5m", "30d", **CHOSEN, objective=objective)
        return f"1 - avg(avg_over_time({bad})) / {allowed}"
    counted = {
        outcome: selector("tidemill_slo_outcomes_total", "30d", **CHOSEN, objective=objective, outcome=outcome)
        for outcome in ("missed", "~met|missed")
    }
    missed, both = (f"sum(increase({chosen}))" for chosen in counted.values())
    return f"1 - {quotient(missed, both)} / {allowed}"
