-- Frozen when released: never edit, add a new file.

CREATE TABLE IF NOT EXISTS detections (
    id String,
    detector LowCardinality(String),
    condition LowCardinality(String),
    state LowCardinality(String),
    severity LowCardinality(String),
    node UInt64,
    device UInt64,
    subject String,
    pool LowCardinality(String),
    opened DateTime64(3, 'UTC'),
    updated DateTime64(3, 'UTC'),
    closed Nullable(DateTime64(3, 'UTC')),
    summary String,
    windows UInt32,
    body String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY id;

CREATE TABLE IF NOT EXISTS advice (
    id String,
    rule LowCardinality(String),
    action LowCardinality(String),
    state LowCardinality(String),
    scope_kind LowCardinality(String),
    scope String,
    title String,
    confidence LowCardinality(String),
    gain_usd_month Float64 DEFAULT nan COMMENT 'NaN: no price known',
    created DateTime64(3, 'UTC'),
    updated DateTime64(3, 'UTC'),
    body String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY id;

CREATE TABLE IF NOT EXISTS inventory (
    device UInt64,
    node UInt64,
    kind LowCardinality(String),
    host String,
    name String,
    model LowCardinality(String),
    pool LowCardinality(String),
    rack LowCardinality(String),
    row LowCardinality(String),
    cooling_loop LowCardinality(String),
    pdu LowCardinality(String),
    rail LowCardinality(String),
    job String,
    seen DateTime64(3, 'UTC'),
    body String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(seen)
ORDER BY device;

CREATE TABLE IF NOT EXISTS collector_health (
    node UInt64,
    host LowCardinality(String),
    collector LowCardinality(String),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    success Bool,
    duration_seconds Float64,
    rows UInt64,
    no_data Bool,
    error String,
    body String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (node, collector, ts)
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS device_events (
    device UInt64,
    node UInt64,
    kind LowCardinality(String),
    code Int64,
    message String,
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    body String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (device, ts, kind, code)
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS dead_letters (
    topic LowCardinality(String),
    partition UInt32,
    offset UInt64,
    field LowCardinality(String),
    reason String,
    value_bytes UInt64,
    ts DateTime64(3, 'UTC'),
    body String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (topic, partition, offset, ts)
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS stream_progress (
    topic LowCardinality(String),
    partition UInt32,
    window_end Int64 COMMENT 'ms since the epoch; everything before it is durable',
    saved DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(window_end)
ORDER BY (topic, partition);
