"""What the LLM servers do: load of a pool, and its demand through the days."""

from __future__ import annotations

from collections.abc import Mapping

from advisor.facts.span import DAY_MS, IN_SPAN, MINUTE_MS, Reader, Span, clean
from advisor.facts.summed import DEVICES, mean, per, rate, summed, total
from advisor.facts.values import ServingLoad, Software

LEAST_ARRIVAL_WINDOWS = 18
"""Three minutes of 10 s windows: with fewer a variance says nothing."""
_SEEN_MS = 10 * MINUTE_MS


def serving_load(store: Reader, span: Span) -> tuple[ServingLoad, ...]:
    """Load of each serving pool."""
    columns = {
        "engines": DEVICES,
        "prompt_tokens_per_second": rate("prompt_tokens_inc", span),
        "generation_tokens_per_second": rate("generation_tokens_inc", span),
        "requests_per_second": rate("requests_finished_inc", span),
        "running": total("requests_running_avg"),
        "waiting": total("requests_waiting_avg"),
        "kv_usage_ratio": mean("kv_cache_usage_ratio_avg"),
        "max_batch": total("max_batch_requests_avg"),
        "ttft_p99_seconds": mean("ttft_p99_seconds_avg"),
        "tpot_p50_seconds": mean("tpot_p50_seconds_avg"),
        "tpot_p99_seconds": mean("tpot_p99_seconds_avg"),
        "prompt_tokens_p50": mean("prompt_tokens_p50_avg"),
        "prompt_tokens_p99": mean("prompt_tokens_p99_avg"),
        "output_tokens_p50": mean("output_tokens_p50_avg"),
        "output_tokens_p99": mean("output_tokens_p99_avg"),
        "preemptions_per_second": rate("preemptions_inc", span),
        "prefill_seconds_mean": per("prefill_us_inc", "requests_finished_inc", 1e-6),
        "queue_seconds_mean": per("queue_us_inc", "requests_finished_inc", 1e-6),
        "overload_ratio": mean("overloaded_ratio"),
        "kv_transfer_bytes_per_second": rate("kv_transfer_bytes_inc", span),
        "prefix_hit_ratio": per("prefix_cache_hits_inc", "prefix_cache_queries_inc", 1),
    }
    rows = summed(store, span, "serving", "pool", columns)
    bursts = _arrival_dispersion(store, span)
    return tuple(
        ServingLoad(pool=group, arrival_dispersion=bursts.get(group), **row) for group, row in rows
    )


def software(store: Reader, span: Span) -> Mapping[str, tuple[Software, ...]]:
    """What the engines of each pool run and serve, by what collectors wrote of them.

    Collectors repeat the inventory every minute. Where a server that is gone had another address
    than its successor both count for a while; of as many the one seen last stands first.
    """
    sql = """
        SELECT toString(pool) AS pool, JSONExtractString(body, 'attributes', 'engine') AS name,
            JSONExtractString(body, 'attributes', 'version') AS version,
            toString(model) AS model, count() AS engines
        FROM inventory
        WHERE kind = 'serving' AND seen >= fromUnixTimestamp64Milli({seen:Int64})
        GROUP BY pool, name, version, model
        ORDER BY engines DESC, max(seen) DESC, name, version, model
    """
    found: dict[str, list[Software]] = {}
    seen_ms = span.now_ms - max(span.history_ms, _SEEN_MS)
    for row in store.query(sql, {"seen": seen_ms}):
        found.setdefault(row.pop("pool"), []).append(Software(**row))
    return {pool: tuple(those) for pool, those in found.items()}


def _arrival_dispersion(store: Reader, span: Span) -> Mapping[str, float | None]:
    """Variance over mean of a pool's first tokens a window; None when too few windows.

    An engine whose window is missing counts as the mean of the others: a gap is no lull.
    """
    sql = f"""
        SELECT pool, if(count() >= {LEAST_ARRIVAL_WINDOWS} AND avg(arrivals) > 0,
            varSamp(arrivals) / avg(arrivals), nan) AS dispersion
        FROM (
            SELECT i.pool AS pool, avg(w.ttft_count_inc) * max(i.engines) AS arrivals
            FROM serving_windows AS w
            INNER JOIN (
                SELECT device, toString(pool) AS pool, count() OVER (PARTITION BY pool) AS engines
                FROM inventory WHERE kind = 'serving'
            ) AS i ON w.device = i.device
            WHERE {IN_SPAN} AND isFinite(w.ttft_count_inc)
            GROUP BY pool, w.window_start
        ) GROUP BY pool
    """
    rows = store.query(sql, span.parameters())
    return {row["pool"]: clean(row)["dispersion"] for row in rows}


def demand_per_minute(store: Reader, span: Span) -> Mapping[str, tuple[float, ...]]:
    """Concurrent requests (running and waiting) of each pool by minute, of the last day."""
    return _demand(store, span, "serving_pools_1m", DAY_MS)


def demand_per_hour(store: Reader, span: Span) -> Mapping[str, tuple[float, ...]]:
    """Concurrent requests (running and waiting) of each pool by hour, of the last four weeks."""
    return _demand(store, span, "serving_pools_1h", 28 * DAY_MS)


def _demand(store: Reader, span: Span, table: str, back_ms: int) -> Mapping[str, tuple[float, ...]]:
    """A row is the mean engine of its pool: one that misses a reading counts like the others."""
    asked = "w.requests_running_avg + w.requests_waiting_avg"
    sql = f"""
        SELECT pool, groupArray(demand) AS demand FROM (
            SELECT i.pool AS pool, w.window_start AS step,
                sumIf(({asked}) * w.devices, isFinite({asked})) AS demand
            FROM {table} AS w
            INNER JOIN (SELECT device, toString(pool) AS pool FROM places) AS i
            ON w.device = i.device
            WHERE {IN_SPAN} AND w.devices > 0
            GROUP BY pool, step ORDER BY step
        ) GROUP BY pool
    """
    rows = store.query(sql, {"since": span.now_ms - back_ms, "until": span.now_ms})
    return {row["pool"]: tuple(float(v) for v in row["demand"]) for row in rows}
