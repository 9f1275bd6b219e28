"""The cluster: roofline, pools, racks, cooling loops, rails."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from advisor.console.parts import KeyedRows, bar, box, heading, pair, section, text
from advisor.console.roofline import Roofline, colour
from advisor.format import celsius, known, number, percent, scaled, seconds
from advisor.source import ClusterState, LoopState, NodeState, PoolState, RailState

LOST_MS = 60_000
"""A node not heard of for this long is drawn as lost."""
THROTTLED_RATIO = 0.01
"""Throttling below this share of time is noise."""
_HEAT = ((85.0, "hot"), (75.0, "warm"), (60.0, "mild"))
_Rack = tuple[str, tuple[NodeState, ...]]


def heat(node: NodeState, now_ms: int) -> str:
    """The class of a node's cell: by its hottest GPU, or lost, or unknown."""
    if node.last_seen_ms is not None and now_ms - node.last_seen_ms > LOST_MS:
        return "lost"
    hottest = node.hottest_celsius
    if not known(hottest):
        return "unknown"
    return next((name for limit, name in _HEAT if hottest >= limit), "cool")


def racks(nodes: Sequence[NodeState]) -> list[_Rack]:
    """Nodes by rack, both in order of name; nodes without a rack last."""

    def rack(node: NodeState) -> tuple[bool, str]:
        return not node.rack, node.rack

    ordered = sorted(nodes, key=lambda n: (*rack(n), n.host))
    return [(key[1] or "no rack", tuple(members)) for key, members in groupby(ordered, rack)]


class ClusterView:
    """The sections that show the cluster."""

    def __init__(self) -> None:
        self._now_ms = 0
        with section("Roofline", "roofline-section"):
            heading("Which side of the ridge", "one dot a node")
            self._roofline = Roofline()
        with section("Pools", "pools"):
            self._pools_note = heading("Pools")
            self._pools = KeyedRows(
                box("rl-tiles"), lambda p: p.name, _draw_pool, css="rl-tile", mark="pool"
            )
        with section("Racks", "racks"):
            heading("Racks", "hottest GPU of each node, °C")
            _legend()
            self._racks: KeyedRows[_Rack] = KeyedRows(
                box("rl-racks"),
                lambda rack: rack[0],
                self._draw_rack,
                content=lambda rack: [self._cell(n) for n in rack[1]],
                css="rl-rack",
                mark="rack",
            )
        with section("Cooling loops", "loops"):
            heading("Cooling loops")
            self._loops = KeyedRows(
                box("rl-tiles"), lambda p: p.name, _draw_loop, css="rl-tile", mark="loop"
            )
        with section("Rails", "rails"):
            heading("Rails")
            self._rails = KeyedRows(
                box("rl-tiles"), lambda p: p.name, _draw_rail, css="rl-tile", mark="rail"
            )

    def show(self, state: ClusterState, now_ms: int) -> None:
        """Bring the sections up to date."""
        self._now_ms = now_ms
        self._pools_note.set_text(
            f"{sum(p.gpus for p in state.pools)} GPUs" if state.pools else "no pool seen yet"
        )
        self._roofline.show(state.nodes)
        self._pools.show(state.pools)
        self._racks.show(racks(state.nodes))
        self._loops.show(state.loops)
        self._rails.show(state.rails)

    def _cell(self, node: NodeState) -> tuple[str, str, str]:
        title = (
            f"{node.host}\n{node.pool or 'no pool'}, {node.gpus} GPUs\n"
            f"hottest {celsius(node.hottest_celsius)}\n"
            f"HBM {percent(node.dram_ratio)}, tensor {percent(node.tensor_ratio)}\n"
            f"open detections: {node.open_detections}"
        )
        shown = heat(node, self._now_ms)
        css = f"rl-cell rl-heat-{shown}" + (" rl-flagged" if node.open_detections else "")
        label = "lost" if shown == "lost" else number(node.hottest_celsius, digits=2)
        return css, label, title

    def _draw_rack(self, rack: _Rack) -> None:
        name, nodes = rack
        text(name, "rl-key")
        for node in nodes:
            css, label, title = self._cell(node)
            cell = text(label, css, f"node-{node.host}")
            cell.props["title"] = title
            cell.props["aria-label"] = title.replace("\n", ", ")
            cell.style(f"border-left-color: {colour(node.pool)}")


def _legend() -> None:
    with box("rl-legend"):
        for css, name in (
            ("cool", "below 60"),
            ("mild", "60 to 75"),
            ("warm", "75 to 85"),
            ("hot", "85 and above"),
            ("unknown", "unknown"),
        ):
            box(f"rl-swatch rl-heat-{css}")
            text(name, "rl-note")
        box("rl-swatch rl-flagged")
        text("open detection", "rl-note")


def _draw_pool(pool: PoolState) -> None:
    with box("rl-tile-head"):
        box("rl-dot").style(f"background: {colour(pool.name)}")
        text(pool.name or "no pool", "rl-tile-title")
        text(f"{pool.nodes} nodes  ·  {pool.gpus} GPUs", "rl-note")
    bar("HBM bandwidth", pool.dram_ratio, percent(pool.dram_ratio), colour(pool.name))
    bar("Tensor cores", pool.tensor_ratio, percent(pool.tensor_ratio), colour(pool.name))
    serving = _serves(pool)
    if serving:
        bar("KV cache", pool.kv_usage_ratio, percent(pool.kv_usage_ratio), colour(pool.name))
    with box("rl-pairs"):
        if serving:
            pair("TTFT p99", seconds(pool.ttft_p99_seconds))
            pair("TPOT p99", seconds(pool.tpot_p99_seconds))
            pair("Tokens", scaled(pool.tokens_per_second, "/s"))
            pair("Running", number(pool.running))
            pair("Waiting", number(pool.waiting))
        pair("Power", scaled(pool.power_watts, "W"))
        throttled = known(pool.throttled_ratio) and pool.throttled_ratio > THROTTLED_RATIO
        pair("Throttled", percent(pool.throttled_ratio), "rl-alarm" if throttled else "")
    if not serving:
        text("no serving metrics", "rl-note")


def _serves(pool: PoolState) -> bool:
    """Whether any LLM server of the pool has been heard."""
    readings = (
        *(pool.ttft_p99_seconds, pool.tpot_p99_seconds, pool.tokens_per_second),
        *(pool.running, pool.waiting, pool.kv_usage_ratio),
    )
    return any(known(reading) for reading in readings)


def _draw_loop(loop: LoopState) -> None:
    with box("rl-tile-head"):
        text(loop.name, "rl-tile-title")
    with box("rl-pairs"):
        pair("Supply", celsius(loop.supply_celsius))
        pair("Return", celsius(loop.return_celsius))
        pair("Flow", number(loop.flow_liters_per_minute, "L/min"))
        pair("Heat", number(loop.heat_kw, "kW"))


def _draw_rail(rail: RailState) -> None:
    with box("rl-tile-head"):
        text(rail.name, "rl-tile-title")
        text(f"{rail.ports} ports", "rl-note")
    bar("Used", rail.utilisation_ratio, percent(rail.utilisation_ratio), "#6ea8fe")
    with box("rl-pairs"):
        pair("ECN marks", scaled(rail.ecn_marked_per_second, "/s"))
        pair("CNPs", scaled(rail.cnp_per_second, "/s"))
