"""Plots as SVG, drawn by hand: bars in groups, stacked bars, and lines on logarithmic axes. No library, no script."""

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#1f6f8b", "#e08e45", "#7a9e7e", "#b0506a", "#8a7fb5", "#c9b458", "#5f6b73", "#4d9de0", "#8c5a3c", "#b4bcc2")
INK, FAINT, PAPER = "#22303a", "#d5dce0", "#ffffff"
WIDTH = 760


class Canvas:
    """Collects shapes; (0, 0) is the upper left corner."""

    def __init__(self, height: float, title: str) -> None:
        self._height = height
        self._title = title
        self._shapes: list[str] = []
        self.text(16, 24, title, size=15, weight="600")

    def rect(self, x: float, y: float, width: float, height: float, colour: str, tip: str = "") -> None:
        """A filled rectangle; `tip` is shown where the mouse is."""
        title = f"<title>{escape(tip)}</title>" if tip else ""
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" fill="{colour}">'
            f"{title}</rect>"
        )

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1.0, dash: str = "") -> None:
        """A line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>')

    def area(self, points: Sequence[tuple[float, float]], base: float, colour: str) -> None:
        """What is between a line and the height `base`."""
        closed = [(points[0][0], base), *points, (points[-1][0], base)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in closed)
        self._shapes.append(f'<polygon points="{path}" fill="{colour}"/>')

    def dot(self, x: float, y: float, colour: str, tip: str) -> None:
        """A point."""
        self._shapes.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"><title>{escape(tip)}</title></circle>'
        )

    def text(
        self, x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "400"
    ) -> None:
        """A line of text; (x, y) is on its base line."""
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{INK}">{escape(text)}</text>'
        )

    def svg(self) -> str:
        """The whole picture."""
        shapes = "\n".join(self._shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._height:.0f}" role="img" '
            f'aria-label="{escape(self._title)}" font-family="system-ui, sans-serif">\n'
            f'<rect width="100%" height="100%" fill="{PAPER}"/>\n{shapes}\n</svg>\n'
        )


def legend(canvas: Canvas, names: Sequence[str], y: float) -> float:
    """Names with their colours, in rows; returns the y below them."""
    x = 16.0
    for index, name in enumerate(names):
        width = 22 + 6.6 * len(name)
        if x + width > WIDTH - 16:
            x, y = 16.0, y + 18
        canvas.rect(x, y - 9, 10, 10, COLOURS[index % len(COLOURS)])
        canvas.text(x + 15, y, name, size=11)
        x += width + 8
    return y + 16


Groups = Mapping[str, Mapping[str, float]]


def bars(title: str, groups: Groups, *, unit: str, line_at: float | None = None) -> str:
    """Horizontal bars in groups, every group on a scale of its own unless a line is drawn at a value."""
    return panels(title, {"": groups}, unit=unit, line_at=line_at)


def panels(title: str, parts: Mapping[str, Groups], *, unit: str, line_at: float | None = None) -> str:
    """`bars` one below the other, each under its heading; a name has one colour in all of them."""
    everything = [rows for groups in parts.values() for rows in groups.values()]
    names = list(dict.fromkeys(name for rows in everything for name in rows))
    legend_rows = 1 + sum(len(n) for n in names) // 90
    height = 70 + 18 * legend_rows + sum(16 * len(rows) + 24 for rows in everything) + 30 * sum(map(bool, parts))
    canvas = Canvas(height, title)
    y = legend(canvas, names, 48) + 8
    overall = max([value for rows in everything for value in rows.values()] + [line_at or 0.0])
    for heading, groups in parts.items():
        if heading:
            canvas.text(16, y + 14, heading, size=13, weight="600")
            canvas.line([(16, y + 21), (WIDTH - 16, y + 21)], FAINT)
            y += 30
        for group, rows in groups.items():
            largest = overall if line_at is not None else max(rows.values(), default=1.0) or 1.0
            y = _group(canvas, group, rows, names, y, largest=largest, unit=unit, line_at=line_at)
    return canvas.svg()


def _group(
    canvas: Canvas,
    group: str,
    rows: Mapping[str, float],
    names: Sequence[str],
    y: float,
    *,
    largest: float,
    unit: str,
    line_at: float | None,
) -> float:
    """The bars of one group from `y` on; returns the y below them."""
    left, right = 230.0, WIDTH - 110.0
    canvas.text(left - 12, y + 8 * len(rows) + 4, group, anchor="end")
    for name, value in rows.items():
        width = value / largest * (right - left)
        canvas.rect(left, y, width, 13, COLOURS[names.index(name) % len(COLOURS)], f"{group}, {name}: {value:g}")
        canvas.text(left + width + 6, y + 11, f"{value:.3g} {unit}".strip(), size=11)
        y += 16
    if line_at is not None:
        x = left + line_at / largest * (right - left)
        canvas.line([(x, y - 16 * len(rows) - 6), (x, y + 6)], INK, 1.0, "4 3")
    return y + 24


def stacked(title: str, rows: Groups, *, unit: str) -> str:
    """One bar a row, made of its parts, all on one scale; parts that no colour is left for are one at the end."""
    rows, names = _with_others(rows)
    legend_rows = 1 + sum(len(n) + 4 for n in names) // 90
    canvas = Canvas(90 + 18 * legend_rows + 40 * len(rows), title)
    y = legend(canvas, names, 48) + 8
    left, right = 230.0, WIDTH - 90.0
    largest = max(sum(parts.values()) for parts in rows.values())
    for row, parts in rows.items():
        canvas.text(left - 12, y + 16, row, anchor="end")
        x = left
        for name, value in parts.items():
            width = value / largest * (right - left)
            canvas.rect(x, y, width, 24, COLOURS[names.index(name)], f"{name}: {value:.3g} {unit}")
            x += width
        canvas.text(x + 6, y + 16, f"{sum(parts.values()):.3g} {unit}", size=11)
        y += 40
    return canvas.svg()


def _with_others(rows: Groups) -> tuple[Groups, list[str]]:
    """The rows with as many parts as there are colours, in one order, the smallest summed up; and the parts' names."""
    names = list(dict.fromkeys(name for parts in rows.values() for name in parts))
    by_size = sorted(names, key=lambda name: -max(parts.get(name, 0.0) for parts in rows.values()))
    kept = set(names if len(names) <= len(COLOURS) else by_size[: len(COLOURS) - 1])
    shown = [name for name in names if name in kept]
    if len(shown) == len(names):
        return {row: {n: parts[n] for n in shown if n in parts} for row, parts in rows.items()}, shown
    other = f"other ({len(names) - len(shown)} parts)"
    summed = {
        row: {n: parts[n] for n in shown if n in parts}
        | {other: sum(value for name, value in parts.items() if name not in kept)}
        for row, parts in rows.items()
    }
    return summed, [*shown, other]


