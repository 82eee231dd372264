"""The books read again: sums over a span of time, by key, model or day. Owns the questions, not how answers look."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from tidemill.core.errors import ConfigurationError
from tidemill.ledger.schema import check_known

Grouping = Literal["key", "model", "day"]
_GROUPS: dict[Grouping, str] = {
    "key": "key",
    "model": "model",
    "day": "date(ended_unix_seconds, 'unixepoch', 'localtime')",
}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What requests of one group took. Water, carbon and money are of all of its joules, waste included."""

    group: str
    num_requests: int
    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    requests_joules: float
    waste_joules: float
    avoided_joules: float
    water_onsite_liters: float
    water_offsite_liters: float
    operational_grams_co2e: float
    embodied_grams_co2e: float
    cost: float


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """The whole machine over the span: `meter_joules` is requests, waste and idle, and what is still under way.

    `methods` says how the joules are known. Water, carbon and money are of requests, waste and idle.
    """

    methods: tuple[str, ...]
    meter_joules: float
    requests_joules: float
    waste_aborted_joules: float
    waste_failed_joules: float
    waste_recomputed_joules: float
    idle_joules: float
    residual_ratio: float | None
    avoided_joules: float
    num_requests: int
    num_output_tokens: int
    water_onsite_liters: float
    water_offsite_liters: float
    operational_grams_co2e: float
    embodied_grams_co2e: float
    cost: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a span of time, [since, until) in Unix seconds."""

    since_unix_seconds: float
    until_unix_seconds: float
    by: Grouping
    lines: tuple[Line, ...]
    total: Total


def read_report(path: Path, *, since: float, until: float, by: Grouping) -> Report:
    """What the books at `path` say of [since, until). Hours count as a whole, from the one that `since` lies in.

    Raises `ConfigurationError` if there are no books, or they cannot be read.
    """
    with _reading(path) as connection:
        lines = tuple(_lines(connection, since, until, by))
        total = _total(connection, since, until)
    return Report(since_unix_seconds=since, until_unix_seconds=until, by=by, lines=lines, total=total)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise ConfigurationError(
            f"There are no books at {path}.",
            next_step="They are kept by `tidemill serve` once it has served; --ledger-path names another place.",
        )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            _check_version(connection, path)
            connection.row_factory = sqlite3.Row
            yield connection
    except sqlite3.Error as error:
        raise ConfigurationError(f"The books at {path} cannot be read: {error}.") from error


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        raise ConfigurationError(
            f"The books at {path} are empty.", next_step="Serve some requests first, or name the right --ledger-path."
        )
    check_known(version)


_IMPACTS = (*("water_onsite_liters", "water_offsite_liters", "operational_grams_co2e", "embodied_grams_co2e", "cost"),)


def _sums(*names: str) -> str:
    return ", ".join(f"total({name}) AS {name}" for name in names)


def _lines(connection: sqlite3.Connection, since: float, until: float, by: Grouping) -> Iterator[Line]:
    waste = "waste_aborted_joules + waste_failed_joules + waste_recomputed_joules"
    question = (
        f"SELECT {_GROUPS[by]} AS 'group', count(*) AS num_requests, "  # noqa: S608 - every part is a constant above
        "sum(num_prompt_tokens) AS num_prompt_tokens, sum(num_cached_tokens) AS num_cached_tokens, "
        f"sum(num_output_tokens) AS num_output_tokens, total({waste}) AS waste_joules, "
        f"{_sums('requests_joules', 'avoided_joules', *_IMPACTS)} FROM requests "
        "WHERE ended_unix_seconds >= ? AND ended_unix_seconds < ? GROUP BY 1 ORDER BY 1"
    )
    for row in connection.execute(question, (since, until)):
        yield msgspec.convert(dict(row), Line)


def _total(connection: sqlite3.Connection, since: float, until: float) -> Total:
    waste = ("waste_aborted_joules", "waste_failed_joules", "waste_recomputed_joules")
    requests = connection.execute(
        "SELECT count(*) AS num_requests, coalesce(sum(num_output_tokens), 0) AS num_output_tokens, "  # noqa: S608
        f"{_sums('requests_joules', 'avoided_joules', *waste, *_IMPACTS)} FROM requests "
        "WHERE ended_unix_seconds >= ? AND ended_unix_seconds < ?",
        (since, until),
    ).fetchone()
    idle = [f"idle_{name}" for name in _IMPACTS]
    first_hour = since // 3600 * 3600
    hours = connection.execute(
        f"SELECT {_sums('meter_joules', 'idle_joules', 'residual_joules', 'modelled_joules', *idle)} FROM hours "  # noqa: S608
        "WHERE hour_unix_seconds >= ? AND hour_unix_seconds < ?",
        (first_hour, until),
    ).fetchone()
    methods = connection.execute(
        "SELECT DISTINCT method FROM hours WHERE hour_unix_seconds >= ? AND hour_unix_seconds < ? ORDER BY 1",
        (first_hour, until),
    )
    modelled = hours["modelled_joules"]
    figures = dict(requests) | {
        "methods": [row["method"] for row in methods],
        "meter_joules": hours["meter_joules"],
        "idle_joules": hours["idle_joules"],
        "residual_ratio": hours["residual_joules"] / modelled if modelled else None,
        **{name: requests[name] + hours[f"idle_{name}"] for name in _IMPACTS},
    }
    return msgspec.convert(figures, Total)
