"""The reference pages, written from the code: `python -m ridgeline.reference docs`.

A test compares the committed pages with what this module renders, so they cannot rot.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import MappingProxyType

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from ridgeline.metrics import REGISTRY
from ridgeline.schema import EXACT, SCHEMAS, Column, Kind
from ridgeline.settings import SETTINGS
from ridgeline.store.derived import DERIVED
from ridgeline.topics import TOPICS, Topic


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)]) + "\n"


def telemetry() -> str:
    """Every column of every family."""
    parts = [
        "# Telemetry\n",
        "Written by `make docs` from `ridgeline/schema.py`. A row is one device at one instant:",
        "`ts` (ms since the epoch), `node` and `device` (64-bit ids), then the columns below.",
        "A missing reading is NaN in a gauge, 2^64-1 in a counter, 2^32-1 in a state.",
        "Window tables keep `_avg _min _max` of a gauge, `_inc` of a counter, `_last` of a state",
        "and `_or` of flags.\n",
        "A window's average, minimum and maximum are rounded to the column's *resolution*: the",
        "nearest multiple of a step, or the nearest float of so many fraction bits (of 23); of",
        "two as near, the even one. The averages of minutes, hours and places are rounded again,",
        "so an hour's is within one and a half steps of what its samples say. Increases, states,",
        "flags, counts and times are exact, and so are raw rows; detectors see samples as they",
        "came.\n",
        "Minutes of places, pools and loops keep more, of which facts are made: the columns named",
        "last under a family, how many `devices` and `nodes` they stand for, and how many windows",
        "were folded, of the device with the most (`windows`) and of all (`device_windows`).\n",
    ]
    parts.append(_table(("unit", "resolution of windows", "why nothing is lost"), _resolutions()))
    for schema in SCHEMAS.values():
        parts.append(f"## {schema.id}\n\n{schema.doc} Topic `{schema.topic}`.\n")
        rows = [
            (f"`{c.name}`", c.kind.value, c.unit, _resolution(c), c.doc) for c in schema.columns
        ]
        parts.append(_table(("column", "kind", "unit", "resolution", "meaning"), rows))
        if derived := [one.field for one in DERIVED[schema.family]]:
            parts.append("Of all devices of a place, a mean or an increase of the mean device:\n")
            more = [(f"`{f.name}`", f.unit, str(f.resolution), f.doc) for f in derived]
            parts.append(_table(("in minutes of places", "unit", "resolution", "meaning"), more))
    return "\n".join(parts)


def _resolution(column: Column) -> str:
    return str(column.resolution) if column.kind is Kind.GAUGE else ""


def _resolutions() -> list[tuple[str, str, str]]:
    """Of each unit, and the exact ones of all units at the end."""
    gauges = [c for s in SCHEMAS.values() for c in s.columns if c.kind is Kind.GAUGE]
    found = {c.unit: c.resolution for c in gauges if c.resolution != EXACT}
    exact = ", ".join(dict.fromkeys(f"`{c.name}`" for c in gauges if c.resolution == EXACT))
    rows = [(unit, str(one), one.why) for unit, one in found.items()]
    return [*rows, (exact, str(EXACT), EXACT.why)]


def _default(cls: type[BaseSettings], name: str) -> str:
    value = cls.model_fields[name].default
    if isinstance(value, SecretStr):
        return "(secret)"
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return f"`{text}`" if text else "(empty)"


def settings() -> str:
    """Every environment variable."""
    parts = [
        "# Settings\n",
        "Written by `make docs` from `ridgeline/settings.py`; `ridgeline settings` prints them.",
        "All are environment variables. A secret may also be read from a file: append `_FILE` to",
        "its name and give the path.\n",
    ]
    for cls in SETTINGS:
        prefix = cls.model_config.get("env_prefix", "")
        parts.append(f"## {prefix}*\n\n{(cls.__doc__ or '').strip()}\n")
        rows = [
            (f"`{prefix}{name.upper()}`", _default(cls, name), field.description or "")
            for name, field in cls.model_fields.items()
        ]
        parts.append(_table(("variable", "default", "meaning"), rows))
    return "\n".join(parts)


def _value(topic: Topic) -> str:
    if topic.schema:
        return f"frames `{topic.schema.id}`"
    return f"`{topic.model.__name__}` JSON" if topic.model else ""


def metrics() -> str:
    """Every metric of our own, and every topic."""
    kinds = [(m.name, m.type, m.documentation) for m in REGISTRY.collect()]
    names = [
        (f"`{name}_total`" if kind == "counter" else f"`{name}`", kind, doc)
        for name, kind, doc in kinds
    ]
    topics = [
        (
            f"`{t.name}`",
            _value(t),
            t.key,
            "compacted" if t.compacted else f"{t.retention_ms // 3_600_000} h",
            str(t.partitions or "`RIDGELINE_KAFKA_PARTITIONS`"),
        )
        for t in TOPICS
    ]
    head = "Written by `make docs` from `ridgeline/metrics.py` and `ridgeline/topics.py`.\n"
    return "\n".join(
        [
            "# Own metrics and topics\n",
            head,
            "## Metrics on `/metrics`\n",
            _table(("metric", "type", "meaning"), sorted(names)),
            "## Topics\n",
            _table(("topic", "value", "key", "retention", "partitions"), topics),
        ]
    )


PAGES: MappingProxyType[str, Callable[[], str]] = MappingProxyType(
    {"telemetry.md": telemetry, "settings.md": settings, "metrics.md": metrics}
)


def main() -> None:
    """Write the pages into the folder named on the command line."""
    folder = Path(sys.argv[1])
    for name, render in PAGES.items():
        (folder / name).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
