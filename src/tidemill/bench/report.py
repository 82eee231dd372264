"""A result as one HTML file that needs no network and runs no script. Owns the page; plots are in `figures.py`."""

import html
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from tidemill import __version__
from tidemill.bench import figures
from tidemill.bench.percentiles import Distribution
from tidemill.bench.plain import UNITS, describe_load
from tidemill.bench.report_style import STYLE
from tidemill.bench.result import BenchResult
from tidemill.bench.search import SearchResult
from tidemill.core.printable import printable

_NAMES = {
    "ttft": "Time to first token (TTFT)",
    "tpot": "Time per output token (TPOT)",
    "itl": "Inter-token latency (ITL)",
    "e2e": "End to end",
}


def to_html(result: BenchResult) -> str:
    """The whole page."""
    dialect = result.target.dialect
    title = f"{dialect.model}: {describe_load(result)}"
    # The policy forbids a browser to load anything at all: the page is complete, and shows that it is.
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_shown(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{_shown(dialect.model)}</h1>"
        f'<p class="soft">{_shown(describe_load(result))}, {_shown(dialect.api)} at {_shown(result.config.url)}, '
        f"{_shown(result.started)}</p>{''.join(_body(result))}</main></body></html>\n"
    )


def _shown(text: str) -> str:
    """`text`, which may be the server's, as text of a page."""
    return html.escape(printable(text))


def _body(result: BenchResult) -> Iterator[str]:
    yield from (f'<p class="warning">{_shown(warning)}</p>' for warning in _warnings(result))
    yield _cards(result)
    if result.search is not None:
        yield _search(result.search)
    yield "<h2>Latencies</h2>" + _table(result)
    yield from _distributions(result)
    seconds = result.summary.seconds
    if result.records and seconds > 0:
        args = (result.records, result.start_seconds, seconds)
        yield "<h2>Over time</h2>"
        yield _figure(figures.throughput(*args), "Output tokens a second, as they arrived.")
        yield _figure(figures.in_flight(*args), "Requests sent and not yet ended.")
        yield _figure(
            figures.timeline(*args), "Requests: light, waiting for the first token; dark, the answer; red, failed."
        )
    yield _facts(result)


def _warnings(result: BenchResult) -> list[str]:
    extra = ["This run was interrupted: the figures are those up to then."] if result.is_interrupted else []
    return [*result.warnings, *extra]


def _cards(result: BenchResult) -> str:
    summary, found = result.summary, result.search
    cards = []
    if found is not None:
        cards.append(
            ("none" if found.best is None else f"{found.best:g}", f"{UNITS[found.what]} within the objectives")
        )
    cards.append((f"{summary.output_tokens_per_second:.1f}", "output tokens/s"))
    cards.append((f"{summary.requests_per_second:.2f}", "requests/s"))
    if summary.goodput is not None and found is None:
        cards.append((f"{summary.goodput.requests_per_second:.2f}", "goodput, requests/s"))
        cards.append((f"{summary.goodput.met_ratio:.1%}", "met every objective"))
    if summary.ttft_ms is not None:
        cards.append((f"{summary.ttft_ms.p50:.0f} ms", "TTFT, median"))
    if summary.tpot_ms is not None:
        cards.append((f"{summary.tpot_ms.p50:.1f} ms", "TPOT, median"))
    cards.append((f"{summary.num_failed}", f"of {summary.num_requests} requests failed"))
    shown = (f'<div class="card"><b>{_shown(value)}</b><span>{_shown(what)}</span></div>' for value, what in cards)
    return f'<div class="cards">{"".join(shown)}</div>'


def _search(found: SearchResult) -> str:
    unit = UNITS[found.what]
    if found.best is None:
        said = f"At no load tried did {found.target_ratio:.0%} of requests meet the objectives."
    else:
        above = "nothing higher was tried" if found.lowest_failed is None else f"{found.lowest_failed:g} did not"
        said = (
            f"{found.best:g} {unit} had at least {found.target_ratio:.0%} of requests within the objectives; {above}."
        )
    if not found.is_resolved:
        said += f" The search ended before its resolution was reached: {found.ended_by}."
    curve = figures.search_curve(found) if found.verdicts else ""
    caption = (
        "Each load's share, all probes of it together, and its 95 % interval. Below: the best load, beginning included."
    )
    return f"<h2>Search</h2><p>{_shown(said)}</p>" + _figure(curve, caption)


def _table(result: BenchResult) -> str:
    summary = result.summary
    rows = {
        "TTFT": summary.ttft_ms,
        "TPOT": summary.tpot_ms,
        "ITL": summary.itl_ms,
        "End to end": summary.e2e_ms,
        "Sent late": summary.send_lag_ms,
    }
    head = "".join(f"<th>{name}</th>" for name in ("ms", "mean", "min", "p50", "p90", "p95", "p99", "max", "values"))
    body = "".join(_row(name, values) for name, values in rows.items() if values is not None)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _row(name: str, values: Distribution) -> str:
    shown = (values.mean, values.min, values.p50, values.p90, values.p95, values.p99, values.max)
    cells = "".join(f"<td>{value:.1f}</td>" for value in shown)
    return f"<tr><td>{name}</td>{cells}<td>{values.count}</td></tr>"


def _distributions(result: BenchResult) -> Iterator[str]:
    good = [record for record in result.records if record.is_success]
    bounds = result.summary.goodput.objectives_ms if result.summary.goodput else {}
    values = {
        "ttft": [t * 1e3 for r in good if (t := r.ttft_seconds) is not None],
        "tpot": [t * 1e3 for r in good if (t := r.tpot_seconds) is not None],
        "itl": [gap * 1e3 for r in good for gap in r.itl_seconds],
        "e2e": [t * 1e3 for r in good if (t := r.e2e_seconds) is not None],
    }
    yield '<div class="pair">'
    for key, found in values.items():
        if found:
            yield _figure(figures.cdf(_NAMES[key], found, bounds.get(key)), "")
    yield "</div>"


def _figure(svg: str, caption: str) -> str:
    said = f"<figcaption>{_shown(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg}{said}</figure>"


def _facts(result: BenchResult) -> str:
    shown = asdict(result.config)
    shown["request"]["rows"] = len(result.config.request.rows)
    facts = {
        "Requested": shown,
        "Server": asdict(result.target),
        "Machine of the client": result.machine,
        "Cost of measuring": asdict(result.own_cost),
        "Errors": result.summary.errors,
    }
    parts = []
    for title, values in facts.items():
        rows = "".join(
            f"<tr><td>{_shown(key)}</td><td>{_shown(value)}</td></tr>"
            for key, value in _flat(values)
            if value != "None"
        )
        parts.append(
            f'<details><summary>{title}</summary><table class="facts">{rows}</table></details>' if rows else ""
        )
    return f'<h2>Facts</h2>{"".join(parts)}<p class="soft">Made by tidemill bench {__version__}.</p>'


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            yield from _flat(value, f"{name}, ")
        elif value not in ((), []):
            yield name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
