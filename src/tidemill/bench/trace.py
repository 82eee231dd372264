"""A recorded trace of arrivals and lengths, as CSV. Owns its reading and its scaling.

Columns: a time (TIMESTAMP as date and time, or seconds), ContextTokens, GeneratedTokens, as in the Azure LLM inference
traces (Splitwise, ISCA 2024).
"""

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tidemill.core.errors import ConfigurationError

MAX_ROWS = 5_000_000
_COLUMNS = {
    "seconds": ("timestamp", "seconds", "time", "arrived_at"),
    "prompt": ("contexttokens", "prompt_tokens", "input_tokens", "num_prefill_tokens"),
    "output": ("generatedtokens", "output_tokens", "num_decode_tokens"),
}


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One recorded request: seconds since the first one, and its lengths."""

    offset_seconds: float
    num_prompt_tokens: int
    num_output_tokens: int


def read_trace(path: Path) -> tuple[TraceRow, ...]:
    """The rows in order of arrival. Raises `ConfigurationError` if the file is not such a trace."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            places = _places(path, next(reader, []))
            rows = [_row(path, number, places, row) for number, row in enumerate(reader, 2) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"The trace {path} cannot be read: {error}.") from error
    if not 1 <= len(rows) <= MAX_ROWS:
        raise ConfigurationError(f"The trace {path} has {len(rows)} rows; from 1 to {MAX_ROWS} are expected.")
    rows.sort()
    return tuple(TraceRow(seconds - rows[0][0], prompt, output) for seconds, prompt, output in rows)


def scale_trace(rows: tuple[TraceRow, ...], *, rate_scale: float, length_scale: float) -> tuple[TraceRow, ...]:
    """`rate_scale` times as many requests a second, `length_scale` times as long (at least one token)."""
    return tuple(
        TraceRow(
            row.offset_seconds / rate_scale,
            max(1, round(row.num_prompt_tokens * length_scale)),
            max(1, round(row.num_output_tokens * length_scale)),
        )
        for row in rows
    )


def _places(path: Path, header: list[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    places = {
        key: next((names.index(name) for name in accepted if name in names), None) for key, accepted in _COLUMNS.items()
    }
    found = {key: place for key, place in places.items() if place is not None}
    if len(found) < len(places):
        raise ConfigurationError(
            f"The trace {path} has the columns {', '.join(header) or '(none)'}.",
            next_step="It needs TIMESTAMP (or seconds), ContextTokens and GeneratedTokens.",
        )
    return found


def _row(path: Path, number: int, places: dict[str, int], row: list[str]) -> tuple[float, int, int]:
    try:
        return _seconds(row[places["seconds"]]), max(1, int(row[places["prompt"]])), max(1, int(row[places["output"]]))
    except (ValueError, IndexError) as error:
        raise ConfigurationError(f"Line {number} of the trace {path} cannot be read: {','.join(row)[:100]}.") from error


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        # Seven digits of a second are in Azure's traces; `fromisoformat` takes six.
        return datetime.fromisoformat(text.strip()[:26] + "+00:00").timestamp()
