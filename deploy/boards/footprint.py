"""The board of the footprint: joules, water, carbon and money, by key, and what was for nothing."""

from deploy.boards.choice import SERVER, VARIABLES, WINDOW, chosen, rates
from deploy.grafana_board import Board, Panel, Query, Threshold
from deploy.promql import quotient, selector


def board() -> Board:
    """The board."""
    by_kind = [
        ("requests", rates("tidemill_energy_requests_joules_total")),
        ("waste", rates("tidemill_energy_waste_joules_total")),
        ("idle", rates("tidemill_energy_idle_joules_total")),
    ]
    tokens, answers = rates("vllm:generation_tokens_total"), rates("vllm:request_success_total")
    joules = rates("tidemill_energy_requests_joules_total")

    def impact(title: str, says: str, unit: str, *names: str, factor: str = "* 3600") -> Panel:
        queries = []
        for part in ("requests", "waste", "idle"):
            summed = " + ".join(rates(f"{name.format(part)}_total") for name in names)
            queries.append(Query(f"({summed}) {factor}", part))
        return Panel(title, says, unit, queries, is_stacked=True)

    return Board(
        "footprint",
        "Tidemill: footprint",
        says="What it takes. A meter of the method `model` is no measurement.",
        variables=VARIABLES,
        rows={
            "Energy": (
                Panel(
                    "Power of the meter",
                    "By method: nvml, rapl, or model, which is no measurement.",
                    "watt",
                    [Query(rates("tidemill_energy_meter_joules_total", "method"), "{{method}}")],
                ),
                Panel(
                    "Where it goes",
                    "Answers, waste and idle; what is missing to the meter is still under way.",
                    "watt",
                    [Query(expr, legend) for legend, expr in by_kind],
                    is_stacked=True,
                ),
                Panel(
                    "Joules a generated token",
                    "Energy of finished answers over tokens generated.",
                    "joule",
                    [Query(quotient(joules, tokens), "a token")],
                ),
                Panel(
                    "Joules an answer",
                    "Energy of finished answers over sequences that ended.",
                    "joule",
                    [Query(quotient(joules, answers), "an answer")],
                ),
                Panel(
                    "By key",
                    "Energy of finished answers; `(other)` is all keys beyond max_metric_keys: the books have each.",
                    "watt",
                    [Query(rates("tidemill_energy_requests_joules_total", "key"), "{{key}}")],
                    is_stacked=True,
                ),
                Panel(
                    "For nothing",
                    "Aborted, failed, or computed again after a preemption.",
                    "watt",
                    [Query(rates("tidemill_energy_waste_joules_total", "kind"), "{{kind}}")],
                    is_stacked=True,
                ),
                Panel(
                    "Avoided by the prefix cache",
                    "What hits have saved, by the energy model.",
                    "watt",
                    [Query(rates("tidemill_energy_avoided_joules_total"), "avoided")],
                ),
                Panel(
                    "Under way",
                    "Joules of requests that have not ended.",
                    "joule",
                    [Query(chosen("tidemill_energy_open_joules"), "{{instance}}")],
                ),
            ),
            "What it means": (
                impact(
                    "Water",
                    "Liters an hour, evaporated on site and consumed by power stations.",
                    "litre",
                    "tidemill_water_onsite_{}_liters",
                    "tidemill_water_offsite_{}_liters",
                ),
                impact(
                    "Carbon",
                    "Grams CO2e an hour, of the electricity and of making the machine.",
                    "massg",
                    "tidemill_carbon_operational_{}_grams",
                    "tidemill_carbon_embodied_{}_grams",
                ),
                impact("Money", "An hour, in the currency of the settings.", "none", "tidemill_cost_{}"),
            ),
            "The books": (
                Panel(
                    "Residual",
                    "Model against meter, before shares are scaled to it; at most 5 % is the aim.",
                    "percentunit",
                    [Query(chosen("tidemill_energy_residual_ratio"), "{{instance}}")],
                    thresholds=(Threshold(None, "transparent"), Threshold(0.1, "red")),
                ),
                Panel(
                    "Entries",
                    "Written to the store, and what could not be.",
                    "none",
                    [
                        Query(_store("tidemill_ledger_entries_written_total"), "written/s"),
                        Query(_store("tidemill_ledger_entries_dropped_total"), "dropped/s"),
                        Query(_store("tidemill_ledger_failed_writes_total"), "failed attempts/s"),
                    ],
                ),
            ),
        },
    )


def _store(name: str) -> str:
    return f"sum(rate({selector(name, WINDOW, **SERVER)}))"
