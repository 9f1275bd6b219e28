"""A short piece of the chaos series on every run of the suite; the long one is a command.

`python -m benchmarks.chaos --runs 50` does the same with more of everything; what it found is in
docs/guarantees.md. `tests/streams/test_exactly_once.py` kills between any two writes, in memory.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos.run import run, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


SEED = 42
"""Kills the store, a worker and the broker, and adds a worker."""


def test_killed_parts_change_no_row_and_no_episode(apache_kafka_home: Path, tmp_path: Path) -> None:
    """Broker, store and workers die and come back; all is as a plain computation says."""
    with running(tmp_path) as parts:
        result = run(SEED, parts, seconds=60)

    assert [] == result.differences
    assert result.rows > 100
    assert result.episodes > 3
    for part in ("store", "worker", "broker"):
        assert any(f"kill {part}" in fault for fault in result.faults)
