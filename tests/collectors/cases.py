"""A fake source for every collector; the conformance suite runs over this table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from collectors import infiniband, netdev, nvml, serving, simulator
from collectors.protocol import Collector
from ridgeline.settings import CollectSettings
from tests.collectors.fake_nvml import profiles
from tests.collectors.fake_nvml.driver import build, install, no_driver
from tests.collectors.pages import serve_pages, vllm_v1
from tests.collectors.sysfs_tree import add_interface, add_port, settings_of


@dataclass(frozen=True, slots=True)
class Case:
    """A collector over a fake source, and a call that must raise NoData for want of one.

    Args:
        present: Opens a collector whose source has data; closes the source (not the collector).
        absent: Makes a collector where there is no source; None for one that never lacks any.
    """

    present: Callable[[Path], AbstractContextManager[Collector]]
    absent: Callable[[Path], Collector] | None


@contextlib.contextmanager
def _netdev(root: Path) -> Iterator[Collector]:
    add_interface(root, "eth0", {}, virtual=False)
    add_interface(root, "eth1", {}, virtual=False)
    yield netdev.create(settings_of(root))


@contextlib.contextmanager
def _infiniband(root: Path) -> Iterator[Collector]:
    add_port(root, "mlx5_0", "1", {"counters/port_xmit_data": "5"})
    yield infiniband.create(settings_of(root))


@contextlib.contextmanager
def _serving(_: Path) -> Iterator[Collector]:
    with serve_pages() as pages:
        pages.text["/metrics"] = vllm_v1()
        yield serving.create(CollectSettings(host="node07", serving=(pages.base,)))


@contextlib.contextmanager
def _nvml(root: Path) -> Iterator[Collector]:
    with pytest.MonkeyPatch.context() as patch:
        fake = install(build(root / "driver"), root / "nvml_state", patch)
        fake.add(profiles.h100())
        fake.add(profiles.a100())
        yield nvml.create(settings_of(root))


@contextlib.contextmanager
def _simulator(_: Path) -> Iterator[Collector]:
    yield simulator.create(CollectSettings(scenario="steady"))


def _nvml_absent(root: Path) -> Collector:
    with no_driver():
        return nvml.create(settings_of(root))


FAKES: dict[str, Case] = {
    "nvml": Case(_nvml, _nvml_absent),
    "netdev": Case(_netdev, lambda root: netdev.create(settings_of(root))),
    "infiniband": Case(_infiniband, lambda root: infiniband.create(settings_of(root))),
    "serving": Case(_serving, lambda root: serving.create(settings_of(root))),
    "simulator": Case(_simulator, None),
}
