"""The ClickHouse store: numbered migrations, inserts, rollups and queries behind one class."""

from ridgeline.store.store import Store

__all__ = ["Store"]
