"""Ridgeline itself: is data coming in, is it processed, what was refused."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders

from dashboards.panels import series, table, variables
from dashboards.sql import ALL, TIME, chosen
from ridgeline.schema import SCHEMAS


def build() -> builders.Dashboard:
    """The dashboard `ridgeline-operations`."""
    board = (
        builders.Dashboard("Ridgeline: operations")
        .uid("ridgeline-operations")
        .description("The health of Ridgeline's own collectors, streams and store.")
        .tags(["ridgeline"])
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("30s")
        .readonly()
    )
    for variable in variables():
        board = board.with_variable(variable)
    for part in (_freshness, _pipeline, _collectors, _refused, _store):
        board = part(board)
    return board


def _freshness(board: builders.Dashboard) -> builders.Dashboard:
    newest = "\nUNION ALL\n".join(  # no condition: the engine then looks at the parts' limits only
        f"SELECT '{family}' AS family,\n"
        "    nullIf(max(window_start), toDateTime64(0, 3, 'UTC')) AS newest,\n"
        "    dateDiff('second', newest, now64(3, 'UTC')) AS age\n"
        f"FROM {family}_windows"
        for family in SCHEMAS
    )
    devices = "\nUNION ALL\n".join(
        f"SELECT {TIME}, '{family}' AS series,\n"
        "    sum(devices) / uniqExact(window_start) AS reporting\n"
        f"FROM {family}_${{fleet}} FINAL\nWHERE $__timeFilter(window_start)\nGROUP BY time"
        for family in SCHEMAS
    )
    silent = (
        "SELECT host, kind, count() AS devices, max(seen) AS seen\nFROM inventory FINAL\n"
        "WHERE device NOT IN (\n"
        + "\n    UNION ALL\n".join(
            f"    SELECT device FROM {family}_windows\n"
            "    WHERE window_start > now() - INTERVAL 5 MINUTE"
            for family in SCHEMAS
        )
        + f"\n) AND kind != 'node' AND {chosen('pool', 'pool')} AND {chosen('rack', 'rack')}"
        f" AND {chosen('node', 'host')}\nGROUP BY host, kind\nORDER BY host, kind\nLIMIT 500"
    )
    return (
        board.with_row(builders.Row("Freshness"))
        .with_panel(
            table(
                "Newest window of each family",
                newest,
                "Age is wall clock minus the newest window's start; it is the window, the"
                " lateness allowed and the way through Kafka when all is well.",
                {"age": "s"},
                width=12,
            )
        )
        .with_panel(
            table(
                "Progress of the streams",
                "SELECT topic, partition, fromUnixTimestamp64Milli(window_end, 'UTC')"
                " AS durable_until,\n"
                "    dateDiff('second', durable_until, now64(3, 'UTC')) AS lag\n"
                "FROM stream_progress FINAL\nWHERE position(topic, '/') = 0\n"
                "ORDER BY lag DESC\nLIMIT 200",
                "How far each partition's windows are durable.",
                {"lag": "s"},
                width=12,
            )
        )
        .with_panel(
            series(
                "Devices reporting, by family",
                f"SELECT * FROM (\n{devices}\n)\nORDER BY time, series",
                "short",
                "Devices with a row at a time, mean of the interval; of the whole fleet.",
                labelled=True,
            )
        )
        .with_panel(
            table(
                "Silent devices",
                silent,
                "In the inventory, but without a window for five minutes.",
                width=12,
                empty="every device reports",
            )
        )
    )


def _by_topic(value: str) -> str:
    """A worker's reports over time: within an interval by worker, then over workers."""
    return (
        "SELECT time, topic AS series, sum(of_worker) AS value\nFROM (\n"
        "    SELECT toStartOfInterval(ts, INTERVAL $__interval_s SECOND) AS time, topic, worker,\n"
        f"        {value} AS of_worker\n"
        "    FROM pipeline_health FINAL\n    WHERE $__timeFilter(ts)\n"
        "    GROUP BY time, topic, worker\n)\n"
        "WHERE isFinite(of_worker)\nGROUP BY time, series\nORDER BY time, series"
    )


def _pipeline(board: builders.Dashboard) -> builders.Dashboard:
    delay = (
        "SELECT toStartOfInterval(ts, INTERVAL $__interval_s SECOND) AS time, topic AS series,\n"
        "    max(watermark_delay_seconds) AS delay\nFROM pipeline_health FINAL\n"
        "WHERE $__timeFilter(ts) AND isFinite(watermark_delay_seconds)\n"
        "GROUP BY time, series\nORDER BY time, series"
    )
    counts = (
        "SELECT toStartOfInterval(ts, INTERVAL $__interval_s SECOND) AS time,\n"
        "    sum(late) AS Late, sum(future) AS Future, sum(resets) AS `Counter resets`\n"
        "FROM pipeline_health FINAL\nWHERE $__timeFilter(ts)\nGROUP BY time\nORDER BY time"
    )
    panels = (
        ("Lag, by topic", _by_topic("max(lag_frames)"), "short", "Frames not read yet."),
        ("Watermark delay, by topic", delay, "s", "Wall clock minus the slowest watermark."),
        (
            "Samples read, by topic",
            _by_topic("sum(samples) / nullIf(sum(seconds), 0)"),
            "cps",
            "Rows a second over all workers.",
        ),
        (
            "Rebalances, by topic",
            _by_topic("sum(rebalances)"),
            "short",
            "Times partitions were taken from a worker.",
        ),
    )
    board = board.with_row(builders.Row("Pipeline"))
    for title, sql, unit, about in panels:
        board = board.with_panel(series(title, sql, unit, about, labelled=True))
    return board.with_panel(
        series(
            "Late and future samples, counter resets",
            counts,
            "short",
            "Rows that came after their window or from too far ahead; they are in no window.",
        )
    ).with_panel(
        table(
            "Workers",
            "SELECT worker, topic, argMax(partitions, ts) AS partition_count,\n"
            "    argMax(devices, ts) AS device_count,\n"
            "    dateDiff('second', max(ts), now64(3, 'UTC')) AS age\n"
            "FROM pipeline_health FINAL\nWHERE $__timeFilter(ts)\n"
            "GROUP BY worker, topic\nORDER BY worker, topic\nLIMIT 200",
            "What each stream worker last said it has; age is how long ago.",
            {"age": "s"},
            width=12,
        )
    )


