"""The three kinds of panel we use, and the variables every dashboard has."""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import stat as stat_builders
from grafana_foundation_sdk.builders import table as table_builders
from grafana_foundation_sdk.builders import timeseries as timeseries_builders
from grafana_foundation_sdk.models import common, dashboard

from dashboards.query import DATASOURCE, Query, QueryBuilder
from dashboards.sql import ALL, DETAIL, FLEET, LOOPS, RESOLUTION, chosen

HEIGHT = 8
_MIN_INTERVAL = "10s"  # a base window; finer would leave gaps


def series(
    title: str, sql: str, unit: str, about: str, *, labelled: bool = False, width: int = 12
) -> timeseries_builders.Panel:
    """Lines over time.

    Args:
        title: Heading.
        sql: Rows of time, perhaps a label, values.
        unit: Grafana's name of the unit.
        about: What to read from it; shown behind the panel's (i).
        labelled: The rows are (time, series, value): name the lines by `series`.
        width: Columns of 24.
    """
    panel = (
        timeseries_builders.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .with_target(QueryBuilder(Query(sql, series=True)))
        .unit(unit)
        .interval(_MIN_INTERVAL)
        .height(HEIGHT)
        .span(width)
        .fill_opacity(8)
        .legend(
            common_builders.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if unit == "percentunit":
        panel = panel.min(0).max(1)
    return panel.display_name("${__field.labels.series}") if labelled else panel


def table(
    title: str,
    sql: str,
    about: str,
    units: Mapping[str, str] | None = None,
    *,
    width: int = 24,
    empty: str = "nothing",
) -> table_builders.Panel:
    """Rows as a table; `units` by column name."""
    panel = (
        table_builders.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .with_target(QueryBuilder(Query(sql, series=False)))
        .no_value(empty)
        .height(HEIGHT)
        .span(width)
    )
    for column, unit in (units or {}).items():
        value = dashboard.DynamicConfigValue(id_val="unit", value=unit)
        panel = panel.override_by_name(column, [value])
    return panel


def stat(title: str, sql: str, unit: str, about: str, *, width: int = 6) -> stat_builders.Panel:
    """One number."""
    return (
        stat_builders.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .with_target(QueryBuilder(Query(sql, series=False)))
        .unit(unit)
        .height(4)
        .span(width)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _choice(name: str, label: str, sql: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(Query(sql, series=False, ref_id=name).to_json())
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # with quotes: Grafana puts it into the SQL as it stands
        .all_value(f"'{ALL}'")
        .current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
    )


def variables() -> tuple[builders.QueryVariable | builders.CustomVariable, ...]:
    """Pool, rack and node from the inventory; which rows of telemetry are read."""
    in_pool = chosen("pool", "pool")
    return (
        _choice("pool", "Pool", "SELECT DISTINCT pool FROM inventory FINAL WHERE pool != ''"),
        _choice(
            "rack",
            "Rack",
            f"SELECT DISTINCT rack FROM inventory FINAL WHERE rack != '' AND {in_pool}",
        ),
        _choice(
            "node",
            "Node",
            "SELECT DISTINCT host FROM inventory FINAL"
            f" WHERE {in_pool} AND {chosen('rack', 'rack')}",
        ),
        builders.CustomVariable("rows")
        .label("Rows")
        .description(
            "auto: what fits the time range; windows, 1m, 1h: rows of single devices, base windows"
            " or rollups, of which hours appear when they are over"
        )
        .values("auto,windows,1m,1h")
        .current(dashboard.VariableOption(selected=True, text="auto", value="auto")),
        _table("resolution", RESOLUTION),
        _table("detail", DETAIL),
        _table("loops", LOOPS),
        _table("fleet", FLEET),
    )


def _table(name: str, sql: str) -> builders.QueryVariable:
    """A hidden variable that is the table panels read."""
    return (
        _choice(name, name.capitalize(), sql)
        .multi(False)
        .include_all(False)
        .hide(dashboard.VariableHide.HIDE_VARIABLE)
        .current(dashboard.VariableOption(selected=True, text="windows", value="windows"))
    )
