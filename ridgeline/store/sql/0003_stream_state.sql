-- Frozen when released: never edit, add a new file.
-- What the detectors of a partition remember, so that a successor goes on where a worker died.

CREATE TABLE IF NOT EXISTS stream_state (
    topic LowCardinality(String),
    partition UInt32,
    at Int64 COMMENT 'every hop up to here has been judged, ms since the epoch',
    body String COMMENT 'zstd of arrays, base64' CODEC(NONE)
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (topic, partition);
