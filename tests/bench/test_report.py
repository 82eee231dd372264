"""The report: well-formed, complete without a network, and safe with names that servers choose."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.bench.records import record
from tidemill.bench.config import BenchConfig, RequestConfig
from tidemill.bench.dialect import Dialect
from tidemill.bench.lengths import Fixed
from tidemill.bench.load import ClosedLoop
from tidemill.bench.objectives import Objectives
from tidemill.bench.own_cost import OwnCost
from tidemill.bench.plain import to_text
from tidemill.bench.plot import Plot, nice_ticks
from tidemill.bench.record import RequestRecord
from tidemill.bench.report import to_html
from tidemill.bench.result import BenchResult
from tidemill.bench.search import LoadVerdict, SearchResult
from tidemill.bench.summary import summarize
from tidemill.bench.target import TargetFacts
from tidemill.bench.words import Calibration

VOID = {"meta", "br", "link", "img", "input"}


class Elements(HTMLParser):
    """Fails on a tag that is not closed in order; keeps every element and its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> Elements:
    elements = Elements()
    elements.feed(page)
    elements.close()
    assert elements.open == []
    return elements


def result_of(
    records: list[RequestRecord], *, model: str = "m", found: SearchResult | None = None, warning: str = "a warning"
) -> BenchResult:
    objectives = Objectives(ttft_seconds=0.6)
    request = RequestConfig(
        api="chat",
        model=None,
        temperature=0.0,
        ignore_eos=True,
        timeout_seconds=1.0,
        prompt_tokens=Fixed(1),
        output_tokens=Fixed(1),
        shared_prefix_ratio=0.0,
        seed=0,
    )
    return BenchResult(
        config=BenchConfig(
            url="http://127.0.0.1:1",
            request=request,
            load=ClosedLoop(2, 3),
            arrivals=None,
            objectives=objectives,
            search=None,
            num_warmup=0,
        ),
        target=TargetFacts(Dialect("chat", model, 0.0, ignores_eos=True), Calibration(1.0, 0.0), None, None, ()),
        machine={"cores": 2},
        started="2026-01-01T00:00:00+00:00",
        summary=summarize(records, objectives, seconds=4.0),
        own_cost=OwnCost(0.1, 0.025, 1.0, 2.0),
        start_seconds=0.0,
        records=records,
        search=found,
        warnings=[warning],
    )


RECORDS = [
    record(0.5, 0.6, 0.8, index=0),
    record(1.5, 1.9, 2.5, due=1.0, tokens=9, index=1),
    record(due=2.0, error="timeout", index=2),
]
VERDICTS = (LoadVerdict(1.0, 10, 10, 1.0, 0.7, 1.0, True), LoadVerdict(2.0, 5, 10, 0.5, 0.2, 0.8, False))
HALF = SearchResult(
    "rate", 0.95, 1.0, 2.0, 0.05, is_resolved=False, ended_by="it was stopped", verdicts=VERDICTS, probes=()
)
NOTHING = SearchResult(
    "users", 0.95, None, None, 0.05, is_resolved=False, ended_by="it was stopped", verdicts=(), probes=()
)


@pytest.mark.parametrize("records", [RECORDS, RECORDS * 700, RECORDS[2:], []])
@pytest.mark.parametrize("found", [None, HALF, NOTHING])
def test_a_page_needs_nothing_from_outside(records: list[RequestRecord], found: SearchResult | None) -> None:
    page = to_html(result_of(records, found=found))
    elements = parsed(page)
    assert {tag for tag, _ in elements.seen}.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "base"})
    attributes = {name for _, attrs in elements.seen for name in attrs}
    assert attributes.isdisjoint({"src", "href", "srcset", "action", "xlink:href", "onload", "style"})
    assert not re.search(r"@import|url\(", page)
    # The only address on it is text: the server's own.
    assert set(re.findall(r"https?://[^\s<,]+", page)) == {"http://127.0.0.1:1"}
    policy = [attrs for tag, attrs in elements.seen if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"] == "default-src 'none'; style-src 'unsafe-inline'"


HOSTILE = "m\x1b]0;owned\x07\x9b2J\u202e<b>"
"""Sets a title, clears the screen, turns the direction of writing, and would be bold on a page."""


def test_what_a_server_says_steers_neither_the_page_nor_the_terminal() -> None:
    failed = record(due=2.0, error="protocol", index=3)
    failed.detail = HOSTILE
    result = result_of([*RECORDS, failed], model=HOSTILE, warning=f"The server has 2 models; '{HOSTILE}' was taken.")
    result = replace(result, target=replace(result.target, server=HOSTILE))
    shown = "m\\x1b]0;owned\\x07\\x9b2J\\u202e<b>"
    page, text = to_html(result), to_text(result)
    assert "<b>m" not in page
    assert shown in parsed(page).text
    assert text.count(shown) == 3, "the model, the error and the warning"
    for document in (page, text):
        assert all(line.isprintable() for line in document.splitlines())


def test_a_page_shows_the_figures() -> None:
    page = parsed(
        to_html(
            result_of(
                RECORDS,
                found=SearchResult("rate", 0.95, 1.0, 2.0, 0.05, True, "nothing was left to probe", VERDICTS, ()),
            )
        )
    )
    plots = [attrs["aria-label"] for tag, attrs in page.seen if tag == "svg"]
    assert plots == [
        "Share of requests that met the objectives, by load",
        "Time to first token (TTFT)",
        "Time per output token (TPOT)",
        "Inter-token latency (ITL)",
        "End to end",
        "Output tokens a second over time",
        "Requests under way over time",
        "Requests over time",
    ]
    for shown in ("a warning", "3.0", "500 ms", "objective 600 ms", "request 2: timeout", "of 3 requests failed"):
        assert shown in page.text, shown


def test_names_from_a_server_are_text() -> None:
    evil = '<script src="http://evil.example/x.js">"\'&'
    page = parsed(to_html(result_of(RECORDS, model=evil, warning=evil)))
    assert "script" not in {tag for tag, _ in page.seen}
    assert page.text.count(evil) >= 2


def test_many_requests_keep_the_page_small() -> None:
    assert len(to_html(result_of(RECORDS * 5000))) < 300_000


def test_ticks_are_round_and_inside() -> None:
    assert nice_ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert nice_ticks(0, 0.37, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert nice_ticks(3, 3) == [3]


def test_a_plot_places_points_by_its_axes() -> None:
    plot = Plot("p", (0, 100), (0, 1), x_label="x", y_label="y", size=(172, 152))
    plot.line([(0, 0), (50, 0.5), (100, 1), (1000, 2)], "c1")
    # 100 pixels wide and high, from (58, 112) at the lower left; what lies beyond is drawn at the edge.
    assert "M58.0 112.0L108.0 62.0L158.0 12.0L158.0 12.0" in plot.svg()
