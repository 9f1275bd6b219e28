"""The cluster's state as the console shows it: the last evaluation's facts and two queries."""

from __future__ import annotations

from collections import Counter
from typing import Any

from advisor.facts import Facts, Reader, Span
from advisor.source import (
    ClusterState,
    CollectorState,
    LoopState,
    NodeState,
    PoolState,
    RailState,
    TopicState,
)
from ridgeline.events import Detection
from ridgeline.pools import Role, role_of, service_of

_ORDER = {pool.value: i for i, pool in enumerate(Role)}


def cluster_state(
    facts: Facts,
    nodes: list[NodeState],
    collectors: list[CollectorState],
    topics: list[TopicState],
) -> ClusterState:
    """State from facts and the health of what brings them."""
    return ClusterState(
        updated_ms=facts.newest_ms,
        pools=_pools(facts),
        loops=[
            LoopState(
                name=loop.loop,
                supply_celsius=loop.supply_celsius,
                return_celsius=loop.return_celsius,
                flow_liters_per_minute=loop.flow_liters_per_minute,
                heat_kw=None if loop.heat_watts is None else loop.heat_watts / 1000,
            )
            for loop in facts.loops
        ],
        rails=[
            RailState(
                name=rail.rail,
                ports=rail.ports,
                utilisation_ratio=rail.utilisation_ratio,
                ecn_marked_per_second=rail.ecn_marked_per_second,
                cnp_per_second=rail.cnp_per_second,
            )
            for rail in facts.rails
        ],
        collectors_ok=sum(c.well for c in collectors),
        collectors_failing=sum(c.failing for c in collectors),
        nodes=nodes,
        topics=topics,
        collectors=collectors,
    )


def _pools(facts: Facts) -> list[PoolState]:
    names = {g.group for g in facts.pools} | {s.pool for s in facts.serving}
    return [
        _pool(facts, name)
        for name in sorted(names, key=lambda n: (service_of(n), _ORDER.get(role_of(n), 99), n))
    ]


def _pool(facts: Facts, name: str) -> PoolState:
    gpus, load = facts.gpus_of(name), facts.serving_of(name)
    return PoolState(
        name=name,
        nodes=gpus.nodes if gpus else 0,
        gpus=gpus.gpus if gpus else 0,
        dram_ratio=gpus.dram_ratio if gpus else None,
        tensor_ratio=gpus.tensor_ratio if gpus else None,
        power_watts=None
        if gpus is None or gpus.power_watts is None
        # mean of a GPU to the sum of the pool
        else gpus.power_watts * gpus.gpus,
        throttled_ratio=gpus.thermal_ratio if gpus else None,
        ttft_p99_seconds=load.ttft_p99_seconds if load else None,
        tpot_p99_seconds=load.tpot_p99_seconds if load else None,
        running=load.running if load else None,
        waiting=load.waiting if load else None,
        kv_usage_ratio=load.kv_usage_ratio if load else None,
        tokens_per_second=_tokens(
            name,
            load.prompt_tokens_per_second if load else None,
            load.generation_tokens_per_second if load else None,
        ),
    )


def _tokens(pool: str, prompt: float | None, generated: float | None) -> float | None:
    """What the pool is for: prompt tokens in a prefill pool, generated ones elsewhere."""
    return prompt if role_of(pool) == Role.PREFILL else generated


def nodes(store: Reader, span: Span, facts: Facts) -> list[NodeState]:
    """Every node that was seen in the last day, with its newest minute."""
    sql = """
        SELECT i.host AS host, any(i.rack) AS rack, any(toString(i.pool)) AS pool,
            uniqExact(i.device) AS gpus,
            avgIf(w.dram, isFinite(w.dram)) AS dram_ratio,
            avgIf(w.tensor, isFinite(w.tensor)) AS tensor_ratio,
            maxIf(w.hottest, w.hottest > -274) + if(countIf(w.hottest > -274) = 0, nan, 0)
                AS hottest_celsius,
            max(w.newest_ms) AS newest_ms
        FROM inventory AS i LEFT JOIN (
            SELECT device, avgIf(dram_util_ratio_avg, isFinite(dram_util_ratio_avg)) AS dram,
                avgIf(tensor_util_ratio_avg, isFinite(tensor_util_ratio_avg)) AS tensor,
                maxIf(temperature_celsius_max, isFinite(temperature_celsius_max))
                    + if(countIf(isFinite(temperature_celsius_max)) = 0, nan, 0) AS hottest,
                toUnixTimestamp64Milli(max(window_start)) AS newest_ms
            FROM gpu_windows
            WHERE window_start >= fromUnixTimestamp64Milli({recent:Int64})
            GROUP BY device
        ) AS w ON w.device = i.device
        WHERE i.kind = 'gpu' AND i.seen >= fromUnixTimestamp64Milli({day:Int64})
        GROUP BY host ORDER BY host
    """
    parameters = {"recent": span.now_ms - 120_000, "day": span.now_ms - 24 * 3_600_000}
    rows = store.query(sql, parameters)
    open_by_host = Counter(f.host for f in facts.found)
    return [_node(row, open_by_host[row["host"]]) for row in rows]


def _node(row: dict[str, Any], open_detections: int) -> NodeState:
    # a node without a recent window joins to zeros: those are "not measured", not 0
    newest = row["newest_ms"] or None
    return NodeState(
        host=row["host"],
        rack=row["rack"],
        pool=row["pool"],
        gpus=row["gpus"],
        dram_ratio=_known(row["dram_ratio"], newest),
        tensor_ratio=_known(row["tensor_ratio"], newest),
        hottest_celsius=_known(row["hottest_celsius"], newest),
        open_detections=open_detections,
        last_seen_ms=newest,
    )


def _known(value: float | None, newest_ms: int | None) -> float | None:
    nothing = value is None or newest_ms is None or value != value  # noqa: PLR0124 - NaN
    return None if nothing else value


def recent_detections(store: Reader, now_ms: int) -> list[Detection]:
    """Open episodes and those closed in the last hour, newest first."""
    sql = """
        SELECT body FROM detections
        WHERE updated >= fromUnixTimestamp64Milli({since:Int64})
        ORDER BY opened DESC, id LIMIT 500
    """
    rows = store.query(sql, {"since": now_ms - 3_600_000})
    return [Detection.model_validate_json(row["body"]) for row in rows]
