"""What the running store says about heat and network, as options of their plans.

The network: nodes and GPUs are counted, link rates read. How long a step waits for the network
nobody measures; what the ports carried says for how long they were busy, and that stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.fabric import SETTINGS
from advisor.facts import Facts, GpuActivity, RailTraffic
from advisor.models import cooling as model
from advisor.models import network
from advisor.models.collectives import Link, wire_of
from advisor.plan.report import Report, Table
from advisor.rules import cooling
from advisor.rules.pricing import Catalog, accelerator_of, estimate, gpu_hour
from ridgeline.errors import Misconfigured
from ridgeline.events import Confidence, Estimate
from ridgeline.pools import service_of
from ridgeline.settings import AdvisorSettings

_BUSY = "what the ports carried, none of it behind other work"
_READ = {
    "rail_gbps": "measured: negotiated rate of the ports, a GPU's share",
    "communication_share": f"modelled from {_BUSY}",
    "message_mb": "",  # nobody measures it
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the store said of something; `options` are those of its plan by name."""

    options: Mapping[str, Any]
    sure: Mapping[str, Confidence]
    """How sure each of the options is."""
    numbers: dict[str, Estimate]
    warnings: tuple[str, ...]
    origin: str
    tables: tuple[Table, ...] = ()

    def known(self, given: set[str]) -> dict[str, Confidence]:
        """How sure the options are that were not given: a number typed is assumed."""
        return {n: sure for n, sure in self.sure.items() if n in self.options and n not in given}

    def beside(self, report: Report) -> Report:
        """The report with what was measured in it."""
        return replace(
            report,
            tables=(*report.tables, *self.tables),
            numbers={**report.numbers, **self.numbers},
            warnings=(*report.warnings, *self.warnings),
            sources=(self.origin, *report.sources),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat(Measured):
    """One cooling loop as measured."""

    state: model.Loop
    hall_watts_hourly: tuple[float, ...]


def heat_of(seen: Facts, loop: str | None) -> Heat:
    """A loop's racks, GPUs and throttling; of the loop that is throttled most when None.

    Raises:
        Misconfigured: no such loop, or none with GPUs.
    """
    loops = [g for g in seen.gpu_loops if g.group and loop in {None, g.group}]
    if not loops:
        there = ", ".join(sorted(g.group for g in seen.gpu_loops if g.group)) or "none"
        raise Misconfigured(
            "--loop", f"no GPUs on loop {loop or 'of any name'}; there are: {there}"
        )
    gpus = max(loops, key=lambda g: (g.thermal_ratio or 0.0, g.gpus))
    racks = [r for r in seen.racks if r.loop == gpus.group]
    found = cooling.found_hot(seen, gpus.group)
    coolant = next((line for line in seen.loops if line.loop == gpus.group), None)
    state = cooling.state_of(coolant, racks, {f.detection.condition for f in found})
    price = gpu_hour(accelerator_of(gpus), Catalog(), AdvisorSettings.load())
    options: dict[str, Any] = {
        "throttled_ratio": gpus.thermal_ratio,
        "clock_ratio": gpus.clock_ratio,
        "gpus": gpus.gpus,
        "rack_kw": state.rack_kw or None,
        "racks": len(racks) or None,
        "technology": state.technology.name if state.technology else None,
        "usd_per_gpu_hour": price.mid if price else None,
        "phase": cooling.phase_of(found),
    }
    measured = ("throttled_ratio", "clock_ratio", "gpus", "rack_kw", "racks")
    sure = dict.fromkeys(measured, Confidence.MEASURED) | {"phase": Confidence.MODELLED}
    if price is not None:
        sure["usd_per_gpu_hour"] = price.confidence
    missing = [name for name in ("throttled_ratio", "rack_kw", "racks") if options[name] is None]
    return Heat(
        options={name: value for name, value in options.items() if value is not None},
        sure=sure,
        state=state,
        numbers=_heat_numbers(gpus),
        warnings=tuple(f"not measured on {gpus.group}: {n.replace('_', ' ')}" for n in missing),
        hall_watts_hourly=seen.hall_watts_hourly,
        origin=f"measured: the store, {gpus.seconds / 60:.0f} minutes of {gpus.group}",
    )


def _heat_numbers(gpus: GpuActivity) -> dict[str, Estimate]:
    origin = f"the store, {gpus.group}"
    read = (
        ("GPU time throttled by heat", gpus.thermal_ratio, "ratio"),
        ("hottest GPU", gpus.hottest_celsius, "degC"),
        ("power of a GPU", gpus.power_watts, "W"),
    )
    return {
        name: estimate(value, value, value, unit, Confidence.MEASURED, origin)
        for name, value, unit in read
        if value is not None
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric(Measured):
    """The network of a pool as measured."""

    congested: bool


def fabric_of(seen: Facts, pool: str | None) -> Fabric:
    """Nodes, GPUs and links of a pool, and what every rail carries.

    Args:
        seen: Facts of the store.
        pool: A pool, or a service: its largest pool; None: the largest of all.

    Raises:
        Misconfigured: no such pool, or one whose GPUs are of several or unknown models.
    """
    pools = [g for g in seen.pools if pool in {None, g.group, service_of(g.group) or None}]
    if not pools:
        there = ", ".join(sorted(g.group for g in seen.pools)) or "none"
        raise Misconfigured("--pool", f"no pool {pool or 'of GPUs'}; there are: {there}")
    gpus = max(pools, key=lambda g: g.gpus)
    accelerator = accelerator_of(gpus)
    if accelerator is None:
        named = gpus.model or "several models"
        raise Misconfigured("--pool", f"{gpus.group} has {named}: not in the catalogue")
    found = sorted({f.detection.condition for f in seen.found} & set(SETTINGS))
    gpus_per_node = max(2, round(gpus.gpus / max(gpus.nodes, 1)))
    read = {
        "rail_gbps": _rail_gbps(seen.rails, sum(g.gpus for g in seen.pools)),
        "communication_share": _communication_share(seen.rails),
    }
    origin = f"the store, {gpus.seconds / 60:.0f} minutes"
    return Fabric(
        options={
            "accelerator": accelerator.name,
            "nodes": gpus.nodes,
            "gpus_per_node": gpus_per_node,
        }
        | {name: value for name, value in read.items() if value is not None},
        sure=dict.fromkeys(("nodes", "gpus_per_node", "rail_gbps"), Confidence.MEASURED)
        | {"communication_share": Confidence.MODELLED},
        tables=(_rails(seen.rails, found), _links(gpus, accelerator)),
        numbers=_fabric_numbers(seen.rails, read, origin),
        warnings=tuple(_warnings(seen.rails, read)),
        congested=bool(found),
        origin=f"measured: {origin} of {gpus.group}",
    )


def _rail_gbps(rails: Sequence[RailTraffic], gpus: int) -> float | None:
    """Network of one GPU: the rates of all ports over all GPUs; None where a rate is unknown.

    Not by node: rails of one hall are not in the nodes of another.
    """
    rates = [r.ports * r.link_bits_per_second for r in rails if r.link_bits_per_second is not None]
    return sum(rates) / gpus / 1e9 if rates and len(rates) == len(rails) else None


def _communication_share(rails: Sequence[RailTraffic]) -> float | None:
    """Share of the time the busiest rail was busy, at what rails reach of their rate."""
    used = [r.utilisation_ratio for r in rails if r.utilisation_ratio is not None]
    busy = network.busy_share(max(used, default=None), 1.0, network.RAIL_EFFICIENCY)
    return None if busy is None else busy[1]


def _rails(rails: Sequence[RailTraffic], found: Sequence[str]) -> Table:
    rows = tuple(
        (
            rail.rail,
            rail.ports,
            rail.nodes,
            None if rail.link_bits_per_second is None else rail.link_bits_per_second / 1e9,
            None if rail.bytes_per_second is None else rail.bytes_per_second * 8 / 1e9,
            rail.utilisation_ratio,
            rail.pause_ratio,
            rail.ecn_marked_per_second,
            rail.discards_per_second,
        )
        for rail in rails
    )
    return Table(
        title="Rails as measured",
        columns=(
            "rail",
            "ports",
            "nodes",
            "port Gbit/s",
            "carried Gbit/s",
            "used",
            "time paused",
            "marked/s",
            "discards/s",
        ),
        rows=rows,
        note=f"open findings: {', '.join(found) or 'none'}",
    )


def _links(gpus: GpuActivity, accelerator: Accelerator) -> Table:
    """What a GPU moves to its neighbours, and for how long the link was busy with it.

    The rate of a GPU's PCIe is not read: its share is said only where PCIe is its scale-up link.
    """
    wire = wire_of(accelerator)[0]
    carried = {Link.NVLINK: gpus.nvlink_bytes_per_second, Link.PCIE: gpus.pcie_bytes_per_second}
    rows = []
    for link, moved in carried.items():
        known = link is wire.link
        reached = wire.bus_bytes_per_second(8) / wire.bytes_per_second if known else 1.0
        busy = network.busy_share(moved, wire.bytes_per_second, reached) if known else None
        rows.append((link.value, None if moved is None else moved / 1e9, *(busy or (None, None))))
    return Table(
        title="Links of a GPU as measured",
        columns=("link", "GB/s", "busy at least", "busy likely"),
        rows=tuple(rows),
        note="likely: at what all-reduces of 8 GPUs reach of the link",
    )


def _fabric_numbers(
    rails: Sequence[RailTraffic], read: Mapping[str, float | None], origin: str
) -> dict[str, Estimate]:
    used = [rail.utilisation_ratio for rail in rails if rail.utilisation_ratio is not None]
    share = read["communication_share"]
    known = (
        ("busiest rail", max(used, default=None), "ratio", Confidence.MEASURED),
        ("network of a GPU", read["rail_gbps"], "Gbit/s", Confidence.MEASURED),
    )
    numbers = {
        name: estimate(value, value, value, unit, confidence, origin)
        for name, value, unit, confidence in known
        if value is not None
    }
    if share is not None:
        text = f"{origin}; {_BUSY}"
        numbers["share of a step in the network"] = estimate(
            0.0, share, share, "ratio", Confidence.MODELLED, text
        )
    return numbers


def _warnings(rails: Sequence[RailTraffic], read: Mapping[str, float | None]) -> Iterator[str]:
    """Which options are measured, which follow from a measurement and which are assumed."""
    for name, what in _READ.items():
        option = f"--{name.replace('_', '-')}"
        if read.get(name) is None:
            yield f"not measured, so assumed where not given: {option}"
        else:
            yield f"{option}, where not given, is {what}"
    if not rails:
        yield "no rail is known"
