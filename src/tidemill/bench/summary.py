"""The figures of one run, computed from its records. Owns their definitions; how they are shown is elsewhere.

Times are in milliseconds here, as people read them. What each figure means is in `docs/bench.md`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.bench.objectives import Objectives
from tidemill.bench.percentiles import Distribution, distribution, share_interval
from tidemill.bench.record import RequestRecord

_MS = 1e3
MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Goodput:
    """Requests that met every objective. The interval is the 95 % one of the share; `missed` counts by objective."""

    objectives_ms: dict[str, float]
    num_met: int
    met_ratio: float
    met_ratio_low: float
    met_ratio_high: float
    requests_per_second: float
    missed: dict[str, int]


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of the requests that succeeded."""

    total: int
    mean: float
    min: int
    max: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One run. Latencies and tokens are of requests that succeeded; rates are over `seconds`, first send to last end.

    `send_lag_ms` is how much later than scheduled requests were sent (open loop only).
    """

    seconds: float
    num_requests: int
    num_succeeded: int
    num_failed: int
    num_cancelled: int
    errors: dict[str, int]
    error_examples: dict[str, str]
    requests_per_second: float
    prompt_tokens_per_second: float
    output_tokens_per_second: float
    total_tokens_per_second: float
    prompt_tokens: TokenCounts | None
    output_tokens: TokenCounts | None
    cached_tokens_ratio: float | None
    tokens_per_piece: float | None
    ttft_ms: Distribution | None
    tpot_ms: Distribution | None
    itl_ms: Distribution | None
    e2e_ms: Distribution | None
    send_lag_ms: Distribution | None
    peak_in_flight: int
    goodput: Goodput | None


def summarize(
    records: Sequence[RequestRecord], objectives: Objectives, *, seconds: float, is_open: bool = False
) -> Summary:
    """The figures of `records`, which took `seconds` together."""
    good = [record for record in records if record.is_success]
    failed = [record for record in records if record.error is not None]
    prompt = [record.num_prompt_tokens for record in good if record.num_prompt_tokens is not None]
    output = [record.num_tokens for record in good]
    num_pieces = sum(len(record.piece_seconds) for record in good)
    per_second = (lambda count: count / seconds) if seconds > 0 else (lambda _: 0.0)
    return Summary(
        seconds=seconds,
        num_requests=len(records),
        num_succeeded=len(good),
        num_failed=len(failed),
        num_cancelled=sum(record.is_cancelled for record in records),
        errors=dict(Counter(record.error for record in failed if record.error is not None).most_common()),
        error_examples=_examples(failed),
        requests_per_second=per_second(len(good)),
        prompt_tokens_per_second=per_second(sum(prompt)),
        output_tokens_per_second=per_second(sum(output)),
        total_tokens_per_second=per_second(sum(prompt) + sum(output)),
        prompt_tokens=_counts(prompt),
        output_tokens=_counts(output),
        cached_tokens_ratio=_cached_ratio(good),
        tokens_per_piece=sum(output) / num_pieces if num_pieces else None,
        ttft_ms=distribution([t for r in good if (t := r.ttft_seconds) is not None], scale=_MS),
        tpot_ms=distribution([t for r in good if (t := r.tpot_seconds) is not None], scale=_MS),
        itl_ms=distribution([gap for r in good for gap in r.itl_seconds], scale=_MS),
        e2e_ms=distribution([t for r in good if (t := r.e2e_seconds) is not None], scale=_MS),
        send_lag_ms=distribution([r.sent_seconds - r.scheduled_seconds for r in records], scale=_MS)
        if is_open
        else None,
        peak_in_flight=peak_in_flight(records),
        goodput=goodput(records, objectives, seconds=seconds) if objectives.any else None,
    )


def goodput(records: Sequence[RequestRecord], objectives: Objectives, *, seconds: float) -> Goodput:
    """How many of the requests met every objective. A failed request met none; a cancelled one is not judged."""
    judged = [record for record in records if not record.is_cancelled]
    misses = [objectives.missed(record) for record in judged]
    num_met = sum(not missed for missed in misses)
    low, high = share_interval(num_met, len(judged))
    return Goodput(
        objectives_ms={name: bound * _MS for name, bound in objectives.bounds().items() if bound is not None},
        num_met=num_met,
        met_ratio=num_met / len(judged) if judged else 0.0,
        met_ratio_low=low,
        met_ratio_high=high,
        requests_per_second=num_met / seconds if seconds > 0 else 0.0,
        missed=dict(Counter(name for missed in misses for name in missed).most_common()),
    )


def peak_in_flight(records: Sequence[RequestRecord]) -> int:
    """The most requests that were under way at one time."""
    # At one moment an end counts before a start: the next request of a user follows the one before.
    turns = sorted(
        [(r.ended_seconds, -1) for r in records if r.ended_seconds is not None]
        + [(r.sent_seconds, 1) for r in records if r.ended_seconds is not None]
    )
    now = peak = 0
    for _, turn in turns:
        now += turn
        peak = max(peak, now)
    return peak


def _examples(failed: Sequence[RequestRecord]) -> dict[str, str]:
    examples: dict[str, str] = {}
    for record in failed:
        if record.error is not None and record.error not in examples and len(examples) < MAX_EXAMPLES:
            examples[record.error] = record.detail
    return examples


def _counts(tokens: Sequence[int]) -> TokenCounts | None:
    return TokenCounts(sum(tokens), sum(tokens) / len(tokens), min(tokens), max(tokens)) if tokens else None


def _cached_ratio(good: Sequence[RequestRecord]) -> float | None:
    told = [r for r in good if r.num_cached_tokens is not None and r.num_prompt_tokens]
    num_prompt = sum(r.num_prompt_tokens or 0 for r in told)
    return sum(r.num_cached_tokens or 0 for r in told) / num_prompt if num_prompt else None
