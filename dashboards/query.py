"""The query of the `grafana-clickhouse-datasource` plug-in, as grafana-foundation-sdk takes one."""

from __future__ import annotations

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef

PLUGIN = "grafana-clickhouse-datasource"
PLUGIN_VERSION = "4.0.0"  # the first whose targets carry `editorType`
DATASOURCE_UID = "ridgeline-clickhouse"
DATASOURCE = DataSourceRef(type_val=PLUGIN, uid=DATASOURCE_UID)

_TIME_SERIES, _TABLE = 0, 1  # the plug-in's `format`


class Query(Dataquery):
    """One SQL statement of a panel or a variable.

    Args:
        sql: Statement with the macros that `dashboards.sql.render` knows.
        series: True when the rows are (time, labels..., values...) in order of time.
        ref_id: Name within the panel.
    """

    def __init__(self, sql: str, *, series: bool, ref_id: str = "A") -> None:
        self.sql = sql
        self.series = series
        self.ref_id = ref_id

    def to_json(self) -> dict[str, object]:
        """The target as the plug-in stores it."""
        return {
            "refId": self.ref_id,
            "datasource": DATASOURCE,
            "editorType": "sql",
            "pluginVersion": PLUGIN_VERSION,
            "queryType": "timeseries" if self.series else "table",
            "format": _TIME_SERIES if self.series else _TABLE,
            "rawSql": self.sql,
        }


class QueryBuilder(Builder[Dataquery]):
    """The builder that panels ask for.

    Args:
        query: What it builds.
    """

    def __init__(self, query: Query) -> None:
        self._query = query

    def build(self) -> Dataquery:
        """The query."""
        return self._query