def _reports(of_fleet: str, of_nodes: str) -> str:
    """A value of collectors' reports over time: of all nodes by minute, or of the chosen ones."""
    every = f"'{ALL}' IN (${{node:singlequote}})"
    bucket = "toStartOfInterval(ts, INTERVAL $__interval_s SECOND) AS time"

    def one(value: str, table: str, where: str) -> str:
        return (
            f"    SELECT {bucket}, collector AS series, {value}\n"
            f"    FROM {table} FINAL\n    WHERE $__timeFilter(ts) AND {where}\n"
            "    GROUP BY time, series\n"
        )

    return (
        f"SELECT * FROM (\n{one(of_fleet, 'collector_minutes', every)}    UNION ALL\n"
        f"{one(of_nodes, 'collector_health', f'NOT {every} AND host IN (${{node:singlequote}})')}"
        ")\nORDER BY time, series"
    )


def _collectors(board: builders.Dashboard) -> builders.Dashboard:
    return (
        board.with_row(builders.Row("Collectors"))
        .with_panel(
            series(
                "Failed runs, by collector",
                _reports("sum(failed) AS count", "sum(failed) AS count"),
                "short",
                "Runs that failed; a machine without the device is no failure.",
                labelled=True,
            )
        )
        .with_panel(
            series(
                "Duration of a run, by collector",
                _reports(
                    "max(duration_p95_seconds) AS duration",
                    "quantileExact(0.95)(duration_seconds) AS duration",
                ),
                "s",
                "95th percentile over nodes of the longest run in a minute, worst minute of the"
                " interval.",
                labelled=True,
            )
        )
        .with_panel(
            table(
                "Collectors now",
                "SELECT host, collector, success AS ok, no_data AS absent,\n"
                "    duration_seconds AS duration, rows AS row_count, error AS last_error,\n"
                "    dateDiff('second', ts, now64(3, 'UTC')) AS age\n"
                "FROM collectors FINAL\n"
                f"WHERE ts >= $__fromTime AND {chosen('node', 'host')}\n"
                "ORDER BY ok, host, collector\nLIMIT 500",
                "The newest report of each collector, failing ones first; reports come once a"
                " minute, and at once when something changes.",
                {"duration": "s", "age": "s"},
            )
        )
    )


def _refused(board: builders.Dashboard) -> builders.Dashboard:
    return (
        board.with_row(builders.Row("Dead letters"))
        .with_panel(
            series(
                "Dead letters, by topic",
                "SELECT toStartOfInterval(ts, INTERVAL $__interval_s SECOND) AS time,\n"
                "    topic AS series, count() AS messages\n"
                "FROM dead_letters FINAL\nWHERE $__timeFilter(ts)\n"
                "GROUP BY time, series\nORDER BY time, series",
                "short",
                "Messages that could not be read.",
                labelled=True,
            )
        )
        .with_panel(
            table(
                "Reasons",
                "SELECT topic, field, reason, count() AS messages, max(ts) AS newest\n"
                "FROM dead_letters FINAL\nWHERE $__timeFilter(ts)\n"
                "GROUP BY topic, field, reason\nORDER BY messages DESC\nLIMIT 100",
                "Why they were refused.",
                width=12,
                empty="no dead letters",
            )
        )
    )


def _store(board: builders.Dashboard) -> builders.Dashboard:
    return (
        board.with_row(builders.Row("Store"))
        .with_panel(
            table(
                "Tables",
                "SELECT table, sum(rows) AS row_count, sum(bytes_on_disk) AS disk,\n"
                "    sum(data_uncompressed_bytes) / sum(data_compressed_bytes) AS ratio,\n"
                "    count() AS parts\n"
                "FROM system.parts\nWHERE active AND database = currentDatabase()\n"
                "GROUP BY table\nORDER BY disk DESC",
                "Rows before replacement, size on disk, compression, active parts.",
                {"disk": "bytes"},
                width=16,
            )
        )
        .with_panel(
            table(
                "Migrations",
                "SELECT name, applied FROM migrations FINAL ORDER BY name",
                "Applied to this database.",
                width=8,
            )
        )
    )
