"""Advice as annotations in Grafana, so that graphs show when what was said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaException, TokenAuth

from advisor.notify import message
from ridgeline.events import Advice
from ridgeline.settings import GrafanaSettings

log = structlog.get_logger()
Annotate = Callable[[Sequence[Advice]], None]


def annotator(settings: GrafanaSettings) -> Annotate | None:
    """Writes an annotation a change; None when no Grafana is configured.

    A failure is logged and forgotten: an annotation is decoration, the store has the advice.
    """
    if not settings.url:
        return None
    token = TokenAuth(settings.token.get_secret_value())  # type: ignore[no-untyped-call]
    api = GrafanaApi.from_url(settings.url, credential=token, timeout=5)

    def annotate(changes: Sequence[Advice]) -> None:
        for advice in changes:
            try:
                api.annotations.add_annotation(
                    time_from=advice.updated_ms,
                    tags=["ridgeline", "advice", advice.rule, advice.state],
                    text=f"{message.title(advice)} ({advice.state})",
                )
            except (GrafanaException, OSError) as error:
                log.warning("annotation failed", advice=advice.id, error=str(error))
                return

    return annotate
