"""The live display of `tidemill bench`: how far a run is and what its users get, on a terminal."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

if TYPE_CHECKING:
    from tidemill.bench.load import Load
    from tidemill.bench.record import RequestRecord

REFRESH_SECONDS = 0.5
"""Drawing costs milliseconds of the core that the server under test may need."""


class LiveDisplay:
    """Draws one run at a time. Finished runs of a search stay on the screen as one line each."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._drawing: asyncio.Task[None] | None = None
        self._view: _RunView | None = None

    def begin(self, title: str, load: "Load", num_requests: int | None, duration_seconds: float | None) -> None:
        """A run begins; `load` is looked at until `end`."""
        self._view = _RunView(title, load, num_requests, duration_seconds)
        load.watchers.append(self._view.add)
        self._drawing = asyncio.get_running_loop().create_task(self._draw(self._view))

    def end(self) -> None:
        """Leave the run's last line."""
        if self._drawing is not None:
            self._drawing.cancel()
        if self._view is not None:
            self._live.console.print(self._view.line())
            self._live.update(Text(""), refresh=True)

    async def _draw(self, view: "_RunView") -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            self._live.update(view.panel(), refresh=True)


class NoDisplay:
    """Shows nothing."""

    def begin(self, title: str, load: "Load", num_requests: int | None, duration_seconds: float | None) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class _RunView:
    """Running sums of one run, cheap to keep."""

    def __init__(self, title: str, load: "Load", num_requests: int | None, duration_seconds: float | None) -> None:
        self._title = title
        self._load = load
        self._num_requests = num_requests
        self._duration_seconds = duration_seconds
        self._began = asyncio.get_running_loop().time()
        self._num_done = self._num_failed = self._num_tokens = 0
        self._ttfts: list[float] = []
        self._tpots: list[float] = []

    def add(self, record: "RequestRecord") -> None:
        self._num_done += 1
        if not record.is_success:
            self._num_failed += 1
            return
        self._num_tokens += record.num_tokens
        for values, value in ((self._ttfts, record.ttft_seconds), (self._tpots, record.tpot_seconds)):
            if value is not None:
                values.append(value)

    def panel(self) -> Group:
        seconds = asyncio.get_running_loop().time() - self._began
        done = seconds / self._duration_seconds if self._duration_seconds else None
        if self._num_requests:
            done = max(done or 0.0, self._num_done / self._num_requests)
        bar = ProgressBar(total=1.0, completed=min(1.0, done or 0.0), width=40, pulse=done is None)
        return Group(self.line(), bar)

    def line(self) -> Text:
        seconds = max(1e-9, asyncio.get_running_loop().time() - self._began)
        of = f" of {self._num_requests}" if self._num_requests else ""
        parts = [f"{self._num_done}{of} requests", f"{self._load.num_in_flight} under way", f"{seconds:.0f} s"]
        parts.append(f"{self._num_tokens / seconds:.0f} output tokens/s")
        if self._ttfts:
            parts.append(f"TTFT {_median_ms(self._ttfts)}")
        if self._tpots:
            parts.append(f"TPOT {_median_ms(self._tpots)}")
        text = Text.assemble((f"{self._title}  ", "bold"), ", ".join(parts))
        if self._num_failed:
            text.append(f", {self._num_failed} failed", style="red")
        return text


def _median_ms(values: list[float]) -> str:
    # Of the latest ones: the display says how it is now, the report how it was.
    latest = sorted(values[-200:])
    return f"{latest[len(latest) // 2] * 1e3:.0f} ms"


@contextlib.contextmanager
def open_display(*, is_wanted: bool) -> Iterator[LiveDisplay | NoDisplay]:
    """A live display if it is wanted and standard error is a terminal."""
    console = Console(stderr=True)
    if not (is_wanted and console.is_terminal):
        yield NoDisplay()
        return
    with Live(Text("Looking at the server"), console=console, auto_refresh=False, transient=True) as live:
        yield LiveDisplay(live)
