"""`tidemill ledger`: what answers took, from the books: today or the last days, by key, model or day."""

import csv
import datetime as dt
import enum
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tidemill.cli.flags import GivenFlags, with_settings
from tidemill.config.leaves import leaves
from tidemill.core.errors import ConfigurationError, InvalidRequestError
from tidemill.ledger.report import Line, Report, read_report

HELP = """
Show what answers took: joules, water, carbon and money.

The books are kept by `tidemill serve`. A day begins at local midnight; the meter's and the idle time's figures come
in whole hours. Figures whose method is 'model' are estimates.

[bold]Examples[/bold]

  tidemill ledger

  tidemill ledger --days 30 --by day

  tidemill ledger --by model --json
"""


_FOR_READING = ("ledger_path", "currency")
_NOT_FOR_READING = tuple(leaf.name for leaf in leaves() if leaf.section == "ledger" and leaf.name not in _FOR_READING)


class By(enum.Enum):
    """What requests are grouped by."""

    KEY = "key"
    MODEL = "model"
    DAY = "day"


@with_settings(("ledger",), without=_NOT_FOR_READING)
def ledger(
    given: GivenFlags,
    by: Annotated[By, typer.Option("--by", help="Group requests by key, model or day.")] = By.KEY,
    days: Annotated[int, typer.Option("--days", min=1, max=36_500, help="So many days, the last of them today.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output, all digits.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="The groups as comma-separated values, all digits.")] = False,
) -> None:
    """Show what answers took."""
    if as_json and as_csv:
        raise InvalidRequestError("--json and --csv are two forms of one output.", next_step="Choose one of them.")
    settings = given.settings(None).ledger
    from tidemill.runtime.bookkeeping import ledger_path

    path = ledger_path(settings)
    if path is None:
        raise ConfigurationError("There is no place for books.", next_step="Name their file with --ledger-path.")
    report = _read(path, days, by)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
    elif as_csv:
        _write_csv(report)
    else:
        from tidemill.cli.ledger_display import show

        show(report, settings.currency)


def _read(path: Path, days: int, by: By) -> Report:
    now = dt.datetime.now().astimezone()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since = midnight - dt.timedelta(days=days - 1)
    return read_report(path, since=since.timestamp(), until=now.timestamp() + 1.0, by=by.value)


def _write_csv(report: Report) -> None:
    fields = [field.name for field in msgspec.structs.fields(Line)]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([getattr(line, name) for name in fields] for line in report.lines)
