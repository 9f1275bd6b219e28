"""Every collector there is: name in the settings = module = label in our metrics.

Each entry imports its module when it is first used, so that a node agent needs only the
dependencies of what it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from collectors.protocol import Collector, Factory
from ridgeline.errors import Misconfigured
from ridgeline.settings import CollectSettings


def _nvml(settings: CollectSettings) -> Collector:
    from collectors.nvml import create  # noqa: PLC0415 - lazy on purpose

    return create(settings)


def _infiniband(settings: CollectSettings) -> Collector:
    from collectors.infiniband import create  # noqa: PLC0415 - lazy on purpose

    return create(settings)


def _netdev(settings: CollectSettings) -> Collector:
    from collectors.netdev import create  # noqa: PLC0415 - lazy on purpose

    return create(settings)


def _serving(settings: CollectSettings) -> Collector:
    from collectors.serving import create  # noqa: PLC0415 - lazy on purpose

    return create(settings)


def _simulator(settings: CollectSettings) -> Collector:
    from collectors.simulator import create  # noqa: PLC0415 - lazy on purpose

    return create(settings)


COLLECTORS: Mapping[str, Factory] = MappingProxyType(
    {
        "nvml": _nvml,
        "infiniband": _infiniband,
        "netdev": _netdev,
        "serving": _serving,
        "simulator": _simulator,
    }
)


def factory_of(name: str) -> Factory:
    """The factory of a collector.

    Raises:
        Misconfigured: there is none of that name.
    """
    try:
        return COLLECTORS[name]
    except KeyError:
        known = ", ".join(COLLECTORS)
        problem = f"unknown collector {name!r}; known: {known}"
        raise Misconfigured("RIDGELINE_COLLECT_COLLECTORS", problem) from None