def lines(title: str, series: Mapping[str, Mapping[float, float]], *, x_name: str, y_name: str) -> str:
    """Lines over points, both axes logarithmic."""
    xs = sorted({x for points in series.values() for x in points})
    ys = [y for points in series.values() for y in points.values()]
    height, left, right, top, bottom = 430.0, 76.0, WIDTH - 24.0, 96.0, 380.0
    canvas = Canvas(height, title)
    legend(canvas, list(series), 48)
    low, high = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))

    def place(x: float, y: float) -> tuple[float, float]:
        across = math.log(x / xs[0]) / math.log(xs[-1] / xs[0]) if len(xs) > 1 else 0.5
        up = (math.log10(y) - low) / max(high - low, 1)
        return left + across * (right - left), bottom - up * (bottom - top)

    for power in range(low, high + 1):
        _, y = place(xs[0], 10.0**power)
        canvas.line([(left, y), (right, y)], FAINT)
        canvas.text(left - 8, y + 4, f"{10.0**power:g}", anchor="end", size=11)
    for x in xs:
        across, _ = place(x, 10.0**low)
        canvas.text(across, bottom + 18, f"{x:g}", anchor="middle", size=11)
    canvas.text((left + right) / 2, bottom + 38, x_name, anchor="middle")
    canvas.text(16, top - 12, y_name, size=11)
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        canvas.line([place(x, y) for x, y in points.items()], colour, 1.8)
        for x, y in points.items():
            canvas.dot(*place(x, y), colour, f"{name}, {x:g}: {y:g}")
    return canvas.svg()
