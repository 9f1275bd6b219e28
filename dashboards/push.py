"""Send folder, data source and dashboards to a running Grafana."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import structlog
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException
from niquests.exceptions import RequestException

from dashboards.build import documents
from dashboards.query import DATASOURCE_UID, PLUGIN
from ridgeline.errors import Misconfigured, Reject, Retry
from ridgeline.settings import GrafanaSettings, StoreSettings

log = structlog.get_logger()

FOLDER_UID = "ridgeline"
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _SERVER = 401, 403, 404, 500


def datasource(store: StoreSettings) -> dict[str, Any]:
    """The data source of the store, as Grafana's API takes it."""
    url = urlsplit(store.url)
    secure = url.scheme == "https"
    return {
        "uid": DATASOURCE_UID,
        "name": "Ridgeline ClickHouse",
        "type": PLUGIN,
        "access": "proxy",
        "jsonData": {
            "protocol": "http",
            "secure": secure,
            "host": url.hostname or "",
            "port": url.port or (8443 if secure else 8123),
            "username": store.user,
            "defaultDatabase": store.database,
        },
        "secureJsonData": {"password": store.password.get_secret_value()},
    }


def push(grafana: GrafanaSettings, store: StoreSettings) -> list[str]:
    """Create or update everything; returns the dashboards' addresses.

    A data source or dashboard that Grafana provisions from files is left to the files.

    Raises:
        Misconfigured: no address, or the token is refused.
        Retry: Grafana is away.
        Reject: Grafana refuses a document.
    """
    if urlsplit(grafana.url).scheme not in ("http", "https"):
        raise Misconfigured(
            "RIDGELINE_GRAFANA_URL", f"expected http(s)://host:port, found {grafana.url!r}"
        )
    api = GrafanaApi.from_url(grafana.url, credential=grafana.token.get_secret_value() or None)
    with _explained("folder", grafana):
        if _get(lambda: api.folder.get_folder(FOLDER_UID)) is None:
            api.folder.create_folder("Ridgeline", uid=FOLDER_UID)
    with _explained("data source", grafana):
        _push_datasource(api, datasource(store))
    return [_push_dashboard(api, grafana, document) for document in documents().values()]


def _push_datasource(api: Any, wanted: dict[str, Any]) -> None:
    found = _get(lambda: api.datasource.get_datasource_by_uid(DATASOURCE_UID))
    if found is None:
        api.datasource.create_datasource(wanted)
    elif found.get("readOnly"):
        log.info("data source is provisioned by files; left as it is", uid=DATASOURCE_UID)
    else:
        api.datasource.update_datasource_by_uid(DATASOURCE_UID, wanted)


def _push_dashboard(api: Any, grafana: GrafanaSettings, document: dict[str, Any]) -> str:
    with _explained(f"dashboard {document['uid']}", grafana):
        answer = api.dashboard.update_dashboard(
            {
                "dashboard": document,
                "folderUid": FOLDER_UID,
                "overwrite": True,
                "message": "pushed by Ridgeline",
            }
        )
    return grafana.url.rstrip("/") + str(answer["url"])


def _get(call: Any) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = call()
    except GrafanaClientError as error:
        if error.status_code == _NOT_FOUND:
            return None
        raise
    return found


@contextmanager
def _explained(what: str, grafana: GrafanaSettings) -> Iterator[None]:
    try:
        yield
    except GrafanaException as error:
        status = int(error.status_code or 0)
        if status in (_UNAUTHORIZED, _FORBIDDEN):
            problem = f"Grafana refuses it ({status}) for the {what}; it needs the Admin role"
            raise Misconfigured("RIDGELINE_GRAFANA_TOKEN", problem) from error
        if status == 0 or status >= _SERVER:
            raise Retry(f"grafana {grafana.url} ({what}): {error.message}") from error
        raise Reject(what, status, str(error.message)) from error
    except RequestException as error:
        raise Retry(f"grafana {grafana.url} ({what}): {error}") from error
