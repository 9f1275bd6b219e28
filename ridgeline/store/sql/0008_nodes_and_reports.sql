-- Frozen when released: never edit, add a new file.
-- Base windows and hours by node; collectors' reports by hour and host, the newest of each collector and the minutes of
-- all nodes (docs/decisions/004). A sort key cannot be changed, so rows move into a new table. Every statement may be
-- run twice in a row without harm, and while a table is away for a moment writers try again.

RENAME TABLE IF EXISTS gpu_windows TO gpu_windows_before_0008;

CREATE TABLE IF NOT EXISTS gpu_windows AS gpu_windows_before_0008
ENGINE = ReplacingMergeTree
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(600)), node, device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO gpu_windows SELECT * FROM gpu_windows_before_0008;

DROP TABLE IF EXISTS gpu_windows_before_0008 SYNC;

RENAME TABLE IF EXISTS gpu_1h TO gpu_1h_before_0008;

CREATE TABLE IF NOT EXISTS gpu_1h AS gpu_1h_before_0008
ENGINE = ReplacingMergeTree(samples)
PARTITION BY toYYYYMM(window_start)
ORDER BY (node, device, window_start)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 1024, min_compress_block_size = 16384;

INSERT INTO gpu_1h SELECT * FROM gpu_1h_before_0008;

DROP TABLE IF EXISTS gpu_1h_before_0008 SYNC;

RENAME TABLE IF EXISTS fabric_windows TO fabric_windows_before_0008;

CREATE TABLE IF NOT EXISTS fabric_windows AS fabric_windows_before_0008
ENGINE = ReplacingMergeTree
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(600)), node, device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO fabric_windows SELECT * FROM fabric_windows_before_0008;

DROP TABLE IF EXISTS fabric_windows_before_0008 SYNC;

RENAME TABLE IF EXISTS fabric_1h TO fabric_1h_before_0008;

CREATE TABLE IF NOT EXISTS fabric_1h AS fabric_1h_before_0008
ENGINE = ReplacingMergeTree(samples)
PARTITION BY toYYYYMM(window_start)
ORDER BY (node, device, window_start)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 1024, min_compress_block_size = 16384;

INSERT INTO fabric_1h SELECT * FROM fabric_1h_before_0008;

DROP TABLE IF EXISTS fabric_1h_before_0008 SYNC;

RENAME TABLE IF EXISTS facility_windows TO facility_windows_before_0008;

CREATE TABLE IF NOT EXISTS facility_windows AS facility_windows_before_0008
ENGINE = ReplacingMergeTree
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(600)), node, device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO facility_windows SELECT * FROM facility_windows_before_0008;

DROP TABLE IF EXISTS facility_windows_before_0008 SYNC;

RENAME TABLE IF EXISTS facility_1h TO facility_1h_before_0008;

CREATE TABLE IF NOT EXISTS facility_1h AS facility_1h_before_0008
ENGINE = ReplacingMergeTree(samples)
PARTITION BY toYYYYMM(window_start)
ORDER BY (node, device, window_start)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 1024, min_compress_block_size = 16384;

INSERT INTO facility_1h SELECT * FROM facility_1h_before_0008;

DROP TABLE IF EXISTS facility_1h_before_0008 SYNC;

RENAME TABLE IF EXISTS serving_windows TO serving_windows_before_0008;

CREATE TABLE IF NOT EXISTS serving_windows AS serving_windows_before_0008
ENGINE = ReplacingMergeTree
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(600)), node, device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO serving_windows SELECT * FROM serving_windows_before_0008;

DROP TABLE IF EXISTS serving_windows_before_0008 SYNC;

RENAME TABLE IF EXISTS serving_1h TO serving_1h_before_0008;

CREATE TABLE IF NOT EXISTS serving_1h AS serving_1h_before_0008
ENGINE = ReplacingMergeTree(samples)
PARTITION BY toYYYYMM(window_start)
ORDER BY (node, device, window_start)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 1024, min_compress_block_size = 16384;

INSERT INTO serving_1h SELECT * FROM serving_1h_before_0008;

DROP TABLE IF EXISTS serving_1h_before_0008 SYNC;

RENAME TABLE IF EXISTS collector_health TO collector_health_before_0008;

CREATE TABLE IF NOT EXISTS collector_health (
    node UInt64,
    host LowCardinality(String),
    collector LowCardinality(String),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    success Bool COMMENT 'of the newest run since the report before',
    duration_seconds Float64 COMMENT 'of the longest run',
    rows UInt64,
    no_data Bool,
    error String,
    body String CODEC(ZSTD(3)),
    runs UInt64 DEFAULT 1,
    failed UInt64 DEFAULT NOT success AND NOT no_data COMMENT 'of the runs',
    INDEX by_time ts TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (toStartOfInterval(ts, toIntervalSecond(3600)), host, collector, ts)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 1024, min_compress_block_size = 16384;

INSERT INTO collector_health (node, host, collector, ts, success, duration_seconds, rows, no_data, error, body)
SELECT node, host, collector, ts, success, duration_seconds, rows, no_data, error, body FROM collector_health_before_0008;

DROP TABLE IF EXISTS collector_health_before_0008 SYNC;

CREATE TABLE IF NOT EXISTS collectors (
    node UInt64,
    host LowCardinality(String),
    collector LowCardinality(String),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    success Bool COMMENT 'of the newest run since the report before',
    duration_seconds Float64 COMMENT 'of the longest run',
    rows UInt64,
    no_data Bool,
    error String,
    body String CODEC(ZSTD(3)),
    runs UInt64 DEFAULT 1,
    failed UInt64 DEFAULT NOT success AND NOT no_data COMMENT 'of the runs'
)
ENGINE = ReplacingMergeTree(ts)
ORDER BY (host, collector);

INSERT INTO collectors (node, host, collector, ts, success, duration_seconds, rows, no_data, error, body)
SELECT argMax(h.node, h.ts), host, collector, max(h.ts), argMax(h.success, h.ts), argMax(h.duration_seconds, h.ts),
    argMax(h.rows, h.ts), argMax(h.no_data, h.ts), argMax(h.error, h.ts), argMax(h.body, h.ts)
FROM collector_health AS h
GROUP BY host, collector;

CREATE TABLE IF NOT EXISTS collector_minutes (
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    collector LowCardinality(String),
    nodes UInt64 COMMENT 'that reported',
    reports UInt64 COMMENT 'that were folded: more of them replace fewer',
    runs UInt64,
    failed UInt64 COMMENT 'of the runs',
    duration_p95_seconds Float64 COMMENT 'over nodes'
)
ENGINE = ReplacingMergeTree(reports)
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, collector)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO collector_minutes (ts, collector, nodes, reports, runs, failed, duration_p95_seconds)
SELECT toStartOfMinute(h.ts) AS minute, collector, uniqExact(h.node), count(), sum(h.runs), sum(h.failed),
    quantileExact(0.95)(h.duration_seconds)
FROM collector_health AS h FINAL
GROUP BY minute, collector
SETTINGS do_not_merge_across_partitions_select_final = 1;
