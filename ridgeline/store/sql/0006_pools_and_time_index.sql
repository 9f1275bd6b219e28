-- Frozen when released: never edit, add a new file.
-- Pools beside places, how many windows a rollup has folded, an index of the times, minutes by half
-- an hour and in smaller granules, places by stretch and place (docs/decisions/004): a sort key cannot be changed, so
-- rows move into a new table. Every statement may be run twice in a row without harm, and while a table
-- is away for a moment writers try again.

ALTER TABLE gpu_windows
    ADD COLUMN IF NOT EXISTS windows UInt32 ALIAS 1,
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

ALTER TABLE gpu_windows MATERIALIZE INDEX by_time;

ALTER TABLE gpu_1h ADD COLUMN IF NOT EXISTS windows UInt32 DEFAULT 360 CODEC(T64, ZSTD(1));

RENAME TABLE IF EXISTS gpu_1m TO gpu_1m_before_0006;

ALTER TABLE gpu_1m_before_0006
    ADD COLUMN IF NOT EXISTS windows UInt32 DEFAULT 6 CODEC(T64, ZSTD(1)),
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

CREATE TABLE IF NOT EXISTS gpu_1m AS gpu_1m_before_0006
ENGINE = ReplacingMergeTree(samples)
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(1800)), device, window_start)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 4096;

INSERT INTO gpu_1m SELECT * FROM gpu_1m_before_0006;

DROP TABLE IF EXISTS gpu_1m_before_0006 SYNC;

RENAME TABLE IF EXISTS gpu_places_1m TO gpu_places_1m_before_0006;

ALTER TABLE gpu_places_1m_before_0006
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

CREATE TABLE IF NOT EXISTS gpu_places_1m AS gpu_places_1m_before_0006
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(21600)), device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO gpu_places_1m SELECT * FROM gpu_places_1m_before_0006;

DROP TABLE IF EXISTS gpu_places_1m_before_0006 SYNC;

RENAME TABLE IF EXISTS gpu_places_1h TO gpu_places_1h_before_0006;

CREATE TABLE IF NOT EXISTS gpu_places_1h AS gpu_places_1h_before_0006
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toYYYYMM(window_start)
ORDER BY (device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO gpu_places_1h SELECT * FROM gpu_places_1h_before_0006;

DROP TABLE IF EXISTS gpu_places_1h_before_0006 SYNC;

CREATE TABLE IF NOT EXISTS gpu_pools_1m AS gpu_places_1m
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toDate(window_start)
ORDER BY (window_start, device)
SETTINGS ttl_only_drop_parts = 1;

ALTER TABLE gpu_pools_1m DROP INDEX IF EXISTS by_time;

CREATE TABLE IF NOT EXISTS gpu_pools_1h AS gpu_places_1h
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, device)
SETTINGS ttl_only_drop_parts = 1;

ALTER TABLE fabric_windows
    ADD COLUMN IF NOT EXISTS windows UInt32 ALIAS 1,
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

ALTER TABLE fabric_windows MATERIALIZE INDEX by_time;

ALTER TABLE fabric_1h ADD COLUMN IF NOT EXISTS windows UInt32 DEFAULT 360 CODEC(T64, ZSTD(1));

RENAME TABLE IF EXISTS fabric_1m TO fabric_1m_before_0006;

ALTER TABLE fabric_1m_before_0006
    ADD COLUMN IF NOT EXISTS windows UInt32 DEFAULT 6 CODEC(T64, ZSTD(1)),
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

CREATE TABLE IF NOT EXISTS fabric_1m AS fabric_1m_before_0006
ENGINE = ReplacingMergeTree(samples)
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(1800)), device, window_start)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 4096;

INSERT INTO fabric_1m SELECT * FROM fabric_1m_before_0006;

DROP TABLE IF EXISTS fabric_1m_before_0006 SYNC;

RENAME TABLE IF EXISTS fabric_places_1m TO fabric_places_1m_before_0006;

ALTER TABLE fabric_places_1m_before_0006
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

CREATE TABLE IF NOT EXISTS fabric_places_1m AS fabric_places_1m_before_0006
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(21600)), device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO fabric_places_1m SELECT * FROM fabric_places_1m_before_0006;

DROP TABLE IF EXISTS fabric_places_1m_before_0006 SYNC;

RENAME TABLE IF EXISTS fabric_places_1h TO fabric_places_1h_before_0006;

CREATE TABLE IF NOT EXISTS fabric_places_1h AS fabric_places_1h_before_0006
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toYYYYMM(window_start)
ORDER BY (device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO fabric_places_1h SELECT * FROM fabric_places_1h_before_0006;

DROP TABLE IF EXISTS fabric_places_1h_before_0006 SYNC;

CREATE TABLE IF NOT EXISTS fabric_pools_1m AS fabric_places_1m
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toDate(window_start)
ORDER BY (window_start, device)
SETTINGS ttl_only_drop_parts = 1;

ALTER TABLE fabric_pools_1m DROP INDEX IF EXISTS by_time;

CREATE TABLE IF NOT EXISTS fabric_pools_1h AS fabric_places_1h
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, device)
SETTINGS ttl_only_drop_parts = 1;

ALTER TABLE facility_windows
    ADD COLUMN IF NOT EXISTS windows UInt32 ALIAS 1,
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

ALTER TABLE facility_windows MATERIALIZE INDEX by_time;

ALTER TABLE facility_1h ADD COLUMN IF NOT EXISTS windows UInt32 DEFAULT 360 CODEC(T64, ZSTD(1));

RENAME TABLE IF EXISTS facility_1m TO facility_1m_before_0006;

ALTER TABLE facility_1m_before_0006
    ADD COLUMN IF NOT EXISTS windows UInt32 DEFAULT 6 CODEC(T64, ZSTD(1)),
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

CREATE TABLE IF NOT EXISTS facility_1m AS facility_1m_before_0006
ENGINE = ReplacingMergeTree(samples)
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(1800)), device, window_start)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 4096;

INSERT INTO facility_1m SELECT * FROM facility_1m_before_0006;

DROP TABLE IF EXISTS facility_1m_before_0006 SYNC;

RENAME TABLE IF EXISTS facility_places_1m TO facility_places_1m_before_0006;

ALTER TABLE facility_places_1m_before_0006
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

CREATE TABLE IF NOT EXISTS facility_places_1m AS facility_places_1m_before_0006
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(21600)), device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO facility_places_1m SELECT * FROM facility_places_1m_before_0006;

DROP TABLE IF EXISTS facility_places_1m_before_0006 SYNC;

RENAME TABLE IF EXISTS facility_places_1h TO facility_places_1h_before_0006;

CREATE TABLE IF NOT EXISTS facility_places_1h AS facility_places_1h_before_0006
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toYYYYMM(window_start)
ORDER BY (device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO facility_places_1h SELECT * FROM facility_places_1h_before_0006;

DROP TABLE IF EXISTS facility_places_1h_before_0006 SYNC;

CREATE TABLE IF NOT EXISTS facility_pools_1m AS facility_places_1m
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toDate(window_start)
ORDER BY (window_start, device)
SETTINGS ttl_only_drop_parts = 1;

ALTER TABLE facility_pools_1m DROP INDEX IF EXISTS by_time;

CREATE TABLE IF NOT EXISTS facility_pools_1h AS facility_places_1h
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, device)
SETTINGS ttl_only_drop_parts = 1;

ALTER TABLE serving_windows
    ADD COLUMN IF NOT EXISTS windows UInt32 ALIAS 1,
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

ALTER TABLE serving_windows MATERIALIZE INDEX by_time;

ALTER TABLE serving_1h ADD COLUMN IF NOT EXISTS windows UInt32 DEFAULT 360 CODEC(T64, ZSTD(1));

RENAME TABLE IF EXISTS serving_1m TO serving_1m_before_0006;

ALTER TABLE serving_1m_before_0006
    ADD COLUMN IF NOT EXISTS windows UInt32 DEFAULT 6 CODEC(T64, ZSTD(1)),
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

CREATE TABLE IF NOT EXISTS serving_1m AS serving_1m_before_0006
ENGINE = ReplacingMergeTree(samples)
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(1800)), device, window_start)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 4096;

INSERT INTO serving_1m SELECT * FROM serving_1m_before_0006;

DROP TABLE IF EXISTS serving_1m_before_0006 SYNC;

RENAME TABLE IF EXISTS serving_places_1m TO serving_places_1m_before_0006;

ALTER TABLE serving_places_1m_before_0006
    ADD INDEX IF NOT EXISTS by_time window_start TYPE minmax GRANULARITY 1;

CREATE TABLE IF NOT EXISTS serving_places_1m AS serving_places_1m_before_0006
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toDate(window_start)
ORDER BY (toStartOfInterval(window_start, toIntervalSecond(21600)), device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO serving_places_1m SELECT * FROM serving_places_1m_before_0006;

DROP TABLE IF EXISTS serving_places_1m_before_0006 SYNC;

RENAME TABLE IF EXISTS serving_places_1h TO serving_places_1h_before_0006;

CREATE TABLE IF NOT EXISTS serving_places_1h AS serving_places_1h_before_0006
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toYYYYMM(window_start)
ORDER BY (device, window_start)
SETTINGS ttl_only_drop_parts = 1;

INSERT INTO serving_places_1h SELECT * FROM serving_places_1h_before_0006;

DROP TABLE IF EXISTS serving_places_1h_before_0006 SYNC;

CREATE TABLE IF NOT EXISTS serving_pools_1m AS serving_places_1m
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toDate(window_start)
ORDER BY (window_start, device)
SETTINGS ttl_only_drop_parts = 1;

ALTER TABLE serving_pools_1m DROP INDEX IF EXISTS by_time;

CREATE TABLE IF NOT EXISTS serving_pools_1h AS serving_places_1h
ENGINE = ReplacingMergeTree(rebuilt)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, device)
SETTINGS ttl_only_drop_parts = 1;

-- Pools of the places that are there.

INSERT INTO places (device, kind, pool, rack, cooling_loop, rail, model)
SELECT
    cityHash64('place', toString(kind), toString(pool), '', '', toString(rail), toString(model)),
    kind, pool, '', '', rail, model
FROM places FINAL
GROUP BY kind, pool, rail, model;

