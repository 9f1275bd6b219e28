"""Hours of event time with devices that come and go: nothing grows."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.soak import Soak, bytes_a_device
from ridgeline import metrics
from ridgeline.schema import GPU, SCHEMAS, Schema

HOUR_S = 3600


async def test_nothing_grows_with_time() -> None:
    """The fleet has come and gone twice over, and state is as large as after the first hours."""
    soak = Soak(devices=160, turnover=0.2, forget_seconds=HOUR_S, step_seconds=120)
    await soak.run(4)
    early = soak.sizes()
    await soak.run(12)
    late = soak.sizes()

    assert soak.made > 3 * 160
    hours_kept = 1 + 120 * 120 / HOUR_S  # until forgotten; until an open episode is given up
    assert late["devices"] <= 160 + 32 * (hours_kept + 2)
    for name in ("state_bytes", "open_episodes"):
        assert late[name] <= 1.3 * early[name] + 16, name
    assert late["moves"] <= 1000 + 2 * late["inventory"]
    assert late["unreleased"] <= early["unreleased"] + 2
    assert late["waiting"] <= early["waiting"] + 1
    assert late["facts"] == 0
    assert metrics.STREAM_FORGOTTEN.labels(GPU.topic)._value.get() > 0


async def test_the_inventory_forgets_who_is_never_introduced_again() -> None:
    """A month of churn leaves about a day of it."""
    soak = Soak(devices=16, turnover=0)
    for _ in range(30 * 24):
        soak.now_ms += HOUR_S * 1000
        soak._new(40)

    assert soak.made > 20_000
    assert len(soak.processor.board.inventory.items) < 2500


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda s: s.family)
async def test_bytes_a_device(schema: Schema) -> None:
    """State a device, by family: what sizing in the operations page rests on."""
    assert await bytes_a_device(schema, devices=512) < 6000


async def test_a_forgotten_device_starts_afresh_and_its_neighbours_do_not_notice() -> None:
    """No difference across the silence, and every other device's sums go on in their slots."""
    soak = Soak(devices=64, turnover=0, forget_seconds=600)
    await soak.run(0.2)
    everyone = soak.ids
    soak.ids = everyone[32:]
    await soak.run(0.4)
    partition = next(iter(soak.processor._partitions.values()))
    slots = partition.timeline.slots

    assert [*everyone[32:]] == [*slots.device]
    assert (slots.find(everyone[32:]) == np.arange(32)).all()
    assert (slots.find(everyone[:32]) == -1).all()
    soak.ids = everyone
    await soak.run(0.1)
    assert 64 == slots.count
