-- Frozen when released: never edit, add a new file.

CREATE TABLE IF NOT EXISTS pipeline_health (
    topic LowCardinality(String),
    worker LowCardinality(String),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    seconds Float64 COMMENT 'that the counts cover',
    partitions UInt32 COMMENT 'of the topic that the worker has',
    devices UInt64,
    lag_frames Float64 DEFAULT nan COMMENT 'of all partitions the worker has; NaN: not known',
    watermark_delay_seconds Float64 DEFAULT nan COMMENT 'of the slowest; NaN: no row waits',
    frames UInt64,
    samples UInt64,
    late UInt64 COMMENT 'rows too late for their window',
    future UInt64 COMMENT 'rows from too far in the future',
    resets UInt64 COMMENT 'counter resets',
    dead_letters UInt64,
    rebalances UInt64 COMMENT 'times partitions were taken from the worker',
    body String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (topic, worker, ts)
SETTINGS ttl_only_drop_parts = 1;
