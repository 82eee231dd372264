"""What a bench has found, complete: what was asked, of whom, on what machine, and every figure. Also as JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from tidemill import __version__
from tidemill.bench.config import BenchConfig
from tidemill.bench.own_cost import OwnCost
from tidemill.bench.record import RequestRecord
from tidemill.bench.search import SearchResult
from tidemill.bench.summary import Summary
from tidemill.bench.target import TargetFacts

SCHEMA = "tidemill-bench/1"


@dataclass(slots=True, kw_only=True)
class BenchResult:
    """One run or one search. `records` are those of the run, or of the search's best probe; `start` is their origin."""

    config: BenchConfig
    target: TargetFacts
    machine: dict[str, Any]
    started: str
    summary: Summary
    own_cost: OwnCost
    start_seconds: float
    records: Sequence[RequestRecord]
    search: SearchResult | None = None
    is_interrupted: bool = False
    warnings: list[str] = field(default_factory=list)


def to_json(result: BenchResult, *, with_records: bool) -> bytes:
    """The document; keys are stable within one `schema`. No key of an API is in it."""
    document = {
        "schema": SCHEMA,
        "tidemill": __version__,
        "started": result.started,
        "is_interrupted": result.is_interrupted,
        "config": _config(result.config),
        "target": asdict(result.target),
        "machine": result.machine,
        "summary": asdict(result.summary),
        "client": asdict(result.own_cost),
        "search": None if result.search is None else asdict(result.search),
        "warnings": result.warnings,
    }
    if with_records:
        document["requests"] = [_record(record, result.start_seconds) for record in result.records]
    return msgspec.json.format(msgspec.json.encode(_rounded(document)), indent=2) + b"\n"


def _config(config: BenchConfig) -> dict[str, Any]:
    shown = asdict(config)
    # The rows of a trace are data, not a setting.
    shown["request"]["num_trace_rows"] = len(shown["request"].pop("rows"))
    return {"kind": "closed" if hasattr(config.load, "users") else "open", **shown}


def _record(record: RequestRecord, start: float) -> dict[str, Any]:
    def since(moment: float | None) -> float | None:
        return None if moment is None else moment - start

    return {
        "index": record.index,
        "user": record.user,
        "scheduled_seconds": since(record.scheduled_seconds),
        "sent_seconds": since(record.sent_seconds),
        "piece_seconds": [moment - start for moment in record.piece_seconds],
        "ended_seconds": since(record.ended_seconds),
        "ttft_seconds": record.ttft_seconds,
        "tpot_seconds": record.tpot_seconds,
        "e2e_seconds": record.e2e_seconds,
        "num_prompt_tokens": record.num_prompt_tokens,
        "num_cached_tokens": record.num_cached_tokens,
        "num_output_tokens": record.num_output_tokens,
        "error": record.error,
        "detail": record.detail or None,
        "is_cancelled": record.is_cancelled,
    }


def _rounded(value: Any) -> Any:
    """Floats to six significant digits or microseconds, whichever is finer."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
