"""What every collector must do, whatever it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.registry import COLLECTORS
from ridgeline.errors import NoData
from tests.collectors.cases import FAKES, Case

NOW_MS = 1_790_000_000_000
ALL = pytest.mark.parametrize("case", FAKES.values(), ids=FAKES.keys())


def test_every_collector_has_a_case() -> None:
    """A collector without a fake source is not tested."""
    assert set(FAKES) == set(COLLECTORS)


@ALL
def test_rows_have_the_layout_time_and_ids(case: Case, tmp_path: Path) -> None:
    """Rows are in the schema's layout, of about now, and every device is in the inventory."""
    with case.present(tmp_path) as collector:
        batch = collector.collect(NOW_MS)
        collector.close()

    assert sum(len(rows) for _, rows in batch.frames) > 0
    known = {(item.node, item.device) for item in batch.inventory}
    for schema, rows in batch.frames:
        assert rows.dtype == schema.dtype
        assert abs(rows["ts"] - NOW_MS).max() <= 60_000
        assert {(int(r["node"]), int(r["device"])) for r in rows} <= known


@ALL
def test_ids_stay_the_same(case: Case, tmp_path: Path) -> None:
    """Two runs give the same devices in the same families."""
    with case.present(tmp_path) as collector:
        first, second = collector.collect(NOW_MS), collector.collect(NOW_MS + 1000)
        collector.close()

    assert [(s.id, rows["device"].tolist()) for s, rows in first.frames] == [
        (s.id, rows["device"].tolist()) for s, rows in second.frames
    ]
    assert [i.device for i in first.inventory] == [i.device for i in second.inventory]


@ALL
def test_no_source_is_no_data(case: Case, tmp_path: Path) -> None:
    """Where there is nothing to read, making the collector says so."""
    if case.absent is None:
        return
    with pytest.raises(NoData):
        case.absent(tmp_path)


@ALL
def test_close_twice(case: Case, tmp_path: Path) -> None:
    """Closing a closed collector does nothing."""
    with case.present(tmp_path) as collector:
        collector.close()
        collector.close()
