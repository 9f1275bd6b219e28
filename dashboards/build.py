"""The dashboards as JSON documents, the way Grafana's provisioning reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import operations, overview

DASHBOARDS: tuple[Callable[[], builders.Dashboard], ...] = (overview.build, operations.build)


def documents() -> dict[str, dict[str, Any]]:
    """Every dashboard by its uid, panels numbered in order."""
    out: dict[str, dict[str, Any]] = {}
    for build in DASHBOARDS:
        document: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(build().build()))
        for number, panel in enumerate(document["panels"], start=1):
            panel["id"] = number
        out[document["uid"]] = document
    return out


def write(folder: Path) -> list[Path]:
    """Write one file a dashboard; returns their paths.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out: list[Path] = []
    for uid, document in documents().items():
        path = folder / f"{uid}.json"
        path.write_text(text_of(document), encoding="utf-8")
        out.append(path)
    return out


def text_of(document: dict[str, Any]) -> str:
    """The file's text: stable, so that a change of a dashboard is a readable diff."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