INSERT INTO gpu_pools_1m (
    window_start,
    node,
    device,
    samples,
    graphics_util_ratio_avg,
    graphics_util_ratio_min,
    graphics_util_ratio_max,
    sm_util_ratio_avg,
    sm_util_ratio_min,
    sm_util_ratio_max,
    sm_occupancy_ratio_avg,
    sm_occupancy_ratio_min,
    sm_occupancy_ratio_max,
    tensor_util_ratio_avg,
    tensor_util_ratio_min,
    tensor_util_ratio_max,
    dram_util_ratio_avg,
    dram_util_ratio_min,
    dram_util_ratio_max,
    fp32_util_ratio_avg,
    fp32_util_ratio_min,
    fp32_util_ratio_max,
    fp16_util_ratio_avg,
    fp16_util_ratio_min,
    fp16_util_ratio_max,
    gpu_util_ratio_avg,
    gpu_util_ratio_min,
    gpu_util_ratio_max,
    memory_util_ratio_avg,
    memory_util_ratio_min,
    memory_util_ratio_max,
    power_watts_avg,
    power_watts_min,
    power_watts_max,
    power_limit_watts_avg,
    power_limit_watts_min,
    power_limit_watts_max,
    temperature_celsius_avg,
    temperature_celsius_min,
    temperature_celsius_max,
    memory_temperature_celsius_avg,
    memory_temperature_celsius_min,
    memory_temperature_celsius_max,
    tlimit_margin_celsius_avg,
    tlimit_margin_celsius_min,
    tlimit_margin_celsius_max,
    slowdown_margin_celsius_avg,
    slowdown_margin_celsius_min,
    slowdown_margin_celsius_max,
    sm_clock_mhz_avg,
    sm_clock_mhz_min,
    sm_clock_mhz_max,
    sm_clock_max_mhz_avg,
    sm_clock_max_mhz_min,
    sm_clock_max_mhz_max,
    memory_clock_mhz_avg,
    memory_clock_mhz_min,
    memory_clock_mhz_max,
    memory_used_bytes_avg,
    memory_used_bytes_min,
    memory_used_bytes_max,
    memory_total_bytes_avg,
    memory_total_bytes_min,
    memory_total_bytes_max,
    pcie_tx_bytes_per_second_avg,
    pcie_tx_bytes_per_second_min,
    pcie_tx_bytes_per_second_max,
    pcie_rx_bytes_per_second_avg,
    pcie_rx_bytes_per_second_min,
    pcie_rx_bytes_per_second_max,
    nvlink_tx_bytes_per_second_avg,
    nvlink_tx_bytes_per_second_min,
    nvlink_tx_bytes_per_second_max,
    nvlink_rx_bytes_per_second_avg,
    nvlink_rx_bytes_per_second_min,
    nvlink_rx_bytes_per_second_max,
    energy_mj_inc,
    throttle_power_ns_inc,
    throttle_thermal_ns_inc,
    throttle_sw_thermal_ns_inc,
    throttle_hw_thermal_ns_inc,
    throttle_power_brake_ns_inc,
    ecc_corrected_inc,
    ecc_uncorrected_inc,
    remapped_rows_inc,
    pcie_replays_inc,
    nvlink_errors_inc,
    xid_events_inc,
    clock_event_reasons_or,
    last_xid_last,
    pstate_last,
    devices,
    rebuilt
)
SELECT
    window_start,
    0,
    cityHash64('place', 'gpu', toString(pool), '', '', toString(rail), toString(model)) AS place,
    sum(samples),
    sumIf(graphics_util_ratio_avg * samples, NOT isNaN(graphics_util_ratio_avg)) / sumIf(samples, NOT isNaN(graphics_util_ratio_avg)),
    if(countIf(NOT isNaN(graphics_util_ratio_min)) = 0, nan, minIf(graphics_util_ratio_min, NOT isNaN(graphics_util_ratio_min))),
    if(countIf(NOT isNaN(graphics_util_ratio_max)) = 0, nan, maxIf(graphics_util_ratio_max, NOT isNaN(graphics_util_ratio_max))),
    sumIf(sm_util_ratio_avg * samples, NOT isNaN(sm_util_ratio_avg)) / sumIf(samples, NOT isNaN(sm_util_ratio_avg)),
    if(countIf(NOT isNaN(sm_util_ratio_min)) = 0, nan, minIf(sm_util_ratio_min, NOT isNaN(sm_util_ratio_min))),
    if(countIf(NOT isNaN(sm_util_ratio_max)) = 0, nan, maxIf(sm_util_ratio_max, NOT isNaN(sm_util_ratio_max))),
    sumIf(sm_occupancy_ratio_avg * samples, NOT isNaN(sm_occupancy_ratio_avg)) / sumIf(samples, NOT isNaN(sm_occupancy_ratio_avg)),
    if(countIf(NOT isNaN(sm_occupancy_ratio_min)) = 0, nan, minIf(sm_occupancy_ratio_min, NOT isNaN(sm_occupancy_ratio_min))),
    if(countIf(NOT isNaN(sm_occupancy_ratio_max)) = 0, nan, maxIf(sm_occupancy_ratio_max, NOT isNaN(sm_occupancy_ratio_max))),
    sumIf(tensor_util_ratio_avg * samples, NOT isNaN(tensor_util_ratio_avg)) / sumIf(samples, NOT isNaN(tensor_util_ratio_avg)),
    if(countIf(NOT isNaN(tensor_util_ratio_min)) = 0, nan, minIf(tensor_util_ratio_min, NOT isNaN(tensor_util_ratio_min))),
    if(countIf(NOT isNaN(tensor_util_ratio_max)) = 0, nan, maxIf(tensor_util_ratio_max, NOT isNaN(tensor_util_ratio_max))),
    sumIf(dram_util_ratio_avg * samples, NOT isNaN(dram_util_ratio_avg)) / sumIf(samples, NOT isNaN(dram_util_ratio_avg)),
    if(countIf(NOT isNaN(dram_util_ratio_min)) = 0, nan, minIf(dram_util_ratio_min, NOT isNaN(dram_util_ratio_min))),
    if(countIf(NOT isNaN(dram_util_ratio_max)) = 0, nan, maxIf(dram_util_ratio_max, NOT isNaN(dram_util_ratio_max))),
    sumIf(fp32_util_ratio_avg * samples, NOT isNaN(fp32_util_ratio_avg)) / sumIf(samples, NOT isNaN(fp32_util_ratio_avg)),
    if(countIf(NOT isNaN(fp32_util_ratio_min)) = 0, nan, minIf(fp32_util_ratio_min, NOT isNaN(fp32_util_ratio_min))),
    if(countIf(NOT isNaN(fp32_util_ratio_max)) = 0, nan, maxIf(fp32_util_ratio_max, NOT isNaN(fp32_util_ratio_max))),
    sumIf(fp16_util_ratio_avg * samples, NOT isNaN(fp16_util_ratio_avg)) / sumIf(samples, NOT isNaN(fp16_util_ratio_avg)),
    if(countIf(NOT isNaN(fp16_util_ratio_min)) = 0, nan, minIf(fp16_util_ratio_min, NOT isNaN(fp16_util_ratio_min))),
    if(countIf(NOT isNaN(fp16_util_ratio_max)) = 0, nan, maxIf(fp16_util_ratio_max, NOT isNaN(fp16_util_ratio_max))),
    sumIf(gpu_util_ratio_avg * samples, NOT isNaN(gpu_util_ratio_avg)) / sumIf(samples, NOT isNaN(gpu_util_ratio_avg)),
    if(countIf(NOT isNaN(gpu_util_ratio_min)) = 0, nan, minIf(gpu_util_ratio_min, NOT isNaN(gpu_util_ratio_min))),
    if(countIf(NOT isNaN(gpu_util_ratio_max)) = 0, nan, maxIf(gpu_util_ratio_max, NOT isNaN(gpu_util_ratio_max))),
    sumIf(memory_util_ratio_avg * samples, NOT isNaN(memory_util_ratio_avg)) / sumIf(samples, NOT isNaN(memory_util_ratio_avg)),
    if(countIf(NOT isNaN(memory_util_ratio_min)) = 0, nan, minIf(memory_util_ratio_min, NOT isNaN(memory_util_ratio_min))),
    if(countIf(NOT isNaN(memory_util_ratio_max)) = 0, nan, maxIf(memory_util_ratio_max, NOT isNaN(memory_util_ratio_max))),
    sumIf(power_watts_avg * samples, NOT isNaN(power_watts_avg)) / sumIf(samples, NOT isNaN(power_watts_avg)),
    if(countIf(NOT isNaN(power_watts_min)) = 0, nan, minIf(power_watts_min, NOT isNaN(power_watts_min))),
    if(countIf(NOT isNaN(power_watts_max)) = 0, nan, maxIf(power_watts_max, NOT isNaN(power_watts_max))),
    sumIf(power_limit_watts_avg * samples, NOT isNaN(power_limit_watts_avg)) / sumIf(samples, NOT isNaN(power_limit_watts_avg)),
    if(countIf(NOT isNaN(power_limit_watts_min)) = 0, nan, minIf(power_limit_watts_min, NOT isNaN(power_limit_watts_min))),
    if(countIf(NOT isNaN(power_limit_watts_max)) = 0, nan, maxIf(power_limit_watts_max, NOT isNaN(power_limit_watts_max))),
    sumIf(temperature_celsius_avg * samples, NOT isNaN(temperature_celsius_avg)) / sumIf(samples, NOT isNaN(temperature_celsius_avg)),
    if(countIf(NOT isNaN(temperature_celsius_min)) = 0, nan, minIf(temperature_celsius_min, NOT isNaN(temperature_celsius_min))),
    if(countIf(NOT isNaN(temperature_celsius_max)) = 0, nan, maxIf(temperature_celsius_max, NOT isNaN(temperature_celsius_max))),
    sumIf(memory_temperature_celsius_avg * samples, NOT isNaN(memory_temperature_celsius_avg)) / sumIf(samples, NOT isNaN(memory_temperature_celsius_avg)),
    if(countIf(NOT isNaN(memory_temperature_celsius_min)) = 0, nan, minIf(memory_temperature_celsius_min, NOT isNaN(memory_temperature_celsius_min))),
    if(countIf(NOT isNaN(memory_temperature_celsius_max)) = 0, nan, maxIf(memory_temperature_celsius_max, NOT isNaN(memory_temperature_celsius_max))),
    sumIf(tlimit_margin_celsius_avg * samples, NOT isNaN(tlimit_margin_celsius_avg)) / sumIf(samples, NOT isNaN(tlimit_margin_celsius_avg)),
    if(countIf(NOT isNaN(tlimit_margin_celsius_min)) = 0, nan, minIf(tlimit_margin_celsius_min, NOT isNaN(tlimit_margin_celsius_min))),
    if(countIf(NOT isNaN(tlimit_margin_celsius_max)) = 0, nan, maxIf(tlimit_margin_celsius_max, NOT isNaN(tlimit_margin_celsius_max))),
    sumIf(slowdown_margin_celsius_avg * samples, NOT isNaN(slowdown_margin_celsius_avg)) / sumIf(samples, NOT isNaN(slowdown_margin_celsius_avg)),
    if(countIf(NOT isNaN(slowdown_margin_celsius_min)) = 0, nan, minIf(slowdown_margin_celsius_min, NOT isNaN(slowdown_margin_celsius_min))),
    if(countIf(NOT isNaN(slowdown_margin_celsius_max)) = 0, nan, maxIf(slowdown_margin_celsius_max, NOT isNaN(slowdown_margin_celsius_max))),
    sumIf(sm_clock_mhz_avg * samples, NOT isNaN(sm_clock_mhz_avg)) / sumIf(samples, NOT isNaN(sm_clock_mhz_avg)),
    if(countIf(NOT isNaN(sm_clock_mhz_min)) = 0, nan, minIf(sm_clock_mhz_min, NOT isNaN(sm_clock_mhz_min))),
    if(countIf(NOT isNaN(sm_clock_mhz_max)) = 0, nan, maxIf(sm_clock_mhz_max, NOT isNaN(sm_clock_mhz_max))),
    sumIf(sm_clock_max_mhz_avg * samples, NOT isNaN(sm_clock_max_mhz_avg)) / sumIf(samples, NOT isNaN(sm_clock_max_mhz_avg)),
    if(countIf(NOT isNaN(sm_clock_max_mhz_min)) = 0, nan, minIf(sm_clock_max_mhz_min, NOT isNaN(sm_clock_max_mhz_min))),
    if(countIf(NOT isNaN(sm_clock_max_mhz_max)) = 0, nan, maxIf(sm_clock_max_mhz_max, NOT isNaN(sm_clock_max_mhz_max))),
    sumIf(memory_clock_mhz_avg * samples, NOT isNaN(memory_clock_mhz_avg)) / sumIf(samples, NOT isNaN(memory_clock_mhz_avg)),
    if(countIf(NOT isNaN(memory_clock_mhz_min)) = 0, nan, minIf(memory_clock_mhz_min, NOT isNaN(memory_clock_mhz_min))),
    if(countIf(NOT isNaN(memory_clock_mhz_max)) = 0, nan, maxIf(memory_clock_mhz_max, NOT isNaN(memory_clock_mhz_max))),
    sumIf(memory_used_bytes_avg * samples, NOT isNaN(memory_used_bytes_avg)) / sumIf(samples, NOT isNaN(memory_used_bytes_avg)),
    if(countIf(NOT isNaN(memory_used_bytes_min)) = 0, nan, minIf(memory_used_bytes_min, NOT isNaN(memory_used_bytes_min))),
    if(countIf(NOT isNaN(memory_used_bytes_max)) = 0, nan, maxIf(memory_used_bytes_max, NOT isNaN(memory_used_bytes_max))),
    sumIf(memory_total_bytes_avg * samples, NOT isNaN(memory_total_bytes_avg)) / sumIf(samples, NOT isNaN(memory_total_bytes_avg)),
    if(countIf(NOT isNaN(memory_total_bytes_min)) = 0, nan, minIf(memory_total_bytes_min, NOT isNaN(memory_total_bytes_min))),
    if(countIf(NOT isNaN(memory_total_bytes_max)) = 0, nan, maxIf(memory_total_bytes_max, NOT isNaN(memory_total_bytes_max))),
    sumIf(pcie_tx_bytes_per_second_avg * samples, NOT isNaN(pcie_tx_bytes_per_second_avg)) / sumIf(samples, NOT isNaN(pcie_tx_bytes_per_second_avg)),
    if(countIf(NOT isNaN(pcie_tx_bytes_per_second_min)) = 0, nan, minIf(pcie_tx_bytes_per_second_min, NOT isNaN(pcie_tx_bytes_per_second_min))),
    if(countIf(NOT isNaN(pcie_tx_bytes_per_second_max)) = 0, nan, maxIf(pcie_tx_bytes_per_second_max, NOT isNaN(pcie_tx_bytes_per_second_max))),
    sumIf(pcie_rx_bytes_per_second_avg * samples, NOT isNaN(pcie_rx_bytes_per_second_avg)) / sumIf(samples, NOT isNaN(pcie_rx_bytes_per_second_avg)),
    if(countIf(NOT isNaN(pcie_rx_bytes_per_second_min)) = 0, nan, minIf(pcie_rx_bytes_per_second_min, NOT isNaN(pcie_rx_bytes_per_second_min))),
    if(countIf(NOT isNaN(pcie_rx_bytes_per_second_max)) = 0, nan, maxIf(pcie_rx_bytes_per_second_max, NOT isNaN(pcie_rx_bytes_per_second_max))),
    sumIf(nvlink_tx_bytes_per_second_avg * samples, NOT isNaN(nvlink_tx_bytes_per_second_avg)) / sumIf(samples, NOT isNaN(nvlink_tx_bytes_per_second_avg)),
    if(countIf(NOT isNaN(nvlink_tx_bytes_per_second_min)) = 0, nan, minIf(nvlink_tx_bytes_per_second_min, NOT isNaN(nvlink_tx_bytes_per_second_min))),
    if(countIf(NOT isNaN(nvlink_tx_bytes_per_second_max)) = 0, nan, maxIf(nvlink_tx_bytes_per_second_max, NOT isNaN(nvlink_tx_bytes_per_second_max))),
    sumIf(nvlink_rx_bytes_per_second_avg * samples, NOT isNaN(nvlink_rx_bytes_per_second_avg)) / sumIf(samples, NOT isNaN(nvlink_rx_bytes_per_second_avg)),
    if(countIf(NOT isNaN(nvlink_rx_bytes_per_second_min)) = 0, nan, minIf(nvlink_rx_bytes_per_second_min, NOT isNaN(nvlink_rx_bytes_per_second_min))),
    if(countIf(NOT isNaN(nvlink_rx_bytes_per_second_max)) = 0, nan, maxIf(nvlink_rx_bytes_per_second_max, NOT isNaN(nvlink_rx_bytes_per_second_max))),
    sumIf(energy_mj_inc * devices, NOT isNaN(energy_mj_inc)) / sumIf(devices, NOT isNaN(energy_mj_inc)),
    sumIf(throttle_power_ns_inc * devices, NOT isNaN(throttle_power_ns_inc)) / sumIf(devices, NOT isNaN(throttle_power_ns_inc)),
    sumIf(throttle_thermal_ns_inc * devices, NOT isNaN(throttle_thermal_ns_inc)) / sumIf(devices, NOT isNaN(throttle_thermal_ns_inc)),
    sumIf(throttle_sw_thermal_ns_inc * devices, NOT isNaN(throttle_sw_thermal_ns_inc)) / sumIf(devices, NOT isNaN(throttle_sw_thermal_ns_inc)),
    sumIf(throttle_hw_thermal_ns_inc * devices, NOT isNaN(throttle_hw_thermal_ns_inc)) / sumIf(devices, NOT isNaN(throttle_hw_thermal_ns_inc)),
    sumIf(throttle_power_brake_ns_inc * devices, NOT isNaN(throttle_power_brake_ns_inc)) / sumIf(devices, NOT isNaN(throttle_power_brake_ns_inc)),
    sumIf(ecc_corrected_inc * devices, NOT isNaN(ecc_corrected_inc)) / sumIf(devices, NOT isNaN(ecc_corrected_inc)),
    sumIf(ecc_uncorrected_inc * devices, NOT isNaN(ecc_uncorrected_inc)) / sumIf(devices, NOT isNaN(ecc_uncorrected_inc)),
    sumIf(remapped_rows_inc * devices, NOT isNaN(remapped_rows_inc)) / sumIf(devices, NOT isNaN(remapped_rows_inc)),
    sumIf(pcie_replays_inc * devices, NOT isNaN(pcie_replays_inc)) / sumIf(devices, NOT isNaN(pcie_replays_inc)),
    sumIf(nvlink_errors_inc * devices, NOT isNaN(nvlink_errors_inc)) / sumIf(devices, NOT isNaN(nvlink_errors_inc)),
    sumIf(xid_events_inc * devices, NOT isNaN(xid_events_inc)) / sumIf(devices, NOT isNaN(xid_events_inc)),
    if(countIf(clock_event_reasons_or != 4294967295) = 0, 4294967295, groupBitOrIf(clock_event_reasons_or, clock_event_reasons_or != 4294967295)),
    4294967295,
    4294967295,
    sum(devices),
    now64(6, 'UTC')
