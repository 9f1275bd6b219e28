"""Where the GPUs are: nodes with their rack, loop and pool, by the inventory."""

from __future__ import annotations

from advisor.facts.span import DAY_MS, Reader, Span
from advisor.places import Place


def gpu_places(store: Reader, span: Span) -> tuple[Place, ...]:
    """One place a node that was seen in the last day."""
    sql = """
        SELECT host, any(rack) AS rack, any(cooling_loop) AS cooling_loop, any(pool) AS pool,
            count() AS gpus
        FROM inventory
        WHERE kind = 'gpu' AND seen >= fromUnixTimestamp64Milli({day:Int64})
        GROUP BY host ORDER BY host
    """
    return tuple(Place(**row) for row in store.query(sql, {"day": span.now_ms - DAY_MS}))
