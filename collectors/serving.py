"""LLM servers by their Prometheus page, several engines and models a page.

Which software it is the names on the page tell (`serving_names`); its version a second address
does, asked when a server comes (back) and now and then. A server that does not tell has none.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import structlog

from collectors.prometheus_text import Buckets, Engine, Key, counted, engines_of, quantiles
from collectors.protocol import Batch
from collectors.serving_names import DIALECTS, FAILED_REASONS, Dialect
from collectors.site import Site
from ridgeline.errors import Misconfigured, NoData, Reject, Retry
from ridgeline.events import DeviceKind
from ridgeline.metrics import COLLECT_READ_ERRORS
from ridgeline.pools import role_of
from ridgeline.schema import LENGTH_BOUNDS, MISSING_STATE, SERVING, length_columns
from ridgeline.settings import CollectSettings

log = structlog.get_logger()
NAME = "serving"
_ROLES = {"mixed": 1, "prefill": 2, "decode": 3}  # SERVING.role
_MOST_AT_ONCE = 8
_MOST_BYTES = 16_000_000
_VERSION_SECONDS = 600.0  # between two questions; a server that was away is asked at once
_VERSION = re.compile(r"[\w.+!-]{1,64}")
_UNITS = {"ttft": "_seconds", "tpot": "_seconds", "prompt_tokens": "", "output_tokens": ""}
_PREFIXES = ", ".join(d.prefix for d in DIALECTS)
_LENGTHS = {f"{what}_tokens": length_columns(what) for what in ("prompt", "output")}


class Serving:
    """The LLM servers whose addresses the settings give."""

    def __init__(self, settings: CollectSettings) -> None:
        self._urls = tuple(dict.fromkeys(metrics_url(u) for u in settings.serving))
        self._site = Site.of(settings)
        self._role = _ROLES.get(role_of(settings.serving_pool), MISSING_STATE)
        self._before: dict[tuple[int, str], Buckets] = {}
        self._failing: dict[str, str] = {}
        self._versions: dict[str, tuple[str, float]] = {}  # by URL, and when it was asked
        rounds = -(-len(self._urls) // _MOST_AT_ONCE)
        self._page_seconds = settings.timeout_seconds * 0.8 / rounds
        self._client = httpx.Client(
            timeout=self._page_seconds, follow_redirects=False, trust_env=False
        )
        self._threads = ThreadPoolExecutor(min(_MOST_AT_ONCE, len(self._urls)), NAME)

    def collect(self, now_ms: int) -> Batch:
        """One row per engine of every server that answers.

        Raises:
            Retry: no server answers; it names each with its reason.
        """
        rows: list[np.void] = []
        batch = Batch()
        for url, page in zip(self._urls, self._threads.map(self._page, self._urls), strict=True):
            for dialect, key, engine in page:
                item = self._site.item(
                    DeviceKind.SERVING,
                    device_name(url, key),
                    now_ms,
                    model=key[0],
                    attributes=self._attributes(url, dialect, key),
                )
                batch.inventory.append(item)
                rows.append(self._row(item.device, dialect, engine, now_ms))
        if not rows and len(self._failing) == len(self._urls):
            raise Retry("; ".join(f"{url}: {why}" for url, why in self._failing.items()))
        if rows:
            batch.frames.append((SERVING, np.array(rows, dtype=SERVING.dtype)))
        return batch

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _attributes(self, url: str, dialect: Dialect, key: Key) -> dict[str, str]:
        known = {"url": url, "engine": dialect.title, "number": key[1]}
        version, _ = self._versions.get(url, ("", 0.0))
        return known | ({"version": version} if version else {})

    def _page(self, url: str) -> list[tuple[Dialect, Key, Engine]]:
        """Engines of one server; none, counted and said once, when it fails."""
        until = time.monotonic() + self._page_seconds
        try:
            found = _engines(self._fetch(url, until), url)
        except (httpx.HTTPError, httpx.InvalidURL, Reject, Retry) as error:
            self._failed(url, str(error) or type(error).__name__)
            self._versions.pop(url, None)  # what comes back may be another release
            return []
        if self._failing.pop(url, None) is not None:
            log.info("LLM server answers", url=url)
        self._ask_version(url, found[0][0], until)
        return found

    def _ask_version(self, url: str, dialect: Dialect, until: float) -> None:
        """Ask for the version where it is due; no answer leaves what is known."""
        known, asked = self._versions.get(url, ("", -_VERSION_SECONDS))
        if time.monotonic() < asked + _VERSION_SECONDS:
            return
        base = url.removesuffix("/metrics").removesuffix("/prometheus")
        for path in dialect.version_paths:
            with contextlib.suppress(httpx.HTTPError, Retry, ValueError):
                told = json.loads(self._fetch(base + path, until))
                version = told.get("version") if isinstance(told, dict) else None
                if isinstance(version, str) and _VERSION.fullmatch(version):
                    known = version
                    break
        self._versions[url] = (known, time.monotonic())

    def _fetch(self, url: str, until: float) -> str:
        """The page, within one time limit for all of it and a limit on its size."""
        body = bytearray()
        left = max(0.05, until - time.monotonic())
        with self._client.stream("GET", url, timeout=left) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _MOST_BYTES or time.monotonic() > until:
                    raise Retry(f"page too slow or too large: {len(body)} bytes so far")
        return body.decode("utf-8", "replace")

    def _failed(self, url: str, why: str) -> None:
        COLLECT_READ_ERRORS.labels(NAME).inc()
        if self._failing.get(url) != why:
            log.warning("LLM server does not answer", url=url, error=why)
        self._failing[url] = why

    def _row(self, device: int, dialect: Dialect, engine: Engine, now_ms: int) -> np.void:
        row: np.void = SERVING.empty(1)[0]
        row["ts"], row["node"], row["device"] = now_ms, self._site.node, device
        row["engine"], row["role"] = dialect.engine, self._role
        _fill(row, dialect, engine)
        for column, names in dialect.quantiles.items():
            found = engine.first_buckets(names)
            if found is not None:
                p50, p99 = self._quantiles(device, *found)
                row[f"{column}_p50{_UNITS[column]}"] = p50
                row[f"{column}_p99{_UNITS[column]}"] = p99
                if column in _LENGTHS:
                    counts = counted(found[1], LENGTH_BOUNDS)
                    for name, count in zip(_LENGTHS[column], counts, strict=True):
                        _set(row, name, count)
        return row

    def _quantiles(self, device: int, name: str, now: Buckets) -> list[float]:
        """Of what came since the last sample; NaN at the first, whose past has no date."""
        before = self._before.get((device, name))
        self._before[device, name] = now
        return quantiles(now if before is None else before, now, (0.5, 0.99))


def _engines(text: str, url: str) -> list[tuple[Dialect, Key, Engine]]:
    found = [(d, *e) for d in DIALECTS for e in engines_of(text, d.prefix).items()]
    if not found:
        raise Reject("metrics page", url, f"no {_PREFIXES} metric on it")
    return found


def _fill(row: np.void, dialect: Dialect, engine: Engine) -> None:
    for column, names in dialect.gauges.items():
        _set(row, column, engine.first(names))
    for column, names in dialect.ratios.items():
        _set(row, column, engine.first_largest(names))
    for column, names in dialect.counters.items():
        _set(row, column, engine.first(names))
    for column, names in dialect.seconds.items():
        _set(row, column, engine.first(names), 1e6)
    reasons = engine.by_reason.get(dialect.finished)
    if reasons is not None:
        failed = sum(count for reason, count in reasons.items() if reason in FAILED_REASONS)
        row["requests_failed"] = int(failed)
        row["requests_finished"] = int(sum(reasons.values()) - failed)
    if dialect.title == "SGLang" and engine.first(("cached_tokens_total",)) is not None:
        row["prefix_cache_queries"] = row["prompt_tokens"]  # every prompt token is looked up


def _set(row: np.void, column: str, value: float | None, scale: float = 1.0) -> None:
    if value is not None and value >= 0:
        row[column] = value * scale


def metrics_url(url: str) -> str:
    """The address of the metrics page of a base URL.

    Raises:
        Misconfigured: not an http or https address.
    """
    if not url.startswith(("http://", "https://")):
        problem = f"{url!r} is not an http:// or https:// address"
        raise Misconfigured("RIDGELINE_COLLECT_SERVING", problem)
    bare = url.rstrip("/")
    return bare if bare.endswith("/metrics") else f"{bare}/metrics"


def device_name(url: str, key: Key) -> str:
    """Name of one engine, the same for as long as the server serves the model."""
    model, number = key
    return f"{url.removesuffix('/metrics')}#{model}/{number}"


def create(settings: CollectSettings) -> Serving:
    """The collector of the LLM servers in the settings.

    Raises:
        NoData: none is given.
        Misconfigured: an address is not one.
    """
    if not settings.serving:
        raise NoData("no LLM server given: RIDGELINE_COLLECT_SERVING is empty")
    return Serving(settings)