FROM (SELECT * FROM gpu_places_1m FINAL WHERE devices > 0) AS w
LEFT JOIN (SELECT device, pool, rail, model FROM places FINAL) AS i USING (device)
GROUP BY window_start, place;

INSERT INTO gpu_pools_1h (
    window_start,
    node,
    device,
    samples,
    graphics_util_ratio_avg,
    graphics_util_ratio_min,
    graphics_util_ratio_max,
    sm_util_ratio_avg,
    sm_util_ratio_min,
    sm_util_ratio_max,
    sm_occupancy_ratio_avg,
    sm_occupancy_ratio_min,
    sm_occupancy_ratio_max,
    tensor_util_ratio_avg,
    tensor_util_ratio_min,
    tensor_util_ratio_max,
    dram_util_ratio_avg,
    dram_util_ratio_min,
    dram_util_ratio_max,
    fp32_util_ratio_avg,
    fp32_util_ratio_min,
    fp32_util_ratio_max,
    fp16_util_ratio_avg,
    fp16_util_ratio_min,
    fp16_util_ratio_max,
    gpu_util_ratio_avg,
    gpu_util_ratio_min,
    gpu_util_ratio_max,
    memory_util_ratio_avg,
    memory_util_ratio_min,
    memory_util_ratio_max,
    power_watts_avg,
    power_watts_min,
    power_watts_max,
    power_limit_watts_avg,
    power_limit_watts_min,
    power_limit_watts_max,
    temperature_celsius_avg,
    temperature_celsius_min,
    temperature_celsius_max,
    memory_temperature_celsius_avg,
    memory_temperature_celsius_min,
    memory_temperature_celsius_max,
    tlimit_margin_celsius_avg,
    tlimit_margin_celsius_min,
    tlimit_margin_celsius_max,
    slowdown_margin_celsius_avg,
    slowdown_margin_celsius_min,
    slowdown_margin_celsius_max,
    sm_clock_mhz_avg,
    sm_clock_mhz_min,
    sm_clock_mhz_max,
    sm_clock_max_mhz_avg,
    sm_clock_max_mhz_min,
    sm_clock_max_mhz_max,
    memory_clock_mhz_avg,
    memory_clock_mhz_min,
    memory_clock_mhz_max,
    memory_used_bytes_avg,
    memory_used_bytes_min,
    memory_used_bytes_max,
    memory_total_bytes_avg,
    memory_total_bytes_min,
    memory_total_bytes_max,
    pcie_tx_bytes_per_second_avg,
    pcie_tx_bytes_per_second_min,
    pcie_tx_bytes_per_second_max,
    pcie_rx_bytes_per_second_avg,
    pcie_rx_bytes_per_second_min,
    pcie_rx_bytes_per_second_max,
    nvlink_tx_bytes_per_second_avg,
    nvlink_tx_bytes_per_second_min,
    nvlink_tx_bytes_per_second_max,
    nvlink_rx_bytes_per_second_avg,
    nvlink_rx_bytes_per_second_min,
    nvlink_rx_bytes_per_second_max,
    energy_mj_inc,
    throttle_power_ns_inc,
    throttle_thermal_ns_inc,
    throttle_sw_thermal_ns_inc,
    throttle_hw_thermal_ns_inc,
    throttle_power_brake_ns_inc,
    ecc_corrected_inc,
    ecc_uncorrected_inc,
    remapped_rows_inc,
    pcie_replays_inc,
    nvlink_errors_inc,
    xid_events_inc,
    clock_event_reasons_or,
    last_xid_last,
    pstate_last,
    devices,
    rebuilt
)
SELECT
    window_start,
    0,
    cityHash64('place', 'gpu', toString(pool), '', '', toString(rail), toString(model)) AS place,
    sum(samples),
    sumIf(graphics_util_ratio_avg * samples, NOT isNaN(graphics_util_ratio_avg)) / sumIf(samples, NOT isNaN(graphics_util_ratio_avg)),
    if(countIf(NOT isNaN(graphics_util_ratio_min)) = 0, nan, minIf(graphics_util_ratio_min, NOT isNaN(graphics_util_ratio_min))),
    if(countIf(NOT isNaN(graphics_util_ratio_max)) = 0, nan, maxIf(graphics_util_ratio_max, NOT isNaN(graphics_util_ratio_max))),
    sumIf(sm_util_ratio_avg * samples, NOT isNaN(sm_util_ratio_avg)) / sumIf(samples, NOT isNaN(sm_util_ratio_avg)),
    if(countIf(NOT isNaN(sm_util_ratio_min)) = 0, nan, minIf(sm_util_ratio_min, NOT isNaN(sm_util_ratio_min))),
    if(countIf(NOT isNaN(sm_util_ratio_max)) = 0, nan, maxIf(sm_util_ratio_max, NOT isNaN(sm_util_ratio_max))),
    sumIf(sm_occupancy_ratio_avg * samples, NOT isNaN(sm_occupancy_ratio_avg)) / sumIf(samples, NOT isNaN(sm_occupancy_ratio_avg)),
    if(countIf(NOT isNaN(sm_occupancy_ratio_min)) = 0, nan, minIf(sm_occupancy_ratio_min, NOT isNaN(sm_occupancy_ratio_min))),
    if(countIf(NOT isNaN(sm_occupancy_ratio_max)) = 0, nan, maxIf(sm_occupancy_ratio_max, NOT isNaN(sm_occupancy_ratio_max))),
    sumIf(tensor_util_ratio_avg * samples, NOT isNaN(tensor_util_ratio_avg)) / sumIf(samples, NOT isNaN(tensor_util_ratio_avg)),
    if(countIf(NOT isNaN(tensor_util_ratio_min)) = 0, nan, minIf(tensor_util_ratio_min, NOT isNaN(tensor_util_ratio_min))),
    if(countIf(NOT isNaN(tensor_util_ratio_max)) = 0, nan, maxIf(tensor_util_ratio_max, NOT isNaN(tensor_util_ratio_max))),
    sumIf(dram_util_ratio_avg * samples, NOT isNaN(dram_util_ratio_avg)) / sumIf(samples, NOT isNaN(dram_util_ratio_avg)),
    if(countIf(NOT isNaN(dram_util_ratio_min)) = 0, nan, minIf(dram_util_ratio_min, NOT isNaN(dram_util_ratio_min))),
    if(countIf(NOT isNaN(dram_util_ratio_max)) = 0, nan, maxIf(dram_util_ratio_max, NOT isNaN(dram_util_ratio_max))),
    sumIf(fp32_util_ratio_avg * samples, NOT isNaN(fp32_util_ratio_avg)) / sumIf(samples, NOT isNaN(fp32_util_ratio_avg)),
    if(countIf(NOT isNaN(fp32_util_ratio_min)) = 0, nan, minIf(fp32_util_ratio_min, NOT isNaN(fp32_util_ratio_min))),
    if(countIf(NOT isNaN(fp32_util_ratio_max)) = 0, nan, maxIf(fp32_util_ratio_max, NOT isNaN(fp32_util_ratio_max))),
    sumIf(fp16_util_ratio_avg * samples, NOT isNaN(fp16_util_ratio_avg)) / sumIf(samples, NOT isNaN(fp16_util_ratio_avg)),
    if(countIf(NOT isNaN(fp16_util_ratio_min)) = 0, nan, minIf(fp16_util_ratio_min, NOT isNaN(fp16_util_ratio_min))),
    if(countIf(NOT isNaN(fp16_util_ratio_max)) = 0, nan, maxIf(fp16_util_ratio_max, NOT isNaN(fp16_util_ratio_max))),
    sumIf(gpu_util_ratio_avg * samples, NOT isNaN(gpu_util_ratio_avg)) / sumIf(samples, NOT isNaN(gpu_util_ratio_avg)),
    if(countIf(NOT isNaN(gpu_util_ratio_min)) = 0, nan, minIf(gpu_util_ratio_min, NOT isNaN(gpu_util_ratio_min))),
    if(countIf(NOT isNaN(gpu_util_ratio_max)) = 0, nan, maxIf(gpu_util_ratio_max, NOT isNaN(gpu_util_ratio_max))),
    sumIf(memory_util_ratio_avg * samples, NOT isNaN(memory_util_ratio_avg)) / sumIf(samples, NOT isNaN(memory_util_ratio_avg)),
    if(countIf(NOT isNaN(memory_util_ratio_min)) = 0, nan, minIf(memory_util_ratio_min, NOT isNaN(memory_util_ratio_min))),
    if(countIf(NOT isNaN(memory_util_ratio_max)) = 0, nan, maxIf(memory_util_ratio_max, NOT isNaN(memory_util_ratio_max))),
    sumIf(power_watts_avg * samples, NOT isNaN(power_watts_avg)) / sumIf(samples, NOT isNaN(power_watts_avg)),
    if(countIf(NOT isNaN(power_watts_min)) = 0, nan, minIf(power_watts_min, NOT isNaN(power_watts_min))),
    if(countIf(NOT isNaN(power_watts_max)) = 0, nan, maxIf(power_watts_max, NOT isNaN(power_watts_max))),
    sumIf(power_limit_watts_avg * samples, NOT isNaN(power_limit_watts_avg)) / sumIf(samples, NOT isNaN(power_limit_watts_avg)),
    if(countIf(NOT isNaN(power_limit_watts_min)) = 0, nan, minIf(power_limit_watts_min, NOT isNaN(power_limit_watts_min))),
    if(countIf(NOT isNaN(power_limit_watts_max)) = 0, nan, maxIf(power_limit_watts_max, NOT isNaN(power_limit_watts_max))),
    sumIf(temperature_celsius_avg * samples, NOT isNaN(temperature_celsius_avg)) / sumIf(samples, NOT isNaN(temperature_celsius_avg)),
    if(countIf(NOT isNaN(temperature_celsius_min)) = 0, nan, minIf(temperature_celsius_min, NOT isNaN(temperature_celsius_min))),
    if(countIf(NOT isNaN(temperature_celsius_max)) = 0, nan, maxIf(temperature_celsius_max, NOT isNaN(temperature_celsius_max))),
    sumIf(memory_temperature_celsius_avg * samples, NOT isNaN(memory_temperature_celsius_avg)) / sumIf(samples, NOT isNaN(memory_temperature_celsius_avg)),
    if(countIf(NOT isNaN(memory_temperature_celsius_min)) = 0, nan, minIf(memory_temperature_celsius_min, NOT isNaN(memory_temperature_celsius_min))),
    if(countIf(NOT isNaN(memory_temperature_celsius_max)) = 0, nan, maxIf(memory_temperature_celsius_max, NOT isNaN(memory_temperature_celsius_max))),
    sumIf(tlimit_margin_celsius_avg * samples, NOT isNaN(tlimit_margin_celsius_avg)) / sumIf(samples, NOT isNaN(tlimit_margin_celsius_avg)),
    if(countIf(NOT isNaN(tlimit_margin_celsius_min)) = 0, nan, minIf(tlimit_margin_celsius_min, NOT isNaN(tlimit_margin_celsius_min))),
    if(countIf(NOT isNaN(tlimit_margin_celsius_max)) = 0, nan, maxIf(tlimit_margin_celsius_max, NOT isNaN(tlimit_margin_celsius_max))),
    sumIf(slowdown_margin_celsius_avg * samples, NOT isNaN(slowdown_margin_celsius_avg)) / sumIf(samples, NOT isNaN(slowdown_margin_celsius_avg)),
    if(countIf(NOT isNaN(slowdown_margin_celsius_min)) = 0, nan, minIf(slowdown_margin_celsius_min, NOT isNaN(slowdown_margin_celsius_min))),
    if(countIf(NOT isNaN(slowdown_margin_celsius_max)) = 0, nan, maxIf(slowdown_margin_celsius_max, NOT isNaN(slowdown_margin_celsius_max))),
    sumIf(sm_clock_mhz_avg * samples, NOT isNaN(sm_clock_mhz_avg)) / sumIf(samples, NOT isNaN(sm_clock_mhz_avg)),
    if(countIf(NOT isNaN(sm_clock_mhz_min)) = 0, nan, minIf(sm_clock_mhz_min, NOT isNaN(sm_clock_mhz_min))),
    if(countIf(NOT isNaN(sm_clock_mhz_max)) = 0, nan, maxIf(sm_clock_mhz_max, NOT isNaN(sm_clock_mhz_max))),
    sumIf(sm_clock_max_mhz_avg * samples, NOT isNaN(sm_clock_max_mhz_avg)) / sumIf(samples, NOT isNaN(sm_clock_max_mhz_avg)),
    if(countIf(NOT isNaN(sm_clock_max_mhz_min)) = 0, nan, minIf(sm_clock_max_mhz_min, NOT isNaN(sm_clock_max_mhz_min))),
    if(countIf(NOT isNaN(sm_clock_max_mhz_max)) = 0, nan, maxIf(sm_clock_max_mhz_max, NOT isNaN(sm_clock_max_mhz_max))),
    sumIf(memory_clock_mhz_avg * samples, NOT isNaN(memory_clock_mhz_avg)) / sumIf(samples, NOT isNaN(memory_clock_mhz_avg)),
    if(countIf(NOT isNaN(memory_clock_mhz_min)) = 0, nan, minIf(memory_clock_mhz_min, NOT isNaN(memory_clock_mhz_min))),
    if(countIf(NOT isNaN(memory_clock_mhz_max)) = 0, nan, maxIf(memory_clock_mhz_max, NOT isNaN(memory_clock_mhz_max))),
    sumIf(memory_used_bytes_avg * samples, NOT isNaN(memory_used_bytes_avg)) / sumIf(samples, NOT isNaN(memory_used_bytes_avg)),
    if(countIf(NOT isNaN(memory_used_bytes_min)) = 0, nan, minIf(memory_used_bytes_min, NOT isNaN(memory_used_bytes_min))),
    if(countIf(NOT isNaN(memory_used_bytes_max)) = 0, nan, maxIf(memory_used_bytes_max, NOT isNaN(memory_used_bytes_max))),
    sumIf(memory_total_bytes_avg * samples, NOT isNaN(memory_total_bytes_avg)) / sumIf(samples, NOT isNaN(memory_total_bytes_avg)),
    if(countIf(NOT isNaN(memory_total_bytes_min)) = 0, nan, minIf(memory_total_bytes_min, NOT isNaN(memory_total_bytes_min))),
    if(countIf(NOT isNaN(memory_total_bytes_max)) = 0, nan, maxIf(memory_total_bytes_max, NOT isNaN(memory_total_bytes_max))),
    sumIf(pcie_tx_bytes_per_second_avg * samples, NOT isNaN(pcie_tx_bytes_per_second_avg)) / sumIf(samples, NOT isNaN(pcie_tx_bytes_per_second_avg)),
    if(countIf(NOT isNaN(pcie_tx_bytes_per_second_min)) = 0, nan, minIf(pcie_tx_bytes_per_second_min, NOT isNaN(pcie_tx_bytes_per_second_min))),
    if(countIf(NOT isNaN(pcie_tx_bytes_per_second_max)) = 0, nan, maxIf(pcie_tx_bytes_per_second_max, NOT isNaN(pcie_tx_bytes_per_second_max))),
    sumIf(pcie_rx_bytes_per_second_avg * samples, NOT isNaN(pcie_rx_bytes_per_second_avg)) / sumIf(samples, NOT isNaN(pcie_rx_bytes_per_second_avg)),
    if(countIf(NOT isNaN(pcie_rx_bytes_per_second_min)) = 0, nan, minIf(pcie_rx_bytes_per_second_min, NOT isNaN(pcie_rx_bytes_per_second_min))),
    if(countIf(NOT isNaN(pcie_rx_bytes_per_second_max)) = 0, nan, maxIf(pcie_rx_bytes_per_second_max, NOT isNaN(pcie_rx_bytes_per_second_max))),
    sumIf(nvlink_tx_bytes_per_second_avg * samples, NOT isNaN(nvlink_tx_bytes_per_second_avg)) / sumIf(samples, NOT isNaN(nvlink_tx_bytes_per_second_avg)),
    if(countIf(NOT isNaN(nvlink_tx_bytes_per_second_min)) = 0, nan, minIf(nvlink_tx_bytes_per_second_min, NOT isNaN(nvlink_tx_bytes_per_second_min))),
    if(countIf(NOT isNaN(nvlink_tx_bytes_per_second_max)) = 0, nan, maxIf(nvlink_tx_bytes_per_second_max, NOT isNaN(nvlink_tx_bytes_per_second_max))),
    sumIf(nvlink_rx_bytes_per_second_avg * samples, NOT isNaN(nvlink_rx_bytes_per_second_avg)) / sumIf(samples, NOT isNaN(nvlink_rx_bytes_per_second_avg)),
    if(countIf(NOT isNaN(nvlink_rx_bytes_per_second_min)) = 0, nan, minIf(nvlink_rx_bytes_per_second_min, NOT isNaN(nvlink_rx_bytes_per_second_min))),
    if(countIf(NOT isNaN(nvlink_rx_bytes_per_second_max)) = 0, nan, maxIf(nvlink_rx_bytes_per_second_max, NOT isNaN(nvlink_rx_bytes_per_second_max))),
    sumIf(energy_mj_inc * devices, NOT isNaN(energy_mj_inc)) / sumIf(devices, NOT isNaN(energy_mj_inc)),
    sumIf(throttle_power_ns_inc * devices, NOT isNaN(throttle_power_ns_inc)) / sumIf(devices, NOT isNaN(throttle_power_ns_inc)),
    sumIf(throttle_thermal_ns_inc * devices, NOT isNaN(throttle_thermal_ns_inc)) / sumIf(devices, NOT isNaN(throttle_thermal_ns_inc)),
    sumIf(throttle_sw_thermal_ns_inc * devices, NOT isNaN(throttle_sw_thermal_ns_inc)) / sumIf(devices, NOT isNaN(throttle_sw_thermal_ns_inc)),
    sumIf(throttle_hw_thermal_ns_inc * devices, NOT isNaN(throttle_hw_thermal_ns_inc)) / sumIf(devices, NOT isNaN(throttle_hw_thermal_ns_inc)),
    sumIf(throttle_power_brake_ns_inc * devices, NOT isNaN(throttle_power_brake_ns_inc)) / sumIf(devices, NOT isNaN(throttle_power_brake_ns_inc)),
    sumIf(ecc_corrected_inc * devices, NOT isNaN(ecc_corrected_inc)) / sumIf(devices, NOT isNaN(ecc_corrected_inc)),
    sumIf(ecc_uncorrected_inc * devices, NOT isNaN(ecc_uncorrected_inc)) / sumIf(devices, NOT isNaN(ecc_uncorrected_inc)),
    sumIf(remapped_rows_inc * devices, NOT isNaN(remapped_rows_inc)) / sumIf(devices, NOT isNaN(remapped_rows_inc)),
    sumIf(pcie_replays_inc * devices, NOT isNaN(pcie_replays_inc)) / sumIf(devices, NOT isNaN(pcie_replays_inc)),
    sumIf(nvlink_errors_inc * devices, NOT isNaN(nvlink_errors_inc)) / sumIf(devices, NOT isNaN(nvlink_errors_inc)),
    sumIf(xid_events_inc * devices, NOT isNaN(xid_events_inc)) / sumIf(devices, NOT isNaN(xid_events_inc)),
    if(countIf(clock_event_reasons_or != 4294967295) = 0, 4294967295, groupBitOrIf(clock_event_reasons_or, clock_event_reasons_or != 4294967295)),
    4294967295,
    4294967295,
    sum(devices),
    now64(6, 'UTC')
