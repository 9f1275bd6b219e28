"""Our own Prometheus metrics: one typed catalogue, which is also their documentation.

Every name is made here and nowhere else, so a typo is an attribute error under mypy.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from ridgeline import __version__
from ridgeline.errors import Misconfigured
from ridgeline.settings import MetricsSettings

REGISTRY = CollectorRegistry(auto_describe=True)
_P = "ridgeline_"


def _counter(name: str, doc: str, *labels: str) -> Counter:
    return Counter(_P + name, doc, labels, registry=REGISTRY)


def _gauge(name: str, doc: str, *labels: str) -> Gauge:
    return Gauge(_P + name, doc, labels, registry=REGISTRY)


def _seconds(name: str, doc: str, *labels: str) -> Histogram:
    return Histogram(_P + name, doc, labels, registry=REGISTRY)


BUILD = _gauge("build_info", "Always 1; the version is in the label", "version")
BUILD.labels(__version__).set(1)

# collectors
COLLECT_SUCCESS = _gauge("collect_success", "1 when the collector's last run worked", "collector")
COLLECT_SECONDS = _seconds("collect_seconds", "Duration of a collector's run", "collector")
COLLECT_ROWS = _counter("collect_rows", "Rows a collector produced", "collector")
COLLECT_SKIPPED = _counter(
    "collect_skipped", "Samples skipped: the run before took too long", "collector"
)
COLLECT_READ_ERRORS = _counter("collect_read_errors", "Single readings that failed", "collector")
PUBLISH_FRAMES = _counter("publish_frames", "Frames acknowledged by Kafka", "topic")
PUBLISH_ERRORS = _counter("publish_errors", "Sends that failed and were retried", "topic")
PUBLISH_DROPPED = _counter("publish_dropped_frames", "Frames dropped: the buffer was full", "topic")
PUBLISH_BUFFER_BYTES = _gauge("publish_buffer_bytes", "Frames waiting to be sent")

# streams
STREAM_FRAMES = _counter("stream_frames", "Frames read", "topic")
STREAM_SAMPLES = _counter("stream_samples", "Rows read", "topic")
STREAM_LATE = _counter("stream_late_samples", "Rows too late for their window", "topic")
STREAM_FUTURE = _counter("stream_future_samples", "Rows from too far in the future", "topic")
STREAM_RESETS = _counter("stream_counter_resets", "Counter resets seen", "topic")
STREAM_WINDOWS = _counter("stream_windows", "Window rows made durable", "topic")
STREAM_LAG = _gauge("stream_lag_frames", "Frames behind the high-water mark", "topic", "partition")
STREAM_WATERMARK = _gauge(
    "stream_watermark_delay_seconds", "Wall clock minus watermark", "topic", "partition"
)
STREAM_DEVICES = _gauge("stream_devices", "Devices in memory", "topic")
STREAM_PARTITIONS = _gauge("stream_partitions", "Partitions this worker has", "topic")
STREAM_REBALANCES = _counter(
    "stream_rebalances", "Times partitions were taken from this worker", "topic"
)
STREAM_STATE_BYTES = _gauge("stream_state_bytes", "State kept by device", "topic")
STREAM_FORGOTTEN = _counter(
    "stream_forgotten_devices", "Devices forgotten after a long silence", "topic"
)
STREAM_FACTS_MISSED = _counter(
    "stream_facts_missed", "Times verdicts went on without what another topic says", "topic"
)
DETECTIONS = _counter("detections", "Episode events", "detector", "state")
EPISODES_OPEN = _gauge("episodes_open", "Episodes open now", "detector")
DETECTOR_ERRORS = _counter("detector_errors", "Windows that a detector failed on", "detector")
DEAD_LETTERS = _counter("dead_letters", "Messages sent to the dead letter", "topic", "field")
DEAD_LETTERS_OVER = _gauge(
    "dead_letters_over_limit", "1 while a minute brought more dead letters than the limit", "topic"
)

# store
STORE_ROWS = _counter("store_rows", "Rows inserted", "table")
STORE_SECONDS = _seconds("store_insert_seconds", "Duration of an insert", "table")
STORE_RETRIES = _counter("store_retries", "Inserts tried again", "table")

# advisor
ADVISE_SECONDS = _seconds("advise_seconds", "Duration of an evaluation")
FACT_SECONDS = _seconds("fact_seconds", "Duration of a query for facts", "fact")
ADVICE_OPEN = _gauge("advice_open", "Advice open now", "rule")
RULE_ERRORS = _counter("rule_errors", "Rules that failed", "rule")
NOTIFY_SENT = _counter("notify_sent", "Chat messages sent")
NOTIFY_ERRORS = _counter("notify_errors", "Chat messages that failed")

# the local stack's supervisor
LOCAL_RESTARTS = _counter("local_restarts", "Parts started again after they died", "part")
LOCAL_RENEWALS = _counter("local_renewals", "Renewals of the embedded broker")
LOCAL_BROKER_BYTES = _gauge("local_broker_bytes", "Resident memory of the embedded broker")


def serve(port: int) -> None:
    """Serve `/metrics` on `RIDGELINE_METRICS_HOST`; port 0 means off.

    Raises:
        Misconfigured: the address cannot be bound.
    """
    if not port:
        return
    host = MetricsSettings.load().host
    try:
        start_http_server(port, addr=host, registry=REGISTRY)
    except OSError as error:
        problem = f"cannot serve /metrics on {host}:{port}: {error.strerror}"
        raise Misconfigured("RIDGELINE_*_METRICS_PORT", problem) from error
