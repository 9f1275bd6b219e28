"""Where the nodes stand against the ridge: tensor work over memory traffic, one dot a node.

Both axes are shares of the hardware's peak, so the ridge of the roofline is the diagonal: below
it a node waits on memory, above it on compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from advisor.format import known
from advisor.source import NodeState
from ridgeline.pools import role_of, service_of

COLOURS = {
    "prefill": "#6ea8fe",
    "decode": "#e8b04b",
    "mixed": "#63c7a6",
    "training": "#b79cf2",
}
OTHER = "#8b98a5"
_MUTED, _LINE, _INK = "#8394a4", "#26313b", "#d8e0e8"


def colour(pool: str) -> str:
    """The colour a pool has everywhere on the page: that of its role."""
    return COLOURS.get(role_of(pool), OTHER)


def _order(pool: str) -> tuple[str, int]:
    role, known_roles = role_of(pool), list(COLOURS)
    at = known_roles.index(role) if role in COLOURS else len(known_roles)
    return service_of(pool), at


def points(nodes: Sequence[NodeState]) -> dict[str, list[dict[str, Any]]]:
    """Dots by pool; nodes without both readings are left out."""
    found: dict[str, list[dict[str, Any]]] = {}
    for node in sorted(nodes, key=lambda n: (_order(n.pool), n.host)):
        if known(node.dram_ratio) and known(node.tensor_ratio):
            at = [round(node.dram_ratio * 100, 1), round(node.tensor_ratio * 100, 1)]
            found.setdefault(node.pool, []).append({"name": node.host, "value": at})
    return found


def options(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The chart."""
    return {
        "animationDurationUpdate": 700,
        "grid": {"left": 44, "right": 14, "top": 30, "bottom": 38},
        "legend": {
            "top": 0,
            "left": 38,
            "itemWidth": 9,
            "itemHeight": 9,
            "icon": "circle",
            "textStyle": {"color": _INK, "fontSize": 11},
            "data": [pool or "no pool" for pool in found],
        },
        "tooltip": {"renderMode": "richText", "formatter": "{b}", "confine": True},
        "xAxis": _axis("HBM bandwidth used, %", 22),
        "yAxis": _axis("Tensor cores busy, %", 30),
        "series": [_ridge(), _places(), *(_dots(pool, dots) for pool, dots in found.items())],
    }


def _axis(name: str, gap: int) -> dict[str, Any]:
    return {
        "type": "value",
        "min": 0,
        "max": 100,
        "interval": 25,
        "name": name,
        "nameLocation": "middle",
        "nameGap": gap,
        "nameTextStyle": {"color": _MUTED, "fontSize": 11},
        "axisLabel": {"color": _MUTED, "fontSize": 10},
        "axisLine": {"lineStyle": {"color": _LINE}},
        "splitLine": {"lineStyle": {"color": _LINE}},
    }


def _ridge() -> dict[str, Any]:
    return {
        "type": "line",
        "name": "ridge",
        "data": [[0, 0], [100, 100]],
        "symbol": "none",
        "silent": True,
        "lineStyle": {"color": _MUTED, "type": "dashed", "width": 1},
        "areaStyle": {"color": "#6ea8fe", "opacity": 0.04},
    }


def _places() -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": "places",
        "silent": True,
        "symbolSize": 0.1,
        "label": {"show": True, "formatter": "{b}", "color": _MUTED, "fontSize": 11},
        "data": [
            {"name": "waits on compute", "value": [12, 93]},
            {"name": "waits on memory", "value": [89, 45]},
        ],
    }


def _dots(pool: str, dots: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": pool or "no pool",
        "symbolSize": 9,
        "itemStyle": {"color": colour(pool), "opacity": 0.8},
        "data": dots,
    }


class Roofline:
    """The chart, redrawn only when a dot has moved."""

    def __init__(self) -> None:
        self._found: dict[str, list[dict[str, Any]]] = {}
        self._chart = ui.echart(options({})).classes("rl-chart")
        self._chart.props["data-testid"] = "roofline"
        self._chart.props["role"] = "img"
        self._chart.props["aria-label"] = "Tensor work over memory traffic, one dot a node"

    def show(self, nodes: Sequence[NodeState]) -> None:
        """Move the dots."""
        found = points(nodes)
        if found != self._found:
            self._found = found
            self._chart.options.clear()
            self._chart.options.update(options(found))
            self._chart.update()