FROM (SELECT * FROM gpu_places_1h FINAL WHERE devices > 0) AS w
LEFT JOIN (SELECT device, pool, rail, model FROM places FINAL) AS i USING (device)
GROUP BY window_start, place;

INSERT INTO fabric_pools_1m (
    window_start,
    node,
    device,
    samples,
    link_rate_bits_per_second_avg,
    link_rate_bits_per_second_min,
    link_rate_bits_per_second_max,
    tx_bytes_inc,
    rx_bytes_inc,
    tx_packets_inc,
    rx_packets_inc,
    tx_wait_ticks_inc,
    tx_discards_inc,
    rx_discards_inc,
    tx_errors_inc,
    rx_errors_inc,
    symbol_errors_inc,
    link_recoveries_inc,
    link_downs_inc,
    integrity_errors_inc,
    buffer_overruns_inc,
    ecn_marked_packets_inc,
    cnp_sent_inc,
    cnp_handled_inc,
    cnp_ignored_inc,
    out_of_sequence_inc,
    packet_sequence_errors_inc,
    ack_timeouts_inc,
    rnr_nak_retries_inc,
    adaptive_retransmits_inc,
    slow_restarts_inc,
    out_of_buffer_inc,
    pfc_rx_pauses_inc,
    pfc_tx_pauses_inc,
    pfc_rx_pause_us_inc,
    pfc_storm_events_inc,
    link_up_last,
    link_layer_last,
    devices,
    rebuilt
)
SELECT
    window_start,
    0,
    cityHash64('place', 'port', toString(pool), '', '', toString(rail), toString(model)) AS place,
    sum(samples),
    sumIf(link_rate_bits_per_second_avg * samples, NOT isNaN(link_rate_bits_per_second_avg)) / sumIf(samples, NOT isNaN(link_rate_bits_per_second_avg)),
    if(countIf(NOT isNaN(link_rate_bits_per_second_min)) = 0, nan, minIf(link_rate_bits_per_second_min, NOT isNaN(link_rate_bits_per_second_min))),
    if(countIf(NOT isNaN(link_rate_bits_per_second_max)) = 0, nan, maxIf(link_rate_bits_per_second_max, NOT isNaN(link_rate_bits_per_second_max))),
    sumIf(tx_bytes_inc * devices, NOT isNaN(tx_bytes_inc)) / sumIf(devices, NOT isNaN(tx_bytes_inc)),
    sumIf(rx_bytes_inc * devices, NOT isNaN(rx_bytes_inc)) / sumIf(devices, NOT isNaN(rx_bytes_inc)),
    sumIf(tx_packets_inc * devices, NOT isNaN(tx_packets_inc)) / sumIf(devices, NOT isNaN(tx_packets_inc)),
    sumIf(rx_packets_inc * devices, NOT isNaN(rx_packets_inc)) / sumIf(devices, NOT isNaN(rx_packets_inc)),
    sumIf(tx_wait_ticks_inc * devices, NOT isNaN(tx_wait_ticks_inc)) / sumIf(devices, NOT isNaN(tx_wait_ticks_inc)),
    sumIf(tx_discards_inc * devices, NOT isNaN(tx_discards_inc)) / sumIf(devices, NOT isNaN(tx_discards_inc)),
    sumIf(rx_discards_inc * devices, NOT isNaN(rx_discards_inc)) / sumIf(devices, NOT isNaN(rx_discards_inc)),
    sumIf(tx_errors_inc * devices, NOT isNaN(tx_errors_inc)) / sumIf(devices, NOT isNaN(tx_errors_inc)),
    sumIf(rx_errors_inc * devices, NOT isNaN(rx_errors_inc)) / sumIf(devices, NOT isNaN(rx_errors_inc)),
    sumIf(symbol_errors_inc * devices, NOT isNaN(symbol_errors_inc)) / sumIf(devices, NOT isNaN(symbol_errors_inc)),
    sumIf(link_recoveries_inc * devices, NOT isNaN(link_recoveries_inc)) / sumIf(devices, NOT isNaN(link_recoveries_inc)),
    sumIf(link_downs_inc * devices, NOT isNaN(link_downs_inc)) / sumIf(devices, NOT isNaN(link_downs_inc)),
    sumIf(integrity_errors_inc * devices, NOT isNaN(integrity_errors_inc)) / sumIf(devices, NOT isNaN(integrity_errors_inc)),
    sumIf(buffer_overruns_inc * devices, NOT isNaN(buffer_overruns_inc)) / sumIf(devices, NOT isNaN(buffer_overruns_inc)),
    sumIf(ecn_marked_packets_inc * devices, NOT isNaN(ecn_marked_packets_inc)) / sumIf(devices, NOT isNaN(ecn_marked_packets_inc)),
    sumIf(cnp_sent_inc * devices, NOT isNaN(cnp_sent_inc)) / sumIf(devices, NOT isNaN(cnp_sent_inc)),
    sumIf(cnp_handled_inc * devices, NOT isNaN(cnp_handled_inc)) / sumIf(devices, NOT isNaN(cnp_handled_inc)),
    sumIf(cnp_ignored_inc * devices, NOT isNaN(cnp_ignored_inc)) / sumIf(devices, NOT isNaN(cnp_ignored_inc)),
    sumIf(out_of_sequence_inc * devices, NOT isNaN(out_of_sequence_inc)) / sumIf(devices, NOT isNaN(out_of_sequence_inc)),
    sumIf(packet_sequence_errors_inc * devices, NOT isNaN(packet_sequence_errors_inc)) / sumIf(devices, NOT isNaN(packet_sequence_errors_inc)),
    sumIf(ack_timeouts_inc * devices, NOT isNaN(ack_timeouts_inc)) / sumIf(devices, NOT isNaN(ack_timeouts_inc)),
    sumIf(rnr_nak_retries_inc * devices, NOT isNaN(rnr_nak_retries_inc)) / sumIf(devices, NOT isNaN(rnr_nak_retries_inc)),
    sumIf(adaptive_retransmits_inc * devices, NOT isNaN(adaptive_retransmits_inc)) / sumIf(devices, NOT isNaN(adaptive_retransmits_inc)),
    sumIf(slow_restarts_inc * devices, NOT isNaN(slow_restarts_inc)) / sumIf(devices, NOT isNaN(slow_restarts_inc)),
    sumIf(out_of_buffer_inc * devices, NOT isNaN(out_of_buffer_inc)) / sumIf(devices, NOT isNaN(out_of_buffer_inc)),
    sumIf(pfc_rx_pauses_inc * devices, NOT isNaN(pfc_rx_pauses_inc)) / sumIf(devices, NOT isNaN(pfc_rx_pauses_inc)),
    sumIf(pfc_tx_pauses_inc * devices, NOT isNaN(pfc_tx_pauses_inc)) / sumIf(devices, NOT isNaN(pfc_tx_pauses_inc)),
    sumIf(pfc_rx_pause_us_inc * devices, NOT isNaN(pfc_rx_pause_us_inc)) / sumIf(devices, NOT isNaN(pfc_rx_pause_us_inc)),
    sumIf(pfc_storm_events_inc * devices, NOT isNaN(pfc_storm_events_inc)) / sumIf(devices, NOT isNaN(pfc_storm_events_inc)),
    4294967295,
    4294967295,
    sum(devices),
    now64(6, 'UTC')
