"""What the stream processor found and is still open."""

from __future__ import annotations

from advisor.facts.span import HOUR_MS, Reader, Span
from advisor.facts.values import Found
from ridgeline.events import Detection


def open_detections(store: Reader, span: Span) -> tuple[Found, ...]:
    """Open episodes updated within the last hour or the history, and where they are."""
    sql = """
        SELECT d.body AS body, i.host AS host, i.rack AS rack, i.cooling_loop AS cooling_loop,
            i.rail AS rail
        FROM detections AS d LEFT JOIN inventory AS i ON d.device = i.device
        WHERE d.state != 'closed' AND d.updated >= fromUnixTimestamp64Milli({since:Int64})
        ORDER BY d.opened DESC LIMIT 5000
    """
    since = span.now_ms - max(HOUR_MS, span.history_ms)
    return tuple(
        Found(
            detection=Detection.model_validate_json(row["body"]),
            host=row["host"],
            rack=row["rack"],
            loop=row["cooling_loop"],
            rail=row["rail"],
        )
        for row in store.query(sql, {"since": since})
    )
