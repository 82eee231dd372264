"""A result as lines of plain text, for a terminal or a log."""

from collections.abc import Iterator

from tidemill.bench.load import ClosedLoop
from tidemill.bench.percentiles import Distribution
from tidemill.bench.result import BenchResult
from tidemill.bench.search import SearchResult
from tidemill.bench.summary import Goodput, Summary
from tidemill.core.printable import printable

UNITS = {"rate": "requests a second", "users": "users"}


def to_text(result: BenchResult) -> str:
    """The figures that matter, aligned; ends with a newline. What a server says in it steers no terminal."""
    lines = [*_heading(result), ""]
    if result.search is not None:
        lines += [
            *_search(result.search),
            "",
            f"All of the run at {_shown_load(result.search)}, with its beginning, which was not judged:",
        ]
    lines += _counts(result.summary)
    lines += ["", *_latencies(result.summary)]
    if result.summary.goodput is not None:
        lines += ["", *_goodput(result.summary.goodput)]
    lines += ["", _client(result)]
    lines += [f"Note: {warning}" for warning in result.warnings]
    if result.is_interrupted:
        lines.append("Note: interrupted; these are the figures up to then.")
    return "".join(f"{printable(line)}\n" for line in lines)


def describe_load(result: BenchResult) -> str:
    """The load in a few words."""
    config = result.config
    if config.search is not None:
        return f"a search for the most {UNITS[config.search.what]}"
    if isinstance(config.load, ClosedLoop):
        users = config.load.users
        return f"closed loop, {users} user{'s' if users > 1 else ''}"
    if config.arrivals is None:
        return "open loop, times of the trace"
    return f"open loop, {config.arrivals.rate:g} requests a second ({config.arrivals.kind})"


def _heading(result: BenchResult) -> Iterator[str]:
    dialect = result.target.dialect
    yield f"{dialect.model} at {result.config.url} ({dialect.api}): {describe_load(result)}"


def _counts(summary: Summary) -> Iterator[str]:
    failed = f", {summary.num_failed} failed" if summary.num_failed else ""
    cancelled = f", {summary.num_cancelled} cut short" if summary.num_cancelled else ""
    yield (
        f"  {'Requests':<12} {summary.num_succeeded} of {summary.num_requests} succeeded{failed}{cancelled} "
        f"in {summary.seconds:.1f} s, {summary.requests_per_second:.2f}/s, at most {summary.peak_in_flight} at once"
    )
    for name, count in summary.errors.items():
        example = summary.error_examples.get(name, "")
        yield f"  {'Errors':<12} {count} x {name}{': ' if example else ''}{example}"
    if summary.prompt_tokens is not None:
        cached = f", {summary.cached_tokens_ratio:.0%} cached" if summary.cached_tokens_ratio else ""
        yield (
            f"  {'Tokens in':<12} {summary.prompt_tokens.mean:.0f} a request{cached}, "
            f"{summary.prompt_tokens_per_second:.1f}/s"
        )
    if summary.output_tokens is not None:
        yield (
            f"  {'Tokens out':<12} {summary.output_tokens.mean:.0f} a request, {summary.output_tokens_per_second:.1f}/s"
        )


def _latencies(summary: Summary) -> Iterator[str]:
    yield f"  {'ms':<12}" + "".join(f"{name:>10}" for name in ("mean", "p50", "p90", "p95", "p99", "max"))
    for name, values in (
        ("TTFT", summary.ttft_ms),
        ("TPOT", summary.tpot_ms),
        ("ITL", summary.itl_ms),
        ("end to end", summary.e2e_ms),
        ("sent late", summary.send_lag_ms),
    ):
        if values is not None:
            yield f"  {name:<12}" + "".join(f"{value:>10.1f}" for value in _columns(values))


def _columns(values: Distribution) -> tuple[float, ...]:
    return values.mean, values.p50, values.p90, values.p95, values.p99, values.max


def _goodput(goodput: Goodput) -> Iterator[str]:
    bounds = ", ".join(f"{name} {bound:g} ms" for name, bound in goodput.objectives_ms.items())
    yield (
        f"  {'Goodput':<12} {goodput.requests_per_second:.2f}/s: {goodput.met_ratio:.1%} "
        f"({goodput.met_ratio_low:.1%} to {goodput.met_ratio_high:.1%}) met {bounds}"
    )
    if goodput.missed:
        yield f"  {'Missed':<12} " + ", ".join(f"{name} {count} x" for name, count in goodput.missed.items())


def _search(found: SearchResult) -> Iterator[str]:
    unit = UNITS[found.what]
    for verdict in found.verdicts:
        yield (
            f"  {verdict.load:>8g} {unit:<18} {verdict.met_ratio:>6.1%} of {verdict.num_judged:<5} "
            f"({verdict.met_ratio_low:.1%} to {verdict.met_ratio_high:.1%})  {'pass' if verdict.is_passed else 'fail'}"
        )
    yield ""
    if found.best is None:
        yield f"  At no load tried did {found.target_ratio:.0%} of requests meet the objectives."
        return
    above = "nothing higher was tried" if found.lowest_failed is None else f"{found.lowest_failed:g} failed"
    yield f"  Highest with {found.target_ratio:.0%} within the objectives: {found.best:g} {unit} ({above})"
    if not found.is_resolved:
        yield f"  The search ended before its resolution was reached: {found.ended_by}."


def _shown_load(found: SearchResult) -> str:
    load = found.best if found.best is not None else min((v.load for v in found.verdicts), default=0.0)
    return f"{load:g} {UNITS[found.what]}"


def _client(result: BenchResult) -> str:
    cost = result.own_cost
    return (
        f"  {'This client':<12} {cost.cpu_cores:.1%} of a core, late by {cost.loop_lag_p99_ms:.1f} ms (p99), "
        f"{cost.loop_lag_max_ms:.1f} (max)"
    )
