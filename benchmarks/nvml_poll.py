"""What a poll of the nvml collector costs in CPU time, against a fake driver.

Usage: `python -m benchmarks.nvml_poll [gpus] [polls]`. This is
our own code, the binding's and the fake's look-ups; a real driver has other times of its own.
Prints microseconds a GPU and poll, and the ratio to a bare loop over `nvmlDeviceGetFieldValues`
with the same fields.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest

from collectors import nvml
from collectors.nvml.fields import FIELDS
from ridgeline.settings import CollectSettings
from tests.collectors.fake_nvml import profiles
from tests.collectors.fake_nvml.driver import build, install

NOW_MS = 1_790_000_000_000


def microseconds(poll: Callable[[int], object], polls: int, gpus: int) -> float:
    """CPU time of one poll of one GPU."""
    start = time.process_time()
    for number in range(polls):
        poll(number)
    return (time.process_time() - start) / polls / gpus * 1e6


def main() -> None:
    """Measure and print."""
    gpus, polls = (int(a) for a in (*sys.argv[1:3], *("8", "200")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder)
        fake = install(build(root), root / "state", patch)
        for _ in range(gpus):
            fake.add(profiles.h100())
        collector = nvml.create(CollectSettings(host="bench"))
        for warm in range(3):
            collector.collect(NOW_MS + warm)
        ours = microseconds(lambda n: collector.collect(NOW_MS + 1000 * n), polls, gpus)
        ids = [number for field in FIELDS for number in field.ids]
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(gpus)]

        def bare(_: int) -> None:
            for handle in handles:
                pynvml.nvmlDeviceGetFieldValues(handle, ids)

        base = microseconds(bare, polls, gpus)
        collector.close()
    print(f"collector   {ours:8.1f} us per GPU and poll")
    print(f"bare fields {base:8.1f} us per GPU and poll ({len(ids)} fields)")
    print(f"ratio       {ours / base:8.2f}")


if __name__ == "__main__":
    main()
