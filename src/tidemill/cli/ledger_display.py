"""The books at a terminal: where the joules went, as bars, and a line a group."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidemill.ledger.report import Report, Total

_BAR_CELLS = 30
_JOULES_PER_WH = 3600.0


def show(report: Report, currency: str, console: Console | None = None) -> None:
    """Print `report`."""
    out = console or Console()
    total = report.total
    if not total.meter_joules and not report.lines:
        out.print("Nothing is in the books for this time.")
        return
    methods = " and ".join(total.methods) or "unknown"
    estimate = " (a model of this machine, not a measurement)" if "model" in total.methods else ""
    out.print(f"Energy of {_energy(total.meter_joules)} by method {methods}{estimate}", highlight=False)
    out.print(_bars(total))
    out.print(_groups(report, currency))
    out.print(_closing(total, currency), highlight=False)


def _bars(total: Total) -> Table:
    parts = (
        ("finished answers", total.requests_joules),
        ("aborted", total.waste_aborted_joules),
        ("failed", total.waste_failed_joules),
        ("computed again", total.waste_recomputed_joules),
        ("idle", total.idle_joules),
    )
    whole = max(total.meter_joules, sum(joules for _, joules in parts)) or 1.0
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, joules in parts:
        share = max(0.0, joules / whole)
        bar = Text("█" * round(share * _BAR_CELLS), style="dim" if name == "idle" else "green")
        table.add_row(name, bar, Text(_energy(joules), justify="right"), Text(f"{share:.1%}", justify="right"))
    return table


def _groups(report: Report, currency: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(report.by.capitalize())
    for title in ("Requests", "Tokens out", "Energy", "A request", "Water ml", "g CO2e", currency):
        table.add_column(title, justify="right")
    for line in report.lines:
        joules = line.requests_joules + line.waste_joules
        water = (line.water_onsite_liters + line.water_offsite_liters) * 1000.0
        carbon = line.operational_grams_co2e + line.embodied_grams_co2e
        table.add_row(
            Text(line.group),
            f"{line.num_requests:,}",
            f"{line.num_output_tokens:,}",
            _energy(joules),
            _energy(joules / line.num_requests),
            _figure(water),
            _figure(carbon),
            _figure(line.cost) if line.cost else "-",
        )
    return table


def _closing(total: Total, currency: str) -> str:
    water = total.water_onsite_liters + total.water_offsite_liters
    carbon = total.operational_grams_co2e + total.embodied_grams_co2e
    words = [f"All of it, idle time too: {_figure(water)} l of water, {_figure(carbon)} g CO2e"]
    if total.cost:
        words.append(f"{_figure(total.cost)} {currency}")
    if total.avoided_joules:
        words.append(f"prefix hits avoided {_energy(total.avoided_joules)}")
    if total.residual_ratio is not None:
        words.append(f"the model of steps was off by {total.residual_ratio:.1%}")
    return "; ".join(words) + "."


def _energy(joules: float) -> str:
    if joules < _JOULES_PER_WH:
        return f"{_figure(joules)} J"
    wh = joules / _JOULES_PER_WH
    return f"{_figure(wh)} Wh" if wh < 1000.0 else f"{_figure(wh / 1000.0)} kWh"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:.3g}"