FROM (SELECT * FROM fabric_places_1m FINAL WHERE devices > 0) AS w
LEFT JOIN (SELECT device, pool, rail, model FROM places FINAL) AS i USING (device)
GROUP BY window_start, place;

INSERT INTO fabric_pools_1h (
    window_start,
    node,
    device,
    samples,
    link_rate_bits_per_second_avg,
    link_rate_bits_per_second_min,
    link_rate_bits_per_second_max,
    tx_bytes_inc,
    rx_bytes_inc,
    tx_packets_inc,
    rx_packets_inc,
    tx_wait_ticks_inc,
    tx_discards_inc,
    rx_discards_inc,
    tx_errors_inc,
    rx_errors_inc,
    symbol_errors_inc,
    link_recoveries_inc,
    link_downs_inc,
    integrity_errors_inc,
    buffer_overruns_inc,
    ecn_marked_packets_inc,
    cnp_sent_inc,
    cnp_handled_inc,
    cnp_ignored_inc,
    out_of_sequence_inc,
    packet_sequence_errors_inc,
    ack_timeouts_inc,
    rnr_nak_retries_inc,
    adaptive_retransmits_inc,
    slow_restarts_inc,
    out_of_buffer_inc,
    pfc_rx_pauses_inc,
    pfc_tx_pauses_inc,
    pfc_rx_pause_us_inc,
    pfc_storm_events_inc,
    link_up_last,
    link_layer_last,
    devices,
    rebuilt
)
SELECT
    window_start,
    0,
    cityHash64('place', 'port', toString(pool), '', '', toString(rail), toString(model)) AS place,
    sum(samples),
    sumIf(link_rate_bits_per_second_avg * samples, NOT isNaN(link_rate_bits_per_second_avg)) / sumIf(samples, NOT isNaN(link_rate_bits_per_second_avg)),
    if(countIf(NOT isNaN(link_rate_bits_per_second_min)) = 0, nan, minIf(link_rate_bits_per_second_min, NOT isNaN(link_rate_bits_per_second_min))),
    if(countIf(NOT isNaN(link_rate_bits_per_second_max)) = 0, nan, maxIf(link_rate_bits_per_second_max, NOT isNaN(link_rate_bits_per_second_max))),
    sumIf(tx_bytes_inc * devices, NOT isNaN(tx_bytes_inc)) / sumIf(devices, NOT isNaN(tx_bytes_inc)),
    sumIf(rx_bytes_inc * devices, NOT isNaN(rx_bytes_inc)) / sumIf(devices, NOT isNaN(rx_bytes_inc)),
    sumIf(tx_packets_inc * devices, NOT isNaN(tx_packets_inc)) / sumIf(devices, NOT isNaN(tx_packets_inc)),
    sumIf(rx_packets_inc * devices, NOT isNaN(rx_packets_inc)) / sumIf(devices, NOT isNaN(rx_packets_inc)),
    sumIf(tx_wait_ticks_inc * devices, NOT isNaN(tx_wait_ticks_inc)) / sumIf(devices, NOT isNaN(tx_wait_ticks_inc)),
    sumIf(tx_discards_inc * devices, NOT isNaN(tx_discards_inc)) / sumIf(devices, NOT isNaN(tx_discards_inc)),
    sumIf(rx_discards_inc * devices, NOT isNaN(rx_discards_inc)) / sumIf(devices, NOT isNaN(rx_discards_inc)),
    sumIf(tx_errors_inc * devices, NOT isNaN(tx_errors_inc)) / sumIf(devices, NOT isNaN(tx_errors_inc)),
    sumIf(rx_errors_inc * devices, NOT isNaN(rx_errors_inc)) / sumIf(devices, NOT isNaN(rx_errors_inc)),
    sumIf(symbol_errors_inc * devices, NOT isNaN(symbol_errors_inc)) / sumIf(devices, NOT isNaN(symbol_errors_inc)),
    sumIf(link_recoveries_inc * devices, NOT isNaN(link_recoveries_inc)) / sumIf(devices, NOT isNaN(link_recoveries_inc)),
    sumIf(link_downs_inc * devices, NOT isNaN(link_downs_inc)) / sumIf(devices, NOT isNaN(link_downs_inc)),
    sumIf(integrity_errors_inc * devices, NOT isNaN(integrity_errors_inc)) / sumIf(devices, NOT isNaN(integrity_errors_inc)),
    sumIf(buffer_overruns_inc * devices, NOT isNaN(buffer_overruns_inc)) / sumIf(devices, NOT isNaN(buffer_overruns_inc)),
    sumIf(ecn_marked_packets_inc * devices, NOT isNaN(ecn_marked_packets_inc)) / sumIf(devices, NOT isNaN(ecn_marked_packets_inc)),
    sumIf(cnp_sent_inc * devices, NOT isNaN(cnp_sent_inc)) / sumIf(devices, NOT isNaN(cnp_sent_inc)),
    sumIf(cnp_handled_inc * devices, NOT isNaN(cnp_handled_inc)) / sumIf(devices, NOT isNaN(cnp_handled_inc)),
    sumIf(cnp_ignored_inc * devices, NOT isNaN(cnp_ignored_inc)) / sumIf(devices, NOT isNaN(cnp_ignored_inc)),
    sumIf(out_of_sequence_inc * devices, NOT isNaN(out_of_sequence_inc)) / sumIf(devices, NOT isNaN(out_of_sequence_inc)),
    sumIf(packet_sequence_errors_inc * devices, NOT isNaN(packet_sequence_errors_inc)) / sumIf(devices, NOT isNaN(packet_sequence_errors_inc)),
    sumIf(ack_timeouts_inc * devices, NOT isNaN(ack_timeouts_inc)) / sumIf(devices, NOT isNaN(ack_timeouts_inc)),
    sumIf(rnr_nak_retries_inc * devices, NOT isNaN(rnr_nak_retries_inc)) / sumIf(devices, NOT isNaN(rnr_nak_retries_inc)),
    sumIf(adaptive_retransmits_inc * devices, NOT isNaN(adaptive_retransmits_inc)) / sumIf(devices, NOT isNaN(adaptive_retransmits_inc)),
    sumIf(slow_restarts_inc * devices, NOT isNaN(slow_restarts_inc)) / sumIf(devices, NOT isNaN(slow_restarts_inc)),
    sumIf(out_of_buffer_inc * devices, NOT isNaN(out_of_buffer_inc)) / sumIf(devices, NOT isNaN(out_of_buffer_inc)),
    sumIf(pfc_rx_pauses_inc * devices, NOT isNaN(pfc_rx_pauses_inc)) / sumIf(devices, NOT isNaN(pfc_rx_pauses_inc)),
    sumIf(pfc_tx_pauses_inc * devices, NOT isNaN(pfc_tx_pauses_inc)) / sumIf(devices, NOT isNaN(pfc_tx_pauses_inc)),
    sumIf(pfc_rx_pause_us_inc * devices, NOT isNaN(pfc_rx_pause_us_inc)) / sumIf(devices, NOT isNaN(pfc_rx_pause_us_inc)),
    sumIf(pfc_storm_events_inc * devices, NOT isNaN(pfc_storm_events_inc)) / sumIf(devices, NOT isNaN(pfc_storm_events_inc)),
    4294967295,
    4294967295,
    sum(devices),
    now64(6, 'UTC')
FROM (SELECT * FROM fabric_places_1h FINAL WHERE devices > 0) AS w
LEFT JOIN (SELECT device, pool, rail, model FROM places FINAL) AS i USING (device)
GROUP BY window_start, place;

