"""One log format for every service: key=value lines on stderr, the event name a constant phrase."""

from __future__ import annotations

import logging
import sys

import structlog

from ridgeline.errors import Misconfigured
from ridgeline.settings import LogSettings

_DRIVERS = ("clickhouse_connect", "urllib3")
"""Log what they raise as well; ours say it in a line, and theirs in full at debug."""


def configure(service: str, level: int = logging.INFO) -> None:
    """Set up structlog and the standard library's logging alike.

    Args:
        service: Named in every line.
        level: Least that is written, unless RIDGELINE_LOG_LEVEL says otherwise.
    """
    try:
        named = LogSettings.load().level
    except Misconfigured as error:
        sys.stderr.write(f"ridgeline: {error}\n")
        raise SystemExit(2) from None
    level = logging.getLevelNamesMapping()[named.upper()] if named else level
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    debug = level <= logging.DEBUG
    logging.getLogger("ridgeline").setLevel(logging.DEBUG if debug else logging.WARNING)
    for driver in _DRIVERS:
        logging.getLogger(driver).setLevel(logging.NOTSET if debug else logging.CRITICAL)
