"""Draws what Grafana's boards show of a real run: a server under load, a real Prometheus, the panels' own expressions.

    python -m benchmarks.board_pictures --out docs/figures

The run: two minutes of light load, a minute of more than the server can carry (refusals), towards its end the engine
is killed, and a minute after it. Prometheus scrapes every second with the rules that are installed; rates are over
15 s.
"""

import argparse
import asyncio
import json
import math
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.open_loop import Client, words_of
from benchmarks.svg import COLOURS, Canvas
from deploy import generate
from deploy.boards import engine, footprint, service_level
from deploy.grafana_board import Board, Panel, Query
from tests.fakes.live_server import LiveServer, live_server
from tests.fakes.prometheus import Prometheus, prometheus

STEP_SECONDS = 2
COLUMNS, PANEL_WIDTH, PLOT_HEIGHT, GAP = 2, 356.0, 96.0, 16.0
MOST_NAMES = 8
LIMIT, DASHES = "#c0392b", ("6 4", "2 3", "12 4", "12 3 2 3")
ALIKE_RATIO = 0.01
"""Of a panel's height: lines that are nowhere further apart than this hide each other, and share one name."""
_SUFFIX = {"s": "s", "percentunit": "%", "watt": "W", "joule": "J", "bytes": "B", "litre": "l/h", "massg": "g/h"}
_SUFFIX |= {"reqps": "/s", "ops": "/s"}
Series = list[tuple[float, float]]


@dataclass
class Seen:
    """What a panel shows over a run of `length` seconds: its series by name, and which of them are limits."""

    length: float
    told: dict[str, Series] = field(default_factory=dict)
    limits: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Drawn:
    """A line, or an area of a stack, and what the legend says of it. Only limits are dashed."""

    name: str
    points: Series
    colour: str
    dash: str = ""


async def story(server: LiveServer) -> None:
    """What happens to the server. The second minute asks what the first one did: the prefix cache knows it."""
    prompts, answers = (20, 200), (16, 48)
    for _ in range(2):
        await Client(server, "minnow", words_of("minnow"), seed=7).poisson(3.0, 60, prompts, answers)
    later = Client(server, "minnow", words_of("minnow"), seed=8)
    crowd = asyncio.create_task(later.poisson(140.0, 60, prompts, answers))
    await asyncio.sleep(50)
    os.kill(server.engine_pid(), signal.SIGKILL)
    await crowd
    await later.poisson(3.0, 60, prompts, answers)


def series_of(real: Prometheus, query: Query, start: float, end: float) -> dict[str, Series]:
    """The series of a panel's query over the run, by how the legend calls them; seconds from the start."""
    expression = query.expr.replace("$__rate_interval", "15s").replace("$model", ".*").replace("$instance", ".*")
    found = real.get("query_range", query=expression, start=f"{start:.3f}", end=f"{end:.3f}", step=str(STEP_SECONDS))[
        "result"
    ]
    told = {}
    for series in found:
        name = query.legend
        for label, value in series["metric"].items():
            name = name.replace(f"{{{{{label}}}}}", "" if label == "instance" else value)
        points = [(at - start, float(value)) for at, value in series["values"]]
        told[name.strip(" ,") or panel_name(query)] = [point for point in points if math.isfinite(point[1])]
    return told


def panel_name(query: Query) -> str:
    """What a single series is called: here is one server only."""
    return "limit" if query.is_limit else "this server"


def shown(value: float, unit: str) -> str:
    """A figure with its unit."""
    if unit == "percentunit":
        return f"{100 * value:,.0f} %" if abs(value) >= 10 else f"{100 * value:.3g} %"
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}{_SUFFIX.get(unit, '')}"
    return f"{value:.3g} {_SUFFIX.get(unit, '')}".strip()


def to_draw(panel: Panel, seen: Seen) -> list[Drawn]:
    """What a panel shows, the largest first, each with a look of its own: no line is hidden by one of another name."""
    told = {name: points for name, points in seen.told.items() if points}
    if panel.is_stacked:
        told = {name: points for name, points in told.items() if any(value for _, value in points)}
    busiest = sorted(told, key=lambda name: (name in seen.limits, -sum(value for _, value in told[name])))
    told = {name: told[name] for name in busiest[:MOST_NAMES]}
    if panel.is_stacked:
        return [Drawn(name, points, COLOURS[i]) for i, (name, points) in enumerate(stack(told).items())]
    values = [value for points in told.values() for _, value in points]
    near = ALIKE_RATIO * (max([*values, 0.0]) - min([*values, 0.0]))
    lines = alike({name: points for name, points in told.items() if name not in seen.limits}, near)
    limits = alike({name: points for name, points in told.items() if name in seen.limits}, near)
    drawn = [Drawn(", ".join(group), told[group[0]], COLOURS[i]) for i, group in enumerate(lines)]
    for group, dash in zip(limits, DASHES, strict=False):
        told_at = shown(told[group[0]][-1][1], panel.unit)
        drawn.append(Drawn(f"{', '.join(group)}: {told_at}", told[group[0]], LIMIT, dash))
    return drawn


def alike(told: dict[str, Series], near: float) -> list[list[str]]:
    """The names in groups whose lines are nowhere further than `near` from the group's first."""
    groups: list[list[str]] = []
    for name, points in told.items():
        found = next((g for g in groups if _are_near(told[g[0]], points, near)), None)
        if found is None:
            groups.append([name])
        else:
            found.append(name)
    return groups


def _are_near(one: Series, other: Series, near: float) -> bool:
    return [at for at, _ in one] == [at for at, _ in other] and all(
        abs(a - b) <= near for (_, a), (_, b) in zip(one, other, strict=True)
    )


