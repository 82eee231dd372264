"""Plots as inline SVG: axes, lines, bars. Owns geometry; colours are classes that the page's style sheet names."""

import math
from collections.abc import Sequence
from html import escape

Point = tuple[float, float]
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 40


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `wanted` of them."""
    if high <= low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


class Plot:
    """One plot with linear axes from given ranges; whatever lies beyond them is cut off."""

    def __init__(
        self,
        name: str,
        x_range: Point,
        y_range: Point,
        *,
        x_label: str,
        y_label: str,
        size: Point = (480, 260),
        is_whole_y: bool = False,
    ) -> None:
        self._name = name
        self._width, self._height = size
        self._x0, self._x1 = _widened(x_range)
        self._y0, self._y1 = _widened(y_range)
        self._labels = x_label, y_label
        self._is_whole_y = is_whole_y
        self._marks: list[str] = []

    def line(self, points: Sequence[Point], style: str) -> None:
        """Straight lines through the points, in order."""
        if points:
            path = "L".join(f"{self._x(x):.1f} {self._y(y):.1f}" for x, y in points)
            self._marks.append(f'<path class="line {style}" d="M{path}"/>')

    def area(self, points: Sequence[Point], style: str) -> None:
        """The area between the points and the lower end of the y axis."""
        if points:
            path = "L".join(f"{self._x(x):.1f} {self._y(y):.1f}" for x, y in points)
            ground = self._y(self._y0)
            left, right = self._x(points[0][0]), self._x(points[-1][0])
            self._marks.append(
                f'<path class="area {style}" d="M{left:.1f} {ground:.1f}L{path}L{right:.1f} {ground:.1f}Z"/>'
            )

    def bar(self, x_range: Point, y: float, height: float, style: str, title: str = "") -> None:
        """A horizontal bar of `height` pixels around `y`."""
        left, right = self._x(x_range[0]), self._x(x_range[1])
        hint = f"<title>{escape(title)}</title>" if title else ""
        self._marks.append(
            f'<rect class="bar {style}" x="{left:.1f}" y="{self._y(y) - height / 2:.1f}" '
            f'width="{max(0.5, right - left):.1f}" height="{height:.1f}">{hint}</rect>'
        )

    def dot(self, at: Point, style: str, title: str = "") -> None:
        """A point, with what it says when pointed at."""
        self._marks.append(
            f'<circle class="dot {style}" cx="{self._x(at[0]):.1f}" cy="{self._y(at[1]):.1f}" r="4">'
            f"<title>{escape(title)}</title></circle>"
        )

    def guide(self, *, x: float | None = None, y: float | None = None, label: str = "") -> None:
        """A dashed line across the plot at `x` or at `y`."""
        if x is not None and self._x0 <= x <= self._x1:
            place = self._x(x)
            self._marks.append(f'<path class="guide" d="M{place:.1f} {_TOP}V{self._height - _BOTTOM}"/>')
            self._marks.append(_text(place - 5, self._height - _BOTTOM - 8, label, "note", "end"))
        if y is not None and self._y0 <= y <= self._y1:
            place = self._y(y)
            self._marks.append(f'<path class="guide" d="M{_LEFT} {place:.1f}H{self._width - _RIGHT}"/>')
            self._marks.append(_text(self._width - _RIGHT - 4, place - 5, label, "note", "end"))

    def svg(self) -> str:
        """The whole figure."""
        grid = []
        for tick in nice_ticks(self._y0, self._y1, 4):
            if self._is_whole_y and tick != round(tick):
                continue
            place = self._y(tick)
            grid.append(f'<path class="grid" d="M{_LEFT} {place:.1f}H{self._width - _RIGHT}"/>')
            grid.append(_text(_LEFT - 8, place + 4, f"{tick:g}", "tick", "end"))
        foot = self._height - _BOTTOM + 17
        grid += [_text(self._x(x), foot, f"{x:g}", "tick", "middle") for x in nice_ticks(self._x0, self._x1, 6)]
        x_label, y_label = self._labels
        middle = (_LEFT + self._width - _RIGHT) / 2
        grid.append(_text(middle, self._height - 5, x_label, "label", "middle"))
        height = (_TOP + self._height - _BOTTOM) / 2
        grid.append(
            f'<text class="label" text-anchor="middle" transform="translate(12 {height:.0f}) rotate(-90)">'
            f"{escape(y_label)}</text>"
        )
        axis = f'<path class="axis" d="M{_LEFT} {self._height - _BOTTOM}H{self._width - _RIGHT}"/>'
        return (
            f'<svg viewBox="0 0 {self._width:g} {self._height:g}" role="img" aria-label="{escape(self._name)}">'
            f"{''.join(grid)}{''.join(self._marks)}{axis}</svg>"
        )

    def _x(self, value: float) -> float:
        share = (min(max(value, self._x0), self._x1) - self._x0) / (self._x1 - self._x0)
        return _LEFT + share * (self._width - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        share = (min(max(value, self._y0), self._y1) - self._y0) / (self._y1 - self._y0)
        return self._height - _BOTTOM - share * (self._height - _TOP - _BOTTOM)


def _widened(ends: Point) -> Point:
    """A range of no width cannot be drawn."""
    low, high = ends
    return (low, high) if high > low else (low, low + 1.0)


def _text(x: float, y: float, text: str, style: str, anchor: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