INSERT INTO facility_pools_1m (
    window_start,
    node,
    device,
    samples,
    power_watts_avg,
    power_watts_min,
    power_watts_max,
    power_limit_watts_avg,
    power_limit_watts_min,
    power_limit_watts_max,
    inlet_celsius_avg,
    inlet_celsius_min,
    inlet_celsius_max,
    outlet_celsius_avg,
    outlet_celsius_min,
    outlet_celsius_max,
    supply_celsius_avg,
    supply_celsius_min,
    supply_celsius_max,
    return_celsius_avg,
    return_celsius_min,
    return_celsius_max,
    facility_supply_celsius_avg,
    facility_supply_celsius_min,
    facility_supply_celsius_max,
    flow_liters_per_minute_avg,
    flow_liters_per_minute_min,
    flow_liters_per_minute_max,
    delta_pressure_kpa_avg,
    delta_pressure_kpa_min,
    delta_pressure_kpa_max,
    pump_speed_ratio_avg,
    pump_speed_ratio_min,
    pump_speed_ratio_max,
    fan_speed_ratio_avg,
    fan_speed_ratio_min,
    fan_speed_ratio_max,
    heat_removed_watts_avg,
    heat_removed_watts_min,
    heat_removed_watts_max,
    humidity_ratio_avg,
    humidity_ratio_min,
    humidity_ratio_max,
    energy_joules_inc,
    leak_state_last,
    devices,
    rebuilt
)
SELECT
    window_start,
    0,
    cityHash64('place', 'facility', toString(pool), '', '', toString(rail), toString(model)) AS place,
    sum(samples),
    sumIf(power_watts_avg * samples, NOT isNaN(power_watts_avg)) / sumIf(samples, NOT isNaN(power_watts_avg)),
    if(countIf(NOT isNaN(power_watts_min)) = 0, nan, minIf(power_watts_min, NOT isNaN(power_watts_min))),
    if(countIf(NOT isNaN(power_watts_max)) = 0, nan, maxIf(power_watts_max, NOT isNaN(power_watts_max))),
    sumIf(power_limit_watts_avg * samples, NOT isNaN(power_limit_watts_avg)) / sumIf(samples, NOT isNaN(power_limit_watts_avg)),
    if(countIf(NOT isNaN(power_limit_watts_min)) = 0, nan, minIf(power_limit_watts_min, NOT isNaN(power_limit_watts_min))),
    if(countIf(NOT isNaN(power_limit_watts_max)) = 0, nan, maxIf(power_limit_watts_max, NOT isNaN(power_limit_watts_max))),
    sumIf(inlet_celsius_avg * samples, NOT isNaN(inlet_celsius_avg)) / sumIf(samples, NOT isNaN(inlet_celsius_avg)),
    if(countIf(NOT isNaN(inlet_celsius_min)) = 0, nan, minIf(inlet_celsius_min, NOT isNaN(inlet_celsius_min))),
    if(countIf(NOT isNaN(inlet_celsius_max)) = 0, nan, maxIf(inlet_celsius_max, NOT isNaN(inlet_celsius_max))),
    sumIf(outlet_celsius_avg * samples, NOT isNaN(outlet_celsius_avg)) / sumIf(samples, NOT isNaN(outlet_celsius_avg)),
    if(countIf(NOT isNaN(outlet_celsius_min)) = 0, nan, minIf(outlet_celsius_min, NOT isNaN(outlet_celsius_min))),
    if(countIf(NOT isNaN(outlet_celsius_max)) = 0, nan, maxIf(outlet_celsius_max, NOT isNaN(outlet_celsius_max))),
    sumIf(supply_celsius_avg * samples, NOT isNaN(supply_celsius_avg)) / sumIf(samples, NOT isNaN(supply_celsius_avg)),
    if(countIf(NOT isNaN(supply_celsius_min)) = 0, nan, minIf(supply_celsius_min, NOT isNaN(supply_celsius_min))),
    if(countIf(NOT isNaN(supply_celsius_max)) = 0, nan, maxIf(supply_celsius_max, NOT isNaN(supply_celsius_max))),
    sumIf(return_celsius_avg * samples, NOT isNaN(return_celsius_avg)) / sumIf(samples, NOT isNaN(return_celsius_avg)),
    if(countIf(NOT isNaN(return_celsius_min)) = 0, nan, minIf(return_celsius_min, NOT isNaN(return_celsius_min))),
    if(countIf(NOT isNaN(return_celsius_max)) = 0, nan, maxIf(return_celsius_max, NOT isNaN(return_celsius_max))),
    sumIf(facility_supply_celsius_avg * samples, NOT isNaN(facility_supply_celsius_avg)) / sumIf(samples, NOT isNaN(facility_supply_celsius_avg)),
    if(countIf(NOT isNaN(facility_supply_celsius_min)) = 0, nan, minIf(facility_supply_celsius_min, NOT isNaN(facility_supply_celsius_min))),
    if(countIf(NOT isNaN(facility_supply_celsius_max)) = 0, nan, maxIf(facility_supply_celsius_max, NOT isNaN(facility_supply_celsius_max))),
    sumIf(flow_liters_per_minute_avg * samples, NOT isNaN(flow_liters_per_minute_avg)) / sumIf(samples, NOT isNaN(flow_liters_per_minute_avg)),
    if(countIf(NOT isNaN(flow_liters_per_minute_min)) = 0, nan, minIf(flow_liters_per_minute_min, NOT isNaN(flow_liters_per_minute_min))),
    if(countIf(NOT isNaN(flow_liters_per_minute_max)) = 0, nan, maxIf(flow_liters_per_minute_max, NOT isNaN(flow_liters_per_minute_max))),
    sumIf(delta_pressure_kpa_avg * samples, NOT isNaN(delta_pressure_kpa_avg)) / sumIf(samples, NOT isNaN(delta_pressure_kpa_avg)),
    if(countIf(NOT isNaN(delta_pressure_kpa_min)) = 0, nan, minIf(delta_pressure_kpa_min, NOT isNaN(delta_pressure_kpa_min))),
    if(countIf(NOT isNaN(delta_pressure_kpa_max)) = 0, nan, maxIf(delta_pressure_kpa_max, NOT isNaN(delta_pressure_kpa_max))),
    sumIf(pump_speed_ratio_avg * samples, NOT isNaN(pump_speed_ratio_avg)) / sumIf(samples, NOT isNaN(pump_speed_ratio_avg)),
    if(countIf(NOT isNaN(pump_speed_ratio_min)) = 0, nan, minIf(pump_speed_ratio_min, NOT isNaN(pump_speed_ratio_min))),
    if(countIf(NOT isNaN(pump_speed_ratio_max)) = 0, nan, maxIf(pump_speed_ratio_max, NOT isNaN(pump_speed_ratio_max))),
    sumIf(fan_speed_ratio_avg * samples, NOT isNaN(fan_speed_ratio_avg)) / sumIf(samples, NOT isNaN(fan_speed_ratio_avg)),
    if(countIf(NOT isNaN(fan_speed_ratio_min)) = 0, nan, minIf(fan_speed_ratio_min, NOT isNaN(fan_speed_ratio_min))),
    if(countIf(NOT isNaN(fan_speed_ratio_max)) = 0, nan, maxIf(fan_speed_ratio_max, NOT isNaN(fan_speed_ratio_max))),
    sumIf(heat_removed_watts_avg * samples, NOT isNaN(heat_removed_watts_avg)) / sumIf(samples, NOT isNaN(heat_removed_watts_avg)),
    if(countIf(NOT isNaN(heat_removed_watts_min)) = 0, nan, minIf(heat_removed_watts_min, NOT isNaN(heat_removed_watts_min))),
    if(countIf(NOT isNaN(heat_removed_watts_max)) = 0, nan, maxIf(heat_removed_watts_max, NOT isNaN(heat_removed_watts_max))),
    sumIf(humidity_ratio_avg * samples, NOT isNaN(humidity_ratio_avg)) / sumIf(samples, NOT isNaN(humidity_ratio_avg)),
    if(countIf(NOT isNaN(humidity_ratio_min)) = 0, nan, minIf(humidity_ratio_min, NOT isNaN(humidity_ratio_min))),
    if(countIf(NOT isNaN(humidity_ratio_max)) = 0, nan, maxIf(humidity_ratio_max, NOT isNaN(humidity_ratio_max))),
    sumIf(energy_joules_inc * devices, NOT isNaN(energy_joules_inc)) / sumIf(devices, NOT isNaN(energy_joules_inc)),
    4294967295,
    sum(devices),
    now64(6, 'UTC')
FROM (SELECT * FROM facility_places_1m FINAL WHERE devices > 0) AS w
LEFT JOIN (SELECT device, pool, rail, model FROM places FINAL) AS i USING (device)
GROUP BY window_start, place;

INSERT INTO facility_pools_1h (
    window_start,
    node,
    device,
    samples,
    power_watts_avg,
    power_watts_min,
    power_watts_max,
    power_limit_watts_avg,
    power_limit_watts_min,
    power_limit_watts_max,
    inlet_celsius_avg,
    inlet_celsius_min,
    inlet_celsius_max,
    outlet_celsius_avg,
    outlet_celsius_min,
    outlet_celsius_max,
    supply_celsius_avg,
    supply_celsius_min,
    supply_celsius_max,
    return_celsius_avg,
    return_celsius_min,
    return_celsius_max,
    facility_supply_celsius_avg,
    facility_supply_celsius_min,
    facility_supply_celsius_max,
    flow_liters_per_minute_avg,
    flow_liters_per_minute_min,
    flow_liters_per_minute_max,
    delta_pressure_kpa_avg,
    delta_pressure_kpa_min,
    delta_pressure_kpa_max,
    pump_speed_ratio_avg,
    pump_speed_ratio_min,
    pump_speed_ratio_max,
    fan_speed_ratio_avg,
    fan_speed_ratio_min,
    fan_speed_ratio_max,
    heat_removed_watts_avg,
    heat_removed_watts_min,
    heat_removed_watts_max,
    humidity_ratio_avg,
    humidity_ratio_min,
    humidity_ratio_max,
    energy_joules_inc,
    leak_state_last,
    devices,
    rebuilt
)
SELECT
    window_start,
    0,
    cityHash64('place', 'facility', toString(pool), '', '', toString(rail), toString(model)) AS place,
    sum(samples),
    sumIf(power_watts_avg * samples, NOT isNaN(power_watts_avg)) / sumIf(samples, NOT isNaN(power_watts_avg)),
    if(countIf(NOT isNaN(power_watts_min)) = 0, nan, minIf(power_watts_min, NOT isNaN(power_watts_min))),
    if(countIf(NOT isNaN(power_watts_max)) = 0, nan, maxIf(power_watts_max, NOT isNaN(power_watts_max))),
    sumIf(power_limit_watts_avg * samples, NOT isNaN(power_limit_watts_avg)) / sumIf(samples, NOT isNaN(power_limit_watts_avg)),
    if(countIf(NOT isNaN(power_limit_watts_min)) = 0, nan, minIf(power_limit_watts_min, NOT isNaN(power_limit_watts_min))),
    if(countIf(NOT isNaN(power_limit_watts_max)) = 0, nan, maxIf(power_limit_watts_max, NOT isNaN(power_limit_watts_max))),
    sumIf(inlet_celsius_avg * samples, NOT isNaN(inlet_celsius_avg)) / sumIf(samples, NOT isNaN(inlet_celsius_avg)),
    if(countIf(NOT isNaN(inlet_celsius_min)) = 0, nan, minIf(inlet_celsius_min, NOT isNaN(inlet_celsius_min))),
    if(countIf(NOT isNaN(inlet_celsius_max)) = 0, nan, maxIf(inlet_celsius_max, NOT isNaN(inlet_celsius_max))),
    sumIf(outlet_celsius_avg * samples, NOT isNaN(outlet_celsius_avg)) / sumIf(samples, NOT isNaN(outlet_celsius_avg)),
    if(countIf(NOT isNaN(outlet_celsius_min)) = 0, nan, minIf(outlet_celsius_min, NOT isNaN(outlet_celsius_min))),
    if(countIf(NOT isNaN(outlet_celsius_max)) = 0, nan, maxIf(outlet_celsius_max, NOT isNaN(outlet_celsius_max))),
    sumIf(supply_celsius_avg * samples, NOT isNaN(supply_celsius_avg)) / sumIf(samples, NOT isNaN(supply_celsius_avg)),
    if(countIf(NOT isNaN(supply_celsius_min)) = 0, nan, minIf(supply_celsius_min, NOT isNaN(supply_celsius_min))),
    if(countIf(NOT isNaN(supply_celsius_max)) = 0, nan, maxIf(supply_celsius_max, NOT isNaN(supply_celsius_max))),
    sumIf(return_celsius_avg * samples, NOT isNaN(return_celsius_avg)) / sumIf(samples, NOT isNaN(return_celsius_avg)),
    if(countIf(NOT isNaN(return_celsius_min)) = 0, nan, minIf(return_celsius_min, NOT isNaN(return_celsius_min))),
    if(countIf(NOT isNaN(return_celsius_max)) = 0, nan, maxIf(return_celsius_max, NOT isNaN(return_celsius_max))),
    sumIf(facility_supply_celsius_avg * samples, NOT isNaN(facility_supply_celsius_avg)) / sumIf(samples, NOT isNaN(facility_supply_celsius_avg)),
    if(countIf(NOT isNaN(facility_supply_celsius_min)) = 0, nan, minIf(facility_supply_celsius_min, NOT isNaN(facility_supply_celsius_min))),
    if(countIf(NOT isNaN(facility_supply_celsius_max)) = 0, nan, maxIf(facility_supply_celsius_max, NOT isNaN(facility_supply_celsius_max))),
    sumIf(flow_liters_per_minute_avg * samples, NOT isNaN(flow_liters_per_minute_avg)) / sumIf(samples, NOT isNaN(flow_liters_per_minute_avg)),
    if(countIf(NOT isNaN(flow_liters_per_minute_min)) = 0, nan, minIf(flow_liters_per_minute_min, NOT isNaN(flow_liters_per_minute_min))),
    if(countIf(NOT isNaN(flow_liters_per_minute_max)) = 0, nan, maxIf(flow_liters_per_minute_max, NOT isNaN(flow_liters_per_minute_max))),
    sumIf(delta_pressure_kpa_avg * samples, NOT isNaN(delta_pressure_kpa_avg)) / sumIf(samples, NOT isNaN(delta_pressure_kpa_avg)),
    if(countIf(NOT isNaN(delta_pressure_kpa_min)) = 0, nan, minIf(delta_pressure_kpa_min, NOT isNaN(delta_pressure_kpa_min))),
    if(countIf(NOT isNaN(delta_pressure_kpa_max)) = 0, nan, maxIf(delta_pressure_kpa_max, NOT isNaN(delta_pressure_kpa_max))),
    sumIf(pump_speed_ratio_avg * samples, NOT isNaN(pump_speed_ratio_avg)) / sumIf(samples, NOT isNaN(pump_speed_ratio_avg)),
    if(countIf(NOT isNaN(pump_speed_ratio_min)) = 0, nan, minIf(pump_speed_ratio_min, NOT isNaN(pump_speed_ratio_min))),
    if(countIf(NOT isNaN(pump_speed_ratio_max)) = 0, nan, maxIf(pump_speed_ratio_max, NOT isNaN(pump_speed_ratio_max))),
    sumIf(fan_speed_ratio_avg * samples, NOT isNaN(fan_speed_ratio_avg)) / sumIf(samples, NOT isNaN(fan_speed_ratio_avg)),
    if(countIf(NOT isNaN(fan_speed_ratio_min)) = 0, nan, minIf(fan_speed_ratio_min, NOT isNaN(fan_speed_ratio_min))),
    if(countIf(NOT isNaN(fan_speed_ratio_max)) = 0, nan, maxIf(fan_speed_ratio_max, NOT isNaN(fan_speed_ratio_max))),
    sumIf(heat_removed_watts_avg * samples, NOT isNaN(heat_removed_watts_avg)) / sumIf(samples, NOT isNaN(heat_removed_watts_avg)),
    if(countIf(NOT isNaN(heat_removed_watts_min)) = 0, nan, minIf(heat_removed_watts_min, NOT isNaN(heat_removed_watts_min))),
    if(countIf(NOT isNaN(heat_removed_watts_max)) = 0, nan, maxIf(heat_removed_watts_max, NOT isNaN(heat_removed_watts_max))),
    sumIf(humidity_ratio_avg * samples, NOT isNaN(humidity_ratio_avg)) / sumIf(samples, NOT isNaN(humidity_ratio_avg)),
    if(countIf(NOT isNaN(humidity_ratio_min)) = 0, nan, minIf(humidity_ratio_min, NOT isNaN(humidity_ratio_min))),
    if(countIf(NOT isNaN(humidity_ratio_max)) = 0, nan, maxIf(humidity_ratio_max, NOT isNaN(humidity_ratio_max))),
    sumIf(energy_joules_inc * devices, NOT isNaN(energy_joules_inc)) / sumIf(devices, NOT isNaN(energy_joules_inc)),
    4294967295,
    sum(devices),
    now64(6, 'UTC')
