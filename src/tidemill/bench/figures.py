"""The plots of a report, from records: distributions, throughput, the requests themselves, a search's curve."""

from collections.abc import Sequence

from tidemill.bench.percentiles import percentile
from tidemill.bench.plain import UNITS
from tidemill.bench.plot import Plot, Point
from tidemill.bench.record import RequestRecord
from tidemill.bench.search import SearchResult

_WIDE = (1000.0, 280.0)
MAX_POINTS = 400
MAX_BARS = 400


def cdf(name: str, values_ms: Sequence[float], bound_ms: float | None) -> str:
    """The share of values at or under x; the objective as a line. Up to half a percent may lie beyond the edge."""
    ordered = sorted(values_ms)
    edge = percentile(ordered, 0.995)
    right = ordered[-1] if ordered[-1] <= 2 * edge else edge
    left = 0.0 if ordered[0] < right * 0.5 else ordered[0] * 0.98
    if bound_ms is not None and bound_ms < 3 * right:
        right = max(right, bound_ms)
    plot = Plot(name, (left, right * 1.03), (0, 100), x_label=f"{name}, ms", y_label="% of values")
    last = len(ordered) - 1
    places = sorted({round(index * last / MAX_POINTS) for index in range(MAX_POINTS + 1)})
    points: list[Point] = [(ordered[0], 0.0)]
    points += [(ordered[place], 100.0 * (place + 1) / len(ordered)) for place in places]
    points.append((max(right * 1.03, ordered[-1]), 100.0))
    plot.line(points, "c1")
    for share in (0.5, 0.95):
        at = percentile(ordered, share)
        plot.dot((at, share * 100), "c1", f"p{share * 100:g}: {at:.1f} ms")
    if bound_ms is not None:
        plot.guide(x=bound_ms, label=f"objective {bound_ms:g} ms")
    return plot.svg()


def bucket_seconds(seconds: float) -> float:
    """Round widths of about a hundredth of the run."""
    return next((w for w in (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300) if seconds / w <= 120), 900)


def throughput(records: Sequence[RequestRecord], start: float, seconds: float) -> str:
    """Output tokens a second over time. A piece counts its request's tokens a piece."""
    width = bucket_seconds(seconds)
    counts = [0.0] * (int(seconds / width) + 1)
    for record in records:
        if record.piece_seconds:
            weight = record.num_tokens / len(record.piece_seconds)
            for moment in record.piece_seconds:
                counts[min(len(counts) - 1, max(0, int((moment - start) / width)))] += weight
    # The last bucket is not a whole one.
    spans = [width] * (len(counts) - 1) + [max(seconds - width * (len(counts) - 1), width * 0.25)]
    points: list[Point] = []
    for index, count in enumerate(counts):
        rate = count / spans[index]
        points += [(index * width, rate), (min(seconds, (index + 1) * width), rate)]
    top = max((y for _, y in points), default=1.0)
    plot = Plot(
        "Output tokens a second over time",
        (0, seconds),
        (0, top * 1.08),
        x_label="seconds",
        y_label="output tokens/s",
        size=_WIDE,
    )
    plot.area(points, "c1")
    plot.line(points, "c1")
    return plot.svg()


def in_flight(records: Sequence[RequestRecord], start: float, seconds: float) -> str:
    """Requests under way over time."""
    turns = sorted(
        [(r.sent_seconds - start, 1) for r in records if r.ended_seconds is not None]
        + [(r.ended_seconds - start, -1) for r in records if r.ended_seconds is not None]
    )
    now, points = 0, [(0.0, 0.0)]
    for moment, turn in turns:
        points += [(moment, float(now)), (moment, float(now + turn))]
        now += turn
    if len(points) > 8 * MAX_POINTS:
        points = points[:: len(points) // (4 * MAX_POINTS)]
    top = max(y for _, y in points)
    plot = Plot(
        "Requests under way over time",
        (0, seconds),
        (0, top * 1.08 or 1.0),
        x_label="seconds",
        y_label="requests",
        is_whole_y=True,
        size=_WIDE,
    )
    plot.line(points, "c2")
    return plot.svg()


def timeline(records: Sequence[RequestRecord], start: float, seconds: float) -> str:
    """Each request as a bar: waiting for its first token, then its answer. Evenly chosen ones if there are many."""
    stride = -(-len(records) // MAX_BARS)
    shown = list(records)[::stride]
    height = min(560.0, max(200.0, 60 + 3.2 * len(shown)))
    thick = max(0.8, min(8.0, (height - 60) / len(shown) * 0.8))
    plot = Plot(
        "Requests over time",
        (0, seconds),
        (len(records), 0) if not records else (0, len(records)),
        x_label="seconds",
        y_label="requests, in order of arrival",
        size=(_WIDE[0], height),
    )
    for place, record in enumerate(shown):
        if record.ended_seconds is None:
            continue
        y = place * stride + stride / 2
        begin, end = record.scheduled_seconds - start, record.ended_seconds - start
        if not record.is_success:
            plot.bar((begin, end), y, thick, "bad", f"request {record.index}: {record.error or 'cut short'}")
            continue
        first = record.piece_seconds[0] - start
        told = f"request {record.index}: TTFT {(first - begin) * 1e3:.0f} ms, {record.num_tokens} tokens"
        plot.bar((begin, first), y, thick, "wait", told)
        plot.bar((first, end), y, thick, "c1", told)
    return plot.svg()


def search_curve(found: SearchResult) -> str:
    """The share that met the objectives at each load, with its 95 % interval."""
    loads = [verdict.load for verdict in found.verdicts]
    unit = UNITS[found.what]
    plot = Plot(
        "Share of requests that met the objectives, by load",
        (0, max(loads) * 1.05),
        (0, 104),
        x_label=unit,
        y_label="% that met all",
        size=(_WIDE[0], 320.0),
    )
    plot.guide(y=found.target_ratio * 100, label=f"{found.target_ratio:.0%} wanted")
    if found.best is not None:
        plot.guide(x=found.best, label=f"{found.best:g} {unit}")
    plot.line([(v.load, v.met_ratio * 100) for v in found.verdicts], "c1")
    for v in found.verdicts:
        plot.line([(v.load, v.met_ratio_low * 100), (v.load, v.met_ratio_high * 100)], "whisker")
    for v in found.verdicts:
        told = f"{v.load:g} {unit}: {v.num_met} of {v.num_judged} ({v.met_ratio:.1%})"
        plot.dot((v.load, v.met_ratio * 100), "good" if v.is_passed else "bad", told)
    return plot.svg()
