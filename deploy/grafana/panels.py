"""Grafana's dashboards as JSON, from as little as has to be said of a panel: pure, and nothing here knows Plimsoll.

A dashboard is sections of panels. A panel names its unit, its queries with their legends, and what is good or bad;
ids and places on the grid follow from the order. `schemaVersion` 41 is Grafana 12's own, which later ones read as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "plimsoll-prometheus"}
"""As `provisioning/datasources/prometheus.yml` names it."""
SCHEMA_VERSION = 41
GRID_WIDTH = 24
STAT_HEIGHT, GRAPH_HEIGHT = 4, 8
BAD, DOUBTFUL, GOOD = "red", "orange", "green"


@dataclass(frozen=True)
class Panel:
    """One panel. `limits` are (from this value on, colour) above what is good; `falling` ones count downwards."""

    title: str
    about: str
    unit: str
    queries: Sequence[tuple[str, str]]
    """(PromQL, legend)"""
    limits: Sequence[tuple[float, str]] = ()
    base: str = GOOD
    """The colour below every limit."""
    width: int = 8
    stat: bool = False
    stacked: bool = False
    said: Mapping[float, str] | None = None
    """Words in the place of values."""


@dataclass(frozen=True)
class Section:
    """A row of the dashboard, with what is below it."""

    title: str
    panels: Sequence[Panel]


def quantiles(bucket: str, selector: str = "") -> list[tuple[str, str]]:
    """The median, 95th and 99th percentile of a histogram over all its series."""
    rate = f"sum by (le) (rate({bucket}{selector}[$__rate_interval]))"
    return [(f"histogram_quantile({share}, {rate})", f"p{share * 100:.0f}") for share in (0.5, 0.95, 0.99)]


def dashboard(
    uid: str,
    title: str,
    about: str,
    sections: Sequence[Section],
    *,
    links: Sequence[tuple[str, str]],
    variables: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The whole document. `links` are (title, address); the time range goes along to other dashboards."""
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["plimsoll"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "links": [_link(name, address) for name, address in links],
        "templating": {"list": list(variables)},
        "annotations": {"list": [_alerts()]},
        "panels": _placed(sections),
    }


def variable(name: str, label: str, query: str) -> dict[str, Any]:
    """A choice among the values of a label; all of them at first."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _link(title: str, address: str) -> dict[str, Any]:
    ours = address.startswith("/d/")
    return {
        "title": title,
        "type": "link",
        "url": address,
        "keepTime": ours,
        "targetBlank": not ours,
        "icon": "dashboard",
    }


def _alerts() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "enable": True,
        "datasource": DATASOURCE,
        "expr": 'ALERTS{alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "iconColor": BAD,
    }


def _placed(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Every panel with its id and its place: from left to right, and on below where a line is full."""
    placed: list[dict[str, Any]] = []
    top = 0
    for section in sections:
        where = {"x": 0, "y": top, "w": GRID_WIDTH, "h": 1}
        placed.append({"id": len(placed) + 1, "type": "row", "title": section.title, "collapsed": False, "panels": [],
                       "gridPos": where})  # fmt: skip
        top += 1
        left, height = 0, 0
        for panel in section.panels:
            if left + panel.width > GRID_WIDTH:
                left, top = 0, top + height
            height = STAT_HEIGHT if panel.stat else GRAPH_HEIGHT
            where = {"x": left, "y": top, "w": panel.width, "h": height}
            placed.append({"id": len(placed) + 1, **_described(panel), "gridPos": where})
            left += panel.width
        top += height
    return placed


def _described(panel: Panel) -> dict[str, Any]:
    return {
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": panel.base, "value": None}]
    steps += [{"color": colour, "value": value} for value, colour in panel.limits]
    said = {str(value): {"text": words} for value, words in (panel.said or {}).items()}
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": [{"type": "value", "options": said}] if said else [],
        "color": {"mode": "thresholds" if panel.stat else "palette-classic"},
    }
    if not panel.stat:
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if panel.stacked else 0,
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "line" if panel.limits else "off"},
            "spanNulls": False,
            "showPoints": "never",
        }
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    if panel.stat:
        reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": reduced, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
    return {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