FROM (SELECT * FROM facility_places_1h FINAL WHERE devices > 0) AS w
LEFT JOIN (SELECT device, pool, rail, model FROM places FINAL) AS i USING (device)
GROUP BY window_start, place;

INSERT INTO serving_pools_1m (
    window_start,
    node,
    device,
    samples,
    requests_running_avg,
    requests_running_min,
    requests_running_max,
    requests_waiting_avg,
    requests_waiting_min,
    requests_waiting_max,
    kv_cache_usage_ratio_avg,
    kv_cache_usage_ratio_min,
    kv_cache_usage_ratio_max,
    max_batch_requests_avg,
    max_batch_requests_min,
    max_batch_requests_max,
    ttft_p50_seconds_avg,
    ttft_p50_seconds_min,
    ttft_p50_seconds_max,
    ttft_p99_seconds_avg,
    ttft_p99_seconds_min,
    ttft_p99_seconds_max,
    tpot_p50_seconds_avg,
    tpot_p50_seconds_min,
    tpot_p50_seconds_max,
    tpot_p99_seconds_avg,
    tpot_p99_seconds_min,
    tpot_p99_seconds_max,
    prompt_tokens_p50_avg,
    prompt_tokens_p50_min,
    prompt_tokens_p50_max,
    prompt_tokens_p99_avg,
    prompt_tokens_p99_min,
    prompt_tokens_p99_max,
    output_tokens_p50_avg,
    output_tokens_p50_min,
    output_tokens_p50_max,
    output_tokens_p99_avg,
    output_tokens_p99_min,
    output_tokens_p99_max,
    prompt_tokens_inc,
    generation_tokens_inc,
    requests_finished_inc,
    requests_failed_inc,
    preemptions_inc,
    prefix_cache_queries_inc,
    prefix_cache_hits_inc,
    ttft_us_inc,
    ttft_count_inc,
    tpot_us_inc,
    tpot_count_inc,
    e2e_us_inc,
    queue_us_inc,
    prefill_us_inc,
    decode_us_inc,
    kv_transfer_bytes_inc,
    engine_last,
    role_last,
    devices,
    rebuilt
)
SELECT
    window_start,
    0,
    cityHash64('place', 'serving', toString(pool), '', '', toString(rail), toString(model)) AS place,
    sum(samples),
    sumIf(requests_running_avg * samples, NOT isNaN(requests_running_avg)) / sumIf(samples, NOT isNaN(requests_running_avg)),
    if(countIf(NOT isNaN(requests_running_min)) = 0, nan, minIf(requests_running_min, NOT isNaN(requests_running_min))),
    if(countIf(NOT isNaN(requests_running_max)) = 0, nan, maxIf(requests_running_max, NOT isNaN(requests_running_max))),
    sumIf(requests_waiting_avg * samples, NOT isNaN(requests_waiting_avg)) / sumIf(samples, NOT isNaN(requests_waiting_avg)),
    if(countIf(NOT isNaN(requests_waiting_min)) = 0, nan, minIf(requests_waiting_min, NOT isNaN(requests_waiting_min))),
    if(countIf(NOT isNaN(requests_waiting_max)) = 0, nan, maxIf(requests_waiting_max, NOT isNaN(requests_waiting_max))),
    sumIf(kv_cache_usage_ratio_avg * samples, NOT isNaN(kv_cache_usage_ratio_avg)) / sumIf(samples, NOT isNaN(kv_cache_usage_ratio_avg)),
    if(countIf(NOT isNaN(kv_cache_usage_ratio_min)) = 0, nan, minIf(kv_cache_usage_ratio_min, NOT isNaN(kv_cache_usage_ratio_min))),
    if(countIf(NOT isNaN(kv_cache_usage_ratio_max)) = 0, nan, maxIf(kv_cache_usage_ratio_max, NOT isNaN(kv_cache_usage_ratio_max))),
    sumIf(max_batch_requests_avg * samples, NOT isNaN(max_batch_requests_avg)) / sumIf(samples, NOT isNaN(max_batch_requests_avg)),
    if(countIf(NOT isNaN(max_batch_requests_min)) = 0, nan, minIf(max_batch_requests_min, NOT isNaN(max_batch_requests_min))),
    if(countIf(NOT isNaN(max_batch_requests_max)) = 0, nan, maxIf(max_batch_requests_max, NOT isNaN(max_batch_requests_max))),
    sumIf(ttft_p50_seconds_avg * samples, NOT isNaN(ttft_p50_seconds_avg)) / sumIf(samples, NOT isNaN(ttft_p50_seconds_avg)),
    if(countIf(NOT isNaN(ttft_p50_seconds_min)) = 0, nan, minIf(ttft_p50_seconds_min, NOT isNaN(ttft_p50_seconds_min))),
    if(countIf(NOT isNaN(ttft_p50_seconds_max)) = 0, nan, maxIf(ttft_p50_seconds_max, NOT isNaN(ttft_p50_seconds_max))),
    sumIf(ttft_p99_seconds_avg * samples, NOT isNaN(ttft_p99_seconds_avg)) / sumIf(samples, NOT isNaN(ttft_p99_seconds_avg)),
    if(countIf(NOT isNaN(ttft_p99_seconds_min)) = 0, nan, minIf(ttft_p99_seconds_min, NOT isNaN(ttft_p99_seconds_min))),
    if(countIf(NOT isNaN(ttft_p99_seconds_max)) = 0, nan, maxIf(ttft_p99_seconds_max, NOT isNaN(ttft_p99_seconds_max))),
    sumIf(tpot_p50_seconds_avg * samples, NOT isNaN(tpot_p50_seconds_avg)) / sumIf(samples, NOT isNaN(tpot_p50_seconds_avg)),
    if(countIf(NOT isNaN(tpot_p50_seconds_min)) = 0, nan, minIf(tpot_p50_seconds_min, NOT isNaN(tpot_p50_seconds_min))),
    if(countIf(NOT isNaN(tpot_p50_seconds_max)) = 0, nan, maxIf(tpot_p50_seconds_max, NOT isNaN(tpot_p50_seconds_max))),
    sumIf(tpot_p99_seconds_avg * samples, NOT isNaN(tpot_p99_seconds_avg)) / sumIf(samples, NOT isNaN(tpot_p99_seconds_avg)),
    if(countIf(NOT isNaN(tpot_p99_seconds_min)) = 0, nan, minIf(tpot_p99_seconds_min, NOT isNaN(tpot_p99_seconds_min))),
    if(countIf(NOT isNaN(tpot_p99_seconds_max)) = 0, nan, maxIf(tpot_p99_seconds_max, NOT isNaN(tpot_p99_seconds_max))),
    sumIf(prompt_tokens_p50_avg * samples, NOT isNaN(prompt_tokens_p50_avg)) / sumIf(samples, NOT isNaN(prompt_tokens_p50_avg)),
    if(countIf(NOT isNaN(prompt_tokens_p50_min)) = 0, nan, minIf(prompt_tokens_p50_min, NOT isNaN(prompt_tokens_p50_min))),
    if(countIf(NOT isNaN(prompt_tokens_p50_max)) = 0, nan, maxIf(prompt_tokens_p50_max, NOT isNaN(prompt_tokens_p50_max))),
    sumIf(prompt_tokens_p99_avg * samples, NOT isNaN(prompt_tokens_p99_avg)) / sumIf(samples, NOT isNaN(prompt_tokens_p99_avg)),
    if(countIf(NOT isNaN(prompt_tokens_p99_min)) = 0, nan, minIf(prompt_tokens_p99_min, NOT isNaN(prompt_tokens_p99_min))),
    if(countIf(NOT isNaN(prompt_tokens_p99_max)) = 0, nan, maxIf(prompt_tokens_p99_max, NOT isNaN(prompt_tokens_p99_max))),
    sumIf(output_tokens_p50_avg * samples, NOT isNaN(output_tokens_p50_avg)) / sumIf(samples, NOT isNaN(output_tokens_p50_avg)),
    if(countIf(NOT isNaN(output_tokens_p50_min)) = 0, nan, minIf(output_tokens_p50_min, NOT isNaN(output_tokens_p50_min))),
    if(countIf(NOT isNaN(output_tokens_p50_max)) = 0, nan, maxIf(output_tokens_p50_max, NOT isNaN(output_tokens_p50_max))),
    sumIf(output_tokens_p99_avg * samples, NOT isNaN(output_tokens_p99_avg)) / sumIf(samples, NOT isNaN(output_tokens_p99_avg)),
    if(countIf(NOT isNaN(output_tokens_p99_min)) = 0, nan, minIf(output_tokens_p99_min, NOT isNaN(output_tokens_p99_min))),
    if(countIf(NOT isNaN(output_tokens_p99_max)) = 0, nan, maxIf(output_tokens_p99_max, NOT isNaN(output_tokens_p99_max))),
    sumIf(prompt_tokens_inc * devices, NOT isNaN(prompt_tokens_inc)) / sumIf(devices, NOT isNaN(prompt_tokens_inc)),
    sumIf(generation_tokens_inc * devices, NOT isNaN(generation_tokens_inc)) / sumIf(devices, NOT isNaN(generation_tokens_inc)),
    sumIf(requests_finished_inc * devices, NOT isNaN(requests_finished_inc)) / sumIf(devices, NOT isNaN(requests_finished_inc)),
    sumIf(requests_failed_inc * devices, NOT isNaN(requests_failed_inc)) / sumIf(devices, NOT isNaN(requests_failed_inc)),
    sumIf(preemptions_inc * devices, NOT isNaN(preemptions_inc)) / sumIf(devices, NOT isNaN(preemptions_inc)),
    sumIf(prefix_cache_queries_inc * devices, NOT isNaN(prefix_cache_queries_inc)) / sumIf(devices, NOT isNaN(prefix_cache_queries_inc)),
    sumIf(prefix_cache_hits_inc * devices, NOT isNaN(prefix_cache_hits_inc)) / sumIf(devices, NOT isNaN(prefix_cache_hits_inc)),
    sumIf(ttft_us_inc * devices, NOT isNaN(ttft_us_inc)) / sumIf(devices, NOT isNaN(ttft_us_inc)),
    sumIf(ttft_count_inc * devices, NOT isNaN(ttft_count_inc)) / sumIf(devices, NOT isNaN(ttft_count_inc)),
    sumIf(tpot_us_inc * devices, NOT isNaN(tpot_us_inc)) / sumIf(devices, NOT isNaN(tpot_us_inc)),
    sumIf(tpot_count_inc * devices, NOT isNaN(tpot_count_inc)) / sumIf(devices, NOT isNaN(tpot_count_inc)),
    sumIf(e2e_us_inc * devices, NOT isNaN(e2e_us_inc)) / sumIf(devices, NOT isNaN(e2e_us_inc)),
    sumIf(queue_us_inc * devices, NOT isNaN(queue_us_inc)) / sumIf(devices, NOT isNaN(queue_us_inc)),
    sumIf(prefill_us_inc * devices, NOT isNaN(prefill_us_inc)) / sumIf(devices, NOT isNaN(prefill_us_inc)),
    sumIf(decode_us_inc * devices, NOT isNaN(decode_us_inc)) / sumIf(devices, NOT isNaN(decode_us_inc)),
    sumIf(kv_transfer_bytes_inc * devices, NOT isNaN(kv_transfer_bytes_inc)) / sumIf(devices, NOT isNaN(kv_transfer_bytes_inc)),
    4294967295,
    4294967295,
    sum(devices),
    now64(6, 'UTC')
