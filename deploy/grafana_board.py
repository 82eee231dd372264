"""Boards and panels of Grafana as data, and the JSON it provisions them from. What they show is `boards`' business."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 39
_COLUMNS = 24
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and how its series are called: `{{label}}` stands for a label's value."""

    expr: str
    legend: str
    is_limit: bool = False
    """Whether it is what was promised or what is allowed: drawn dashed."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """From `value` on a figure is `colour`; None is from below everything."""

    value: float | None
    colour: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `unit` is Grafana's name for it; `width` is in columns of 24."""

    title: str
    says: str
    unit: str
    queries: Sequence[Query]
    kind: Literal["timeseries", "stat"] = "timeseries"
    thresholds: Sequence[Threshold] = ()
    width: int = 12
    height: int = 8
    least: float | None = 0.0
    most: float | None = None
    is_stacked: bool = False

    def document(self, number: int, x: int, y: int) -> dict[str, Any]:
        """What Grafana reads."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.says,
            "datasource": _DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [
                {"refId": chr(ord("A") + index), "datasource": _DATASOURCE, "expr": q.expr, "legendFormat": q.legend}
                | ({"instant": True, "range": False} if self.kind == "stat" else {})
                for index, q in enumerate(self.queries)
            ],
            "fieldConfig": {
                "defaults": self._defaults(),
                "overrides": [_dashed(q) for q in self.queries if q.is_limit],
            },
            "options": self._options(),
        }

    def _defaults(self) -> dict[str, Any]:
        steps = self.thresholds or (Threshold(None, "green"),)
        defaults: dict[str, Any] = {
            "unit": self.unit,
            "thresholds": {
                "mode": "absolute",
                "steps": [{"color": step.colour, "value": step.value} for step in steps],
            },
        }
        ends = {"min": self.least, "max": self.most}
        defaults |= {key: value for key, value in ends.items() if value is not None}
        if self.kind == "timeseries":
            defaults["custom"] = {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 20 if self.is_stacked else 5,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"mode": "normal" if self.is_stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "dashed" if self.thresholds else "off"},
            }
        else:
            defaults["color"] = {"mode": "thresholds"}
        return defaults

    def _options(self) -> dict[str, Any]:
        if self.kind == "stat":
            return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value"}
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard: rows of panels under headings. `variables` are label values to choose by: name -> query."""

    uid: str
    title: str
    says: str
    variables: Mapping[str, str]
    rows: Mapping[str, Sequence[Panel]]

    @property
    def panels(self) -> list[Panel]:
        """Every panel, in order."""
        return [panel for row in self.rows.values() for panel in row]

    def document(self) -> dict[str, Any]:
        """What Grafana reads."""
        return {
            "uid": f"tidemill-{self.uid}",
            "title": self.title,
            "description": self.says,
            "tags": ["tidemill"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": False,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "links": [
                {"type": "dashboards", "title": "Tidemill", "tags": ["tidemill"], "asDropdown": True, "keepTime": True}
            ],
            "templating": {"list": [_datasource_variable(), *(_variable(*item) for item in self.variables.items())]},
            "panels": self._laid_out(),
        }

    def _laid_out(self) -> list[dict[str, Any]]:
        placed: list[dict[str, Any]] = []
        y = 0
        for heading, panels in self.rows.items():
            grid = {"h": 1, "w": _COLUMNS, "x": 0, "y": y}
            placed.append(
                {
                    "id": len(placed) + 1,
                    "type": "row",
                    "title": heading,
                    "gridPos": grid,
                    "collapsed": False,
                    "panels": [],
                }
            )
            y += 1
            x = tallest = 0
            for panel in panels:
                if x + panel.width > _COLUMNS:
                    x, y, tallest = 0, y + tallest, 0
                placed.append(panel.document(len(placed) + 1, x, y))
                x, tallest = x + panel.width, max(tallest, panel.height)
            y += tallest
        return placed


def _dashed(query: Query) -> dict[str, Any]:
    style = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}}
    colour = {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}}
    # A legend may go on with a label's value.
    name = f"/^{query.legend.partition('{{')[0].strip()}/"
    return {"matcher": {"id": "byRegexp", "options": name}, "properties": [style, colour]}


def _datasource_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "sort": 1,
    }