def draw_panel(canvas: Canvas, panel: Panel, seen: Seen, x: float, y: float) -> None:
    """One panel with its upper left corner at (x, y): lines, or the last figure."""
    canvas.text(x, y + 12, panel.title, size=12, weight="600")
    top = y + 22
    if panel.kind == "stat":
        last = [f"{name}: {shown(points[-1][1], panel.unit)}" for name, points in seen.told.items() if points]
        for index, line in enumerate(last or ["nothing to show"]):
            canvas.text(x, top + 22 + 16 * index, line, size=12)
        return
    drawn = to_draw(panel, seen)
    values = [value for each in drawn for _, value in each.points]
    highest, lowest = max([*values, 0.0]) or 1.0, min([*values, 0.0])
    left, width = x + 46, PANEL_WIDTH - 52
    for share in (0.0, 0.5, 1.0):
        at = top + PLOT_HEIGHT * (1 - share)
        canvas.line([(left, at), (left + width, at)], "#d5dce0")
        canvas.text(left - 4, at + 4, shown(lowest + share * (highest - lowest), panel.unit), size=9, anchor="end")
    for minute in range(int(seen.length // 60) + 1):
        across = left + width * 60 * minute / seen.length
        canvas.text(across, top + PLOT_HEIGHT + 12, f"{minute}", size=9, anchor="middle")
    # From the top of a stack to its bottom, so that what is lower lies over what reaches down behind it; limits last.
    for each in reversed(drawn) if panel.is_stacked else drawn:
        for stretch in stretches(each.points):
            path = [
                (left + width * at / seen.length, top + PLOT_HEIGHT * (1 - (value - lowest) / (highest - lowest)))
                for at, value in stretch
            ]
            if panel.is_stacked:
                canvas.area(path, top + PLOT_HEIGHT, each.colour)
            else:
                canvas.line(path, each.colour, 1.4, each.dash)
    names(canvas, x, top + PLOT_HEIGHT + 26, drawn)


def names(canvas: Canvas, x: float, y: float, drawn: Sequence[Drawn]) -> None:
    """The legend, in rows as wide as the panel: a square for a colour, a dashed line for a limit."""
    if not drawn:
        canvas.text(x, y, "nothing to show", size=9)
    at = x
    for each in drawn:
        width = 26 + 5.4 * len(each.name)
        if at + width > x + PANEL_WIDTH and at > x:
            at, y = x, y + 13
        if each.dash:
            canvas.line([(at, y - 3), (at + 16, y - 3)], each.colour, 1.4, each.dash)
        else:
            canvas.rect(at + 4, y - 8, 8, 8, each.colour)
        canvas.text(at + 19, y, each.name, size=9)
        at += width


def stretches(points: Series) -> list[Series]:
    """The points in pieces without a gap: where there was nothing, no line is drawn."""
    pieces: list[Series] = []
    for point in points:
        if pieces and point[0] - pieces[-1][-1][0] <= 1.5 * STEP_SECONDS:
            pieces[-1].append(point)
        else:
            pieces.append([point])
    return [piece for piece in pieces if len(piece) > 1]


def stack(told: dict[str, Series]) -> dict[str, Series]:
    """Each series on top of those before it."""
    below: dict[float, float] = {}
    stacked = {}
    for name, points in told.items():
        for at, value in points:
            below[at] = below.get(at, 0.0) + value
        stacked[name] = [(at, below[at]) for at, _ in points]
    return stacked


def draw(board: Board, real: Prometheus, start: float, end: float) -> str:
    """The board as a picture."""
    row_height = 22 + PLOT_HEIGHT + 52
    rows = math.ceil(len([p for p in board.panels if p.kind != "stat"]) / COLUMNS)
    stats = [p for p in board.panels if p.kind == "stat"]
    stat_rows = math.ceil(len(stats) / COLUMNS)
    canvas = Canvas(
        70 + rows * (row_height + GAP) + stat_rows * 64, f"{board.title}: a run of {(end - start) / 60:.0f} minutes"
    )
    canvas.text(16, 44, "Across: minutes. The panels' own expressions, asked of the Prometheus of the run.", size=11)
    y = 62.0
    for index, panel in enumerate([*stats, *(p for p in board.panels if p.kind != "stat")]):
        is_stat = index < len(stats)
        place = index if is_stat else index - len(stats)
        seen = Seen(end - start)
        for query in panel.queries:
            mine = series_of(real, query, start, end)
            seen.told |= mine
            seen.limits |= set(mine) if query.is_limit else set()
        row = place // COLUMNS * 64 if is_stat else stat_rows * 64 + place // COLUMNS * (row_height + GAP)
        x = 16 + place % COLUMNS * (PANEL_WIDTH + GAP)
        draw_panel(canvas, panel, seen, x, y + row)
    return canvas.svg()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rules = {path.name: path.read_text() for path in (generate.HERE / "prometheus").glob("*.rules.yml")}
    flags = ("--slo-profile", "relaxed")
    with tempfile.TemporaryDirectory() as folder:
        books = ("--ledger-path", f"{folder}/ledger.sqlite", "--electricity-price-per-kwh", "0.3")
        with live_server(*flags, *books) as server, prometheus(Path(folder), server.port, rules) as real:
            real.poll("up == 1")
            start = time.time()
            uvloop.run(story(server))
            end = time.time()
            for board in (service_level.board(), engine.board(), footprint.board()):
                (options.out / f"board-{board.uid}.svg").write_text(draw(board, real, start, end))
            print(json.dumps(events(real)))


def events(real: Prometheus) -> dict[str, Any]:
    """Which alerts were pending or firing at the end."""
    return {a["labels"]["alertname"]: a["state"] for a in real.get("alerts")["alerts"]}


if __name__ == "__main__":
    main()