FROM (SELECT * FROM serving_places_1m FINAL WHERE devices > 0) AS w
LEFT JOIN (SELECT device, pool, rail, model FROM places FINAL) AS i USING (device)
GROUP BY window_start, place;

INSERT INTO serving_pools_1h (
    window_start,
    node,
    device,
    samples,
    requests_running_avg,
    requests_running_min,
    requests_running_max,
    requests_waiting_avg,
    requests_waiting_min,
    requests_waiting_max,
    kv_cache_usage_ratio_avg,
    kv_cache_usage_ratio_min,
    kv_cache_usage_ratio_max,
    max_batch_requests_avg,
    max_batch_requests_min,
    max_batch_requests_max,
    ttft_p50_seconds_avg,
    ttft_p50_seconds_min,
    ttft_p50_seconds_max,
    ttft_p99_seconds_avg,
    ttft_p99_seconds_min,
    ttft_p99_seconds_max,
    tpot_p50_seconds_avg,
    tpot_p50_seconds_min,
    tpot_p50_seconds_max,
    tpot_p99_seconds_avg,
    tpot_p99_seconds_min,
    tpot_p99_seconds_max,
    prompt_tokens_p50_avg,
    prompt_tokens_p50_min,
    prompt_tokens_p50_max,
    prompt_tokens_p99_avg,
    prompt_tokens_p99_min,
    prompt_tokens_p99_max,
    output_tokens_p50_avg,
    output_tokens_p50_min,
    output_tokens_p50_max,
    output_tokens_p99_avg,
    output_tokens_p99_min,
    output_tokens_p99_max,
    prompt_tokens_inc,
    generation_tokens_inc,
    requests_finished_inc,
    requests_failed_inc,
    preemptions_inc,
    prefix_cache_queries_inc,
    prefix_cache_hits_inc,
    ttft_us_inc,
    ttft_count_inc,
    tpot_us_inc,
    tpot_count_inc,
    e2e_us_inc,
    queue_us_inc,
    prefill_us_inc,
    decode_us_inc,
    kv_transfer_bytes_inc,
    engine_last,
    role_last,
    devices,
    rebuilt
)
SELECT
    window_start,
    0,
    cityHash64('place', 'serving', toString(pool), '', '', toString(rail), toString(model)) AS place,
    sum(samples),
    sumIf(requests_running_avg * samples, NOT isNaN(requests_running_avg)) / sumIf(samples, NOT isNaN(requests_running_avg)),
    if(countIf(NOT isNaN(requests_running_min)) = 0, nan, minIf(requests_running_min, NOT isNaN(requests_running_min))),
    if(countIf(NOT isNaN(requests_running_max)) = 0, nan, maxIf(requests_running_max, NOT isNaN(requests_running_max))),
    sumIf(requests_waiting_avg * samples, NOT isNaN(requests_waiting_avg)) / sumIf(samples, NOT isNaN(requests_waiting_avg)),
    if(countIf(NOT isNaN(requests_waiting_min)) = 0, nan, minIf(requests_waiting_min, NOT isNaN(requests_waiting_min))),
    if(countIf(NOT isNaN(requests_waiting_max)) = 0, nan, maxIf(requests_waiting_max, NOT isNaN(requests_waiting_max))),
    sumIf(kv_cache_usage_ratio_avg * samples, NOT isNaN(kv_cache_usage_ratio_avg)) / sumIf(samples, NOT isNaN(kv_cache_usage_ratio_avg)),
    if(countIf(NOT isNaN(kv_cache_usage_ratio_min)) = 0, nan, minIf(kv_cache_usage_ratio_min, NOT isNaN(kv_cache_usage_ratio_min))),
    if(countIf(NOT isNaN(kv_cache_usage_ratio_max)) = 0, nan, maxIf(kv_cache_usage_ratio_max, NOT isNaN(kv_cache_usage_ratio_max))),
    sumIf(max_batch_requests_avg * samples, NOT isNaN(max_batch_requests_avg)) / sumIf(samples, NOT isNaN(max_batch_requests_avg)),
    if(countIf(NOT isNaN(max_batch_requests_min)) = 0, nan, minIf(max_batch_requests_min, NOT isNaN(max_batch_requests_min))),
    if(countIf(NOT isNaN(max_batch_requests_max)) = 0, nan, maxIf(max_batch_requests_max, NOT isNaN(max_batch_requests_max))),
    sumIf(ttft_p50_seconds_avg * samples, NOT isNaN(ttft_p50_seconds_avg)) / sumIf(samples, NOT isNaN(ttft_p50_seconds_avg)),
    if(countIf(NOT isNaN(ttft_p50_seconds_min)) = 0, nan, minIf(ttft_p50_seconds_min, NOT isNaN(ttft_p50_seconds_min))),
    if(countIf(NOT isNaN(ttft_p50_seconds_max)) = 0, nan, maxIf(ttft_p50_seconds_max, NOT isNaN(ttft_p50_seconds_max))),
    sumIf(ttft_p99_seconds_avg * samples, NOT isNaN(ttft_p99_seconds_avg)) / sumIf(samples, NOT isNaN(ttft_p99_seconds_avg)),
    if(countIf(NOT isNaN(ttft_p99_seconds_min)) = 0, nan, minIf(ttft_p99_seconds_min, NOT isNaN(ttft_p99_seconds_min))),
    if(countIf(NOT isNaN(ttft_p99_seconds_max)) = 0, nan, maxIf(ttft_p99_seconds_max, NOT isNaN(ttft_p99_seconds_max))),
    sumIf(tpot_p50_seconds_avg * samples, NOT isNaN(tpot_p50_seconds_avg)) / sumIf(samples, NOT isNaN(tpot_p50_seconds_avg)),
    if(countIf(NOT isNaN(tpot_p50_seconds_min)) = 0, nan, minIf(tpot_p50_seconds_min, NOT isNaN(tpot_p50_seconds_min))),
    if(countIf(NOT isNaN(tpot_p50_seconds_max)) = 0, nan, maxIf(tpot_p50_seconds_max, NOT isNaN(tpot_p50_seconds_max))),
    sumIf(tpot_p99_seconds_avg * samples, NOT isNaN(tpot_p99_seconds_avg)) / sumIf(samples, NOT isNaN(tpot_p99_seconds_avg)),
    if(countIf(NOT isNaN(tpot_p99_seconds_min)) = 0, nan, minIf(tpot_p99_seconds_min, NOT isNaN(tpot_p99_seconds_min))),
    if(countIf(NOT isNaN(tpot_p99_seconds_max)) = 0, nan, maxIf(tpot_p99_seconds_max, NOT isNaN(tpot_p99_seconds_max))),
    sumIf(prompt_tokens_p50_avg * samples, NOT isNaN(prompt_tokens_p50_avg)) / sumIf(samples, NOT isNaN(prompt_tokens_p50_avg)),
    if(countIf(NOT isNaN(prompt_tokens_p50_min)) = 0, nan, minIf(prompt_tokens_p50_min, NOT isNaN(prompt_tokens_p50_min))),
    if(countIf(NOT isNaN(prompt_tokens_p50_max)) = 0, nan, maxIf(prompt_tokens_p50_max, NOT isNaN(prompt_tokens_p50_max))),
    sumIf(prompt_tokens_p99_avg * samples, NOT isNaN(prompt_tokens_p99_avg)) / sumIf(samples, NOT isNaN(prompt_tokens_p99_avg)),
    if(countIf(NOT isNaN(prompt_tokens_p99_min)) = 0, nan, minIf(prompt_tokens_p99_min, NOT isNaN(prompt_tokens_p99_min))),
    if(countIf(NOT isNaN(prompt_tokens_p99_max)) = 0, nan, maxIf(prompt_tokens_p99_max, NOT isNaN(prompt_tokens_p99_max))),
    sumIf(output_tokens_p50_avg * samples, NOT isNaN(output_tokens_p50_avg)) / sumIf(samples, NOT isNaN(output_tokens_p50_avg)),
    if(countIf(NOT isNaN(output_tokens_p50_min)) = 0, nan, minIf(output_tokens_p50_min, NOT isNaN(output_tokens_p50_min))),
    if(countIf(NOT isNaN(output_tokens_p50_max)) = 0, nan, maxIf(output_tokens_p50_max, NOT isNaN(output_tokens_p50_max))),
    sumIf(output_tokens_p99_avg * samples, NOT isNaN(output_tokens_p99_avg)) / sumIf(samples, NOT isNaN(output_tokens_p99_avg)),
    if(countIf(NOT isNaN(output_tokens_p99_min)) = 0, nan, minIf(output_tokens_p99_min, NOT isNaN(output_tokens_p99_min))),
    if(countIf(NOT isNaN(output_tokens_p99_max)) = 0, nan, maxIf(output_tokens_p99_max, NOT isNaN(output_tokens_p99_max))),
    sumIf(prompt_tokens_inc * devices, NOT isNaN(prompt_tokens_inc)) / sumIf(devices, NOT isNaN(prompt_tokens_inc)),
    sumIf(generation_tokens_inc * devices, NOT isNaN(generation_tokens_inc)) / sumIf(devices, NOT isNaN(generation_tokens_inc)),
    sumIf(requests_finished_inc * devices, NOT isNaN(requests_finished_inc)) / sumIf(devices, NOT isNaN(requests_finished_inc)),
    sumIf(requests_failed_inc * devices, NOT isNaN(requests_failed_inc)) / sumIf(devices, NOT isNaN(requests_failed_inc)),
    sumIf(preemptions_inc * devices, NOT isNaN(preemptions_inc)) / sumIf(devices, NOT isNaN(preemptions_inc)),
    sumIf(prefix_cache_queries_inc * devices, NOT isNaN(prefix_cache_queries_inc)) / sumIf(devices, NOT isNaN(prefix_cache_queries_inc)),
    sumIf(prefix_cache_hits_inc * devices, NOT isNaN(prefix_cache_hits_inc)) / sumIf(devices, NOT isNaN(prefix_cache_hits_inc)),
    sumIf(ttft_us_inc * devices, NOT isNaN(ttft_us_inc)) / sumIf(devices, NOT isNaN(ttft_us_inc)),
    sumIf(ttft_count_inc * devices, NOT isNaN(ttft_count_inc)) / sumIf(devices, NOT isNaN(ttft_count_inc)),
    sumIf(tpot_us_inc * devices, NOT isNaN(tpot_us_inc)) / sumIf(devices, NOT isNaN(tpot_us_inc)),
    sumIf(tpot_count_inc * devices, NOT isNaN(tpot_count_inc)) / sumIf(devices, NOT isNaN(tpot_count_inc)),
    sumIf(e2e_us_inc * devices, NOT isNaN(e2e_us_inc)) / sumIf(devices, NOT isNaN(e2e_us_inc)),
    sumIf(queue_us_inc * devices, NOT isNaN(queue_us_inc)) / sumIf(devices, NOT isNaN(queue_us_inc)),
    sumIf(prefill_us_inc * devices, NOT isNaN(prefill_us_inc)) / sumIf(devices, NOT isNaN(prefill_us_inc)),
    sumIf(decode_us_inc * devices, NOT isNaN(decode_us_inc)) / sumIf(devices, NOT isNaN(decode_us_inc)),
    sumIf(kv_transfer_bytes_inc * devices, NOT isNaN(kv_transfer_bytes_inc)) / sumIf(devices, NOT isNaN(kv_transfer_bytes_inc)),
    4294967295,
    4294967295,
    sum(devices),
    now64(6, 'UTC')
FROM (SELECT * FROM serving_places_1h FINAL WHERE devices > 0) AS w
LEFT JOIN (SELECT device, pool, rail, model FROM places FINAL) AS i USING (device)
GROUP BY window_start, place;
